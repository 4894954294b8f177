#define _GNU_SOURCE
#include "net/udp.h"

#include "core/tasklet.h"
#include "net/listener.h"
#include "net/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

static void receiver_joined(struct wait_queue *q)
{
    struct udp *u = container_of(q, struct udp, receivers);
    watch_start(u->rt->reactor, &u->in);
}

static void selector_joined(struct wait_queue *q)
{
    struct udp *u = container_of(q, struct udp, selectors);
    watch_start(u->rt->reactor, &u->in);
}

static void sender_joined(struct wait_queue *q)
{
    struct udp *u = container_of(q, struct udp, senders);
    watch_start(u->rt->reactor, &u->out);
}

static const struct wait_class receiver_class = {
    .what = "a datagram", .outside = true, .joined = receiver_joined};
static const struct wait_class selector_class = {
    .what = "a datagram", .outside = true, .joined = selector_joined};
static const struct wait_class sender_class = {
    .what = "room for a datagram", .outside = true, .joined = sender_joined};

/* One datagram is one tasklet's; the watch goes on for the others. */
static void on_datagram(struct watch *w, int events)
{
    struct udp *u = container_of(w, struct udp, in);
    struct tasklet *t = wait_first(&u->receivers);
    if (events & WATCH_ERROR)
        u->error = EIO;
    if (t)
        wait_wake(u->rt, t, WAKE_SERVED);
    wait_wake_all(u->rt, &u->selectors, WAKE_SERVED);
    if (list_empty(&u->receivers.waiters))
        watch_stop(u->rt->reactor, w);
}

static void on_room(struct watch *w, int events)
{
    struct udp *u = container_of(w, struct udp, out);
    if (events & WATCH_ERROR)
        u->error = EIO;
    watch_stop(u->rt->reactor, w);
    wait_wake_all(u->rt, &u->senders, WAKE_SERVED);
}

static int bind_to(int fd, const struct address *a, const struct udp_options *o)
{
    int zero = 0, one = 1;
    if (a->sa.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    if ((o->reuse_address && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0) ||
        (o->reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0) ||
        bind(fd, (const struct sockaddr *)&a->sa, a->length) < 0)
        return -errno;
    return 0;
}

int udp_open(struct udp *u, struct runtime *rt, const struct address *a,
             const struct udp_options *o)
{
    u->fd = -1;
    int fd = socket(a->sa.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int r = bind_to(fd, a, o);
    if (r < 0) {
        close(fd);
        return r;
    }
    u->rt = rt;
    u->fd = fd;
    u->family = a->sa.ss_family;
    watch_init(&u->in, fd, WATCH_READ, on_datagram);
    watch_init(&u->out, fd, WATCH_WRITE, on_room);
    wait_queue_init(&u->receivers, &receiver_class);
    wait_queue_init(&u->selectors, &selector_class);
    wait_queue_init(&u->senders, &sender_class);
    return 0;
}

/* The kernel also takes back a port that it had chosen itself. */
static int disconnect(int fd)
{
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    struct address own = {.length = sizeof own.sa}, now = own;
    if (getsockname(fd, (struct sockaddr *)&own.sa, &own.length) < 0 ||
        connect(fd, &nobody, sizeof nobody) < 0 ||
        getsockname(fd, (struct sockaddr *)&now.sa, &now.length) < 0)
        return -errno;
    char text[ADDRESS_TEXT];
    if (address_format(&now, text) == 0 && bind(fd, (struct sockaddr *)&own.sa, own.length) < 0)
        return -errno;
    return 0;
}

int udp_connect(struct udp *u, struct address *a)
{
    if (!a)
        return disconnect(u->fd);
    if (u->family == AF_INET6)
        address_map(a);
    int r;
    do
        r = connect(u->fd, (struct sockaddr *)&a->sa, a->length);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

/* Why nothing can be done now: it waits, or could not. */
static int watch_error(struct udp *u)
{
    int error = u->error ? u->error : EAGAIN;
    u->error = 0;
    return -error;
}

int udp_send(struct udp *u, const char *p, size_t n, struct address *a)
{
    if (a && u->family == AF_INET6)
        address_map(a);
    for (;;) {
        if (sendto(u->fd, p, n, MSG_NOSIGNAL, a ? (struct sockaddr *)&a->sa : NULL,
                   a ? a->length : 0) >= 0)
            return 0;
        if (errno == EWOULDBLOCK)
            return watch_error(u);
        if (errno != EINTR)
            return -errno;
    }
}

ssize_t udp_receive(struct udp *u, struct address *from)
{
    stream_leave_shared(u->rt);
    for (;;) {
        from->length = sizeof from->sa;
        ssize_t n = recvfrom(u->fd, u->rt->read_buffer, READ_BUFFER, MSG_TRUNC,
                             (struct sockaddr *)&from->sa, &from->length);
        if (n >= 0)
            return n;
        if (errno == EWOULDBLOCK)
            return watch_error(u);
        if (errno != EINTR)
            return -errno;
    }
}

bool udp_ready(const struct udp *u)
{
    struct pollfd p = {.fd = u->fd, .events = POLLIN};
    return u->fd < 0 || u->error || poll(&p, 1, 0) > 0;
}

int udp_group(struct udp *u, const struct address *group, unsigned interface, bool join)
{
    struct group_req r = {.gr_interface = interface};
    int level = group->sa.ss_family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
    memcpy(&r.gr_group, &group->sa, group->length);
    int option = join ? MCAST_JOIN_GROUP : MCAST_LEAVE_GROUP;
    return setsockopt(u->fd, level, option, &r, sizeof r) < 0 ? -errno : 0;
}

void udp_close(struct udp *u)
{
    struct runtime *rt = u->rt;
    if (!rt || u->fd < 0)
        return;
    watch_stop(rt->reactor, &u->in);
    watch_stop(rt->reactor, &u->out);
    close(u->fd);
    u->fd = -1;
    wait_wake_all(rt, &u->receivers, WAKE_CLOSED);
    wait_wake_all(rt, &u->selectors, WAKE_CLOSED);
    wait_wake_all(rt, &u->senders, WAKE_CLOSED);
    listener_descriptor_free(rt);
}
