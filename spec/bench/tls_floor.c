/* tls_floor.c CERT KEY PORT: the least an echo server on libev and OpenSSL can do: read,
** write, nothing kept. What does not fit the socket's buffer ends the connection. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ev.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct client {
    ev_io io;
    SSL *ssl;
};

static void end(struct ev_loop *loop, struct client *c)
{
    ev_io_stop(loop, &c->io);
    close(c->io.fd);
    SSL_free(c->ssl);
    free(c);
}

/* Reads once: a record that is not whole, or the handshake, makes it wait. */
static void on_data(struct ev_loop *loop, ev_io *io, int events)
{
    struct client *c = (struct client *)io;
    char bytes[65536];
    int n = SSL_read(c->ssl, bytes, sizeof bytes);
    (void)events;
    if (n <= 0 ? SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ
               : SSL_write(c->ssl, bytes, n) != n)
        end(loop, c);
}

static void on_client(struct ev_loop *loop, ev_io *listener, int events)
{
    int one = 1;
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct client *c = fd < 0 ? NULL : malloc(sizeof *c);
    (void)events;
    if (!c)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->ssl = SSL_new(listener->data);
    SSL_set_fd(c->ssl, fd);
    SSL_set_accept_state(c->ssl);
    ev_io_init(&c->io, on_data, fd, EV_READ);
    ev_io_start(loop, &c->io);
}

static SSL_CTX *context(const char *cert, const char *key)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx || SSL_CTX_use_certificate_file(ctx, cert, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        return NULL;
    SSL_CTX_set_read_ahead(ctx, 1); /* one read for a record, not two */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    return ctx;
}

int main(int argc, char **argv)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)atoi(argc > 3 ? argv[3] : "0"))};
    SSL_CTX *ctx = argc > 3 ? context(argv[1], argv[2]) : NULL;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (!ctx || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 1024) != 0) {
        perror("tls_floor");
        return 1;
    }

    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    ev_io listener;
    ev_io_init(&listener, on_client, fd, EV_READ);
    listener.data = ctx;
    ev_io_start(loop, &listener);
    ev_run(loop, 0);
    return 0;
}
