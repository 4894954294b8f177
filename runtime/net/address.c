#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

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
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((unsigned short)port);
        a->length = sizeof *v6;
        return 0;
    }
    return -EINVAL;
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
            inet_ntop(AF_INET6, &v6->sin6_addr, host, ADDRESS_TEXT);
        return ntohs(v6->sin6_port);
    default:
        host[0] = '\0';
        return -1;
    }
}
