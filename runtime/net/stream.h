/* A byte stream over a socket, a pipe, a terminal or a file: input is kept until it is read,
** output until the kernel takes it. Nothing in here runs Lua.
**
** One persistent read watch a stream: after a short read the next one waits at once
** (`hot` is off), and the watch is stopped only when data comes and nobody reads. Output
** is tried at once; a write watch exists only while the kernel takes no more.
**
** Bytes that were read into the runtime's shared buffer stay there, held for their
** stream, until they are taken or the buffer is needed for another read. */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "base/buffer.h"
#include "core/runtime.h"
#include "core/timer.h"
#include "core/wait.h"
#include "net/address.h"

#include <sys/uio.h>

enum {
    STREAM_HIGH_WATER = 65536,
    STREAM_MAX_LINE = 65536,
    STREAM_LINGER = 30 /* seconds for output that a close has left behind */
};

/* Turns at one direction of a stream: whoever waits in the middle of a read holds it,
** the others queue behind. */
struct turn {
    struct tasklet *owner; /* NULL: nobody is in the middle of something */
    struct wait_queue queue;
    struct stream *writes; /* of writing: the stream, else NULL */
};

/* What is at the other end of the descriptor. */
enum stream_kind {
    STREAM_SOCKET, /* may be in blocking mode */
    STREAM_PIPE,   /* or a terminal, in non-blocking mode */
    STREAM_SHARED, /* the same, but in blocking mode, for others use it too */
    STREAM_FILE    /* ready at any time */
};

struct stream {
    struct object object;
    struct list all; /* in runtime.streams while open */
    struct runtime *rt;
    int fd; /* -1: closed */
    struct watch in, out;
    struct buffer input, output;
    struct wait_queue reader, writer, flushers; /* at most one in the first two */
    struct wait_queue selectors;                /* who waits for input without taking it */
    struct turn reading, writing;
    void (*notify)(struct stream *s); /* input has come, there is room, or it is closed; NULL */
    void *notified;                   /* whose that is */
    double timeout;                   /* of each operation; HUGE_VAL: none */
    double linger;                    /* seconds for what a close leaves behind; 0: a reset */
    size_t max_line;
    size_t scanned; /* input that is known not to hold what is looked for */
    int in_error;   /* the errno that broke a direction, 0: none */
    int out_error;
    struct tls *tls;         /* between the buffers and the socket (net/tls.h); NULL: none */
    struct listener *served; /* among whose handlers it counts until it is closed; NULL */
    uint8_t kind;            /* enum stream_kind */
    bool accepted;           /* from a listener */
    bool standard; /* of the program's own three: output is never kept, and SIGPIPE not held */
    bool hot;      /* the kernel may have input */
    bool ended;    /* the peer's end of stream has been read */
    bool closed;   /* by us */
    bool shut;     /* our direction has ended, or does when the output is out */
    bool patient;  /* a close reads away what the peer sends, up to `linger` */
    bool detached; /* it outlives the handler that it was made for */
    void (*unread)(struct stream *s); /* input comes that nobody reads; NULL: the watch stops */
    void *owner;                      /* whose `unread` is */
};

/* Takes over a connected (or connecting) socket, or another descriptor if `kind` is set
** after it; *s stays put, and is zeroed but for rt. */
void stream_init(struct stream *s, struct runtime *rt, int fd);

/* The input at hand: how many bytes, at *p; valid until the next call that reads. */
size_t stream_input(struct stream *s, const char **p);
void stream_take(struct stream *s, size_t n);
int stream_unread(struct stream *s, const char *p, size_t n);

/* Reads once: 1: more input, 0: the end of stream, -EAGAIN: wait, or what broke it. */
int stream_fill(struct stream *s);

/* Block the thread, for code that cannot wait: until there may be input, until all is out. */
void stream_block_for_input(struct stream *s);
void stream_block_until_out(struct stream *s);

/* Whether a read would not wait: input, the end, an error, or closed. */
bool stream_ready(struct stream *s);

/* Frees the runtime's shared buffer for another's use. */
void stream_leave_shared(struct runtime *rt);

/* Before a tasklet waits for input, or for room. */
void stream_want_input(struct stream *s);
void stream_want_room(struct stream *s);

/* Hands bytes to the kernel, and keeps of the rest what fits under the high-water mark.
** How many were taken, or what broke it. */
ssize_t stream_send(struct stream *s, const char *p, size_t n);

/* The same with several pieces, none of them empty. */
ssize_t stream_send_pieces(struct stream *s, const struct iovec *v, size_t count);

/* Puts TLS that has just begun between the stream, which holds no input, and its socket, and
** takes it over. A client's handshake begins. */
void stream_encrypt(struct stream *s, struct tls *t);

/* Breaks both directions for a reason that is not the socket's. */
void stream_break(struct stream *s, int error, const char *code, const char *reason);

/* Ends our direction when all is out, also what writes that wait have not handed over yet.
** 0 or -errno. */
int stream_shutdown(struct stream *s);

/* Wakes who waits with WAKE_CLOSED. What was written still goes out in the background,
** for at most s->linger seconds. Twice is harmless. */
void stream_close(struct stream *s);

/* The same by a reset: what was written and is not sent yet is dropped. */
void stream_abort(struct stream *s);

/* A tasklet that is cut gives its turns to the next. */
void stream_cut(struct runtime *rt, struct tasklet *t);

/* The end of a direction's operation: the next in turn goes on. */
void turn_give(struct runtime *rt, struct turn *t);

/* Cuts what still goes out in the background; when the runtime closes. */
void stream_close_all(struct runtime *rt);

#endif
