/* One request to one URL and its answer, by a libcurl easy handle. Its head and its body are
** gathered here; what comes faster than it is read pauses the connection. */
#ifndef HTTP_TRANSFER_H
#define HTTP_TRANSFER_H

#include "http/pool.h"

/* Bytes that grow. */
struct bytes {
    char *p;
    size_t n, room;
};

enum transfer_want { WANT_HEAD = 1, WANT_DATA = 2, WANT_END = 4, WANT_SENT = 8 };

struct transfer {
    struct list all, use; /* in pool.transfers while libcurl has it; in socket->users */
    struct pool *pool;
    uint64_t number; /* each has another */
    CURL *easy;      /* NULL: it is over */
    struct curl_slist *headers, *addresses;
    struct pool_socket *socket;
    struct wait_queue waiters;
    int wants;    /* of those who wait: enum transfer_want */
    double moved; /* when bytes have last come or gone */

    /* the answer's head */
    struct bytes head; /* its lines, of the last one that has begun */
    size_t head_bytes, max_head;
    unsigned fields, answers; /* answers: with those of status 1xx */
    int status;
    bool in_head, has_head;
    bool shared;            /* it came over HTTP/2 */
    bool has_length, coded; /* Content-Length, Transfer-Encoding */
    uint64_t length;

    /* its body */
    struct bytes body;
    size_t taken; /* of these bytes */
    uint64_t received, max_body;
    bool streams; /* it is read as it comes */
    bool skips;   /* nobody wants it */
    bool in_paused;
    bool nobody; /* it can have none: HEAD */
    bool unfit;  /* something came behind it: its connection is not to be used again */

    /* the request's body: a text, or one piece after the other */
    const char *out;
    size_t out_length, out_at;
    bool pieces, out_ended;
    bool hungry; /* the next piece is to be fed; libcurl is paused */

    bool in_figures; /* what it connects to is an address */
    bool proxied;    /* it connects to a proxy */
    bool secret;     /* its handle knows what no other request may */
    bool idempotent; /* it may be sent twice */
    unsigned sends;
    bool stale;   /* it was given an unfit connection */
    bool stalled; /* its connection has failed, and libcurl has not gone on */

    /* the end */
    bool over;
    bool ok;
    int os_error;                  /* of socket() */
    const char *code, *why;        /* of the failure */
    char message[CURL_ERROR_SIZE]; /* libcurl's */
};

/* What is paused of it: CURLPAUSE_*. */
static inline int transfer_pauses(const struct transfer *t)
{
    return (t->in_paused ? CURLPAUSE_RECV : 0) | (t->hungry ? CURLPAUSE_SEND : 0);
}

/* Makes the easy handle of a zeroed one that has a pool, with all options that do not depend on
** the request. 0 or -ENOMEM. */
int transfer_init(struct transfer *t);

/* libcurl is done with it. */
void transfer_done(struct transfer *t, CURLcode result);

/* Ends it wherever it is; nothing is left but what has come. */
void transfer_cancel(struct transfer *t);

/* Frees what has come. */
void transfer_free(struct transfer *t);

/* Whether those who want this need not wait. */
bool transfer_ready(const struct transfer *t, int want);

/* Gives libcurl the next piece of the body, which must stay where it is; NULL: there is no
** more. */
void transfer_feed(struct transfer *t, const char *piece, size_t n);

/* n bytes of the body were read. */
void transfer_took(struct transfer *t, size_t n);

#endif
