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
    drop_client(loop, client);
}

static void on_client(struct ev_loop *loop, ev_io *listener, int events)
{
    (void)events;
    watch_client(loop, listener, on_data);
}

int main(int argc, char **argv)
{
    return serve("echo_floor", argc > 1 ? argv[1] : "0", on_client, NULL);
}
