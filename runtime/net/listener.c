#define _GNU_SOURCE
#include "net/listener.h"

#include "core/tasklet.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

static const double first_pause = 0.1, longest_pause = 1;

static const struct wait_class acceptor_class = {.what = "accept", .outside = true};

static void wake_acceptor(struct listener *l)
{
    struct tasklet *t = wait_first(&l->acceptors);
    l->hot = true;
    if (t)
        wait_wake(l->rt, t, WAKE_SERVED);
    else
        watch_stop(l->rt->reactor, &l->watch);
}

static void on_client(struct watch *w, int events)
{
    (void)events;
    wake_acceptor(container_of(w, struct listener, watch));
}

/* The pause is over. */
static void try_again(struct listener *l)
{
    timer_disarm(l->rt, &l->retry.timer);
    list_remove(&l->starved);
    wake_acceptor(l);
}

static void on_retry(struct runtime *rt, struct timed_call *c)
{
    (void)rt;
    try_again(container_of(c, struct listener, retry));
}

void listener_descriptor_free(struct runtime *rt)
{
    while (!list_empty(&rt->starved))
        try_again(container_of(rt->starved.next, struct listener, starved));
}

static void starve(struct listener *l, int error)
{
    struct runtime *rt = l->rt;
    watch_stop(rt->reactor, &l->watch);
    list_push_back(&rt->starved, &l->starved);
    if (timer_arm(rt, &l->retry.timer, TIMER_CALL | TIMER_REAL, l->pause) < 0)
        return; /* no memory either: the next free descriptor wakes it */
    double now = runtime_now(rt);
    if (now - l->told >= longest_pause) {
        l->told = now;
        error_log(rt, "accept: %s; clients wait until a descriptor is free", strerror(error));
    }
    l->pause = l->pause * 2 > longest_pause ? longest_pause : l->pause * 2;
}

int listener_open(struct listener *l, struct runtime *rt, const struct address *a, int backlog)
{
    int one = 1, zero = 0, error;
    list_init(&l->all);
    list_init(&l->starved);
    wait_queue_init(&l->acceptors, &acceptor_class);
    l->fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return -errno;
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a->sa.ss_family == AF_INET6)
        setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    l->address.length = sizeof l->address.sa;
    if (bind(l->fd, (const struct sockaddr *)&a->sa, a->length) < 0 ||
        listen(l->fd, backlog) < 0 ||
        getsockname(l->fd, (struct sockaddr *)&l->address.sa, &l->address.length) < 0)
        goto fail;
    l->rt = rt;
    list_push_back(&rt->listeners, &l->all);
    l->pause = first_pause;
    l->told = -longest_pause;
    l->retry.fn = on_retry;
    watch_init(&l->watch, l->fd, WATCH_READ, on_client);
    return 0;
fail:
    error = errno;
    close(l->fd);
    return -error;
}

int listener_accept(struct listener *l, struct address *peer)
{
    int one = 1;
    if (l->closed)
        return -EBADF;
    while (l->hot) {
        peer->length = sizeof peer->sa;
        int fd = accept4(l->fd, (struct sockaddr *)&peer->sa, &peer->length,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            l->pause = first_pause;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            return fd;
        }
        switch (errno) {
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            starve(l, errno);
            /* fall through */
        case EAGAIN:
            l->hot = false;
            break;
        case EINTR:
        case ECONNABORTED:
        case EPROTO:
        case EPERM:
        case ENETDOWN:
        case ENETUNREACH:
        case EHOSTUNREACH: /* that client is gone; the next one may be there */
            break;
        default:
            return -errno;
        }
    }
    return -EAGAIN;
}

void listener_want(struct listener *l)
{
    if (list_empty(&l->starved))
        watch_start(l->rt->reactor, &l->watch);
}

void listener_close(struct listener *l)
{
    if (!l->rt || l->closed)
        return;
    l->closed = true;
    watch_stop(l->rt->reactor, &l->watch);
    timer_disarm(l->rt, &l->retry.timer);
    list_remove(&l->starved);
    list_remove(&l->all);
    close(l->fd);
    wait_wake_all(l->rt, &l->acceptors, WAKE_CLOSED);
    listener_descriptor_free(l->rt);
}
