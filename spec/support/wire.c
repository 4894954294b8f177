/* wire.c PORT PIECE: an HTTP client that knows nothing of HTTP. Standard input holds requests,
** each behind its length and a newline; each goes over a connection of its own in pieces of
** so many bytes (0: at once), and then the sending ends. Standard output holds what came
** back, in the same form. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static char request[1 << 20], answer[1 << 20];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int dial(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0)
        fail("wire: connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* A server that has refused the request may be gone before the last piece. */
static void send_pieces(int fd, size_t n, size_t piece)
{
    for (size_t at = 0; at < n; at += piece) {
        size_t size = n - at < piece ? n - at : piece;
        if (send(fd, request + at, size, MSG_NOSIGNAL) < 0)
            return;
        if (at + size < n)
            usleep(50);
    }
}

static size_t read_all(int fd)
{
    size_t have = 0;
    ssize_t n;
    while ((n = read(fd, answer + have, sizeof answer - have)) > 0)
        have += (size_t)n;
    return have;
}

int main(int argc, char **argv)
{
    size_t n;
    if (argc != 3)
        return 2;
    size_t piece = (size_t)atoi(argv[2]);
    while (scanf("%zu", &n) == 1 && n <= sizeof request) {
        if (getchar() != '\n' || fread(request, 1, n, stdin) != n)
            return 2;
        int fd = dial(atoi(argv[1]));
        send_pieces(fd, n, piece ? piece : n + 1);
        shutdown(fd, SHUT_WR);
        size_t came = read_all(fd);
        close(fd);
        printf("%zu\n", came);
        fwrite(answer, 1, came, stdout);
    }
    return 0;
}
