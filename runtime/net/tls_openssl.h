/* What the files of the part neap.tls share: they alone know OpenSSL 3. net/tls.h says how
** streams use the part.
**
** tls.c: records in and out, and the module; tls_context.c: what options say, for many
** connections; tls_pem.c: certificates and keys; tls_cache.c: what is kept of them;
** tls_session.c: resumption; tls_peer.c: what stream:tls() gives.
** A context outlives the connections that were begun with it: both count. */
#ifndef NET_TLS_OPENSSL_H
#define NET_TLS_OPENSSL_H

#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

enum { TLS_DIGEST = 32, TLS_HOST_MAX = 255, TLS_TEXT_MAX = 512 };

/* A client's last session, and whose it is: digest_of. */
struct store {
    size_t refs;
    SSL_SESSION *session;
    unsigned char digest[TLS_DIGEST];
};

/* What a server shows to who asks for a name. */
struct host {
    struct host *next;
    SSL_CTX *ctx;
    char name[];
};

struct context {
    size_t refs;
    bool server, verify;
    SSL_CTX *ctx;
    BIO_METHOD *bio;
    struct host *hosts;
    unsigned char *protocols; /* of ALPN, as on the wire */
    size_t protocols_length;
    struct store *store;
    char *host; /* that the options name; NULL: none */
    double patience;
    int min_version;
    unsigned char digest[TLS_DIGEST]; /* of what ctx was made of */
};

/* Paths or PEM text; NULL: not given. */
struct sources {
    const char *ca, *cert, *key;
    const char *trusted_file, *trusted_dir; /* the system's authorities */
};

struct connection {
    struct tls tls;
    SSL *ssl;
    struct context *context;
    const char *in; /* the window */
    size_t in_length;
    unsigned char digest[TLS_DIGEST];
};

/* Why options cannot be used, which is not the script's mistake. */
struct problem {
    const char *code;
    char text[TLS_TEXT_MAX];
};

/* The connection of which OpenSSL's callback has the SSL. */
static inline struct connection *tls_connection_of(SSL *ssl)
{
    return SSL_get_app_data(ssl);
}

/* A class of boxes, which `collect` empties. [E] */
void tls_new_class(lua_State *L, const char *name, lua_CFunction collect);

/* How connections read and write; NULL: no memory. */
BIO_METHOD *tls_new_bio_method(void);

/* part_tls.push_context, and the context at index i, whose class tls_open_contexts makes. [E] */
bool tls_push_context(lua_State *L, int i, enum tls_use use);
struct context *tls_context_at(lua_State *L, int i);
void tls_context_drop(struct context *c);
void tls_open_contexts(lua_State *L);

/* Sets c->digest from its other fields and from what lies at the paths. False: no memory. */
bool tls_digest(struct context *c, const struct sources *s);

/* The SSL_CTX that was made of the same, for the caller to free, or NULL; and keeps one. */
SSL_CTX *tls_cache_find(lua_State *L, const unsigned char *digest);
void tls_cache_keep(lua_State *L, const unsigned char *digest, SSL_CTX *ctx);
void tls_open_cache(lua_State *L);

/* Sets *p; returns false. */
bool tls_complain(struct problem *p, const char *code, const char *what, const char *why);

/* Whether it is PEM text, not a path. */
bool tls_is_pem(const char *text);

/* Load from a path or PEM text. key NULL: it is where the certificate is. False with *p. */
bool tls_load_identity(SSL_CTX *ctx, const char *cert, const char *key, struct problem *p);
bool tls_load_authorities(SSL_CTX *ctx, const char *ca, bool server, struct problem *p);

/* What is not there, or is none, trusts nobody. */
void tls_load_system_trust(SSL_CTX *ctx, const struct sources *s);

/* tls.session(): where clients that are given it in their options keep their last session. */
int tls_new_session(lua_State *L);
void tls_open_sessions(lua_State *L);

/* The one at index i; NULL: it is something else. [E] */
struct store *tls_store_at(lua_State *L, int i);
void tls_store_drop(struct store *s);

/* A new session has come; returns 1 if it is kept. */
int tls_keep_session(SSL *ssl, SSL_SESSION *session);

/* Before a client's handshake: a session that is for the same host, and was verified as this
** connection is to be. */
void tls_offer_session(struct connection *c, const char *host);

/* part_tls.push_state. [E] */
void tls_push_state(lua_State *L, struct tls *const *t);
void tls_open_peers(lua_State *L);

#endif
