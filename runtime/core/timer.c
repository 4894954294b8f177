#include "core/timer.h"

#include "core/tasklet.h"
#include "core/wait.h"

#include <errno.h>
#include <math.h>

double timer_now(struct runtime *rt)
{
    return rt->game_base + (clock_now() - rt->real_base) * rt->scale;
}

void timer_scale(struct runtime *rt, double scale)
{
    double real = clock_now();
    rt->game_base += (real - rt->real_base) * rt->scale;
    rt->real_base = real;
    rt->scale = scale;
}

int timer_arm(struct runtime *rt, struct heap_node *n, uint32_t kind, double seconds)
{
    n->kind = kind;
    if (kind & TIMER_REAL)
        return heap_insert(&rt->real_timers, &rt->memory, n, clock_now() + seconds);
    return heap_insert(&rt->timers, &rt->memory, n, timer_now(rt) + seconds);
}

int timer_reserve(struct runtime *rt)
{
    return heap_reserve(&rt->timers, &rt->memory) < 0 ||
                   heap_reserve(&rt->real_timers, &rt->memory) < 0
               ? -ENOMEM
               : 0;
}

double timer_left(struct runtime *rt, const struct heap_node *n)
{
    bool real = n->kind & TIMER_REAL;
    double left = heap_key(real ? &rt->real_timers : &rt->timers, n) -
                  (real ? clock_now() : timer_now(rt));
    return left > 0 ? left : 0;
}

bool timer_pending(const struct runtime *rt)
{
    return rt->real_timers.count > 0 || (rt->timers.count > 0 && rt->scale > 0);
}

static void fire(struct runtime *rt, struct heap *h, double now)
{
    double due;
    struct heap_node *n;
    /* one that is armed in here waits for the next look, so that a delay of 0 cannot spin */
    uint64_t before = h->next_seq;
    while ((n = heap_first(h, &due)) && due <= now && n->seq < before) {
        heap_remove(h, n);
        if (n->kind & TIMER_CALL) {
            struct timed_call *c = container_of(n, struct timed_call, timer);
            c->fn(rt, c);
        } else {
            wait_expire(rt, container_of(n, struct tasklet, timer));
        }
    }
}

void timer_fire_due(struct runtime *rt)
{
    if (rt->timers.count > 0)
        fire(rt, &rt->timers, timer_now(rt));
    if (rt->real_timers.count > 0)
        fire(rt, &rt->real_timers, clock_now());
}

double timer_next(struct runtime *rt)
{
    double due, next = HUGE_VAL;
    if (rt->scale > 0 && heap_first(&rt->timers, &due))
        next = (due - timer_now(rt)) / rt->scale;
    if (heap_first(&rt->real_timers, &due) && due - clock_now() < next)
        next = due - clock_now();
    return next > 0 ? next : 0;
}
