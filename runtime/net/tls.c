/* The optional part neap.tls, on OpenSSL 3. API.md section 9; net/tls.h says how streams use it.
**
** An SSL reads from a window on the bytes that its stream has just received, and always takes
** all of them: what is left of a record it keeps itself. What it writes goes to the stream at
** once. So no copy of the encrypted bytes is kept here, and no call ever waits.
** A context outlives the connections that were begun with it: both count. */
#define _GNU_SOURCE
#include "net/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static const double handshake_patience = 10;

enum { DIGEST = 32, HOST_MAX = 255, TEXT_MAX = 512, RECORD_MAX = 16384 };

#define CONTEXT_CLASS "neap.tls.context"
#define SESSION_CLASS "neap.tls.session"
#define PEER_CLASS    "neap.tls.peer"

/* A client's last session, and whose it is: digest_of. */
struct store {
    size_t refs;
    SSL_SESSION *session;
    unsigned char digest[DIGEST];
};

/* What a server shows to who asks for a name. */
struct host {
    struct host *next;
    SSL_CTX *ctx;
    char name[];
};

struct context {
    size_t refs;
    bool server, verify;
    SSL_CTX *ctx;
    BIO_METHOD *bio;
    struct host *hosts;
    unsigned char *protocols; /* of ALPN, as on the wire */
    size_t protocols_length;
    struct store *store;
    char host[HOST_MAX + 1]; /* that the options name */
    double patience;
    unsigned char trust[DIGEST]; /* of the options that a verification depends on */
};

struct connection {
    struct tls tls;
    SSL *ssl;
    struct context *context;
    const char *in; /* the window */
    size_t in_length;
    unsigned char digest[DIGEST];
};

/* Why options cannot be used, which is not the script's mistake. */
struct problem {
    const char *code;
    char text[TEXT_MAX];
};

/* ---- contexts ---- */

static void store_drop(struct store *s)
{
    if (s && --s->refs == 0) {
        SSL_SESSION_free(s->session);
        free(s);
    }
}

static void context_drop(struct context *c)
{
    if (!c || --c->refs > 0)
        return;
    for (struct host *h = c->hosts, *next; h; h = next) {
        next = h->next;
        SSL_CTX_free(h->ctx);
        free(h);
    }
    SSL_CTX_free(c->ctx);
    BIO_meth_free(c->bio);
    store_drop(c->store);
    free(c->protocols);
    free(c);
}

static bool complain(struct problem *p, const char *code, const char *what, const char *why)
{
    p->code = code;
    snprintf(p->text, sizeof p->text, "tls: %s: %s", what, why);
    return false;
}

/* What OpenSSL says of the last failure. */
static const char *why_ssl(void)
{
    const char *why = ERR_reason_error_string(ERR_peek_error());
    return why ? why : "unusable";
}

static bool is_pem(const char *text)
{
    return strstr(text, "-----BEGIN ") != NULL;
}

/* How messages name a path or PEM text. */
static const char *title(const char *text)
{
    return is_pem(text) ? "PEM text" : text;
}

static BIO *open_pem(const char *text, struct problem *p)
{
    ERR_clear_error();
    errno = 0;
    BIO *b = is_pem(text) ? BIO_new_mem_buf(text, -1) : BIO_new_file(text, "r");
    if (!b)
        complain(p, errno ? strerrorname_np(errno) : "EINVAL", title(text),
                 errno ? strerror(errno) : why_ssl());
    return b;
}

/* Nobody is asked for a passphrase. */
static int no_passphrase(char *buffer, int size, int writing, void *ud)
{
    (void)buffer, (void)size, (void)writing, (void)ud;
    return -1;
}

static bool at_end_of_pem(void)
{
    unsigned long e = ERR_peek_last_error();
    return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

/* The certificate, then those that lead from it to an authority. */
static bool use_chain(SSL_CTX *ctx, BIO *b)
{
    X509 *x = PEM_read_bio_X509_AUX(b, NULL, no_passphrase, NULL);
    bool ok = x && SSL_CTX_use_certificate(ctx, x) == 1;
    X509_free(x);
    while (ok && (x = PEM_read_bio_X509(b, NULL, no_passphrase, NULL))) {
        ok = SSL_CTX_add0_chain_cert(ctx, x) == 1;
        if (!ok)
            X509_free(x);
    }
    return ok && at_end_of_pem();
}

static bool use_key(SSL_CTX *ctx, BIO *b)
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(b, NULL, no_passphrase, NULL);
    bool ok = key && SSL_CTX_use_PrivateKey(ctx, key) == 1;
    EVP_PKEY_free(key);
    return ok;
}

/* key NULL: it is where the certificate is. */
static bool load_identity(SSL_CTX *ctx, const char *cert, const char *key, struct problem *p)
{
    BIO *b = open_pem(cert, p);
    if (!b)
        return false;
    bool ok = use_chain(ctx, b);
    if (!ok)
        complain(p, "EINVAL", title(cert), why_ssl());
    BIO_free(b);
    if (!ok)
        return false;
    if (!key)
        key = cert;
    if (!(b = open_pem(key, p)))
        return false;
    ok = use_key(ctx, b) && SSL_CTX_check_private_key(ctx) == 1;
    if (!ok)
        complain(p, "EINVAL", title(key), why_ssl());
    BIO_free(b);
    return ok;
}

static bool add_authorities(SSL_CTX *ctx, BIO *b, bool server)
{
    X509 *x;
    int n = 0;
    bool ok = true;
    while (ok && (x = PEM_read_bio_X509_AUX(b, NULL, no_passphrase, NULL))) {
        n++;
        ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), x) == 1 &&
             (!server || SSL_CTX_add_client_CA(ctx, x) == 1);
        X509_free(x);
    }
    return ok && n > 0 && at_end_of_pem();
}

static bool load_authorities(SSL_CTX *ctx, const char *ca, bool server, struct problem *p)
{
    struct stat st;
    if (!is_pem(ca) && stat(ca, &st) == 0 && S_ISDIR(st.st_mode))
        return SSL_CTX_load_verify_dir(ctx, ca) == 1 || complain(p, "EINVAL", ca, why_ssl());
    BIO *b = open_pem(ca, p);
    if (!b)
        return false;
    bool ok = add_authorities(ctx, b, server);
    if (!ok)
        complain(p, "EINVAL", title(ca), why_ssl());
    BIO_free(b);
    return ok;
}

/* ---- callbacks of OpenSSL: they touch no Lua ---- */

static struct connection *connection_of(SSL *ssl)
{
    return SSL_get_app_data(ssl);
}

static int take_input(BIO *b, char *to, int n)
{
    struct connection *c = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (c->in_length == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    if ((size_t)n > c->in_length)
        n = (int)c->in_length;
    memcpy(to, c->in, (size_t)n);
    c->in += n;
    c->in_length -= (size_t)n;
    return n;
}

static int put_output(BIO *b, const char *p, int n)
{
    struct connection *c = BIO_get_data(b);
    c->tls.emit(c->tls.owner, p, (size_t)n);
    return n;
}

static long control(BIO *b, int command, long argument, void *pointer)
{
    (void)b, (void)argument, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

/* Whether a certificate's name, which may begin with "*.", stands for `name`. */
static bool matches(const char *pattern, const char *name)
{
    if (strcasecmp(pattern, name) == 0)
        return true;
    const char *dot = strchr(name, '.');
    return pattern[0] == '*' && pattern[1] == '.' && dot && dot > name &&
           strcasecmp(pattern + 1, dot) == 0;
}

/* A name that nobody knows gets the listener's own certificate. */
static int choose_host(SSL *ssl, int *alert, void *ud)
{
    (void)alert, (void)ud;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    struct host *h = connection_of(ssl)->context->hosts;
    while (name && h && !matches(h->name, name))
        h = h->next;
    if (name && h)
        SSL_set_SSL_CTX(ssl, h->ctx);
    return SSL_TLSEXT_ERR_OK;
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *n,
                           const unsigned char *in, unsigned in_length, void *ud)
{
    (void)ud;
    const struct context *c = connection_of(ssl)->context;
    unsigned char *found;
    if (SSL_select_next_proto(&found, n, c->protocols, (unsigned)c->protocols_length, in,
                              in_length) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = found;
    return SSL_TLSEXT_ERR_OK;
}

/* Returns 1 if it keeps the session. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct connection *c = connection_of(ssl);
    struct store *s = c->context->store;
    if (!s)
        return 0;
    SSL_SESSION_free(s->session);
    s->session = session;
    memcpy(s->digest, c->digest, DIGEST);
    return 1;
}

/* ---- options ---- */

static const char *const known[] = {
    "ca",  "cert",        "key",     "verify", "hostname",          "alpn",
    "sni", "min_version", "session", "server", "handshake_timeout", NULL};

/* Pushes an option; its text if it is a string, NULL if it is nil; else raises. [E] */
static const char *text_option(lua_State *L, int i, const char *name)
{
    size_t n;
    if (lua_getfield(L, i, name) == LUA_TNIL)
        return NULL;
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "bad tls option '%s' (string expected, got %s)", name,
                   luaL_typename(L, -1));
    const char *text = lua_tolstring(L, -1, &n);
    if (strlen(text) != n || n == 0)
        luaL_error(L, "bad tls option '%s' (empty, or a zero in it)", name);
    return text;
}

static void check_options(lua_State *L, int i)
{
    for (lua_pushnil(L); lua_next(L, i); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        int k = 0;
        while (known[k] && strcmp(known[k], name) != 0)
            k++;
        if (!known[k])
            luaL_error(L, "no tls option '%s'", name);
    }
}

static int version_option(lua_State *L, int i)
{
    const char *version = text_option(L, i, "min_version");
    int found = !version || strcmp(version, "1.2") == 0 ? TLS1_2_VERSION
                : strcmp(version, "1.3") == 0           ? TLS1_3_VERSION
                                                        : 0;
    if (!found)
        luaL_error(L, "bad tls option 'min_version' (\"1.2\" or \"1.3\" expected)");
    lua_pop(L, 1);
    return found;
}

static double patience_option(lua_State *L, int i)
{
    double patience = handshake_patience;
    if (lua_getfield(L, i, "handshake_timeout") != LUA_TNIL) {
        patience = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
        if (!(patience >= 0))
            luaL_error(L, "bad tls option 'handshake_timeout' (seconds expected)");
    }
    lua_pop(L, 1);
    return patience;
}

static void host_option(lua_State *L, int i, struct context *c)
{
    const char *host = text_option(L, i, "hostname");
    if (host && strlen(host) > HOST_MAX)
        luaL_error(L, "bad tls option 'hostname' (too long)");
    if (host)
        strcpy(c->host, host);
    lua_pop(L, 1);
}

/* Writes the list on the top as ALPN has it on the wire, unless `to` is NULL; how long. */
static size_t write_protocols(lua_State *L, unsigned char *to)
{
    size_t total = 0;
    for (lua_Integer k = 1; lua_rawgeti(L, -1, k) != LUA_TNIL; k++) {
        size_t n = lua_type(L, -1) == LUA_TSTRING ? lua_rawlen(L, -1) : 0;
        if (n == 0 || n > 255)
            luaL_error(L, "bad tls option 'alpn' (list of names of 1 to 255 bytes expected)");
        if (to) {
            to[total] = (unsigned char)n;
            memcpy(to + total + 1, lua_tostring(L, -1), n);
        }
        total += n + 1;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return total;
}

static void protocols_option(lua_State *L, int i, struct context *c)
{
    if (lua_getfield(L, i, "alpn") != LUA_TNIL) {
        size_t n = lua_istable(L, -1) ? write_protocols(L, NULL) : 0;
        if (n == 0 || n > 65535)
            luaL_error(L, "bad tls option 'alpn' (list of names expected)");
        c->protocols = malloc(n);
        if (!c->protocols)
            luaL_error(L, "not enough memory");
        c->protocols_length = write_protocols(L, c->protocols);
    }
    lua_pop(L, 1);
}

static void session_option(lua_State *L, int i, struct context *c)
{
    if (lua_getfield(L, i, "session") != LUA_TNIL) {
        struct store **s = luaL_testudata(L, -1, SESSION_CLASS);
        if (!s)
            luaL_error(L, "bad tls option 'session' (what tls.session() gives expected)");
        c->store = *s;
        c->store->refs++;
    }
    lua_pop(L, 1);
}

/* What a verified session depends on, beside the host. */
static bool digest_trust(struct context *c, const char *ca, const char *cert)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    const char *parts[] = {c->verify ? "verified" : "not verified", ca ? ca : "",
                           cert ? cert : ""};
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
    for (int i = 0; ok && i < 3; i++)
        ok = EVP_DigestUpdate(md, parts[i], strlen(parts[i]) + 1) == 1;
    ok = ok && EVP_DigestFinal_ex(md, c->trust, NULL) == 1;
    EVP_MD_CTX_free(md);
    return ok;
}

/* An SSL_CTX with all that does not depend on files. */
static SSL_CTX *new_ctx(const struct context *c, int min_version)
{
    static const char suites[] = "ECDHE+AESGCM:ECDHE+CHACHA20";
    SSL_CTX *ctx = SSL_CTX_new(c->server ? TLS_server_method() : TLS_client_method());
    if (!ctx)
        return NULL;
    SSL_CTX_set_security_level(ctx, 2);
    SSL_CTX_set_min_proto_version(ctx, min_version);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    if (c->server) {
        SSL_CTX_set_cipher_list(ctx, suites);
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets need none */
        SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"neap", 4);
        SSL_CTX_set_tlsext_servername_callback(ctx, choose_host);
        if (c->protocols)
            SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    } else {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ctx, keep_session);
        if (c->protocols)
            SSL_CTX_set_alpn_protos(ctx, c->protocols, (unsigned)c->protocols_length);
    }
    return ctx;
}

static bool load_files(struct context *c, const char *ca, const char *cert, const char *key,
                       struct problem *p)
{
    if (cert && !load_identity(c->ctx, cert, key, p))
        return false;
    if (ca && !load_authorities(c->ctx, ca, c->server, p))
        return false;
    if (c->server ? !ca || !c->verify : !c->verify)
        return true;
    SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return ca || SSL_CTX_set_default_verify_paths(c->ctx) == 1 ||
           complain(p, "EINVAL", "system trust", why_ssl());
}

/* The entry of `sni` whose name and options are on the top. False with *p. [E] */
static bool add_host(lua_State *L, struct context *c, int min_version, struct problem *p)
{
    int entry = lua_gettop(L);
    if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1))
        luaL_error(L, "bad tls option 'sni' (name = { cert =, key = } expected)");
    const char *name = lua_tostring(L, -2), *cert = text_option(L, entry, "cert");
    const char *key = text_option(L, entry, "key");
    if (!cert)
        luaL_error(L, "bad tls option 'sni' (no cert for %s)", name);
    struct host *h = calloc(1, sizeof *h + strlen(name) + 1);
    if (!h)
        luaL_error(L, "not enough memory");
    strcpy(h->name, name);
    h->next = c->hosts;
    c->hosts = h;
    h->ctx = new_ctx(c, min_version);
    bool ok = h->ctx ? load_identity(h->ctx, cert, key, p)
                     : complain(p, "ENOMEM", name, "not enough memory");
    lua_settop(L, entry);
    return ok;
}

static bool hosts_option(lua_State *L, int i, struct context *c, int min_version,
                         struct problem *p)
{
    bool ok = true;
    if (lua_getfield(L, i, "sni") != LUA_TNIL) {
        if (!lua_istable(L, -1))
            luaL_error(L, "bad tls option 'sni' (table expected)");
        int hosts = lua_gettop(L);
        for (lua_pushnil(L); ok && lua_next(L, hosts); lua_pop(L, 1))
            ok = add_host(L, c, min_version, p);
        lua_settop(L, hosts);
    }
    lua_pop(L, 1);
    return ok;
}

static bool verify_option(lua_State *L, int i)
{
    bool verify = lua_getfield(L, i, "verify") == LUA_TNIL || lua_toboolean(L, -1);
    lua_pop(L, 1);
    return verify;
}

/* Fills a context from the table at index i. False with *p. [E] */
static bool fill_context(lua_State *L, int i, struct context *c, struct problem *p)
{
    check_options(L, i);
    int top = lua_gettop(L), min_version = version_option(L, i);
    c->verify = verify_option(L, i);
    c->patience = patience_option(L, i);
    host_option(L, i, c);
    protocols_option(L, i, c);
    session_option(L, i, c);
    const char *ca = text_option(L, i, "ca"), *cert = text_option(L, i, "cert"),
               *key = text_option(L, i, "key");
    if (c->server && !cert)
        luaL_error(L, "a tls server needs the option 'cert'");
    if (key && !cert)
        luaL_error(L, "the tls option 'key' needs 'cert'");
    c->ctx = new_ctx(c, min_version);
    if (!c->ctx || !digest_trust(c, ca, cert))
        return complain(p, "ENOMEM", "context", "not enough memory");
    bool ok = load_files(c, ca, cert, key, p) && hosts_option(L, i, c, min_version, p);
    lua_settop(L, top);
    return ok;
}

static struct context *context_new(bool server)
{
    struct context *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->refs = 1;
    c->server = server;
    c->bio = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "neap stream");
    if (!c->bio) {
        free(c);
        return NULL;
    }
    BIO_meth_set_read(c->bio, take_input);
    BIO_meth_set_write(c->bio, put_output);
    BIO_meth_set_ctrl(c->bio, control);
    return c;
}

static bool push_context(lua_State *L, int i, bool server)
{
    struct problem problem;
    i = lua_absindex(L, i);
    if (lua_type(L, i) == LUA_TBOOLEAN && lua_toboolean(L, i)) {
        lua_newtable(L);
        lua_replace(L, i);
    }
    if (!lua_istable(L, i))
        luaL_error(L, "bad option 'tls' (true or a table expected, got %s)",
                   luaL_typename(L, i));
    struct context **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, CONTEXT_CLASS);
    *box = context_new(server);
    if (!*box)
        luaL_error(L, "not enough memory");
    if (fill_context(L, i, *box, &problem))
        return true;
    lua_pushnil(L);
    lua_pushstring(L, problem.text);
    lua_pushstring(L, problem.code);
    return false;
}

static struct context *context_at(lua_State *L, int i)
{
    return *(struct context **)lua_touserdata(L, i);
}

static int collect_context(lua_State *L)
{
    context_drop(context_at(L, 1));
    return 0;
}

/* ---- connections ---- */

static bool is_address(const char *host)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* The host must be one of those in the certificate; a name is told to the server. */
static bool set_host(struct connection *c, const char *host)
{
    X509_VERIFY_PARAM *v = SSL_get0_param(c->ssl);
    char name[HOST_MAX + 1];
    size_t n = strlen(host);
    if (n == 0 || n > HOST_MAX)
        return false;
    memcpy(name, host, n + 1);
    if (is_address(name))
        return !c->context->verify || X509_VERIFY_PARAM_set1_ip_asc(v, name) == 1;
    if (name[n - 1] == '.')
        name[n - 1] = '\0';
    X509_VERIFY_PARAM_set_hostflags(v, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                           X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return SSL_set_tlsext_host_name(c->ssl, name) == 1 &&
           (!c->context->verify || X509_VERIFY_PARAM_set1_host(v, name, 0) == 1);
}

/* A session is for the same host, and was verified as this connection is to be. */
static void offer_session(struct connection *c, const char *host)
{
    struct store *s = c->context->store;
    char text[DIGEST + HOST_MAX + 1];
    size_t n = strlen(host);
    memcpy(text, c->context->trust, DIGEST);
    memcpy(text + DIGEST, host, n);
    EVP_Digest(text, DIGEST + n, c->digest, NULL, EVP_sha256(), NULL);
    if (s && s->session && memcmp(s->digest, c->digest, DIGEST) == 0)
        SSL_set_session(c->ssl, s->session);
}

static const char *host_of(const struct context *c, const char *host)
{
    return *c->host ? c->host : host;
}

static bool knows_host(lua_State *L, int i, const char *host)
{
    const struct context *c = context_at(L, i);
    host = host_of(c, host);
    return !c->verify || (host && *host && strlen(host) <= HOST_MAX);
}

static bool prepare(struct connection *c, const char *host)
{
    c->ssl = SSL_new(c->context->ctx);
    BIO *b = c->ssl ? BIO_new(c->context->bio) : NULL;
    if (!b)
        return false;
    BIO_set_data(b, c);
    BIO_set_init(b, 1);
    SSL_set_bio(c->ssl, b, b);
    SSL_set_app_data(c->ssl, c);
    if (c->context->server) {
        SSL_set_accept_state(c->ssl);
        return true;
    }
    SSL_set_connect_state(c->ssl);
    if (host && *host && !set_host(c, host))
        return false;
    offer_session(c, host ? host : "");
    return true;
}

static void connection_free(struct tls *t)
{
    struct connection *c = (struct connection *)t;
    SSL_free(c->ssl);
    context_drop(c->context);
    free(c);
}

static const struct part_tls provided;

static struct tls *begin(lua_State *L, int i, const char *host)
{
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    ERR_clear_error();
    c->context = context_at(L, i);
    c->context->refs++;
    c->tls.part = &provided;
    c->tls.patience = c->context->patience;
    if (!prepare(c, host_of(c->context, host))) {
        connection_free(&c->tls);
        return NULL;
    }
    return &c->tls;
}

static void broken(struct connection *c)
{
    struct tls *t = &c->tls;
    unsigned long e = ERR_peek_error();
    const char *why = ERR_reason_error_string(e);
    bool verify =
        ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    long found = SSL_get_verify_result(c->ssl);
    t->error = EPROTO;
    t->code = verify ? "ECERT" : "EPROTO";
    snprintf(t->reason, sizeof t->reason, verify ? "tls: %s: %s" : "tls: %s",
             why ? why : "protocol error", verify ? X509_verify_cert_error_string(found) : "");
    ERR_clear_error();
}

static size_t open_records(struct tls *t, const char *from, size_t n, char *to)
{
    struct connection *c = (struct connection *)t;
    size_t total = 0, got, room = n + TLS_AHEAD;
    if (t->error || t->ended)
        return 0;
    c->in = from;
    c->in_length = n;
    ERR_clear_error();
    while (total < room && SSL_read_ex(c->ssl, to + total, room - total, &got) == 1)
        total += got;
    int why = SSL_get_error(c->ssl, 0);
    if (SSL_is_init_finished(c->ssl))
        t->ready = true;
    if (why == SSL_ERROR_ZERO_RETURN)
        t->ended = true;
    else if (why != SSL_ERROR_WANT_READ)
        broken(c);
    c->in_length = 0;
    return total;
}

static size_t seal(struct tls *t, const char *p, size_t n)
{
    struct connection *c = (struct connection *)t;
    size_t done = 0;
    if (t->error)
        return 0;
    ERR_clear_error();
    if (SSL_write_ex(c->ssl, p, n < RECORD_MAX ? n : RECORD_MAX, &done) == 1)
        return done;
    broken(c);
    return 0;
}

static void end(struct tls *t)
{
    SSL *ssl = ((struct connection *)t)->ssl;
    ERR_clear_error();
    if (t->ready && !t->error && !(SSL_get_shutdown(ssl) & SSL_SENT_SHUTDOWN))
        SSL_shutdown(ssl);
    ERR_clear_error();
}

/* ---- what stream:tls() gives ---- */

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
    char text[TEXT_MAX];
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

static void push_state(lua_State *L, struct tls *const *t)
{
    unsigned char protocol[256];
    const unsigned char *chosen = NULL;
    unsigned n = 0;
    luaL_checkstack(L, 10, NULL);
    struct peer *p = lua_newuserdatauv(L, sizeof *p, 0);
    *p = (struct peer){0};
    luaL_setmetatable(L, PEER_CLASS);
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

/* ---- the module ---- */

/* tls.session(): where clients that are given it in their options keep their last session */
static int new_session(lua_State *L)
{
    struct store **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, SESSION_CLASS);
    *box = calloc(1, sizeof **box);
    if (!*box)
        return luaL_error(L, "not enough memory");
    (*box)->refs = 1;
    return 1;
}

static int collect_session(lua_State *L)
{
    store_drop(*(struct store **)lua_touserdata(L, 1));
    return 0;
}

static const struct part_tls provided = {
    .table = PART_TABLE(struct part_tls),
    .push_context = push_context,
    .knows_host = knows_host,
    .begin = begin,
    .open = open_records,
    .seal = seal,
    .end = end,
    .free = connection_free,
    .push_state = push_state,
};

static void new_class(lua_State *L, const char *name, lua_CFunction collect)
{
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, collect);
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

__attribute__((visibility("default"))) int luaopen_neap_tls(lua_State *L);

int luaopen_neap_tls(lua_State *L)
{
    static const luaL_Reg functions[] = {{"session", new_session}, {NULL, NULL}};
    OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL);
    new_class(L, CONTEXT_CLASS, collect_context);
    new_class(L, SESSION_CLASS, collect_session);
    new_class(L, PEER_CLASS, collect_peer);
    lua_pushlightuserdata(L, (void *)&provided);
    lua_setfield(L, LUA_REGISTRYINDEX, PART_TLS);
    luaL_newlib(L, functions);
    lua_pushstring(L, OpenSSL_version(OPENSSL_VERSION));
    lua_setfield(L, -2, "library");
    return 1;
}
