/* C that answers later: a tasklet waits in a binding until the host settles. Script never
** sees an answer; slot map neap.answers has it by its id, and the registry anchors it. */
#include "embed/embed.h"

#include "core/tasklet.h"
#include "core/wait.h"

#include <math.h>

struct answer {
    struct object object;
    struct wait_queue queue;
    uint64_t id;
    int ref; /* registry */
    bool settled, ok;
    int nvalues; /* kept as a list in the user value, when nobody waited yet */
};

static void drop(neap *N, struct answer *a)
{
    slots_drop(&N->answers, a->id, 1);
    luaL_unref(N->rt.L, LUA_REGISTRYINDEX, a->ref);
}

/* Its only waiter has left: nobody will take it. */
static void waiter_left(struct wait_queue *q)
{
    struct answer *a = container_of(q, struct answer, queue);
    const struct object_kind_data *kinds = a->object.kind;
    struct runtime *rt = container_of(kinds, struct runtime, kinds[OBJECT_ANSWER]);
    if (list_empty(&q->waiters))
        drop(rt->host, a);
}

static const struct wait_class answer_class = {
    .what = "the host's answer", .outside = true, .left = waiter_left};

/* defer(id) */
static int defer(lua_State *L)
{
    neap *N = runtime_of(L)->host;
    uint64_t *id = lua_touserdata(L, 1);
    if (N->rt.kinds[OBJECT_ANSWER].ref == 0)
        object_class_new(L, OBJECT_ANSWER, &(struct object_class){.name = "answer"});
    struct answer *a = object_new(L, OBJECT_ANSWER, sizeof *a, 1);
    wait_queue_init(&a->queue, &answer_class);
    a->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    a->id = slots_add(&N->answers, &N->rt.memory, a);
    if (!a->id) {
        luaL_unref(L, LUA_REGISTRYINDEX, a->ref);
        return luaL_error(L, "not enough memory");
    }
    *id = a->id;
    return 0;
}

neap_deferred neap_defer(neap *N)
{
    neap_deferred d = {0};
    if (!embed_owned(N) || !lua_checkstack(N->rt.L, 4))
        return d;
    lua_pushlightuserdata(N->rt.L, &d.id);
    embed_protect(N, defer, 1, 0, NEAP_EMEM);
    return d;
}

/* ---- waiting ---- */

/* The values on the top, or the error, are what the waiter gets. */
static int awaited(lua_State *L, int status, lua_KContext base)
{
    (void)status;
    wait_result(L);
    return lua_gettop(L) - (int)base;
}

/* Gives what was kept to the caller, who came late. */
static int take(lua_State *L, neap *N, struct answer *a)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, a->ref);
    int n = a->nvalues, list = lua_gettop(L) + 1;
    bool ok = a->ok;
    luaL_checkstack(L, n + 2, NULL);
    lua_getiuservalue(L, -1, 1);
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, list, i);
    drop(N, a);
    return ok ? n : lua_error(L);
}

int neap_await(lua_State *L, neap_deferred d)
{
    neap *N = runtime_of(L)->host;
    struct answer *a = slots_find(&N->answers, d.id, NULL);
    if (!a)
        return luaL_error(L, "a stale neap_deferred");
    if (a->settled)
        return take(L, N, a);
    if (!wait_possible(L) || N->rt.switch_trap || N->rt.current->block_trap ||
        N->rt.current->thrown)
        drop(N, a); /* nobody will take it */
    wait_check(L);
    return wait_on(L, &a->queue, HUGE_VAL, lua_gettop(L), awaited);
}

/* ---- settling ---- */

/* Keeps the n values on the top, taken off, for who comes later. */
static void keep(lua_State *L, struct answer *a, bool ok, int n)
{
    lua_createtable(L, n, 0);
    lua_insert(L, -(n + 1));
    for (int i = n; i > 0; i--)
        lua_rawseti(L, -(i + 1), i);
    lua_rawgeti(L, LUA_REGISTRYINDEX, a->ref);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, 1);
    lua_pop(L, 1);
    a->nvalues = n;
    a->ok = ok;
    a->settled = true;
}

/* settle(id, ok, values...) */
static int settle(lua_State *L)
{
    neap *N = runtime_of(L)->host;
    uint64_t *id = lua_touserdata(L, 1);
    struct answer *a = slots_find(&N->answers, *id, NULL);
    bool ok = lua_toboolean(L, 2);
    int n = lua_gettop(L) - 2;
    struct tasklet *t;
    if (!a || a->settled)
        return 0;
    *id = 0; /* it is no stale one */
    if (list_empty(&a->queue.waiters)) {
        keep(L, a, ok, n);
        return 0;
    }
    while ((t = wait_first(&a->queue))) {
        if (!lua_checkstack(t->leaf, n + 1))
            return luaL_error(L, "not enough memory");
        for (int i = 3; i <= n + 2; i++)
            lua_pushvalue(L, i);
        lua_xmove(L, t->leaf, n);
        wait_wake(&N->rt, t, ok ? WAKE_SERVED : WAKE_RAISE);
    }
    drop(N, a);
    return 0;
}

int embed_settle(neap *N, neap_deferred d, bool ok, int n)
{
    lua_State *L = N->rt.L;
    if (!ok && n != 1) { /* one error, whatever it is */
        lua_settop(L, lua_gettop(L) - n);
        lua_pushnil(L);
        n = 1;
    }
    lua_pushlightuserdata(L, &d.id);
    lua_insert(L, -(n + 1));
    lua_pushboolean(L, ok);
    lua_insert(L, -(n + 1));
    int status = embed_protect(N, settle, n + 2, 0, NEAP_EMEM);
    if (status == NEAP_OK && d.id)
        return embed_fail(N, NEAP_ESTALE, "the deferred is settled, or nobody waits for it");
    return status;
}

int neap_settle(neap *N, neap_deferred d, int ok, int nvals)
{
    if (!embed_owned(N))
        return embed_foreign(N);
    lua_State *L = N->rt.L;
    if (nvals < 0 || lua_gettop(L) < nvals)
        return embed_fail(N, NEAP_EARG, "neap_settle: fewer values than said");
    if (!lua_checkstack(L, 4)) {
        lua_pop(L, nvals);
        return embed_fail(N, NEAP_EMEM, "not enough memory");
    }
    int status = embed_settle(N, d, ok, nvals);
    embed_wake(N);
    return status;
}
