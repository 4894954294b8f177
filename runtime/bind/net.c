/* require "neap.net": what its parts share. */
#define _GNU_SOURCE
#include "bind/net.h"

#include "core/sched.h"
#include "core/tasklet.h"
#include "net/option.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

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

int net_push_no_address(lua_State *L, const char *what)
{
    lua_pushnil(L);
    lua_pushfstring(L, "%s: not an address in figures", what);
    lua_pushliteral(L, "EINVAL");
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

int net_bad_option(lua_State *L, const char *name, const char *why)
{
    return luaL_error(L, "bad option '%s' (%s)", name, why);
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
            net_bad_option(L, name, "there is none");
    }
}

double net_timeout_option(lua_State *L, int i, double fallback)
{
    if (lua_isnoneornil(L, i))
        return fallback;
    if (lua_getfield(L, i, "timeout") != LUA_TNIL) {
        fallback = lua_tonumber(L, -1);
        if (!lua_isnumber(L, -1) || fallback != fallback)
            net_bad_option(L, "timeout", "a number of seconds expected");
    }
    lua_pop(L, 1);
    return fallback > 0 ? fallback : 0;
}

lua_Integer net_integer_option(lua_State *L, int i, const char *name, lua_Integer least,
                               lua_Integer most, lua_Integer fallback)
{
    if (lua_isnoneornil(L, i))
        return fallback;
    if (lua_getfield(L, i, name) != LUA_TNIL) {
        int whole;
        fallback = lua_tointegerx(L, -1, &whole);
        if (!whole || fallback < least || fallback > most)
            net_bad_option(
                L, name,
                lua_pushfstring(L, "a whole number from %I to %I expected", least, most));
    }
    lua_pop(L, 1);
    return fallback;
}

size_t net_max_line_option(lua_State *L, int i)
{
    return (size_t)net_integer_option(L, i, "max_line", 0, LUA_MAXINTEGER, STREAM_MAX_LINE);
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
    int whole = lua_isnil(L, -1);
    lua_Integer port = whole ? 0 : lua_tointegerx(L, -1, &whole);
    const char *host = lua_tostring(L, -2);
    if (!host || !whole || port < 0 || port > 65535)
        return net_bad_option(L, "bind", "a host in figures, or { host =, port = } expected");
    bool ok = address_parse(a, host, (int)port) == 0;
    lua_pop(L, 2);
    return ok;
}

void net_push_deadline(lua_State *L, double timeout)
{
    lua_pushnumber(L, timeout < HUGE_VAL ? runtime_now(runtime_of(L)) + timeout : HUGE_VAL);
}

double net_time_left(lua_State *L, int i)
{
    double at = lua_tonumber(L, i);
    double left = at < HUGE_VAL ? at - runtime_now(runtime_of(L)) : HUGE_VAL;
    return left > 0 ? left : 0;
}

/* Reads or writes in a row that find the kernel ready, after which a tasklet gives way: a
** peer that never stops must not keep the others from running. */
#ifdef NEAP_STRESS
enum { MAX_BURST = 1 }; /* every second one gives way */
#else
enum { MAX_BURST = 32 };
#endif

bool net_must_give_way(lua_State *L)
{
    return ++runtime_of(L)->burst > MAX_BURST && wait_possible(L);
}

int net_give_way(lua_State *L, lua_KContext ctx, lua_KFunction k)
{
    struct runtime *rt = runtime_of(L);
    sched_append(rt, rt->current);
    return wait_switch(L, ctx, k);
}

/* ---- what is written in Lua ---- */

/* Pushes a function of a module. */
static void push_function(lua_State *L, const char *module, const char *name)
{
    lua_getglobal(L, "require");
    lua_pushstring(L, module);
    lua_call(L, 1, 1);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

/* __index of the module: a function that is loaded at its first use */
static int load_on_use(lua_State *L)
{
    static const char *const names[][3] = {{"relay", "neap.relay", "relay"},
                                           {"connect_protocol", "neap.protocols", "connect"}};
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i][0], key) != 0)
            continue;
        push_function(L, names[i][1], names[i][2]);
        lua_pushvalue(L, 2);
        lua_pushvalue(L, -2);
        lua_rawset(L, 1);
        return 1;
    }
    return 0;
}

/* listener:protocol(factory) */
int net_listener_protocol(lua_State *L)
{
    object_check(L, 1, OBJECT_LISTENER);
    push_function(L, "neap.protocols", "listen");
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

int bind_open_net(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"listen", net_listen_any},   {"listen_unix", net_listen_unix_any},
        {"connect", net_connect_any}, {"connect_unix", net_connect_unix_any},
        {"pair", net_pair},           {"udp", net_udp},
        {"resolve", net_resolve},     {NULL, NULL},
    };
    runtime_of(L)->close_net = stream_close_all;
    runtime_of(L)->cut_net = stream_cut;
    net_open_streams(L);
    net_open_listeners(L);
    net_open_udp(L);
    net_open_transports(L);
    net_open_relays(L);
    luaL_newlib(L, functions);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, load_on_use);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    return 1;
}
