/* with_timeout: a moment at which what a function waits for ends with a private error.
**
** A deadline belongs to the Lua thread that its function runs in. When it is due, the tasklet
** that waits inside that thread gets the error, once; if none waits there (it has been served
** and not run yet, computes, or the function is a generator that has yielded) the deadline is
** overdue, and the next wait inside the thread raises. */
#ifndef CORE_DEADLINE_H
#define CORE_DEADLINE_H

#include "core/tasklet.h"
#include "core/timer.h"

struct deadline {
    struct object object;
    struct timed_call due;
    struct list link;    /* in side.deadlines of the tasklet that began it, oldest first */
    struct list overdue; /* in runtime.overdue */
    struct tasklet *tasklet;
    lua_State *L;           /* what runs in it must end in time */
    uint64_t began, raised; /* on runtime.moments; raised 0: not yet */
};

/* Pushes a new one, armed, for what is then called in L. [E] */
struct deadline *deadline_new(lua_State *L, bool real, double seconds);

/* It is over: nothing is raised any more. */
void deadline_leave(lua_State *L, struct deadline *d);

/* Whether the failure on the top is the error of the deadline at index i. [E] */
bool deadline_is(lua_State *L, int i);

/* Pushes what began to end more than the function of the deadline at index i, and was
** replaced by that one's error while it unwound: a kill, the error of a deadline around it.
** False: nothing was. [E] */
bool deadline_overruled(lua_State *L, int i);

/* A tasklet gets the error on the top; a kill is noted for its deadlines. */
void deadline_note(lua_State *L, struct tasklet *t);

/* t has ended. */
void deadline_abandon(struct tasklet *t);

#endif
