/* LD_PRELOAD: the kernel at its stingiest. A neap that runs with it gets one byte for each
** read from a socket (SHIM holds an r) or hands over one for each write (a w), and EAGAIN
** every second time. After FEW calls on a descriptor the pieces are larger, or what sends
** megabytes would never end. Datagrams are left whole. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

/* How many bytes of n this call is to move; 0: EAGAIN. */
static size_t ration(unsigned *calls, char which, int fd, size_t n)
{
    int type = 0;
    socklen_t length = sizeof type;
    if (n == 0 || fd < 0 || fd >= DESCRIPTORS || !is_ours(which))
        return n;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_STREAM)
        return n;
    if (calls[fd]++ % 2)
        return 0;
    size_t most = calls[fd] > FEW ? PIECE : 1;
    return n < most ? n : most;
}

ssize_t recv(int fd, void *p, size_t n, int flags)
{
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
    ssize_t (*real)(int, const void *, size_t, int) = dlsym(RTLD_NEXT, "send");
    size_t some = ration(writes, 'w', fd, n);
    if (some == 0 && n > 0) {
        errno = EAGAIN;
        return -1;
    }
    return real(fd, p, some, flags);
}

ssize_t splice(int from, loff_t *a, int to, loff_t *b, size_t n, unsigned flags)
{
    ssize_t (*real)(int, loff_t *, int, loff_t *, size_t, unsigned) =
        dlsym(RTLD_NEXT, "splice");
    size_t some = ration(reads, 'r', from, n);
    if (some > 0)
        some = ration(writes, 'w', to, some);
    if (some == 0 && n > 0) {
        errno = EAGAIN;
        return -1;
    }
    return real(from, a, to, b, some, flags);
}
