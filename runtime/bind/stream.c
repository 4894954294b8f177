/* Streams as scripts see them: their life, options and class. Reading is in read.c, writing in
** write.c. */
#define _GNU_SOURCE
#include "bind/stream.h"

#include "core/select.h"
#include "core/tasklet.h"
#include "net/option.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

struct stream *net_check_stream(lua_State *L)
{
    return object_check(L, 1, OBJECT_STREAM);
}

struct stream *net_new_stream(lua_State *L)
{
    struct stream *s = object_new(L, OBJECT_STREAM, sizeof *s, 0);
    s->rt = runtime_of(L);
    s->fd = -1;
    list_init(&s->all);
    s->closed = true; /* until stream_init */
    return s;
}

bool net_wait_ended(lua_State *L, struct turn *turn, enum wake *why)
{
    struct runtime *rt = runtime_of(L);
    if (rt->current->wake == WAKE_RAISE && turn->owner == rt->current)
        turn_give(rt, turn);
    *why = wait_result(L);
    return *why != WAKE_SERVED;
}

/* s:shutdown(): ends our direction */
static int shutdown_(lua_State *L)
{
    struct stream *s = net_check_stream(L);
    if (net_must_shake(s))
        return net_shake_first(L, shutdown_, false);
    if (s->closed)
        return net_push_end(L, WAKE_CLOSED);
    int r = stream_shutdown(s);
    if (r < 0)
        return net_push_failure(L, s, "shutdown", -r);
    lua_pushboolean(L, 1);
    return 1;
}

/* s:close(), also by `<close>` and when it is collected */
static int close_(lua_State *L)
{
    stream_close(net_check_stream(L));
    return 0;
}

/* s:detach(): it is not closed when the handler returns that it was made for */
static int detach(lua_State *L)
{
    net_check_stream(L)->detached = true;
    lua_settop(L, 1);
    return 1;
}

/* s:settimeout(seconds): of each operation from now on; nil: none */
static int settimeout(lua_State *L)
{
    struct stream *s = net_check_stream(L);
    s->timeout = wait_timeout(L, 2);
    lua_settop(L, 1);
    return 1;
}

static int push_name(lua_State *L, int (*name)(int, struct sockaddr *, socklen_t *))
{
    struct stream *s = net_check_stream(L);
    struct address a = {.length = sizeof a.sa};
    if (s->closed)
        return net_push_end(L, WAKE_CLOSED);
    if (name(s->fd, (struct sockaddr *)&a.sa, &a.length) < 0)
        return net_push_error(L, NULL, errno);
    return net_push_address(L, &a);
}

static int get_peer(int fd, struct sockaddr *sa, socklen_t *n)
{
    return getpeername(fd, sa, n);
}

static int get_own(int fd, struct sockaddr *sa, socklen_t *n)
{
    return getsockname(fd, sa, n);
}

/* s:peername(), s:sockname(): host, port; of a unix socket its path, "" if it has none */
static int peername(lua_State *L)
{
    return push_name(L, get_peer);
}

static int sockname(lua_State *L)
{
    return push_name(L, get_own);
}

static double option_value(lua_State *L, int i, int option)
{
    if (option_is_number(option) && lua_type(L, i) == LUA_TNUMBER)
        return lua_tonumber(L, i);
    luaL_argexpected(L, lua_isboolean(L, i), i,
                     option_is_number(option) ? "boolean or number" : "boolean");
    return lua_toboolean(L, i);
}

int net_set_option(lua_State *L, int fd)
{
    const char *name = luaL_checkstring(L, 2);
    int option = option_find(name);
    luaL_argcheck(L, option >= 0, 2, lua_pushfstring(L, "no option '%s'", name));
    int r = option_set(fd, option, option_value(L, 3, option));
    if (r < 0)
        return net_push_error(L, "setoption", -r);
    lua_settop(L, 1);
    return 1;
}

/* How long a close lets go on what was written: not the kernel's own option, with which a close
** blocks the thread. */
static int set_linger(lua_State *L, struct stream *s)
{
    double seconds =
        lua_isboolean(L, 3) && !lua_toboolean(L, 3) ? STREAM_LINGER : luaL_checknumber(L, 3);
    if (!(seconds >= 0 && seconds <= INT_MAX))
        return net_push_error(L, "setoption", EINVAL);
    s->linger = seconds;
    lua_settop(L, 1);
    return 1;
}

static int set_max_line(lua_State *L, struct stream *s)
{
    s->max_line = net_size_argument(L, 3, STREAM_MAX_LINE);
    lua_settop(L, 1);
    return 1;
}

/* s:setoption(name, value): "max_line", "linger", and those of net/option.c */
static int setoption(lua_State *L)
{
    struct stream *s = net_check_stream(L);
    const char *name = luaL_checkstring(L, 2);
    if (s->closed)
        return net_push_end(L, WAKE_CLOSED);
    if (strcmp(name, "max_line") == 0)
        return set_max_line(L, s);
    if (strcmp(name, "linger") == 0)
        return set_linger(L, s);
    return net_set_option(L, s->fd);
}

static int to_string(lua_State *L)
{
    struct stream *s = net_check_stream(L);
    lua_pushfstring(L, s->closed ? "stream: closed" : "stream: %d", s->fd);
    return 1;
}

static void get_fd(lua_State *L, void *s)
{
    lua_pushinteger(L, ((struct stream *)s)->fd);
}

static bool is_ready(void *s)
{
    return stream_ready(s);
}

static bool is_closed(const void *s)
{
    return ((const struct stream *)s)->closed;
}

static struct wait_queue *selectors(void *s)
{
    return &((struct stream *)s)->selectors;
}

void net_open_streams(lua_State *L)
{
    static const struct select_source source = {is_ready, is_closed, selectors};
    static const luaL_Reg methods[] = {
        {"read", net_stream_read},
        {"read_some", net_stream_read_some},
        {"read_until", net_stream_read_until},
        {"lines", net_stream_lines},
        {"unread", net_stream_unread},
        {"write", net_stream_write},
        {"flush", net_stream_flush},
        {"shutdown", shutdown_},
        {"close", close_},
        {"detach", detach},
        {"settimeout", settimeout},
        {"peername", peername},
        {"sockname", sockname},
        {"setoption", setoption},
        {"starttls", net_starttls},
        {"tls", net_tls_state},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", close_}, {"__close", close_}, {"__tostring", to_string}, {NULL, NULL}};
    static const struct object_property properties[] = {{"fd", get_fd, NULL},
                                                        {NULL, NULL, NULL}};
    object_class_new(L, OBJECT_STREAM,
                     &(struct object_class){"stream", methods, meta, properties, true});
    runtime_of(L)->kinds[OBJECT_STREAM].source = &source;
}
