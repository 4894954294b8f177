/* What write takes: strings, numbers, and nested tables of such. Small pieces are copied into one
** string; large ones are handed over where they are, kept alive by who writes.
**
** They are gone through twice: measured, then taken. To make a number's text may collect, and a
** finalizer change a table in between: the room is checked again. */
#include "bind/pieces.h"

#include "bind/net.h"

#include <string.h>

enum { MAX_NESTING = 100, LARGE = 8192 };

struct walk {
    size_t bytes;         /* of all */
    size_t copied, apart; /* bytes of small pieces, how many large ones */
    char *to, *end;       /* room for what is copied; NULL: it is only measured */
    struct gather *g;     /* NULL: all is copied */
    size_t room;          /* pieces in it */
    int anchors;          /* index of a table: the large ones */
    int argument;         /* index of the one that is gone through, for errors */
};

static void measure(struct walk *w, size_t n)
{
    w->bytes += n;
    if (n >= LARGE)
        w->apart++;
    else
        w->copied += n;
}

/* What follows the last piece in memory becomes a part of it. */
static void add(lua_State *L, struct walk *w, char *p, size_t n)
{
    struct gather *g = w->g;
    struct iovec *last = g->count > 0 ? &g->v[g->count - 1] : NULL;
    g->bytes += n;
    if (last && (char *)last->iov_base + last->iov_len == p) {
        last->iov_len += n;
        return;
    }
    luaL_argcheck(L, g->count < w->room, 2, "changed while it is written");
    g->v[g->count++] = (struct iovec){p, n};
}

/* Takes the string on the top. */
static void take(lua_State *L, struct walk *w)
{
    size_t n;
    const char *p = lua_tolstring(L, -1, &n);
    if (w->g && n >= LARGE) {
        add(L, w, (char *)p, n);
        lua_pushvalue(L, -1);
        lua_rawseti(L, w->anchors, (lua_Integer)lua_rawlen(L, w->anchors) + 1);
        return;
    }
    luaL_argcheck(L, n <= (size_t)(w->end - w->to), 2, "changed while it is written");
    memcpy(w->to, p, n);
    if (w->g && n > 0)
        add(L, w, w->to, n);
    w->to += n;
}

static void bad_piece(lua_State *L, const struct walk *w, int i)
{
    const char *where = i == w->argument ? "" : " in it";
    luaL_argerror(L, w->argument,
                  lua_pushfstring(L, "string or table of strings expected, got %s%s",
                                  luaL_typename(L, i), where));
}

static void walk(lua_State *L, struct walk *w, int i, int nesting)
{
    size_t n;
    if (lua_type(L, i) != LUA_TTABLE) {
        if (!lua_isstring(L, i))
            bad_piece(L, w, i);
        lua_pushvalue(L, i); /* a number in a table must stay one */
        lua_tolstring(L, -1, &n);
        w->to ? take(L, w) : measure(w, n);
        lua_pop(L, 1);
        return;
    }
    luaL_argcheck(L, nesting < MAX_NESTING, w->argument, "tables nested too deeply");
    luaL_checkstack(L, 10, NULL);
    lua_Integer count = (lua_Integer)lua_rawlen(L, i);
    for (lua_Integer k = 1; k <= count; k++) {
        lua_rawgeti(L, i, k);
        walk(L, w, lua_gettop(L), nesting + 1);
        lua_pop(L, 1);
    }
}

static void walk_all(lua_State *L, struct walk *w, int top)
{
    for (int i = 2; i <= top; i++) {
        w->argument = i;
        walk(L, w, i, 0);
    }
}

/* Leaves the value on the top alone at index 2. */
static void put_in_place(lua_State *L)
{
    lua_replace(L, 2);
    lua_settop(L, 2);
}

static void join(lua_State *L, struct walk *w, int top)
{
    luaL_Buffer b;
    char *start = w->to = luaL_buffinitsize(L, &b, w->bytes);
    w->end = start + w->bytes;
    walk_all(L, w, top);
    luaL_pushresultsize(&b, (size_t)(w->to - start));
    put_in_place(L);
}

static void gather(lua_State *L, struct walk *w, int top)
{
    w->room = 2 * w->apart + 1;
    size_t size = sizeof *w->g + w->room * sizeof *w->g->v;
    w->g = lua_newuserdatauv(L, size + w->copied, 1);
    w->g->at = w->g->count = w->g->bytes = 0;
    w->to = (char *)w->g + size;
    w->end = w->to + w->copied;
    lua_createtable(L, (int)w->apart, 0);
    w->anchors = lua_gettop(L);
    walk_all(L, w, top);
    lua_setiuservalue(L, -2, 1);
    put_in_place(L);
}

/* Measures what is at 2..top. False: it is one string already, at 2. */
static bool begin(lua_State *L, struct walk *w)
{
    int top = lua_gettop(L), type = lua_type(L, 2);
    if (top == 2 && type == LUA_TSTRING)
        return false;
    luaL_checkany(L, 2);
    if (top == 2 && type == LUA_TNUMBER) {
        lua_tostring(L, 2);
        return false;
    }
    walk_all(L, w, top);
    return true;
}

void net_join_pieces(lua_State *L)
{
    struct walk w = {0};
    if (begin(L, &w))
        join(L, &w, lua_gettop(L));
}

void net_gather_pieces(lua_State *L)
{
    struct walk w = {0};
    if (!begin(L, &w))
        return;
    if (w.apart > 0)
        gather(L, &w, lua_gettop(L));
    else
        join(L, &w, lua_gettop(L));
}

void pieces_left(lua_State *L, int i, size_t sent, struct left *left)
{
    if (lua_type(L, i) == LUA_TSTRING) {
        size_t n;
        const char *p = lua_tolstring(L, i, &n);
        left->one = (struct iovec){(char *)p + sent, n - sent};
        left->v = &left->one;
        left->bytes = n - sent;
        left->count = 1;
        return;
    }
    struct gather *g = lua_touserdata(L, i);
    left->v = g->v + g->at;
    left->bytes = g->bytes;
    left->count = g->count - g->at;
}

void pieces_sent(lua_State *L, int i, size_t n)
{
    struct gather *g = lua_touserdata(L, i);
    if (!g)
        return;
    g->bytes -= n;
    while (g->at < g->count && n >= g->v[g->at].iov_len)
        n -= g->v[g->at++].iov_len;
    if (n > 0) {
        struct iovec *v = &g->v[g->at];
        *v = (struct iovec){(char *)v->iov_base + n, v->iov_len - n};
    }
}
