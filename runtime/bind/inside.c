/* require "neap.inside": what the library's modules written in Lua need of the core, and
** scripts do not. */
#include "bind/bind.h"
#include "bind/lua_modules.h"
#include "bind/net.h"
#include "core/deferred.h"
#include "core/outcome.h"
#include "core/sched.h"
#include "core/tasklet.h"
#include "core/timer.h"
#include "core/usage.h"

#include <string.h>

/* spawn(watcher, f, ...): a new tasklet whose end the watcher is told; it counts as spawned by
** the caller of the Lua function that calls this */
static int spawn(lua_State *L)
{
    enum { caller_of_caller = 2 };
    bind_check_callable(L, 2);
    struct tasklet *t = tasklet_new(L);
    lua_insert(L, 1);
    outcome_watch(L, 1, 2);
    lua_remove(L, 2);
    tasklet_bind(L, 1, lua_gettop(L) - 2, caller_of_caller);
    sched_append(runtime_of(L), t);
    return 1;
}

/* watch(t, f): f is told of the end of a live tasklet: outcome_watch */
static int watch(lua_State *L)
{
    object_check(L, 1, OBJECT_TASKLET);
    bind_check_callable(L, 2);
    outcome_watch(L, 1, 2);
    return 0;
}

/* interrupt(t, err): raises it in a live tasklet: where it waits, or in the running one at
** its next wait */
static int interrupt(lua_State *L)
{
    struct tasklet *t = object_check(L, 1, OBJECT_TASKLET);
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    if (tasklet_alive(t))
        tasklet_interrupt(L, 1);
    return 0;
}

/* retract(err): it is not raised any more in the running tasklet, if it has not been yet */
static int retract(lua_State *L)
{
    struct tasklet *t = runtime_of(L)->current;
    if (!t || !t->thrown)
        return 0;
    tasklet_push(L, t);
    tasklet_get(L, -1, SIDE_THROWN);
    if (lua_rawequal(L, 1, -1))
        t->thrown = false;
    return 0;
}

/* unwinds(err): whether neap.pcall lets it through */
static int unwinds(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, error_unwinds(L, 1));
    return 1;
}

/* keep(err): called by a message handler; the failure of the error is kept for recall */
static int keep(lua_State *L)
{
    return error_keep(L, 2);
}

/* raise(failure): raises its error; a report shows both tracebacks */
static int raise(lua_State *L)
{
    lua_settop(L, 1);
    tasklet_push(L, runtime_of(L)->current);
    lua_pushvalue(L, 1);
    tasklet_set(L, 2, SIDE_ORIGIN);
    lua_settop(L, 1);
    failure_unwrap(L);
    return lua_error(L);
}

/* report(failure): an error that nobody handles, of the running tasklet or of reactor code */
static int report(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    lua_settop(L, 1);
    error_report(L, rt->reactor_code > 0 ? NULL : rt->current, "");
    return 0;
}

/* check_wait(): raises what a wait here would raise */
static int check_wait(lua_State *L)
{
    wait_check(L);
    return 0;
}

/* can_wait(): whether the running code may block here */
static int can_wait(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    lua_pushboolean(L, wait_possible(L) && !rt->switch_trap && !rt->current->block_trap);
    return 1;
}

/* title(t): a live tasklet's name and where it was spawned, for tracebacks */
static int title(lua_State *L)
{
    struct tasklet *t = object_check(L, 1, OBJECT_TASKLET);
    tasklet_push_title(L, t);
    lua_pushliteral(L, ", ");
    tasklet_push_site(L, t);
    lua_concat(L, 3);
    return 1;
}

/* sleeps(t): the seconds that a sleeping one has left, on the clock it sleeps by; else nil */
static int sleeps(lua_State *L)
{
    struct tasklet *t = object_check(L, 1, OBJECT_TASKLET);
    const struct clock *c = NULL;
    if (t->state == TASKLET_BLOCKED && !t->on && heap_holds(&t->timer))
        c = timer_clock(runtime_of(L), &t->timer);
    if (!c)
        return 0;
    double left = heap_key(&c->timers, &t->timer) - clock_read(c);
    lua_pushnumber(L, left > 0 ? left : 0);
    return 1;
}

/* onlooker(t): what it waits for in the world outside counts for nothing from now on: where
** all others wait for each other, that is a deadlock */
static int onlooker(lua_State *L)
{
    struct tasklet *t = object_check(L, 1, OBJECT_TASKLET);
    t->onlooker = true;
    return 0;
}

/* observe(): from now on there are ages */
static int observe(lua_State *L)
{
    return usage_open(runtime_of(L)) < 0 ? luaL_error(L, "not enough memory") : 0;
}

/* age(t): for how many seconds it has been there, or was observed; nil: nobody observes */
static int age(lua_State *L)
{
    struct tasklet *t = object_check(L, 1, OBJECT_TASKLET);
    if (!runtime_of(L)->usage)
        return 0;
    lua_pushnumber(L, usage_age(runtime_of(L), t->id));
    return 1;
}

/* count_runs(on): begins to count how long each tasklet runs, or ends it */
static int count_runs(lua_State *L)
{
    observe(L);
    usage_count(runtime_of(L), lua_toboolean(L, 1));
    return 0;
}

/* runs(): seconds by id of those that have run since the last call */
static int runs(lua_State *L)
{
    usage_take(L);
    return 1;
}

/* source(name): the text of a module that is built in, or nil */
static int source(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    for (const struct lua_module *m = lua_modules; m->name; m++) {
        if (strcmp(m->name, name) == 0) {
            lua_pushlstring(L, m->source, m->size);
            return 1;
        }
    }
    return 0;
}

/* modules(): a list of the names of those that are built in */
static int modules(lua_State *L)
{
    lua_newtable(L);
    for (int i = 0; lua_modules[i].name; i++) {
        lua_pushstring(L, lua_modules[i].name);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* callable(v): whether it can be called */
static int callable(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, bind_callable(L, 1));
    return 1;
}

/* is_tasklet(v) */
static int is_tasklet(lua_State *L)
{
    lua_pushboolean(L, object_test(L, 1, OBJECT_TASKLET) != NULL);
    return 1;
}

/* is_deferred(v) */
static int is_deferred(lua_State *L)
{
    lua_pushboolean(L, object_test(L, 1, OBJECT_DEFERRED) != NULL);
    return 1;
}

/* new_failure(err[, traceback]): what errbacks get; a failure stays itself */
static int new_failure(lua_State *L)
{
    luaL_checkany(L, 1);
    failure_push(L, 1, luaL_optstring(L, 2, NULL));
    return 1;
}

/* recall(err): the failure that `keep`, a message handler, has made of it; TaskletExit stays
** as it is */
static int recall(lua_State *L)
{
    lua_settop(L, 1);
    failure_recall(L);
    if (!error_is(L, 1, ERROR_TASKLET_EXIT))
        failure_push(L, 1, "");
    return 1;
}

/* call(f, ...): f(...) as code that the reactor runs: true, its results; or false, failure */
static int call(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    luaL_checkany(L, 1);
    lua_pushcfunction(L, error_handler);
    lua_insert(L, 1);
    rt->reactor_code++;
    bool ok = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 1) == LUA_OK;
    rt->reactor_code--;
    if (!ok) {
        failure_push(L, -1, NULL); /* TaskletExit comes bare */
        lua_replace(L, 2);
        lua_settop(L, 2);
    }
    lua_pushboolean(L, ok);
    lua_replace(L, 1);
    return lua_gettop(L);
}

/* asked(f): a deferred whose cancel only calls f(d), each time: whoever made it decides what
** becomes of it */
static int asked(lua_State *L)
{
    bind_check_callable(L, 1);
    deferred_push(L, 1);
    deferred_asks(L, -1);
    return 1;
}

/* properties(v): a list of the names of those that an object of ours has; nil: none */
static int properties(lua_State *L)
{
    luaL_checkany(L, 1);
    object_property_names(L, 1);
    return 1;
}

/* methods(value): the table of them that all objects of its kind share; nil: it is none */
static int methods(lua_State *L)
{
    luaL_checkany(L, 1);
    object_methods_of(L, 1);
    return 1;
}

/* traceback(level): debug.traceback(nil, level), which a host may have denied */
static int traceback(lua_State *L)
{
    luaL_traceback(L, L, NULL, (int)luaL_checkinteger(L, 1));
    return 1;
}

/* failure: a message handler that makes a failure of an error */
int bind_open_inside(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"spawn", spawn},
        {"watch", watch},
        {"interrupt", interrupt},
        {"retract", retract},
        {"unwinds", unwinds},
        {"raise", raise},
        {"report", report},
        {"check_wait", check_wait},
        {"title", title},
        {"can_wait", can_wait},
        {"failure", error_handler},
        {"keep", keep},
        {"recall", recall},
        {"callable", callable},
        {"is_tasklet", is_tasklet},
        {"is_deferred", is_deferred},
        {"sleeps", sleeps},
        {"onlooker", onlooker},
        {"observe", observe},
        {"age", age},
        {"count_runs", count_runs},
        {"runs", runs},
        {"source", source},
        {"new_failure", new_failure},
        {"call", call},
        {"asked", asked},
        {"throw", bind_throw},
        {"methods", methods},
        {"traceback", traceback},
        {"properties", properties},
        {"modules", modules},
        {"accept_counted", net_accept_counted},
        {"transport", net_new_transport},
        {"relay", net_new_relay},
        {"copy", net_copy},
        {"must_shake", net_inside_must_shake},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}
