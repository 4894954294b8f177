/* What spec/bench/stream.sh runs beside neap, in C: the two ends of a copy, and the copy loop
** that is the floor.
**
**     stream source PORT MIB      connects, sends that much, prints MB/s as seen by the reader
**     stream sink PORT            takes one connection, reads it to its end
**     stream copy PORT TO         takes one connection, copies it to port TO by read and write
**     stream send PORT MIB PIECE  connects, sends by sendmsg a head and three pieces at a time
**
** Each prints `NAME CPU-seconds elapsed-seconds` of its own process. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 65536, MIB = 1 << 20 };

static char block[BLOCK];

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void check(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static struct sockaddr_in loopback(const char *port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((unsigned short)atoi(port)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* Whoever listens may come later. */
static int dial(const char *port)
{
    struct sockaddr_in a = loopback(port);
    for (int tries = 0; tries < 500; tries++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
            return fd;
        close(fd);
        usleep(10000);
    }
    check(0, "connect");
    return -1;
}

static int take_one(const char *port)
{
    struct sockaddr_in a = loopback(port);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    check(bind(fd, (struct sockaddr *)&a, sizeof a) == 0, "bind");
    check(listen(fd, 1) == 0, "listen");
    int client = accept(fd, NULL, NULL);
    check(client >= 0, "accept");
    close(fd);
    return client;
}

static void write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t sent = write(fd, p, n);
        check(sent > 0, "write");
        p += sent;
        n -= (size_t)sent;
    }
}

static void copy(int from, int to)
{
    ssize_t n;
    while ((n = read(from, block, sizeof block)) > 0)
        if (to >= 0)
            write_all(to, block, (size_t)n);
    check(n == 0, "read");
}

/* A head of 100 bytes and three pieces, handed over without being joined. */
static void send_pieces(int fd, long long total, size_t size)
{
    char *piece = calloc(1, size);
    size_t whole = 100 + 3 * size;
    for (long long sent = 0; sent < total; sent += (long long)whole) {
        struct iovec v[4] = {{block, 100}, {piece, size}, {piece, size}, {piece, size}};
        struct msghdr m = {.msg_iov = v, .msg_iovlen = 4};
        check(sendmsg(fd, &m, MSG_WAITALL) == (ssize_t)whole, "sendmsg");
    }
    free(piece);
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[1] : "";
    double began = 0;
    if (strcmp(what, "source") == 0) {
        int fd = dial(argv[2]);
        began = now(CLOCK_MONOTONIC);
        for (int left = atoi(argv[3]); left > 0; left--)
            for (int i = 0; i < MIB / BLOCK; i++)
                write_all(fd, block, sizeof block);
        shutdown(fd, SHUT_WR);
        copy(fd, -1);
    } else if (strcmp(what, "sink") == 0) {
        int fd = take_one(argv[2]);
        began = now(CLOCK_MONOTONIC);
        copy(fd, -1);
    } else if (strcmp(what, "copy") == 0) {
        int to = dial(argv[3]), from = take_one(argv[2]);
        began = now(CLOCK_MONOTONIC);
        copy(from, to);
    } else if (strcmp(what, "send") == 0) {
        int fd = dial(argv[2]);
        began = now(CLOCK_MONOTONIC);
        send_pieces(fd, atoll(argv[3]) * MIB, (size_t)atol(argv[4]));
    } else {
        fprintf(stderr, "stream: see the top of its source\n");
        return 2;
    }
    printf("%s %.3f %.3f\n", what, now(CLOCK_PROCESS_CPUTIME_ID), now(CLOCK_MONOTONIC) - began);
    return 0;
}
