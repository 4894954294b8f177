/* What a tasklet leaves when it ends, and who gets it: its deferred, those who watch or join
** it, those who ask later; an error that none of them takes is reported. */
#ifndef CORE_OUTCOME_H
#define CORE_OUTCOME_H

#include "core/runtime.h"

/* The tasklet at index `self` has ended; its results, or its error, are at first..top.
** They go to whoever waits; an error that nobody waits for is reported. [E] */
void outcome_settle(lua_State *L, int self, bool ok, int first);

/* Pushes what a join of the dead tasklet at index i gives: true and the results, or false
** and the error; how many. [E] */
int outcome_push(lua_State *L, int i);

/* Has the function at index f told of the end of the tasklet at index i, once, as reactor
** code: f(tasklet, true, first result) or f(tasklet, false, failure or TaskletExit). It
** returns true if it has taken the error. [E] */
void outcome_watch(lua_State *L, int i, int f);

#endif
