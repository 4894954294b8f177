/* echo_floor.c PORT: the least an echo server on libev can do: read, write,
** nothing kept. What does not fit the socket's buffer is lost. */
#define _GNU_SOURCE
#include "floor_server.h"

static void on_data(struct ev_loop *loop, ev_io *client, int events)
{
    char bytes[65536];
    ssize_t n = read(client->fd, bytes, sizeof bytes);
    (void)events;
    if (n > 0 && write(client->fd, bytes, (size_t)n) == n)
        return;
    ev_io_stop(loop, client);
    close(client->fd);
    free(client);
}

static void on_client(struct ev_loop *loop, ev_io *listener, int events)
{
    int fd = accept_client(listener);
    ev_io *client = fd < 0 ? NULL : malloc(sizeof *client);
    (void)events;
    if (!client)
        return;
    ev_io_init(client, on_data, fd, EV_READ);
    ev_io_start(loop, client);
}

int main(int argc, char **argv)
{
    return serve("echo_floor", argc > 1 ? argv[1] : "0", on_client, NULL);
}
