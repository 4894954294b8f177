#include "core/unhandled.h"

static const char prefix[] = "Unhandled error in Deferred: ";

enum unhandled_value { FAILURE = 1, SITE, VALUES = SITE };

struct unhandled {
    struct object object;
    int32_t line; /* where the deferred was made, in the function at SITE */
    bool armed;
};

/* Pushes what watches the deferred at index i, made if need be. */
static struct unhandled *watcher(lua_State *L, int i)
{
    struct deferred *d = lua_touserdata(L, i);
    lua_getiuservalue(L, i, DEFERRED_SITE);
    struct unhandled *u = object_test(L, -1, OBJECT_UNHANDLED);
    if (u)
        return u;
    u = object_new(L, OBJECT_UNHANDLED, sizeof *u, VALUES);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, SITE);
    u->line = d->line;
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, i, DEFERRED_SITE);
    return u;
}

/* Whether the failure on the top is a cancellation, or the FirstError that a list makes of
** one: nobody need hear of it. */
static bool is_cancelled(lua_State *L)
{
    int top = lua_gettop(L);
    lua_getfield(L, top, "value");
    if (error_is(L, -1, ERROR_FIRST)) {
        lua_getfield(L, -1, "sub_failure");
        if (failure_test(L, -1))
            lua_getfield(L, -1, "value");
    }
    bool cancelled = error_is(L, -1, ERROR_CANCELLED);
    lua_settop(L, top);
    return cancelled;
}

void unhandled_watch(lua_State *L, int i)
{
    int top = lua_gettop(L);
    lua_getiuservalue(L, i, DEFERRED_RESULT);
    if (!is_cancelled(L)) {
        struct unhandled *u = watcher(L, i);
        lua_pushvalue(L, top + 1);
        lua_setiuservalue(L, -2, FAILURE);
        u->armed = true;
    }
    lua_settop(L, top);
}

void unhandled_taken(lua_State *L, int i)
{
    lua_getiuservalue(L, i, DEFERRED_SITE);
    struct unhandled *u = object_test(L, -1, OBJECT_UNHANDLED);
    if (u)
        u->armed = false;
    lua_pop(L, 1);
}

/* Pushes `in a deferred made at file:line`, or "". */
static void push_site(lua_State *L, int i)
{
    struct unhandled *u = lua_touserdata(L, i);
    lua_Debug ar;
    if (lua_getiuservalue(L, i, SITE) != LUA_TFUNCTION) {
        lua_pop(L, 1);
        lua_pushliteral(L, "");
        return;
    }
    lua_getinfo(L, ">S", &ar);
    if (u->line > 0)
        lua_pushfstring(L, "in a deferred made at %s:%d", ar.short_src, (int)u->line);
    else
        lua_pushfstring(L, "in a deferred made in %s", ar.short_src);
}

/* Reports the failure that is in the object at index i. */
static void report(lua_State *L, int i)
{
    lua_getiuservalue(L, i, FAILURE);
    int failure = lua_gettop(L);
    lua_getfield(L, failure, "value");
    if (lua_getfield(L, failure, "traceback") == LUA_TSTRING)
        lua_pushliteral(L, "\n");
    else
        lua_pushliteral(L, "");
    push_site(L, i);
    lua_isstring(L, failure + 2) ? lua_concat(L, 3) : lua_replace(L, failure + 2);
    failure_push(L, failure + 1, lua_tostring(L, failure + 2));
    lua_replace(L, failure);
    lua_settop(L, failure);
    error_report(L, NULL, prefix);
}

static int on_gc(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    struct unhandled *u = lua_touserdata(L, 1);
    if (!u->armed)
        return 0;
    u->armed = false;
    if (rt->closing) {
        report(L, 1);
    } else {
        lua_rawgeti(L, LUA_REGISTRYINDEX, rt->unhandled_ref);
        lua_pushvalue(L, 1);
        lua_rawseti(L, -2, ++rt->unhandled_count);
    }
    return 0;
}

/* Pushes the list of those found so far; from here on there is a new one. */
static uint32_t take(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    lua_newtable(L); /* first: finalizers may add to the old one */
    uint32_t n = rt->unhandled_count;
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->unhandled_ref);
    lua_insert(L, -2);
    rt->unhandled_count = 0;
    lua_rawseti(L, LUA_REGISTRYINDEX, rt->unhandled_ref);
    return n;
}

static int report_all(lua_State *L)
{
    uint32_t n = take(L);
    for (uint32_t k = 1; k <= n; k++) {
        lua_rawgeti(L, 2, k);
        report(L, 3);
        lua_settop(L, 2);
    }
    return 0;
}

void unhandled_report(struct runtime *rt)
{
    if (rt->unhandled_count > 0)
        runtime_enter(rt, report_all, NULL);
}

void unhandled_take_all(lua_State *L)
{
    uint32_t n = take(L);
    for (uint32_t k = 1; k <= n; k++) {
        lua_rawgeti(L, -1, k);
        lua_getiuservalue(L, -1, FAILURE);
        lua_rawseti(L, -3, k);
        lua_pop(L, 1);
    }
}

void unhandled_open(lua_State *L)
{
    static const luaL_Reg meta[] = {{"__gc", on_gc}, {NULL, NULL}};
    object_class_new(L, OBJECT_UNHANDLED,
                     &(struct object_class){.name = "unhandled failure", .metamethods = meta});
}
