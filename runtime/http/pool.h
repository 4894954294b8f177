/* The connections of an HTTP client: a libcurl multi handle in the reactor. Only the part
** neap.curl knows libcurl: pool.c, transfer.c, client.c. None of libcurl's callbacks runs Lua.
**
** A connection that nobody uses is watched: whatever comes on it, its end or bytes that nobody
** asked for, makes it unfit, so that no answer is ever taken for another's. When all have gone,
** or nobody has asked for anything for long, the multi handle goes too and leaves nothing. */
#ifndef HTTP_POOL_H
#define HTTP_POOL_H

#include "core/part.h"

#include <arpa/inet.h>
#include <curl/curl.h>

enum { MOST_SPARE = 16 };

struct pool {
    const struct part_core *core;
    struct runtime *rt;
    double now;     /* at the last call of libcurl */
    CURLM *multi;   /* NULL: no connections */
    CURLSH *shared; /* the cookies; NULL: they are not kept */
    struct list sockets, transfers;
    uint64_t begun;             /* transfers so far */
    size_t idle;                /* live sockets that nobody uses */
    struct serving_timer timer; /* libcurl's deadlines */
    struct serving_timer patience;
    CURL *spare[MOST_SPARE]; /* easy handles for the next, as new */
    int spares;
    bool inside;  /* libcurl runs, and must not be called */
    bool stalled; /* a transfer is */
};

/* One of libcurl's sockets. */
struct pool_socket {
    struct list all;
    struct pool *pool;
    struct watch watch;
    struct list users; /* transfers */
    int fd;
    int wanted; /* CURL_POLL_* */
    bool named; /* its addresses are known: */
    int port, local_port;
    char address[INET6_ADDRSTRLEN], local_address[INET6_ADDRSTRLEN];
    uint64_t opener; /* the number of the transfer that it was made for */
    bool served;     /* it has had a user */
    bool idle;       /* it has none, and is watched for what nobody asked for */
    bool dead;       /* that has come */
};

struct transfer;

void pool_init(struct pool *p, const struct part_core *core, struct runtime *rt);

/* Ends what is left, with the cookies. */
void pool_close(struct pool *p);

/* Keeps cookies from now on. 0 or -ENOMEM. */
int pool_keep_cookies(struct pool *p);

/* Seconds of the real time. */
double pool_now(const struct pool *p);

/* An easy handle without any option set, or NULL. */
CURL *pool_take_handle(struct pool *p);

/* Takes back one that is in no transfer; `again`: it may serve another, for it has seen no
** failure and no secret. */
void pool_give_handle(struct pool *p, CURL *easy, bool again);

/* Has libcurl begin a transfer, whose handle is complete. 0 or -ENOMEM. */
int pool_begin(struct transfer *t);

/* Has libcurl do at once what it would do in the next turn: send. Then settles. */
void pool_hurry(struct pool *p);

/* Takes it away from libcurl: its connection is closed if it was in use. */
void pool_stop(struct transfer *t);

/* After calls of libcurl from outside, in which p->inside was set, and of the two above. */
void pool_settle(struct pool *p);

/* The transfer is about to use the connection with these addresses. False: what has come on
** it makes it unfit, and nothing has been sent. */
bool pool_use(struct transfer *t, const char *address, int port, const char *local_address,
              int local_port);

/* libcurl's callbacks for sockets. */
curl_socket_t pool_open_socket(void *transfer, curlsocktype purpose, struct curl_sockaddr *a);
int pool_close_socket(void *pool, curl_socket_t fd);

#endif
