/* neap.TaskletExit and the error classes, neap.is, neap.pcall, neap.on_error. */
#include "bind/bind.h"

#include "core/interrupt.h"
#include "core/slice.h"
#include "core/wait.h"

/* is(err, class) */
static int is(lua_State *L)
{
    lua_settop(L, 2);
    bool same = lua_rawequal(L, 1, 2);
    for (int c = 0; c < ERROR_CLASSES && !same; c++)
        if (lua_topointer(L, 2) == runtime_of(L)->error_id[c])
            same = error_is(L, 1, c);
    lua_pushboolean(L, same);
    return 1;
}

/* What a protected call catches: a pcall's everything, neap.pcall's not the end of a tasklet;
** what an xpcall catches its handler may have changed. */
enum catch { CATCH_ALL, CATCH_ERRORS, CATCH_HANDLED };

static int pcall_k(lua_State *L, int status, lua_KContext catch)
{
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L) - (catch == CATCH_HANDLED ? 2 : 0);
    if (catch == CATCH_ERRORS && error_unwinds(L, -1))
        return lua_error(L);
    interrupt_caught(L, -1, catch == CATCH_HANDLED);
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

static int protect(lua_State *L, enum catch catch)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, catch, pcall_k);
    return pcall_k(L, status, catch);
}

/* Lua's own pcall and xpcall, which know when main has caught a Ctrl-C. */
static int lua_pcall_(lua_State *L)
{
    return protect(L, CATCH_ALL);
}

/* A message handler where tasklets that hold on are ended; upvalue: the script's. An error
** raised by a hook finds hooks off, and nothing could stop the script's then. */
static int handle_message(lua_State *L)
{
    if (slice_is_over(L))
        return 1;
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static int lua_xpcall_(lua_State *L)
{
    int n = lua_gettop(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (runtime_of(L)->slice.dies < HUGE_VAL) {
        lua_pushvalue(L, 2);
        lua_pushcclosure(L, handle_message, 1);
        lua_replace(L, 2);
    }
    lua_pushboolean(L, 1);
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2);
    int status = lua_pcallk(L, n - 2, LUA_MULTRET, 2, CATCH_HANDLED, pcall_k);
    return pcall_k(L, status, CATCH_HANDLED);
}

/* pcall(f, ...): the pcall that lets the end of a tasklet, a scope or a time limit through */
static int neap_pcall(lua_State *L)
{
    return protect(L, CATCH_ERRORS);
}

/* on_error(f): f(tasklet, err, traceback) gets the errors that nobody handles; nil: none */
static int on_error(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    lua_settop(L, 1);
    if (!lua_isnil(L, 1))
        bind_check_callable(L, 1);
    luaL_unref(L, LUA_REGISTRYINDEX, rt->on_error_ref);
    rt->on_error_ref = lua_isnil(L, 1) ? LUA_NOREF : luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

int bind_raise(lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime_of(L)->error_ref[ERROR_WORLD]);
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, -4);
    lua_setfield(L, -2, "message");
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "code");
    lua_insert(L, -2);
    lua_setmetatable(L, -2);
    return lua_error(L);
}

/* must(...): its arguments; if the first is nil or false, raises err, .code = code */
static int must(lua_State *L)
{
    if (lua_toboolean(L, 1))
        return lua_gettop(L);
    lua_settop(L, 3);
    return bind_raise(L);
}

void bind_errors(lua_State *L)
{
    static const luaL_Reg functions[] = {{"is", is},
                                         {"pcall", neap_pcall},
                                         {"on_error", on_error},
                                         {"must", must},
                                         {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
    lua_pushcfunction(L, lua_pcall_);
    lua_setglobal(L, "pcall");
    lua_pushcfunction(L, lua_xpcall_);
    lua_setglobal(L, "xpcall");
    for (int c = 0; c < ERROR_CLASSES; c++) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, runtime_of(L)->error_ref[c]);
        lua_setfield(L, -2, error_name(c));
    }
}
