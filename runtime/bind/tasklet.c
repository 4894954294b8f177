/* Tasklets as scripts see them: API.md section 2. */
#include "core/tasklet.h"

#include "bind/bind.h"
#include "core/sched.h"
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
    if (t->state == TASKLET_PAUSED)
        sched_append(runtime_of(L), t);
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
    struct tasklet *caller = wait_check(L);
    if (t->state == TASKLET_READY)
        sched_remove(rt, t);
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
    struct tasklet *t = wait_check(L);
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
    struct tasklet *t = wait_check(L);
    lua_settop(L, 1);
    tasklet_push(L, t);
    lua_insert(L, 1);
    tasklet_set(L, 1, SIDE_TEMPVAL);
    t->state = TASKLET_PAUSED;
    return wait_switch(L, 0, removed_k);
}

/* sleep(seconds) */
static int sleep_(lua_State *L)
{
    luaL_checknumber(L, 1);
    double s = wait_timeout(L, 1);
    wait_check(L);
    return wait_on(L, NULL, s, 0, nothing_k);
}

/* ---- ending ---- */

/* Raises the value on the top in t, now if the caller can step aside for it. */
static int throw_into(lua_State *L, struct tasklet *t, bool pending)
{
    struct runtime *rt = runtime_of(L);
    if (t->state == TASKLET_RUNNING)
        return lua_error(L);
    if (pending || !wait_possible(L)) {
        tasklet_throw(L, t, false);
        return 0;
    }
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

/* t:kill([pending]) */
static int kill(lua_State *L)
{
    struct tasklet *t = check(L, 1);
    if (!tasklet_alive(t))
        return 0;
    bool pending = flag(L, 2, "pending");
    error_push(L, ERROR_TASKLET_EXIT, NULL);
    return throw_into(L, t, pending);
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

/* Pushes what a join of the dead tasklet at 1 gives; how many. */
static int push_outcome(lua_State *L, const struct tasklet *t)
{
    if (!t->side || !t->side->ended) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushboolean(L, t->side->ok);
    tasklet_get(L, 1, SIDE_OUTCOME);
    if (!t->side->ok)
        return 2;
    int list = lua_gettop(L);
    lua_getfield(L, list, "n");
    int n = (int)lua_tointeger(L, -1);
    luaL_checkstack(L, n, NULL);
    lua_pop(L, 1);
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, list, i);
    lua_remove(L, list);
    return n + 1;
}

/* t:join([timeout]): true, results... or false, err or nil, "timeout" */
static int join(lua_State *L)
{
    struct tasklet *t = check(L, 1);
    double timeout = wait_timeout(L, 2);
    if (t->state == TASKLET_DEAD)
        return push_outcome(L, t);
    if (t->state == TASKLET_RUNNING)
        return luaL_error(L, "a tasklet cannot join itself");
    wait_check(L);
    lua_settop(L, 1);
    return wait_on(L, &tasklet_side(L, 1)->joiners, timeout, 0, joined_k);
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

static int now(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    lua_pushnumber(L, rt->now = clock_now());
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
        lua_pushstring(L, t->on ? t->on->class->what : "sleep");
}

static void get_name(lua_State *L, void *p)
{
    (void)p;
    tasklet_get(L, 1, SIDE_NAME);
}

static void set_name(lua_State *L, void *p)
{
    (void)p;
    if (!lua_isnil(L, 3))
        luaL_checkstring(L, 3);
    tasklet_set(L, 1, SIDE_NAME);
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
        {"tasklet", new},       {"spawn", spawn},
        {"schedule", schedule}, {"schedule_remove", schedule_remove},
        {"sleep", sleep_},      {"getcurrent", getcurrent},
        {"getmain", getmain},   {"getruncount", getruncount},
        {"tasklets", tasklets}, {"now", now},
        {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"bind", bind}, {"setup", setup},         {"insert", insert}, {"remove", remove_},
        {"run", run},   {"switch", switch_},      {"kill", kill},     {"throw", throw},
        {"join", join}, {"traceback", traceback}, {NULL, NULL},
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
        {"tempval", get_tempval, set_tempval},
        {"locals", get_locals, NULL},
        {NULL, NULL, NULL},
    };
    object_class_new(L, OBJECT_TASKLET,
                     &(struct object_class){"tasklet", methods, meta, properties});
    object_class_new(L, OBJECT_SIDE, &(struct object_class){.name = "side block"});
    luaL_setfuncs(L, functions, 0);
}
