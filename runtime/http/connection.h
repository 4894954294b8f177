/* A connection of the HTTP server, without Lua: what has been read of the request at hand, and
** what is to be written. Requests are parsed where their bytes are, in the stream's input;
** the answers to all that came together are collected in `out` and written at once. */
#ifndef HTTP_CONNECTION_H
#define HTTP_CONNECTION_H

#include "core/timer.h"
#include "http/body.h"
#include "http/parser.h"
#include "net/stream.h"

#include <time.h>

enum { DATE_LINE = 37, OUT_ENOUGH = 65536, DRAIN_MAX = 262144, STALL_BYTES = 65536 };

struct http_limits {
    struct head_limits head;
    uint64_t max_body, max_stream;
    double head_timeout, idle_timeout, body_timeout, write_timeout;
    size_t max_connections; /* 0: any number */
};

struct http_server {
    struct object object;
    struct runtime *rt;
    struct list connections;
    size_t count;                    /* of connections */
    struct wait_queue full, drained; /* who accepts, who waits for their end */
    struct list idle;                /* of them, those between two requests, in order */
    struct serving_timer idle_timer; /* ends the first of those in time */
    struct buffer spare;             /* memory for the next answer */
    struct http_limits limits;
    int line;      /* of the call of http.serve */
    bool logs;     /* somebody is told of each request that is over */
    bool reactor;  /* mode: the handler may not block */
    bool draining; /* answers are the last of their connections */
    bool closed;   /* nothing is accepted any more */
    time_t date_at;
    char date[DATE_LINE + 1]; /* its line in a head, made at date_at */
};

/* How the end of an answer is told. */
enum out_framing { OUT_NONE, OUT_LENGTH, OUT_CHUNKED, OUT_TO_CLOSE };

struct request;

struct connection {
    struct object object;
    struct list all;  /* in server.connections until it ends */
    struct list idle; /* in server.idle between two requests */
    double idle_at;   /* since when */
    struct http_server *server;
    struct stream *stream;
    struct tasklet *task;    /* that serves it */
    struct request *request; /* at hand; NULL: none */
    struct address peer;
    uint8_t state; /* of its tasklet: where it goes on (bind/http_connection.c) */
    struct head_parser parser;
    struct head head;
    struct body body;
    struct buffer in;          /* what has come of a body that is wanted whole */
    struct buffer out;         /* what has been answered, and not yet been written */
    size_t mark;               /* where in `out` the head that is being made begins */
    double deadline;           /* of a head that has not come whole; HUGE_VAL: none yet */
    double wait_began;         /* the last wait for input */
    double stall_began;        /* the last wait for room */
    double stalled;            /* seconds of such waits since the client took STALL_BYTES */
    uint64_t taken;            /* what it had taken by then of the whole connection */
    uint64_t drained;          /* bytes of the body that nobody wanted */
    size_t offset;             /* bytes sent of the text at hand */
    int64_t item;              /* of a list that is sent; 0: the body is called for pieces */
    double waited;             /* seconds that the body at hand was waited for */
    double head_at;            /* moment at which the head was whole, if the server logs */
    uint64_t sent;             /* bytes of the answer's body so far */
    int status;                /* of the answer */
    uint64_t out_left;         /* bytes of the answer that its Content-Length has announced */
    uint8_t out_framing;       /* enum out_framing */
    int refused;               /* the status that a bad request is answered with; 0: none */
    bool blank;                /* a blank line came before the request */
    bool begun;                /* bytes of the request have come */
    bool used;                 /* a request has come, this or an earlier one */
    bool logged;               /* who is told of requests knows of this one */
    bool keep;                 /* another request may follow */
    bool in_head;              /* a head is being made, from `mark` on */
    bool answered;             /* the head is in `out`, or beyond */
    bool ended;                /* the whole answer is */
    bool continued;            /* the client need not wait for a 100 */
    bool cut;                  /* what follows is not sent: the answer must look broken */
    bool no_memory;            /* something for `out` was lost */
    bool upgraded;             /* the stream is the handler's */
    bool gone;                 /* the client has left */
    bool awaits;               /* its tasklet waits for the answer's deferred */
    struct wait_queue leaving; /* who wants to hear that the client has left */
};

/* The stream is open, the client has just come. */
void connection_open(struct connection *c, struct http_server *server, struct stream *s);

/* The client has left: who waits for that hears it. */
void connection_leave(struct connection *c);

/* It leaves its server, the stream is closed; twice is harmless. */
void connection_close(struct connection *c);

/* ---- reading ---- */

enum read_head { HEAD_DONE, HEAD_REFUSED, HEAD_ENDED, HEAD_WAITS, HEAD_NO_ROOM };

/* Reads the next request's head: c->head and c->body are then its, and its bytes are the
** first of the stream's input; or c->refused says why not. Writes what has been answered
** before it reads. */
enum read_head connection_read_head(struct connection *c);

/* Whether its TLS is not ready yet. */
bool connection_shakes(const struct connection *c);

/* Seconds that the client has for the rest of a head that has begun, or for its handshake. */
double connection_head_time(struct connection *c);

/* Its tasklet waits for a next request, and is woken with WAKE_TIMEOUT when that takes too
** long; and no longer does. */
void connection_idle(struct connection *c);
void connection_busy(struct connection *c);

/* Reads a piece of the body, at most `max` bytes, behind what is in c->in. 1: a piece; 0: there
** is no more; -EAGAIN: wait for input; -ENOBUFS: wait for room; -EBADMSG, -ECONNRESET, or
** -EMSGSIZE if it is longer than `most` in all: it will not come, and c->refused says how
** that is answered; -ENOMEM. */
int connection_read_body(struct connection *c, size_t max, uint64_t most);

/* Seconds that the client has for more of it, in all. */
double connection_body_time(const struct connection *c);

/* The last answer is out: from now on the client has a while to end, too. */
void connection_linger(struct connection *c);

/* Seconds that it has for sending something more. */
double connection_linger_time(const struct connection *c);

/* Drops what has come. 1: there was something; 0, -EAGAIN or another error as stream_fill. */
int connection_skip_input(struct connection *c);

/* The time of a body is over, or something else is wrong with the request. */
void connection_refuse(struct connection *c, int status);

/* ---- writing ---- */

/* Begins an answer's head; the fields follow. */
void connection_begin_head(struct connection *c, int status);
void connection_field(struct connection *c, const char *name, size_t n, const char *value,
                      size_t m);

/* Ends it: a body of `length` bytes follows, UINT64_MAX: nobody knows how many. dated: a field
** was the date. */
void connection_end_head(struct connection *c, int status, uint64_t length, bool dated);

/* n bytes of the body, which a Content-Length of it leaves room for (c->out_left). */
void connection_piece(struct connection *c, const char *s, size_t n);

/* The body is complete. */
void connection_end_body(struct connection *c);

/* A whole answer of the server's own. */
void connection_answer_error(struct connection *c, int status);

/* Forgets the head that was being made. */
void connection_drop_head(struct connection *c);

/* Hands `out` to the kernel. 0, -EAGAIN: wait for room, or what broke the stream. */
int connection_flush(struct connection *c);

/* Before a wait for room: the seconds that the client has, write_timeout for each STALL_BYTES. */
double connection_write_time(struct connection *c);

/* Behind one; expired: that time is over. Whether the client is worth another one; else what is
** not sent yet is dropped when its stream closes. */
bool connection_reads(struct connection *c, bool expired);

/* The request at hand is over; the next one begins. */
void connection_next(struct connection *c);

const char *http_reason(int status);

#endif
