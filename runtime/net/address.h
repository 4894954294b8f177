/* Addresses in figures of TCP and UDP, and those of unix sockets. Names are resolved
** elsewhere. */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <sys/socket.h>

struct address {
    struct sockaddr_storage sa;
    socklen_t length;
};

enum { ADDRESS_TEXT = 112 }; /* room for the text of a host, or a path */

/* 0, or -EINVAL if host is neither an IPv4 nor an IPv6 address in figures, the latter perhaps
** with a scope (fe80::1%eth0), nor "localhost" (127.0.0.1) or "*" (any, IPv6 and IPv4). */
int address_parse(struct address *a, const char *host, int port);

/* Gives an IPv4 or IPv6 address its port. */
void address_set_port(struct address *a, int port);

/* Makes an IPv4 address one that an IPv6 socket takes. */
void address_map(struct address *a);

/* The address of a unix socket: a path, or '@' and a name in the abstract namespace. 0;
** -EINVAL if it is empty or holds a NUL, -ENAMETOOLONG. */
int address_unix(struct address *a, const char *path, size_t n);

/* The path of the file that a unix socket is bound to, or NULL. */
const char *address_file(const struct address *a);

/* The host in figures; returns the port. -1: it is no IP address; the text is then the path
** of a unix socket, "" if it has none. */
int address_format(const struct address *a, char host[ADDRESS_TEXT]);

#endif
