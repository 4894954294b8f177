/* Sessions that clients resume. */
#include "net/tls_openssl.h"

#include <openssl/evp.h>

#define CLASS "neap.tls.session"

void tls_store_drop(struct store *s)
{
    if (s && --s->refs == 0) {
        SSL_SESSION_free(s->session);
        free(s);
    }
}

int tls_keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct connection *c = tls_connection_of(ssl);
    struct store *s = c->context->store;
    if (!s)
        return 0;
    SSL_SESSION_free(s->session);
    s->session = session;
    memcpy(s->digest, c->digest, TLS_DIGEST);
    return 1;
}

void tls_offer_session(struct connection *c, const char *host)
{
    struct store *s = c->context->store;
    char text[TLS_DIGEST + TLS_HOST_MAX + 1];
    size_t n = strlen(host);
    memcpy(text, c->context->digest, TLS_DIGEST);
    memcpy(text + TLS_DIGEST, host, n);
    EVP_Digest(text, TLS_DIGEST + n, c->digest, NULL, EVP_sha256(), NULL);
    if (s && s->session && memcmp(s->digest, c->digest, TLS_DIGEST) == 0)
        SSL_set_session(c->ssl, s->session);
}

int tls_new_session(lua_State *L)
{
    struct store **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, CLASS);
    *box = calloc(1, sizeof **box);
    if (!*box)
        return luaL_error(L, "not enough memory");
    (*box)->refs = 1;
    return 1;
}

static int collect_session(lua_State *L)
{
    tls_store_drop(*(struct store **)lua_touserdata(L, 1));
    return 0;
}

struct store *tls_store_at(lua_State *L, int i)
{
    struct store **s = luaL_testudata(L, i, CLASS);
    return s ? *s : NULL;
}

void tls_open_sessions(lua_State *L)
{
    tls_new_class(L, CLASS, collect_session);
}
