/* A UDP socket: datagrams, whole or not at all. Nothing in here runs Lua. */
#ifndef NET_UDP_H
#define NET_UDP_H

#include "core/runtime.h"
#include "core/wait.h"
#include "net/address.h"

struct udp {
    struct object object;
    struct runtime *rt;
    int fd, family; /* fd -1: closed */
    int error;      /* for which the kernel does not watch it; 0: none */
    struct watch in, out;
    struct wait_queue receivers, senders, selectors;
};

struct udp_options {
    bool reuse_address, reuse_port;
};

/* Binds it. 0, or -errno with nothing left open. */
int udp_open(struct udp *u, struct runtime *rt, const struct address *a,
             const struct udp_options *o);

/* Sends to nobody but `a`, and receives from nobody else; NULL: to and from anybody again.
** 0, or -errno. */
int udp_connect(struct udp *u, struct address *a);

/* Sends a datagram, to `a` or (NULL) to whom it is connected. 0, -EAGAIN: wait, or -errno. */
int udp_send(struct udp *u, const char *p, size_t n, struct address *a);

/* Receives one into the runtime's shared buffer: its whole length, which may be more than the
** READ_BUFFER bytes that are there; -EAGAIN: wait, or -errno. */
ssize_t udp_receive(struct udp *u, struct address *from);

/* Whether a receive would not wait. */
bool udp_ready(const struct udp *u);

/* Joins or leaves a multicast group, on the interface of that index (0: the system's choice).
** 0, or -errno. */
int udp_group(struct udp *u, const struct address *group, unsigned interface, bool join);

/* Wakes who waits with WAKE_CLOSED. Twice is harmless. */
void udp_close(struct udp *u);

#endif
