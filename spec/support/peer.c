/* peer MODE PORT [...]: clients that a script cannot play well, on loopback.
**
**   reset PORT TEXT     sends TEXT, waits for a byte, then resets the connection
**   dribble PORT TEXT   sends TEXT a byte a segment; prints what comes back until the end
**   mute PORT           never reads; until it is killed
**   slow PORT           reads 1 KiB a time with pauses; prints how many bytes, and their sum
**   flood PORT BYTES    sends that much and nothing more; prints how many bytes come back
**   many PORT N MS      N connections, a line on each; after MS milliseconds it reads, and
**                       closes each at its answer; prints how many answers were right
**   crowd PORT N        the same, but it closes none before it has all answers
**   pass PATH           sends "text" to a unix socket, with descriptors in its tow
**   listening PORT PROGRAM ARGUMENT ...
**                       becomes that program, which gets a listening socket as descriptor 3
**
** It ends by itself after a minute. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* receive: the size of the receive buffer, 0: the kernel's choice */
static int dial(int port, int receive)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        fail("peer: socket");
    if (receive)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof receive);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0)
        fail("peer: connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void put(int fd, const char *s, size_t n)
{
    for (ssize_t sent; n > 0; s += sent, n -= (size_t)sent)
        if ((sent = send(fd, s, n, MSG_NOSIGNAL)) < 0)
            fail("peer: send");
}

static int reset(int fd, const char *text)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    char byte;
    put(fd, text, strlen(text));
    if (read(fd, &byte, 1) != 1)
        return 1;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
    return 0;
}

static int dribble(int fd, const char *text)
{
    char bytes[4096];
    ssize_t n;
    for (; *text; text++) {
        put(fd, text, 1);
        usleep(500);
    }
    shutdown(fd, SHUT_WR);
    while ((n = read(fd, bytes, sizeof bytes)) > 0)
        fwrite(bytes, 1, (size_t)n, stdout);
    return n < 0;
}

static int slow(int fd)
{
    unsigned char bytes[1024];
    unsigned long total = 0, sum = 0;
    ssize_t n;
    while ((n = read(fd, bytes, sizeof bytes)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            sum += bytes[i];
        total += (unsigned long)n;
        if (total % 65536 < 1024)
            usleep(1000);
    }
    if (n < 0)
        fail("peer: read");
    printf("%lu %lu\n", total, sum);
    return 0;
}

static int flood(int fd, long bytes)
{
    static char block[65536];
    unsigned long back = 0;
    ssize_t n;
    memset(block, 'x', sizeof block);
    for (; bytes > 0; bytes -= (long)sizeof block)
        put(fd, block, bytes < (long)sizeof block ? (size_t)bytes : sizeof block);
    shutdown(fd, SHUT_WR);
    while ((n = read(fd, block, sizeof block)) > 0)
        back += (unsigned long)n;
    if (n < 0)
        fail("peer: read");
    printf("%lu\n", back);
    return 0;
}

struct client {
    char line[32];
    size_t got, length;
};

/* Reads from one of many; true at the whole line or the end, *right if it was whole. */
static int answered(int fd, struct client *c, int *right)
{
    char bytes[32];
    ssize_t n = read(fd, bytes, c->length - c->got);
    if (n <= 0 || memcmp(bytes, c->line + c->got, (size_t)n) != 0)
        return 1;
    c->got += (size_t)n;
    *right += c->got == c->length;
    return c->got == c->length;
}

static int many(int port, int count, int pause, int stay)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct pollfd *polls = calloc((size_t)count, sizeof *polls);
    struct client *clients = calloc((size_t)count, sizeof *clients);
    int right = 0;
    if (!polls || !clients)
        fail("peer: calloc");
    for (int i = 0; i < count; i++) {
        struct client *c = &clients[i];
        polls[i] = (struct pollfd){.fd = dial(port, 0), .events = POLLIN};
        c->length = (size_t)snprintf(c->line, sizeof c->line, "client %d\n", i);
        put(polls[i].fd, c->line, c->length);
    }
    usleep((useconds_t)pause * 1000);
    for (int left = count; left > 0;) {
        if (poll(polls, (nfds_t)count, -1) < 0)
            fail("peer: poll");
        for (int i = 0; i < count; i++) {
            if (polls[i].revents && answered(polls[i].fd, &clients[i], &right)) {
                if (!stay)
                    close(polls[i].fd);
                polls[i].fd = -1; /* poll passes it by, with no events */
                left--;
            }
        }
    }
    printf("%d\n", right);
    free(clients);
    free(polls);
    return 0;
}

/* As a supervisor starts a server. */
static int listening(int port, char **command)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 100) < 0)
        fail("peer: listen");
    if (fd != 3 && (dup2(fd, 3) < 0 || close(fd) < 0))
        fail("peer: dup2");
    execvp(*command, command);
    fail("peer: exec");
    return 1;
}

static int pass(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    union {
        char room[CMSG_SPACE(3 * sizeof(int))];
        struct cmsghdr head;
    } control = {.head = {CMSG_LEN(3 * sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    struct iovec text = {"text", 4};
    struct msghdr m = {.msg_iov = &text,
                       .msg_iovlen = 1,
                       .msg_control = control.room,
                       .msg_controllen = sizeof control.room};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), passed[] = {0, 1, 2};
    strncpy(at.sun_path, path, sizeof at.sun_path - 1);
    memcpy(CMSG_DATA(&control.head), passed, sizeof passed);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) < 0 ||
        sendmsg(fd, &m, MSG_NOSIGNAL) != 4)
        fail("peer: pass");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    const char *mode = argv[1], *argument = argc > 3 ? argv[3] : "";
    int port = atoi(argv[2]);
    alarm(60);
    if (strcmp(mode, "listening") == 0)
        return listening(port, argv + 3);
    if (strcmp(mode, "pass") == 0)
        return pass(argv[2]);
    if (strcmp(mode, "many") == 0)
        return many(port, atoi(argument), argc > 4 ? atoi(argv[4]) : 0, 0);
    if (strcmp(mode, "crowd") == 0)
        return many(port, atoi(argument), 0, 1);
    int fd = dial(port, strcmp(mode, "mute") == 0 || strcmp(mode, "slow") == 0 ? 4096 : 0);
    if (strcmp(mode, "reset") == 0)
        return reset(fd, argument);
    if (strcmp(mode, "dribble") == 0)
        return dribble(fd, argument);
    if (strcmp(mode, "slow") == 0)
        return slow(fd);
    if (strcmp(mode, "flood") == 0)
        return flood(fd, atol(argument));
    return strcmp(mode, "mute") == 0 ? pause() : 2;
}
