/* LD_PRELOAD: the kernel at its stingiest. A neap that runs with it gets one byte for each
** read from a socket (SHIM holds an r) or hands over one for each write (a w), and EAGAIN
** every second time. After FEW calls on a descriptor the pieces are larger, or what sends
** megabytes would never end. Datagrams are left whole. With an i every second call of those that
** may wait is interrupted, and a signal comes a thousand times a second. With a p, sendfile and
** splice move a part and raise SIGPIPE: so does the kernel, whose peer is gone when it comes to
** the rest. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FEW = 2000, PIECE = 16001, DESCRIPTORS = 65536 };

static unsigned reads[DESCRIPTORS], writes[DESCRIPTORS];

/* Whether this process is neap: its children and the shells between them are left alone. */
static int is_ours(char which)
{
    static int known = -1;
    char path[4096];
    const char *shim = getenv("SHIM");
    if (known < 0) {
        ssize_t n = readlink("/proc/self/exe", path, sizeof path);
        known = n > 4 && memcmp(path + n - 4, "neap", 4) == 0;
    }
    return known && shim && strchr(shim, which);
}

static int is_socket(int fd)
{
    int type = 0;
    socklen_t length = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}

/* How many bytes of n this call is to move; 0: EAGAIN. */
static size_t ration(unsigned *calls, char which, int fd, size_t n)
{
    if (n == 0 || fd < 0 || fd >= DESCRIPTORS || !is_ours(which) || !is_socket(fd))
        return n;
    if (calls[fd]++ % 2)
        return 0;
    size_t most = calls[fd] > FEW ? PIECE : 1;
    return n < most ? n : most;
}

static int interrupted(unsigned *calls)
{
    if (!is_ours('i') || (*calls)++ % 2)
        return 0;
    errno = EINTR;
    return 1;
}

ssize_t recv(int fd, void *p, size_t n, int flags)
{
    static unsigned calls;
    if (interrupted(&calls))
        return -1;
    ssize_t (*real)(int, void *, size_t, int) = dlsym(RTLD_NEXT, "recv");
    size_t some = ration(reads, 'r', fd, n);
    if (some == 0 && n > 0) {
        errno = EAGAIN;
        return -1;
    }
    return real(fd, p, some, flags);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
    static unsigned calls;
    if (interrupted(&calls))
        return -1;
    ssize_t (*real)(int, const void *, size_t, int) = dlsym(RTLD_NEXT, "send");
    size_t some = ration(writes, 'w', fd, n);
    if (some == 0 && n > 0) {
        errno = EAGAIN;
        return -1;
    }
    return real(fd, p, some, flags);
}

/* How many of n bytes go; and the end of the call, which has moved so many. */
static size_t part(size_t n)
{
    return is_ours('p') && n > 1 ? n / 2 : n;
}

static ssize_t parted(ssize_t moved, size_t n)
{
    if (is_ours('p') && moved > 0 && (size_t)moved < n)
        raise(SIGPIPE);
    return moved;
}

ssize_t sendfile(int to, int from, off_t *at, size_t n)
{
    ssize_t (*real)(int, int, off_t *, size_t) = dlsym(RTLD_NEXT, "sendfile");
    return parted(real(to, from, at, part(n)), n);
}

ssize_t splice(int from, loff_t *a, int to, loff_t *b, size_t n, unsigned flags)
{
    static unsigned calls;
    if (interrupted(&calls))
        return -1;
    ssize_t (*real)(int, loff_t *, int, loff_t *, size_t, unsigned) =
        dlsym(RTLD_NEXT, "splice");
    size_t some = ration(reads, 'r', from, n);
    if (some > 0)
        some = ration(writes, 'w', to, some);
    if (some == 0 && n > 0) {
        errno = EAGAIN;
        return -1;
    }
    if (is_socket(to))
        return parted(real(from, a, to, b, part(some), flags), some);
    return real(from, a, to, b, some, flags);
}

/* name(parameters), whose real one gets the arguments. */
#define INTERRUPTED(type, name, parameters, arguments)    \
    type name parameters                                  \
    {                                                     \
        static unsigned calls;                            \
        type(*real) parameters = dlsym(RTLD_NEXT, #name); \
        return interrupted(&calls) ? -1 : real arguments; \
    }

INTERRUPTED(ssize_t, read, (int fd, void *p, size_t n), (fd, p, n))
INTERRUPTED(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))
INTERRUPTED(ssize_t, recvfrom,
            (int fd, void *p, size_t n, int flags, struct sockaddr *from, socklen_t *length),
            (fd, p, n, flags, from, length))
INTERRUPTED(ssize_t, sendto,
            (int fd, const void *p, size_t n, int flags, const struct sockaddr *to,
             socklen_t length),
            (fd, p, n, flags, to, length))
INTERRUPTED(ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags))
INTERRUPTED(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
INTERRUPTED(int, accept4, (int fd, struct sockaddr *from, socklen_t *length, int flags),
            (fd, from, length, flags))
INTERRUPTED(int, epoll_wait, (int fd, struct epoll_event *events, int n, int wait),
            (fd, events, n, wait))
INTERRUPTED(int, poll, (struct pollfd * fds, nfds_t n, int wait), (fds, n, wait))
INTERRUPTED(pid_t, waitpid, (pid_t pid, int *status, int options), (pid, status, options))

/* The kernel has closed it by then: who closes it again closes another's. */
int close(int fd)
{
    static unsigned calls;
    int (*real)(int) = dlsym(RTLD_NEXT, "close");
    int r = real(fd);
    return r == 0 && interrupted(&calls) ? -1 : r;
}

static void ignore(int signal)
{
    (void)signal;
}

__attribute__((constructor)) static void begin(void)
{
    struct sigaction action = {.sa_handler = ignore};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 5};
    struct itimerspec often = {{0, 1000000}, {0, 1000000}};
    timer_t timer;
    if (!is_ours('i'))
        return;
    sigaction(event.sigev_signo, &action, NULL);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0)
        timer_settime(timer, 0, &often, NULL);
}
