/* require "neap.net": what its parts share, and net.connect. API.md section 8. */
#define _GNU_SOURCE
#include "bind/net.h"

#include "core/tasklet.h"
#include "net/option.h"

#include <errno.h>
#include <math.h>
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
    if (lua_getfield(L, 1, "path") == LUA_TSTRING) {
        if (*lua_tostring(L, -1) == '\0')
            lua_pushliteral(L, "unix");
        return 1;
    }
    lua_settop(L, 1);
    lua_getfield(L, 1, "host");
    lua_getfield(L, 1, "port");
    const char *host = luaL_tolstring(L, 2, NULL), *port = luaL_tolstring(L, 3, NULL);
    lua_pushfstring(L, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
    return 1;
}

int net_push_address(lua_State *L, const struct address *a)
{
    char host[ADDRESS_TEXT];
    int port = address_format(a, host);
    lua_pushstring(L, host);
    if (port < 0)
        return 1;
    lua_pushinteger(L, port);
    return 2;
}

void net_push_peer(lua_State *L, const struct address *a)
{
    lua_createtable(L, 0, 2);
    int i = lua_gettop(L);
    if (net_push_address(L, a) == 2) {
        lua_setfield(L, i, "port");
        lua_setfield(L, i, "host");
    } else {
        lua_setfield(L, i, "path");
    }
    if (luaL_newmetatable(L, "neap.peer")) {
        lua_pushcfunction(L, peer_tostring);
        lua_setfield(L, -2, "__tostring");
        lua_pushliteral(L, "peer");
        lua_setfield(L, -2, "__name");
    }
    lua_setmetatable(L, -2);
}

void net_check_options(lua_State *L, int i, const char *const known[])
{
    luaL_checktype(L, i, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, i); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        int k = 0;
        while (known[k] && strcmp(known[k], name) != 0)
            k++;
        if (!known[k])
            luaL_error(L, "bad argument #%d (no option '%s' in this version)", i, name);
    }
}

double net_timeout_option(lua_State *L, int i, double fallback)
{
    if (lua_isnoneornil(L, i))
        return fallback;
    if (lua_getfield(L, i, "timeout") != LUA_TNIL)
        fallback = wait_timeout(L, lua_gettop(L));
    lua_pop(L, 1);
    return fallback;
}

bool net_bind_address(lua_State *L, int i, struct address *a)
{
    if (lua_istable(L, i)) {
        lua_getfield(L, i, "host");
        lua_getfield(L, i < 0 ? i - 1 : i, "port");
    } else {
        lua_pushvalue(L, i);
        lua_pushnil(L);
    }
    const char *host = luaL_checkstring(L, -2);
    lua_Integer port = luaL_optinteger(L, -1, 0);
    bool ok = port >= 0 && port <= 65535 && address_parse(a, host, (int)port) == 0;
    lua_pop(L, 2);
    return ok;
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

/* Sets what the options at 3 ask for, before the connection. 0, or -errno. */
static int set_options(lua_State *L, int fd)
{
    struct address own;
    bool delay = false;
    int r = 0;
    if (lua_istable(L, 3)) {
        delay = lua_getfield(L, 3, "nodelay") != LUA_TNIL && !lua_toboolean(L, -1);
        if (lua_getfield(L, 3, "keepalive") != LUA_TNIL)
            r = option_keepalive(fd, lua_isnumber(L, -1) ? lua_tonumber(L, -1)
                                                         : lua_toboolean(L, -1));
        if (r == 0 && lua_getfield(L, 3, "bind") != LUA_TNIL) {
            if (!net_bind_address(L, -1, &own))
                r = -EINVAL;
            else if (bind(fd, (struct sockaddr *)&own.sa, own.length) < 0)
                r = -errno;
        }
    }
    if (!delay)
        option_set(fd, option_find("nodelay"), 1);
    return r;
}

/* net.connect(host, port[, opts]) */
int net_connect(lua_State *L)
{
    const char *host = luaL_checkstring(L, 1);
    lua_Integer port = luaL_checkinteger(L, 2);
    luaL_argcheck(L, port >= 0 && port <= 65535, 2, "port out of range");
    if (!lua_isnoneornil(L, 3)) {
        static const char *const known[] = {"timeout", "bind", "nodelay", "keepalive", NULL};
        net_check_options(L, 3, known);
    }
    double timeout = net_timeout_option(L, 3, connect_timeout);
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
    int r = set_options(L, fd);
    lua_settop(L, 4);
    lua_replace(L, 3);
    if (r < 0)
        return connect_failed(L, -r);
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
        {"listen", net_listen},
        {"listen_unix", net_listen_unix},
        {"connect", net_connect},
        {"connect_unix", net_connect_unix},
        {"pair", net_pair},
        {"udp", net_udp},
        {NULL, NULL},
    };
    runtime_of(L)->close_net = stream_close_all;
    runtime_of(L)->cut_net = stream_cut;
    net_open_streams(L);
    net_open_listeners(L);
    net_open_udp(L);
    luaL_newlib(L, functions);
    return 1;
}
