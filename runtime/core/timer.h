/* Timers on the runtime's clock, in (deadline, sequence) order. */
#ifndef CORE_TIMER_H
#define CORE_TIMER_H

#include "core/runtime.h"

/* heap_node.kind: a tasklet's, a struct timed_call's. */
enum timer_kind { TIMER_WAIT, TIMER_CALL };

/* A call made by the scheduler when it is due; it runs no Lua. */
struct timed_call {
    struct heap_node timer; /* kind TIMER_CALL */
    void (*fn)(struct runtime *rt, struct timed_call *c);
};

/* Arms n, disarmed before, `seconds` from now. 0 or -ENOMEM. */
int timer_arm(struct runtime *rt, struct heap_node *n, uint32_t kind, double seconds);

/* Makes sure that the next timer_arm cannot fail. 0 or -ENOMEM. */
int timer_reserve(struct runtime *rt);

static inline void timer_disarm(struct runtime *rt, struct heap_node *n)
{
    if (heap_holds(n))
        heap_remove(&rt->timers, n);
}

/* Fires all that is due: wakes tasklets, makes timed calls. */
void timer_fire_due(struct runtime *rt);

/* Seconds to the next deadline: HUGE_VAL without one, 0 if it is due. */
double timer_next(struct runtime *rt);

#endif
