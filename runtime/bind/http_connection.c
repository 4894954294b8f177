/* The tasklet of a connection: reads a request, calls the handler, sends what it returns.
**
** A machine of small steps. Each says what the tasklet does next: go on at once, wait for
** input or for room, call what lies on the top of the stack, or end. There is one frame:
** the continuations only go on with the machine. */
#include "bind/http.h"

#include "core/deferred.h"
#include "core/sched.h"
#include "core/tasklet.h"

#include <errno.h>
#include <math.h>
#include <unistd.h>

/* The frame. In front of the results of a call lies the request, then the body that is being
** sent. */
enum { SERVER = 1, HANDLER, STREAM, CONNECTION, CATCH, REQUEST, RESULT };

enum { SMALL = 16384, PIECE = 32768 };

#ifdef NEAP_STRESS
enum { MAX_BURST = 1 };
#else
enum { MAX_BURST = 32 };
#endif

enum next { ON, WAIT_INPUT, WAIT_ROOM, GIVE_WAY, CALL, OVER };

struct run {
    lua_State *L;
    struct connection *c;
    enum wake why;  /* of the wait that is over */
    int status;     /* of the call that is over */
    int nargs;      /* of the call that is next */
    double timeout; /* of the wait that is next */
};

typedef enum next step(struct run *r);

/* ---- the steps' numbers: the context of the continuations ---- */

enum {
    READ_HEAD,
    READ_WHOLE,
    RETURNED,
    SEND,
    SEND_FILE,
    PIECE_RETURNED,
    DRAIN,
    FLUSH_LAST,
    LINGER,
    STEPS
};

static step read_head, read_whole, returned, send_body, send_file, piece_returned, drain_body,
    flush_last, linger;

static step *const steps[STEPS] = {read_head,      read_whole, returned,   send_body, send_file,
                                   piece_returned, drain_body, flush_last, linger};

static enum next go(struct run *r, int state)
{
    r->c->state = (uint8_t)state;
    return ON;
}

static int run(struct run *r);

static int woken(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    struct run r = {.L = L, .c = lua_touserdata(L, CONNECTION)};
    struct stream *s = r.c->stream;
    connection_busy(r.c);
    if (ctx == WAIT_INPUT && r.c->request)
        r.c->waited += runtime_now(runtime_of(L)) - r.c->wait_began;
    r.why = ctx == WAIT_INPUT  ? http_input_came(L, s)
            : ctx == WAIT_ROOM ? http_room_came(L, s)
                               : wait_result(L);
    return run(&r);
}

static int called(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    struct run r = {.L = L, .c = lua_touserdata(L, CONNECTION)};
    r.status = status == LUA_YIELD ? LUA_OK : status;
    return run(&r);
}

/* Tells the server's on_request of the request that is over, once. */
static void log_request(struct run *r)
{
    lua_State *L = r->L;
    struct connection *c = r->c;
    struct runtime *rt = runtime_of(L);
    int top = lua_gettop(L), status = c->upgraded ? 101 : c->status;
    if (!c->server->logs || c->logged)
        return;
    c->logged = true;
    lua_getiuservalue(L, SERVER, SERVER_HOOK);
    c->request ? lua_pushvalue(L, REQUEST) : lua_pushnil(L);
    status ? lua_pushinteger(L, status) : lua_pushnil(L);
    lua_pushinteger(L, (lua_Integer)c->sent);
    lua_pushnumber(L, c->request ? runtime_now(rt) - c->head_at : 0);
    rt->reactor_code++;
    int failed = lua_pcall(L, 4, 0, CATCH);
    rt->reactor_code--;
    if (failed)
        error_report(L, rt->current, "on_request: ");
    lua_settop(L, top);
}

static int run(struct run *r)
{
    lua_State *L = r->L;
    struct connection *c = r->c;
    struct runtime *rt = runtime_of(L);
    for (;;) {
        switch (steps[c->state](r)) {
        case ON:
            r->why = WAKE_SERVED;
            break;
        case WAIT_INPUT:
            wait_check(L);
            stream_want_input(c->stream);
            if (c->request) /* for its body */
                c->wait_began = runtime_now(rt);
            return wait_on(L, &c->stream->reader, r->timeout, WAIT_INPUT, woken);
        case WAIT_ROOM:
            wait_check(L);
            stream_want_room(c->stream);
            return wait_on(L, &c->stream->writer, connection_write_time(c), WAIT_ROOM, woken);
        case GIVE_WAY:
            wait_check_switch(L);
            sched_append(rt, rt->current);
            return wait_switch(L, GIVE_WAY, woken);
        case CALL:
            r->status = lua_pcallk(L, r->nargs, LUA_MULTRET, CATCH, 0, called);
            break;
        case OVER:
            if (c->request)
                log_request(r);
            return 0;
        }
    }
}

/* ---- reading ---- */

/* The answer of a bad request is its connection's last. */
static enum next refuse(struct run *r)
{
    connection_answer_error(r->c, r->c->refused);
    return go(r, FLUSH_LAST);
}

static enum next call_handler(struct run *r)
{
    lua_State *L = r->L;
    r->nargs = 1;
    lua_pushvalue(L, HANDLER);
    lua_pushvalue(L, REQUEST);
    go(r, RETURNED);
    if (!r->c->server->reactor)
        return CALL;
    struct runtime *rt = runtime_of(L);
    rt->reactor_code++;
    r->status = lua_pcall(L, 1, LUA_MULTRET, CATCH);
    rt->reactor_code--;
    return ON;
}

static enum next begin_request(struct run *r)
{
    lua_State *L = r->L;
    lua_settop(L, CATCH);
    http_push_request(L, r->c, CONNECTION);
    return r->c->server->reactor && !r->c->body.done ? go(r, READ_WHOLE) : call_handler(r);
}

static enum next read_head(struct run *r)
{
    struct connection *c = r->c;
    if (r->why == WAKE_CLOSED)
        return OVER;
    if (r->why == WAKE_TIMEOUT && connection_shakes(c))
        return OVER;
    if (r->why == WAKE_TIMEOUT && c->begun) {
        connection_refuse(c, 408);
        return refuse(r);
    }
    if (r->why == WAKE_TIMEOUT) { /* what came in this very turn still counts */
        c->stream->hot = true;
        if (!stream_ready(c->stream))
            return OVER;
    }
    if (runtime_of(r->L)->burst > MAX_BURST)
        return GIVE_WAY;
    switch (connection_read_head(c)) {
    case HEAD_DONE:
        runtime_of(r->L)->burst++;
        return begin_request(r);
    case HEAD_REFUSED:
        return refuse(r);
    case HEAD_WAITS:
        r->timeout = connection_head_time(c);
        if (!c->begun)
            connection_idle(c);
        return WAIT_INPUT;
    case HEAD_NO_ROOM:
        return WAIT_ROOM;
    default:
        return OVER;
    }
}

/* The time that a wait for the body has taken; false: it was too long. */
static bool body_in_time(struct run *r)
{
    struct connection *c = r->c;
    if (r->why != WAKE_SERVED)
        connection_refuse(c, 408);
    return r->why == WAKE_SERVED;
}

/* In mode "reactor" the body comes before the handler is called. */
static enum next read_whole(struct run *r)
{
    struct connection *c = r->c;
    if (r->why == WAKE_CLOSED)
        return OVER;
    if (!body_in_time(r))
        return refuse(r);
    for (;;) {
        int got = connection_read_body(c, SIZE_MAX, c->server->limits.max_body);
        r->timeout = connection_body_time(c);
        if (got == -EAGAIN)
            return WAIT_INPUT;
        if (got == -ENOBUFS)
            return WAIT_ROOM;
        if (got < 0)
            return refuse(r);
        if (got == 0)
            return call_handler(r);
    }
}

/* ---- what the handler has returned ---- */

static const char *method_and_path(lua_State *L)
{
    struct request *q = lua_touserdata(L, REQUEST);
    const char *target = q->bytes + q->head.target_at;
    lua_pushlstring(L, q->bytes, q->head.method_length);
    lua_pushlstring(L, target, q->head.target_length);
    return lua_pushfstring(L, "%s %s: ", lua_tostring(L, -2), lua_tostring(L, -1));
}

static enum next cut(struct run *r);

/* The error on the top is told to the log; the client gets a 500, or a broken answer. */
static enum next failed(struct run *r)
{
    lua_State *L = r->L;
    struct connection *c = r->c;
    lua_pushvalue(L, -1);
    if (failure_test(L, -1))
        failure_unwrap(L);
    if (error_unwinds(L, -1))
        lua_error(L);
    lua_pop(L, 1);
    if (!c->gone || !error_is(L, -1, ERROR_CANCELLED)) {
        const char *prefix = method_and_path(L);
        lua_pushvalue(L, -4);
        error_report(L, runtime_of(L)->current, prefix);
    }
    if (c->upgraded || c->gone)
        return OVER;
    if (c->answered)
        return cut(r);
    connection_answer_error(c, c->refused ? c->refused : 500);
    return go(r, DRAIN);
}

static enum next fail_with(struct run *r, const char *text)
{
    lua_pushstring(r->L, text);
    return failed(r);
}

/* Whether the table at index i has a string for a key. */
static bool is_headers(lua_State *L, int i)
{
    bool found = false;
    if (!lua_istable(L, i))
        return false;
    lua_pushnil(L);
    while (!found && lua_next(L, i)) {
        found = lua_type(L, -2) == LUA_TSTRING;
        lua_pop(L, 1);
    }
    if (found)
        lua_pop(L, 1);
    return found;
}

/* Whether the table at index i has something in it, but nothing of a list. */
static bool is_no_list(lua_State *L, int i)
{
    if (lua_rawlen(L, i) > 0)
        return false;
    lua_pushnil(L);
    if (!lua_next(L, i))
        return false;
    lua_pop(L, 2);
    return true;
}

/* The length of a whole body at index i, -1: it is none. */
static int64_t body_length(lua_State *L, int i)
{
    if (lua_isstring(L, i))
        return (int64_t)(lua_tostring(L, i), lua_rawlen(L, i));
    const struct file_part *file = http_file_part(L, i);
    if (file)
        return (int64_t)file->left;
    if (!lua_istable(L, i) || bind_callable(L, i) || is_no_list(L, i))
        return -1;
    int64_t total = 0;
    for (lua_Integer k = 1, n = (lua_Integer)lua_rawlen(L, i); k <= n; k++) {
        lua_rawgeti(L, i, k);
        if (!lua_isstring(L, -1))
            return -1;
        lua_tostring(L, -1);
        total += (int64_t)lua_rawlen(L, -1);
        lua_pop(L, 1);
    }
    return total;
}

/* What a handler returned: places in the frame, 0: nothing is there. */
struct parts {
    lua_Integer status;
    int headers, body;
};

/* NULL, or what is wrong. */
static const char *find_parts(lua_State *L, struct parts *p)
{
    int top = lua_gettop(L), whole;
    *p = (struct parts){.status = 200, .body = RESULT};
    if (lua_type(L, RESULT) != LUA_TNUMBER)
        return NULL;
    p->status = lua_tointegerx(L, RESULT, &whole);
    if (!whole || p->status < 200 || p->status > 599)
        return "the handler returned a number that is no status from 200 to 599";
    if (top > RESULT + 1 || is_headers(L, RESULT + 1))
        p->headers = RESULT + 1;
    p->body = p->headers ? RESULT + 2 : RESULT + 1;
    if (p->headers && lua_isnil(L, p->headers))
        p->headers = 0;
    if (p->body > top || lua_isnil(L, p->body))
        p->body = 0;
    if (p->headers && !lua_istable(L, p->headers))
        return "the handler returned headers that are no table, before the body";
    return NULL;
}

static int begin_answer(lua_State *L)
{
    struct connection *c = lua_touserdata(L, 1);
    http_begin_answer(L, c, (int)lua_tointeger(L, 2), 3, (uint64_t)lua_tointeger(L, 4));
    return 0;
}

/* Puts the head of the answer; an error, with its traceback, is on the top. */
static bool put_head(struct run *r, const struct parts *p, int64_t length)
{
    lua_State *L = r->L;
    if (http_begin_plain_answer(L, r->c, (int)p->status, p->headers, (uint64_t)length))
        return true;
    lua_pushcfunction(L, begin_answer);
    lua_pushvalue(L, CONNECTION);
    lua_pushinteger(L, p->status);
    lua_pushvalue(L, p->headers);
    lua_pushinteger(L, (lua_Integer)length);
    return lua_pcall(L, 4, 0, CATCH) == LUA_OK;
}

static int deferred_came(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct connection *c = lua_touserdata(L, 2);
    struct tasklet *t = runtime_of(L)->current;
    c->awaits = false;
    if (t->left) {
        t->left = LEFT_NOTHING;
        deferred_abandon(L, 1);
    }
    if (wait_result(L) != WAKE_CLOSED)
        return lua_gettop(L) - 2;
    deferred_cancel(L, 1); /* the client has left */
    return 0;
}

/* wait_for_answer(deferred, connection): its results */
static int wait_for_answer(lua_State *L)
{
    struct connection *c = lua_touserdata(L, 2);
    if (deferred_done(L, 1))
        return deferred_take(L, 1);
    wait_check(L);
    if (!c->stream->ended && !c->stream->closed)
        stream_want_input(c->stream);
    c->awaits = true;
    return deferred_wait(L, HUGE_VAL, 0, deferred_came);
}

/* Sends the body at index i of the frame, whose head is out. */
static enum next begin_body(struct run *r, int i, int64_t length)
{
    struct connection *c = r->c;
    if (lua_type(r->L, i) == LUA_TSTRING && length <= SMALL && buffer_length(&c->out) < SMALL) {
        connection_piece(c, lua_tostring(r->L, i), (size_t)length);
        connection_end_body(c);
        return go(r, DRAIN);
    }
    c->item = length < 0 ? 0 : 1;
    c->offset = 0;
    lua_copy(r->L, i, RESULT);
    lua_settop(r->L, RESULT);
    return go(r, http_file_part(r->L, RESULT) ? SEND_FILE : SEND);
}

static enum next answer(struct run *r)
{
    lua_State *L = r->L;
    struct parts p;
    int top = lua_gettop(L);
    while (top > RESULT && lua_isnil(L, top)) /* a wrapper that passes on three results */
        lua_settop(L, --top);
    if (top >= RESULT && object_test(L, top, OBJECT_DEFERRED)) {
        lua_pushcfunction(L, wait_for_answer); /* its results take its place */
        lua_insert(L, top);
        lua_pushvalue(L, CONNECTION);
        r->nargs = 2;
        return CALL;
    }
    if (top < RESULT || lua_isnil(L, RESULT))
        return fail_with(r, "the handler returned nothing");
    const char *wrong = find_parts(L, &p);
    if (wrong)
        return fail_with(r, wrong);
    if (!p.body) {
        lua_pushstring(L, p.status >= 400 ? http_reason((int)p.status) : "");
        p.body = lua_gettop(L);
    }
    int64_t length = body_length(L, p.body);
    if (length < 0 && !bind_callable(L, p.body))
        return fail_with(r, "the handler returned a body that is no text, list or function");
    return put_head(r, &p, length) ? begin_body(r, p.body, length) : failed(r);
}

static enum next returned(struct run *r)
{
    struct connection *c = r->c;
    luaL_checkstack(r->L, LUA_MINSTACK, NULL); /* the handler may have returned a lot */
    if (r->status != LUA_OK)
        return failed(r);
    if (c->upgraded || c->gone)
        return OVER;
    if (c->answered) {
        connection_end_body(c);
        return go(r, c->refused ? FLUSH_LAST : DRAIN);
    }
    return c->refused ? refuse(r) : answer(r);
}

/* ---- sending the body ---- */

/* The answer must look broken: nothing more of it is sent. */
static enum next cut(struct run *r)
{
    r->c->keep = false;
    r->c->cut = true;
    return go(r, FLUSH_LAST);
}

/* Pushes what is to be sent next: the body itself, an item of a list, or a piece that a
** function gave; false: it is complete. */
static bool push_text(lua_State *L, struct connection *c)
{
    switch (c->item == 0 ? LUA_TFUNCTION : lua_type(L, RESULT)) {
    case LUA_TSTRING:
        lua_settop(L, RESULT);
        lua_pushvalue(L, RESULT);
        return c->offset < lua_rawlen(L, RESULT);
    case LUA_TTABLE:
        for (;; c->item++, c->offset = 0) {
            lua_settop(L, RESULT);
            if (lua_rawgeti(L, RESULT, c->item) == LUA_TNIL)
                return false;
            if (lua_tostring(L, -1) && c->offset < lua_rawlen(L, -1))
                return true;
            if (!lua_isstring(L, -1))
                return false;
        }
    default:
        return lua_gettop(L) > RESULT && c->offset < lua_rawlen(L, RESULT + 1);
    }
}

static enum next call_for_piece(struct run *r)
{
    lua_settop(r->L, RESULT);
    lua_pushvalue(r->L, RESULT);
    r->nargs = 0;
    go(r, PIECE_RETURNED);
    return CALL;
}

/* Puts a part of the text at RESULT + 1 into the output. False: it is more than was said. */
static bool send_text(lua_State *L, struct connection *c)
{
    size_t n, length = lua_rawlen(L, RESULT + 1);
    const char *p = lua_tostring(L, RESULT + 1);
    n = length - c->offset < PIECE ? length - c->offset : PIECE;
    if (c->out_framing == OUT_LENGTH && n > c->out_left)
        return false;
    connection_piece(c, p + c->offset, n);
    c->offset += n;
    return true;
}

static enum next send_body(struct run *r)
{
    lua_State *L = r->L;
    struct connection *c = r->c;
    bool streams = c->item == 0;
    bool dumb = c->head.is_head || c->out_framing == OUT_NONE;
    if (r->why != WAKE_SERVED)
        return OVER;
    for (;;) {
        bool more = !dumb && push_text(L, c);
        if (buffer_length(&c->out) >= SMALL || (!more && streams && !dumb)) {
            int f = connection_flush(c);
            if (f != 0)
                return f == -EAGAIN ? WAIT_ROOM : OVER;
            if (runtime_of(L)->burst++ > MAX_BURST)
                return GIVE_WAY; /* others are served, too, however fast this client reads */
        }
        if (more) {
            if (!send_text(L, c)) {
                lua_pushliteral(L, "the body is longer than its Content-Length");
                return failed(r);
            }
        } else if (streams && !dumb) {
            return call_for_piece(r);
        } else {
            connection_end_body(c);
            return go(r, DRAIN);
        }
    }
}

/* Nobody needs the file any more. */
static void close_file(struct file_part *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

static enum next send_file(struct run *r)
{
    struct connection *c = r->c;
    struct file_part *f = http_file_part(r->L, RESULT);
    bool dumb = c->head.is_head || c->out_framing == OUT_NONE;
    int sent = r->why != WAKE_SERVED ? -EPIPE : dumb ? 0 : connection_send_file(c, f);
    if (sent == -EAGAIN)
        return WAIT_ROOM;
    if (sent > 0)
        return GIVE_WAY;
    close_file(f);
    if (sent == 0) {
        connection_end_body(c);
        return go(r, DRAIN);
    }
    return sent == -ENODATA ? cut(r) : OVER;
}

static enum next piece_returned(struct run *r)
{
    lua_State *L = r->L;
    if (r->status != LUA_OK)
        return failed(r);
    lua_settop(L, RESULT + 2);
    if (lua_isstring(L, RESULT + 1)) {
        lua_tostring(L, RESULT + 1);
        lua_settop(L, RESULT + 1);
        r->c->offset = 0;
        return go(r, SEND);
    }
    if (!lua_isnil(L, RESULT + 1))
        return fail_with(r, "a piece of a body is no text");
    if (!lua_isnil(L, RESULT + 2)) /* an error; if it is not the client's, it is told */
        return r->c->gone || r->c->refused ? cut(r) : failed(r);
    connection_end_body(r->c);
    return go(r, DRAIN);
}

/* ---- the end ---- */

static void end_request(struct connection *c)
{
    c->request->connection = NULL;
    c->request = NULL;
    wait_wake_all(c->server->rt, &c->leaving, WAKE_CLOSED);
    buffer_free(&c->in, &c->server->rt->memory);
    connection_next(c);
}

/* Reads away what the handler has left of the body. */
static enum next drain_body(struct run *r)
{
    struct connection *c = r->c;
    uint64_t before = c->body.size;
    if (r->why != WAKE_SERVED)
        return OVER;
    log_request(r);
    while (c->keep && !c->body.done) {
        int got = connection_read_body(c, OUT_ENOUGH, UINT64_MAX - 1);
        buffer_free(&c->in, &c->server->rt->memory);
        c->drained += c->body.size - before;
        before = c->body.size;
        r->timeout = connection_body_time(c);
        if (got == -EAGAIN)
            return WAIT_INPUT;
        if (got == -ENOBUFS)
            return WAIT_ROOM;
        if (got < 0 || c->drained > DRAIN_MAX)
            c->keep = false;
    }
    if (!c->keep)
        return go(r, FLUSH_LAST);
    end_request(c);
    return go(r, READ_HEAD);
}

/* Where only a close tells the end of a body, a broken one needs a reset. */
static void reset(struct stream *s)
{
    struct linger now = {.l_onoff = 1};
    setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    s->out_error = ECONNABORTED;
}

/* Whether the client may still send, and would lose the answer by a reset. */
static bool may_send(const struct connection *c)
{
    const struct stream *s = c->stream;
    return (!c->body.done || c->refused) && !c->cut && !s->closed && !s->ended && !s->in_error;
}

static enum next flush_last(struct run *r)
{
    struct connection *c = r->c;
    log_request(r);
    int sent = r->why == WAKE_SERVED ? connection_flush(c) : -EPIPE;
    if (sent == -EAGAIN)
        return WAIT_ROOM;
    if (c->cut && c->out_framing == OUT_TO_CLOSE && !c->stream->closed)
        reset(c->stream);
    if (sent < 0 || !may_send(c))
        return OVER;
    if (buffer_length(&c->stream->output) > 0)
        return WAIT_ROOM;
    if (c->request)
        end_request(c);
    connection_linger(c);
    return go(r, LINGER);
}

/* Reads away what the client still sends, so that it can read the answer behind it. It counts
** among the connections meanwhile. A server that stops leaves this to the stream's close. */
static enum next linger(struct run *r)
{
    struct connection *c = r->c;
    if (r->why != WAKE_SERVED)
        return OVER;
    c->stream->patient = c->server->draining;
    r->timeout = connection_linger_time(c);
    if (c->server->draining || r->timeout <= 0)
        return OVER;
    int got = connection_skip_input(c);
    return got > 0 ? GIVE_WAY : got == -EAGAIN ? WAIT_INPUT : OVER;
}

int http_serve_connection(lua_State *L)
{
    struct run r = {.L = L, .c = lua_touserdata(L, CONNECTION)};
    lua_toclose(L, CONNECTION);
    lua_pushcfunction(L, error_handler);
    return run(&r);
}
