/* A program with an epoll loop of its own, in which neap is one descriptor and a deadline.
** What comes on standard input is the program's own; the script's timers and sockets go on.
**
**     cc epoll.c $(pkg-config --cflags --libs neap) */
#include "neap.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static const char script[] =
    "local net = require 'neap.net'\n"
    "local listener = assert(net.listen('127.0.0.1', 0))\n"
    "listener:start(function(s) for line in s:lines() do s:write(line:upper(), '\\n') end "
    "end)\n"
    "local s = assert(net.connect('127.0.0.1', listener.port))\n"
    "for i = 1, 3 do s:write('hello ', i, '\\n') print(s:read()) sleep(0.05) end\n";

static void on_write(void *ud, const char *s, size_t n)
{
    fwrite(s, 1, n, ud);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(void)
{
    neap_config c = {.size = sizeof c, .ud = stdout, .write = on_write};
    neap *N = neap_new(&c, NULL);
    int loop = epoll_create1(EPOLL_CLOEXEC);
    if (!N || loop < 0)
        return 1;
    struct epoll_event of_neap = {EPOLLIN, {.fd = neap_fd(N)}}, input = {EPOLLIN, {.fd = 0}}, e;
    epoll_ctl(loop, EPOLL_CTL_ADD, of_neap.data.fd, &of_neap);
    int reads = epoll_ctl(loop, EPOLL_CTL_ADD, 0, &input) == 0; /* a file cannot be polled */
    neap_task t = neap_text(N, script, sizeof script - 1, "=epoll");
    double last = now();
    while (neap_status(N, t) != NEAP_DONE && neap_status(N, t) != NEAP_FAILED) {
        int64_t ns = neap_timeout(N); /* -1: no deadline */
        int n = epoll_wait(loop, &e, 1, ns < 0 ? -1 : (int)((ns + 999999) / 1000000));
        if (n == 1 && reads && e.data.fd == 0) {
            char line[256];
            long got = read(0, line, sizeof line);
            if (got <= 0)
                epoll_ctl(loop, EPOLL_CTL_DEL, 0, &input);
            printf("%ld bytes of input\n", got);
        }
        double before = last;
        last = now();
        neap_step(N, last - before, 5000000);
    }
    neap_free(N);
    return close(loop);
}
