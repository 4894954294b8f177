/* sip.c PORT BYTES MILLISECONDS: asks an HTTP server for / and reads at most so many bytes of
** the answer every so many milliseconds, to its end. Its windows and segments are small: the
** server's kernel has room for little, and tells of each little that is taken. Prints how
** many bytes came, and after how many milliseconds they ended. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char bytes[1 << 20];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int dial(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)port)};
    int segment = 536, window = 4096, fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        perror("sip: connect");
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    if (argc != 4)
        return 2;
    int fd = dial(atoi(argv[1]));
    size_t most = (size_t)atoi(argv[2]), came = 0;
    ssize_t n;
    double began = now();
    if (most > sizeof bytes || send(fd, request, sizeof request - 1, MSG_NOSIGNAL) < 0)
        return 1;
    while ((n = recv(fd, bytes, most, 0)) > 0) {
        came += (size_t)n;
        usleep((useconds_t)atoi(argv[3]) * 1000);
    }
    printf("%zu bytes, %.0f ms\n", came, now() - began);
    return 0;
}
