/* Select: waiting for the first of several things.
** Each case stands in the queue of what it waits for by a stand-in, which whoever serves
** the queue treats as the tasklet: pushes values onto its leaf, calls wait_wake. The first
** one served withdraws the others, in O(1) each, and the tasklet wakes. */
#ifndef CORE_SELECT_H
#define CORE_SELECT_H

#include "core/tasklet.h"

/* Makes the objects of a further kind cases: one is chosen when the object is ready, and the
** select then gives the object itself. Whoever makes it ready wakes all of its queue, with
** WAKE_CLOSED if it will never be. */
struct select_source {
    bool (*ready)(void *object); /* also when it is closed; no Lua runs in there */
    bool (*closed)(const void *object);
    struct wait_queue *(*queue)(void *object);
};

/* select(cases[, timeout]): the body of the binding. The list is at index 1; whatever else
** the frame held is gone. [E] */
int select_run(lua_State *L, double timeout);

/* The tasklet that a waiter in a queue stands for: itself, or a select's. */
struct tasklet *select_owner(struct tasklet *t);

/* One of a select's cases is being served: withdraws the others. The tasklet to wake. */
struct tasklet *select_choose(struct tasklet *stand_in);

/* Pushes the values that a stand-in in a channel's queue sends. [E] */
void select_push_values(lua_State *L, struct tasklet *stand_in);

void select_open(lua_State *L);

#endif
