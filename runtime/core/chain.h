/* The chain of a deferred: links, each a value and a kind. The first few are user values
** of the deferred, the others in a table made on use. A link is let go of when it is
** taken. Finalizers may add to a chain whenever memory is made; none runs while a link is
** taken or moved. */
#ifndef CORE_CHAIN_H
#define CORE_CHAIN_H

#include "core/deferred.h"
#include "core/wait.h"

enum link {
    LINK_CALLBACK = 1, /* a function, called with the result */
    LINK_ERRBACK = 2,  /* with the failure */
    LINK_BOTH = LINK_CALLBACK | LINK_ERRBACK,
    LINK_PAIR,    /* a list of two functions, false: none */
    LINK_WAITERS, /* tasklets that wait here */
    LINK_OUTER,   /* a deferred that waits for this one takes the result over */
    LINK_CHAINED, /* one that is fired with the result, by chain_deferred */
    LINK_FORK     /* one that is fired with a copy */
};

/* A place in the chain where tasklets wait. */
struct waiters {
    struct object object;
    struct wait_queue queue;
    bool left; /* one of them has left unserved */
};

/* Appends the value on the top, taken off, to the chain of the deferred d at index i. [E] */
void chain_append(lua_State *L, struct deferred *d, int i, enum link kind);

/* Pushes the value of the n-th link (head <= n < tail); its kind. */
enum link chain_get(lua_State *L, struct deferred *d, int i, uint32_t n);

/* The same for the first link, which leaves the chain. */
enum link chain_next(lua_State *L, struct deferred *d, int i);

/* The queue at the end of the chain, made if need be; what anchors it is pushed. [E] */
struct wait_queue *chain_queue(lua_State *L, int i);

/* Whether waiters have left unserved, and nobody else waits: no tasklet and no other
** deferred. */
bool chain_deserted(lua_State *L, int i);

void chain_open(lua_State *L);

#endif
