/* tls_peer MODE PLACE N: clients of TLS that neap itself cannot play. PLACE: a port on
** loopback, or the path of a unix socket. None of them verifies the server.
**
**   updates PLACE N  asks N times for new keys and reads nothing until it has sent "done\n";
**                    prints the answer
**   deaf PLACE N     the same, but never reads; prints how many requests went out, and stays
**                    until it is killed
**   ended PLACE N    says "hello", ends its direction, sends N times what is no TLS, or as often
**                    as there is room, and prints the answer
**   empty PLACE N    sends N handshake records without content; prints what it is told
**
** It ends by itself after a minute. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int dial(const char *place)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)atoi(place))};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int is_path = *place == '/', fd = socket(is_path ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        fail("tls_peer: socket");
    strncpy(un.sun_path, place, sizeof un.sun_path - 1);
    if (connect(fd, is_path ? (struct sockaddr *)&un : (struct sockaddr *)&in,
                is_path ? sizeof un : sizeof in) != 0)
        fail("tls_peer: connect");
    return fd;
}

/* How many requests for new keys went out. */
static int ask_for_keys(SSL *ssl, int n)
{
    int done = 0;
    while (done < n && SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1 &&
           SSL_do_handshake(ssl) == 1)
        done++;
    return done;
}

/* All of it: 0 if it has ended with close_notify. */
static int print_answer(SSL *ssl)
{
    char text[4096];
    int got;
    while ((got = SSL_read(ssl, text, sizeof text)) > 0)
        fwrite(text, 1, (size_t)got, stdout);
    return SSL_get_error(ssl, got) != SSL_ERROR_ZERO_RETURN;
}

static int updates(SSL *ssl, int n)
{
    if (ask_for_keys(ssl, n) != n || SSL_write(ssl, "done\n", 5) != 5)
        return 1;
    return print_answer(ssl);
}

static int deaf(SSL *ssl, int n)
{
    int done = ask_for_keys(ssl, n);
    SSL_write(ssl, "done\n", 5);
    printf("%d\n", done);
    fflush(stdout);
    return pause();
}

static int ended(SSL *ssl, int n)
{
    static const char junk[] = "this is no record";
    if (SSL_write(ssl, "hello\n", 6) != 6 || SSL_shutdown(ssl) < 0)
        return 1;
    while (n-- > 0 && send(SSL_get_fd(ssl), junk, sizeof junk, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
        ;
    return print_answer(ssl);
}

static int empty(int fd, int n)
{
    static const char record[] = {0x16, 3, 1, 0, 0};
    char answer[64];
    for (int i = 0; i < n; i++)
        if (send(fd, record, sizeof record, MSG_NOSIGNAL) < 0)
            break;
    printf("%zd\n", recv(fd, answer, sizeof answer, 0));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int n = atoi(argv[3]), fd = dial(argv[2]);
    alarm(60);
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(argv[1], "empty") == 0)
        return empty(fd, n);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = ctx ? SSL_new(ctx) : NULL;
    if (!ssl || SSL_set_fd(ssl, fd) != 1 || SSL_connect(ssl) != 1)
        return 1;
    if (strcmp(argv[1], "ended") == 0)
        return ended(ssl, n);
    return strcmp(argv[1], "updates") == 0 ? updates(ssl, n) : deaf(ssl, n);
}
