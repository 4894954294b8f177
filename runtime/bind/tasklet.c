/* Tasklets as scripts see them: API.md section 2. */
#include "core/tasklet.h"
#include "core/outcome.h"

#include "bind/bind.h"
#include "core/ending.h"
#include "core/group.h"
#include "core/sched.h"
#include "core/select.h"
#include "core/slice.h"
#include "core/tracer.h"
#include "core/wait.h"

#include <math.h>

static struct tasklet *check(lua_State *L, int i)
{
    return object_check(L, i, OBJECT_TASKLET);
}

static int returns_self(lua_State *L)
{
    lua_settop(L, 1);
    return 1;
}

/* Continuations: nothing, or all that is on the stack, once the tasklet runs again. */
static int nothing_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    wait_result(L);
    return 0;
}

static int all_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    wait_result(L);
    return lua_gettop(L);
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
static int new (lua_State *L)
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

/* schedule(...): lets the others run; its arguments */
static int schedule(lua_State *L)
{
    struct tasklet *t = wait_check_switch(L);
    sched_append(runtime_of(L), t);
    return wait_switch(L, 0, all_k);
}

static int removed_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    wait_result(L);
    tasklet_push(L, runtime_of(L)->current);
    tasklet_get(L, -1, SIDE_TEMPVAL);
    return 1;
}

/* schedule_remove([v]): the same, but out of the queue until somebody inserts it; tempval */
static int schedule_remove(lua_State *L)
{
    struct tasklet *t = wait_check_switch(L);
    lua_settop(L, 1);
    tasklet_push(L, t);
    lua_insert(L, 1);
    tasklet_set(L, 1, SIDE_TEMPVAL);
    wait_check_switch(L); /* a finalizer may have killed it */
    t->state = TASKLET_PAUSED;
    return wait_switch(L, 0, removed_k);
}

static int ran(lua_State *L, int status, lua_KContext owner)
{
    struct runtime *rt = runtime_of(L);
    (void)status;
    if (owner)
        rt->run_limit = 0;
    wait_result(L);
    return lua_gettop(L) - 1;
}

/* run([instructions]): until the run queue is empty; a tasklet that uses more instructions
** in one go is taken out of the queue and returned. Only the outermost count is in force. */
static int run_all(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    lua_Integer limit = luaL_optinteger(L, 1, 0);
    luaL_argcheck(L, limit >= 0 && limit <= INT32_MAX, 1, "count out of range");
    struct tasklet *t = wait_check_switch(L);
    lua_settop(L, 1);
    if (rt->ready_count == 0)
        return 0;
    /* with nobody in run a count is one whose owner was cut */
    bool owner = limit > 0 && (rt->run_limit == 0 || list_empty(&rt->runners));
    if (owner)
        rt->run_limit = (int)limit;
    t->state = TASKLET_PAUSED;
    list_push_back(&rt->runners, &t->link);
    return wait_switch(L, owner, ran);
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

/* t:set_atomic(flag): no slice ends in it; the old flag */
static int set_atomic(lua_State *L)
{
    struct tasklet *t = check(L, 1);
    lua_pushboolean(L, t->atomic);
    t->atomic = lua_toboolean(L, 2);
    return 1;
}

/* t:throw(err[, pending]) */
static int throw(lua_State * L)
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

static int getcurrent(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    rt->current && !rt->reactor_code ? tasklet_push(L, rt->current) : lua_pushnil(L);
    return 1;
}

static int getmain(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    rt->main &&tasklet_alive(rt->main) ? tasklet_push(L, rt->main) : lua_pushnil(L);
    return 1;
}

/* switch_trap(n): adds n to the count of traps, returns the old one; above 0 a switch raises */
static int switch_trap(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    int n = (int)luaL_optinteger(L, 1, 0);
    lua_pushinteger(L, rt->switch_trap);
    rt->switch_trap += n;
    return 1;
}

/* Replaces a callback kept in the registry by the function or nil at 1; pushes the old. */
static int set_callback(lua_State *L, int *ref)
{
    lua_settop(L, 1);
    if (!lua_isnil(L, 1))
        bind_check_callable(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, *ref);
    luaL_unref(L, LUA_REGISTRYINDEX, *ref);
    lua_pushvalue(L, 1);
    *ref = lua_isnil(L, 1) ? LUA_NOREF : luaL_ref(L, LUA_REGISTRYINDEX);
    lua_settop(L, 2);
    return 1;
}

/* set_schedule_callback(f): f(previous, next) at every switch; the old one */
static int set_schedule_callback(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    if (rt->current)
        tasklet_push(L, rt->current);
    else
        lua_pushnil(L);
    lua_rawseti(L, LUA_REGISTRYINDEX, rt->last_ref);
    set_callback(L, &rt->on_switch_ref);
    sched_observe(rt);
    return 1;
}

/* set_channel_callback(f): f(channel, tasklet, sending, will_block); the old one */
static int set_channel_callback(lua_State *L)
{
    return set_callback(L, &runtime_of(L)->on_channel_ref);
}

static void check_interrupt(lua_State *L)
{
    if (!lua_isnoneornil(L, 1) && !runtime_of(L)->slice.interrupt)
        luaL_error(L, "this host cannot interrupt a running tasklet");
}

/* The seconds at index 1 after which slices act; nil: never. */
static double slice_time(lua_State *L)
{
    check_interrupt(L);
    double seconds = wait_timeout(L, 1);
    luaL_argcheck(L, seconds > 0, 1, "a time above 0 expected");
    return seconds;
}

/* preempt([seconds]): time slices for pure Lua; nil: off */
static int preempt(lua_State *L)
{
    slice_set(runtime_of(L), slice_time(L));
    return 0;
}

/* watchdog([seconds]): reports a tasklet that holds on longer; nil: off */
static int watchdog(lua_State *L)
{
    slice_set_watchdog(runtime_of(L), slice_time(L));
    return 0;
}

/* kill_group(g): ends all of a group, newest first; how many */
static int kill_group(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushinteger(L, group_kill(L, 1));
    return 1;
}

/* pause_group(g, on): holds and releases it; how many */
static int pause_group(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushinteger(L, group_hold(L, 1, lua_toboolean(L, 2)));
    return 1;
}

/* select(cases[, timeout]) */
static int select_(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    return select_run(L, wait_timeout(L, 2));
}

static int getruncount(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    lua_pushinteger(L, (lua_Integer)rt->ready_count + (rt->current != NULL));
    return 1;
}

/* tasklets(): the live ones, oldest first */
static int tasklets(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    struct list *node;
    lua_Integer n = 0;
    lua_createtable(L, (int)rt->tasklet_count, 0);
    list_each(node, &rt->tasklets)
    {
        tasklet_push(L, container_of(node, struct tasklet, all));
        lua_rawseti(L, -2, ++n);
    }
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

static void get_alive(lua_State *L, void *t)
{
    lua_pushboolean(L, tasklet_alive(t));
}

static void get_blocked(lua_State *L, void *p)
{
    lua_pushboolean(L, ((struct tasklet *)p)->state == TASKLET_BLOCKED);
}

static void get_scheduled(lua_State *L, void *p)
{
    struct tasklet *t = p; /* one that is blocked counts, as in Stackless */
    lua_pushboolean(L, tasklet_alive(t) && t->state != TASKLET_PAUSED);
}

static void get_paused(lua_State *L, void *p)
{
    lua_pushboolean(L, ((struct tasklet *)p)->state == TASKLET_PAUSED);
}

static void get_current(lua_State *L, void *p)
{
    lua_pushboolean(L, ((struct tasklet *)p)->state == TASKLET_RUNNING);
}

static void get_is_main(lua_State *L, void *p)
{
    lua_pushboolean(L, runtime_of(L)->main == p);
}

static void get_id(lua_State *L, void *p)
{
    lua_pushinteger(L, (lua_Integer)((struct tasklet *)p)->id);
}

static void get_waiting_on(lua_State *L, void *p)
{
    struct tasklet *t = p;
    if (t->state != TASKLET_BLOCKED)
        lua_pushnil(L);
    else
        lua_pushstring(L, wait_what(runtime_of(L), t));
}

static void get_group(lua_State *L, void *t)
{
    (void)t;
    tasklet_get(L, 1, SIDE_GROUP);
}

static void set_group(lua_State *L, void *t)
{
    (void)t;
    group_set(L, 1, 3);
}

static void get_block_trap(lua_State *L, void *t)
{
    lua_pushboolean(L, ((struct tasklet *)t)->block_trap);
}

static void set_block_trap(lua_State *L, void *t)
{
    ((struct tasklet *)t)->block_trap = lua_toboolean(L, 3);
}

static void get_daemon(lua_State *L, void *p)
{
    struct tasklet *t = p;
    lua_pushboolean(L, t->side && t->side->daemon);
}

static void set_daemon(lua_State *L, void *t)
{
    tasklet_side(L, 1);
    ending_set_daemon(runtime_of(L), t, lua_toboolean(L, 3));
}

static void get_recursion_depth(lua_State *L, void *t)
{
    lua_pushinteger(L, tasklet_depth(t));
}

static void get_name(lua_State *L, void *p)
{
    (void)p;
    tasklet_get(L, 1, SIDE_NAME);
}

static void set_name(lua_State *L, void *p)
{
    if (!lua_isnil(L, 3))
        luaL_checkstring(L, 3);
    tasklet_set(L, 1, SIDE_NAME);
    struct tasklet *t = p;
    if (runtime_of(L)->tracer && tasklet_alive(t) && t->started)
        tracer_name(L, t);
}

static void get_tempval(lua_State *L, void *p)
{
    (void)p;
    tasklet_get(L, 1, SIDE_TEMPVAL);
}

static void set_tempval(lua_State *L, void *p)
{
    (void)p;
    tasklet_set(L, 1, SIDE_TEMPVAL);
}

static void get_locals(lua_State *L, void *p)
{
    (void)p;
    tasklet_get(L, 1, SIDE_LOCALS);
    if (lua_isnil(L, -1)) {
        lua_newtable(L);
        lua_pushvalue(L, -1);
        tasklet_set(L, 1, SIDE_LOCALS);
    }
}

void bind_tasklets(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"tasklet", new},
        {"spawn", spawn},
        {"schedule", schedule},
        {"schedule_remove", schedule_remove},
        {"getcurrent", getcurrent},
        {"getmain", getmain},
        {"getruncount", getruncount},
        {"tasklets", tasklets},
        {"switch_trap", switch_trap},
        {"select", select_},
        {"run", run_all},
        {"set_schedule_callback", set_schedule_callback},
        {"set_channel_callback", set_channel_callback},
        {"preempt", preempt},
        {"watchdog", watchdog},
        {"kill_group", kill_group},
        {"pause_group", pause_group},
        {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"bind", bind},
        {"setup", setup},
        {"insert", insert},
        {"remove", remove_},
        {"run", run},
        {"switch", switch_},
        {"kill", kill},
        {"throw", throw},
        {"join", join},
        {"traceback", traceback},
        {"set_atomic", set_atomic},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {{"__call", setup}, {"__tostring", to_string}, {NULL, NULL}};
    static const struct object_property properties[] = {
        {"alive", get_alive, NULL},
        {"blocked", get_blocked, NULL},
        {"scheduled", get_scheduled, NULL},
        {"paused", get_paused, NULL},
        {"current", get_current, NULL},
        {"is_main", get_is_main, NULL},
        {"id", get_id, NULL},
        {"waiting_on", get_waiting_on, NULL},
        {"name", get_name, set_name},
        {"group", get_group, set_group},
        {"daemon", get_daemon, set_daemon},
        {"block_trap", get_block_trap, set_block_trap},
        {"recursion_depth", get_recursion_depth, NULL},
        {"tempval", get_tempval, set_tempval},
        {"locals", get_locals, NULL},
        {NULL, NULL, NULL},
    };
    object_class_new(L, OBJECT_TASKLET,
                     &(struct object_class){"tasklet", methods, meta, properties, false});
    select_open(L);
    object_class_new(L, OBJECT_SIDE, &(struct object_class){.name = "side block"});
    luaL_setfuncs(L, functions, 0);
}
