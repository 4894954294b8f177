/* tls_floor.c CERT KEY PORT: the least an echo server on libev and OpenSSL can do: read,
** write, nothing kept. What does not fit the socket's buffer ends the connection. */
#define _GNU_SOURCE
#include "floor_server.h"

#include <openssl/ssl.h>

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
    int fd = accept_client(listener);
    struct client *c = fd < 0 ? NULL : malloc(sizeof *c);
    (void)events;
    if (!c)
        return;
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
    SSL_CTX *ctx = argc > 3 ? context(argv[1], argv[2]) : NULL;
    if (!ctx) {
        fprintf(stderr, "tls_floor CERT KEY PORT: no certificate or key\n");
        return 1;
    }
    return serve("tls_floor", argv[3], on_client, ctx);
}
