/* A tasklet: a Lua thread of its own, run by the scheduler until it ends.
** The struct is the userdata that scripts hold. While a tasklet is alive its thread
** anchors the userdata (slot ROOT_SELF of the root frame), and threads_ref the thread;
** what is rarely needed lives in a side block made on use. */
#ifndef CORE_TASKLET_H
#define CORE_TASKLET_H

#include "core/runtime.h"
#include "core/wait.h"

enum tasklet_state {
    TASKLET_NEW, /* no function, or no arguments yet: not alive */
    TASKLET_PAUSED,
    TASKLET_READY,
    TASKLET_RUNNING,
    TASKLET_BLOCKED,
    TASKLET_DEAD,
    TASKLET_CASE /* no tasklet: a stand-in for one in a queue (select.h) */
};

struct tasklet {
    struct object object;
    struct list all;   /* in runtime.tasklets while alive */
    struct list link;  /* in the run queue, or among the waiters of `on` */
    lua_State *thread; /* NULL while not alive */
    lua_State *leaf; /* the thread that runs or waits: a script's own coroutine, or `thread` */
    struct wait_queue *on; /* what it waits on; NULL: only for its timer, or not at all */
    struct side *side;     /* NULL until needed */
    struct heap_node timer;
    uint64_t id;
    uint32_t epoch;                /* moves at each wake: an older one is stale */
    int32_t line;                  /* where it was spawned, in the function at ROOT_SITE */
    uint32_t place;                /* of its thread in threads_ref */
    uint8_t state;                 /* enum tasklet_state */
    uint8_t wake;                  /* enum wake: why it last woke */
    bool started : 1, exposed : 1; /* exposed: a script has seen its thread */
    bool block_trap : 1, atomic : 1;
    bool cut : 1;    /* suspended by a hook, between two instructions: it has no continuation */
    bool thrown : 1; /* then: SIDE_THROWN is to be raised in it */
    bool held : 1;   /* its group is paused */
    bool outside : 1, sends_error : 1; /* counted in runtime.outside; see channel.c */
    bool doomed : 1;   /* killed hard, with SIDE_THROWN: what it still does raises that */
    bool late : 1;     /* what was thrown came while it ran: it is raised where it next waits */
    uint8_t left : 2;  /* enum wait_left: of the wait that it left, until it goes on */
    bool onlooker : 1; /* what it waits for outside does not keep others from a deadlock */
};

/* What few tasklets need. User values: enum side_value. */
struct side {
    struct object object;
    struct wait_queue joiners;
    uint64_t host_id; /* in runtime.slots; 0: the host does not know it */
    double ran;       /* seconds in one go, before the standing hook has last cut it */
    double remainder; /* of its timer, while its group is paused; < 0: it has none */
    bool ended, ok;   /* SIDE_OUTCOME holds the results, or the error */
    bool grouped;     /* SIDE_GROUP is its group */
    bool daemon;
    struct tasklet *owner; /* whose it is */
    struct list daemons;   /* in runtime.daemons while a daemon and alive */
    struct list deadlines; /* deadline.h */
    uint64_t killed;       /* the last time, while it had some; on runtime.moments */
};

enum side_value {
    SIDE_FUNCTION = 1, /* bound and not yet started */
    SIDE_NAME,
    SIDE_LOCALS,
    SIDE_TEMPVAL,
    SIDE_OUTCOME,  /* packed results, or the error */
    SIDE_DEFERRED, /* fires with the outcome */
    SIDE_ORIGIN,   /* the last failure that was raised here, but first elsewhere */
    SIDE_THROWN,   /* to be raised when it goes on */
    SIDE_RAISED,   /* the failure of the last error that a handler has kept */
    SIDE_GROUP,
    SIDE_WATCHERS, /* a list of functions that are told of its end */
    SIDE_VALUES = SIDE_WATCHERS
};

enum { TASKLET_RETURNED = 1, TASKLET_FAILED }; /* the last word about it in runtime.slots */

/* The first waiter, or NULL. */
static inline struct tasklet *wait_first(const struct wait_queue *q)
{
    return list_empty(&q->waiters) ? NULL : container_of(q->waiters.next, struct tasklet, link);
}

/* Whether the running code may wait in L. */
static inline bool wait_possible(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    return rt->current && !rt->reactor_code && rt->current->leaf == L && !rt->chain_stop &&
           lua_isyieldable(L);
}

/* Raises in the running tasklet if it waits past the deadline of a with_timeout. [E] */
void deadline_raise_overdue(lua_State *L);

/* The running tasklet, if it may give way in L; else raises why not. [E] */
static inline struct tasklet *wait_check_switch(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    if (!wait_possible(L) || rt->switch_trap || rt->current->thrown)
        return wait_refuse(L);
    if (!list_empty(&rt->overdue))
        deadline_raise_overdue(L);
    return rt->current;
}

/* The running tasklet, if it may block in L; else raises why not, with nothing armed. [E] */
static inline struct tasklet *wait_check(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    if (!wait_possible(L) || rt->switch_trap || rt->current->block_trap || rt->current->thrown)
        return wait_refuse(L);
    if (!list_empty(&rt->overdue))
        deadline_raise_overdue(L);
    return rt->current;
}

/* First thing in a continuation: why the tasklet woke; raises what was thrown in. [E] */
static inline enum wake wait_result(lua_State *L)
{
    struct tasklet *t = runtime_of(L)->current;
    if (t->wake == WAKE_RAISE) {
        t->wake = WAKE_SERVED;
        lua_error(L);
    }
    return (enum wake)t->wake;
}

/* Pushes a new tasklet without a function. [E] */
struct tasklet *tasklet_new(lua_State *L);

/* Gives the tasklet at index `self` the function and nargs arguments on the top, taken
** off. It is then alive and paused. level: the caller, in lua_getstack's terms, that is
** named as its spawn site, or -1. [E] */
void tasklet_bind(lua_State *L, int self, int nargs, int level);

/* The same, but the spawn site is the function at index `site` and a line in it. [E] */
void tasklet_bind_at(lua_State *L, int self, int nargs, int site, int line);

/* Spawns: the function and nargs arguments on the top are replaced by a new tasklet at
** the end of the run queue. [E] */
struct tasklet *tasklet_spawn(lua_State *L, int nargs, int level);

static inline bool tasklet_alive(const struct tasklet *t)
{
    return t->state != TASKLET_NEW && t->state != TASKLET_DEAD;
}

/* Pushes the userdata of a live tasklet. [E] */
void tasklet_push(lua_State *L, struct tasklet *t);

/* Where its innermost Lua function is: ar->short_src and ar->currentline; false if it has
** none. */
bool tasklet_place(struct tasklet *t, lua_Debug *ar);

/* The side block of the tasklet at index i, made if need be. [E] */
struct side *tasklet_side(lua_State *L, int i);

/* Pushes a user value of the tasklet at index i, nil if it has no side block. [E] */
void tasklet_get(lua_State *L, int i, enum side_value v);

/* Pops a value into a user value of the tasklet at index i. [E] */
void tasklet_set(lua_State *L, int i, enum side_value v);

/* Raises the value on the top, taken off, in a live tasklet: as tasklet_throw does, in the
** running one at its next wait. [E] */
void tasklet_interrupt(lua_State *L, int i);

/* Whether a live tasklet runs or waits in the thread, or in a coroutine resumed there. */
bool tasklet_runs(struct tasklet *t, lua_State *L);

/* How many calls deep it is, its own coroutines included; 0 if it has not started. */
int tasklet_depth(struct tasklet *t);

/* Pushes `tasklet 3 (name)`, the place where it was spawned, its whole traceback. The
** tasklet must be alive. [E] */
void tasklet_push_title(lua_State *L, struct tasklet *t);
void tasklet_push_site(lua_State *L, struct tasklet *t);
void tasklet_push_traceback(lua_State *L, struct tasklet *t);

/* Raises the value on the top, taken off, in the tasklet at the point where it waits.
** It is put at the end of the run queue, or with `now` at its front; what it waited for
** is withdrawn. Not for the running one, nor a dead one. [E] */
void tasklet_throw(lua_State *L, struct tasklet *t, bool now);

/* Ends a live tasklet that does not run, for good: `<close>` variables run, innermost
** coroutine first, and may not wait; nothing is reported. */
void tasklet_cut(struct runtime *rt, struct tasklet *t);

/* Leaves the running tasklet, which may give way in L, for good: another one, which runs
** next, cuts it. The caller yields. [E] */
void tasklet_leave(lua_State *L, struct tasklet *t);

/* Ends a paused tasklet without a word: nothing of it runs any more, `<close>` neither. */
void tasklet_drop(struct runtime *rt, struct tasklet *t);

/* Gives the thread of a tasklet that has ended back to the pool. */
void tasklet_release(struct runtime *rt, struct tasklet *t, int status);

/* Ends a tasklet whose thread cannot go on: it yielded to nobody, or there was no memory
** to end it properly. */
void tasklet_abandon(struct runtime *rt, struct tasklet *t);

#endif
