#define _GNU_SOURCE
#include "net/option.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

enum { PROBES = 3 };

static int set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value) < 0 ? -errno : 0;
}

static int set_int(int fd, int level, int option, double value)
{
    if (!(value >= 0 && value <= INT_MAX))
        return -EINVAL;
    return set(fd, level, option, (int)value);
}

int option_keepalive(int fd, double seconds)
{
    int r = set(fd, SOL_SOCKET, SO_KEEPALIVE, seconds > 0);
    if (r < 0 || seconds <= 1)
        return r;
    if (!(seconds <= INT_MAX / 2000))
        return -EINVAL;
    int idle = (int)seconds, interval = idle / PROBES > 0 ? idle / PROBES : 1;
    if ((r = set(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle)) < 0 ||
        (r = set(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval)) < 0 ||
        (r = set(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES)) < 0)
        return r;
    return set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 2 * idle * 1000); /* what is unacknowledged */
}

static int set_nodelay(int fd, double on)
{
    return set(fd, IPPROTO_TCP, TCP_NODELAY, on != 0);
}

static int set_rcvbuf(int fd, double bytes)
{
    return set_int(fd, SOL_SOCKET, SO_RCVBUF, bytes);
}

static int set_sndbuf(int fd, double bytes)
{
    return set_int(fd, SOL_SOCKET, SO_SNDBUF, bytes);
}

static int set_broadcast(int fd, double on)
{
    return set(fd, SOL_SOCKET, SO_BROADCAST, on != 0);
}

/* The socket speaks IPv4 or IPv6: one of the two must take it. */
static int set_either(int fd, int option4, int option6, double value)
{
    int r = set_int(fd, IPPROTO_IPV6, option6, value);
    int r4 = set_int(fd, IPPROTO_IP, option4, value);
    return r == 0 ? 0 : r4;
}

static int set_ttl(int fd, double hops)
{
    return set_either(fd, IP_TTL, IPV6_UNICAST_HOPS, hops);
}

static int set_multicast_ttl(int fd, double hops)
{
    return set_either(fd, IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS, hops);
}

static int set_multicast_loop(int fd, double on)
{
    return set_either(fd, IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP, on != 0);
}

static const struct {
    const char *name;
    bool number;
    int (*set)(int fd, double value);
} options[] = {
    {"nodelay", false, set_nodelay},
    {"keepalive", true, option_keepalive},
    {"rcvbuf", true, set_rcvbuf},
    {"sndbuf", true, set_sndbuf},
    {"broadcast", false, set_broadcast},
    {"ttl", true, set_ttl},
    {"multicast_ttl", true, set_multicast_ttl},
    {"multicast_loop", false, set_multicast_loop},
};

int option_find(const char *name)
{
    int n = (int)(sizeof options / sizeof *options);
    for (int i = 0; i < n; i++)
        if (strcmp(options[i].name, name) == 0)
            return i;
    return -1;
}

bool option_is_number(int option)
{
    return options[option].number;
}

int option_set(int fd, int option, double value)
{
    return options[option].set(fd, value);
}
