/* One direction of net.relay: copies a stream to another until its end. Plain sockets are
** spliced through a pipe, without a copy in user space; whatever a stream has read already, or
** what is no plain socket, goes by its buffer. Both directions: lua/neap/relay.lua. */
#define _GNU_SOURCE
#include "bind/net.h"
#include "core/tasklet.h"
#include "net/sigpipe.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <unistd.h>

enum { PIPE_SIZE = 262144 };

/* One direction. */
struct way {
    int pipe[2];
    bool spliced;   /* the pipe is open */
    size_t waiting; /* bytes in it */
    lua_Integer total;
};

struct relay {
    struct object object;
    double idle, last; /* seconds without a byte after which it ends; when the last one came */
    struct way way[2];
};

/* The frame of a copy: the relay, the direction, from, to. */
enum { COPY_RELAY = 1, COPY_WAY, COPY_FROM, COPY_TO };

enum step { STEP_ON, STEP_END, STEP_WAIT_IN, STEP_WAIT_OUT, STEP_FAILED };

/* relay(a, b[, idle]): what both directions between these streams share */
int net_new_relay(lua_State *L)
{
    object_check(L, 1, OBJECT_STREAM);
    object_check(L, 2, OBJECT_STREAM);
    double idle = wait_timeout(L, 3);
    struct relay *r = object_new(L, OBJECT_RELAY, sizeof *r, 0);
    r->idle = idle;
    r->last = clock_now();
    return 1;
}

static int relay_gc(lua_State *L)
{
    struct relay *r = object_check(L, 1, OBJECT_RELAY);
    for (int i = 0; i < 2; i++) {
        if (r->way[i].spliced) {
            close(r->way[i].pipe[0]);
            close(r->way[i].pipe[1]);
        }
        r->way[i].spliced = false;
    }
    return 0;
}

/* Whether bytes may go past the streams' own buffers. */
static bool can_splice(struct way *w, const struct stream *from, const struct stream *to)
{
    if (w->spliced)
        return true;
    if (from->kind != STREAM_SOCKET || to->kind != STREAM_SOCKET || from->tls || to->tls ||
        pipe2(w->pipe, O_NONBLOCK | O_CLOEXEC) < 0)
        return false;
    fcntl(w->pipe[1], F_SETPIPE_SZ, PIPE_SIZE); /* as it is, if that is too much */
    w->spliced = true;
    return true;
}

static ssize_t splice_some(int from, int to, size_t n)
{
    ssize_t r;
    do
        r = splice(from, NULL, to, NULL, n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

/* The same to a socket. */
static ssize_t splice_out(int from, int to, size_t n)
{
    struct held_sigpipe h;
    sigpipe_hold(&h);
    ssize_t r = splice_some(from, to, n);
    sigpipe_release(&h, r == (ssize_t)n);
    return r;
}

/* Sends what `from` has in its buffer, at p. */
static enum step pass_on(struct way *w, struct stream *from, struct stream *to, const char *p,
                         size_t n, int *error)
{
    ssize_t sent = stream_send(to, p, n);
    if (sent < 0) {
        *error = (int)-sent;
        return STEP_FAILED;
    }
    stream_take(from, (size_t)sent);
    w->total += sent;
    return sent > 0 ? STEP_ON : STEP_WAIT_OUT;
}

static enum step empty_pipe(struct way *w, struct stream *to, int *error)
{
    ssize_t n = splice_out(w->pipe[0], to->fd, w->waiting);
    if (n == -EAGAIN)
        return STEP_WAIT_OUT;
    if (n < 0) {
        to->out_error = *error = (int)-n;
        return STEP_FAILED;
    }
    w->waiting -= (size_t)n;
    w->total += n;
    return STEP_ON;
}

static enum step fill_pipe(struct way *w, struct stream *from, int *error)
{
    ssize_t n = splice_some(from->fd, w->pipe[1], PIPE_SIZE);
    if (n == -EAGAIN) {
        from->hot = false;
        return STEP_WAIT_IN;
    }
    if (n < 0) {
        from->in_error = *error = (int)-n;
        return STEP_FAILED;
    }
    if (n == 0) {
        from->ended = true;
        return STEP_END;
    }
    w->waiting = (size_t)n;
    return STEP_ON;
}

/* Reads into the stream's buffer. */
static enum step fill_buffer(struct stream *from, int *error)
{
    int got = stream_fill(from);
    if (got == -EAGAIN)
        return STEP_WAIT_IN;
    *error = -got;
    return got > 0 ? STEP_ON : got == 0 ? STEP_END : STEP_FAILED;
}

static enum step copy_some(struct way *w, struct stream *from, struct stream *to, int *error)
{
    const char *p;
    if (w->waiting > 0)
        return empty_pipe(w, to, error);
    if (buffer_length(&to->output) > STREAM_HIGH_WATER / 2)
        return STEP_WAIT_OUT;
    size_t n = stream_input(from, &p);
    if (n > 0)
        return pass_on(w, from, to, p, n, error);
    if (from->ended || from->in_error)
        return fill_buffer(from, error);
    if (!can_splice(w, from, to))
        return fill_buffer(from, error);
    return buffer_length(&to->output) > 0 ? STEP_WAIT_OUT : fill_pipe(w, from, error);
}

static int copied(lua_State *L, int status, lua_KContext ctx);

static int wait_for(lua_State *L, struct wait_queue *q)
{
    struct relay *r = lua_touserdata(L, COPY_RELAY);
    double left = r->idle < HUGE_VAL ? r->last + r->idle - clock_now() : HUGE_VAL;
    if (left <= 0)
        return net_push_end(L, WAKE_TIMEOUT);
    return wait_on(L, q, left, 1, copied);
}

static int wait_for_room(lua_State *L, struct stream *to)
{
    if (to->writing.owner)
        return wait_for(L, &to->writing.queue);
    stream_want_room(to);
    return wait_for(L, &to->writer);
}

static int go_on_copying(lua_State *L)
{
    struct relay *r = lua_touserdata(L, COPY_RELAY);
    struct way *w = &r->way[lua_tointeger(L, COPY_WAY)];
    struct stream *from = lua_touserdata(L, COPY_FROM), *to = lua_touserdata(L, COPY_TO);
    int error = 0;
    for (;;) {
        if (from->closed || to->closed)
            return net_push_end(L, WAKE_CLOSED);
        lua_Integer before = w->total;
        enum step step = to->out_error ? STEP_FAILED : copy_some(w, from, to, &error);
        if (w->total > before)
            r->last = clock_now();
        wait_check(L);
        switch (step) {
        case STEP_ON:
            if (net_must_give_way(L))
                return net_give_way(L, 0, copied);
            break;
        case STEP_WAIT_IN:
            return wait_for(L, &from->selectors);
        case STEP_WAIT_OUT:
            return wait_for_room(L, to);
        case STEP_FAILED:
            error = error ? error : to->out_error;
            return net_push_failure(L, from->in_error == error ? from : to, "relay", error);
        case STEP_END:
            stream_shutdown(to);
            lua_pushinteger(L, w->total);
            return 1;
        }
    }
}

static int copied(lua_State *L, int status, lua_KContext waited)
{
    (void)status;
    struct runtime *rt = runtime_of(L);
    struct stream *to = lua_touserdata(L, COPY_TO);
    if (waited && to->writing.owner == rt->current)
        turn_give(rt, &to->writing); /* the next step takes it anew */
    enum wake why = wait_result(L);
    if (why == WAKE_CLOSED)
        return net_push_end(L, why);
    return go_on_copying(L); /* a timeout ends it there, unless the other direction was busy */
}

/* copy(relay, direction, from, to): the bytes copied, at the end of `from`, which is passed on;
** or nil, err, code */
int net_copy(lua_State *L)
{
    object_check(L, COPY_RELAY, OBJECT_RELAY);
    luaL_argcheck(L, luaL_checkinteger(L, COPY_WAY) >> 1 == 0, COPY_WAY, "0 or 1 expected");
    object_check(L, COPY_FROM, OBJECT_STREAM);
    object_check(L, COPY_TO, OBJECT_STREAM);
    lua_settop(L, COPY_TO);
    wait_check(L);
    return go_on_copying(L);
}

void net_open_relays(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__gc", relay_gc}, {"__close", relay_gc}, {NULL, NULL}};
    object_class_new(L, OBJECT_RELAY,
                     &(struct object_class){.name = "relay", .metamethods = meta});
}
