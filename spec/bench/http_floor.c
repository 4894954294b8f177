/* http_floor.c PORT: the least an HTTP server on libev can do: read, look for the blank line,
** write one fixed answer. Nothing is parsed and nothing kept. */
#define _GNU_SOURCE
#include "floor_server.h"

#include <string.h>

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
    drop_client(loop, client);
}

static void on_client(struct ev_loop *loop, ev_io *listener, int events)
{
    (void)events;
    watch_client(loop, listener, on_data);
}

int main(int argc, char **argv)
{
    return serve("http_floor", argc > 1 ? argv[1] : "0", on_client, NULL);
}
