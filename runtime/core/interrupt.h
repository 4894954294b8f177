/* What signal handlers of the program have brought, taken where Lua may run: between two
** tasklets, or in a hook when one of them computes. And Ctrl-C: Interrupted in main.
** The library takes no signal itself: the host's handlers call signal_post (system/). */
#ifndef CORE_INTERRUPT_H
#define CORE_INTERRUPT_H

#include "core/runtime.h"

/* How far a Ctrl-C has come. */
enum interrupt {
    INTERRUPT_NONE,
    INTERRUPT_POSTED, /* by the signal handler */
    INTERRUPT_RAISED  /* in main, which has not caught it yet */
};

/* Takes what has come; Interrupted is thrown into a main that waits. Without a main the run
** stops. */
void interrupt_take(struct runtime *rt);

static inline void interrupt_look(struct runtime *rt)
{
    if (atomic_load_explicit(&rt->signalled, memory_order_relaxed))
        interrupt_take(rt);
}

/* Whether a tasklet that computes should look. */
static inline bool interrupt_waits(struct runtime *rt)
{
    return atomic_load(&rt->signalled) || atomic_load(&rt->interrupt) != INTERRUPT_NONE;
}

/* In a hook: t, which runs in L, must stop here, for main or for the end. Raises
** Interrupted if t is main. [E] */
bool interrupt_stops(lua_State *L, struct tasklet *t);

/* The error at index i has been caught; any: it may have been another before. */
void interrupt_caught(lua_State *L, int i, bool any);

/* Main has ended with Interrupted, which it may have caught and raised again. */
void interrupt_uncaught(struct runtime *rt);

/* Main has returned: one that it swallowed is over. */
void interrupt_main_returned(struct runtime *rt);

#endif
