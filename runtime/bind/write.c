/* Writing to a stream: write, flush. */
#include "bind/pieces.h"
#include "bind/stream.h"
#include "core/tasklet.h"

#include <errno.h>

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

/* The frame: the stream, what is written, the moment at which it times out. sent: bytes of a
** string that have gone. */
static int go_on_writing(lua_State *L, struct stream *s, size_t sent)
{
    struct left left;
    pieces_left(L, 2, sent, &left);
    ssize_t r = left.bytes > 0 ? stream_send_pieces(s, left.v, left.count) : 0;
    if (r < 0)
        return write_ends(L, s, net_push_failure(L, s, "write", (int)-r));
    if ((size_t)r < left.bytes) {
        pieces_sent(L, 2, (size_t)r);
        wait_check(L);
        stream_want_room(s);
        return wait_on(L, &s->writer, net_time_left(L, 3), (lua_KContext)(sent + (size_t)r),
                       write_k);
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
    net_gather_pieces(L);
    if (s->closed)
        return net_push_end(L, WAKE_CLOSED);
    if (s->shut)
        return net_push_error(L, "write", EPIPE);
    net_push_deadline(L, s->timeout);
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
