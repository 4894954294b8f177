/* A connection to the first of several addresses that answers (RFC 8305). Attempts begin
** 250 ms apart, or as soon as the one before has failed; with the first that succeeds, and
** with every other end, all the others are closed at once. Nothing in here runs Lua. */
#ifndef NET_RACE_H
#define NET_RACE_H

#include "core/timer.h"
#include "core/wait.h"
#include "net/address.h"

struct attempt {
    struct race *race;
    struct address to;
    struct watch watch;
    int fd; /* -1: not begun, or over */
};

struct race {
    struct runtime *rt;
    struct wait_queue waiter; /* the tasklet that connects */
    struct serving_timer stagger;

    struct address own; /* to bind to; length 0: none */
    bool delay;         /* leave Nagle's algorithm on */
    double keepalive;   /* as option_keepalive; < 0: leave it */

    int fd;    /* the winner's; -1: none */
    int error; /* if there is none: the errno of the attempt that tells most */
    size_t count, begun, running;
    struct attempt attempts[];
};

/* A zeroed *r of so many bytes holds a race to `count` addresses, which the caller sets. */
size_t race_size(size_t count);
void race_init(struct race *r, struct runtime *rt, size_t count);

/* Alternates between the families, beginning with that of the first address. */
void race_interleave(struct race *r);

/* Begins; true: it is over already. Else its waiter is woken at the end. */
bool race_start(struct race *r);

/* Hands over the winner's descriptor; -1: see r->error. */
int race_take(struct race *r);

/* Closes whatever is open. Twice is harmless. */
void race_close(struct race *r);

#endif
