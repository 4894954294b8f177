#include "core/sched.h"

#include "core/deferred.h"
#include "core/ending.h"
#include "core/interrupt.h"
#include "core/slice.h"
#include "core/tasklet.h"
#include "core/threads.h"
#include "core/timer.h"
#include "core/tracer.h"
#include "core/unhandled.h"
#include "core/usage.h"

#include "reactor/inbox.h"

#include <math.h>
#include <time.h>

/* A turn runs what was in the queue when it began. If that was little it goes on, for at
** most LONG_TURN resumes or one tick of the coarse clock: two tasklets that talk to each
** other must not pay for a look at the kernel with every word. */
#ifdef NEAP_STRESS
enum { LONG_TURN = 1, LOOK = 1 };
#else
enum { LONG_TURN = 256, LOOK = 4 };
#endif

bool sched_busy(const struct runtime *rt)
{
    return rt->ready_count > 0 || timer_pending(rt) || rt->outside > 0 ||
           rt->postponed_count > 0 || (rt->inbox && !inbox_empty(rt->inbox));
}

/* Tells the schedule callback that `next` runs now. It runs no tasklet and must not wait. */
static int tell_switch(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->on_switch_ref);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->last_ref);
    tasklet_push(L, lua_touserdata(L, 1));
    lua_pushvalue(L, -1);
    lua_rawseti(L, LUA_REGISTRYINDEX, rt->last_ref);
    if (lua_rawequal(L, -1, -2))
        return 0;
    lua_call(L, 2, 0);
    return 0;
}

/* Runs t until it waits, gives way or ends. */
static inline __attribute__((always_inline)) void resume(struct runtime *rt, struct tasklet *t)
{
    int nargs = t->started ? 0 : lua_gettop(t->thread) - 1, n;
    if (t->cut || rt->run_limit || rt->slice.stands)
        slice_before(rt, t);
    t->started = true;
    t->state = TASKLET_RUNNING;
    rt->current = t;
    atomic_store_explicit(&rt->resumes,
                          atomic_load_explicit(&rt->resumes, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    slice_turn(rt, t->leaf);
    if (slice_asleep(rt) && sched_busy(rt)) /* t is not alone */
        slice_start(rt);
    rt->burst = 0;
    rt->unlimited = 0;
    int status = lua_resume(t->thread, rt->L, nargs, &n);
    slice_turn(rt, NULL);
    rt->current = NULL;
    bool ours = rt->suspending;
    rt->suspending = false;
    if (rt->run_limit)
        slice_after(t);
    if (status == LUA_YIELD && ours)
        return;
    if (status == LUA_YIELD || t->state != TASKLET_DEAD) {
        t->leaf = t->thread;
        tasklet_abandon(rt, t);
        status = LUA_ERRRUN;
    }
    tasklet_release(rt, t, status);
}

void sched_observe(struct runtime *rt)
{
    rt->observed = rt->on_switch_ref != LUA_NOREF || rt->tracer || rt->counts_runs;
}

static int name_track(lua_State *L)
{
    tracer_name(L, lua_touserdata(L, 1));
    return 0;
}

void sched_run_one(struct runtime *rt, struct tasklet *t)
{
    uint64_t id = t->id;
    double began = rt->counts_runs ? clock_now() : 0;
    sched_remove(rt, t);
    if (rt->tracer)
        tracer_run(rt, t);
    resume(rt, t);
    if (rt->tracer)
        tracer_ran(rt, t);
    if (rt->counts_runs && began > 0)
        usage_add(rt, id, clock_now() - began);
}

/* The same for the first in the queue, told to those who want to know. */
static void run_observed(struct runtime *rt, struct tasklet *t)
{
    if (rt->tracer && !t->started)
        runtime_enter(rt, name_track, t);
    if (rt->on_switch_ref != LUA_NOREF)
        runtime_enter(rt, tell_switch, t);
    if (!list_empty(&rt->ready) && container_of(rt->ready.next, struct tasklet, link) == t)
        sched_run_one(rt, t); /* else it has been killed or moved meanwhile */
}

void sched_leave_run(struct runtime *rt, struct tasklet *t)
{
    struct list *node, *next;
    if (list_empty(&t->link))
        return;
    for (node = t->link.next; node != &rt->runners; node = next) {
        next = node->next;
        list_remove(node);
        sched_append(rt, container_of(node, struct tasklet, link));
    }
    list_remove(&t->link);
}

/* Gives the runner the tasklet that ran on for too long, as a result. */
static int give_over_limit(lua_State *L)
{
    struct tasklet *runner = lua_touserdata(L, 1);
    tasklet_push(L, runtime_of(L)->over_limit);
    lua_xmove(L, runner->leaf, 1);
    return 0;
}

/* The innermost neap.run is over: the queue is empty, or a tasklet ran on for too long. */
static void end_run(struct runtime *rt)
{
    struct tasklet *runner = container_of(rt->runners.prev, struct tasklet, link);
    if (rt->over_limit && lua_checkstack(runner->leaf, 2))
        runtime_enter(rt, give_over_limit, runner);
    rt->over_limit = NULL;
    list_remove(&runner->link);
    sched_prepend(rt, runner); /* what is left in the queue waits for the next run */
}

void sched_take_in(struct runtime *rt)
{
    struct post *p = rt->inbox ? inbox_take(rt->inbox) : NULL;
    while (p) {
        struct post *next = p->next;
        p->fn(rt, p);
        p = next;
    }
}

static long coarse_ticks(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (long)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool stopped(struct runtime *rt)
{
    return atomic_load_explicit(&rt->stop, memory_order_relaxed);
}

static bool step_over(struct runtime *rt, const struct step *step, size_t n)
{
    return step->resumes > 0 ? n >= (size_t)step->resumes
                             : step->until < HUGE_VAL && runtime_now(rt) >= step->until;
}

/* Runs tasklets until the turn, or the step, is over or none is ready; how many. must: one
** runs also when the runtime was told to stop before. */
static size_t run_queue(struct runtime *rt, const struct step *step, bool must)
{
    size_t owed = rt->ready_count, n = 0;
    long began = step ? 0 : coarse_ticks();
    /* ends with an empty queue only if nobody is in neap.run */
    while (!stopped(rt) || (must && n == 0)) {
        while ((rt->ready_count == 0 || rt->over_limit) && !list_empty(&rt->runners))
            end_run(rt); /* again, if its group is paused: then it is not ready */
        if (rt->ready_count == 0)
            break;
        struct tasklet *t = container_of(rt->ready.next, struct tasklet, link);
        if (rt->observed) {
            run_observed(rt, t);
        } else {
            sched_remove(rt, t);
            resume(rt, t);
        }
        n++;
        if (step) {
            if (step_over(rt, step, n))
                break;
            continue;
        }
        if (n >= owed && rt->ready_count > 0 && /* else neap.run's callers come first */
            (n >= LONG_TURN || (n % LOOK == 0 && coarse_ticks() != began)))
            break;
    }
    if (rt->usage)
        usage_mark(rt);
    return n;
}

bool sched_step(struct runtime *rt, const struct step *step)
{
    struct step left = *step;
    bool later = true; /* a call that runs Lua, behind a tasklet that was due first */
    sched_take_in(rt);
    timer_bound(rt, true);
    for (bool first = true; later && (first || (!stopped(rt) && !step_over(rt, &left, 0)));
         first = false) {
        later = timer_fire_due(rt, true);
        if (first)
            reactor_poll(rt->reactor, 0);
        size_t n = run_queue(rt, &left, first);
        if (left.resumes > 0 && (left.resumes -= (int)n) <= 0)
            break;
        later = later && rt->ready_count == 0;
    }
    timer_bound(rt, false);
    deferred_run_postponed(rt);
    unhandled_report(rt);
    reactor_poll(rt->reactor, 0);
    atomic_exchange(&rt->stop, false);
    return rt->ready_count > 0 || later;
}

bool sched_run(struct runtime *rt)
{
    timer_flow(rt, true);
    while (!stopped(rt)) {
        sched_take_in(rt);
        timer_fire_due(rt, true);
        interrupt_look(rt);
        run_queue(rt, NULL, false);
        deferred_run_postponed(rt);
        unhandled_report(rt);
        if (rt->tend_signals)
            rt->tend_signals(rt);
        if (stopped(rt) || !sched_busy(rt) || ending_due(rt))
            break;
        double wait = rt->ready_count > 0 ? 0 : timer_next(rt);
        if (wait > 0)
            threads_trim(rt);
        if (rt->tracer)
            tracer_poll(rt, wait);
        else
            reactor_poll(rt->reactor, wait);
    }
    timer_flow(rt, false);
    return atomic_exchange(&rt->stop, false);
}
