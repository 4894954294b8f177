#include "core/interrupt.h"

#include "core/tasklet.h"

static const char text[] = "interrupted";

static int throw_interrupted(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    error_push(L, ERROR_INTERRUPTED, text);
    tasklet_throw(L, rt->main, true);
    atomic_store(&rt->interrupt, INTERRUPT_RAISED);
    return 0;
}

void interrupt_take(struct runtime *rt)
{
    atomic_store(&rt->signalled, false);
    rt->take_signals(rt);
    if (atomic_load(&rt->interrupt) != INTERRUPT_POSTED)
        return;
    if (!rt->main) {
        atomic_store(&rt->stop, true);
        atomic_store(&rt->interrupt, INTERRUPT_RAISED); /* nobody will catch it */
    } else if (rt->main != rt->current &&
               runtime_enter(rt, throw_interrupted, NULL) != LUA_OK) {
        atomic_store(&rt->signalled, true); /* no memory: at the next turn */
    }
}

bool interrupt_stops(lua_State *L, struct tasklet *t)
{
    struct runtime *rt = runtime_of(L);
    lua_State *leaf = t->leaf;
    t->leaf = L; /* an inner thread that C resumed shows itself */
    interrupt_look(rt);
    t->leaf = leaf;
    if (atomic_load(&rt->interrupt) == INTERRUPT_POSTED && t == rt->main) {
        atomic_store(&rt->interrupt, INTERRUPT_RAISED);
        error_raise(L, ERROR_INTERRUPTED, text);
    }
    return atomic_load(&rt->stop) || (atomic_load(&rt->interrupt) == INTERRUPT_RAISED &&
                                      rt->main && rt->main->state == TASKLET_READY);
}

void interrupt_caught(lua_State *L, int i, bool any)
{
    struct runtime *rt = runtime_of(L);
    if (atomic_load(&rt->interrupt) == INTERRUPT_RAISED && rt->current == rt->main &&
        (any || error_is(L, i, ERROR_INTERRUPTED)))
        atomic_store(&rt->interrupt, INTERRUPT_NONE);
}

void interrupt_uncaught(struct runtime *rt)
{
    if (!rt->adopted)
        atomic_store(&rt->interrupt, INTERRUPT_RAISED);
}

void interrupt_main_returned(struct runtime *rt)
{
    int raised = INTERRUPT_RAISED;
    atomic_compare_exchange_strong(&rt->interrupt, &raised, INTERRUPT_NONE);
}
