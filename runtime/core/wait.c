#include "core/wait.h"

#include "core/deferred.h"
#include "core/sched.h"
#include "core/select.h"
#include "core/slice.h"
#include "core/tasklet.h"
#include "core/timer.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Pushes `module.key` if the table on the top, that module, has the function at f. */
static const char *push_field(lua_State *L, const char *module, int f)
{
    if (!lua_istable(L, -1))
        return NULL;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (!lua_rawequal(L, -1, f) || lua_type(L, -2) != LUA_TSTRING)
            continue;
        const char *key = lua_tostring(L, -2);
        return strcmp(module, "_G") == 0 ? lua_pushstring(L, key)
                                         : lua_pushfstring(L, "%s.%s", module, key);
    }
    return NULL;
}

/* Pushes what scripts know the C function at f by: "table.sort" reads better than what
** its caller calls it. The standard names come before those that a module gives it. */
static const char *push_function_name(lua_State *L, int f, const char *otherwise)
{
    static const char *const first[] = {"_G", "table", "string", "coroutine", "neap"};
    const char *name;
    if (lua_tocfunction(L, f) == runtime_of(L)->wrapped)
        return lua_pushliteral(L, "coroutine.wrap");
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
        lua_getfield(L, -1, first[i]);
        if ((name = push_field(L, first[i], f)))
            return name;
        lua_pop(L, 1);
    }
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
        if (lua_type(L, -2) == LUA_TSTRING && (name = push_field(L, lua_tostring(L, -2), f)))
            return name;
    return lua_pushstring(L, otherwise ? otherwise : "?");
}

/* Whether a wait is possible through the C function of that name. */
static bool lets_through(const char *name)
{
    static const char *const names[] = {"pcall", "xpcall",  "neap.pcall", "dofile",
                                        "error", "require", "tostring",   "print"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* Pushes the name of the innermost C function, from `level` on, that is in the way. */
static const char *push_culprit(lua_State *L, int level)
{
    lua_Debug ar;
    for (int top = lua_gettop(L); lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Snf", &ar);
        if (*ar.what == 'C') {
            const char *name = push_function_name(L, lua_gettop(L), ar.name);
            if (!lets_through(name))
                return name;
        }
        lua_settop(L, top);
    }
    return lua_pushliteral(L, "?");
}

struct tasklet *wait_refuse(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    if (rt->ending && !rt->current)
        error_raise(L, ERROR_TASKLET_EXIT, NULL);
    if (rt->reactor_code || !rt->current)
        luaL_error(L, rt->reactor_code ? "Cannot block in reactor task"
                      : rt->adopted    ? "cannot wait here; use neap.main"
                                       : "cannot wait here; use neap_spawn");
    if (wait_possible(L)) {
        if (rt->current->thrown)
            slice_raise(L, rt->current);
        if (rt->switch_trap)
            luaL_error(L, "switch_trap");
        luaL_error(L, "this tasklet does not like to be blocked.");
    }
    if (wait_in_finalizer(L))
        luaL_error(L, "cannot wait inside __gc (a C function)");
    lua_State *stopped = L;
    if (rt->current->leaf != L)
        stopped = rt->current->leaf; /* it is in the function that resumed or closes L */
    else if (lua_isyieldable(L))
        stopped = rt->chain_stop;
    luaL_checkstack(stopped, 20, NULL);
    int top = lua_gettop(stopped);
    lua_pushstring(L, push_culprit(stopped, rt->current->leaf == L));
    if (stopped != L)
        lua_settop(stopped, top);
    luaL_error(L, "cannot wait inside %s (a C function)", lua_tostring(L, -1));
    return NULL;
}

bool wait_in_finalizer(lua_State *L)
{
    lua_Debug ar;
    int collecting = lua_gc(L, LUA_GCISRUNNING);
    if (collecting != 0) /* since Lua 5.4.4 a finalizer cannot even ask */
        return collecting < 0;
    for (int level = 0; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "n", &ar);
        if (*ar.namewhat == 'm' && strcmp(ar.name, "__gc") == 0)
            return true;
    }
    return false;
}

bool wait_in_reactor_code(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    return rt->reactor_code || !rt->current || wait_in_finalizer(L) ||
           (rt->chain_stop && rt->chain_stop != L && wait_in_finalizer(rt->chain_stop));
}

/* Starts the time of a wait; a paused group's stands. [E] */
static void start_time(lua_State *L, struct tasklet *t, bool real, double timeout)
{
    struct runtime *rt = runtime_of(L);
    bool stepped = rt->clock == &rt->own && rt->scale > 0; /* by hand, or it flows */
    if (timeout <= 0 && rt->clock->rate == 0 && !stepped)
        real = true; /* what is over at once does not need a clock that moves */
    timer_choose(rt, &t->timer, real ? TIMER_WAIT | TIMER_REAL : TIMER_WAIT);
    if (timeout == HUGE_VAL)
        return;
    if (t->held && !real)
        t->side->remainder = timeout;
    else if (timer_arm_again(rt, &t->timer, timeout) < 0)
        luaL_error(L, "not enough memory");
}

static int block(lua_State *L, struct wait_queue *q, bool real, double timeout,
                 lua_KContext ctx, lua_KFunction k)
{
    struct runtime *rt = runtime_of(L);
    struct tasklet *t = rt->current;
    if (t->thrown) /* a finalizer has killed it since wait_check */
        slice_raise(L, t);
    if (timeout < HUGE_VAL || !q)
        start_time(L, t, real, timeout);
    t->state = TASKLET_BLOCKED;
    t->on = q;
    if (q) {
        list_push_back(&q->waiters, &t->link);
        t->outside = q->class->outside && !t->onlooker;
        rt->outside += t->outside;
        if (q->class->joined)
            q->class->joined(q);
    }
    rt->suspending = true;
    return lua_yieldk(L, 0, ctx, k);
}

int wait_on(lua_State *L, struct wait_queue *q, double timeout, lua_KContext ctx,
            lua_KFunction k)
{
    return block(L, q, q->class->outside, timeout, ctx, k); /* the network keeps real time */
}

int wait_sleep(lua_State *L, bool real, double seconds, lua_KContext ctx, lua_KFunction k)
{
    return block(L, NULL, real, seconds, ctx, k);
}

const char *wait_what(const struct runtime *rt, const struct tasklet *t)
{
    if (t->on)
        return t->on->class->what;
    struct clock *c = timer_clock(rt, &t->timer);
    return c == &rt->own || c == &rt->real ? "sleep" : "sleep on a virtual clock";
}

int wait_switch(lua_State *L, lua_KContext ctx, lua_KFunction k)
{
    struct runtime *rt = runtime_of(L);
    assert(rt->current->state != TASKLET_RUNNING);
    rt->current->wake = WAKE_SERVED;
    rt->suspending = true;
    return lua_yieldk(L, 0, ctx, k);
}

/* Ends the wait: out of the queue, the timer, and the count. */
static void end(struct runtime *rt, struct tasklet *t)
{
    assert(t->state == TASKLET_BLOCKED);
    list_remove(&t->link);
    timer_disarm(rt, &t->timer);
    if (t->held)
        t->side->remainder = -1;
    t->on = NULL;
    t->epoch++;
    rt->outside -= t->outside;
    t->outside = false;
}

/* Ends the wait of the tasklet that t is or stands for, which is returned. */
static inline struct tasklet *serve(struct runtime *rt, struct tasklet *t, enum wake why)
{
    if (t->state == TASKLET_CASE)
        t = select_choose(t);
    end(rt, t);
    t->wake = why;
    return t;
}

void wait_wake(struct runtime *rt, struct tasklet *t, enum wake why)
{
    sched_append(rt, serve(rt, t, why));
}

void wait_wake_front(struct runtime *rt, struct tasklet *t, enum wake why)
{
    sched_prepend(rt, serve(rt, t, why));
}

void wait_wake_all(struct runtime *rt, struct wait_queue *q, enum wake why)
{
    struct tasklet *t;
    while ((t = wait_first(q)))
        wait_wake(rt, t, why);
}

void wait_withdraw(struct runtime *rt, struct tasklet *t)
{
    struct wait_queue *q = t->on;
    end(rt, t);
    t->state = TASKLET_PAUSED;
    if (!q)
        return;
    t->left = q->class->leaves;
    if (q->class->left)
        q->class->left(q);
}

void wait_abandon(lua_State *L, struct tasklet *t)
{
    if (t->left == LEFT_NOTHING)
        return;
    t->left = LEFT_NOTHING;
    lua_pushvalue(t->leaf, 1);
    lua_xmove(t->leaf, L, 1);
    deferred_abandon(L, lua_gettop(L));
    lua_pop(L, 1);
}

void wait_expire(struct runtime *rt, struct tasklet *t)
{
    wait_withdraw(rt, t);
    t->wake = WAKE_TIMEOUT;
    sched_append(rt, t);
}

double wait_timeout(lua_State *L, int i)
{
    if (lua_isnoneornil(L, i))
        return HUGE_VAL;
    double s = luaL_checknumber(L, i);
    luaL_argcheck(L, s == s, i, "a time cannot be NaN");
    return s > 0 ? s : 0;
}
