#include "net/stream.h"

#include "core/tasklet.h"
#include "net/listener.h"
#include "net/sigpipe.h"
#include "net/tls.h"

#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <math.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifdef NEAP_STRESS
#include <stdlib.h>
#define STRESS_SIZE(n) (rand() % 4 ? 1 + (size_t)rand() % (n) : 1)
#else
#define STRESS_SIZE(n) (n)
#endif

enum {
    DRAIN = 2, /* seconds to wait for more to be read away, or the peer would get a reset */
    DRAIN_STEP = 4096,
    MAX_PIECES = 1024, /* that the kernel takes in one call */
    TLS_BACKLOG =
        4 * STREAM_HIGH_WATER /* output of a peer who makes TLS answer, and reads not */
};

/* Whether a descriptor in blocking mode would not block now. */
static bool is_ready(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    return poll(&p, 1, 0) > 0;
}

/* ---- waiting ---- */

/* Whoever waits in the middle of an operation has the turn. */
static void reader_joined(struct wait_queue *q)
{
    struct stream *s = container_of(q, struct stream, reader);
    s->reading.owner = s->rt->current;
}

static void writer_joined(struct wait_queue *q)
{
    struct stream *s = container_of(q, struct stream, writer);
    s->writing.owner = s->rt->current;
}

static void reader_left(struct wait_queue *q)
{
    struct stream *s = container_of(q, struct stream, reader);
    turn_give(s->rt, &s->reading);
}

static void writer_left(struct wait_queue *q)
{
    struct stream *s = container_of(q, struct stream, writer);
    turn_give(s->rt, &s->writing);
}

static const struct wait_class reader_class = {
    .what = "read on a stream", .outside = true, .joined = reader_joined, .left = reader_left};
static const struct wait_class writer_class = {
    .what = "write on a stream", .outside = true, .joined = writer_joined, .left = writer_left};
static void selector_joined(struct wait_queue *q)
{
    stream_want_input(container_of(q, struct stream, selectors));
}

static const struct wait_class selector_class = {
    .what = "input on a stream", .outside = true, .joined = selector_joined};
static const struct wait_class flusher_class = {.what = "flush of a stream", .outside = true};
static const struct wait_class turn_class = {.what = "turn at a stream", .outside = true};

/* The end of our direction has been asked for: it comes when there is nothing to send. */
static int end_output(struct stream *s)
{
    if (!s->shut || s->closed || s->writing.owner)
        return 0;
    if (s->tls)
        s->tls->part->end(s->tls);
    if (buffer_length(&s->output) > 0)
        return 0;
    return shutdown(s->fd, SHUT_WR) < 0 ? -errno : 0;
}

void turn_give(struct runtime *rt, struct turn *t)
{
    struct tasklet *next = wait_first(&t->queue);
    t->owner = next;
    if (next)
        wait_wake(rt, next, WAKE_SERVED);
    else if (t->writes)
        end_output(t->writes);
}

void stream_cut(struct runtime *rt, struct tasklet *t)
{
    struct list *node;
    list_each(node, &rt->streams) {
        struct stream *s = container_of(node, struct stream, all);
        if (s->reading.owner == t)
            turn_give(rt, &s->reading);
        if (s->writing.owner == t)
            turn_give(rt, &s->writing);
    }
}

static void wake_one(struct runtime *rt, struct wait_queue *q)
{
    struct tasklet *t = wait_first(q);
    if (t)
        wait_wake(rt, t, WAKE_SERVED);
}

static void notify(struct stream *s)
{
    if (s->notify)
        s->notify(s);
}

/* ---- input ---- */

/* Reads for a writer that waits for the rest of a message of TLS's own, whether anybody else
** reads or not. Whether there is still only a part of it. */
static bool is_stuck(struct stream *s)
{
    return s->tls && s->tls->stuck && stream_fill(s) == -EAGAIN && s->tls->stuck;
}

/* Whether what came is TLS's own, or a part of a record: a read would still wait, and so must
** who waits in a select. */
static bool has_nothing_to_read(struct stream *s)
{
    return s->tls && !list_empty(&s->selectors.waiters) && !stream_ready(s);
}

static void on_input(struct watch *w, int events)
{
    struct stream *s = container_of(w, struct stream, in);
    s->hot = true;
    if (events & WATCH_ERROR)
        s->in_error = EIO;
    if (is_stuck(s))
        return;
    bool stay = has_nothing_to_read(s);
    if (s->notify)
        s->notify(s);
    else if (!list_empty(&s->reader.waiters))
        wake_one(s->rt, &s->reader);
    else if (s->unread)
        s->unread(s);
    else if (!stay)
        watch_stop(s->rt->reactor, w);
    if (!stay)
        wait_wake_all(s->rt, &s->selectors, WAKE_SERVED);
}

/* Moves what the shared buffer holds to the stream that it is held for. */
void stream_leave_shared(struct runtime *rt)
{
    struct stream *s = rt->held_for;
    if (!s)
        return;
    rt->held_for = NULL;
    if (buffer_append(&s->input, &rt->memory, rt->read_buffer + rt->held_from,
                      rt->held_to - rt->held_from) < 0)
        s->in_error = ENOMEM;
}

size_t stream_input(struct stream *s, const char **p)
{
    struct runtime *rt = s->rt;
    size_t n = buffer_length(&s->input);
    if (rt->held_for == s && n == 0) {
        *p = rt->read_buffer + rt->held_from;
        return rt->held_to - rt->held_from;
    }
    if (rt->held_for == s)
        stream_leave_shared(rt);
    n = buffer_length(&s->input);
    *p = n > 0 ? buffer_bytes(&s->input) : "";
    return n;
}

void stream_take(struct stream *s, size_t n)
{
    struct runtime *rt = s->rt;
    s->scanned = 0;
    if (rt->held_for != s) {
        if (n > 0)
            buffer_consume(&s->input, &rt->memory, n);
        return;
    }
    rt->held_from += n;
    if (rt->held_from == rt->held_to)
        rt->held_for = NULL;
}

int stream_unread(struct stream *s, const char *p, size_t n)
{
    if (s->rt->held_for == s)
        stream_leave_shared(s->rt);
    s->scanned = 0;
    int r = buffer_prepend(&s->input, &s->rt->memory, p, n);
    wake_one(s->rt, &s->reader); /* it may be what somebody waits for */
    wait_wake_all(s->rt, &s->selectors, WAKE_SERVED);
    return r;
}

/* As recv, and never blocks. */
static ssize_t receive(struct stream *s, char *p, size_t n)
{
    if (s->kind == STREAM_SOCKET)
        return recv(s->fd, p, n, MSG_DONTWAIT);
    if (s->kind == STREAM_SHARED && !is_ready(s->fd, POLLIN)) {
        errno = EAGAIN;
        return -1;
    }
    return read(s->fd, p, n);
}

static void hold(struct stream *s, size_t n)
{
    s->rt->held_for = s;
    s->rt->held_from = 0;
    s->rt->held_to = n;
}

/* Whether a write has heard that the connection is lost. The kernel says so once, to who asks
** first, and shows a clean end to the other; EPIPE may well come after such an end. */
static bool was_lost(const struct stream *s)
{
    return s->out_error == ECONNRESET || s->out_error == ETIMEDOUT ||
           s->out_error == EHOSTUNREACH || s->out_error == ENETUNREACH;
}

/* The socket has given its last. */
static int input_ends(struct stream *s)
{
    watch_stop(s->rt->reactor, &s->in);
    if (was_lost(s)) {
        s->in_error = s->out_error;
        return -s->in_error;
    }
    if (s->tls && !s->tls->ended && !s->tls->error)
        stream_break(s, EPROTO, "EPROTO", "truncated");
    s->ended = !s->in_error;
    return -s->in_error;
}

/* The n bytes at `from`, in the shared buffer behind room for their text, go through TLS. */
static int decrypt(struct stream *s, const char *from, size_t n)
{
    bool stuck = s->tls->stuck;
    size_t got = s->tls->part->open(s->tls, from, n, s->rt->read_buffer);
    if (got > 0)
        hold(s, got);
    if (s->tls->error)
        stream_break(s, s->tls->error, s->tls->code, NULL);
    else if (s->tls->ended)
        input_ends(s);
    if (stuck && !s->tls->stuck)
        watch_start(s->rt->reactor, &s->out); /* who waits for room goes on */
    if (got > 0)
        return 1;
    return s->in_error ? -s->in_error : s->ended ? 0 : -EAGAIN;
}

int stream_fill(struct stream *s)
{
    struct runtime *rt = s->rt;
    ssize_t n;
    if (s->in_error)
        return -s->in_error;
    if (s->ended)
        return 0;
    if (!s->hot)
        return -EAGAIN;
    stream_leave_shared(rt);
    if (s->in_error)
        return -s->in_error;
    char *to = rt->read_buffer + (s->tls ? TLS_AHEAD : 0);
    size_t room = STRESS_SIZE((size_t)(rt->read_buffer + READ_BUFFER - to));
    do
        n = receive(s, to, room);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        s->hot = (size_t)n == room;
        if (s->tls)
            return decrypt(s, to, (size_t)n);
        hold(s, (size_t)n);
        return 1;
    }
    if (n == 0)
        return input_ends(s);
    s->hot = false;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return -EAGAIN;
    s->in_error = errno;
    watch_stop(rt->reactor, &s->in);
    return -s->in_error;
}

bool stream_ready(struct stream *s)
{
    const char *p;
    return s->closed || s->ended || s->in_error || stream_input(s, &p) > 0 ||
           stream_fill(s) != -EAGAIN;
}

void stream_want_input(struct stream *s)
{
    watch_start(s->rt->reactor, &s->in);
}

void stream_want_room(struct stream *s)
{
    watch_start(s->rt->reactor, s->tls && s->tls->stuck ? &s->in : &s->out);
}

/* ---- output ---- */

static ssize_t write_held(int fd, const char *p, size_t n)
{
    struct held_sigpipe h;
    sigpipe_hold(&h);
    ssize_t sent = write(fd, p, n);
    sigpipe_release(&h, sent == (ssize_t)n);
    return sent;
}

/* As send, and never blocks. */
static ssize_t deliver(int fd, enum stream_kind kind, bool standard, const char *p, size_t n)
{
    if (kind == STREAM_SOCKET)
        return send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (kind == STREAM_SHARED) {
        if (!is_ready(fd, POLLOUT)) {
            errno = EAGAIN;
            return -1;
        }
        n = n < PIPE_BUF ? n : PIPE_BUF;
    }
    return standard ? write(fd, p, n) : write_held(fd, p, n);
}

/* How many bytes the kernel took: 0 for none now, or -errno. */
static ssize_t push_out(int fd, enum stream_kind kind, bool standard, const char *p, size_t n)
{
    for (;;) {
        ssize_t sent = deliver(fd, kind, standard, p, STRESS_SIZE(n));
        if (sent >= 0)
            return sent;
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return 0;
        if (errno != EINTR)
            return -errno;
    }
}

static void fail_output(struct stream *s, int error)
{
    s->out_error = error;
    buffer_free(&s->output, &s->rt->memory);
    watch_stop(s->rt->reactor, &s->out);
    wake_one(s->rt, &s->writer);
    wait_wake_all(s->rt, &s->flushers, WAKE_SERVED);
    notify(s);
}

static void on_room(struct watch *w, int events)
{
    struct stream *s = container_of(w, struct stream, out);
    struct buffer *b = &s->output;
    if (events & WATCH_ERROR) {
        fail_output(s, EIO);
        return;
    }
    if (buffer_length(b) > 0) {
        ssize_t n = push_out(s->fd, s->kind, s->standard, buffer_bytes(b), buffer_length(b));
        if (n < 0) {
            fail_output(s, (int)-n);
            return;
        }
        buffer_consume(b, &s->rt->memory, (size_t)n);
    }
    if (buffer_length(b) <= STREAM_HIGH_WATER / 2) {
        wake_one(s->rt, &s->writer);
        notify(s);
    }
    if (buffer_length(b) == 0) {
        watch_stop(s->rt->reactor, w);
        wait_wake_all(s->rt, &s->flushers, WAKE_SERVED);
        end_output(s);
    }
}

void stream_block_for_input(struct stream *s)
{
    struct pollfd p = {.fd = s->fd, .events = POLLIN};
    poll(&p, 1, -1);
    s->hot = true;
}

void stream_block_until_out(struct stream *s)
{
    struct pollfd p = {.fd = s->fd, .events = POLLOUT};
    while (buffer_length(&s->output) > 0) {
        poll(&p, 1, -1);
        on_room(&s->out, WATCH_WRITE);
    }
}

/* What TLS has for the peer; it never waits for room. A peer who is gone shows at the next
** write: what it has sent before can still be read. */
static void emit(void *owner, const char *p, size_t n)
{
    struct stream *s = owner;
    if (s->out_error)
        return;
    if (buffer_length(&s->output) == 0) {
        ssize_t sent = push_out(s->fd, s->kind, s->standard, p, n);
        if (sent < 0) {
            fail_output(s, (int)-sent);
            return;
        }
        p += sent;
        n -= (size_t)sent;
    }
    if (n == 0)
        return;
    if (buffer_length(&s->output) + n > TLS_BACKLOG)
        fail_output(s, ENOBUFS);
    else if (buffer_append(&s->output, &s->rt->memory, p, n) < 0)
        fail_output(s, ENOMEM);
    else
        watch_start(s->rt->reactor, &s->out);
}

/* As stream_send, through TLS: takes no more than keeps the output about the high-water mark. */
static ssize_t encrypt(struct stream *s, const char *p, size_t n)
{
    size_t done = 0;
    while (s->tls->ready && !s->tls->stuck && done < n &&
           buffer_length(&s->output) < STREAM_HIGH_WATER) {
        size_t taken = s->tls->part->seal(s->tls, p + done, n - done);
        if (s->tls->error)
            stream_break(s, s->tls->error, s->tls->code, NULL);
        if (s->out_error)
            return -s->out_error;
        done += taken;
    }
    if (s->tls->stuck)
        stream_want_input(s);
    return (ssize_t)done;
}

void stream_encrypt(struct stream *s, struct tls *t)
{
    t->emit = emit;
    t->owner = s;
    s->tls = t;
    stream_leave_shared(s->rt);
    decrypt(s, "", 0);
}

void stream_break(struct stream *s, int error, const char *code, const char *reason)
{
    s->tls->error = error;
    s->tls->code = code;
    if (reason)
        snprintf(s->tls->reason, sizeof s->tls->reason, "%s", reason);
    s->in_error = error;
    s->out_error = s->out_error ? s->out_error : error;
    watch_stop(s->rt->reactor, &s->in);
    if (s->tls->stuck)
        watch_start(s->rt->reactor, &s->out); /* who waits for room hears of it */
    s->tls->stuck = false;
}

/* Ends TLS before the socket goes. What broke it is not what the socket is like. */
static void end_tls(struct stream *s)
{
    struct tls *t = s->tls;
    if (!s->out_error)
        t->part->end(t);
    if (t->ended)
        s->ended = false;
    if (t->error && s->in_error == t->error)
        s->in_error = 0;
    if (t->error && s->out_error == t->error)
        s->out_error = 0;
    s->tls = NULL;
    t->part->free(t);
}

/* Keeps what fits under the high-water mark; how many bytes, or -ENOMEM. */
static ssize_t keep(struct stream *s, const char *p, size_t n)
{
    size_t room = s->standard ? 0 : STREAM_HIGH_WATER - buffer_length(&s->output);
    if (n > room)
        n = room;
    if (n == 0)
        return 0;
    if (buffer_append(&s->output, &s->rt->memory, p, n) < 0)
        return -ENOMEM;
    watch_start(s->rt->reactor, &s->out);
    return (ssize_t)n;
}

ssize_t stream_send(struct stream *s, const char *p, size_t n)
{
    size_t done = 0;
    if (s->out_error)
        return -s->out_error;
    if (s->tls)
        return encrypt(s, p, n);
    if (buffer_length(&s->output) == 0) {
        ssize_t sent = push_out(s->fd, s->kind, s->standard, p, n);
        if (sent < 0) {
            s->out_error = (int)-sent;
            return sent;
        }
        done = (size_t)sent; /* if it is less than n, the kernel is full */
    }
    ssize_t kept = keep(s, p + done, n - done);
    return kept >= 0 ? (ssize_t)done + kept : done > 0 ? (ssize_t)done : kept;
}

/* Hands as many pieces to the socket as one call takes. How many bytes went, or -errno. */
static ssize_t push_pieces(struct stream *s, const struct iovec *v, size_t count)
{
    struct msghdr m = {.msg_iov = (struct iovec *)v,
                       .msg_iovlen = STRESS_SIZE(count < MAX_PIECES ? count : MAX_PIECES)};
    for (;;) {
        ssize_t sent = sendmsg(s->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0)
            return sent;
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return 0;
        if (errno != EINTR)
            return -errno;
    }
}

ssize_t stream_send_pieces(struct stream *s, const struct iovec *v, size_t count)
{
    size_t done = 0, offset = 0;
    if (count == 1)
        return stream_send(s, v->iov_base, v->iov_len);
    if (!s->tls && !s->out_error && s->kind == STREAM_SOCKET &&
        buffer_length(&s->output) == 0) {
        ssize_t sent = push_pieces(s, v, count);
        if (sent < 0) {
            s->out_error = (int)-sent;
            return sent;
        }
        done = offset = (size_t)sent;
        for (; count > 0 && offset >= v->iov_len; count--)
            offset -= (v++)->iov_len;
    }
    for (; count > 0; count--, v++, offset = 0) {
        size_t n = v->iov_len - offset;
        ssize_t r = stream_send(s, (char *)v->iov_base + offset, n);
        if (r > 0)
            done += (size_t)r;
        if (r < (ssize_t)n)
            return r < 0 && done == 0 ? r : (ssize_t)done;
    }
    return (ssize_t)done;
}

int stream_shutdown(struct stream *s)
{
    if (s->out_error)
        return -s->out_error;
    if (s->shut)
        return 0;
    if (s->kind != STREAM_SOCKET)
        return -ENOTSOCK;
    s->shut = true;
    return end_output(s);
}

/* ---- closing ---- */

/* A stream that its script has closed: sends the rest of the output, then reads away what
** the peer still sends until it closes too. */
struct leftover {
    struct list all;
    struct runtime *rt;
    int fd;
    enum stream_kind kind;
    struct watch watch;
    struct buffer output;
    struct timed_call deadline;
    double last; /* moment at which it ends whatever is left */
    bool patient;
    bool heard; /* patient: the peer has sent something since the deadline was set */
};

static void leftover_end(struct leftover *g)
{
    struct runtime *rt = g->rt;
    watch_stop(rt->reactor, &g->watch);
    timer_disarm(rt, &g->deadline.timer);
    list_remove(&g->all);
    close(g->fd);
    buffer_free(&g->output, &rt->memory);
    memory_free(&rt->memory, g, sizeof *g);
    rt->outside--;
    listener_descriptor_free(rt);
}

/* A drain goes on while the kernel has not delivered all, a patient one also while the peer
** sends. */
static void on_leftover_deadline(struct runtime *rt, struct timed_call *c)
{
    struct leftover *g = container_of(c, struct leftover, deadline);
    int n = g->heard;
    g->heard = false;
    if (runtime_now(rt) < g->last && (n > 0 || (ioctl(g->fd, SIOCOUTQ, &n) == 0 && n > 0)) &&
        timer_arm(rt, &c->timer, TIMER_CALL | TIMER_REAL, DRAIN) == 0)
        return;
    leftover_end(g);
}

static void on_drain(struct watch *w, int events)
{
    struct leftover *g = container_of(w, struct leftover, watch);
    char scrap[DRAIN_STEP];
    (void)events;
    ssize_t n = recv(g->fd, scrap, sizeof scrap, 0);
    if (n > 0)
        g->heard = g->patient;
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        leftover_end(g);
}

static void drain(struct leftover *g)
{
    struct runtime *rt = g->rt;
    if (g->kind != STREAM_SOCKET) {
        leftover_end(g);
        return;
    }
    shutdown(g->fd, SHUT_WR);
    watch_stop(rt->reactor, &g->watch);
    timer_disarm(rt, &g->deadline.timer);
    if (timer_arm(rt, &g->deadline.timer, TIMER_CALL | TIMER_REAL, DRAIN) < 0) {
        leftover_end(g);
        return;
    }
    watch_init(&g->watch, g->fd, WATCH_READ, on_drain);
    watch_start(rt->reactor, &g->watch);
}

static void on_leftover_room(struct watch *w, int events)
{
    struct leftover *g = container_of(w, struct leftover, watch);
    ssize_t n = events & WATCH_ERROR ? -1
                                     : push_out(g->fd, g->kind, false, buffer_bytes(&g->output),
                                                buffer_length(&g->output));
    if (n < 0) {
        leftover_end(g);
        return;
    }
    buffer_consume(&g->output, &g->rt->memory, (size_t)n);
    if (buffer_length(&g->output) == 0)
        drain(g);
}

/* Takes over the socket of s and its output. False: no memory. */
static bool leave_behind(struct stream *s)
{
    struct runtime *rt = s->rt;
    struct leftover *g = memory_new(&rt->memory, sizeof *g);
    if (!g)
        return false;
    g->rt = rt;
    g->fd = s->fd;
    g->kind = s->kind;
    g->patient = s->patient;
    g->deadline.fn = on_leftover_deadline;
    g->last = runtime_now(rt) + s->linger;
    if (timer_arm(rt, &g->deadline.timer, TIMER_CALL | TIMER_REAL, s->linger) < 0) {
        memory_free(&rt->memory, g, sizeof *g);
        return false;
    }
    g->output = s->output;
    s->output = (struct buffer){0};
    rt->outside++;
    list_push_back(&rt->lingering, &g->all);
    if (buffer_length(&g->output) > 0) {
        watch_init(&g->watch, g->fd, WATCH_WRITE, on_leftover_room);
        watch_start(rt->reactor, &g->watch);
    } else {
        watch_init(&g->watch, g->fd, WATCH_READ, on_drain);
        drain(g);
    }
    return true;
}

/* Whether closing now could cut off something: our output, or, by the reset that a peer gets
** who goes on sending, what the kernel has not delivered yet. */
static bool must_linger(struct stream *s)
{
    int n = 0;
    if (s->rt->closing || s->in_error || s->out_error)
        return false;
    if (buffer_length(&s->output) > 0)
        return true;
    if (s->ended || s->kind != STREAM_SOCKET)
        return false;
    if (s->patient || buffer_length(&s->input) > 0 || s->rt->held_for == s)
        return true;
    return (ioctl(s->fd, FIONREAD, &n) == 0 && n > 0) ||
           (ioctl(s->fd, SIOCOUTQ, &n) == 0 && n > 0);
}

void stream_init(struct stream *s, struct runtime *rt, int fd)
{
    s->rt = rt;
    s->fd = fd;
    s->closed = false;
    s->timeout = HUGE_VAL;
    s->max_line = STREAM_MAX_LINE;
    s->linger = STREAM_LINGER;
    s->hot = true;
    watch_init(&s->in, fd, WATCH_READ, on_input);
    watch_init(&s->out, fd, WATCH_WRITE, on_room);
    wait_queue_init(&s->reader, &reader_class);
    wait_queue_init(&s->writer, &writer_class);
    wait_queue_init(&s->flushers, &flusher_class);
    wait_queue_init(&s->selectors, &selector_class);
    wait_queue_init(&s->reading.queue, &turn_class);
    wait_queue_init(&s->writing.queue, &turn_class);
    s->writing.writes = s;
    list_push_back(&rt->streams, &s->all);
}

/* The close that follows drops what is not sent, and tells the peer so. */
static void prepare_reset(struct stream *s)
{
    struct linger now = {.l_onoff = 1};
    setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    s->out_error = ECONNABORTED;
}

void stream_close(struct stream *s)
{
    struct runtime *rt = s->rt;
    if (!rt || s->closed)
        return;
    if (s->linger <= 0)
        prepare_reset(s);
    s->closed = true;
    if (s->tls)
        end_tls(s);
    watch_stop(rt->reactor, &s->in);
    watch_stop(rt->reactor, &s->out);
    list_remove(&s->all);
    if (!must_linger(s) || !leave_behind(s)) {
        close(s->fd);
        buffer_free(&s->output, &rt->memory);
        listener_descriptor_free(rt);
    }
    s->fd = -1;
    if (rt->held_for == s)
        rt->held_for = NULL;
    buffer_free(&s->input, &rt->memory);
    wait_wake_all(rt, &s->reader, WAKE_CLOSED);
    wait_wake_all(rt, &s->writer, WAKE_CLOSED);
    wait_wake_all(rt, &s->flushers, WAKE_CLOSED);
    wait_wake_all(rt, &s->selectors, WAKE_CLOSED);
    wait_wake_all(rt, &s->reading.queue, WAKE_CLOSED);
    wait_wake_all(rt, &s->writing.queue, WAKE_CLOSED);
    if (s->served)
        listener_handled(s->served);
    s->served = NULL;
    notify(s);
}

void stream_abort(struct stream *s)
{
    if (!s->rt || s->closed)
        return;
    prepare_reset(s);
    stream_close(s);
}

void stream_close_all(struct runtime *rt)
{
    while (!list_empty(&rt->lingering))
        leftover_end(container_of(rt->lingering.next, struct leftover, all));
}
