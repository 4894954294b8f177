#include "core/deferred.h"

#include "core/chain.h"
#include "core/sched.h"
#include "core/select.h"
#include "core/tasklet.h"
#include "core/unhandled.h"
#include "core/wait.h"

#include <assert.h>

/* Firings inside one another, beyond which one waits until the outermost has returned. */
enum { MAX_NESTED = 100 };

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
    lua_Debug ar;
    struct deferred *d =
        object_new(L, OBJECT_DEFERRED, sizeof(struct deferred), DEFERRED_VALUES);
    if (lua_getstack(L, 1, &ar)) {
        lua_getinfo(L, "fl", &ar);
        set(L, -2, DEFERRED_SITE);
        d->line = ar.currentline;
    }
    if (canceller) {
        lua_pushvalue(L, canceller);
        set(L, -2, DEFERRED_LINK);
        d->canceller = true;
    }
}

static bool done(const struct deferred *d)
{
    return d->called && !d->paused && !d->running && d->head == d->tail;
}

bool deferred_done(lua_State *L, int i)
{
    return done(lua_touserdata(L, i));
}

/* ---- the result ---- */

/* Replaces the n values on the top by one that stands for them: nil or a list. */
static void pack(lua_State *L, int n)
{
    if (n == 0) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, n, 0);
    lua_insert(L, -(n + 1));
    for (int v = n; v > 0; v--)
        lua_rawseti(L, -(v + 1), v);
}

/* Replaces the list on the top by its n values. */
static void unpack(lua_State *L, int n)
{
    luaL_checkstack(L, n, NULL);
    for (int v = 1; v <= n; v++)
        lua_rawgeti(L, -v, v);
    lua_remove(L, -(n + 1));
}

/* Takes n values off the top as the new result. */
static inline void set_result(lua_State *L, struct deferred *d, int i, bool ok, int n)
{
    d->failed = !ok;
    d->taken = false;
    d->nresults = n;
    if (n != 1)
        pack(L, n);
    set(L, i, DEFERRED_RESULT);
}

/* Pushes the result; how many values. */
static inline int push_result(lua_State *L, const struct deferred *d, int i)
{
    get(L, i, DEFERRED_RESULT);
    if (d->nresults != 1)
        unpack(L, d->nresults);
    return d->nresults;
}

int deferred_result(lua_State *L, int i, bool *ok)
{
    struct deferred *d = lua_touserdata(L, i);
    *ok = !d->failed;
    return push_result(L, d, i);
}

/* The same for one who takes it: a failure counts as handled. */
static inline int take_result(lua_State *L, struct deferred *d, int i, bool *ok)
{
    int n = push_result(L, d, i);
    *ok = !d->failed;
    if (!*ok) {
        d->taken = true;
        unhandled_taken(L, i);
    }
    return n;
}

/* Makes the deferred at i, which has not been fired, one with the n values on the top,
** taken off. Its chain is not run. */
static void accept(lua_State *L, struct deferred *d, int i, bool ok, int n)
{
    if (d->canceller) {
        lua_pushnil(L);
        set(L, i, DEFERRED_LINK);
        d->canceller = false;
    }
    d->called = true;
    set_result(L, d, i, ok, n);
}

/* ---- one link ---- */

/* Remembers in t, a waiter, where the failure on the top was raised first. */
static void note_origin(lua_State *L, struct tasklet *t)
{
    tasklet_push(L, t);
    lua_pushvalue(L, -2);
    tasklet_set(L, -2, SIDE_ORIGIN);
    lua_pop(L, 1);
}

/* Gives a copy of the result to each of the tasklets that wait at this place. */
static void serve(lua_State *L, struct deferred *d, int i, struct waiters *w)
{
    struct tasklet *t;
    bool ok;
    while ((t = wait_first(&w->queue))) {
        int n = take_result(L, d, i, &ok);
        if (!ok) {
            note_origin(L, select_owner(t));
            failure_unwrap(L);
        }
        if (!lua_checkstack(t->leaf, n + 1))
            luaL_error(L, "not enough memory");
        if (t != wait_first(&w->queue)) { /* a finalizer has killed it */
            lua_pop(L, n);
            continue;
        }
        lua_xmove(L, t->leaf, n);
        wait_wake(runtime_of(L), t, ok ? WAKE_SERVED : WAKE_RAISE);
    }
}

/* Makes d (at i) wait for the deferred at r; or takes that one's result if it has one. */
static void follow(lua_State *L, struct deferred *d, int i, int r)
{
    struct deferred *inner = lua_touserdata(L, r);
    bool ok;
    if (done(inner)) {
        int n = take_result(L, inner, r, &ok);
        set_result(L, d, i, ok, n);
        set_result(L, inner, r, true, 0);
        return;
    }
    lua_pushvalue(L, i);
    chain_append(L, inner, r, LINK_OUTER);
    lua_pushvalue(L, r);
    set(L, i, DEFERRED_LINK);
    d->waits = true;
    d->paused++;
}

/* Moves the result of the deferred at `from` to the one at `to`, which waited for it. */
static void pass_on(lua_State *L, struct deferred *d, int from, int to)
{
    struct deferred *outer = lua_touserdata(L, to);
    bool ok;
    int n = take_result(L, d, from, &ok);
    set_result(L, outer, to, ok, n);
    set_result(L, d, from, true, 0);
    lua_pushnil(L);
    set(L, to, DEFERRED_LINK);
    outer->waits = false;
    outer->paused--;
}

/* The deferred at i, chained to one that has been fired, fails. Its own failure, if it had
** one, is named in the traceback. */
static void fail_twice_called(lua_State *L, struct deferred *d, int i)
{
    bool ok, failed = d->failed;
    int top = lua_gettop(L);
    error_push(L, ERROR_ALREADY_CALLED, "the deferred has already been called");
    if (failed) {
        take_result(L, d, i, &ok);
        lua_pushliteral(L, "by chain_deferred, with a failure that is lost: ");
        lua_getfield(L, top + 2, "value");
        luaL_tolstring(L, -1, NULL);
        lua_replace(L, -2);
        lua_pushliteral(L, "\n");
        if (lua_getfield(L, top + 2, "traceback") != LUA_TSTRING)
            lua_pushliteral(L, ""), lua_replace(L, -2);
        lua_concat(L, 4);
    }
    failure_push(L, top + 1, failed ? lua_tostring(L, -1) : NULL);
    set_result(L, d, i, false, 1);
    lua_settop(L, top);
}

/* Fires the deferred at `to` with the result of the one at `from`, which becomes nil. */
static void fire_chained(lua_State *L, struct deferred *d, int from, int to)
{
    struct deferred *other = lua_touserdata(L, to);
    bool ok, swallows = other->swallows;
    if (other->called && !swallows) {
        fail_twice_called(L, d, from);
        return;
    }
    int n = take_result(L, d, from, &ok);
    other->swallows = false;
    if (other->called)
        lua_pop(L, n);
    else
        accept(L, other, to, ok, n);
    set_result(L, d, from, true, 0);
}

/* The same with a copy: one that has been fired meanwhile gets nothing. */
static void fire_fork(lua_State *L, struct deferred *d, int from, int to)
{
    struct deferred *other = lua_touserdata(L, to);
    bool ok;
    if (!other->called) {
        int n = take_result(L, d, from, &ok);
        accept(L, other, to, ok, n);
    }
}

/* An errback that raises the error it was given passes the failure on as it was. Replaces
** the failure on the top by that of the deferred at i, if their errors are the same. */
static void keep_origin(lua_State *L, int i)
{
    get(L, i, DEFERRED_RESULT);
    lua_getfield(L, -1, "value");
    lua_getfield(L, -3, "value");
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    lua_remove(L, same ? -2 : -1);
}

/* What a callback of d (at i) has raised, on the top, is its failure; taken off. */
static void set_error(lua_State *L, struct deferred *d, int i)
{
    failure_push(L, -1, NULL); /* TaskletExit comes bare */
    lua_remove(L, -2);
    if (d->failed)
        keep_origin(L, i);
    set_result(L, d, i, false, 1);
}

/* What a callback of d (at i) has returned, the values from `first` to the top, taken off:
** the result, a failure, or a deferred to wait for. */
static void set_returned(lua_State *L, struct deferred *d, int i, int first)
{
    int n = lua_gettop(L) - first + 1;
    int type = n > 0 ? lua_type(L, first) : LUA_TNIL;
    if (type == LUA_TTABLE && failure_test(L, first)) {
        lua_settop(L, first);
        set_result(L, d, i, false, 1);
    } else if (type == LUA_TUSERDATA && object_test(L, first, OBJECT_DEFERRED)) {
        lua_settop(L, first);
        if (lua_rawequal(L, first, i)) {
            lua_pushliteral(L, "a deferred cannot wait for itself");
            set_error(L, d, i);
        } else {
            follow(L, d, i, first);
        }
        lua_settop(L, first - 1);
    } else {
        set_result(L, d, i, true, n);
    }
}

/* Calls the function on the top, taken off, with the result of d (at i); what it returns or
** raises is the new result. */
static void call(lua_State *L, struct deferred *d, int i, int handler)
{
    struct runtime *rt = runtime_of(L);
    bool ok;
    int f = lua_gettop(L);
    int n = take_result(L, d, i, &ok);
    rt->reactor_code++;
    rt->nested_firings++;
    d->running = true;
    bool returned = lua_pcall(L, n, LUA_MULTRET, handler) == LUA_OK;
    d->running = false;
    rt->nested_firings--;
    rt->reactor_code--;
    if (!returned)
        failure_recall(L);
    returned ? set_returned(L, d, i, f) : set_error(L, d, i);
}

/* ---- the chain ---- */

/* Runs the link on the top, of a kind other than one function. Whether it is a deferred that
** has the result now: its chain is to be run. */
static bool run_link(lua_State *L, struct deferred *d, int i, int handler, enum link kind)
{
    int link = lua_gettop(L);
    switch (kind) {
    case LINK_PAIR:
        if (lua_rawgeti(L, link, 1 + d->failed) != LUA_TBOOLEAN)
            call(L, d, i, handler);
        return false;
    case LINK_WAITERS:
        serve(L, d, i, lua_touserdata(L, link));
        return false;
    case LINK_OUTER:
        pass_on(L, d, i, link);
        return true;
    case LINK_CHAINED:
        fire_chained(L, d, i, link);
        return true;
    default:
        fire_fork(L, d, i, link);
        return true;
    }
}

/* Runs the chain of d (at i) up to the place where another deferred gets the result; that
** one is then on the top, above the handler, its chain to be run, and true is returned. */
static bool run_one(lua_State *L, struct deferred *d, int i, int handler)
{
    if (!d->called || d->running)
        return false;
    while (!d->paused && d->head < d->tail) {
        enum link kind = chain_next(L, d, i);
        if (kind > LINK_BOTH) {
            if (run_link(L, d, i, handler, kind))
                return true;
            lua_settop(L, handler);
        } else if (kind & (d->failed ? LINK_ERRBACK : LINK_CALLBACK)) {
            call(L, d, i, handler);
        } else {
            lua_pop(L, 1);
        }
    }
    if (d->failed && !d->taken)
        unhandled_watch(L, i);
    return false;
}

/* Runs the chain of the deferred on the top, taken off, and all that wait for it. */
static void run(lua_State *L)
{
    int d = lua_gettop(L), inner = d + 1, handler = d + 2;
    lua_Integer depth = 0;
    luaL_checkstack(L, 20, NULL);
    lua_pushnil(L); /* then a list of those whose chain goes on when the outer one's is done */
    lua_pushcfunction(L, error_handler_keeping);
    for (;;) {
        if (run_one(L, lua_touserdata(L, d), d, handler)) {
            if (depth == 0) {
                lua_newtable(L);
                lua_replace(L, inner);
            }
            lua_pushvalue(L, d);
            lua_rawseti(L, inner, ++depth);
            lua_replace(L, d);
        } else if (depth > 0) {
            lua_rawgeti(L, inner, depth);
            lua_replace(L, d);
            lua_pushnil(L);
            lua_rawseti(L, inner, depth--);
        } else {
            break;
        }
    }
    lua_settop(L, d - 1);
}

/* Runs what was postponed, and what is meanwhile. */
static void run_postponed(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->postponed_ref);
    for (lua_Integer n = 1; n <= rt->postponed_count; n++) {
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

static int run_postponed_here(lua_State *L)
{
    run_postponed(L);
    return 0;
}

void deferred_run_postponed(struct runtime *rt)
{
    if (rt->postponed_count > 0)
        runtime_enter(rt, run_postponed_here, NULL);
}

/* Runs the chain of the deferred at i, which has been fired: now, when the outermost firing
** is done, or, if this is a finalizer's doing, in the next turn. */
static void start(lua_State *L, struct deferred *d, int i)
{
    struct runtime *rt = runtime_of(L);
    if (d->running)
        return;
    lua_pushvalue(L, i);
    if (rt->nested_firings >= MAX_NESTED || (!rt->closing && wait_in_finalizer(L))) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, rt->postponed_ref);
        lua_insert(L, -2);
        lua_rawseti(L, -2, ++rt->postponed_count);
        lua_pop(L, 1);
        return;
    }
    run(L);
    if (rt->postponed_count > 0 && rt->nested_firings == 0)
        run_postponed(L);
}

/* ---- firing ---- */

/* Replaces an error on the top by its failure. */
static void to_failure(lua_State *L)
{
    if (failure_test(L, -1))
        return;
    failure_push(L, -1, NULL);
    lua_remove(L, -2);
}

void deferred_settle(lua_State *L, int i, bool ok, int n)
{
    struct deferred *d = lua_touserdata(L, i);
    int first = lua_gettop(L) - n + 1;
    i = lua_absindex(L, i);
    if (!ok)
        to_failure(L);
    if (d->called) {
        lua_pop(L, n);
        return;
    }
    if (ok && n > 0 && object_test(L, first, OBJECT_DEFERRED) && !lua_rawequal(L, first, i)) {
        accept(L, d, i, true, 0);
        follow(L, d, i, first);
        lua_settop(L, first - 1);
    } else {
        accept(L, d, i, ok, n);
    }
    start(L, d, i);
}

void deferred_fire(lua_State *L, int i, bool ok, int n)
{
    struct deferred *d = lua_touserdata(L, i);
    int type = n > 0 ? lua_type(L, -n) : LUA_TNIL;
    i = lua_absindex(L, i);
    if (d->called && d->swallows) {
        d->swallows = false;
        lua_pop(L, n);
        return;
    }
    if (type == LUA_TUSERDATA && object_test(L, -n, OBJECT_DEFERRED))
        luaL_error(L, "a deferred cannot be fired with a deferred; return it from a callback");
    if (n == 1 && type == LUA_TTABLE && failure_test(L, -1))
        ok = false;
    if (!ok)
        to_failure(L); /* may run a finalizer */
    if (d->called)
        error_raise(L, ERROR_ALREADY_CALLED, "the deferred has already been called");
    accept(L, d, i, ok, n);
    start(L, d, i);
}

/* Appends the value on the top, taken off, to the chain, which runs if it has been fired. */
static void append(lua_State *L, int i, enum link kind)
{
    struct deferred *d = lua_touserdata(L, i);
    chain_append(L, d, i, kind);
    if (d->called)
        start(L, d, i);
}

void deferred_add(lua_State *L, int i, bool ok, bool fail)
{
    append(L, lua_absindex(L, i), (ok ? LINK_CALLBACK : 0) | (fail ? LINK_ERRBACK : 0));
}

void deferred_add_pair(lua_State *L, int i)
{
    i = lua_absindex(L, i);
    lua_createtable(L, 2, 0);
    lua_insert(L, -3);
    for (int half = 2; half > 0; half--) {
        if (lua_isnil(L, -1))
            lua_pushboolean(L, 0), lua_replace(L, -2);
        lua_rawseti(L, -1 - half, half);
    }
    append(L, i, LINK_PAIR);
}

void deferred_chain(lua_State *L, int i, int other)
{
    i = lua_absindex(L, i);
    lua_pushvalue(L, other);
    append(L, i, LINK_CHAINED);
}

void deferred_fork(lua_State *L, int i)
{
    i = lua_absindex(L, i);
    deferred_push(L, 0);
    lua_pushvalue(L, -1);
    append(L, i, LINK_FORK);
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
    if (d->paused == d->waits)
        luaL_error(L, "the deferred is not paused");
    d->paused--;
    if (d->called)
        start(L, d, lua_absindex(L, i));
}

/* ---- cancelling ---- */

void deferred_owned(lua_State *L, int i)
{
    ((struct deferred *)lua_touserdata(L, i))->owned = true;
    set(L, i, DEFERRED_OWNER);
}

void deferred_owner(lua_State *L, int i)
{
    get(L, i, DEFERRED_OWNER);
}

void deferred_asks(lua_State *L, int i)
{
    ((struct deferred *)lua_touserdata(L, i))->asks = true;
}

/* Kills the tasklet that the deferred at i stands for. */
static void kill_owner(lua_State *L, int i)
{
    get(L, i, DEFERRED_OWNER);
    struct tasklet *t = lua_touserdata(L, -1);
    if (tasklet_alive(t)) {
        error_push(L, ERROR_TASKLET_EXIT, NULL);
        if (t->state != TASKLET_RUNNING)
            tasklet_throw(L, t, false);
        else if (wait_in_reactor_code(L))
            tasklet_interrupt(L, lua_gettop(L) - 1);
        else
            lua_error(L);
    }
    lua_pop(L, 1);
}

/* Calls the canceller of the deferred at i; its error is the caller's. */
static void call_canceller(lua_State *L, int i)
{
    struct runtime *rt = runtime_of(L);
    get(L, i, DEFERRED_LINK);
    lua_pushvalue(L, i);
    rt->reactor_code++;
    int status = lua_pcall(L, 1, 0, 0);
    rt->reactor_code--;
    if (status != LUA_OK)
        lua_error(L);
}

/* Replaces the deferred on the top by the innermost one that it waits for, unfired or
** paused; or, if they wait for one another in a ring, by any of them. */
static struct deferred *innermost(lua_State *L)
{
    struct deferred *d = lua_touserdata(L, -1), *tortoise = d;
    for (uint32_t n = 1, power = 1; d->waits; n++) { /* Brent's */
        get(L, -1, DEFERRED_LINK);
        lua_replace(L, -2);
        d = lua_touserdata(L, -1);
        if (d == tortoise)
            break;
        if (n == power)
            tortoise = d, power *= 2, n = 0;
    }
    return d;
}

void deferred_cancel(lua_State *L, int i)
{
    luaL_checkstack(L, 5, NULL);
    lua_pushvalue(L, i);
    struct deferred *d = innermost(L);
    int at = lua_gettop(L);
    if (!d->called && d->owned) {
        kill_owner(L, at);
    } else if (!d->called) {
        d->swallows = !d->canceller;
        if (d->canceller)
            call_canceller(L, at);
        if (!d->asks) {
            error_push(L, ERROR_CANCELLED, "cancelled");
            deferred_settle(L, at, false, 1); /* unless the canceller has fired it */
        }
    }
    lua_settop(L, at - 1);
}

/* ---- waiting ---- */

int deferred_take(lua_State *L, int i)
{
    struct runtime *rt = runtime_of(L);
    bool ok;
    i = lua_absindex(L, i);
    int n = take_result(L, lua_touserdata(L, i), i, &ok);
    if (ok)
        return n;
    if (rt->current)
        note_origin(L, rt->current);
    failure_unwrap(L);
    return lua_error(L);
}

struct wait_queue *deferred_queue(lua_State *L, int i)
{
    return chain_queue(L, lua_absindex(L, i));
}

int deferred_wait(lua_State *L, double timeout, lua_KContext ctx, lua_KFunction k)
{
    struct wait_queue *q = deferred_queue(L, 1);
    lua_pop(L, 1); /* it is in the chain, which nothing runs before the wait */
    return wait_on(L, q, timeout, ctx, k);
}

static int cancel(lua_State *L)
{
    deferred_cancel(L, 1);
    return 0;
}

void deferred_abandon(lua_State *L, int i)
{
    if (!chain_deserted(L, i))
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

void deferred_open(lua_State *L)
{
    chain_open(L);
    unhandled_open(L);
}
