/* Optional parts (names, TLS, curl), all for networks: modules loaded at their first use by
** bind/part.c. A part links nothing of the library; it is given tables of functions, found in
** the registry, each by its key. Of the library's headers it takes types and constants only:
** a function that it names by mistake is missing when it is loaded. */
#ifndef CORE_PART_H
#define CORE_PART_H

#include "core/tasklet.h"
#include "core/timer.h"
#include "lauxlib.h"

/* Raise it with any change of a table or of a type that parts use. */
enum { PART_VERSION = 1 };

/* The first member of each table. */
struct part_table {
    uint32_t version;
    uint32_t layout; /* of the types that both sides see */
};

#define PART_TABLE(type)                                              \
    {                                                                 \
        PART_VERSION, sizeof(type) + (sizeof(struct runtime) << 12) + \
                          ((uint32_t)sizeof(struct tasklet) << 24)    \
    }

#define PART_CORE "neap.part.core"

/* What the core gives: as the functions of these names in its headers, where nothing else is
** said here. */
struct part_core {
    struct part_table table;

    void (*wait_check)(lua_State *L);
    int (*wait_on)(lua_State *L, struct wait_queue *q, double timeout, lua_KContext ctx,
                   lua_KFunction k);
    enum wake (*wait_result)(lua_State *L);
    void (*wait_wake)(struct runtime *rt, struct tasklet *t, enum wake why);
    void (*wait_wake_all)(struct runtime *rt, struct wait_queue *q, enum wake why);

    void (*watch_init)(struct watch *w, int fd, int events, void (*fn)(struct watch *, int));
    void (*watch_start)(struct reactor *r, struct watch *w);
    void (*watch_stop)(struct reactor *r, struct watch *w);

    int (*timer_serve)(struct runtime *rt, struct serving_timer *s, double seconds);
    void (*timer_serve_end)(struct runtime *rt, struct serving_timer *s);
    double (*clock_now)(void);

    void *(*memory_resize)(struct memory *m, void *p, size_t old, size_t n);
};

/* Publishes the core's table. [E] */
void part_open(lua_State *L);

/* A part's: the table under a key, which must be what `own`, a PART_TABLE, says. [E] */
static inline const void *part_find(lua_State *L, const char *key, struct part_table own)
{
    lua_getfield(L, LUA_REGISTRYINDEX, key);
    const struct part_table *t = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!t || t->version != own.version || t->layout != own.layout)
        luaL_error(L, "this part is of another neap than the one that loads it");
    return t;
}

#endif
