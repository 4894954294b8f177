#define _GNU_SOURCE
#include "net/listener.h"

#include "core/tasklet.h"
#include "net/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const double first_pause = 0.1, longest_pause = 1;

static const struct wait_class acceptor_class = {.what = "accept", .outside = true};

static void selector_joined(struct wait_queue *q)
{
    listener_want(container_of(q, struct listener, selectors));
}

static const struct wait_class selector_class = {
    .what = "a client of a listener", .outside = true, .joined = selector_joined};
static const struct wait_class drain_class = {.what = "shutdown of a listener"};

static void wake_acceptor(struct listener *l)
{
    struct tasklet *t = wait_first(&l->acceptors);
    l->hot = true;
    if (t)
        wait_wake(l->rt, t, WAKE_SERVED);
    else
        watch_stop(l->rt->reactor, &l->watch);
    wait_wake_all(l->rt, &l->selectors, WAKE_SERVED);
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

/* The kernel may have no room for the watch: then it is asked again from time to time. */
static void on_client(struct watch *w, int events)
{
    struct listener *l = container_of(w, struct listener, watch);
    if (events & WATCH_ERROR)
        starve(l, ENOSPC);
    else
        wake_acceptor(l);
}

/* ---- opening ---- */

/* What is left of a socket whose owner has crashed. A datagram socket asks: its like would be
** another error than a refusal, and a server sees nothing of it. */
static bool is_stale(const struct address *a)
{
    int fd = address_file(a) ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    if (fd < 0)
        return false;
    bool refused =
        connect(fd, (const struct sockaddr *)&a->sa, a->length) < 0 && errno == ECONNREFUSED;
    struct stat st;
    close(fd);
    return refused && lstat(address_file(a), &st) == 0 && S_ISSOCK(st.st_mode);
}

static int bind_to(int fd, const struct address *a)
{
    const struct sockaddr *sa = (const struct sockaddr *)&a->sa;
    if (bind(fd, sa, a->length) == 0)
        return 0;
    if (errno != EADDRINUSE)
        return -errno;
    if (!is_stale(a))
        return -EADDRINUSE;
    unlink(address_file(a));
    return bind(fd, sa, a->length) == 0 ? 0 : -errno;
}

/* The file never has more rights than `mode`, whatever the umask is. */
static int bind_file(struct listener *l, const struct address *a, int mode)
{
    struct stat st;
    if (mode >= 0 && fchmod(l->fd, (mode_t)mode) < 0)
        return -errno;
    int r = bind_to(l->fd, a);
    if (r < 0 || !address_file(a))
        return r;
    if ((mode >= 0 && chmod(address_file(a), (mode_t)mode) < 0) ||
        lstat(address_file(a), &st) < 0) {
        r = -errno;
        unlink(address_file(a));
        return r;
    }
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    return 0;
}

static void unlink_file(struct listener *l)
{
    struct stat st;
    const char *path = address_file(&l->address);
    if (path && l->ino && lstat(path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(path);
}

static int bind_ip(int fd, const struct address *a, const struct listener_options *o)
{
    int one = 1, zero = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (o->reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0)
        return -errno;
    if (a->sa.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    return bind_to(fd, a);
}

/* l->fd listens, and is ours. */
static void begin(struct listener *l, struct runtime *rt)
{
    l->rt = rt;
    list_push_back(&rt->listeners, &l->all);
    l->pause = first_pause;
    l->told = -longest_pause;
    l->retry.fn = on_retry;
    watch_init(&l->watch, l->fd, WATCH_READ, on_client);
}

static void prepare(struct listener *l)
{
    list_init(&l->all);
    list_init(&l->starved);
    wait_queue_init(&l->acceptors, &acceptor_class);
    wait_queue_init(&l->selectors, &selector_class);
    wait_queue_init(&l->full, &acceptor_class);
    wait_queue_init(&l->drained, &drain_class);
    l->address.length = sizeof l->address.sa;
}

int listener_open(struct listener *l, struct runtime *rt, const struct address *a,
                  const struct listener_options *o)
{
    prepare(l);
    l->fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return -errno;
    int r = a->sa.ss_family == AF_UNIX ? bind_file(l, a, o->mode) : bind_ip(l->fd, a, o);
    if (r == 0 &&
        (getsockname(l->fd, (struct sockaddr *)&l->address.sa, &l->address.length) < 0 ||
         listen(l->fd, o->backlog) < 0))
        r = -errno;
    if (r == 0) {
        begin(l, rt);
        return 0;
    }
    unlink_file(l);
    close(l->fd);
    return r;
}

int listener_adopt(struct listener *l, struct runtime *rt, int fd)
{
    int type = 0, listens = 0, flags;
    socklen_t n = sizeof type;
    prepare(l);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) < 0 ||
        getsockname(fd, (struct sockaddr *)&l->address.sa, &l->address.length) < 0)
        return -errno;
    if (type != SOCK_STREAM || !listens)
        return -EINVAL;
    if ((flags = fcntl(fd, F_GETFL)) < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    l->fd = fd;
    begin(l, rt);
    return 0;
}

/* ---- accepting ---- */

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
            if (l->address.sa.ss_family != AF_UNIX)
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

bool listener_ready(const struct listener *l)
{
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    return l->closed || (list_empty(&l->starved) && poll(&p, 1, 0) > 0);
}

void listener_want(struct listener *l)
{
    if (list_empty(&l->starved))
        watch_start(l->rt->reactor, &l->watch);
}

bool listener_full(const struct listener *l)
{
    return l->max_handlers && l->handlers >= l->max_handlers && !l->closed;
}

void listener_count(struct listener *l, struct stream *s)
{
    s->served = l;
    l->handlers++;
}

void listener_handled(struct listener *l)
{
    struct tasklet *t = wait_first(&l->full);
    l->handlers--;
    if (t)
        wait_wake(l->rt, t, WAKE_SERVED);
    wait_wake_all(l->rt, &l->drained, WAKE_SERVED);
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
    unlink_file(l);
    close(l->fd);
    wait_wake_all(l->rt, &l->acceptors, WAKE_CLOSED);
    wait_wake_all(l->rt, &l->selectors, WAKE_CLOSED);
    wait_wake_all(l->rt, &l->full, WAKE_CLOSED);
    listener_descriptor_free(l->rt);
}

void listener_forget(struct listener *l)
{
    struct list *node;
    listener_close(l);
    if (!l->rt)
        return;
    list_each(node, &l->rt->streams) {
        struct stream *s = container_of(node, struct stream, all);
        if (s->served == l)
            s->served = NULL;
    }
}
