/* A listening TCP socket. Out of descriptors, it pauses instead of spinning: the kernel
** keeps the clients in its backlog until a descriptor is free again. */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include "core/runtime.h"
#include "core/timer.h"
#include "core/wait.h"
#include "net/address.h"

struct listener {
    struct object object;
    struct list all;     /* in runtime.listeners while open */
    struct list starved; /* in runtime.starved while it lacks descriptors */
    struct runtime *rt;
    int fd;
    struct watch watch;
    struct wait_queue acceptors;
    struct timed_call retry;
    struct address address; /* what it is bound to */
    double pause;           /* seconds, at the next lack of descriptors */
    double told;            /* when the host was last told of it */
    bool hot;               /* the kernel may have a client */
    bool closed;
};

/* Binds and listens. 0, or -errno with nothing left open. */
int listener_open(struct listener *l, struct runtime *rt, const struct address *a, int backlog);

/* The descriptor of a client, with its address; -EAGAIN: wait;
** -EBADF: closed; or what broke the socket itself. */
int listener_accept(struct listener *l, struct address *peer);

/* Before a tasklet waits in `acceptors`. */
void listener_want(struct listener *l);

/* Wakes who waits with WAKE_CLOSED. Twice is harmless. */
void listener_close(struct listener *l);

/* A descriptor has become free: the starved ones try again. */
void listener_descriptor_free(struct runtime *rt);

#endif
