/* load.c PORT PID SECONDS: 64 connections to an echo server on loopback, each
** with one message of 64 bytes on its way all the time. Prints what a round trip
** cost the server, the process PID, in CPU time, and how many there were. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 64, SIZE = 64 };

static struct connection {
    int fd;
    size_t got;
} connections[CONNECTIONS];

static char message[SIZE];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) != 0)
        fail("load: clock");
    return t.tv_sec + t.tv_nsec * 1e-9;
}

/* The server may still be starting: up to two seconds of attempts. */
static int dial(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)port)};
    int one = 1;
    for (int attempt = 0; attempt < 100; attempt++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            return fd;
        }
        close(fd);
        usleep(20000);
    }
    fail("load: connect");
    return -1;
}

static void send_message(struct connection *c)
{
    c->got = 0;
    if (write(c->fd, message, SIZE) != SIZE)
        fail("load: write");
}

/* One answer or a part of it; 1 when it is whole. */
static int take_answer(struct connection *c)
{
    char bytes[SIZE];
    ssize_t n = read(c->fd, bytes, SIZE - c->got);
    if (n <= 0)
        fail("load: read");
    if (memcmp(bytes, message + c->got, (size_t)n) != 0) {
        fputs("load: the echo differs\n", stderr);
        exit(1);
    }
    c->got += (size_t)n;
    return c->got == SIZE;
}

static long run(int poll, double until)
{
    struct epoll_event events[CONNECTIONS];
    long trips = 0;
    while (seconds(CLOCK_MONOTONIC) < until) {
        int n = epoll_wait(poll, events, CONNECTIONS, 1000);
        if (n == 0) {
            fputs("load: no answer for a second\n", stderr);
            exit(1);
        }
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (take_answer(c)) {
                trips++;
                send_message(c);
            }
        }
    }
    return trips;
}

int main(int argc, char **argv)
{
    clockid_t server;
    if (argc != 4 || clock_getcpuclockid(atoi(argv[2]), &server) != 0)
        return 2;
    for (int i = 0; i < SIZE; i++)
        message[i] = (char)('!' + i);

    int poll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < CONNECTIONS; i++) {
        struct connection *c = &connections[i];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        c->fd = dial(atoi(argv[1]));
        epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &event);
        send_message(c);
    }
    run(poll, seconds(CLOCK_MONOTONIC) + 0.2);

    double cpu = seconds(server), start = seconds(CLOCK_MONOTONIC);
    long trips = run(poll, start + atof(argv[3]));
    cpu = seconds(server) - cpu;
    printf("echo %.3f us, %.0f trips/s\n", cpu / trips * 1e6,
           trips / (seconds(CLOCK_MONOTONIC) - start));
    return 0;
}
