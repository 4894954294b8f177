/* Deferreds: a result that comes later, and the chain of callbacks it runs through.
** Firing runs the callbacks at once and never switches; a tasklet that waits is queued.
** The chain is iterative, however long: a deferred that waits for another is in that
** one's chain, and is run on from there. chain.h: what a chain is made of; unhandled.h:
** who hears of a failure that nobody takes. */
#ifndef CORE_DEFERRED_H
#define CORE_DEFERRED_H

#include "core/runtime.h"

enum { DEFERRED_INLINE = 4 }; /* links that need no table */

struct deferred {
    struct object object;
    int nresults;        /* values of the result; 1: it is the user value itself */
    uint32_t head, tail; /* the chain: links done, links added */
    uint32_t limit;      /* at which the chain is looked through for what may go */
    uint32_t paused;     /* by scripts; and once while it waits for another */
    int32_t line;        /* where it was made, in the function at DEFERRED_SITE */
    uint8_t kinds[DEFERRED_INLINE];
    bool called : 1, failed : 1;
    bool running : 1;   /* one of its callbacks runs */
    bool taken : 1;     /* somebody has had the failure: it is not reported */
    bool waits : 1;     /* DEFERRED_LINK is the deferred it waits for */
    bool canceller : 1; /* DEFERRED_LINK is its canceller; not called yet */
    bool swallows : 1;  /* cancelled without a canceller: one later firing is dropped */
    bool asks : 1;      /* a cancel only calls the canceller, each time */
    bool owned : 1;     /* DEFERRED_OWNER fires it when it ends; a cancel kills that */
};

enum deferred_value {
    DEFERRED_RESULT = 1, /* a list when it is not one value */
    DEFERRED_SITE,       /* the function that made it, later what watches its failure */
    DEFERRED_LINK,
    DEFERRED_OWNER,
    DEFERRED_CHAIN, /* a table: the links from DEFERRED_INLINE on */
    DEFERRED_FIRST, /* the links before that */
    DEFERRED_VALUES = DEFERRED_FIRST + DEFERRED_INLINE - 1
};

/* Pushes a new one, made by the function that called the running one; the function at
** index `canceller` is its canceller, 0: none. [E] */
void deferred_push(lua_State *L, int canceller);

/* Fires the deferred at index i with n values, taken off the top; ok 0: with one, the
** error or failure. Does nothing if it has been fired. [E] */
void deferred_settle(lua_State *L, int i, bool ok, int n);

/* The same as scripts call it: a second firing raises AlreadyCalledError, one after a
** cancel without a canceller is swallowed once. [E] */
void deferred_fire(lua_State *L, int i, bool ok, int n);

/* Adds the function on the top, taken off, to the chain of the deferred at index i: called
** on success, on failure, or either. [E] */
void deferred_add(lua_State *L, int i, bool ok, bool fail);

/* Adds the two functions on the top, taken off: the first is called on success, the other
** on failure; nil: the result passes. [E] */
void deferred_add_pair(lua_State *L, int i);

/* Adds that the deferred at index `other` is fired with the result, which becomes nil; it
** is a failure of the one at i if that has been fired. [E] */
void deferred_chain(lua_State *L, int i, int other);

/* Pushes a new one with the same result as the one at index i has at this place of its
** chain; a failure counts as handled by it. [E] */
void deferred_fork(lua_State *L, int i);

/* Stops the chain after the callback that runs, until there were as many unpauses; one too
** many raises. [E] */
void deferred_pause(lua_State *L, int i);
void deferred_unpause(lua_State *L, int i);

/* Cancels the deferred at index i, as in Twisted. [E] */
void deferred_cancel(lua_State *L, int i);

/* Whether it has a result for whoever asks now: fired, not paused, not waiting. */
bool deferred_done(lua_State *L, int i);

/* Pushes the result: all values, or the failure; how many. Only when it is called. [E] */
int deferred_result(lua_State *L, int i, bool *ok);

/* Takes the result as a waiter does: values are pushed (how many), a failure counts as
** handled and its error is raised. [E] */
int deferred_take(lua_State *L, int i);

/* Blocks the running tasklet until the deferred at index 1 has a result. Called last. The
** continuation finds the values on the top of its frame. [E] */
int deferred_wait(lua_State *L, double timeout, lua_KContext ctx, lua_KFunction k);

/* The queue at the end of the chain of the deferred at index i, where a wait joins; what
** anchors it is pushed. May run finalizers: ask deferred_done again before the wait. [E] */
struct wait_queue *deferred_queue(lua_State *L, int i);

/* A waiter goes on without a result: cancels the deferred at index i (or what that one
** waits for) if it left unserved and nobody else waits. An error of the canceller is
** reported. [E] */
void deferred_abandon(lua_State *L, int i);

/* Marks the one at index i as standing for the tasklet on the top, taken off: a cancel
** kills that, which fires it when it ends. [E] */
void deferred_owned(lua_State *L, int i);

/* Marks the one at index i, which has a canceller: a cancel only calls that, each time, and
** who made it decides what becomes of it. */
void deferred_asks(lua_State *L, int i);

/* Pushes that tasklet, or nil. */
void deferred_owner(lua_State *L, int i);

/* Runs the chains of those that were fired where they could not run: in a finalizer, or
** too deep inside other firings. */
void deferred_run_postponed(struct runtime *rt);

/* Makes the metatables of what a deferred needs inside. [E] */
void deferred_open(lua_State *L);

#endif
