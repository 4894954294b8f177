#include "core/wait.h"

#include "core/sched.h"
#include "core/select.h"
#include "core/slice.h"
#include "core/tasklet.h"
#include "core/timer.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Pushes the name of the innermost C function under which L cannot yield. */
static const char *push_culprit(lua_State *L)
{
    lua_Debug ar;
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    int loaded = lua_gettop(L);
    for (int level = 1; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Snf", &ar);
        int f = lua_gettop(L);
        if (*ar.what == 'C') {
            static const char *const yieldable[] = {"pcall", "xpcall", "dofile", "error"};
            bool skip = false;
            lua_getglobal(L, "_G");
            for (size_t i = 0; i < sizeof yieldable / sizeof *yieldable && !skip; i++) {
                lua_getfield(L, -1, yieldable[i]);
                skip = lua_rawequal(L, -1, f);
                lua_pop(L, 1);
            }
            if (!skip) {
                /* "table.sort" reads better than what the caller calls it */
                for (lua_pushnil(L); lua_next(L, loaded); lua_pop(L, 1)) {
                    if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1))
                        continue;
                    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
                        if (lua_rawequal(L, -1, f) && lua_type(L, -2) == LUA_TSTRING) {
                            const char *module = lua_tostring(L, -4);
                            return strcmp(module, "_G") == 0
                                       ? lua_pushstring(L, lua_tostring(L, -2))
                                       : lua_pushfstring(L, "%s.%s", module,
                                                         lua_tostring(L, -2));
                        }
                    }
                }
                return lua_pushstring(L, ar.name ? ar.name : "?");
            }
        }
        lua_settop(L, f - 1);
    }
    return lua_pushliteral(L, "?");
}

struct tasklet *wait_refuse(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    if (rt->reactor_code || !rt->current)
        luaL_error(L, rt->reactor_code ? "Cannot block in reactor task"
                                       : "cannot wait here; use neap_spawn");
    if (wait_possible(L)) {
        if (rt->current->thrown)
            slice_raise(L, rt->current);
        if (rt->switch_trap)
            luaL_error(L, "switch_trap");
        luaL_error(L, "this tasklet does not like to be blocked.");
    }
    if (rt->current->leaf != L)
        luaL_error(L, "cannot wait inside a coroutine resumed by C");
    lua_State *stopped = lua_isyieldable(L) ? rt->chain_stop : L;
    luaL_checkstack(stopped, 20, NULL);
    lua_pushstring(L, push_culprit(stopped));
    luaL_error(L, "cannot wait inside %s (a C function)", lua_tostring(L, -1));
    return NULL;
}

int wait_on(lua_State *L, struct wait_queue *q, double timeout, lua_KContext ctx,
            lua_KFunction k)
{
    struct runtime *rt = runtime_of(L);
    struct tasklet *t = rt->current;
    bool real = q && q->class->outside; /* the network keeps real time */
    if (timeout < HUGE_VAL && t->held && !real)
        t->side->remainder = timeout;
    else if (timeout < HUGE_VAL &&
             timer_arm(rt, &t->timer, real ? TIMER_WAIT | TIMER_REAL : TIMER_WAIT, timeout) < 0)
        return luaL_error(L, "not enough memory");
    t->state = TASKLET_BLOCKED;
    t->on = q;
    if (q) {
        list_push_back(&q->waiters, &t->link);
        t->outside = q->class->outside;
        rt->outside += t->outside;
        if (q->class->joined)
            q->class->joined(q);
    }
    rt->suspending = true;
    return lua_yieldk(L, 0, ctx, k);
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

void wait_wake(struct runtime *rt, struct tasklet *t, enum wake why)
{
    if (t->state == TASKLET_CASE)
        t = select_choose(rt, t);
    end(rt, t);
    t->wake = why;
    sched_append(rt, t);
}

void wait_wake_front(struct runtime *rt, struct tasklet *t, enum wake why)
{
    if (t->state == TASKLET_CASE)
        t = select_choose(rt, t);
    end(rt, t);
    t->wake = why;
    sched_prepend(rt, t);
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
    if (q && q->class->left)
        q->class->left(q);
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
