/* req:body and req:read_some: the body of a request, as it comes. */
#include "bind/http.h"

#include "core/tasklet.h"

#include <errno.h>

static struct request *check(lua_State *L)
{
    return object_check(L, 1, OBJECT_HTTP_REQUEST);
}

enum wake http_input_came(lua_State *L, struct stream *s)
{
    struct runtime *rt = runtime_of(L);
    if (s->reading.owner == rt->current)
        turn_give(rt, &s->reading);
    return wait_result(L);
}

enum wake http_room_came(lua_State *L, struct stream *s)
{
    struct runtime *rt = runtime_of(L);
    if (s->writing.owner == rt->current)
        turn_give(rt, &s->writing);
    enum wake why = wait_result(L);
    bool reads = connection_reads(s->owner, why == WAKE_TIMEOUT);
    return why == WAKE_TIMEOUT && reads ? WAKE_SERVED : why;
}

static int body_failed(lua_State *L, int error)
{
    switch (error) {
    case ECONNRESET:
        lua_pushnil(L);
        lua_pushliteral(L, "closed");
        lua_pushliteral(L, "ECONNRESET");
        return 3;
    case EBADMSG:
        return net_push_error(L, "body", EBADMSG);
    case EMSGSIZE:
        return net_push_error(L, "body", EMSGSIZE);
    case ENOMEM:
        return luaL_error(L, "not enough memory");
    default:
        return net_push_end(L, WAKE_TIMEOUT);
    }
}

enum { WHOLE, SOME };

static int body_came(lua_State *L, int status, lua_KContext ctx);
static int body_room(lua_State *L, int status, lua_KContext ctx);

/* At most `max` bytes of what has come. */
static int give_body(lua_State *L, struct connection *c, size_t max)
{
    struct buffer *b = &c->in;
    size_t n = buffer_length(b) < max ? buffer_length(b) : max;
    lua_pushlstring(L, n ? buffer_bytes(b) : "", n);
    if (n > 0)
        buffer_consume(b, &c->server->rt->memory, n);
    return 1;
}

/* The connection of the request at 1, if the handler still may read; else NULL. */
static struct connection *reading(lua_State *L)
{
    struct connection *c = check(L)->connection;
    if (!c || c->upgraded || c->gone || c->stream->closed)
        return NULL;
    if (!list_empty(&c->stream->reader.waiters))
        luaL_error(L, "another tasklet reads this body");
    return c;
}

static uint64_t body_limit(lua_State *L, struct connection *c, lua_KContext kind)
{
    uint64_t most = kind == WHOLE ? c->server->limits.max_body : c->server->limits.max_stream;
    if (kind == WHOLE && !lua_isnil(L, 2))
        most = (uint64_t)lua_tointeger(L, 2);
    return most < UINT64_MAX ? most : UINT64_MAX - 1;
}

/* The frame: the request, max. */
static int go_on_reading(lua_State *L, lua_KContext kind)
{
    struct connection *c = reading(L);
    if (!c)
        return net_push_end(L, WAKE_CLOSED);
    if (c->refused)
        return body_failed(L, c->refused == 413 ? EMSGSIZE : EBADMSG);
    uint64_t most = body_limit(L, c, kind);
    size_t piece = kind == SOME && !lua_isnil(L, 2) ? (size_t)lua_tointeger(L, 2) : OUT_ENOUGH;
    for (;;) {
        int got = kind == SOME && buffer_length(&c->in) > 0
                      ? 1
                      : connection_read_body(c, piece, most);
        if (got == 1 && kind == WHOLE)
            continue;
        if (got == 0 && kind == SOME) {
            lua_pushnil(L);
            return 1;
        }
        if (got >= 0)
            return give_body(L, c, kind == SOME ? piece : SIZE_MAX);
        if (got != -EAGAIN && got != -ENOBUFS)
            return body_failed(L, -got);
        wait_check(L);
        c->wait_began = runtime_now(c->server->rt);
        if (got == -EAGAIN) {
            stream_want_input(c->stream);
            return wait_on(L, &c->stream->reader, connection_body_time(c), kind, body_came);
        }
        stream_want_room(c->stream);
        return wait_on(L, &c->stream->writer, connection_write_time(c), kind, body_room);
    }
}

static int body_came(lua_State *L, int status, lua_KContext kind)
{
    (void)status;
    struct connection *c = check(L)->connection;
    if (!c)
        return wait_result(L), net_push_end(L, WAKE_CLOSED);
    c->waited += runtime_now(c->server->rt) - c->wait_began;
    enum wake why = http_input_came(L, c->stream);
    if (why == WAKE_TIMEOUT) {
        connection_refuse(c, 408);
        return net_push_end(L, why);
    }
    return why == WAKE_CLOSED ? net_push_end(L, why) : go_on_reading(L, kind);
}

static int body_room(lua_State *L, int status, lua_KContext kind)
{
    (void)status;
    struct connection *c = check(L)->connection;
    if (!c)
        return wait_result(L), net_push_end(L, WAKE_CLOSED);
    enum wake why = http_room_came(L, c->stream);
    return why == WAKE_SERVED ? go_on_reading(L, kind) : net_push_end(L, why);
}

static int start_reading(lua_State *L, lua_KContext kind)
{
    check(L);
    lua_settop(L, 2);
    luaL_argcheck(L, luaL_optinteger(L, 2, 1) > (kind == WHOLE ? -1 : 0), 2, "out of range");
    return go_on_reading(L, kind);
}

/* req:body([max]): all of it */
int http_body(lua_State *L)
{
    return start_reading(L, WHOLE);
}

/* req:read_some([max]): what has come of it; nil at its end */
int http_read_some(lua_State *L)
{
    return start_reading(L, SOME);
}
