/* A clock and the timers that stand on it. A runtime has two of its own, the real one and
** the one that scripts sleep on; scripts make others, which move only by hand. */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include "base/heap.h"
#include "reactor/reactor.h"

struct clock {
    struct heap timers;
    double base, real_base; /* it showed the one when the real one showed the other */
    double rate;            /* of its seconds in a real one; 0: it stands */
    uint32_t place;         /* in runtime.clocks */
};

enum { CLOCK_REAL, CLOCK_OWN };  /* the places of the runtime's two */
#define CLOCK_NOWHERE UINT32_MAX /* of one that is gone: nothing is due on it */

static inline double clock_read(const struct clock *c)
{
    return c->rate > 0 ? c->base + (clock_now() - c->real_base) * c->rate : c->base;
}

#endif
