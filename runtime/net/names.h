/* The addresses of a name for a connection, as they come: what the library and the optional
** part neap.names (names.c, name_search.c, on c-ares) know of each other. */
#ifndef NET_NAMES_H
#define NET_NAMES_H

#include "core/part.h"
#include "net/address.h"

#define PART_NAMES "neap.part.names"

enum { NAME_SIX = 1, NAME_FOUR = 2 }; /* families; sets of them */

/* A lookup, by whoever wants the addresses: zeroed but for the functions. Both may be called
** before `begin` returns; neither runs Lua. */
struct lookup {
    void (*found)(struct lookup *l, const struct address *a); /* one more, its port is 0 */
    void (*answered)(struct lookup *l); /* a server has; may end the lookup */
    unsigned pending; /* the families that are not answered yet; 0: it is over */
    unsigned first;   /* of the addresses so far, the family to be tried first; 0: none */
    const char *text, *code; /* over and nothing found: why */
    struct search *search;   /* the part's; NULL: not begun, or ended */
};

struct part_names {
    struct part_table table;

    /* Begins to look for the addresses of these families, at servers "" (the system's) or as
    ** 127.0.0.1:53 with commas between, for so many seconds at most. Within a family they come
    ** in the order of RFC 6724. false: the servers make no sense, nothing has begun. */
    bool (*begin)(const struct part_names *part, struct lookup *l, const char *name, size_t n,
                  unsigned families, const char *servers, double seconds);

    /* Ends it, wherever it is; nobody is called any more. Twice is harmless. */
    void (*end)(struct lookup *l);
};

#endif
