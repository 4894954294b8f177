#include "core/timer.h"

#include "core/tasklet.h"
#include "core/wait.h"

#include <math.h>

int timer_arm(struct runtime *rt, struct heap_node *n, uint32_t kind, double seconds)
{
    rt->now = clock_now();
    n->kind = kind;
    return heap_insert(&rt->timers, &rt->memory, n, rt->now + seconds);
}

int timer_reserve(struct runtime *rt)
{
    return heap_reserve(&rt->timers, &rt->memory);
}

void timer_fire_due(struct runtime *rt)
{
    double due;
    struct heap_node *n;
    if (rt->timers.count == 0)
        return;
    rt->now = clock_now();
    /* one that is armed in here waits for the next look, so that a delay of 0 cannot spin */
    uint64_t before = rt->timers.next_seq;
    while ((n = heap_first(&rt->timers, &due)) && due <= rt->now && n->seq < before) {
        heap_remove(&rt->timers, n);
        if (n->kind == TIMER_WAIT) {
            wait_expire(rt, container_of(n, struct tasklet, timer));
        } else {
            struct timed_call *c = container_of(n, struct timed_call, timer);
            c->fn(rt, c);
        }
    }
}

double timer_next(struct runtime *rt)
{
    double due;
    if (!heap_first(&rt->timers, &due))
        return HUGE_VAL;
    rt->now = clock_now();
    return due > rt->now ? due - rt->now : 0;
}
