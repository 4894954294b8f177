/* Waiting: how a binding suspends the running tasklet, and how it is woken.
**
** A binding asks wait_check (tasklet.h) first, before anything is armed; then
** `return wait_on(...)` joins a queue, arms a timeout and yields. Whoever serves the wait
** pushes values onto the tasklet's leaf and calls wait_wake; timeouts and kills withdraw
** it. The continuation asks wait_result first: it raises what was thrown in.
** The invariant: a blocked tasklet is in at most one queue and one timer, and both are
** gone at the moment it is made ready. Its epoch moves then, so that whoever remembers
** an older epoch knows that he comes too late. */
#ifndef CORE_WAIT_H
#define CORE_WAIT_H

#include "core/runtime.h"

enum wake { WAKE_SERVED, WAKE_TIMEOUT, WAKE_CLOSED, WAKE_RAISE };

struct wait_queue {
    struct list waiters; /* tasklets, by their link, in order */
    const struct wait_class *class;
};

/* What must hear of it if a wait ends unserved: the deferred at index 1 of its frame. */
enum wait_left { LEFT_NOTHING, LEFT_DEFERRED };

struct wait_class {
    const char *what;                     /* `waiting_on`: "receive on a channel" */
    bool outside;                         /* the world outside may serve it: not a deadlock */
    uint8_t leaves;                       /* enum wait_left */
    void (*joined)(struct wait_queue *q); /* a waiter has joined; may be NULL, as the next */
    void (*left)(struct wait_queue *q);   /* one has left unserved: a timeout or a kill */
};

static inline void wait_queue_init(struct wait_queue *q, const struct wait_class *class)
{
    list_init(&q->waiters);
    q->class = class;
}

/* Raises why the running code cannot wait; see wait_check in tasklet.h. [E] */
struct tasklet *wait_refuse(lua_State *L);

/* Whether a finalizer runs in L. */
bool wait_in_finalizer(lua_State *L);

/* Whether L runs code that may neither block nor switch: the reactor's, a callback of a
** deferred, a finalizer. */
bool wait_in_reactor_code(lua_State *L);

/* Blocks the running tasklet, which wait_check allowed, on q for at most `timeout` seconds
** (HUGE_VAL: for ever). Called last: return wait_on(...). [E] */
int wait_on(lua_State *L, struct wait_queue *q, double timeout, lua_KContext ctx,
            lua_KFunction k);

/* Blocks it for so long and for nothing else, on the clock in use or the real one; as
** wait_on. [E] */
int wait_sleep(lua_State *L, bool real, double seconds, lua_KContext ctx, lua_KFunction k);

/* What a blocked tasklet waits for, in a few words. */
const char *wait_what(const struct runtime *rt, const struct tasklet *t);

/* Gives way: the running tasklet has been put where it goes on from (run queue or
** nowhere), and this switches to the next one. Called last. [E] */
int wait_switch(lua_State *L, lua_KContext ctx, lua_KFunction k);

/* Makes a blocked tasklet ready, at the end of the run queue or at its front. */
void wait_wake(struct runtime *rt, struct tasklet *t, enum wake why);
void wait_wake_front(struct runtime *rt, struct tasklet *t, enum wake why);

/* Wakes all waiters of a queue, in order. */
void wait_wake_all(struct runtime *rt, struct wait_queue *q, enum wake why);

/* Takes a blocked tasklet out of its queue and timer, unserved. It is then paused. */
void wait_withdraw(struct runtime *rt, struct tasklet *t);

/* t, which left its wait unserved (t->left), is cut and never goes on: does what its
** continuation would, with the frame of that still on t->leaf. L is the main state. [E] */
void wait_abandon(lua_State *L, struct tasklet *t);

/* Its timer is due. */
void wait_expire(struct runtime *rt, struct tasklet *t);

/* The timeout argument at index i: absent or nil is HUGE_VAL, a negative one 0; NaN
** raises. [E] */
double wait_timeout(lua_State *L, int i);

#endif
