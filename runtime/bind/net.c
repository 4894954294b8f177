/* require "neap.net": what its parts share, and net.connect. API.md section 8. */
#define _GNU_SOURCE
#include "bind/net.h"

#include "core/tasklet.h"

#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

static const double connect_timeout = 30;

int net_push_error(lua_State *L, const char *what, int error)
{
    const char *name = strerrorname_np(error);
    lua_pushnil(L);
    if (what)
        lua_pushfstring(L, "%s: %s", what, strerror(error));
    else
        lua_pushstring(L, strerror(error));
    lua_pushstring(L, name ? name : "EUNKNOWN");
    return 3;
}

int net_push_end(lua_State *L, enum wake why)
{
    lua_pushnil(L);
    lua_pushstring(L, why == WAKE_TIMEOUT ? "timeout" : "closed");
    lua_pushstring(L, why == WAKE_TIMEOUT ? "ETIMEDOUT" : "ECLOSED");
    return 3;
}

static int peer_tostring(lua_State *L)
{
    lua_getfield(L, 1, "host");
    lua_getfield(L, 1, "port");
    const char *host = luaL_tolstring(L, 2, NULL), *port = luaL_tolstring(L, 3, NULL);
    lua_pushfstring(L, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
    return 1;
}

void net_push_peer(lua_State *L, const struct address *a)
{
    char host[ADDRESS_TEXT];
    int port = address_format(a, host);
    lua_createtable(L, 0, 2);
    lua_pushstring(L, host);
    lua_setfield(L, -2, "host");
    lua_pushinteger(L, port);
    lua_setfield(L, -2, "port");
    if (luaL_newmetatable(L, "neap.peer")) {
        lua_pushcfunction(L, peer_tostring);
        lua_setfield(L, -2, "__tostring");
        lua_pushliteral(L, "peer");
        lua_setfield(L, -2, "__name");
    }
    lua_setmetatable(L, -2);
}

void net_check_options(lua_State *L, const char *const known[])
{
    luaL_checktype(L, 3, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        int i = 0;
        while (known[i] && strcmp(known[i], name) != 0)
            i++;
        if (!known[i])
            luaL_error(L, "bad argument #3 (no option '%s' in this version)", name);
    }
}

/* ---- connect ---- */

/* Returns nil, "connect host:port: text", code; closes the stream that is at index 3. */
static int connect_failed(lua_State *L, int error)
{
    struct stream *s = object_test(L, 3, OBJECT_STREAM);
    if (s)
        stream_close(s);
    lua_pushfstring(L, "connect %s:%s", lua_tostring(L, 1), luaL_tolstring(L, 2, NULL));
    return net_push_error(L, lua_tostring(L, -1), error);
}

static int connected(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct stream *s = lua_touserdata(L, 3);
    int error = 0;
    socklen_t length = sizeof error;
    if (runtime_of(L)->current->wake == WAKE_RAISE)
        stream_close(s);
    enum wake why = wait_result(L);
    watch_stop(s->rt->reactor, &s->out);
    turn_give(s->rt, &s->writing); /* the wait for the connection held it */
    if (why == WAKE_TIMEOUT) {
        stream_close(s);
        return net_push_end(L, why);
    }
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        error = errno;
    if (error)
        return connect_failed(L, error);
    lua_settop(L, 3);
    return 1;
}

/* Sets a boolean socket option that `opts` (at 3) may name. */
static void set_option(lua_State *L, int fd, const char *name, int fallback, int level,
                       int option)
{
    int on = fallback;
    if (lua_istable(L, 3)) {
        if (lua_getfield(L, 3, name) != LUA_TNIL)
            on = lua_toboolean(L, -1);
        lua_pop(L, 1);
    }
    if (on)
        setsockopt(fd, level, option, &on, sizeof on);
}

/* net.connect(host, port[, opts]) */
int net_connect(lua_State *L)
{
    const char *host = luaL_checkstring(L, 1);
    lua_Integer port = luaL_checkinteger(L, 2);
    luaL_argcheck(L, port >= 0 && port <= 65535, 2, "port out of range");
    double timeout = connect_timeout;
    if (!lua_isnoneornil(L, 3)) {
        static const char *const known[] = {"timeout", "nodelay", "keepalive", NULL};
        net_check_options(L, known);
        if (lua_getfield(L, 3, "timeout") != LUA_TNIL)
            timeout = wait_timeout(L, lua_gettop(L));
    }
    lua_settop(L, 3);
    wait_check(L);
    struct address a;
    if (address_parse(&a, host, (int)port) < 0) {
        lua_pushnil(L);
        lua_pushfstring(L, "connect %s:%d: only addresses in figures so far", host, (int)port);
        lua_pushliteral(L, "ENOTSUP");
        return 3;
    }
    struct stream *s = net_new_stream(L);
    int fd = socket(a.sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return connect_failed(L, errno);
    stream_init(s, s->rt, fd);
    set_option(L, fd, "nodelay", 1, IPPROTO_TCP, TCP_NODELAY);
    set_option(L, fd, "keepalive", 0, SOL_SOCKET, SO_KEEPALIVE);
    lua_replace(L, 3);
    if (connect(fd, (struct sockaddr *)&a.sa, a.length) == 0) {
        lua_settop(L, 3);
        return 1;
    }
    if (errno != EINPROGRESS)
        return connect_failed(L, errno);
    stream_want_room(s);
    return wait_on(L, &s->writer, timeout, 0, connected);
}

int bind_open_net(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"listen", net_listen}, {"connect", net_connect}, {NULL, NULL}};
    runtime_of(L)->close_net = stream_close_all;
    runtime_of(L)->cut_net = stream_cut;
    net_open_streams(L);
    net_open_listeners(L);
    luaL_newlib(L, functions);
    return 1;
}
