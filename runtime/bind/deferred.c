/* Deferreds, failures and the bridge as scripts see them: lua/neap/types/deferred.lua. */
#include "core/deferred.h"

#include "bind/bind.h"
#include "core/sched.h"
#include "core/tasklet.h"
#include "core/unhandled.h"
#include "core/wait.h"

#include <math.h>
#include <string.h>

static void check(lua_State *L)
{
    object_check(L, 1, OBJECT_DEFERRED);
}

/* deferred([canceller]) */
static int new_deferred(lua_State *L)
{
    bool canceller = !lua_isnoneornil(L, 1);
    if (canceller)
        bind_check_callable(L, 1);
    deferred_push(L, canceller ? 1 : 0);
    return 1;
}

/* d:callback(...) */
static int callback(lua_State *L)
{
    check(L);
    deferred_fire(L, 1, true, lua_gettop(L) - 1);
    return 0;
}

/* d:errback(err) */
static int errback(lua_State *L)
{
    check(L);
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    deferred_fire(L, 1, false, 1);
    return 0;
}

/* A callback with extra arguments: called with the first value of the result, then these.
** Upvalues: the function, how many, the arguments. */
static int call_with_extra(lua_State *L)
{
    int n = (int)lua_tointeger(L, lua_upvalueindex(2));
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    luaL_checkstack(L, n, NULL);
    for (int i = 0; i < n; i++)
        lua_pushvalue(L, lua_upvalueindex(3 + i));
    lua_call(L, n + 1, LUA_MULTRET);
    return lua_gettop(L);
}

/* The function at 2 with the extra arguments behind it becomes one function, at 2. */
static void bind_extra(lua_State *L)
{
    int n = lua_gettop(L) - 2;
    bind_check_callable(L, 2);
    if (n == 0)
        return;
    luaL_argcheck(L, n < 250, 3, "too many extra arguments");
    lua_pushinteger(L, n);
    lua_insert(L, 3);
    lua_pushcclosure(L, call_with_extra, n + 2);
}

static int add(lua_State *L, bool ok, bool fail)
{
    check(L);
    bind_extra(L);
    deferred_add(L, 1, ok, fail);
    return 1;
}

/* d:add_callback(f, ...), d:add_errback(f, ...), d:add_both(f, ...) */
static int add_callback(lua_State *L)
{
    return add(L, true, false);
}

static int add_errback(lua_State *L)
{
    return add(L, false, true);
}

static int add_both(lua_State *L)
{
    return add(L, true, true);
}

/* d:add_callbacks(f, g) */
static int add_callbacks(lua_State *L)
{
    check(L);
    lua_settop(L, 3);
    for (int i = 2; i <= 3; i++)
        if (!lua_isnil(L, i))
            bind_check_callable(L, i);
    deferred_add_pair(L, 1);
    return 1;
}

/* d:chain_deferred(other) */
static int chain_deferred(lua_State *L)
{
    check(L);
    object_check(L, 2, OBJECT_DEFERRED);
    deferred_chain(L, 1, 2);
    lua_settop(L, 1);
    return 1;
}

/* d:fork() */
static int fork_(lua_State *L)
{
    check(L);
    deferred_fork(L, 1);
    return 1;
}

/* d:pause(), d:unpause() */
static int pause_(lua_State *L)
{
    check(L);
    deferred_pause(L, 1);
    return 0;
}

static int unpause(lua_State *L)
{
    check(L);
    lua_settop(L, 1);
    deferred_unpause(L, 1);
    return 0;
}

/* d:cancel() */
static int cancel(lua_State *L)
{
    check(L);
    deferred_cancel(L, 1);
    return 0;
}

/* ---- block_on ---- */

static int waited(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    struct tasklet *t = runtime_of(L)->current;
    if (t->left) {
        t->left = LEFT_NOTHING;
        deferred_abandon(L, 1);
    }
    if (wait_result(L) == WAKE_TIMEOUT)
        return error_raise(L, ERROR_TIMEOUT, "timeout");
    return lua_gettop(L) - (int)ctx;
}

/* block_on(d[, timeout]), d:wait([timeout]) */
static int block_on(lua_State *L)
{
    double timeout = wait_timeout(L, 2);
    if (!object_test(L, 1, OBJECT_DEFERRED)) {
        lua_settop(L, 1);
        return 1;
    }
    lua_settop(L, 1);
    if (deferred_done(L, 1))
        return deferred_take(L, 1);
    wait_check(L);
    return deferred_wait(L, timeout, 1, waited);
}

static int wait(lua_State *L)
{
    check(L);
    return block_on(L);
}

/* ---- the bridge ---- */

/* Replaces the function and its arguments at 1..top by a deferred of its results, at 1.
** The function runs in a tasklet of its own, spawned where `level` says. */
static void start_worker(lua_State *L, int level)
{
    tasklet_spawn(L, lua_gettop(L) - 1, level);
    deferred_push(L, 0);
    lua_pushvalue(L, -1);
    tasklet_set(L, 1, SIDE_DEFERRED);
    lua_pushvalue(L, 1);
    deferred_owned(L, 2);
    lua_replace(L, 1);
    lua_settop(L, 1);
}

/* What deferred_tasklet(f) returns. */
static int run_deferred(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    start_worker(L, 1);
    return 1;
}

/* What blocking_tasklet(f) returns. */
static int run_blocking(lua_State *L)
{
    wait_check(L); /* before anything is started */
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    start_worker(L, 1);
    return deferred_wait(L, HUGE_VAL, 1, waited);
}

static int deferred_tasklet(lua_State *L)
{
    bind_check_callable(L, 1);
    lua_settop(L, 1);
    lua_pushcclosure(L, run_deferred, 1);
    return 1;
}

static int blocking_tasklet(lua_State *L)
{
    bind_check_callable(L, 1);
    lua_settop(L, 1);
    lua_pushcclosure(L, run_blocking, 1);
    return 1;
}

/* in_reactor(): whether nothing may block here */
static int in_reactor(lua_State *L)
{
    lua_pushboolean(L, wait_in_reactor_code(L));
    return 1;
}

/* ---- succeed, fail ---- */

static int succeed(lua_State *L)
{
    deferred_push(L, 0);
    lua_insert(L, 1);
    deferred_fire(L, 1, true, lua_gettop(L) - 1);
    return 1;
}

static int fail(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    deferred_push(L, 0);
    lua_insert(L, 1);
    deferred_fire(L, 1, false, 1);
    return 1;
}

static int maybe_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    bool ok = status == LUA_OK || status == LUA_YIELD;
    if (!ok) {
        failure_recall(L);
        lua_pushvalue(L, -1);
        failure_unwrap(L);
        if (error_unwinds(L, -1))
            return lua_error(L);
        lua_pop(L, 1);
    }
    if (ok && object_test(L, 2, OBJECT_DEFERRED)) {
        lua_settop(L, 2);
        return 1;
    }
    lua_remove(L, 1); /* the handler */
    deferred_push(L, 0);
    lua_insert(L, 1);
    deferred_fire(L, 1, ok, lua_gettop(L) - 1);
    lua_settop(L, 1);
    return 1;
}

/* maybe_deferred(f, ...): f(...) as a deferred, whatever it gives or raises; f may wait */
static int maybe_deferred(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushcfunction(L, error_handler_keeping);
    lua_insert(L, 1);
    int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0, maybe_k);
    return maybe_k(L, status, 0);
}

/* flush_unhandled(): collects, and gives a list of the failures that nobody has handled;
** they are then not reported */
static int flush_unhandled(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT);
    lua_gc(L, LUA_GCCOLLECT); /* what a finalizer of the first has let go of */
    unhandled_take_all(L);
    return 1;
}

/* ---- failures ---- */

static void check_failure(lua_State *L)
{
    if (!failure_test(L, 1))
        luaL_typeerror(L, 1, "failure");
}

/* An error's text behind its "file:line: ", if it has that. */
static const char *without_place(const char *text)
{
    for (const char *p = strchr(text, ':'); p; p = strchr(p + 1, ':')) {
        size_t digits = strspn(p + 1, "0123456789");
        if (digits > 0 && strncmp(p + 1 + digits, ": ", 2) == 0)
            return p + digits + 3;
    }
    return text;
}

/* Whether the error at `value` is of the kind at `kind`. */
static bool is_kind(lua_State *L, int value, int kind)
{
    int top = lua_gettop(L);
    bool same = lua_rawequal(L, value, kind);
    if (!same && lua_isfunction(L, kind)) {
        lua_pushvalue(L, kind);
        lua_pushvalue(L, value);
        lua_call(L, 1, 1);
        same = lua_toboolean(L, -1);
    } else if (!same && lua_istable(L, value)) {
        lua_getfield(L, value, "code");
        same = lua_rawequal(L, -1, kind) && !lua_isnil(L, -1);
        lua_settop(L, top);
        /* its metatable, and that one's __index chain */
        if (!same && lua_getmetatable(L, value)) {
            for (int n = 0; n < 100 && lua_istable(L, -1) && !same; n++) {
                same = lua_rawequal(L, -1, kind);
                lua_pushliteral(L, "__index");
                lua_rawget(L, -2);
                if (lua_rawequal(L, -1, -2) && !lua_getmetatable(L, -2))
                    break;
                lua_replace(L, top + 1);
                lua_settop(L, top + 1);
            }
        }
    } else if (!same && lua_type(L, value) == LUA_TSTRING && lua_type(L, kind) == LUA_TSTRING) {
        same = strcmp(without_place(lua_tostring(L, value)), lua_tostring(L, kind)) == 0;
    }
    lua_settop(L, top);
    return same;
}

/* f:check(kind, ...): the first kind that matches, or nil */
static int failure_check(lua_State *L)
{
    check_failure(L);
    int top = lua_gettop(L);
    lua_getfield(L, 1, "value");
    for (int i = 2; i <= top; i++) {
        if (is_kind(L, top + 1, i)) {
            lua_pushvalue(L, i);
            return 1;
        }
    }
    lua_pushnil(L);
    return 1;
}

/* f:trap(kind, ...): the same, but raises the error if none matches */
static int failure_trap(lua_State *L)
{
    failure_check(L);
    if (!lua_isnil(L, -1))
        return 1;
    lua_pushvalue(L, 1);
    failure_unwrap(L);
    return lua_error(L);
}

/* f:raise() */
static int failure_raise(lua_State *L)
{
    check_failure(L);
    lua_settop(L, 1);
    failure_unwrap(L);
    return lua_error(L);
}

static int failure_tostring(lua_State *L)
{
    check_failure(L);
    lua_getfield(L, 1, "value");
    lua_pushfstring(L, "failure: %s", luaL_tolstring(L, -1, NULL));
    return 1;
}

static void open_failures(lua_State *L)
{
    static const luaL_Reg methods[] = {{"check", failure_check},
                                       {"trap", failure_trap},
                                       {"raise", failure_raise},
                                       {NULL, NULL}};
    struct runtime *rt = runtime_of(L);
    lua_createtable(L, 0, 3);
    lua_pushliteral(L, "failure");
    lua_setfield(L, -2, "__name");
    lua_pushcfunction(L, failure_tostring);
    lua_setfield(L, -2, "__tostring");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    rt->failure_id = lua_topointer(L, -1);
    rt->failure_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

static int to_string(lua_State *L)
{
    check(L);
    const struct deferred *d = lua_touserdata(L, 1);
    const char *state = !d->called            ? "unfired"
                        : deferred_done(L, 1) ? "fired"
                        : d->waits            ? "waiting on another"
                                              : "paused";
    lua_pushfstring(L, "deferred: %p (%s)", lua_topointer(L, 1), state);
    return 1;
}

static void get_called(lua_State *L, void *object)
{
    const struct deferred *d = object;
    lua_pushboolean(L, d->called);
}

static void get_paused(lua_State *L, void *object)
{
    const struct deferred *d = object;
    lua_pushboolean(L, d->paused > 0);
}

static void get_result(lua_State *L, void *object)
{
    const struct deferred *d = object;
    bool ok;
    int n = d->called ? deferred_result(L, 1, &ok) : 0;
    n == 0 ? lua_pushnil(L) : lua_pop(L, n - 1);
}

static void get_tasklet(lua_State *L, void *d)
{
    (void)d;
    deferred_owner(L, 1);
}

void bind_deferreds(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"deferred", new_deferred},
        {"block_on", block_on},
        {"deferred_tasklet", deferred_tasklet},
        {"blocking_tasklet", blocking_tasklet},
        {"in_reactor", in_reactor},
        {"succeed", succeed},
        {"fail", fail},
        {"maybe_deferred", maybe_deferred},
        {"flush_unhandled", flush_unhandled},
        {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"callback", callback},
        {"errback", errback},
        {"add_callback", add_callback},
        {"add_errback", add_errback},
        {"add_both", add_both},
        {"cancel", cancel},
        {"chain_deferred", chain_deferred},
        {"fork", fork_},
        {"pause", pause_},
        {"unpause", unpause},
        {"add_timeout", bind_add_timeout},
        {"add_callbacks", add_callbacks},
        {"wait", wait},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {{"__tostring", to_string}, {NULL, NULL}};
    static const struct object_property properties[] = {
        {"called", get_called, NULL}, {"paused", get_paused, NULL},
        {"result", get_result, NULL}, {"tasklet", get_tasklet, NULL},
        {NULL, NULL, NULL},
    };
    object_class_new(L, OBJECT_DEFERRED,
                     &(struct object_class){"deferred", methods, meta, properties, false});
    deferred_open(L);
    open_failures(L);
    luaL_setfuncs(L, functions, 0);
}
