/* What stream:tls() gives: certificates as tables. */
#define _GNU_SOURCE
#include "net/tls_openssl.h"

#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <time.h>

#define CLASS "neap.tls.peer"

/* Held while Lua runs, in which the connection may be freed. */
struct peer {
    X509 *certificate;
    GENERAL_NAMES *names;
};

static int collect_peer(lua_State *L)
{
    struct peer *p = lua_touserdata(L, 1);
    X509_free(p->certificate);
    GENERAL_NAMES_free(p->names);
    *p = (struct peer){0};
    return 0;
}

static void set_name(lua_State *L, const char *field, const X509_NAME *name)
{
    char text[TLS_TEXT_MAX];
    BIO *b = BIO_new(BIO_s_mem());
    int n = b ? X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) : -1;
    n = n >= 0 ? BIO_read(b, text, sizeof text) : 0;
    BIO_free(b);
    lua_pushlstring(L, text, n > 0 ? (size_t)n : 0);
    lua_setfield(L, -2, field);
}

/* In seconds, as os.time() counts them. */
static void set_time(lua_State *L, const char *field, const ASN1_TIME *at)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(at, &tm) == 1) {
        lua_pushinteger(L, (lua_Integer)timegm(&tm));
        lua_setfield(L, -2, field);
    }
}

/* Pushes a name of the certificate; false, and nothing pushed: one of another kind. */
static bool push_name(lua_State *L, const GENERAL_NAME *name)
{
    char address[INET6_ADDRSTRLEN];
    int kind;
    const ASN1_STRING *s = GENERAL_NAME_get0_value(name, &kind);
    if (kind == GEN_DNS || kind == GEN_EMAIL || kind == GEN_URI) {
        lua_pushlstring(L, (const char *)ASN1_STRING_get0_data(s),
                        (size_t)ASN1_STRING_length(s));
        return true;
    }
    int family = kind != GEN_IPADD             ? 0
                 : ASN1_STRING_length(s) == 4  ? AF_INET
                 : ASN1_STRING_length(s) == 16 ? AF_INET6
                                               : 0;
    if (!family || !inet_ntop(family, ASN1_STRING_get0_data(s), address, sizeof address))
        return false;
    lua_pushstring(L, address);
    return true;
}

/* Pushes the peer's certificate as a table; the box that holds it is on the top. */
static void push_peer(lua_State *L, const struct peer *p)
{
    lua_Integer n = 0;
    lua_newtable(L);
    set_name(L, "subject", X509_get_subject_name(p->certificate));
    set_name(L, "issuer", X509_get_issuer_name(p->certificate));
    set_time(L, "not_before", X509_get0_notBefore(p->certificate));
    set_time(L, "not_after", X509_get0_notAfter(p->certificate));
    lua_newtable(L);
    for (int i = 0; i < sk_GENERAL_NAME_num(p->names); i++)
        if (push_name(L, sk_GENERAL_NAME_value(p->names, i)))
            lua_rawseti(L, -2, ++n);
    lua_setfield(L, -2, "names");
}

static void set_text(lua_State *L, const char *field, const char *text, size_t n)
{
    lua_pushlstring(L, text, n);
    lua_setfield(L, -2, field);
}

void tls_push_state(lua_State *L, struct tls *const *t)
{
    unsigned char protocol[256];
    const unsigned char *chosen = NULL;
    unsigned n = 0;
    luaL_checkstack(L, 10, NULL);
    struct peer *p = lua_newuserdatauv(L, sizeof *p, 0);
    *p = (struct peer){0};
    luaL_setmetatable(L, CLASS);
    if (!*t) { /* a finalizer has closed the stream */
        lua_pushnil(L);
        return;
    }
    SSL *ssl = ((struct connection *)*t)->ssl;
    const char *version = SSL_get_version(ssl), *cipher = SSL_get_cipher_name(ssl);
    bool resumed = SSL_session_reused(ssl);
    SSL_get0_alpn_selected(ssl, &chosen, &n);
    if (n > 0)
        memcpy(protocol, chosen, n);
    p->certificate = SSL_get1_peer_certificate(ssl);
    if (p->certificate)
        p->names = X509_get_ext_d2i(p->certificate, NID_subject_alt_name, NULL, NULL);
    ERR_clear_error();
    lua_newtable(L);
    set_text(L, "version", version, strlen(version));
    set_text(L, "cipher", cipher, strlen(cipher));
    if (n > 0)
        set_text(L, "alpn", (const char *)protocol, n);
    lua_pushboolean(L, resumed);
    lua_setfield(L, -2, "resumed");
    if (p->certificate) {
        push_peer(L, p);
        lua_setfield(L, -2, "peer");
    }
}

void tls_open_peers(lua_State *L)
{
    tls_new_class(L, CLASS, collect_peer);
}
