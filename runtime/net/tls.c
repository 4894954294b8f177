/* The optional part neap.tls, on OpenSSL 3: records. net/tls.h says how streams use it.
**
** An SSL reads from a window on the bytes that its stream has just received, and always takes
** all of them: what is left of a record it keeps itself. What it writes goes to the stream at
** once. So no copy of the encrypted bytes is kept here, and no call ever waits. */
#define _GNU_SOURCE
#include "net/tls_openssl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/x509v3.h>

enum { RECORD_MAX = 16384 };

/* ---- input and output of OpenSSL ---- */

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

BIO_METHOD *tls_new_bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "neap stream");
    if (m) {
        BIO_meth_set_read(m, take_input);
        BIO_meth_set_write(m, put_output);
        BIO_meth_set_ctrl(m, control);
    }
    return m;
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
    char name[TLS_HOST_MAX + 1];
    size_t n = strlen(host);
    if (n == 0 || n > TLS_HOST_MAX)
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

static const char *host_of(const struct context *c, const char *host)
{
    return c->host ? c->host : host;
}

static bool knows_host(lua_State *L, int i, const char *host)
{
    const struct context *c = tls_context_at(L, i);
    host = host_of(c, host);
    return !c->verify || (host && *host && strlen(host) <= TLS_HOST_MAX);
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
    tls_offer_session(c, host ? host : "");
    return true;
}

static void connection_free(struct tls *t)
{
    struct connection *c = (struct connection *)t;
    SSL_free(c->ssl);
    tls_context_drop(c->context);
    free(c);
}

static const struct part_tls provided;

static struct tls *begin(lua_State *L, int i, const char *host)
{
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    ERR_clear_error();
    c->context = tls_context_at(L, i);
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

/* OpenSSL tells the last failure by what lies in the thread's queue, to which others add too. */
static void forget_errors(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

/* SSL_read has given nothing. */
static void notice(struct connection *c)
{
    int why = SSL_get_error(c->ssl, 0);
    if (why == SSL_ERROR_ZERO_RETURN)
        c->tls.ended = true;
    else if (why != SSL_ERROR_WANT_READ)
        broken(c);
}

static size_t open_records(struct tls *t, const char *from, size_t n, char *to)
{
    struct connection *c = (struct connection *)t;
    size_t total = 0, got, room = n + TLS_AHEAD;
    if (t->error || t->ended)
        return 0;
    c->in = from;
    c->in_length = n;
    forget_errors();
    do {
        if (SSL_read_ex(c->ssl, to + total, room - total, &got) != 1) {
            notice(c);
            break;
        }
        total += got;
    } while (total < room && (c->in_length > 0 || SSL_has_pending(c->ssl)));
    if (!t->ready)
        t->ready = SSL_is_init_finished(c->ssl);
    t->stuck = t->stuck && !t->error && SSL_in_init(c->ssl);
    if (total == 0 || !c->context->server) /* to a client, tickets come along with text */
        SSL_free_buffers(c->ssl);          /* a message of TLS's own leaves one for writing */
    c->in_length = 0;
    return total;
}

static size_t seal(struct tls *t, const char *p, size_t n)
{
    struct connection *c = (struct connection *)t;
    size_t done = 0;
    if (t->error)
        return 0;
    forget_errors();
    if (SSL_write_ex(c->ssl, p, n < RECORD_MAX ? n : RECORD_MAX, &done) == 1)
        return done;
    if (SSL_get_error(c->ssl, 0) == SSL_ERROR_WANT_READ)
        t->stuck = true;
    else
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

/* ---- the module ---- */

static const struct part_tls provided = {
    .table = PART_TABLE(struct part_tls),
    .push_context = tls_push_context,
    .knows_host = knows_host,
    .begin = begin,
    .open = open_records,
    .seal = seal,
    .end = end,
    .free = connection_free,
    .push_state = tls_push_state,
};

void tls_new_class(lua_State *L, const char *name, lua_CFunction collect)
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
    static const luaL_Reg functions[] = {{"session", tls_new_session}, {NULL, NULL}};
    OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL);
    tls_open_cache(L);
    tls_open_contexts(L);
    tls_open_sessions(L);
    tls_open_peers(L);
    lua_pushlightuserdata(L, (void *)&provided);
    lua_setfield(L, LUA_REGISTRYINDEX, PART_TLS);
    luaL_newlib(L, functions);
    lua_pushstring(L, OpenSSL_version(OPENSSL_VERSION));
    lua_setfield(L, -2, "library");
    return 1;
}
