/* The end of a program: what keeps it alive, and what happens to the rest.
** A host without a main tasklet has no such end; sched_busy alone says when nothing moves. */
#ifndef CORE_ENDING_H
#define CORE_ENDING_H

#include "core/tasklet.h"

/* Marks a tasklet that has a side block as a daemon, or as none. */
void ending_set_daemon(struct runtime *rt, struct tasklet *t, bool on);

/* Whether main has returned and all that could still happen is the business of daemons.
** Asked once a turn; costs a look at each daemon, and nothing where there is none. */
bool ending_due(struct runtime *rt);

/* Raises DeadlockError in the main tasklet, at its wait; the text on the top, popped, is
** what the error's report tells. False if main has ended, or catches this for ever. [E] */
bool ending_raise_deadlock(lua_State *L);

/* The error at index v is a DeadlockError: its report replaces the traceback at v + 1. */
void ending_replace_trace(lua_State *L, int v);

/* Kills what is left, newest first, each once: it runs until it waits, and is then cut; hard:
** it is cut at once. Not from inside a run. [E] */
void ending_kill_all(lua_State *L, bool hard);

#endif
