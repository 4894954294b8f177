/* The callback style: a transport reads a stream for a protocol, and calls that.
**
** The stream tells it of what has come (stream_notify), in the reactor's turn; it then arms a
** call that is due at once, in which the scheduler has it read, write and call back. A live
** one is kept by the registry and keeps the program alive. Its end is told once, after which
** nothing is called any more. */
#define _GNU_SOURCE
#include "bind/net.h"
#include "core/tasklet.h"
#include "core/timer.h"
#include "net/listener.h"

#include <errno.h>
#include <string.h>

/* Reads in one go before others have their turn. */
enum { MAX_READS = 16 };

/* User values. */
enum { TRANSPORT_STREAM = 1, TRANSPORT_PROTOCOL, TRANSPORT_MADE, TRANSPORT_VALUES = 3 };

enum phase {
    PHASE_NEW, /* connection_made is to be called */
    PHASE_OPEN,
    PHASE_LOSING,  /* ends when all is written */
    PHASE_ABORTED, /* ends at once */
    PHASE_LOST
};

struct transport {
    struct object object;
    struct stream *stream;
    struct timed_call due;
    struct buffer rest; /* output that the stream does not take yet */
    uint8_t phase;
    bool made; /* connection_made has been called */
    bool paused;
    bool filled;        /* there was output that had to wait */
    const char *reason; /* of the end: a constant text, NULL: the errno's */
    int error;
};

static const char live[] = "neap.transports"; /* registry: live transports, by address */

static struct transport *check(lua_State *L)
{
    return object_check(L, 1, OBJECT_TRANSPORT);
}

static size_t buffered(const struct transport *t)
{
    return buffer_length(&t->rest) + buffer_length(&t->stream->output);
}

/* Has step called in this turn or the next one. Without memory for it nothing is lost: what
** the stream has to tell it tells again. */
static void arm(struct transport *t)
{
    if (t->phase != PHASE_LOST && !heap_holds(&t->due.timer))
        timer_arm(t->stream->rt, &t->due.timer, TIMER_CALL | TIMER_LUA | TIMER_REAL, 0);
}

static void on_stream(struct stream *s)
{
    arm(s->notified);
}

/* ---- calling back ---- */

/* Pushes the live transport, its protocol, and that one's method; false without a method. */
static bool push_method(lua_State *L, struct transport *t, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, live);
    lua_rawgetp(L, -1, t);
    lua_remove(L, -2);
    lua_getiuservalue(L, -1, TRANSPORT_PROTOCOL);
    return lua_getfield(L, -1, name) != LUA_TNIL;
}

/* Tells whoever made the connection that it is made, or (an argument) that it is not. */
static void tell_made(lua_State *L, int self, int nargs)
{
    if (lua_getiuservalue(L, self, TRANSPORT_MADE) == LUA_TNIL) {
        lua_pop(L, 1 + nargs);
        return;
    }
    lua_insert(L, -1 - nargs);
    lua_pushnil(L);
    lua_setiuservalue(L, self, TRANSPORT_MADE);
    lua_call(L, nargs, 0);
}

static int make(lua_State *L)
{
    struct transport *t = lua_touserdata(L, 1);
    if (push_method(L, t, "connection_made")) {
        lua_pushvalue(L, 3);
        lua_pushvalue(L, 2);
        lua_call(L, 2, 0);
    }
    tell_made(L, 2, 0);
    return 0;
}

static int give_data(lua_State *L)
{
    struct transport *t = lua_touserdata(L, 1);
    const char *p;
    size_t n = stream_input(t->stream, &p);
    lua_pushlstring(L, p, n);
    stream_take(t->stream, n);
    if (push_method(L, t, "data_received")) {
        lua_pushvalue(L, 4);
        lua_pushvalue(L, 2);
        lua_call(L, 2, 0);
    }
    return 0;
}

static int tell_drained(lua_State *L)
{
    if (push_method(L, lua_touserdata(L, 1), "drained")) {
        lua_pushvalue(L, 3);
        lua_call(L, 1, 0);
    }
    return 0;
}

static void push_reason(lua_State *L, const struct transport *t)
{
    lua_pushstring(L, t->reason ? t->reason : strerror(t->error));
    t->error ? (void)lua_pushstring(L, strerrorname_np(t->error)) : lua_pushnil(L);
}

static int tell_lost(lua_State *L)
{
    struct transport *t = lua_touserdata(L, 1);
    bool has = push_method(L, t, "connection_lost");
    lua_getfield(L, LUA_REGISTRYINDEX, live);
    lua_pushnil(L);
    lua_rawsetp(L, -2, t);
    lua_pop(L, 1);
    push_reason(L, t);
    tell_made(L, 2, 2);
    lua_settop(L, 4);
    if (has && t->made) {
        lua_pushvalue(L, 3);
        push_reason(L, t);
        lua_call(L, 3, 0);
    }
    return 0;
}

/* ---- the life of a connection ---- */

static void fail(struct transport *t, const char *reason, int error)
{
    if (t->phase >= PHASE_ABORTED)
        return;
    t->phase = PHASE_ABORTED;
    t->reason = reason;
    t->error = error;
}

static void call_back(struct transport *t, lua_CFunction f)
{
    if (runtime_enter(t->stream->rt, f, t) != LUA_OK)
        fail(t, "an error in the protocol", EPROTO);
}

/* Hands over what waited for room. */
static void push_rest(struct transport *t)
{
    struct stream *s = t->stream;
    if (buffer_length(&t->rest) > 0) {
        ssize_t n = stream_send(s, buffer_bytes(&t->rest), buffer_length(&t->rest));
        if (n > 0)
            buffer_consume(&t->rest, &s->rt->memory, (size_t)n);
    }
    if (s->out_error)
        fail(t, NULL, s->out_error);
    if (t->filled && buffered(t) == 0 && t->phase == PHASE_OPEN) {
        t->filled = false;
        call_back(t, tell_drained);
    }
}

/* Gives what has come; at a clean end the connection is over, as in Twisted. */
static void pull(struct transport *t)
{
    struct stream *s = t->stream;
    const char *p;
    for (int n = 0; t->phase <= PHASE_LOSING && !t->paused; n++) {
        int got = stream_input(s, &p) > 0 ? 1 : n < MAX_READS ? stream_fill(s) : 2;
        if (got == -EAGAIN) {
            stream_want_input(s);
            return;
        }
        if (got == 2) {
            arm(t);
            return;
        }
        if (got == 1)
            call_back(t, give_data);
        else
            fail(t, got == 0 ? "closed" : NULL, -got);
    }
}

static void finish(struct transport *t)
{
    struct runtime *rt = t->stream->rt;
    bool clean = t->error == 0;
    t->phase = PHASE_LOST;
    timer_disarm(rt, &t->due.timer);
    t->stream->notify = NULL;
    buffer_free(&t->rest, &rt->memory);
    clean ? stream_close(t->stream) : stream_abort(t->stream);
    rt->outside--;
    runtime_enter(rt, tell_lost, t); /* t may be collected */
}

static void step(struct runtime *rt, struct timed_call *c)
{
    struct transport *t = container_of(c, struct transport, due);
    (void)rt;
    if (t->phase == PHASE_NEW) {
        t->phase = PHASE_OPEN;
        t->made = true;
        call_back(t, make);
    }
    if (t->stream->closed)
        fail(t, "closed", 0);
    push_rest(t);
    pull(t);
    if (t->phase == PHASE_LOSING && buffered(t) == 0)
        fail(t, "closed", 0);
    if (t->phase == PHASE_ABORTED)
        finish(t);
}

/* transport(stream, protocol[, made]): calls the protocol from the next turn on, and made()
** after its connection_made, or made(reason, code) if that fails */
int net_new_transport(lua_State *L)
{
    struct stream *s = object_check(L, 1, OBJECT_STREAM);
    luaL_checkany(L, 2);
    lua_settop(L, 3);
    if (s->closed)
        return luaL_error(L, "the stream is closed");
    struct transport *t = object_new(L, OBJECT_TRANSPORT, sizeof *t, TRANSPORT_VALUES);
    t->phase = PHASE_LOST; /* until all is there */
    t->stream = s;
    t->due.fn = step;
    for (int i = 1; i <= TRANSPORT_VALUES; i++) {
        lua_pushvalue(L, i);
        lua_setiuservalue(L, 4, i);
    }
    luaL_getsubtable(L, LUA_REGISTRYINDEX, live);
    if (timer_reserve(s->rt) < 0)
        return luaL_error(L, "not enough memory");
    lua_pushvalue(L, 4);
    lua_rawsetp(L, -2, t);
    lua_settop(L, 4);
    t->phase = PHASE_NEW;
    s->notified = t;
    s->notify = on_stream;
    s->rt->outside++;
    arm(t);
    return 1;
}

size_t net_abort_protocols(struct listener *l)
{
    size_t n = 0;
    for (struct list *node = l->rt->streams.next, *next; node != &l->rt->streams; node = next) {
        struct stream *s = container_of(node, struct stream, all);
        next = node->next;
        if (s->served != l)
            continue;
        n++;
        if (s->notify == on_stream) {
            fail(s->notified, "the listener was shut down", ECONNABORTED);
            arm(s->notified);
        } else {
            stream_close(s); /* in its handshake */
        }
    }
    return n;
}

/* ---- what protocols call ---- */

/* t:write(...): keeps what the kernel does not take; nothing once the connection is over */
static int write_(lua_State *L)
{
    struct transport *t = check(L);
    size_t n;
    net_join_pieces(L);
    const char *p = lua_tolstring(L, 2, &n);
    if (t->phase > PHASE_OPEN)
        return 0;
    ssize_t sent = buffer_length(&t->rest) == 0 ? stream_send(t->stream, p, n) : 0;
    if (sent < 0)
        arm(t);
    else if (buffer_append(&t->rest, &t->stream->rt->memory, p + sent, n - (size_t)sent) < 0)
        return luaL_error(L, "not enough memory");
    t->filled |= buffered(t) > 0;
    return 0;
}

/* t:lose_connection(): ends it when all is written */
static int lose_connection(lua_State *L)
{
    struct transport *t = check(L);
    if (t->phase <= PHASE_OPEN) {
        if (t->phase == PHASE_OPEN)
            t->phase = PHASE_LOSING;
        arm(t);
    }
    return 0;
}

/* t:abort(): ends it now, by a reset; what is not sent yet is dropped */
static int abort_(lua_State *L)
{
    struct transport *t = check(L);
    fail(t, "aborted", ECONNABORTED);
    arm(t);
    return 0;
}

/* t:pause(), t:resume(): no data comes in between */
static int pause_(lua_State *L)
{
    struct transport *t = check(L);
    t->paused = true;
    if (t->phase < PHASE_LOST)
        watch_stop(t->stream->rt->reactor, &t->stream->in);
    return 0;
}

static int resume(lua_State *L)
{
    struct transport *t = check(L);
    t->paused = false;
    arm(t);
    return 0;
}

/* Calls the method of the stream whose name is the upvalue. */
static int forward(lua_State *L)
{
    check(L);
    lua_getiuservalue(L, 1, TRANSPORT_STREAM);
    lua_getfield(L, -1, lua_tostring(L, lua_upvalueindex(1)));
    lua_replace(L, 1);
    lua_insert(L, 2);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static int transport_gc(lua_State *L)
{
    struct transport *t = check(L);
    if (t->phase == PHASE_LOST)
        return 0;
    t->phase = PHASE_LOST;
    t->stream->notify = NULL;
    t->stream->rt->outside--;
    timer_disarm(t->stream->rt, &t->due.timer);
    buffer_free(&t->rest, &t->stream->rt->memory);
    return 0;
}

static int to_string(lua_State *L)
{
    struct transport *t = check(L);
    if (t->phase == PHASE_LOST)
        lua_pushliteral(L, "transport: closed");
    else
        lua_pushfstring(L, "transport: %d", t->stream->fd);
    return 1;
}

static void get_buffered(lua_State *L, void *t)
{
    lua_pushinteger(L, (lua_Integer)buffered(t));
}

static void get_closing(lua_State *L, void *t)
{
    lua_pushboolean(L, ((struct transport *)t)->phase >= PHASE_LOSING);
}

static void add_forwarded(lua_State *L)
{
    static const char *const names[] = {"peername", "sockname", "setoption"};
    object_methods(L, OBJECT_TRANSPORT);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        lua_pushstring(L, names[i]);
        lua_pushcclosure(L, forward, 1);
        lua_setfield(L, -2, names[i]);
    }
    lua_pop(L, 1);
}

void net_open_transports(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"write", write_},  {"lose_connection", lose_connection},
        {"abort", abort_},  {"pause", pause_},
        {"resume", resume}, {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", transport_gc}, {"__tostring", to_string}, {NULL, NULL}};
    static const struct object_property properties[] = {
        {"buffered", get_buffered, NULL}, {"closing", get_closing, NULL}, {NULL, NULL, NULL}};
    object_class_new(L, OBJECT_TRANSPORT,
                     &(struct object_class){"transport", methods, meta, properties, false});
    add_forwarded(L);
}
