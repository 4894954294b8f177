/* Contexts: what the options of TLS say, read once for all connections that have them. */
#define _GNU_SOURCE
#include "net/tls_openssl.h"

#include <openssl/evp.h>

#define CLASS "neap.tls.context"

static const double handshake_patience = 10;

void tls_context_drop(struct context *c)
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
    tls_store_drop(c->store);
    free(c->protocols);
    free(c->host);
    free(c);
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
    struct host *h = tls_connection_of(ssl)->context->hosts;
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
    const struct context *c = tls_connection_of(ssl)->context;
    unsigned char *found;
    if (SSL_select_next_proto(&found, n, c->protocols, (unsigned)c->protocols_length, in,
                              in_length) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = found;
    return SSL_TLSEXT_ERR_OK;
}

/* ---- options ---- */

static const char *const options[] = {
    "ca",  "cert",        "key",     "verify", "hostname",          "alpn",
    "sni", "min_version", "session", "server", "handshake_timeout", NULL};
static const char *const host_options[] = {"cert", "key", NULL};

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

static void check_options(lua_State *L, int i, const char *const known[])
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
    if (host && strlen(host) > TLS_HOST_MAX)
        luaL_error(L, "bad tls option 'hostname' (too long)");
    if (host && !(c->host = strdup(host)))
        luaL_error(L, "not enough memory");
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
        c->store = tls_store_at(L, -1);
        if (!c->store)
            luaL_error(L, "bad tls option 'session' (what tls.session() gives expected)");
        c->store->refs++;
    }
    lua_pop(L, 1);
}

/* An SSL_CTX with all that does not depend on files. */
static SSL_CTX *new_ctx(const struct context *c)
{
    static const char suites[] = "ECDHE+AESGCM:ECDHE+CHACHA20";
    static const char groups[] = "X25519:P-256:X448:P-384:P-521"; /* none that costs a lot */
    SSL_CTX *ctx = SSL_CTX_new(c->server ? TLS_server_method() : TLS_client_method());
    if (!ctx)
        return NULL;
    SSL_CTX_set_security_level(ctx, 2);
    SSL_CTX_set1_groups_list(ctx, groups);
    SSL_CTX_set_min_proto_version(ctx, c->min_version);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    if (c->server) {
        SSL_CTX_set_cipher_list(ctx, suites);
        SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets need none */
        SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"neap", 4);
        SSL_CTX_set_tlsext_servername_callback(ctx, choose_host);
        if (c->protocols)
            SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    } else {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ctx, tls_keep_session);
        if (c->protocols)
            SSL_CTX_set_alpn_protos(ctx, c->protocols, (unsigned)c->protocols_length);
    }
    return ctx;
}

static bool load_files(struct context *c, const struct sources *s, struct problem *p)
{
    if (s->cert && !tls_load_identity(c->ctx, s->cert, s->key, p))
        return false;
    if (s->ca && !tls_load_authorities(c->ctx, s->ca, c->server, p))
        return false;
    if (c->server ? !s->ca || !c->verify : !c->verify)
        return true;
    SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    if (!s->ca)
        tls_load_system_trust(c->ctx, s);
    return true;
}

/* The entry of `sni` whose name and options are on the top. False with *p. [E] */
static bool add_host(lua_State *L, struct context *c, struct problem *p)
{
    int entry = lua_gettop(L);
    if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1))
        luaL_error(L, "bad tls option 'sni' (name = { cert =, key = } expected)");
    check_options(L, entry, host_options);
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
    h->ctx = new_ctx(c);
    bool ok = h->ctx ? tls_load_identity(h->ctx, cert, key, p)
                     : tls_complain(p, "ENOMEM", name, "not enough memory");
    if (ok) { /* by which a client's certificate is verified, and chosen */
        SSL_CTX_set1_cert_store(h->ctx, SSL_CTX_get_cert_store(c->ctx));
        SSL_CTX_set_client_CA_list(h->ctx, SSL_dup_CA_list(SSL_CTX_get_client_CA_list(c->ctx)));
    }
    lua_settop(L, entry);
    return ok;
}

static bool hosts_option(lua_State *L, int i, struct context *c, struct problem *p)
{
    bool ok = true;
    if (lua_getfield(L, i, "sni") != LUA_TNIL) {
        if (!lua_istable(L, -1))
            luaL_error(L, "bad tls option 'sni' (table expected)");
        int hosts = lua_gettop(L);
        for (lua_pushnil(L); ok && lua_next(L, hosts); lua_pop(L, 1))
            ok = add_host(L, c, p);
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

/* Where the system's authorities are; the environment counts only if the host allows it. */
static void find_system_trust(lua_State *L, struct sources *s)
{
    lua_getfield(L, LUA_REGISTRYINDEX, TLS_ENVIRONMENT);
    bool allowed = lua_toboolean(L, -1);
    lua_pop(L, 1);
    s->trusted_file = allowed ? secure_getenv(X509_get_default_cert_file_env()) : NULL;
    s->trusted_dir = allowed ? secure_getenv(X509_get_default_cert_dir_env()) : NULL;
    if (!s->trusted_file)
        s->trusted_file = X509_get_default_cert_file();
    if (!s->trusted_dir)
        s->trusted_dir = X509_get_default_cert_dir();
}

/* Pushes the options of that name. [E] */
static struct sources sources_option(lua_State *L, int i, bool server)
{
    struct sources s = {text_option(L, i, "ca"), text_option(L, i, "cert"),
                        text_option(L, i, "key"), NULL, NULL};
    find_system_trust(L, &s);
    if (server && !s.cert)
        luaL_error(L, "a tls server needs the option 'cert'");
    if (s.key && !s.cert)
        luaL_error(L, "the tls option 'key' needs 'cert'");
    return s;
}

/* Makes what a context consists of, or takes it from the cache. False with *p. [E] */
static bool make_ctx(lua_State *L, int i, struct context *c, const struct sources *s,
                     bool cached, struct problem *p)
{
    if (!tls_digest(c, s))
        return tls_complain(p, "ENOMEM", "context", "not enough memory");
    if (cached && (c->ctx = tls_cache_find(L, c->digest)))
        return true;
    if (!(c->ctx = new_ctx(c)))
        return tls_complain(p, "ENOMEM", "context", "not enough memory");
    if (!load_files(c, s, p) || !hosts_option(L, i, c, p))
        return false;
    if (cached)
        tls_cache_keep(L, c->digest, c->ctx);
    return true;
}

/* Fills a context from the table at index i. False with *p. [E] */
static bool fill_context(lua_State *L, int i, struct context *c, enum tls_use use,
                         struct problem *p)
{
    int top = lua_gettop(L);
    check_options(L, i, options);
    c->min_version = version_option(L, i);
    c->verify = verify_option(L, i);
    c->patience = patience_option(L, i);
    host_option(L, i, c);
    protocols_option(L, i, c);
    session_option(L, i, c);
    bool cached = use != TLS_LISTENER && lua_getfield(L, i, "sni") == LUA_TNIL;
    struct sources s = sources_option(L, i, c->server);
    bool ok = make_ctx(L, i, c, &s, cached, p);
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
    c->bio = tls_new_bio_method();
    if (!c->bio) {
        free(c);
        return NULL;
    }
    return c;
}

bool tls_push_context(lua_State *L, int i, enum tls_use use)
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
    luaL_setmetatable(L, CLASS);
    *box = context_new(use != TLS_CLIENT);
    if (!*box)
        luaL_error(L, "not enough memory");
    if (fill_context(L, i, *box, use, &problem))
        return true;
    lua_pushnil(L);
    lua_pushstring(L, problem.text);
    lua_pushstring(L, problem.code);
    return false;
}

struct context *tls_context_at(lua_State *L, int i)
{
    return *(struct context **)lua_touserdata(L, i);
}

static int collect_context(lua_State *L)
{
    tls_context_drop(tls_context_at(L, 1));
    return 0;
}

void tls_open_contexts(lua_State *L)
{
    tls_new_class(L, CLASS, collect_context);
}
