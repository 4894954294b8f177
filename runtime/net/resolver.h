/* Inside the optional part neap.names: questions to name servers and their answers (names.c),
** and the search for the addresses of a name with them (name_search.c). */
#ifndef NET_RESOLVER_H
#define NET_RESOLVER_H

#include <ares.h>

#include "net/names.h"

#include <netinet/in.h>

enum {
    RESOLVER_AGE = 10, /* seconds after which what is new goes by a new configuration */
    MAX_NAME = 253
};

struct names {
    struct part_names provided; /* to the library */
    const struct part_core *core;
    struct runtime *rt;
    struct list resolvers;
    struct list known; /* queries that were answered and are not out of date, oldest first */
    size_t known_count;
    struct ares_options system; /* the configuration at system_read; lookups NULL: none yet */
    double system_read;
};

struct name_address {
    int family;
    struct in6_addr bytes; /* of an IPv4 address the first four */
};

/* A question, and once `resolver` is NULL its answer. */
struct query {
    struct list all; /* in resolver.queries, then perhaps in names.known */
    struct names *names;
    struct resolver *resolver;
    struct wait_queue waiters;
    struct list askers;
    unsigned holders; /* who waits or asks, c-ares, the list of known ones */
    int status;       /* ARES_* */
    double expires;
    struct name_address *addresses;
    size_t count;
    int family;
    size_t size; /* of this block */
    const char *servers;
    char name[];
};

/* Who is told by a call when a query is answered; its link is then out of the list. */
struct asker {
    struct list link;
    struct query *query; /* it holds that; NULL: none */
    void (*answered)(struct asker *a);
};

/* Zeroed; NULL: no memory. */
void *names_allocate(struct names *n, size_t size);
void names_release(struct names *n, void *p, size_t size);

/* Labels of 1 to 63 letters, digits, '-' and '_', with a dot between them and perhaps at the
** end. */
bool name_valid(const char *name, size_t n);

/* 0, or the errno if there is no descriptor for a file, without which c-ares neither reads
** its configuration nor seeds its query numbers well. */
int names_descriptor_missing(void);

/* What scripts are told of a status: ARES_*, or -errno. */
void names_failure(int status, const char **text, const char **code);

/* An answer that is not out of date, or NULL; the caller does not hold it. family: AF_*. */
struct query *query_known(struct names *n, const char *name, int family, const char *servers);

/* The same, or one that is at work, or a new one; the caller holds it. ARES_*, or -errno;
** ARES_EBADSTR: bad servers. */
int query_find(struct names *n, const char *name, int family, const char *servers,
               struct query **q);

/* A new one that is not at work, which the caller holds. NULL: no memory. */
struct query *query_new(struct names *n, const char *name, int family, const char *servers);

/* Copies what c-ares has found into a new one; how long it may be kept. */
int query_take(struct query *q, const struct ares_addrinfo *found);

void query_drop(struct query *q);

/* Has the asker told of its query, which is not answered yet. That may happen at once. */
void query_join(struct asker *a);

/* It does not wait any more for what it holds, if it does; after that query_settle, which may
** end what nobody waits for, and lets go of it. */
void query_leave(struct asker *a);
void query_settle(struct asker *a);

/* What a part provides to the library: name_search.c. */
extern const struct part_names name_search;

#endif
