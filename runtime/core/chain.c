#include "core/chain.h"

#include "core/deferred.h"
#include "core/tasklet.h"

enum { FIRST_LIMIT = 16 };

static void waiter_left(struct wait_queue *q)
{
    container_of(q, struct waiters, queue)->left = true;
}

static const struct wait_class wait_class = {
    .what = "deferred", .leaves = LEFT_DEFERRED, .left = waiter_left};

/* Where the table has the value of the n-th link; its kind follows. */
static lua_Integer slot(uint32_t n)
{
    return 2 * ((lua_Integer)n - DEFERRED_INLINE) + 1;
}

/* Sees to it that the n-th link can be put without memory. Pops and pushes nothing. */
static void reserve(lua_State *L, int i, uint32_t n)
{
    if (n < DEFERRED_INLINE)
        return;
    lua_Integer at = slot(n);
    if (lua_getiuservalue(L, i, DEFERRED_CHAIN) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_createtable(L, 8, 0);
        if (lua_getiuservalue(L, i, DEFERRED_CHAIN) == LUA_TTABLE) {
            lua_remove(L, -2); /* a finalizer was first */
        } else {
            lua_pop(L, 1);
            lua_pushvalue(L, -1);
            lua_setiuservalue(L, i, DEFERRED_CHAIN);
        }
    }
    for (lua_Integer end = at + 2; at < end; at++) {
        if (lua_rawgeti(L, -1, at) == LUA_TNIL) {
            lua_pushboolean(L, 0);
            lua_rawseti(L, -3, at);
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* Puts the value on the top, taken off, in the table, as the n-th link. */
static void put_in_table(lua_State *L, int i, uint32_t n, enum link kind)
{
    lua_Integer at = slot(n);
    lua_getiuservalue(L, i, DEFERRED_CHAIN);
    lua_insert(L, -2);
    lua_rawseti(L, -2, at);
    lua_pushinteger(L, kind);
    lua_rawseti(L, -2, at + 1);
    lua_pop(L, 1);
}

static enum link get_from_table(lua_State *L, int i, uint32_t n)
{
    lua_Integer at = slot(n);
    lua_getiuservalue(L, i, DEFERRED_CHAIN);
    lua_rawgeti(L, -1, at + 1);
    enum link kind = (enum link)lua_tointeger(L, -1);
    lua_pop(L, 1);
    lua_rawgeti(L, -1, at);
    lua_remove(L, -2);
    return kind;
}

/* Puts the value on the top, taken off, as the n-th link, for which there is room. */
static inline void put(lua_State *L, struct deferred *d, int i, uint32_t n, enum link kind)
{
    if (n >= DEFERRED_INLINE) {
        put_in_table(L, i, n, kind);
        return;
    }
    d->kinds[n] = (uint8_t)kind;
    lua_setiuservalue(L, i, DEFERRED_FIRST + (int)n);
}

static inline enum link get(lua_State *L, const struct deferred *d, int i, uint32_t n)
{
    if (n >= DEFERRED_INLINE)
        return get_from_table(L, i, n);
    lua_getiuservalue(L, i, DEFERRED_FIRST + (int)n);
    return (enum link)d->kinds[n];
}

enum link chain_get(lua_State *L, struct deferred *d, int i, uint32_t n)
{
    return get(L, d, i, n);
}

enum link chain_next(lua_State *L, struct deferred *d, int i)
{
    enum link kind = get(L, d, i, d->head);
    lua_pushboolean(L, 0);
    put(L, d, i, d->head, kind);
    if (++d->head == d->tail)
        d->head = d->tail = 0;
    return kind;
}

/* Moves the links to the front, without the forks that have been cancelled, so that neither
** they nor a chain that never gets empty pile up. */
static void compact(lua_State *L, struct deferred *d, int i)
{
    uint32_t to = 0;
    for (uint32_t n = d->head; n < d->tail; n++) {
        enum link kind = chain_get(L, d, i, n);
        struct deferred *fork = kind == LINK_FORK ? lua_touserdata(L, -1) : NULL;
        if (fork && fork->called)
            lua_pop(L, 1);
        else
            put(L, d, i, to++, kind);
    }
    for (uint32_t n = to; n < d->tail; n++) {
        lua_pushboolean(L, 0);
        put(L, d, i, n, LINK_CALLBACK);
    }
    d->head = 0;
    d->tail = to;
    d->limit = to < FIRST_LIMIT / 2 ? FIRST_LIMIT : 2 * to;
}

/* Sees to it that the table has room for one more link. */
static void make_room(lua_State *L, struct deferred *d, int i)
{
    uint32_t n;
    luaL_checkstack(L, 5, NULL);
    if (d->tail >= d->limit)
        compact(L, d, i);
    do { /* finalizers may add, too */
        n = d->tail;
        reserve(L, i, n);
    } while (d->tail > n);
}

void chain_append(lua_State *L, struct deferred *d, int i, enum link kind)
{
    if (d->tail >= DEFERRED_INLINE)
        make_room(L, d, i);
    put(L, d, i, d->tail++, kind);
}

struct wait_queue *chain_queue(lua_State *L, int i)
{
    struct deferred *d = lua_touserdata(L, i);
    struct waiters *w;
    if (d->head < d->tail) {
        if (chain_get(L, d, i, d->tail - 1) == LINK_WAITERS) {
            w = lua_touserdata(L, -1);
            return &w->queue;
        }
        lua_pop(L, 1);
    }
    w = object_new(L, OBJECT_WAITERS, sizeof *w, 0);
    wait_queue_init(&w->queue, &wait_class);
    lua_pushvalue(L, -1);
    chain_append(L, d, i, LINK_WAITERS);
    return &w->queue;
}

bool chain_deserted(lua_State *L, int i)
{
    struct deferred *d = lua_touserdata(L, i);
    bool left = false, awaited = false;
    for (uint32_t n = d->head; n < d->tail && !awaited; n++) {
        enum link kind = chain_get(L, d, i, n);
        if (kind == LINK_WAITERS) {
            struct waiters *w = lua_touserdata(L, -1);
            left |= w->left;
            awaited = wait_first(&w->queue) != NULL;
        } else if (kind == LINK_FORK) {
            awaited = !((struct deferred *)lua_touserdata(L, -1))->called;
        } else {
            awaited = kind == LINK_OUTER || kind == LINK_CHAINED;
        }
        lua_pop(L, 1);
    }
    return left && !awaited;
}

void chain_open(lua_State *L)
{
    object_class_new(L, OBJECT_WAITERS, &(struct object_class){.name = "waiters"});
}
