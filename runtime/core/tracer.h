/* A trace of what runs when, as Chrome's trace events in JSON: a track for each tasklet, with
** its turns and its waits, and one for the reactor. It goes to a sink in pieces of at most
** TRACER_BUFFER bytes. Off, it is one flag that the schedule callback needs anyway.
**
** On a tasklet's track a slice is open from its first turn to its end: "run", or the wait. */
#ifndef CORE_TRACER_H
#define CORE_TRACER_H

#include "core/tasklet.h"

enum { TRACER_BUFFER = 32768 };

/* Takes n bytes; each piece ends with a whole event, the last one with the array's
** end and a newline. */
typedef void tracer_sink(void *ud, const char *s, size_t n);

/* Begins a trace, in place of another. 0 or -ENOMEM. The turn in which it begins seems to
** last until that tasklet's next one. [E] */
int tracer_open(lua_State *L, tracer_sink *sink, void *ud);

/* Ends it, if there is one: open slices are closed, the rest goes to the sink. Touches no Lua
** state, so that a host may call it while its process exits. */
void tracer_close(struct runtime *rt);

/* Names the track of a live tasklet. [E] */
void tracer_name(lua_State *L, struct tasklet *t);

/* t goes on now; it has stopped, dead or not; it ends. */
void tracer_run(struct runtime *rt, const struct tasklet *t);
void tracer_ran(struct runtime *rt, struct tasklet *t);
void tracer_ended(struct runtime *rt, const struct tasklet *t);

/* reactor_poll, told. */
void tracer_poll(struct runtime *rt, double wait);

#endif
