/* luaopen_neap's work: puts the library together. */
#include "bind/bind.h"
#include "bind/lua_modules.h"

#include <string.h>

bool bind_callable(lua_State *L, int i)
{
    if (lua_isfunction(L, i))
        return true;
    if (luaL_getmetafield(L, i, "__call") == LUA_TNIL)
        return false;
    lua_pop(L, 1);
    return true;
}

void bind_check_callable(lua_State *L, int i)
{
    if (!bind_callable(L, i))
        luaL_typeerror(L, i, "function");
}

/* The loader of an embedded module; upvalue: its struct. */
static int load_module(lua_State *L)
{
    const struct lua_module *m = lua_touserdata(L, lua_upvalueindex(1));
    lua_settop(L, 1);
    const char *name = lua_pushfstring(L, "@%s", m->chunkname);
    if (luaL_loadbufferx(L, m->source, m->size, name, "t") != LUA_OK)
        return lua_error(L);
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

#ifdef NEAP_WITHOUT_HTTP
int bind_open_http(lua_State *L)
{
    return luaL_error(L, "neap was built without HTTP (llhttp was missing)");
}
#endif

static void preload(lua_State *L)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, bind_open_net);
    lua_setfield(L, -2, "neap.net");
    lua_pushcfunction(L, bind_open_inside);
    lua_setfield(L, -2, "neap.inside");
    lua_pushcfunction(L, bind_open_signal);
    lua_setfield(L, -2, "neap.signal");
    lua_pushcfunction(L, bind_open_http);
    lua_setfield(L, -2, "neap.http.server");
    for (const struct lua_module *m = lua_modules; m->name; m++) {
        if (strncmp(m->name, "neap.types.", 11) == 0)
            continue; /* annotations, to be read only */
        lua_pushlightuserdata(L, (void *)m);
        lua_pushcclosure(L, load_module, 1);
        lua_setfield(L, -2, m->name);
    }
    lua_pop(L, 1);
}

/* __index of the neap table: a name whose module is written in Lua is loaded on use. */
static int load_on_use(lua_State *L)
{
    static const char *const names[][2] = {
        {"map", "neap.tasklets"},
        {"join_all", "neap.tasklets"},
        {"scope", "neap.scope"},
        {"sync", "neap.sync"},
        {"exchange", "neap.exchange"},
        {"looping_call", "neap.time"},
        {"defer_later", "neap.time"},
        {"deferred_list", "neap.deferreds"},
        {"gather_results", "neap.deferreds"},
        {"race", "neap.deferreds"},
        {"deferred_lock", "neap.deferreds"},
        {"deferred_semaphore", "neap.deferreds"},
        {"deferred_queue", "neap.deferreds"},
        {"inline_callbacks", "neap.inline_callbacks"},
        {"reload", "neap.reload"},
    };
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (bind_push_standard(L, key))
        return 1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i][0], key) == 0) {
            lua_getglobal(L, "require");
            lua_pushstring(L, names[i][1]);
            lua_call(L, 1, 1);
            if (lua_getfield(L, -1, key) == LUA_TNIL) /* it is the module itself */
                lua_pop(L, 1);
            lua_pushvalue(L, 2);
            lua_pushvalue(L, -2);
            lua_rawset(L, 1);
            return 1;
        }
    }
    return 0;
}

/* Sets the globals of the program; the neap table is on the top. */
static void own_globals(lua_State *L)
{
    static const char *const globals[] = {
        "tasklet",  "channel", "deferred", "deferred_tasklet", "blocking_tasklet",
        "block_on", "spawn",   "sleep",    "schedule",
    };
    bind_output(L);
    bind_exit(L);
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++) {
        lua_getfield(L, -1, globals[i]);
        lua_setglobal(L, globals[i]);
    }
    lua_pushvalue(L, -1);
    lua_setglobal(L, "neap");
}

void bind_open(lua_State *L)
{
    lua_createtable(L, 0, 64);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, load_on_use);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    bind_errors(L);
    bind_tasklets(L);
    bind_scheduler(L);
    bind_channels(L);
    bind_deferreds(L);
    bind_time(L);
    bind_host(L);
    bind_wait_fd(L);
    bind_coroutines(L);
    bind_require(L);
    preload(L);
    bind_parts(L);
    lua_pushcfunction(L, bind_main);
    lua_setfield(L, -2, "main");
    if (!runtime_of(L)->adopted)
        own_globals(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, "neap"); /* luaopen_neap looks there */
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "neap");
    lua_pop(L, 1);
}
