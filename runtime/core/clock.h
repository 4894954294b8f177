/* A clock and the timers that stand on it. A runtime has two of its own, the real one and
** the one that scripts sleep on; scripts make others, which move only by hand. */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include "base/heap.h"
#include "reactor/reactor.h"

/* Where the real time comes from: the host's function, in nanoseconds, or the system. */
struct real_time {
    int64_t (*fn)(void *ud);
    void *ud;
};

static inline double real_time_now(const struct real_time *r)
{
    return r->fn ? (double)r->fn(r->ud) * 1e-9 : clock_now();
}

struct clock {
    const struct real_time *source;
    struct heap timers;
    double base, real_base; /* it showed the one when the real one showed the other */
    double rate;            /* of its seconds in a real one; 0: it stands */
    uint64_t bound;         /* timers armed later than this one are not due yet */
    uint32_t place;         /* in runtime.clocks */
};

enum { CLOCK_REAL, CLOCK_OWN };  /* the places of the runtime's two */
#define CLOCK_NOWHERE UINT32_MAX /* of one that is gone: nothing is due on it */

static inline double clock_read(const struct clock *c)
{
    return c->rate > 0 ? c->base + (real_time_now(c->source) - c->real_base) * c->rate
                       : c->base;
}

#endif
