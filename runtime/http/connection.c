#include "http/connection.h"

#include "core/tasklet.h"
#include "net/tls.h"

#include <errno.h>
#include <linux/tcp.h>
#include <math.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

/* A body's time grows by a second with so many bytes. */
static const double bytes_per_second = 65536;

enum { SPARE_MAX = 4096 };

/* Into memory that there is not yet, or not enough of. */
static void put_first(struct connection *c, const char *s, size_t n)
{
    struct http_server *server = c->server;
    if (c->out.cap == 0) {
        c->out = server->spare;
        server->spare = (struct buffer){0};
    }
    if (buffer_append(&c->out, &server->rt->memory, s, n) < 0)
        c->no_memory = true;
}

/* All has been sent: the memory serves the next answer, whosever it is. */
static void forget_sent(struct connection *c)
{
    struct http_server *server = c->server;
    if (server->spare.cap > 0 || c->out.cap > SPARE_MAX) {
        buffer_free(&c->out, &server->rt->memory);
        return;
    }
    c->out.from = c->out.to = 0;
    server->spare = c->out;
    c->out = (struct buffer){0};
}

/* Inlined, for an answer is put together of many small pieces. */
static inline void put(struct connection *c, const char *s, size_t n)
{
    struct buffer *b = &c->out;
    if (b->cap - b->to >= n) {
        memcpy(b->data + b->to, s, n);
        b->to += n;
    } else {
        put_first(c, s, n);
    }
}

#define PUT(c, text) put(c, text, sizeof(text) - 1)

/* ---- opening and closing ---- */

static const struct wait_class leaving_class = {.what = "a client to leave", .outside = true};

/* The client has left: who waits for the answer's deferred, or for just this, goes on. */
void connection_leave(struct connection *c)
{
    struct runtime *rt = c->server->rt;
    if (c->gone)
        return;
    c->gone = true;
    wait_wake_all(rt, &c->leaving, WAKE_SERVED);
    if (c->awaits && c->task->state == TASKLET_BLOCKED)
        wait_wake(rt, c->task, WAKE_CLOSED);
    c->awaits = false;
}

/* Input comes while the handler runs. It is kept, up to a limit; an error is the client's
** leaving, and on a unix socket its end is, too. */
static void on_unread(struct stream *s)
{
    struct connection *c = s->owner;
    const char *p;
    if (stream_input(s, &p) >= STREAM_HIGH_WATER) {
        watch_stop(s->rt->reactor, &s->in);
        return;
    }
    int got = stream_fill(s);
    if ((got < 0 && got != -EAGAIN) || (got == 0 && c->peer.sa.ss_family == AF_UNIX))
        connection_leave(c);
}

void connection_open(struct connection *c, struct http_server *server, struct stream *s)
{
    c->server = server;
    c->stream = s;
    s->owner = c;
    s->unread = on_unread;
    wait_queue_init(&c->leaving, &leaving_class);
    list_push_back(&server->connections, &c->all);
    list_init(&c->idle);
    server->count++;
    connection_next(c);
}

void connection_close(struct connection *c)
{
    struct http_server *server = c->server;
    if (!server)
        return;
    struct runtime *rt = server->rt;
    c->server = NULL;
    list_remove(&c->all);
    list_remove(&c->idle);
    server->count--;
    c->stream->unread = NULL;
    if (!c->upgraded || !c->stream->detached)
        stream_close(c->stream);
    buffer_free(&c->in, &rt->memory);
    buffer_free(&c->out, &rt->memory);
    wait_wake_all(rt, &c->leaving, WAKE_CLOSED);
    struct tasklet *t = wait_first(&server->full);
    if (t)
        wait_wake(rt, t, WAKE_SERVED);
    if (server->count == 0) {
        timer_serve_end(rt, &server->idle_timer);
        buffer_free(&server->spare, &rt->memory);
        wait_wake_all(rt, &server->drained, WAKE_SERVED);
    }
}

void connection_next(struct connection *c)
{
    head_parser_reset(&c->parser);
    c->deadline = HUGE_VAL;
    c->waited = 0;
    c->refused = 0;
    c->drained = 0;
    c->sent = 0;
    c->status = 0;
    c->blank = c->begun = c->logged = c->answered = c->ended = c->continued = false;
    c->keep = true;
}

/* ---- idle connections ----
** A timer for each would be armed and disarmed with every request. */

/* The real time, a tick of the kernel's clock exact: one is taken with every request. */
static double tick_now(const struct runtime *rt)
{
    struct timespec t;
    if (rt->real_time.fn)
        return runtime_now(rt);
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void end_idle(struct runtime *rt, struct serving_timer *timer)
{
    struct http_server *server = container_of(timer, struct http_server, idle_timer);
    double now = runtime_now(rt);
    while (!list_empty(&server->idle)) {
        struct connection *c = container_of(server->idle.next, struct connection, idle);
        double left = c->idle_at + server->limits.idle_timeout - now;
        if (left > 0) {
            timer_serve(rt, timer, left);
            return;
        }
        list_remove(&c->idle);
        if (c->task->state == TASKLET_BLOCKED && c->task->on == &c->stream->reader)
            wait_wake(rt, c->task, WAKE_TIMEOUT);
    }
}

void connection_idle(struct connection *c)
{
    struct http_server *server = c->server;
    if (server->limits.idle_timeout == HUGE_VAL || connection_shakes(c))
        return;
    c->idle_at = tick_now(server->rt);
    list_push_back(&server->idle, &c->idle);
    if (server->idle_timer.armed)
        return;
    server->idle_timer.fn = end_idle;
    timer_serve(server->rt, &server->idle_timer, server->limits.idle_timeout);
}

void connection_busy(struct connection *c)
{
    list_remove(&c->idle);
}

/* ---- reading ---- */

void connection_refuse(struct connection *c, int status)
{
    c->refused = status;
    c->keep = false;
}

/* Parses what has come. */
static int parse(struct connection *c)
{
    const char *p;
    size_t n = stream_input(c->stream, &p);
    if (n >= 2 && !c->blank && memcmp(p, "\r\n", 2) == 0) {
        stream_take(c->stream, 2); /* some clients send one behind a body */
        c->blank = true;
        n = stream_input(c->stream, &p);
    }
    if (n == 0 || (n == 1 && *p == '\r' && !c->blank))
        return 0;
    c->begun = true;
    return head_parse(&c->parser, &c->head, p, n, &c->server->limits.head);
}

enum read_head connection_read_head(struct connection *c)
{
    for (;;) {
        int r = c->stream->closed ? 0 : parse(c);
        if (r < 0) {
            connection_refuse(c, -r);
            return HEAD_REFUSED;
        }
        if (r > 0) {
            c->used = true;
            if (c->server->logs)
                c->head_at = runtime_now(c->server->rt);
            body_begin(&c->body, &c->head);
            c->keep = c->head.keep;
            return HEAD_DONE;
        }
        r = connection_flush(c);
        if (r == -EAGAIN)
            return HEAD_NO_ROOM;
        if (r < 0 || c->stream->closed)
            return HEAD_ENDED;
        r = stream_fill(c->stream);
        if (r == -EAGAIN)
            return c->server->draining && !c->begun && c->used ? HEAD_ENDED : HEAD_WAITS;
        if (r <= 0)
            return HEAD_ENDED;
    }
}

bool connection_shakes(const struct connection *c)
{
    return c->stream->tls && !c->stream->tls->ready;
}

enum { FIRST_REQUEST = 1 }; /* seconds for it, of a client that is late */

double connection_head_time(struct connection *c)
{
    struct tls *tls = c->stream->tls;
    if (connection_shakes(c)) {
        if (tls->deadline == 0)
            tls->deadline = runtime_now(c->server->rt) + tls->patience;
        double left = fmax(tls->deadline - runtime_now(c->server->rt), 0);
        return c->server->draining ? fmin(left, FIRST_REQUEST) : left;
    }
    if (!c->begun)
        return c->server->draining ? FIRST_REQUEST : HUGE_VAL;
    double now = runtime_now(c->server->rt);
    if (c->deadline == HUGE_VAL)
        c->deadline = now + c->server->limits.head_timeout;
    return c->deadline > now ? c->deadline - now : 0;
}

double connection_body_time(const struct connection *c)
{
    double left = c->server->limits.body_timeout + (double)c->body.size / bytes_per_second;
    return left > c->waited ? left - c->waited : 0;
}

enum { LINGER = 10, LINGER_SILENT = 2 }; /* seconds: in all, and without a byte */

void connection_linger(struct connection *c)
{
    connection_next(c);
    c->deadline = runtime_now(c->server->rt) + fmin(LINGER, c->server->limits.body_timeout);
    stream_shutdown(c->stream);
}

double connection_linger_time(const struct connection *c)
{
    return fmin(LINGER_SILENT, c->deadline - runtime_now(c->server->rt));
}

int connection_skip_input(struct connection *c)
{
    const char *p;
    size_t n = stream_input(c->stream, &p);
    int got = n > 0 ? 1 : stream_fill(c->stream);
    stream_take(c->stream, stream_input(c->stream, &p));
    return got;
}

/* Before the body is waited for: a client that asked is told to send it. */
static int invite(struct connection *c)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (c->head.expects && !c->continued && !c->answered)
        put(c, text, sizeof text - 1);
    c->continued = true;
    int r = connection_flush(c);
    return r == -EAGAIN ? -ENOBUFS : r < 0 ? -ECONNRESET : 0;
}

/* Moves what has come of the body to c->in: 1: a piece, 0: none has. */
static int take_body(struct connection *c, size_t max)
{
    struct stream *s = c->stream;
    const char *p, *data;
    size_t length, n = stream_input(s, &p);
    while (n > 0 && !c->body.done) {
        ssize_t took = body_decode(&c->body, p, n < max ? n : max, &data, &length);
        c->continued = true;
        if (took < 0) {
            connection_refuse(c, 400);
            return -EBADMSG;
        }
        int r = buffer_append(&c->in, &s->rt->memory, data, length);
        stream_take(s, (size_t)took);
        if (r < 0) {
            connection_refuse(c, 500);
            return r;
        }
        if (length > 0)
            return 1;
        n = stream_input(s, &p);
    }
    return 0;
}

/* Whether the body is longer than `most`, or says that it will be. */
static bool body_exceeds(const struct connection *c, uint64_t most)
{
    return c->body.size > most ||
           (c->body.framing == BODY_LENGTH && c->body.left > most - c->body.size);
}

int connection_read_body(struct connection *c, size_t max, uint64_t most)
{
    for (;;) {
        if (body_exceeds(c, most)) {
            connection_refuse(c, 413);
            return -EMSGSIZE;
        }
        if (c->body.done)
            return 0;
        uint64_t left = most - c->body.size + 1; /* one more tells that it is too long */
        int r = take_body(c, left < max ? (size_t)left : max);
        if (r < 0 || (r > 0 && c->body.size <= most))
            return r;
        if (r > 0 || c->body.done)
            continue;
        r = invite(c);
        if (r == 0)
            r = stream_fill(c->stream);
        if (r == -EAGAIN || r == -ENOBUFS)
            return r;
        if (r <= 0) {
            connection_refuse(c, 400);
            return -ECONNRESET;
        }
    }
}

/* ---- writing ---- */

const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } known[] = {{200, "OK"},
                 {201, "Created"},
                 {202, "Accepted"},
                 {204, "No Content"},
                 {206, "Partial Content"},
                 {301, "Moved Permanently"},
                 {302, "Found"},
                 {303, "See Other"},
                 {304, "Not Modified"},
                 {307, "Temporary Redirect"},
                 {308, "Permanent Redirect"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {406, "Not Acceptable"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {410, "Gone"},
                 {411, "Length Required"},
                 {412, "Precondition Failed"},
                 {413, "Content Too Large"},
                 {414, "URI Too Long"},
                 {415, "Unsupported Media Type"},
                 {416, "Range Not Satisfiable"},
                 {417, "Expectation Failed"},
                 {422, "Unprocessable Content"},
                 {426, "Upgrade Required"},
                 {429, "Too Many Requests"},
                 {431, "Request Header Fields Too Large"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {502, "Bad Gateway"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"},
                 {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].status == status)
            return known[i].reason;
    return "Status";
}

/* Whether an answer of this status has no body at all. */
static bool is_bodiless(int status)
{
    return status < 200 || status == 204 || status == 304;
}

static void put_number(struct connection *c, uint64_t n, unsigned base)
{
    char text[24], *p = text + sizeof text;
    do
        *--p = "0123456789abcdef"[n % base];
    while (n /= base);
    put(c, p, (size_t)(text + sizeof text - p));
}

static void put_date(struct connection *c)
{
    struct http_server *server = c->server;
    time_t now = time(NULL);
    if (now != server->date_at) {
        static const char days[] = "SunMonTueWedThuFriSat";
        static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        struct tm t;
        gmtime_r(&now, &t);
        snprintf(server->date, sizeof server->date,
                 "Date: %.3s, %02u %.3s %04u %02u:%02u:%02u GMT\r\n", days + t.tm_wday * 3,
                 (unsigned)t.tm_mday % 100, months + t.tm_mon * 3,
                 (unsigned)(t.tm_year + 1900) % 10000, (unsigned)t.tm_hour % 100,
                 (unsigned)t.tm_min % 100, (unsigned)t.tm_sec % 100);
        server->date_at = now;
    }
    put(c, server->date, DATE_LINE);
}

void connection_begin_head(struct connection *c, int status)
{
    c->mark = buffer_length(&c->out);
    c->in_head = true;
    if (status == 200) {
        PUT(c, "HTTP/1.1 200 OK\r\n");
        return;
    }
    PUT(c, "HTTP/1.1 ");
    put_number(c, (uint64_t)status, 10);
    PUT(c, " ");
    put(c, http_reason(status), strlen(http_reason(status)));
    PUT(c, "\r\n");
}

void connection_drop_head(struct connection *c)
{
    if (c->in_head && buffer_length(&c->out) > c->mark)
        c->out.to = c->out.from + c->mark;
    c->in_head = false;
}

void connection_field(struct connection *c, const char *name, size_t n, const char *value,
                      size_t m)
{
    put(c, name, n);
    PUT(c, ": ");
    put(c, value, m);
    PUT(c, "\r\n");
}

/* Whether too much of a body is left to be read away after the answer. */
static bool body_is_a_burden(const struct connection *c)
{
    if (c->body.done)
        return false;
    return (c->head.expects && !c->continued) ||
           (c->body.framing == BODY_LENGTH && c->body.left > DRAIN_MAX);
}

static void put_framing(struct connection *c, int status, uint64_t length)
{
    c->out_left = UINT64_MAX;
    c->out_framing = is_bodiless(status)    ? OUT_NONE
                     : length != UINT64_MAX ? OUT_LENGTH
                     : c->head.minor > 0    ? OUT_CHUNKED
                                            : OUT_TO_CLOSE;
    if (c->out_framing == OUT_LENGTH) {
        PUT(c, "Content-Length: ");
        put_number(c, length, 10);
        PUT(c, "\r\n");
        c->out_left = length;
    } else if (c->out_framing == OUT_CHUNKED) {
        PUT(c, "Transfer-Encoding: chunked\r\n");
    } else if (c->out_framing == OUT_TO_CLOSE) {
        c->keep = false;
    }
}

void connection_end_head(struct connection *c, int status, uint64_t length, bool dated)
{
    if (!dated)
        put_date(c);
    put_framing(c, status, length);
    if (c->server->draining || body_is_a_burden(c))
        c->keep = false;
    if (!c->keep)
        PUT(c, "Connection: close\r\n");
    else if (c->head.minor == 0)
        PUT(c, "Connection: keep-alive\r\n");
    PUT(c, "\r\n");
    c->in_head = false;
    c->answered = true;
    c->status = status;
}

void connection_piece(struct connection *c, const char *s, size_t n)
{
    if (c->out_framing == OUT_NONE || n == 0)
        return;
    if (c->out_framing == OUT_LENGTH)
        c->out_left -= n;
    if (c->head.is_head)
        return;
    if (c->out_framing == OUT_CHUNKED) {
        put_number(c, n, 16);
        PUT(c, "\r\n");
    }
    put(c, s, n);
    c->sent += n;
    if (c->out_framing == OUT_CHUNKED)
        PUT(c, "\r\n");
}

void connection_end_body(struct connection *c)
{
    if (c->out_framing == OUT_CHUNKED && !c->head.is_head && !c->ended)
        PUT(c, "0\r\n\r\n");
    if (c->out_framing == OUT_LENGTH && c->out_left > 0 && !c->head.is_head)
        c->keep = false; /* less than was said: only a close tells */
    c->ended = true;
}

void connection_answer_error(struct connection *c, int status)
{
    const char *reason = http_reason(status);
    if (c->refused)
        c->head.is_head = c->head.is_head && c->parser.line > 0;
    connection_drop_head(c);
    connection_begin_head(c, status);
    connection_field(c, "Content-Type", 12, "text/plain", 10);
    connection_end_head(c, status, strlen(reason) + 1, false);
    connection_piece(c, reason, strlen(reason));
    connection_piece(c, "\n", 1);
    connection_end_body(c);
}

int connection_flush(struct connection *c)
{
    struct stream *s = c->stream;
    size_t n = buffer_length(&c->out);
    if (s->closed || c->gone)
        return -EPIPE;
    if (n == 0)
        return 0;
    if (c->no_memory)
        return -ENOMEM;
    ssize_t sent = stream_send(s, buffer_bytes(&c->out), n);
    if (sent < 0) {
        connection_leave(c);
        return (int)sent;
    }
    if ((size_t)sent == n) {
        forget_sent(c);
        return 0;
    }
    buffer_consume(&c->out, &s->rt->memory, (size_t)sent);
    return -EAGAIN;
}

/* ---- a client that does not read ---- */

/* Bytes of the whole connection that have arrived; false: this socket cannot tell. */
static bool bytes_taken(const struct connection *c, uint64_t *taken)
{
    struct tcp_info info;
    socklen_t n = sizeof info;
    if (getsockopt(c->stream->fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0 ||
        n < offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof info.tcpi_bytes_acked)
        return false;
    *taken = info.tcpi_bytes_acked;
    return true;
}

double connection_write_time(struct connection *c)
{
    c->stall_began = runtime_now(c->server->rt);
    return fmax(c->server->limits.write_timeout - c->stalled, 0);
}

bool connection_reads(struct connection *c, bool expired)
{
    uint64_t taken;
    if (!c->server || c->stream->closed)
        return false;
    if (c->stall_began > 0)
        c->stalled += runtime_now(c->server->rt) - c->stall_began;
    c->stall_began = 0;
    bool tells = bytes_taken(c, &taken);
    if (!tells || taken - c->taken >= STALL_BYTES) {
        c->stalled = 0;
        c->taken = tells ? taken : 0;
    }
    if (!expired || (tells && c->stalled == 0))
        return true;
    c->stream->linger = 0; /* there is no use in leaving something behind for it */
    return false;
}
