/* Tasklets as scripts see them: tasklet, spawn and the methods; the properties are in
** tasklet_property.c. lua/neap/types/tasklet.lua says what each does. */
#include "core/tasklet.h"

#include "bind/bind.h"
#include "core/outcome.h"
#include "core/sched.h"
#include "core/slice.h"
#include "core/wait.h"

static struct tasklet *check(lua_State *L, int i)
{
    return object_check(L, i, OBJECT_TASKLET);
}

static int returns_self(lua_State *L)
{
    lua_settop(L, 1);
    return 1;
}

/* What a method that lets others run does once its caller runs again. */
static int nothing_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    wait_result(L);
    return 0;
}

/* ---- making ---- */

static void check_bindable(lua_State *L, struct tasklet *t)
{
    if (t->state == TASKLET_RUNNING)
        luaL_error(L, "can't (re)bind the current tasklet");
    if (t->state == TASKLET_READY || t->state == TASKLET_BLOCKED)
        luaL_error(L, "tasklet is scheduled");
    if (t == runtime_of(L)->main)
        luaL_error(L, "can't (re)bind the main tasklet");
}

/* t:bind(f[, ...]): a function; with arguments it is alive and paused */
static int bind(lua_State *L)
{
    struct tasklet *t = check(L, 1);
    check_bindable(L, t);
    if (!lua_isnoneornil(L, 2) && !bind_callable(L, 2))
        return luaL_error(L, "tasklet function must be a callable or None");
    int nargs = lua_gettop(L) > 2 ? lua_gettop(L) - 2 : 0;
    if (t->state == TASKLET_PAUSED)
        tasklet_drop(runtime_of(L), t);
    if (nargs == 0) {
        lua_settop(L, 2);
        t->state = TASKLET_NEW;
        tasklet_set(L, 1, SIDE_FUNCTION);
        return returns_self(L);
    }
    if (lua_isnil(L, 2)) {
        tasklet_get(L, 1, SIDE_FUNCTION);
        lua_replace(L, 2);
        if (lua_isnil(L, 2))
            return luaL_error(L, "the tasklet was not bound to a function");
    }
    tasklet_bind(L, 1, nargs, 1);
    if (t->side) { /* what it was before does not come back when it has ended */
        lua_pushnil(L);
        tasklet_set(L, 1, SIDE_FUNCTION);
    }
    return returns_self(L);
}

/* t:setup(...), t(...): arguments; it is queued */
static int setup(lua_State *L)
{
    struct tasklet *t = check(L, 1);
    if (tasklet_alive(t))
        return luaL_error(L, "tasklet is alive");
    int nargs = lua_gettop(L) - 1;
    tasklet_get(L, 1, SIDE_FUNCTION);
    if (lua_isnil(L, -1))
        return luaL_error(L, "You cannot run an unbound(dead) tasklet");
    lua_insert(L, 2);
    tasklet_bind(L, 1, nargs, 1);
    lua_pushnil(L);
    tasklet_set(L, 1, SIDE_FUNCTION);
    sched_append(runtime_of(L), t);
    return returns_self(L);
}

/* tasklet([f]) */
static int new_tasklet(lua_State *L)
{
    lua_settop(L, 1);
    if (!lua_isnil(L, 1) && !bind_callable(L, 1))
        return luaL_error(L, "tasklet function must be a callable or None");
    tasklet_new(L);
    if (!lua_isnil(L, 1)) {
        lua_pushvalue(L, 1);
        tasklet_set(L, 2, SIDE_FUNCTION);
    }
    return 1;
}

/* spawn(f, ...) */
static int spawn(lua_State *L)
{
    bind_check_callable(L, 1);
    tasklet_spawn(L, lua_gettop(L) - 1, 1);
    return 1;
}

/* ---- the queue ---- */

static void check_runnable(lua_State *L, struct tasklet *t)
{
    if (t->state == TASKLET_BLOCKED)
        luaL_error(L, "You cannot run a blocked tasklet");
    if (!tasklet_alive(t))
        luaL_error(L, "You cannot run an unbound(dead) tasklet");
}

/* t:insert(): to the end of the run queue */
static int insert(lua_State *L)
{
    struct tasklet *t = check(L, 1);
    check_runnable(L, t);
    if (t->state == TASKLET_PAUSED) {
        sched_leave_run(runtime_of(L), t);
        sched_append(runtime_of(L), t);
    }
    return returns_self(L);
}

/* t:remove(): out of it */
static int remove_(lua_State *L)
{
    struct tasklet *t = check(L, 1);
    if (t->state == TASKLET_BLOCKED)
        return luaL_error(L, "You cannot remove a blocked tasklet.");
    if (t->state == TASKLET_RUNNING)
        return luaL_error(L, "The current tasklet cannot be removed.");
    if (t->state == TASKLET_READY)
        sched_remove(runtime_of(L), t);
    return returns_self(L);
}

/* Makes t the next to run. The caller goes on right after it, or is paused. */
static int run_next(lua_State *L, struct tasklet *t, bool pause_caller)
{
    struct runtime *rt = runtime_of(L);
    struct tasklet *caller = wait_check_switch(L);
    if (t->state == TASKLET_READY)
        sched_remove(rt, t);
    else
        sched_leave_run(rt, t);
    if (pause_caller)
        caller->state = TASKLET_PAUSED;
    else
        sched_prepend(rt, caller);
    sched_prepend(rt, t);
    return wait_switch(L, 0, nothing_k);
}

/* t:run() */
static int run(lua_State *L)
{
    struct tasklet *t = check(L, 1);
    check_runnable(L, t);
    return t->state == TASKLET_RUNNING ? 0 : run_next(L, t, false);
}

/* t:switch() */
static int switch_(lua_State *L)
{
    struct tasklet *t = check(L, 1);
    check_runnable(L, t);
    return t->state == TASKLET_RUNNING ? 0 : run_next(L, t, true);
}

/* t:set_atomic(flag): no slice ends in it; the old flag */
static int set_atomic(lua_State *L)
{
    struct tasklet *t = check(L, 1);
    lua_pushboolean(L, t->atomic);
    t->atomic = lua_toboolean(L, 2);
    return 1;
}

/* ---- ending ---- */

/* Raises the value on the top in t, now if the caller can step aside for it. */
static int throw_into(lua_State *L, struct tasklet *t, bool pending)
{
    struct runtime *rt = runtime_of(L);
    if (t->state == TASKLET_RUNNING && !wait_possible(L) && wait_in_reactor_code(L)) {
        tasklet_interrupt(L, 1);
        return 0;
    }
    if (t->state == TASKLET_RUNNING)
        return lua_error(L);
    if (pending || !wait_possible(L)) {
        tasklet_throw(L, t, false);
        return 0;
    }
    wait_check_switch(L);
    tasklet_throw(L, t, true);
    sched_remove(rt, t);
    sched_prepend(rt, rt->current);
    sched_prepend(rt, t);
    return wait_switch(L, 0, nothing_k);
}

static bool flag(lua_State *L, int i, const char *name)
{
    if (!lua_istable(L, i))
        return lua_toboolean(L, i);
    lua_getfield(L, i, name);
    bool on = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return on;
}

/* For good: at once, or, where the running one cannot be left, by an error that comes again
** whenever it is caught. */
static int kill_hard(lua_State *L, struct tasklet *t)
{
    if (t->state != TASKLET_RUNNING) {
        tasklet_cut(runtime_of(L), t);
        return 0;
    }
    if (wait_possible(L)) {
        tasklet_leave(L, t);
        return wait_switch(L, 0, nothing_k);
    }
    error_push(L, ERROR_TASKLET_EXIT, NULL);
    slice_doom(L, t);
    if (!wait_in_reactor_code(L))
        slice_raise(L, t);
    return 0;
}

/* t:kill([pending]) */
static int kill(lua_State *L)
{
    struct tasklet *t = check(L, 1);
    if (!tasklet_alive(t))
        return 0;
    bool pending = flag(L, 2, "pending");
    if (lua_istable(L, 2) && flag(L, 2, "hard"))
        return kill_hard(L, t);
    error_push(L, ERROR_TASKLET_EXIT, NULL);
    return throw_into(L, t, pending);
}

/* t:throw(err[, pending]) */
static int throw_(lua_State *L)
{
    struct tasklet *t = check(L, 1);
    luaL_checkany(L, 2);
    bool pending = flag(L, 3, "pending");
    if (!tasklet_alive(t))
        return error_is(L, 2, ERROR_TASKLET_EXIT)
                   ? 0
                   : luaL_error(L, "You cannot throw to a dead tasklet");
    lua_settop(L, 2);
    return throw_into(L, t, pending);
}

static int joined_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    switch (wait_result(L)) {
    case WAKE_TIMEOUT:
        lua_pushnil(L);
        lua_pushliteral(L, "timeout");
        return 2;
    case WAKE_CLOSED:
        lua_pushboolean(L, 0);
        lua_pushliteral(L, "not enough memory");
        return 2;
    default:
        return lua_gettop(L) - 1;
    }
}

/* t:join([timeout]): true, results... or false, err or nil, "timeout" */
static int join(lua_State *L)
{
    struct tasklet *t = check(L, 1);
    double timeout = wait_timeout(L, 2);
    if (t->state == TASKLET_DEAD)
        return outcome_push(L, 1);
    if (t->state == TASKLET_RUNNING)
        return luaL_error(L, "a tasklet cannot join itself");
    wait_check(L);
    lua_settop(L, 1);
    struct side *side = tasklet_side(L, 1); /* may collect, and a finalizer end it */
    if (t->state == TASKLET_DEAD)
        return outcome_push(L, 1);
    return wait_on(L, &side->joiners, timeout, 0, joined_k);
}

/* ---- looking ---- */

/* t:traceback() */
static int traceback(lua_State *L)
{
    struct tasklet *t = check(L, 1);
    if (tasklet_alive(t))
        tasklet_push_traceback(L, t);
    else
        lua_pushliteral(L, "not alive");
    return 1;
}

static int to_string(lua_State *L)
{
    struct tasklet *t = check(L, 1);
    tasklet_get(L, 1, SIDE_NAME);
    lua_pushfstring(L, lua_isstring(L, -1) ? "tasklet %I (%s)" : "tasklet %I",
                    (LUAI_UACINT)t->id, lua_tostring(L, -1));
    return 1;
}

void bind_tasklets(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"tasklet", new_tasklet}, {"spawn", spawn}, {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"bind", bind},
        {"setup", setup},
        {"insert", insert},
        {"remove", remove_},
        {"run", run},
        {"switch", switch_},
        {"kill", kill},
        {"throw", throw_},
        {"join", join},
        {"traceback", traceback},
        {"set_atomic", set_atomic},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {{"__call", setup}, {"__tostring", to_string}, {NULL, NULL}};
    object_class_new(
        L, OBJECT_TASKLET,
        &(struct object_class){"tasklet", methods, meta, bind_tasklet_properties, false});
    object_class_new(L, OBJECT_SIDE, &(struct object_class){.name = "side block"});
    luaL_setfuncs(L, functions, 0);
}
