/* http_floor.c PORT: the least an HTTP server on libev can do: read, look for the blank line,
** write one fixed answer. Nothing is parsed and nothing kept. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ev.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                             "Date: Sun, 22 Nov 2026 00:00:00 GMT\r\n"
                             "Content-Length: 13\r\n\r\nHello, world!";

static void on_data(struct ev_loop *loop, ev_io *client, int events)
{
    char bytes[65536];
    ssize_t n = read(client->fd, bytes, sizeof bytes), size = sizeof answer - 1;
    (void)events;
    if (n > 3 && memcmp(bytes + n - 4, "\r\n\r\n", 4) == 0)
        n = write(client->fd, answer, (size_t)size) == size;
    if (n > 0)
        return;
    ev_io_stop(loop, client);
    close(client->fd);
    free(client);
}

static void on_client(struct ev_loop *loop, ev_io *listener, int events)
{
    int one = 1;
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    ev_io *client = fd < 0 ? NULL : malloc(sizeof *client);
    (void)events;
    if (!client)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    ev_io_init(client, on_data, fd, EV_READ);
    ev_io_start(loop, client);
}

int main(int argc, char **argv)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)atoi(argc > 1 ? argv[1] : "0"))};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 1024) != 0) {
        perror("http_floor");
        return 1;
    }

    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    ev_io listener;
    ev_io_init(&listener, on_client, fd, EV_READ);
    ev_io_start(loop, &listener);
    ev_run(loop, 0);
    return 0;
}
