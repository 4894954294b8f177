#include "core/deferred.h"

#include "core/sched.h"
#include "core/select.h"
#include "core/tasklet.h"
#include "core/wait.h"

#include <assert.h>

/* Firings inside one another, beyond which one waits until the outermost has returned. */
enum { MAX_NESTED = 100 };

enum deferred_value { RESULT = 1, CHAIN, LINK, SENTINEL, OWNER, VALUES = OWNER };

/* What stands in the chain beside functions. The pair is then the kind and the object. */
enum link {
    LINK_CALL,    /* a pair of functions, false: none */
    LINK_WAITERS, /* tasklets that wait here */
    LINK_OUTER,   /* a deferred that waits for this one takes the result over */
    LINK_CHAINED, /* one that is fired with the result, by chain_deferred */
    LINK_FORK     /* one that is fired with a copy */
};

struct deferred {
    struct object object;
    int nresults;        /* values of the result; 1: it is the user value itself */
    uint32_t head, tail; /* the chain: pairs done, pairs added */
    uint32_t paused;     /* by scripts; and once while it waits for another */
    bool called, failed, running;
    bool taken;         /* somebody has had the failure: it is not reported */
    bool waits;         /* LINK is the deferred it waits for; before the call, its canceller */
    bool swallows;      /* cancelled without a canceller: one later firing is dropped */
    bool owner_decides; /* a cancel leaves the firing to the canceller's owner */
};

/* A place in the chain where tasklets wait. */
struct waiters {
    struct object object;
    struct wait_queue queue;
    bool left; /* one of them has left unserved */
};

/* A failure that nobody has taken; its __gc reports it. User value: the failure. */
struct unhandled {
    struct object object;
    bool armed;
};

static void waiter_left(struct wait_queue *q)
{
    container_of(q, struct waiters, queue)->left = true;
}

static const struct wait_class wait_class = {.what = "deferred", .left = waiter_left};

static void get(lua_State *L, int i, enum deferred_value v)
{
    lua_getiuservalue(L, i, v);
}

static void set(lua_State *L, int i, enum deferred_value v)
{
    lua_setiuservalue(L, i, v);
}

void deferred_push(lua_State *L, int canceller)
{
    object_new(L, OBJECT_DEFERRED, sizeof(struct deferred), VALUES);
    if (canceller) {
        lua_pushvalue(L, canceller);
        set(L, -2, LINK);
    }
}

bool deferred_called(lua_State *L, int i)
{
    return ((struct deferred *)lua_touserdata(L, i))->called;
}

bool deferred_done(lua_State *L, int i)
{
    struct deferred *d = lua_touserdata(L, i);
    return d->called && !d->paused && !d->running && d->head == d->tail;
}

/* ---- the result ---- */

/* Takes n values off the top as the new result. */
static void set_result(lua_State *L, int i, bool ok, int n)
{
    struct deferred *d = lua_touserdata(L, i);
    d->failed = !ok;
    d->taken = false;
    d->nresults = n;
    if (n == 0) {
        lua_pushnil(L);
    } else if (n > 1) {
        lua_createtable(L, n, 0);
        lua_insert(L, -(n + 1));
        for (int v = n; v > 0; v--)
            lua_rawseti(L, -(v + 1), v);
    }
    set(L, i, RESULT);
}

int deferred_result(lua_State *L, int i, bool *ok)
{
    struct deferred *d = lua_touserdata(L, i);
    *ok = !d->failed;
    luaL_checkstack(L, d->nresults + 1, NULL);
    get(L, i, RESULT);
    if (d->nresults == 1)
        return 1;
    for (int v = 1; v <= d->nresults; v++)
        lua_rawgeti(L, -v, v);
    lua_remove(L, -(d->nresults + 1));
    return d->nresults;
}

/* The failure at hand has been taken by somebody. */
static void handled(lua_State *L, int i)
{
    ((struct deferred *)lua_touserdata(L, i))->taken = true;
    get(L, i, SENTINEL);
    struct unhandled *u = object_test(L, -1, OBJECT_UNHANDLED);
    if (u)
        u->armed = false;
    lua_pop(L, 1);
}

/* The chain has come to its end with a failure: from now on it is nobody's. */
static void watch_failure(lua_State *L, int i)
{
    get(L, i, RESULT);
    lua_getfield(L, -1, "value");
    bool quiet = error_is(L, -1, ERROR_CANCELLED);
    lua_pop(L, 1);
    if (!quiet) {
        struct unhandled *u = object_new(L, OBJECT_UNHANDLED, sizeof *u, 1);
        lua_insert(L, -2);
        lua_setiuservalue(L, -2, 1);
        u->armed = true;
        set(L, i, SENTINEL);
    } else {
        lua_pop(L, 1);
    }
}

static int unhandled_gc(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    struct unhandled *u = lua_touserdata(L, 1);
    if (!u->armed)
        return 0;
    u->armed = false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->unhandled_ref);
    lua_getiuservalue(L, 1, 1);
    if (rt->closing) {
        error_report(L, NULL, "Unhandled error in Deferred: ");
    } else {
        lua_rawseti(L, -2, rt->unhandled_count + 1);
        rt->unhandled_count++;
    }
    return 0;
}

static int report_all(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->unhandled_ref);
    while (rt->unhandled_count > 0) {
        uint32_t n = rt->unhandled_count;
        lua_rawgeti(L, 2, 1);
        for (uint32_t i = 1; i <= n; i++) {
            lua_rawgeti(L, 2, i + 1);
            lua_rawseti(L, 2, i);
        }
        rt->unhandled_count = n - 1;
        error_report(L, NULL, "Unhandled error in Deferred: ");
    }
    return 0;
}

void deferred_take_unhandled(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    lua_newtable(L); /* made first: finalizers may add to the old one */
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->unhandled_ref);
    lua_insert(L, -2);
    rt->unhandled_count = 0;
    lua_rawseti(L, LUA_REGISTRYINDEX, rt->unhandled_ref);
}

void deferred_report_unhandled(struct runtime *rt)
{
    if (rt->unhandled_count > 0)
        runtime_enter(rt, report_all, NULL);
}

/* ---- the chain ---- */

/* Appends the pair on the top, taken off. */
static void append(lua_State *L, int i)
{
    struct deferred *d = lua_touserdata(L, i);
    if (lua_getiuservalue(L, i, CHAIN) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_createtable(L, 6, 0);
        lua_pushvalue(L, -1);
        set(L, i, CHAIN);
    }
    lua_insert(L, -3);
    lua_rawseti(L, -3, 2 * d->tail + 2);
    lua_rawseti(L, -2, 2 * d->tail + 1);
    lua_pop(L, 1);
    d->tail++;
}

/* Appends an object, on the top, taken off. */
static void append_object(lua_State *L, int i, enum link kind)
{
    lua_pushinteger(L, kind);
    lua_insert(L, -2);
    append(L, i);
}

/* Pushes what the n-th pair has for the present result, or its object; its kind. */
static enum link push_link(lua_State *L, int i, uint32_t n)
{
    struct deferred *d = lua_touserdata(L, i);
    enum link kind = LINK_CALL;
    get(L, i, CHAIN);
    if (lua_rawgeti(L, -1, 2 * n + 1) == LUA_TNUMBER)
        kind = (enum link)lua_tointeger(L, -1);
    if (kind != LINK_CALL || d->failed) {
        lua_pop(L, 1);
        lua_rawgeti(L, -1, 2 * n + 2);
    }
    lua_remove(L, -2);
    return kind;
}

/* Pushes the next link, and passes it. */
static enum link next_link(lua_State *L, int i)
{
    struct deferred *d = lua_touserdata(L, i);
    enum link kind = push_link(L, i, d->head);
    get(L, i, CHAIN);
    for (int half = 1; half <= 2; half++) {
        lua_pushboolean(L, 0);
        lua_rawseti(L, -2, 2 * d->head + half);
    }
    lua_pop(L, 1);
    if (++d->head == d->tail)
        d->head = d->tail = 0;
    return kind;
}

/* Gives a copy of the result to each of the tasklets that wait at this place. */
static void serve(lua_State *L, int i, struct waiters *w)
{
    struct runtime *rt = runtime_of(L);
    struct tasklet *t;
    bool ok;
    while ((t = wait_first(&w->queue))) {
        int n = deferred_result(L, i, &ok);
        if (!lua_checkstack(t->leaf, n + 1))
            luaL_error(L, "not enough memory");
        if (!ok) {
            handled(L, i);
            tasklet_push(L, select_owner(t));
            lua_pushvalue(L, -2);
            tasklet_set(L, -2, SIDE_ORIGIN);
            lua_pop(L, 1);
            failure_unwrap(L);
        }
        lua_xmove(L, t->leaf, n);
        wait_wake(rt, t, ok ? WAKE_SERVED : WAKE_RAISE);
    }
}

/* Makes d (at i) wait for the deferred at r; or takes that one's result if it has one. */
static void follow(lua_State *L, int i, int r)
{
    struct deferred *d = lua_touserdata(L, i);
    bool ok;
    if (deferred_done(L, r)) {
        int n = deferred_result(L, r, &ok);
        if (!ok)
            handled(L, r);
        set_result(L, i, ok, n);
        set_result(L, r, true, 0);
        return;
    }
    lua_pushvalue(L, r);
    set(L, i, LINK);
    d->waits = true;
    d->paused++;
    lua_pushvalue(L, i);
    append_object(L, r, LINK_OUTER);
}

/* An errback that raises the error it was given passes the failure on as it was. */
static void keep_origin(lua_State *L, int i)
{
    get(L, i, RESULT);
    lua_getfield(L, -1, "value");
    lua_getfield(L, -3, "value");
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    lua_remove(L, same ? -2 : -1);
}

/* Calls the function on the top with the result of d (at i); what it returns or raises
** is the new result. */
static void call(lua_State *L, int i)
{
    struct runtime *rt = runtime_of(L);
    struct deferred *d = lua_touserdata(L, i);
    bool ok;
    int base = lua_gettop(L);
    lua_pushcfunction(L, error_handler);
    lua_insert(L, base);
    int n = deferred_result(L, i, &ok);
    if (!ok)
        handled(L, i);
    rt->reactor_code++;
    rt->nested_firings++;
    d->running = true;
    bool returned = lua_pcall(L, n, LUA_MULTRET, base) == LUA_OK;
    d->running = false;
    rt->nested_firings--;
    rt->reactor_code--;
    n = lua_gettop(L) - base;
    if (!returned) {
        failure_push(L, -1, NULL); /* TaskletExit comes bare */
        if (!ok)
            keep_origin(L, i);
        set_result(L, i, false, 1);
    } else if (n > 0 && failure_test(L, base + 1)) {
        lua_settop(L, base + 1);
        set_result(L, i, false, 1);
    } else if (n > 0 && object_test(L, base + 1, OBJECT_DEFERRED)) {
        if (lua_rawequal(L, base + 1, i)) {
            lua_pushliteral(L, "a deferred cannot wait for itself");
            failure_push(L, -1, NULL);
            set_result(L, i, false, 1);
        } else {
            follow(L, i, base + 1);
        }
    } else {
        set_result(L, i, true, n);
    }
    lua_settop(L, base - 1);
}

/* Moves the result of the deferred at `from` to the one at `to`, which waited for it. */
static void pass_on(lua_State *L, int from, int to)
{
    struct deferred *outer = lua_touserdata(L, to);
    bool ok;
    int n = deferred_result(L, from, &ok);
    if (!ok)
        handled(L, from);
    set_result(L, to, ok, n);
    set_result(L, from, true, 0);
    lua_pushnil(L);
    set(L, to, LINK);
    outer->waits = false;
    outer->paused--;
}

/* Fires the deferred at `to` with the values on the top, taken off; its chain is not run.
** False if it has been fired before. */
static bool accept(lua_State *L, int to, bool ok, int n)
{
    struct deferred *d = lua_touserdata(L, to);
    if (d->called) {
        lua_pop(L, n);
        return false;
    }
    lua_pushnil(L);
    set(L, to, LINK); /* the canceller */
    d->called = true;
    set_result(L, to, ok, n);
    return true;
}

/* The deferred at i, chained to one that has been fired, fails. */
static void fail_twice_called(lua_State *L, int i)
{
    error_push(L, ERROR_ALREADY_CALLED, "the deferred has already been called");
    failure_push(L, -1, NULL);
    lua_remove(L, -2);
    set_result(L, i, false, 1);
}

/* Fires the deferred at `to` with the result of the one at `from`, which becomes nil. */
static void fire_chained(lua_State *L, int from, int to)
{
    struct deferred *other = lua_touserdata(L, to);
    bool ok, swallows = other->swallows;
    int n = deferred_result(L, from, &ok);
    if (!ok)
        handled(L, from);
    other->swallows = false;
    if (accept(L, to, ok, n) || swallows)
        set_result(L, from, true, 0);
    else
        fail_twice_called(L, from);
}

/* The same with a copy: one that has been fired meanwhile gets nothing. */
static void fire_fork(lua_State *L, int from, int to)
{
    bool ok;
    int n = deferred_result(L, from, &ok);
    if (accept(L, to, ok, n) && !ok)
        handled(L, from);
}

/* Runs the chain of d (at i) up to the place where another deferred gets the result; that
** one is then on the top, its chain to be run, and true is returned. */
static bool run_one(lua_State *L, int i)
{
    struct deferred *d = lua_touserdata(L, i);
    if (!d->called || d->running)
        return false;
    while (d->called && !d->paused && d->head < d->tail) {
        enum link kind = next_link(L, i);
        int link = lua_gettop(L);
        switch (kind) {
        case LINK_CALL:
            if (lua_toboolean(L, -1))
                call(L, i);
            break;
        case LINK_WAITERS:
            serve(L, i, lua_touserdata(L, -1));
            break;
        case LINK_OUTER:
            pass_on(L, i, link);
            return true;
        case LINK_CHAINED:
            fire_chained(L, i, link);
            return true;
        case LINK_FORK:
            fire_fork(L, i, link);
            return true;
        }
        lua_settop(L, link - 1);
    }
    if (d->failed && !d->taken && deferred_done(L, i))
        watch_failure(L, i);
    return false;
}

/* Runs the chain of the deferred on the top, taken off, and all that wait for it. */
static void run(lua_State *L)
{
    int inner = 0; /* a list of those whose chain goes on when the outer one's is done */
    lua_Integer depth = 0;
    int base = lua_gettop(L);
    luaL_checkstack(L, 20, NULL);
    lua_pushnil(L);
    inner = base + 1;
    for (;;) {
        if (run_one(L, base)) {
            if (depth == 0) {
                lua_newtable(L);
                lua_replace(L, inner);
            }
            lua_pushvalue(L, base);
            lua_rawseti(L, inner, ++depth);
            lua_replace(L, base);
            lua_settop(L, inner);
        } else if (depth > 0) {
            lua_rawgeti(L, inner, depth);
            lua_replace(L, base);
            lua_pushnil(L);
            lua_rawseti(L, inner, depth--);
        } else {
            break;
        }
    }
    lua_settop(L, base - 1);
}

/* Runs the chain of the deferred at i, now or when the outermost firing is done. */
static void start(lua_State *L, int i)
{
    struct runtime *rt = runtime_of(L);
    if (((struct deferred *)lua_touserdata(L, i))->running)
        return;
    lua_pushvalue(L, i);
    if (rt->nested_firings >= MAX_NESTED) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, rt->postponed_ref);
        lua_insert(L, -2);
        lua_rawseti(L, -2, ++rt->postponed_count);
        lua_pop(L, 1);
        return;
    }
    run(L);
    if (rt->nested_firings > 0 || rt->postponed_count == 0)
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->postponed_ref);
    for (lua_Integer n = 1; n <= rt->postponed_count; n++) { /* it may grow meanwhile */
        lua_pushnil(L);
        if (lua_rawgeti(L, -2, n) == LUA_TNIL) { /* lack of memory broke off the last time */
            lua_pop(L, 2);
            continue;
        }
        lua_insert(L, -2);
        lua_rawseti(L, -3, n);
        run(L);
    }
    lua_pop(L, 1);
    rt->postponed_count = 0;
}

void deferred_settle(lua_State *L, int i, bool ok, int n)
{
    struct deferred *d = lua_touserdata(L, i);
    i = lua_absindex(L, i);
    if (d->called) {
        lua_pop(L, n);
        return;
    }
    if (!ok && !failure_test(L, -1)) {
        failure_push(L, -1, NULL);
        lua_remove(L, -2);
    }
    if (ok && n > 0 && object_test(L, -n, OBJECT_DEFERRED) && !lua_rawequal(L, -n, i)) {
        int first = lua_gettop(L) - n + 1;
        accept(L, i, true, 0);
        follow(L, i, first);
        lua_settop(L, first - 1);
    } else {
        accept(L, i, ok, n);
    }
    start(L, i);
}

void deferred_fire(lua_State *L, int i, bool ok, int n)
{
    struct deferred *d = lua_touserdata(L, i);
    i = lua_absindex(L, i);
    if (d->called && d->swallows) {
        d->swallows = false;
        lua_pop(L, n);
        return;
    }
    if (d->called)
        error_raise(L, ERROR_ALREADY_CALLED, "the deferred has already been called");
    if (n > 0 && object_test(L, -n, OBJECT_DEFERRED))
        luaL_error(L, "a deferred cannot be fired with a deferred; return it from a callback");
    if (n == 1 && failure_test(L, -1))
        ok = false;
    deferred_settle(L, i, ok, n);
}

void deferred_add(lua_State *L, int i, int ok, int fail)
{
    i = lua_absindex(L, i);
    ok ? lua_pushvalue(L, ok) : lua_pushboolean(L, 0);
    fail ? lua_pushvalue(L, fail) : lua_pushboolean(L, 0);
    append(L, i);
    if (deferred_called(L, i))
        start(L, i);
}

void deferred_chain(lua_State *L, int i, int other)
{
    lua_pushvalue(L, other);
    append_object(L, i, LINK_CHAINED);
    if (deferred_called(L, i))
        start(L, i);
}

void deferred_fork(lua_State *L, int i)
{
    i = lua_absindex(L, i);
    deferred_push(L, 0);
    lua_pushvalue(L, -1);
    append_object(L, i, LINK_FORK);
    if (deferred_called(L, i))
        start(L, i);
}

void deferred_pause(lua_State *L, int i)
{
    struct deferred *d = lua_touserdata(L, i);
    if (d->paused == UINT32_MAX)
        luaL_error(L, "the deferred is paused too often");
    d->paused++;
}

void deferred_unpause(lua_State *L, int i)
{
    struct deferred *d = lua_touserdata(L, i);
    if (d->paused <= (d->called && d->waits))
        luaL_error(L, "the deferred is not paused");
    d->paused--;
    if (d->called)
        start(L, i);
}

/* Whether waiters have left the deferred at i unserved, and nobody else waits for it: no
** tasklet and no other deferred. */
static bool deserted(lua_State *L, int i)
{
    struct deferred *d = lua_touserdata(L, i);
    bool left = false, awaited = false;
    for (uint32_t n = d->head; n < d->tail && !awaited; n++) {
        enum link kind = push_link(L, i, n);
        if (kind == LINK_WAITERS) {
            struct waiters *w = lua_touserdata(L, -1);
            left |= w->left;
            awaited = wait_first(&w->queue) != NULL;
        } else if (kind != LINK_CALL) {
            awaited = kind != LINK_FORK || !deferred_called(L, -1);
        }
        lua_pop(L, 1);
    }
    return left && !awaited;
}

void deferred_cancel(lua_State *L, int i)
{
    struct deferred *d = lua_touserdata(L, i);
    i = lua_absindex(L, i);
    if (d->called) { /* the innermost one that it waits for; a ring of them has none */
        struct deferred *hare = d;
        luaL_checkstack(L, 4, NULL);
        lua_pushvalue(L, i);
        for (uint32_t n = 1, power = 1; hare->called; n++) {
            if (!hare->waits)
                return;
            get(L, -1, LINK);
            lua_replace(L, -2);
            hare = lua_touserdata(L, -1);
            if (hare == d)
                return;
            if (n == power)
                d = hare, power *= 2, n = 0; /* Brent's */
        }
        deferred_cancel(L, -1);
        lua_pop(L, 1);
        return;
    }
    get(L, i, LINK);
    if (lua_isnil(L, -1)) {
        d->swallows = true;
        lua_pop(L, 1);
    } else {
        struct runtime *rt = runtime_of(L);
        lua_pushvalue(L, i);
        rt->reactor_code++;
        int status = lua_pcall(L, 1, 0, 0);
        rt->reactor_code--;
        if (status != LUA_OK)
            lua_error(L);
        if (d->called || d->owner_decides)
            return;
    }
    error_push(L, ERROR_CANCELLED, "cancelled");
    deferred_settle(L, i, false, 1);
}

void deferred_owned(lua_State *L, int i)
{
    struct deferred *d = lua_touserdata(L, i);
    d->owner_decides = true;
    set(L, i, OWNER);
}

void deferred_owner(lua_State *L, int i)
{
    get(L, i, OWNER);
}

int deferred_take(lua_State *L, int i)
{
    bool ok;
    i = lua_absindex(L, i);
    int n = deferred_result(L, i, &ok);
    if (ok)
        return n;
    struct runtime *rt = runtime_of(L);
    handled(L, i);
    if (rt->current) {
        tasklet_push(L, rt->current);
        lua_pushvalue(L, -2);
        tasklet_set(L, -2, SIDE_ORIGIN);
        lua_pop(L, 1);
    }
    failure_unwrap(L);
    return lua_error(L);
}

struct wait_queue *deferred_queue(lua_State *L, int i)
{
    struct deferred *d = lua_touserdata(L, i);
    struct waiters *w = NULL;
    i = lua_absindex(L, i);
    if (d->head < d->tail) {
        if (push_link(L, i, d->tail - 1) == LINK_WAITERS)
            w = lua_touserdata(L, -1);
        else
            lua_pop(L, 1);
    }
    if (!w) {
        w = object_new(L, OBJECT_WAITERS, sizeof *w, 0);
        wait_queue_init(&w->queue, &wait_class);
        lua_pushvalue(L, -1);
        append_object(L, i, LINK_WAITERS);
    }
    if (d->called && !d->running && !d->paused)
        start(L, i); /* a finalizer has fired it meanwhile: nothing else would run past this */
    return &w->queue;
}

int deferred_wait(lua_State *L, int i, double timeout, lua_KContext ctx, lua_KFunction k)
{
    i = lua_absindex(L, i);
    struct wait_queue *q = deferred_queue(L, i);
    lua_pop(L, 1); /* it is in the chain, unless that has run meanwhile */
    if (deferred_done(L, i))
        return deferred_take(L, i);
    return wait_on(L, q, timeout, ctx, k);
}

static int cancel(lua_State *L)
{
    deferred_cancel(L, 1);
    return 0;
}

void deferred_abandon(lua_State *L, int i)
{
    if (!deserted(L, i))
        return;
    int top = lua_gettop(L);
    luaL_checkstack(L, 5, NULL);
    lua_pushcfunction(L, error_handler);
    lua_pushcfunction(L, cancel);
    lua_pushvalue(L, i);
    if (lua_pcall(L, 1, 0, top + 1) != LUA_OK)
        error_report(L, NULL, "");
    lua_settop(L, top);
}

int deferred_pauses(lua_State *L, int i)
{
    return (int)((struct deferred *)lua_touserdata(L, i))->paused;
}

void deferred_open(lua_State *L)
{
    static const luaL_Reg unhandled_meta[] = {{"__gc", unhandled_gc}, {NULL, NULL}};
    object_class_new(L, OBJECT_WAITERS, &(struct object_class){.name = "waiters"});
    object_class_new(
        L, OBJECT_UNHANDLED,
        &(struct object_class){.name = "unhandled failure", .metamethods = unhandled_meta});
}
