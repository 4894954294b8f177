/* LD_PRELOAD: the system's name servers for specs, without its rights. /etc/resolv.conf is the
** file RESOLV_CONF, and what is port 53 there is the port DNS_PORT. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

FILE *fopen(const char *path, const char *mode)
{
    FILE *(*real)(const char *, const char *) =
        (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "fopen");
    const char *conf = strcmp(path, "/etc/resolv.conf") == 0 ? getenv("RESOLV_CONF") : NULL;
    return real(conf ? conf : path, mode);
}

int connect(int fd, const struct sockaddr *to, socklen_t n)
{
    int (*real)(int, const struct sockaddr *, socklen_t) =
        (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
    struct sockaddr_in in;
    const char *port = getenv("DNS_PORT");
    if (!port || to->sa_family != AF_INET || n < sizeof in)
        return real(fd, to, n);
    memcpy(&in, to, sizeof in);
    if (ntohs(in.sin_port) == 53)
        in.sin_port = htons((unsigned short)atoi(port));
    return real(fd, (struct sockaddr *)&in, sizeof in);
}
