/* Writing to a stream: write, flush. */
#include "bind/stream.h"
#include "core/tasklet.h"

#include <errno.h>
#include <string.h>

enum { MAX_NESTING = 100 };

/* Copies a string, a number, or a table of such, to `to` (NULL: only measures it). How
** many bytes. */
static size_t copy_piece(lua_State *L, int i, char *to, const char *end, int nesting)
{
    size_t n, total = 0;
    if (lua_type(L, i) != LUA_TTABLE) {
        luaL_argexpected(L, lua_isstring(L, i), 2, "string or table of strings");
        lua_pushvalue(L, i); /* a number in a table must stay one */
        const char *p = lua_tolstring(L, -1, &n);
        /* to make a number's text may collect, and a finalizer change the table */
        luaL_argcheck(L, !to || n <= (size_t)(end - to), 2, "changed while it is written");
        if (to)
            memcpy(to, p, n);
        lua_pop(L, 1);
        return n;
    }
    luaL_argcheck(L, nesting < MAX_NESTING, 2, "tables nested too deeply");
    luaL_checkstack(L, 10, NULL);
    lua_Integer count = (lua_Integer)lua_rawlen(L, i);
    for (lua_Integer k = 1; k <= count; k++) {
        lua_rawgeti(L, i, k);
        total += copy_piece(L, lua_gettop(L), to ? to + total : NULL, end, nesting + 1);
        lua_pop(L, 1);
    }
    return total;
}

void net_join_pieces(lua_State *L)
{
    int top = lua_gettop(L);
    luaL_checkany(L, 2);
    if (top == 2 && lua_isstring(L, 2)) {
        lua_tostring(L, 2);
        return;
    }
    size_t total = 0;
    luaL_Buffer b;
    for (int i = 2; i <= top; i++)
        total += copy_piece(L, i, NULL, NULL, 0);
    char *start = luaL_buffinitsize(L, &b, total), *to = start;
    for (int i = 2; i <= top; i++)
        to += copy_piece(L, i, to, start + total, 0);
    luaL_pushresultsize(&b, (size_t)(to - start));
    lua_replace(L, 2);
    lua_settop(L, 2);
}

static int write_k(lua_State *L, int status, lua_KContext sent);

static int write_ends(lua_State *L, struct stream *s, int results)
{
    if (s->writing.owner && s->writing.owner == runtime_of(L)->current)
        turn_give(s->rt, &s->writing);
    return results;
}

static int written(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    wait_result(L);
    lua_settop(L, 1);
    return 1;
}

static int go_on_writing(lua_State *L, struct stream *s, size_t sent)
{
    size_t n;
    const char *p = lua_tolstring(L, 2, &n);
    while (sent < n) {
        ssize_t r = stream_send(s, p + sent, n - sent);
        if (r < 0)
            return write_ends(L, s, net_push_failure(L, s, "write", (int)-r));
        sent += (size_t)r;
        if (sent == n)
            break;
        wait_check(L);
        stream_want_room(s);
        return wait_on(L, &s->writer, net_time_left(L, 3), (lua_KContext)sent, write_k);
    }
    write_ends(L, s, 0);
    if (net_must_give_way(L))
        return net_give_way(L, 0, written);
    lua_settop(L, 1);
    return 1;
}

static int write_k(lua_State *L, int status, lua_KContext sent)
{
    (void)status;
    struct stream *s = lua_touserdata(L, 1);
    enum wake why;
    if (net_wait_ended(L, &s->writing, &why) || s->closed)
        return write_ends(L, s, net_push_end(L, s->closed ? WAKE_CLOSED : why));
    return go_on_writing(L, s, (size_t)sent);
}

/* s:write(...): the stream, when all is handed over or buffered */
int net_stream_write(lua_State *L)
{
    struct stream *s = net_check_stream(L);
    if (net_must_shake(s))
        return net_shake_first(L, net_stream_write, false);
    if (s->standard)
        bind_make_room(L); /* what print has left comes first */
    net_join_pieces(L);
    if (s->closed)
        return net_push_end(L, WAKE_CLOSED);
    if (s->shut)
        return net_push_error(L, "write", EPIPE);
    net_push_deadline(L, s);
    if (s->writing.owner) {
        wait_check(L);
        return wait_on(L, &s->writing.queue, net_time_left(L, 3), 0, write_k);
    }
    return go_on_writing(L, s, 0);
}

static int flushed(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct stream *s = lua_touserdata(L, 1);
    enum wake why = wait_result(L);
    if (why != WAKE_SERVED)
        return net_push_end(L, why);
    if (s->out_error)
        return net_push_failure(L, s, "flush", s->out_error);
    lua_settop(L, 1);
    return 1;
}

/* s:flush(): waits until the kernel has it all */
int net_stream_flush(lua_State *L)
{
    struct stream *s = net_check_stream(L);
    lua_settop(L, 1);
    if (s->closed)
        return net_push_end(L, WAKE_CLOSED);
    if (s->out_error)
        return net_push_failure(L, s, "flush", s->out_error);
    if (buffer_length(&s->output) == 0)
        return 1;
    wait_check(L);
    return wait_on(L, &s->flushers, s->timeout, 0, flushed);
}
