/* luaopen_neap: the library in a Lua state that others made, such as that of `lua5.4`. It is a
** host of its own there, and tells errors on standard error as the program does; nothing else
** in the library writes anywhere. */
#include "neap.h"

#include "bind/bind.h"
#include "net/tls.h"

#include <stdio.h>
#include <string.h>

static void on_log(struct runtime *rt, int level, const char *message)
{
    (void)rt;
    fprintf(stderr, "neap: %s%s\n", level == NEAP_LOG_WARN ? "warning: " : "", message);
}

static void on_fail(struct runtime *rt, struct tasklet *t, const char *message,
                    const char *trace)
{
    (void)rt, (void)t;
    fflush(stdout);
    fprintf(stderr, "neap: %s%s%s\n", message, *trace ? "\n" : "", trace);
}

static int leave(lua_State *L)
{
    runtime_leave(lua_touserdata(L, 1));
    return 0;
}

/* The runtime's memory is the Lua state's, which frees it when nothing of Lua runs any more. */
NEAP_API int luaopen_neap(lua_State *L); /* Lua looks for it by its name */

int luaopen_neap(lua_State *L)
{
    static const char key[] = "neap";
    const char *why;
    luaL_checkversion(L);
    if (lua_getfield(L, LUA_REGISTRYINDEX, key) == LUA_TTABLE)
        return 1; /* opened already, by the program itself perhaps */
    lua_settop(L, 0);
    struct runtime *rt = memset(lua_newuserdatauv(L, sizeof *rt, 0), 0, sizeof *rt);
    memory_init(&rt->memory, NULL, NULL);
    rt->on_log = on_log;
    rt->on_fail = on_fail;
    if (runtime_adopt(rt, L, &why) < 0)
        return luaL_error(L, "neap: %s", why);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, leave);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    luaL_ref(L, LUA_REGISTRYINDEX);
    lua_getfield(L, LUA_REGISTRYINDEX, "LUA_NOENV"); /* lua -E */
    lua_pushboolean(L, !lua_toboolean(L, -1));
    lua_setfield(L, LUA_REGISTRYINDEX, TLS_ENVIRONMENT);
    bind_open(L);
    return 1;
}
