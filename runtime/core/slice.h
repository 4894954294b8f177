/* Cutting in on a tasklet that does not give way: time slices, the watchdog, and the
** instruction count of neap.run.
**
** No hook stands while nothing is over time. A thread of its own, started on use and asleep
** while the loop is, looks whether the same turn still runs; only then it interrupts the
** owner's thread, which sets a count hook on the running Lua thread. It takes the host to
** interrupt a thread, by a signal that is the host's own: without one there are no slices.
** (lua_sethook from another thread is no way: it writes into CallInfos that the owner
** reuses for C functions meanwhile, where the same bytes are the pending message handler.) */
#ifndef CORE_SLICE_H
#define CORE_SLICE_H

#include "core/tasklet.h"

#include <math.h>

/* Sets the length of a slice, or after how long the watchdog speaks; HUGE_VAL: off. */
void slice_set(struct runtime *rt, double seconds);
void slice_set_watchdog(struct runtime *rt, double seconds);

/* The scheduler's notices: a turn begins; the loop is about to sleep. */
static inline void slice_turn(struct runtime *rt, lua_State *leaf)
{
    atomic_store_explicit(&rt->slice.leaf, leaf, memory_order_relaxed);
}

/* Starts the thread, or wakes it. */
void slice_start(struct runtime *rt);

/* Whether the thread is wanted, and does not look. */
static inline bool slice_asleep(struct runtime *rt)
{
    struct slice *s = &rt->slice;
    return s->shortest < HUGE_VAL &&
           (!s->started || atomic_load_explicit(&s->asleep, memory_order_relaxed));
}

/* The tasklet that runs may have to give way to others: the thread must look, if it is wanted
** at all. */
static inline void slice_awake(struct runtime *rt)
{
    if (slice_asleep(rt))
        slice_start(rt);
}

/* Has every tasklet that holds on for so many seconds give way, and end one that holds on for
** longer in one go, past any pcall; HUGE_VAL: never. Takes no signal, but a hook that stands
** and costs a third or more of what pure Lua does: for hosts that ask for it. */
void slice_stand(struct runtime *rt, double gives_way, double dies);

/* Code in L resumes a coroutine, whose instructions the hook counts for themselves: its time
** counts all the same. [E] */
void slice_charge(lua_State *L);

/* Whether what runs in L is to end now, past any pcall: no message handler runs then. */
bool slice_is_over(lua_State *L);

/* Code outside of any tasklet begins in L, or has ended. */
void slice_call(struct runtime *rt, lua_State *L, bool begins);

/* Before t goes on: arms the hook that counts for neap.run, or that raises what was
** thrown into a tasklet which a hook has cut. */
void slice_before(struct runtime *rt, struct tasklet *t);

/* t has stopped: takes that hook off again. */
void slice_after(struct tasklet *t);

/* t, which runs in L, goes into one of its own coroutines or comes back from one, and
** something is to be raised in it, or its instructions are counted. [E] */
void slice_new_leaf(lua_State *L, struct tasklet *t);

/* Kills the running tasklet, which cannot be left here, for good with the error on the top,
** taken off: outside of reactor code each of its instructions raises, until it can be left.
** [E] */
void slice_doom(lua_State *L, struct tasklet *t);

/* Raises what was thrown into the running tasklet while a hook had cut it. [E] */
void slice_raise(lua_State *L, struct tasklet *t);

/* What the host's signal handler calls, on the owner's thread, with the runtime: sets the
** hook on the Lua thread that runs, if one does. Async-signal-safe. */
void slice_cut_in(void *runtime);

/* Ends the thread; nothing interrupts any more. */
void slice_close(struct runtime *rt);

#endif
