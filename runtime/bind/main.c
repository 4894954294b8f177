/* neap.main: the program's loop for a Lua that is not ours, where neap is a module. */
#include "bind/bind.h"
#include "core/outcome.h"
#include "core/sched.h"
#include "core/tasklet.h"

#include <stdio.h>

static int returned(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return lua_gettop(L);
}

/* Calls a function of bind.h that takes nothing; its one result is left on the top. */
static void call(lua_State *L, lua_CFunction f)
{
    lua_pushcfunction(L, f);
    lua_call(L, 0, 1);
}

/* Tells of the tasklets that wait for ever, and leaves a DeadlockError; nil: none does. */
static void tell_deadlock(lua_State *L)
{
    static const char text[] = "Deadlock: the last runnable tasklet cannot be blocked.";
    call(L, bind_blocked);
    if (!*lua_tostring(L, -1)) {
        lua_pushnil(L);
        return;
    }
    fprintf(stderr, "neap: %s\n%s\n", text, lua_tostring(L, -1));
    error_push(L, ERROR_DEADLOCK, text);
}

/* Tells what a DeadlockError of main says beside its text. */
static void tell_report(lua_State *L, int err)
{
    if (error_is(L, err, ERROR_DEADLOCK) && lua_getfield(L, err, "report") == LUA_TSTRING)
        fprintf(stderr, "neap: %s\n", lua_tostring(L, -1));
}

/* Runs until the main tasklet, at index 1, and all that it has started is done. */
static int run(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    do
        lua_settop(L, 1);
    while (!sched_run(rt) && (call(L, bind_deadlock), lua_toboolean(L, -1)));
    lua_settop(L, 1);
    int n = outcome_push(L, 1);
    bool ok = lua_toboolean(L, 2);
    if (ok)
        tell_deadlock(L);
    else
        tell_report(L, 3);
    int end = lua_gettop(L); /* of a DeadlockError, if there is one */
    call(L, bind_finish);
    lua_settop(L, ok ? end : 3);
    if (!ok || !lua_isnil(L, -1))
        return lua_error(L);
    lua_settop(L, n + 1);
    return n - 1;
}

/* main(f, ...): runs f(...) as the main tasklet until it and all that it started is done; its
** results, or its error. In the neap program it only calls f: there is a main tasklet. */
int bind_main(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    bind_check_callable(L, 1);
    if (!rt->adopted) {
        lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, returned);
        return returned(L, LUA_OK, 0);
    }
    if (L != rt->L || rt->reactor_code || rt->current || rt->main)
        return luaL_error(L, "neap.main runs in Lua's main thread, and once at a time");
    rt->main = tasklet_spawn(L, lua_gettop(L) - 1, 1);
    rt->main_ended = false;
    tasklet_side(L, 1);
    return run(L);
}
