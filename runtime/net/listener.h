/* A listening TCP or unix socket. Out of descriptors, it pauses instead of spinning: the kernel
** keeps the clients in its backlog until a descriptor is free again. */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include "core/runtime.h"
#include "core/timer.h"
#include "core/wait.h"
#include "net/address.h"

#include <sys/types.h>

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
    dev_t dev;              /* of the file that its unix socket made; 0: none */
    ino_t ino;
    struct wait_queue selectors; /* who waits for a client without taking it */
    struct wait_queue full;      /* who serves, while as many handlers run as may */
    struct wait_queue drained;   /* who shuts it down, until they are done */
    size_t handlers, max_handlers;
    size_t max_line;            /* of its clients' streams */
    const struct part_tls *tls; /* what its clients are to speak; NULL: none */
    double pause;               /* seconds, at the next lack of descriptors */
    double told;                /* when the host was last told of it */
    bool hot;                   /* the kernel may have a client */
    bool closed;
};

struct listener_options {
    int backlog;
    bool reuse_port;
    int mode; /* of a unix socket's file; -1: what the umask leaves of 0777 */
};

/* Binds and listens. A unix socket takes the place of a file of its path on whose socket
** nobody listens. 0, or -errno with nothing left open. */
int listener_open(struct listener *l, struct runtime *rt, const struct address *a,
                  const struct listener_options *o);

/* Takes over a stream socket that listens. 0, or -errno: the descriptor is still the caller's. */
int listener_adopt(struct listener *l, struct runtime *rt, int fd);

/* The descriptor of a client, with its address; -EAGAIN: wait;
** -EBADF: closed; or what broke the socket itself. */
int listener_accept(struct listener *l, struct address *peer);

/* Whether there is a client, or never will be. */
bool listener_ready(const struct listener *l);

/* Before a tasklet waits in `acceptors`. */
void listener_want(struct listener *l);

/* Whether as many handlers run as may. */
bool listener_full(const struct listener *l);

/* The client of an open stream counts as a handler until that is closed. */
struct stream;
void listener_count(struct listener *l, struct stream *s);

/* One of the handlers of its clients has ended. */
void listener_handled(struct listener *l);

/* Wakes who accepts or serves with WAKE_CLOSED; the file of a unix socket goes. Twice is
** harmless. */
void listener_close(struct listener *l);

/* *l goes: its clients' streams do not count there any more. */
void listener_forget(struct listener *l);

/* A descriptor has become free: the starved ones try again. */
void listener_descriptor_free(struct runtime *rt);

#endif
