/* Cutting in on a tasklet that does not give way: time slices, the watchdog, and the
** instruction count of neap.run.
**
** No hook stands while nothing is over time. A thread of its own, started on use and asleep
** while the loop is, looks whether the same turn still runs; only then it sets a count
** hook on the running Lua thread. lua_sethook walks that thread's CallInfos, so while it
** does (`busy`) the owner frees nothing that it could meet: see slice_holds_free.
** The hook itself runs on the owner's thread, between two instructions. */
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

/* Tasklets are about to run while others could want to: the thread must look, if it is
** wanted at all. */
static inline void slice_awake(struct runtime *rt)
{
    struct slice *s = &rt->slice;
    if (s->shortest < HUGE_VAL && (!s->started || s->asleep))
        slice_start(rt);
}

/* Before t goes on: arms the hook that counts for neap.run, or that raises what was
** thrown into a tasklet which a hook has cut. */
void slice_before(struct runtime *rt, struct tasklet *t);

/* t has stopped: takes that hook off again. */
void slice_after(struct runtime *rt, struct tasklet *t);

/* t, which runs in L, goes into one of its own coroutines or comes back from one, and
** something is to be raised in it, or its instructions are counted. [E] */
void slice_new_leaf(lua_State *L, struct tasklet *t);

/* Raises what was thrown into the running tasklet while a hook had cut it. [E] */
void slice_raise(lua_State *L, struct tasklet *t);

/* The allocator asks, before a free, whether the thread is or was at work; then, whether
** the block must not be freed now: it has been kept, and is freed later. */
static inline bool slice_at_work(struct runtime *rt)
{
    return atomic_load_explicit(&rt->slice.busy, memory_order_acquire) || rt->slice.held;
}

bool slice_holds_free(struct runtime *rt, void *p, size_t n);

void slice_close(struct runtime *rt);

#endif
