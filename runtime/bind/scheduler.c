/* The scheduler as scripts see it, in the neap table: the run queue, groups, callbacks at
** switches, time slices. lua/neap/types/neap.lua says what each does. */
#include "core/sched.h"

#include "bind/bind.h"
#include "core/group.h"
#include "core/slice.h"
#include "core/tasklet.h"
#include "core/wait.h"

/* ---- the queue ---- */

static int scheduled(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    wait_result(L);
    return lua_gettop(L);
}

/* schedule(...): lets the others run; its arguments */
static int schedule(lua_State *L)
{
    struct tasklet *t = wait_check_switch(L);
    sched_append(runtime_of(L), t);
    return wait_switch(L, 0, scheduled);
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

static int getruncount(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    lua_pushinteger(L, (lua_Integer)rt->ready_count + (rt->current != NULL));
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
    bool alive = rt->main && tasklet_alive(rt->main);
    alive ? tasklet_push(L, rt->main) : lua_pushnil(L);
    return 1;
}

/* tasklets(): the live ones, oldest first */
static int tasklets(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    struct list *node;
    lua_Integer n = 0;
    lua_createtable(L, (int)rt->tasklet_count, 0);
    list_each(node, &rt->tasklets) {
        tasklet_push(L, container_of(node, struct tasklet, all));
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

/* ---- groups ---- */

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

/* ---- what happens at switches ---- */

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

/* ---- time slices ---- */

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

void bind_scheduler(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"schedule", schedule},
        {"schedule_remove", schedule_remove},
        {"run", run_all},
        {"getruncount", getruncount},
        {"getcurrent", getcurrent},
        {"getmain", getmain},
        {"tasklets", tasklets},
        {"kill_group", kill_group},
        {"pause_group", pause_group},
        {"switch_trap", switch_trap},
        {"set_schedule_callback", set_schedule_callback},
        {"set_channel_callback", set_channel_callback},
        {"preempt", preempt},
        {"watchdog", watchdog},
        {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
