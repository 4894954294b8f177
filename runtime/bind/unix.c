/* net.connect_unix and net.pair: streams over unix sockets. */
#include "bind/net.h"
#include "core/tasklet.h"

#include <errno.h>
#include <math.h>
#include <unistd.h>

static const double connect_timeout = 30;

/* The listener's backlog is full, and the kernel tells nobody when there is room. */
static const double retry_pause = 0.01;

/* The frame: path, stream, the moment at which it times out. */
enum { UNIX_PATH = 1, UNIX_STREAM, UNIX_DEADLINE };

static int failed(lua_State *L, int error)
{
    stream_close(lua_touserdata(L, UNIX_STREAM));
    lua_pushfstring(L, "connect %s", lua_tostring(L, UNIX_PATH));
    return net_push_error(L, lua_tostring(L, -1), error);
}

static int try_again(lua_State *L, int status, lua_KContext ctx);

static int try_now(lua_State *L)
{
    struct address a;
    size_t n;
    const char *path = lua_tolstring(L, UNIX_PATH, &n);
    struct stream *s = lua_touserdata(L, UNIX_STREAM);
    int r = address_unix(&a, path, n);
    if (r == 0 && connect(s->fd, (struct sockaddr *)&a.sa, a.length) < 0)
        r = -errno;
    if (r == 0) {
        lua_settop(L, UNIX_STREAM);
        return 1;
    }
    if (r != -EAGAIN && r != -EINTR)
        return failed(L, -r);
    double left = lua_tonumber(L, UNIX_DEADLINE) - clock_now();
    if (left <= 0) {
        stream_close(s);
        return net_push_end(L, WAKE_TIMEOUT);
    }
    wait_check(L);
    return wait_sleep(L, true, left < retry_pause ? left : retry_pause, 0, try_again);
}

static int try_again(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    if (runtime_of(L)->current->wake == WAKE_RAISE)
        stream_close(lua_touserdata(L, UNIX_STREAM));
    wait_result(L);
    return try_now(L);
}

/* Binds fd to the path that the options at index i name. 0, or -errno. */
static int bind_own(lua_State *L, int i, int fd)
{
    struct address a;
    size_t n;
    if (!lua_istable(L, i) || lua_getfield(L, i, "bind") == LUA_TNIL)
        return 0;
    const char *path = lua_tolstring(L, -1, &n);
    if (!path)
        net_bad_option(L, "bind", "a path expected");
    int r = address_unix(&a, path, n);
    if (r == 0 && bind(fd, (struct sockaddr *)&a.sa, a.length) < 0)
        r = -errno;
    return r;
}

/* net.connect_unix(path[, opts]) */
int net_connect_unix(lua_State *L)
{
    static const char *const known[] = {"timeout", "bind", "max_line", NULL};
    luaL_checkstring(L, UNIX_PATH);
    lua_settop(L, 2);
    if (!lua_isnil(L, 2))
        net_check_options(L, 2, known);
    double timeout = net_timeout_option(L, 2, connect_timeout);
    size_t max_line = net_max_line_option(L, 2);
    wait_check(L);
    struct stream *s = net_new_stream(L);
    lua_insert(L, UNIX_STREAM);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return failed(L, errno);
    stream_init(s, s->rt, fd);
    s->max_line = max_line;
    int r = bind_own(L, 3, fd);
    if (r < 0)
        return failed(L, -r);
    lua_settop(L, UNIX_STREAM);
    lua_pushnumber(L, timeout < HUGE_VAL ? clock_now() + timeout : HUGE_VAL);
    return try_now(L);
}

/* net.pair(): two connected streams */
int net_pair(lua_State *L)
{
    int fd[2];
    struct stream *a = net_new_stream(L), *b = net_new_stream(L);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) < 0)
        return net_push_error(L, "pair", errno);
    stream_init(a, a->rt, fd[0]);
    stream_init(b, b->rt, fd[1]);
    return 2;
}
