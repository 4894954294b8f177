/* Timers in (deadline, sequence) order, on the runtime's clock or on the real one.
** The runtime's clock (sleep, timeouts of channels and deferreds) can run at another rate,
** or stand still; networks keep real time. */
#ifndef CORE_TIMER_H
#define CORE_TIMER_H

#include "core/runtime.h"

/* heap_node.kind: a tasklet's or a struct timed_call's; with TIMER_REAL on the real clock. */
enum timer_kind { TIMER_WAIT = 0, TIMER_CALL = 1, TIMER_REAL = 2 };

/* A call made by the scheduler when it is due; it runs no Lua. */
struct timed_call {
    struct heap_node timer; /* kind TIMER_CALL */
    void (*fn)(struct runtime *rt, struct timed_call *c);
};

/* Seconds on the runtime's clock. */
double timer_now(struct runtime *rt);

/* Sets the rate of the runtime's clock from now on; 0: it stands. */
void timer_scale(struct runtime *rt, double scale);

/* Arms n, disarmed before, `seconds` from now. 0 or -ENOMEM. */
int timer_arm(struct runtime *rt, struct heap_node *n, uint32_t kind, double seconds);

/* Makes sure that the next timer_arm cannot fail. 0 or -ENOMEM. */
int timer_reserve(struct runtime *rt);

static inline void timer_disarm(struct runtime *rt, struct heap_node *n)
{
    if (heap_holds(n))
        heap_remove(n->kind & TIMER_REAL ? &rt->real_timers : &rt->timers, n);
}

/* Seconds until the armed n is due. */
double timer_left(struct runtime *rt, const struct heap_node *n);

/* Whether a timer is armed that will ever be due. */
bool timer_pending(const struct runtime *rt);

/* Fires all that is due: wakes tasklets, makes timed calls. */
void timer_fire_due(struct runtime *rt);

/* Real seconds to the next deadline: HUGE_VAL without one, 0 if it is due. */
double timer_next(struct runtime *rt);

#endif
