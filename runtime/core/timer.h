/* Timers in (deadline, sequence) order, each on a clock: the one in use (sleep, calls,
** timeouts of channels and deferreds), which may run at another rate, stand still or be
** moved by hand, or the real one (networks). */
#ifndef CORE_TIMER_H
#define CORE_TIMER_H

#include "core/runtime.h"

/* heap_node.kind: a tasklet's timer or a struct timed_call's, and above these bits the place
** of its clock. */
enum timer_kind {
    TIMER_WAIT = 0,
    TIMER_CALL = 1,
    TIMER_LUA = 2,  /* a call that runs Lua: only the scheduler makes it, in order */
    TIMER_REAL = 4, /* on the real clock */
    TIMER_KINDS = 7,
    TIMER_CLOCK = 3 /* the bits above */
};

/* A call made by the scheduler when it is due. */
struct timed_call {
    struct heap_node timer; /* kind TIMER_CALL */
    void (*fn)(struct runtime *rt, struct timed_call *c);
};

/* A call on the real clock for the sake of tasklets that wait outside: those keep a program
** alive, it does not. */
struct serving_timer {
    struct timed_call call;
    void (*fn)(struct runtime *rt, struct serving_timer *s);
    bool armed;
};

/* Makes the runtime's own clocks. 0 or -ENOMEM. */
int timer_open(struct runtime *rt);

/* Frees them, with whatever is armed. */
void timer_close(struct runtime *rt);

/* Gives a new clock, zeroed, its place. 0 or -ENOMEM. */
int timer_add_clock(struct runtime *rt, struct clock *c);

/* Takes a clock away; the timers on it are disarmed and never due. */
void timer_remove_clock(struct runtime *rt, struct clock *c);

/* Seconds on the clock in use. */
static inline double timer_now(struct runtime *rt)
{
    return clock_read(rt->clock);
}

/* Sets the rate of the runtime's own clock; 0: it stands. */
void timer_scale(struct runtime *rt, double scale);

/* Lets that clock flow with the real one, or stand. */
void timer_flow(struct runtime *rt, bool on);

/* Moves it on, standing, by so many real seconds at its rate. */
void timer_advance(struct runtime *rt, double seconds);

/* on: what is armed from now on is not due until this is called again. */
void timer_bound(struct runtime *rt, bool on);

/* The clock of a timer that is or was armed; NULL: it is gone. */
static inline struct clock *timer_clock(const struct runtime *rt, const struct heap_node *n)
{
    return rt->clocks[n->kind >> TIMER_CLOCK];
}

/* Names the clock that n is to be armed on: the one in use, or with TIMER_REAL the real. */
void timer_choose(struct runtime *rt, struct heap_node *n, uint32_t kind);

/* Arms n, disarmed before, `seconds` from now on the clock chosen so, or on the one it was
** armed on before. 0 or -ENOMEM. */
int timer_arm(struct runtime *rt, struct heap_node *n, uint32_t kind, double seconds);
int timer_arm_again(struct runtime *rt, struct heap_node *n, double seconds);

/* Arms n, disarmed before, on clock c for the moment when that shows `time`; one at infinity
** is not armed. 0 or -ENOMEM. */
int timer_arm_at(struct runtime *rt, struct heap_node *n, uint32_t kind, struct clock *c,
                 double time);

/* Makes sure that the next timer_arm cannot fail. 0 or -ENOMEM. */
int timer_reserve(struct runtime *rt);

static inline void timer_disarm(struct runtime *rt, struct heap_node *n)
{
    if (heap_holds(n))
        heap_remove(&timer_clock(rt, n)->timers, n);
}

/* Arms s anew, zeroed but for fn before its first time, `seconds` from now. 0 or -ENOMEM. */
int timer_serve(struct runtime *rt, struct serving_timer *s, double seconds);
void timer_serve_end(struct runtime *rt, struct serving_timer *s);

/* Seconds until the armed n is due. */
double timer_left(struct runtime *rt, const struct heap_node *n);

/* Timers armed, on all clocks. */
size_t timer_count(const struct runtime *rt);

/* Whether a timer is armed that will ever be due by itself, and not only serves. */
bool timer_pending(const struct runtime *rt);

/* Fires one that has been taken out of its clock. */
void timer_fire(struct runtime *rt, struct heap_node *n);

/* Fires all that is due: wakes tasklets, makes timed calls. A call that runs Lua waits while
** a tasklet that was due before it has not run, and where lua is false; true: one waits. */
bool timer_fire_due(struct runtime *rt, bool lua);

/* Real seconds to the next deadline: HUGE_VAL without one, 0 if it is due. */
double timer_next(struct runtime *rt);

#endif
