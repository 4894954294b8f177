#define _GNU_SOURCE
#include "http/transfer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    HIGH_WATER = 65536, /* bytes of a body that wait to be read */
    MAX_FIELDS = 500,
    MAX_ANSWERS = 16, /* heads of status 1xx, and the last one */
    MAX_SENDS = 2     /* of a request that may be sent twice */
};

/* ---- bytes ---- */

static bool bytes_add(struct pool *p, struct bytes *b, const char *s, size_t n)
{
    if (b->room - b->n < n) {
        size_t room = b->room ? b->room * 2 : 1024;
        while (room - b->n < n)
            room *= 2;
        char *q = p->core->memory_resize(&p->rt->memory, b->p, b->room, room);
        if (!q)
            return false;
        b->p = q;
        b->room = room;
    }
    memcpy(b->p + b->n, s, n);
    b->n += n;
    return true;
}

static void bytes_free(struct pool *p, struct bytes *b)
{
    if (b->p)
        p->core->memory_resize(&p->rt->memory, b->p, b->room, 0);
    *b = (struct bytes){NULL, 0, 0};
}

/* ---- waking, failing ---- */

bool transfer_ready(const struct transfer *t, int want)
{
    return t->over || t->hungry || (want & WANT_HEAD && t->has_head) ||
           (want & WANT_DATA && t->body.n > t->taken) || (want & WANT_SENT && t->sends > 0);
}

static void wake(struct transfer *t)
{
    if (!transfer_ready(t, t->wants))
        return;
    t->wants = 0;
    t->pool->core->wait_wake_all(t->pool->rt, &t->waiters, WAKE_SERVED);
}

static void moved(struct transfer *t)
{
    t->moved = t->pool->now;
}

/* The first failure is the one that is told. Returns 0: libcurl's callbacks then end it. */
static size_t fail(struct transfer *t, const char *code, const char *why)
{
    if (!t->code) {
        t->code = code;
        t->why = why;
    }
    return 0;
}

/* ---- the head ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* HTTP/1.1 200 OK, HTTP/2 200: the status, or -1. */
static int parse_status(const char *s, size_t n)
{
    const char *end = s + n, *p = memchr(s, ' ', n);
    if (n < 10 || !p || end - p < 4 || memcmp(s, "HTTP/", 5) != 0)
        return -1;
    p++;
    if (!is_digit(p[0]) || !is_digit(p[1]) || !is_digit(p[2]) || p[0] == '0')
        return -1;
    if (end - p > 3 && p[3] != ' ' && p[3] != '\r' && p[3] != '\n')
        return -1;
    return (p[0] - '0') * 100 + (p[1] - '0') * 10 + p[2] - '0';
}

static size_t begin_head(struct transfer *t, const char *s, size_t n)
{
    t->status = parse_status(s, n);
    if (t->status < 0)
        return fail(t, "EPROTO", "the server's status line makes no sense");
    if (t->status == 101)
        return fail(t, "EPROTO", "the server changes the protocol, which nobody asked for");
    if (++t->answers > MAX_ANSWERS)
        return fail(t, "EPROTO", "too many answers of status 1xx");
    t->in_head = true;
    t->shared = s[5] >= '2';
    t->head.n = 0;
    t->fields = 0;
    t->has_length = t->coded = false;
    if (t->nobody || t->status == 204 || t->status == 304)
        curl_easy_setopt(t->easy, CURLOPT_VERBOSE, 1L); /* for on_message */
    return n;
}

/* Length of a field's name, or 0 if it is none. */
static size_t name_length(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n && s[i] > ' ' && s[i] < 127 && !strchr("()<>@,;:\\\"/[]?={}", s[i]))
        i++;
    return i < n && s[i] == ':' ? i : 0;
}

static bool is_field(const char *s, size_t n, const char *name)
{
    return n == strlen(name) && strncasecmp(s, name, n) == 0;
}

/* A length that says one thing only: "5", "5, 5". */
static bool take_length(struct transfer *t, const char *s, const char *end)
{
    while (s < end) {
        uint64_t length = 0;
        const char *first;
        while (s < end && (*s == ' ' || *s == '\t'))
            s++;
        for (first = s; s < end && is_digit(*s); s++) {
            if (length > UINT64_MAX / 20)
                return false;
            length = length * 10 + (uint64_t)(*s - '0');
        }
        if (s == first || (t->has_length && t->length != length))
            return false;
        t->has_length = true;
        t->length = length;
        while (s < end && (*s == ' ' || *s == '\t'))
            s++;
        if (s < end && *s++ != ',')
            return false;
    }
    return t->has_length;
}

/* Chunked, once: none other was asked for. */
static bool take_coding(struct transfer *t, const char *s, const char *end)
{
    static const char chunked[] = "chunked";
    size_t n = sizeof chunked - 1;
    bool again = t->coded;
    while (s < end && (*s == ' ' || *s == '\t'))
        s++;
    while (s < end && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    t->coded = true;
    return !again && (size_t)(end - s) == n && strncasecmp(s, chunked, n) == 0;
}

/* What two readers could take for the length of different bodies is refused. */
static size_t take_field(struct transfer *t, const char *s, size_t n)
{
    size_t name = name_length(s, n);
    const char *end = s + n;
    if (name == 0)
        return fail(t, "EPROTO", "a header of the server makes no sense");
    while (end > s && (end[-1] == '\n' || end[-1] == '\r'))
        end--;
    if (memchr(s, '\0', n) || memchr(s, '\r', (size_t)(end - s)))
        return fail(t, "EPROTO", "a header of the server has a CR or NUL");
    if (is_field(s, name, "content-length") && !take_length(t, s + name + 1, end))
        return fail(t, "EPROTO", "the server's Content-Length makes no sense");
    if (is_field(s, name, "transfer-encoding") && !take_coding(t, s + name + 1, end))
        return fail(t, "EPROTO", "the server's body has a coding that nobody asked for");
    if (t->coded && t->has_length)
        return fail(t, "EPROTO", "the server's body has both a length and a coding");
    if (++t->fields > MAX_FIELDS)
        return fail(t, "EMSGSIZE", "the server's head has too many fields");
    return n;
}

static size_t end_head(struct transfer *t, size_t n)
{
    t->in_head = false;
    if (t->status == 204 && (t->coded || (t->has_length && t->length > 0)))
        t->unfit = true; /* it announces what it cannot have */
    if (t->status >= 200) {
        t->has_head = true;
        wake(t);
    }
    return n;
}

/* Each line of a head, and of trailers, which are dropped. */
static size_t on_header(char *s, size_t size, size_t count, void *ud)
{
    struct transfer *t = ud;
    size_t n = size * count;
    bool blank = n > 0 && (s[0] == '\r' || s[0] == '\n');
    moved(t);
    t->head_bytes += n;
    if (t->head_bytes > t->max_head)
        return fail(t, "EMSGSIZE", "the server's head is too long");
    if (t->has_head)
        return n;
    if (!t->in_head)
        return blank ? n : begin_head(t, s, n);
    if (blank)
        return end_head(t, n);
    if (take_field(t, s, n) == 0)
        return 0;
    if (!bytes_add(t->pool, &t->head, s, n))
        return fail(t, "ENOMEM", "not enough memory");
    return n;
}

/* ---- bodies ---- */

static size_t on_body(char *s, size_t size, size_t count, void *ud)
{
    struct transfer *t = ud;
    size_t n = size * count;
    if (t->streams && t->body.n - t->taken >= HIGH_WATER) {
        t->in_paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    moved(t);
    t->received += n;
    if (t->received > t->max_body)
        return n > 0 ? fail(t, "EMSGSIZE", "the body is too long") : 0;
    if (t->skips)
        return n;
    if (!bytes_add(t->pool, &t->body, s, n))
        return fail(t, "ENOMEM", "not enough memory");
    wake(t);
    return n;
}

static size_t on_hunger(char *to, size_t size, size_t count, void *ud)
{
    struct transfer *t = ud;
    size_t n = size * count, left = t->out_length - t->out_at;
    moved(t);
    if (left == 0 && t->pieces && !t->out_ended) {
        t->hungry = true;
        wake(t);
        return CURL_READFUNC_PAUSE;
    }
    if (n > left)
        n = left;
    if (n > 0)
        memcpy(to, t->out + t->out_at, n);
    t->out_at += n;
    return n;
}

/* What comes behind an answer that has no body is dropped by libcurl 7, which says so and uses
** the connection again; where one answer ends and the next begins is then anybody's guess. */
static int on_message(CURL *easy, curl_infotype type, char *s, size_t n, void *ud)
{
    static const char excess[] = "Excess found";
    struct transfer *t = ud;
    (void)easy;
    if (type == CURLINFO_TEXT && n >= sizeof excess - 1 &&
        memcmp(s, excess, sizeof excess - 1) == 0)
        t->unfit = true;
    return 0;
}

/* libcurl wants to send it again. */
static int on_rewind(void *ud, curl_off_t offset, int origin)
{
    struct transfer *t = ud;
    if (!t->idempotent || origin != SEEK_SET || (size_t)offset > t->out_length)
        return CURL_SEEKFUNC_FAIL;
    t->out_at = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* There is a connection, and nothing was sent on it yet. */
static int before_request(void *ud, char *address, char *local_address, int port,
                          int local_port)
{
    struct transfer *t = ud;
    if (!pool_use(t, address, port, local_address, local_port)) {
        t->stale = true;
        return CURL_PREREQFUNC_ABORT;
    }
    if (++t->sends <= (t->idempotent ? MAX_SENDS : 1)) {
        wake(t);
        return CURL_PREREQFUNC_OK;
    }
    fail(t, "ECONNRESET", "the server has closed the connection");
    return CURL_PREREQFUNC_ABORT;
}

/* libcurl is about to look up a name, in a thread: only what is an address, without one. */
static int before_lookup(void *resolver, void *reserved, void *ud)
{
    (void)resolver, (void)reserved;
    return !((struct transfer *)ud)->in_figures;
}

static void unpause(struct transfer *t)
{
    struct pool *p = t->pool;
    p->now = pool_now(p);
    p->inside = true;
    curl_easy_pause(t->easy, transfer_pauses(t));
    p->inside = false;
    pool_settle(p);
}

void transfer_feed(struct transfer *t, const char *piece, size_t n)
{
    t->out = piece;
    t->out_length = n;
    t->out_at = 0;
    t->out_ended = !piece;
    if (!t->hungry)
        return;
    t->hungry = false;
    if (t->easy)
        unpause(t);
}

void transfer_took(struct transfer *t, size_t n)
{
    t->taken += n;
    if (t->taken == t->body.n)
        t->taken = t->body.n = 0;
    if (!t->easy || !t->in_paused || t->body.n - t->taken >= HIGH_WATER / 2)
        return;
    t->in_paused = false;
    unpause(t);
}

/* ---- the end of TLS ---- */

/* libcurl 7.88 does not tell OpenSSL that a socket has ended, which then cannot tell that the
** peer's close_notify is missing: a response without a length could be cut. So its BIO, that of
** OpenSSL alone, is looked after here. */
#if __has_include(<openssl/ssl.h>)
#include <openssl/ssl.h>

/* After each call of a connection's BIO; what it returns counts. The BIO's callback argument is
** set when it has come to its end. */
static long on_bio(BIO *b, int call, const char *p, size_t n, int command, long argument,
                   int result, size_t *got)
{
    (void)p, (void)n, (void)argument, (void)got;
    if (call == (BIO_CB_READ | BIO_CB_RETURN))
        BIO_set_callback_arg(b, result == 0 && !BIO_should_retry(b) ? (char *)b : NULL);
    if (call == (BIO_CB_CTRL | BIO_CB_RETURN) && command == BIO_CTRL_EOF)
        return result || BIO_get_callback_arg(b);
    return result;
}

static void on_handshake(const SSL *ssl, int where, int result)
{
    (void)result;
    if (where & SSL_CB_HANDSHAKE_DONE)
        BIO_set_callback_ex(SSL_get_rbio(ssl), on_bio);
}

/* A new connection's SSL_CTX, if libcurl has OpenSSL. */
static CURLcode on_context(CURL *e, void *ctx, void *ud)
{
    const char *library = curl_version_info(CURLVERSION_NOW)->ssl_version;
    (void)e, (void)ud;
    if (library && strncmp(library, "OpenSSL/3", 9) == 0)
        SSL_CTX_set_info_callback(ctx, on_handshake);
    return CURLE_OK;
}
#else
#define on_context NULL
#endif

/* ---- beginning and end ---- */

int transfer_init(struct transfer *t)
{
    struct pool *p = t->pool;
    CURL *e = t->easy = pool_take_handle(p);
    if (!e)
        return -ENOMEM;
    t->moved = pool_now(p);
    curl_easy_setopt(e, CURLOPT_PRIVATE, t);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->message);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(e, CURLOPT_SSL_SESSIONID_CACHE, 0L); /* it would outlive a reset */
    curl_easy_setopt(e, CURLOPT_SSL_CTX_FUNCTION, on_context);
    curl_easy_setopt(e, CURLOPT_NOPROXY, ""); /* not the environment's */
    curl_easy_setopt(e, CURLOPT_USERAGENT, "neap");
    curl_easy_setopt(e, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
    curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, pool_open_socket);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, t);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, pool_close_socket);
    curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, p);
    curl_easy_setopt(e, CURLOPT_RESOLVER_START_FUNCTION, before_lookup);
    curl_easy_setopt(e, CURLOPT_RESOLVER_START_DATA, t);
    curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, before_request);
    curl_easy_setopt(e, CURLOPT_PREREQDATA, t);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(e, CURLOPT_READFUNCTION, on_hunger);
    curl_easy_setopt(e, CURLOPT_READDATA, t);
    curl_easy_setopt(e, CURLOPT_DEBUGFUNCTION, on_message);
    curl_easy_setopt(e, CURLOPT_DEBUGDATA, t);
    curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_rewind);
    curl_easy_setopt(e, CURLOPT_SEEKDATA, t);
    if (p->shared) {
        curl_easy_setopt(e, CURLOPT_SHARE, p->shared);
        curl_easy_setopt(e, CURLOPT_COOKIEFILE, "");
    }
    return 0;
}

/* Lets go of all that libcurl has of it. */
static void drop_handle(struct transfer *t)
{
    pool_give_handle(t->pool, t->easy, t->ok && !t->secret);
    curl_slist_free_all(t->headers);
    curl_slist_free_all(t->addresses);
    t->easy = NULL;
    t->headers = t->addresses = NULL;
    t->hungry = t->in_paused = false;
    t->over = true;
}

/* What libcurl's results are called here. */
static const char *code_of(CURLcode result)
{
    static const struct {
        CURLcode result;
        const char *code;
    } codes[] = {
        {CURLE_COULDNT_RESOLVE_HOST, "ENOTFOUND"}, {CURLE_COULDNT_RESOLVE_PROXY, "ENOTFOUND"},
        {CURLE_GOT_NOTHING, "ECONNRESET"},         {CURLE_SEND_ERROR, "ECONNRESET"},
        {CURLE_RECV_ERROR, "ECONNRESET"},          {CURLE_SEND_FAIL_REWIND, "ECONNRESET"},
        {CURLE_OUT_OF_MEMORY, "ENOMEM"},           {CURLE_PEER_FAILED_VERIFICATION, "ECERT"},
        {CURLE_BAD_CONTENT_ENCODING, "EBADMSG"},   {CURLE_URL_MALFORMAT, "EINVAL"},
        {CURLE_SSL_CACERT_BADFILE, "EINVAL"},      {CURLE_SSL_CERTPROBLEM, "EINVAL"},
    };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].result == result)
            return codes[i].code;
    return "EPROTO";
}

/* It could not connect. */
static void blame_system(struct transfer *t, int error)
{
    const char *who = t->proxied ? "the proxy: " : "";
    snprintf(t->message, sizeof t->message, "%s%s", who, strerrordesc_np(error));
    fail(t, strerrorname_np(error), t->message);
}

/* Says why it has failed, where nothing of ours has. */
static void explain(struct transfer *t, CURLcode result)
{
    long error = t->os_error, refused = 0;
    if (error == 0)
        curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &error);
    curl_easy_getinfo(t->easy, CURLINFO_HTTP_CONNECTCODE, &refused);
    if (result == CURLE_OPERATION_TIMEDOUT)
        fail(t, "ETIMEDOUT", "timeout");
    else if (result == CURLE_PARTIAL_FILE && t->has_head)
        fail(t, "ECONNRESET", "incomplete: the server has closed inside the body");
    else if (result == CURLE_OK)
        fail(t, "ECONNRESET", "the server has closed inside the head");
    else if (result == CURLE_OUT_OF_MEMORY && !t->has_head) /* or of what it lets a line have */
        fail(t, "EMSGSIZE", "the server's head is too long");
    else if (result == CURLE_RECV_ERROR && strstr(t->message, "chunked-encoding"))
        fail(t, "EBADMSG", t->message);
    else if (result == CURLE_RECV_ERROR && refused >= 300) /* by the proxy */
        fail(t, "ECONNREFUSED", t->message);
    else if (result == CURLE_COULDNT_CONNECT && error && strerrorname_np((int)error))
        blame_system(t, (int)error);
    else
        fail(t, code_of(result), *t->message ? t->message : curl_easy_strerror(result));
}

/* Goes another way after an unfit connection: a new one. */
static bool restart(struct transfer *t)
{
    t->stale = false;
    *t->message = '\0';
    pool_stop(t);
    curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, 1L);
    if (pool_begin(t) == 0)
        return true;
    fail(t, "ENOMEM", "not enough memory");
    return false;
}

void transfer_done(struct transfer *t, CURLcode result)
{
    if (t->stale && restart(t))
        return;
    t->ok = result == CURLE_OK && t->has_head;
    if (!t->ok)
        explain(t, result);
    if (!list_empty(&t->all))
        pool_stop(t);
    drop_handle(t);
    wake(t);
}

void transfer_cancel(struct transfer *t)
{
    if (!t->easy)
        return;
    fail(t, "ECLOSED", "closed");
    if (!list_empty(&t->all))
        pool_stop(t);
    drop_handle(t);
    wake(t);
}

void transfer_free(struct transfer *t)
{
    bytes_free(t->pool, &t->head);
    bytes_free(t->pool, &t->body);
    t->taken = 0;
}
