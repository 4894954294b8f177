/* Numeric addresses of TCP and UDP. Names are resolved elsewhere. */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <sys/socket.h>

struct address {
    struct sockaddr_storage sa;
    socklen_t length;
};

enum { ADDRESS_TEXT = 64 }; /* room for a host's text */

/* 0, or -EINVAL if host is neither an IPv4 nor an IPv6 address in figures, nor
** "localhost" (127.0.0.1) or "*" (any, IPv6 and IPv4). */
int address_parse(struct address *a, const char *host, int port);

/* The host in figures; returns the port, -1 if it is no IP address. */
int address_format(const struct address *a, char host[ADDRESS_TEXT]);

#endif
