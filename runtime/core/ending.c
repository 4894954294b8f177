#include "core/ending.h"

#include "core/deadline.h"
#include "core/group.h"
#include "core/sched.h"
#include "core/timer.h"

/* A runnable daemon may be about to serve a tasklet that still counts: so many turns. */
enum { LAST_TURNS = 100 };

/* A main tasklet that catches so many deadlocks in a row, and does nothing about them, would
** never end. */
enum { MOST_DEADLOCKS = 1000 };

void ending_set_daemon(struct runtime *rt, struct tasklet *t, bool on)
{
    struct side *side = t->side;
    side->daemon = on;
    list_remove(&side->daemons);
    if (on && tasklet_alive(t))
        list_push_back(&rt->daemons, &side->daemons);
}

/* What the daemons have a part in, to be compared with the whole. */
struct share {
    size_t tasklets, ready, outside, timers, real_timers;
};

static void count_timer(const struct runtime *rt, struct share *s, const struct heap_node *n)
{
    const struct clock *c = heap_holds(n) ? timer_clock(rt, n) : NULL;
    s->timers += c == &rt->own;
    s->real_timers += c == &rt->real;
}

static void count(const struct runtime *rt, struct share *s, const struct tasklet *t)
{
    const struct list *node;
    s->tasklets++;
    s->ready += t->state == TASKLET_READY && !t->held;
    s->outside += t->outside;
    count_timer(rt, s, &t->timer);
    list_each(node, &t->side->deadlines)
        count_timer(rt, s, &container_of(node, struct deadline, link)->due.timer);
}

bool ending_due(struct runtime *rt)
{
    struct share s = {0};
    struct list *node;
    if (!rt->main_ended || list_empty(&rt->daemons))
        return false;
    list_each(node, &rt->daemons)
        count(rt, &s, container_of(node, struct side, daemons)->owner);
    if (rt->ready_count > s.ready || rt->outside > s.outside ||
        (rt->own.rate > 0 && rt->own.timers.count > s.timers) ||
        rt->real.timers.count > s.real_timers + rt->serving_timers) {
        rt->last_turns = 0;
        return false;
    }
    return s.ready == 0 || s.tasklets == rt->tasklet_count || ++rt->last_turns > LAST_TURNS;
}

static bool stuck(const struct tasklet *t)
{
    return t->state == TASKLET_BLOCKED || t->state == TASKLET_PAUSED || t->held;
}

/* Whether main waits again after each DeadlockError, and nobody else has run since. */
static bool main_spins(struct runtime *rt)
{
    uint64_t turn = atomic_load_explicit(&rt->resumes, memory_order_relaxed);
    rt->deadlocks = turn == rt->deadlock_turn + 1 ? rt->deadlocks + 1 : 0;
    rt->deadlock_turn = turn;
    return rt->deadlocks >= MOST_DEADLOCKS;
}

bool ending_raise_deadlock(lua_State *L)
{
    struct tasklet *main = runtime_of(L)->main;
    if (!main || !stuck(main) || main_spins(runtime_of(L))) {
        lua_pop(L, 1);
        return false;
    }
    error_push(L, ERROR_DEADLOCK, "Deadlock: the last runnable tasklet cannot be blocked.");
    lua_insert(L, -2);
    lua_setfield(L, -2, "report");
    group_leave(L, main);
    tasklet_throw(L, main, false);
    return true;
}

void ending_replace_trace(lua_State *L, int v)
{
    lua_pushliteral(L, "report");
    if (lua_rawget(L, v) == LUA_TSTRING)
        lua_replace(L, v + 1);
    else
        lua_pop(L, 1);
}

/* TaskletExit is raised in t, now, and it runs until it waits. */
static void kill(lua_State *L, struct tasklet *t)
{
    group_leave(L, t);
    error_push(L, ERROR_TASKLET_EXIT, NULL);
    tasklet_throw(L, t, true);
    sched_run_one(runtime_of(L), t);
}

void ending_kill_all(lua_State *L, bool hard)
{
    struct runtime *rt = runtime_of(L);
    rt->ending = true;
    rt->main = NULL; /* if it lives it has no word to say about its end */
    while (!list_empty(&rt->tasklets)) {
        struct tasklet *t = container_of(rt->tasklets.prev, struct tasklet, all);
        lua_settop(L, 0);
        tasklet_push(L, t); /* it may end, and be collected, while it is looked at */
        if (!hard)
            kill(L, t);
        if (tasklet_alive(t))
            tasklet_cut(rt, t);
    }
    rt->ending = false;
}
