/* Signals of the program, as its scripts take them. The host owns them all: it arms and
** releases one when it is told to, and its handlers call signal_post. */
#ifndef SYSTEM_SIGNAL_H
#define SYSTEM_SIGNAL_H

#include "core/runtime.h"

/* The host's: takes signal n from its default, or gives it back. 0 or -errno. */
typedef int signal_arm(int n, int on);

/* Called by the host's handler of signal n, with the runtime. Async-signal-safe, on the
** owner's thread. 0: the program must end at once, for main has not yet caught the Ctrl-C
** before this one. With n == 0 it cuts in once more, for a tasklet that computes; 0 then
** says that nothing is left to be taken. */
int signal_post(void *runtime, int n);

/* From now on there are signals here. [E] */
void signal_open(lua_State *L, signal_arm *arm);

/* The number of a signal that can be taken, 0: no such; and its name. */
int signal_number(const char *name);
const char *signal_name(int n);

/* A set of signals: bit n. Takes them all; 0 or -errno. */
int signal_take(struct runtime *rt, uint64_t set);

/* Takes them for waits: what comes is remembered, and all who wait are woken to look. */
int signal_take_for_wait(struct runtime *rt, uint64_t set);
struct wait_queue *signal_waiters(struct runtime *rt);

/* Whether one of the set has come that nobody has picked yet; picks the first: 0: none. */
bool signal_has_come(struct runtime *rt, uint64_t set);
int signal_pick(struct runtime *rt, uint64_t set);

/* Pushes a channel that gets their names until it is closed; they must be taken. [E] */
void signal_push_channel(lua_State *L, uint64_t set);

#endif
