/* wire.c PORT PIECE: an HTTP client that knows nothing of HTTP. Standard input holds requests,
** each behind its length and a newline; each goes over a connection of its own in pieces of
** so many bytes (0: at once), and then the sending ends. PIECE "cut": over as many connections
** as it has bytes but one, cut in two behind each. Standard output holds what came back, in
** the same form. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* A server that has refused the request may be gone before the last piece: false. */
static int send_piece(int fd, size_t from, size_t to)
{
    return to == from || send(fd, request + from, to - from, MSG_NOSIGNAL) >= 0;
}

static size_t read_all(int fd)
{
    size_t have = 0;
    ssize_t n;
    while ((n = read(fd, answer + have, sizeof answer - have)) > 0)
        have += (size_t)n;
    return have;
}

/* The first piece has `first` bytes, the others `piece`. */
static void talk(int port, size_t n, size_t first, size_t piece)
{
    int fd = dial(port);
    size_t at = 0, end = first;
    while (send_piece(fd, at, end < n ? end : n) && end < n) {
        usleep(50);
        at = end;
        end += piece;
    }
    shutdown(fd, SHUT_WR);
    size_t came = read_all(fd);
    close(fd);
    printf("%zu\n", came);
    fwrite(answer, 1, came, stdout);
}

int main(int argc, char **argv)
{
    size_t n;
    if (argc != 3)
        return 2;
    int port = atoi(argv[1]), cuts = strcmp(argv[2], "cut") == 0;
    size_t piece = cuts ? 0 : (size_t)atoi(argv[2]);
    while (scanf("%zu", &n) == 1 && n <= sizeof request) {
        if (getchar() != '\n' || fread(request, 1, n, stdin) != n)
            return 2;
        for (size_t i = 1; cuts && i < n; i++)
            talk(port, n, i, n);
        if (!cuts)
            talk(port, n, piece ? piece : n, piece ? piece : n);
    }
    return 0;
}
