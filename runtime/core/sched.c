#include "core/sched.h"

#include "core/deferred.h"
#include "core/tasklet.h"
#include "core/timer.h"

#include <assert.h>
#include <time.h>

/* A turn runs what was in the queue when it began. If that was little it goes on, for at
** most LONG_TURN resumes or one tick of the coarse clock: two tasklets that talk to each
** other must not pay for a look at the kernel with every word. */
#ifdef NEAP_STRESS
enum { LONG_TURN = 1, LOOK = 1 };
#else
enum { LONG_TURN = 256, LOOK = 4 };
#endif

void sched_append(struct runtime *rt, struct tasklet *t)
{
    t->state = TASKLET_READY;
    list_push_back(&rt->ready, &t->link);
    rt->ready_count++;
}

void sched_prepend(struct runtime *rt, struct tasklet *t)
{
    t->state = TASKLET_READY;
    list_push_front(&rt->ready, &t->link);
    rt->ready_count++;
}

void sched_remove(struct runtime *rt, struct tasklet *t)
{
    assert(t->state == TASKLET_READY);
    t->state = TASKLET_PAUSED;
    list_remove(&t->link);
    rt->ready_count--;
}

bool sched_busy(const struct runtime *rt)
{
    return rt->ready_count > 0 || rt->timers.count > 0 || rt->outside > 0;
}

/* Runs t until it waits, gives way or ends. */
static void resume(struct runtime *rt, struct tasklet *t)
{
    int nargs = t->started ? 0 : lua_gettop(t->thread) - 1, n;
    t->started = true;
    t->state = TASKLET_RUNNING;
    rt->current = t;
    rt->resumes++;
    rt->burst = 0;
    int status = lua_resume(t->thread, rt->L, nargs, &n);
    rt->current = NULL;
    bool ours = rt->suspending;
    rt->suspending = false;
    if (status == LUA_YIELD && ours)
        return;
    if (status == LUA_YIELD || t->state != TASKLET_DEAD) {
        t->leaf = t->thread;
        tasklet_abandon(rt, t);
        status = LUA_ERRRUN;
    }
    tasklet_release(rt, t, status);
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

static void run_queue(struct runtime *rt)
{
    size_t owed = rt->ready_count, n = 0;
    long began = coarse_ticks();
    while (rt->ready_count > 0 && !stopped(rt)) {
        struct tasklet *t = container_of(rt->ready.next, struct tasklet, link);
        sched_remove(rt, t);
        resume(rt, t);
        if (++n >= owed && (n >= LONG_TURN || (n % LOOK == 0 && coarse_ticks() != began)))
            break;
    }
}

bool sched_run(struct runtime *rt)
{
    while (!stopped(rt)) {
        timer_fire_due(rt);
        run_queue(rt);
        deferred_report_unhandled(rt);
        if (stopped(rt) || !sched_busy(rt))
            break;
        double wait = rt->ready_count > 0 ? 0 : timer_next(rt);
        if (wait > 0)
            tasklet_trim(rt);
        reactor_poll(rt->reactor, wait);
    }
    return atomic_exchange(&rt->stop, false);
}
