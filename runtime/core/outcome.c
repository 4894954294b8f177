#include "core/outcome.h"

#include "core/deferred.h"
#include "core/interrupt.h"
#include "core/tasklet.h"

/* Packs the results at first..top into a table with n; stays on the top. */
static void pack(lua_State *L, int first)
{
    int n = lua_gettop(L) - first + 1;
    lua_createtable(L, n, 1);
    for (int i = 0; i < n; i++) {
        lua_pushvalue(L, first + i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushinteger(L, n);
    lua_setfield(L, -2, "n");
}

/* Gives one joiner `true, results...` or `false, error`. */
static void answer_joiner(lua_State *L, struct tasklet *joiner, bool ok, int first)
{
    int n = lua_gettop(L) - first + 1;
    luaL_checkstack(L, n + 1, NULL);
    if (!lua_checkstack(joiner->leaf, n + 1))
        luaL_error(L, "not enough memory");
    lua_pushboolean(L, ok);
    for (int i = 0; i < n; i++)
        lua_pushvalue(L, first + i);
    lua_xmove(L, joiner->leaf, n + 1);
    wait_wake(runtime_of(L), joiner, WAKE_SERVED);
}

/* Keeps the outcome at first..top for those who join later; most have nothing to keep. */
static void keep_outcome(lua_State *L, int self, bool ok, int first)
{
    if (ok && lua_gettop(L) < first) {
        struct tasklet *t = lua_touserdata(L, self);
        if (t->side)
            t->side->ended = false; /* it may have had a life before */
        return;
    }
    struct side *side = tasklet_side(L, self);
    side->ended = true;
    side->ok = ok;
    ok ? pack(L, first) : lua_pushvalue(L, first);
    tasklet_set(L, self, SIDE_OUTCOME);
}

/* Fires the deferred that stands for the tasklet, if it has one. */
static bool answer_deferred(lua_State *L, int self, bool ok, int first)
{
    int top = lua_gettop(L);
    tasklet_get(L, self, SIDE_DEFERRED);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return false;
    }
    if (!ok && error_is(L, first, ERROR_TASKLET_EXIT)) {
        error_push(L, ERROR_CANCELLED, "the tasklet was killed");
    } else {
        luaL_checkstack(L, top - first + 2, NULL);
        for (int i = first; i <= top; i++)
            lua_pushvalue(L, i);
    }
    deferred_settle(L, top + 1, ok, lua_gettop(L) - top - 1);
    lua_settop(L, top);
    lua_pushnil(L); /* another life is not that deferred's */
    tasklet_set(L, self, SIDE_DEFERRED);
    return true;
}

/* Tells those who watch the tasklet how it ended; whether one of them takes its error. */
static bool tell_watchers(lua_State *L, int self, bool ok, int first)
{
    struct runtime *rt = runtime_of(L);
    bool taken = false;
    int top = lua_gettop(L);
    tasklet_get(L, self, SIDE_WATCHERS);
    lua_pushcfunction(L, error_handler);
    for (int i = 1; lua_istable(L, top + 1); i++) {
        if (lua_rawgeti(L, top + 1, i) == LUA_TNIL)
            break;
        lua_pushvalue(L, self);
        lua_pushboolean(L, ok);
        if (ok)
            first <= top ? lua_pushvalue(L, first) : lua_pushnil(L);
        else if (error_is(L, first, ERROR_TASKLET_EXIT))
            lua_pushvalue(L, first);
        else
            failure_push(L, first, "");
        rt->reactor_code++;
        int status = lua_pcall(L, 3, 1, top + 2);
        rt->reactor_code--;
        if (status == LUA_OK)
            taken |= lua_toboolean(L, -1);
        else {
            runtime_of(L)->untold = true;
            error_report(L, NULL, "");
        }
        lua_settop(L, top + 2);
    }
    if (lua_istable(L, top + 1)) { /* another life is not theirs to watch */
        lua_pushnil(L);
        tasklet_set(L, self, SIDE_WATCHERS);
    }
    lua_settop(L, top);
    return taken;
}

void outcome_settle(lua_State *L, int self, bool ok, int first)
{
    struct tasklet *t = lua_touserdata(L, self), *joiner;
    bool doomed = t->doomed;
    t->thrown = t->doomed = false;          /* too late, or done */
    luaL_checkstack(L, LUA_MINSTACK, NULL); /* the results may have filled the frame */
    if (!ok && t == runtime_of(L)->main && error_is(L, first, ERROR_INTERRUPTED))
        interrupt_uncaught(runtime_of(L));
    if (!ok)
        failure_recall_of(L, self, first);
    /* the program's main tasklet never ends without a word */
    bool taken =
        ok || doomed || (error_is(L, first, ERROR_TASKLET_EXIT) && t != runtime_of(L)->main);
    if (t->side) {
        taken |= answer_deferred(L, self, ok, first);
        taken |= tell_watchers(L, self, ok, first);
        taken |= !list_empty(&t->side->joiners.waiters);
    }
    if (!taken) {
        lua_pushvalue(L, first);
        error_report(L, t, "");
    }
    if (!ok)
        failure_unwrap(L);
    keep_outcome(L, self, ok, first);
    while (t->side && (joiner = wait_first(&t->side->joiners)))
        answer_joiner(L, joiner, ok, first);
}

int outcome_push(lua_State *L, int i)
{
    struct tasklet *t = lua_touserdata(L, i);
    if (!t->side || !t->side->ended) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushboolean(L, t->side->ok);
    tasklet_get(L, i, SIDE_OUTCOME);
    if (!t->side->ok)
        return 2;
    int list = lua_gettop(L);
    lua_getfield(L, list, "n");
    int n = (int)lua_tointeger(L, -1);
    luaL_checkstack(L, n, NULL);
    lua_pop(L, 1);
    for (int v = 1; v <= n; v++)
        lua_rawgeti(L, list, v);
    lua_remove(L, list);
    return n + 1;
}

void outcome_watch(lua_State *L, int i, int f)
{
    i = lua_absindex(L, i);
    f = lua_absindex(L, f);
    tasklet_get(L, i, SIDE_WATCHERS);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_createtable(L, 1, 0);
        lua_pushvalue(L, -1);
        tasklet_set(L, i, SIDE_WATCHERS);
    }
    lua_pushvalue(L, f);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
}
