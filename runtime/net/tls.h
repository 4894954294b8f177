/* TLS between a stream's buffers and its socket: what the library and the optional part
** neap.tls (tls.c, on OpenSSL) know of each other. The part does no input or output and never
** waits: bytes from the peer are handed to it, its own go out through `emit`. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "core/part.h"

#define PART_TLS "neap.part.tls"

/* Registry: whether SSL_CERT_FILE and SSL_CERT_DIR move the system's trust. Nothing but the host
** sets it: by default they do not count. */
#define TLS_ENVIRONMENT "neap.tls.environment"

/* The TLS of one stream. */
struct tls {
    const struct part_tls *part;
    void (*emit)(void *owner, const char *p, size_t n); /* sends to the peer what lies at p */
    void *owner;                                        /* the stream */
    bool ready;                                         /* the handshake is done */
    bool ended; /* the peer has ended its direction, with close_notify */
    bool stuck; /* nothing can be sealed before the rest of a message of TLS's own has come */
    int error;  /* an errno: what broke it; 0: nothing has */
    const char *code; /* then: how scripts are told */
    char reason[256];
    double patience; /* seconds for the handshake, from the first operation on */
    double deadline; /* its moment; 0: it has not begun */
};

/* A record's text comes out when its last byte goes in: the text of an input of n bytes may
** be so much longer than n. */
enum { TLS_AHEAD = 20480 };

/* A listener's context is always a new one, with keys of tickets of its own; the others may
** share what they are made of. */
enum tls_use { TLS_CLIENT, TLS_SERVER, TLS_LISTENER };

struct part_tls {
    struct part_table table;

    /* Pushes a context made of the options at index i, a table or true; or nil, err, code.
    ** Raises at misuse. Whether there is one. [E] */
    bool (*push_context)(lua_State *L, int i, enum tls_use use);

    /* Begins TLS with the context at index i: NULL: no memory. A client verifies `host`, which
    ** may be NULL, unless its options name another; knows_host: whether there is one, or need
    ** be none. */
    bool (*knows_host)(lua_State *L, int i, const char *host);
    struct tls *(*begin)(lua_State *L, int i, const char *host);

    /* Takes all the n bytes at `from`, which the peer has sent, and puts their text to `to`,
    ** which has room for n + TLS_AHEAD; how many bytes. `from` may lie TLS_AHEAD bytes behind
    ** `to`. Takes the handshake on as well: a client's begins with n = 0. */
    size_t (*open)(struct tls *t, const char *from, size_t n, char *to);

    /* Encrypts and emits some of the n > 0 bytes at p; how many, 0 if that broke it, or it is
    ** stuck. */
    size_t (*seal)(struct tls *t, const char *p, size_t n);

    /* Emits the end of our direction, once. */
    void (*end)(struct tls *t);
    void (*free)(struct tls *t);

    /* Pushes what stream:tls() gives; nil if *t is NULL, which a finalizer may make it. [E] */
    void (*push_state)(lua_State *L, struct tls *const *t);
};

#endif
