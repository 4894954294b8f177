/* What the floors that serve have in common: a listener on loopback and libev's loop. */
#ifndef BENCH_FLOOR_SERVER_H
#define BENCH_FLOOR_SERVER_H

#include <arpa/inet.h>
#include <ev.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* The next client's descriptor, or -1. */
static int accept_client(const ev_io *listener)
{
    int one = 1;
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* The next client is watched for what it sends. */
static inline void watch_client(struct ev_loop *loop, const ev_io *listener,
                                void (*on_data)(struct ev_loop *, ev_io *, int))
{
    int fd = accept_client(listener);
    ev_io *client = fd < 0 ? NULL : malloc(sizeof *client);
    if (!client)
        return;
    ev_io_init(client, on_data, fd, EV_READ);
    ev_io_start(loop, client);
}

/* The end of a client that watch_client has taken. */
static inline void drop_client(struct ev_loop *loop, ev_io *client)
{
    ev_io_stop(loop, client);
    close(client->fd);
    free(client);
}

/* Serves until it is killed; `data` is the listener's. The exit status. */
static int serve(const char *name, const char *port,
                 void (*on_client)(struct ev_loop *, ev_io *, int), void *data)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)atoi(port))};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 1024) != 0) {
        perror(name);
        return 1;
    }

    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    ev_io listener;
    ev_io_init(&listener, on_client, fd, EV_READ);
    listener.data = data;
    ev_io_start(loop, &listener);
    ev_run(loop, 0);
    return 0;
}

#endif
