/* Delayed calls and the virtual clocks that scripts make.
**
** A call that is to be made is kept by the runtime; on a virtual clock that clock keeps it,
** so that a clock which nobody can advance any more goes, and its calls with it. */
#ifndef CORE_CALL_H
#define CORE_CALL_H

#include "core/timer.h"

struct call {
    struct object object;
    struct timed_call due;
    struct clock *clock; /* CALL_CLOCK keeps it, or it is the runtime's */
    double time;         /* on that clock */
    bool called, cancelled;
    int nargs;
};

struct virtual_clock {
    struct object object;
    struct clock clock;
};

/* Where a call_new is to stand, other than the index of a virtual clock. */
enum { CALL_IN_USE = 0, CALL_REAL = -1 };

/* Replaces the function and its nargs arguments on the top by a call of it in `seconds`, on
** the virtual clock at index `clock`, the one in use or the real one. [E] */
struct call *call_new(lua_State *L, int clock, double seconds, int nargs);

/* Whether it is still to be made. */
static inline bool call_active(const struct call *c)
{
    return !c->called && !c->cancelled;
}

/* The active call at index i is not made, or made when its clock shows `time`. [E] */
void call_cancel(lua_State *L, int i);
void call_move(lua_State *L, int i, double time);

/* Pushes a new virtual clock, which shows 0. [E] */
void virtual_clock_new(lua_State *L);

/* Puts what the runtime arms from now on on the virtual clock at index i, or with i 0 on its
** own; pushes the one that was in use, or nil. [E] */
void virtual_clock_use(lua_State *L, int i);

/* Moves the virtual clock at index i on, then fires all that is due, also what that adds. An
** error of a call is raised and leaves the rest due. [E] */
void virtual_clock_advance(lua_State *L, int i, double seconds);

/* Raises the failure on the top, which was caught here on its way; a report still names the
** place where it began. [E] */
void call_raise(lua_State *L);

/* Metamethods: __gc of both. */
int call_gc(lua_State *L);
int virtual_clock_gc(lua_State *L);

#endif
