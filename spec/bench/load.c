/* load.c PORT PID SECONDS [tls|http|browser]: 64 connections to a server on loopback, each
** with one question on its way all the time: a message of 64 bytes that comes back, in the
** clear or through TLS, or a GET, of a few fields or of the twelve that a browser sends, that
** is answered "Hello, world!".
** Prints what an answer cost the server, the process PID, in CPU time, and how many there
** were. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 64, ANSWER_MAX = 4096 };

static struct connection {
    int fd;
    SSL *ssl; /* NULL: in the clear */
    size_t got;
    char answer[ANSWER_MAX];
} connections[CONNECTIONS];

static const char echo[] = "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`";
static const char http[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
static const char browser[] =
    "GET / HTTP/1.1\r\nHost: localhost:8080\r\nConnection: keep-alive\r\n"
    "Cache-Control: max-age=0\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,"
    "image/apng,*/*;q=0.8\r\n"
    "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
    "Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n"
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n";
static const char hello[] = "Hello, world!";

static const char *question = echo, *ending = echo;

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

static void encrypt(SSL_CTX *ctx, struct connection *c)
{
    c->ssl = SSL_new(ctx);
    if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1 || SSL_connect(c->ssl) != 1) {
        fputs("load: no handshake\n", stderr);
        exit(1);
    }
}

static void ask(struct connection *c)
{
    size_t n = strlen(question);
    c->got = 0;
    if ((c->ssl ? SSL_write(c->ssl, question, (int)n) : write(c->fd, question, n)) !=
        (ssize_t)n)
        fail("load: write");
}

/* An answer or a part of it; 1 when it is whole. */
static int take_answer(struct connection *c)
{
    size_t end = strlen(ending);
    char *to = c->answer + c->got;
    size_t room = ANSWER_MAX - c->got;
    ssize_t n = c->ssl ? SSL_read(c->ssl, to, (int)room) : read(c->fd, to, room);
    if (n <= 0)
        fail("load: read");
    c->got += (size_t)n;
    return c->got >= end && memcmp(c->answer + c->got - end, ending, end) == 0;
}

static long run(int poll, double until)
{
    struct epoll_event events[CONNECTIONS];
    long answers = 0;
    while (seconds(CLOCK_MONOTONIC) < until) {
        int n = epoll_wait(poll, events, CONNECTIONS, 1000);
        if (n == 0) {
            fputs("load: no answer for a second\n", stderr);
            exit(1);
        }
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (take_answer(c)) {
                answers++;
                ask(c);
            }
        }
    }
    return answers;
}

int main(int argc, char **argv)
{
    clockid_t server;
    if (argc < 4 || clock_getcpuclockid(atoi(argv[2]), &server) != 0)
        return 2;
    SSL_CTX *ctx = NULL;
    if (argc > 4 && strcmp(argv[4], "tls") == 0)
        ctx = SSL_CTX_new(TLS_client_method());
    else if (argc > 4) {
        question = strcmp(argv[4], "http") == 0 ? http : browser;
        ending = hello;
    }

    int poll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < CONNECTIONS; i++) {
        struct connection *c = &connections[i];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        c->fd = dial(atoi(argv[1]));
        if (ctx)
            encrypt(ctx, c);
        epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &event);
        ask(c);
    }
    run(poll, seconds(CLOCK_MONOTONIC) + 0.2);

    double cpu = seconds(server), start = seconds(CLOCK_MONOTONIC);
    long answers = run(poll, start + atof(argv[3]));
    cpu = seconds(server) - cpu;
    printf("%s %.3f us, %.0f answers/s\n", argc > 4 ? argv[4] : "echo", cpu / answers * 1e6,
           answers / (seconds(CLOCK_MONOTONIC) - start));
    return 0;
}
