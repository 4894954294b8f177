/* A connection to the first of several addresses that answers (RFC 8305). Families take turns;
** attempts begin 250 ms apart, or as soon as the one before has failed; with the first that
** succeeds, and with every other end, all the others are closed at once. The addresses of a
** name join as they come: the first of IPv6 begin at once, those of IPv4 wait 50 ms for them.
** Nothing in here runs Lua. */
#ifndef NET_RACE_H
#define NET_RACE_H

#include "core/timer.h"
#include "core/wait.h"
#include "net/address.h"
#include "net/names.h"

struct race {
    struct runtime *rt;
    struct wait_queue waiter;  /* the tasklet that connects */
    struct serving_timer pace; /* armed: no attempt begins before that */

    struct address own; /* to bind to; length 0: none */
    bool delay;         /* leave Nagle's algorithm on */
    double keepalive;   /* as option_keepalive; < 0: leave it */

    const struct part_names *names; /* NULL: the addresses are known */
    struct lookup lookup;
    int port;          /* for what the lookup finds */
    unsigned found[2]; /* so many: IPv6, IPv4 */

    int fd;    /* the winner's; -1: none */
    int error; /* if there is none: the errno of the attempt that tells most; 0: the lookup's */
    bool begun;             /* an attempt has */
    int turn;               /* the family of the next one, if it has an address: */
    struct list untried[2]; /* attempts that are not begun: IPv6, IPv4 */
    struct list running;
};

/* Fills a zeroed *r; race_close in any case. */
void race_init(struct race *r, struct runtime *rt);

/* One more address, to be tried after the others of its family. The family of the first one
** begins. */
void race_add(struct race *r, const struct address *a);

/* The same for the addresses of a name, as they come: after that the race is on. false: the
** servers make no sense. The arguments are those of part_names.begin. */
bool race_look_up(struct race *r, const struct part_names *part, const char *name, size_t n,
                  unsigned families, const char *servers, double seconds);

/* Begins; true: it is over already. Else its waiter is woken at the end. */
bool race_start(struct race *r);

/* Hands over the winner's descriptor; -1: see r->error. */
int race_take(struct race *r);

/* Closes whatever is open, and ends the lookup. Twice is harmless. */
void race_close(struct race *r);

#endif
