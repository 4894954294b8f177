/* Channels: rendezvous (capacity 0) and buffered hand-over of whole lists of values.
** A hand-over moves the values from one Lua stack to the other: no allocation, no system
** call. Who waits in the queue is all senders or all receivers; `balance` says which. */
#ifndef CORE_CHANNEL_H
#define CORE_CHANNEL_H

#include "core/runtime.h"
#include "core/wait.h"

struct channel {
    struct object object;
    struct wait_queue queue;
    int balance;       /* waiting senders, or minus the waiting receivers */
    int preference;    /* who runs on after a hand-over: -1 receiver, 0 the caller, 1 sender */
    bool schedule_all; /* nobody does: both to the end of the run queue */
    bool closing;
    uint32_t capacity;
    uint32_t ring, first, count; /* the buffer in the user value: its places, those in use */
};

enum { CHANNEL_BUFFER = 1, CHANNEL_VALUES = CHANNEL_BUFFER };

/* How a receive gives what it got. */
enum channel_mode {
    CHANNEL_PLAIN,  /* values; nil, "timeout"; nil, "closed" */
    CHANNEL_EACH,   /* a generic for's iterator: nil ends it, a sent nil raises */
    CHANNEL_COUNTED /* the same with a counter in front, at index 2: nils pass */
};

/* Pushes a new one. [E] */
struct channel *channel_push(lua_State *L, uint32_t capacity);

/* Bodies of bindings: `ch` is the channel at index 1. */

/* Sends the values at 2..top; error: the value at 2 is raised in the receiver. [E] */
int channel_send(lua_State *L, struct channel *ch, bool error);

/* Receives; the values are returned. [E] */
int channel_receive(lua_State *L, struct channel *ch, double timeout, enum channel_mode mode);

/* Never block, never switch; the channel is at index i. */

/* Sends the values at i+1..top, taken off if it is done. [E] */
bool channel_try_send(lua_State *L, int i);

/* Pushes what is received; false, and nothing pushed: nobody sends. [E] */
bool channel_try_receive(lua_State *L, int i);

/* No more sends. wake: all who wait are woken, receivers with `nil, "closed"`, senders
** with ClosedError; else they stay and may still be served. [E] */
void channel_close(lua_State *L, struct channel *ch, bool wake);

/* For select: makes the queue one of senders or of receivers. False: the others wait. */
bool channel_join(struct channel *ch, bool sender);

#endif
