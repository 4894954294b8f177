#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

/* The scope behind a '%': an interface by name or number. 0: there is none such. */
static unsigned parse_scope(const char *text)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (*text >= '0' && *text <= '9' && *end == '\0')
        return n <= UINT_MAX ? (unsigned)n : 0;
    return if_nametoindex(text);
}

static int parse_v6(struct sockaddr_in6 *v6, const char *host)
{
    char text[INET6_ADDRSTRLEN];
    size_t n = strcspn(host, "%");
    if (n >= sizeof text)
        return -EINVAL;
    memcpy(text, host, n);
    text[n] = '\0';
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1)
        return -EINVAL;
    if (host[n] == '%' && !(v6->sin6_scope_id = parse_scope(host + n + 1)))
        return -EINVAL;
    return 0;
}

static void format_v6(const struct sockaddr_in6 *v6, char host[ADDRESS_TEXT])
{
    inet_ntop(AF_INET6, &v6->sin6_addr, host, ADDRESS_TEXT);
    size_t n = strlen(host);
    if (v6->sin6_scope_id == 0)
        return;
    host[n++] = '%';
    if (!if_indextoname(v6->sin6_scope_id, host + n))
        snprintf(host + n, ADDRESS_TEXT - n, "%u", (unsigned)v6->sin6_scope_id);
}

int address_parse(struct address *a, const char *host, int port)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&a->sa;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a->sa;
    memset(a, 0, sizeof *a);
    if (strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    if (strcmp(host, "*") == 0)
        host = "::";
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((unsigned short)port);
        a->length = sizeof *v4;
        return 0;
    }
    if (parse_v6(v6, host) == 0) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((unsigned short)port);
        a->length = sizeof *v6;
        return 0;
    }
    return -EINVAL;
}

void address_set_port(struct address *a, int port)
{
    if (a->sa.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&a->sa)->sin6_port = htons((unsigned short)port);
    else
        ((struct sockaddr_in *)&a->sa)->sin_port = htons((unsigned short)port);
}

void address_map(struct address *a)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a->sa;
    if (a->sa.ss_family != AF_INET)
        return;
    memcpy(&v4, &a->sa, sizeof v4);
    memset(a, 0, sizeof *a);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = v4.sin_port;
    v6->sin6_addr.s6_addr[10] = v6->sin6_addr.s6_addr[11] = 0xff;
    memcpy(&v6->sin6_addr.s6_addr[12], &v4.sin_addr, sizeof v4.sin_addr);
    a->length = sizeof *v6;
}

int address_unix(struct address *a, const char *path, size_t n)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&a->sa;
    memset(a, 0, sizeof *a);
    if (n == 0 || memchr(path, '\0', n))
        return -EINVAL;
    if (n > sizeof un->sun_path - (*path != '@'))
        return -ENAMETOOLONG;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, n);
    a->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (*path != '@'));
    if (*path == '@')
        un->sun_path[0] = '\0';
    return 0;
}

const char *address_file(const struct address *a)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&a->sa;
    return a->sa.ss_family == AF_UNIX && un->sun_path[0] ? un->sun_path : NULL;
}

/* The kernel ends a path with a NUL, unless it fills all its room; a name is not ended. */
static void format_unix(const struct address *a, char text[ADDRESS_TEXT])
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&a->sa;
    size_t start = offsetof(struct sockaddr_un, sun_path);
    size_t n = a->length > start ? a->length - start : 0;
    memcpy(text, un->sun_path, n);
    text[n] = '\0';
    for (size_t i = 0; i < n && !un->sun_path[0]; i++)
        if (text[i] == '\0')
            text[i] = '@';
}

int address_format(const struct address *a, char host[ADDRESS_TEXT])
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a->sa;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&a->sa;
    switch (a->sa.ss_family) {
    case AF_INET:
        inet_ntop(AF_INET, &v4->sin_addr, host, ADDRESS_TEXT);
        return ntohs(v4->sin_port);
    case AF_INET6:
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
            inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], host, ADDRESS_TEXT);
        else
            format_v6(v6, host);
        return ntohs(v6->sin6_port);
    case AF_UNIX:
        format_unix(a, host);
        return -1;
    default:
        host[0] = '\0';
        return -1;
    }
}
