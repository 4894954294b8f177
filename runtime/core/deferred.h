/* Deferreds: a result that comes later, and the chain of callbacks it runs through.
** Firing runs the callbacks at once and never switches; a tasklet that waits is queued.
** The chain is iterative, however long: a deferred that waits for another is in that
** one's chain, and is run on from there.
**
** User values: the result (packed when it is not one value), the chain (a list of pairs:
** what is called on success, what on failure), the canceller, and the inner deferred it
** waits for. */
#ifndef CORE_DEFERRED_H
#define CORE_DEFERRED_H

#include "core/runtime.h"

/* Pushes a new one; the function at index `canceller` is its canceller, 0: none. [E] */
void deferred_push(lua_State *L, int canceller);

/* Fires the deferred at index i with n values, taken off the top; ok 0: with one, the
** error or failure. Does nothing if it has been fired. [E] */
void deferred_settle(lua_State *L, int i, bool ok, int n);

/* The same as scripts call it: a second firing raises AlreadyCalledError, one after a
** cancel without a canceller is swallowed once. [E] */
void deferred_fire(lua_State *L, int i, bool ok, int n);

/* Adds to the chain of the deferred at index i what is to be called with the result
** (at index ok) or with the failure (at index fail); 0: the result passes. [E] */
void deferred_add(lua_State *L, int i, int ok, int fail);

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
bool deferred_called(lua_State *L, int i);

/* Pushes the result: all values, or the failure; how many. Only when it is called. [E] */
int deferred_result(lua_State *L, int i, bool *ok);

/* Takes the result as a waiter does: values are pushed (how many), a failure counts as
** handled and its error is raised. [E] */
int deferred_take(lua_State *L, int i);

/* Blocks the running tasklet until the deferred at index i has a result. Called last. The
** continuation finds the values on the top of its frame. [E] */
int deferred_wait(lua_State *L, int i, double timeout, lua_KContext ctx, lua_KFunction k);

/* The queue at the end of the chain of the deferred at index i, where a wait joins; what
** anchors it is pushed. May run finalizers: ask deferred_done again before the wait. [E] */
struct wait_queue *deferred_queue(lua_State *L, int i);

/* A waiter goes on without a result: cancels the deferred at index i (or what that one
** waits for) if it left unserved and nobody else waits. An error of the canceller is
** reported. [E] */
void deferred_abandon(lua_State *L, int i);

/* Marks the one at index i as standing for the value on the top (a tasklet), taken off: a
** cancel only calls the canceller, and its owner fires it when it ends. [E] */
void deferred_owned(lua_State *L, int i);

/* Pushes that owner, or nil. */
void deferred_owner(lua_State *L, int i);

/* How often it is paused, waiting for another one included. */
int deferred_pauses(lua_State *L, int i);

/* Pushes a list of the failures that collection found unhandled; they are not reported. [E] */
void deferred_take_unhandled(lua_State *L);

/* Reports the failures that collection found unhandled. */
void deferred_report_unhandled(struct runtime *rt);

/* The metamethods that its classes need beside those of bind/. [E] */
void deferred_open(lua_State *L);

#endif
