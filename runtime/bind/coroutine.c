/* Lua's coroutine library for code that runs in tasklets: a tasklet's root looks like
** Lua's main thread, and a wait inside a script's own coroutine suspends the whole
** tasklet. resume and wrap recognise neap's own yields (runtime.suspending) and pass them
** outward; on the way back each level resumes only the next. While it is suspended, such
** a level has exactly the coroutine it resumed on its frame, at index 1. */
#include "bind/bind.h"

#include "core/interrupt.h"
#include "core/slice.h"
#include "core/trace.h"

/* Nested closing of coroutines ends here: Lua 5.4.4 has no limit of its own. */
enum { MAX_CLOSING = 150 };

static lua_State *check(lua_State *L, int i)
{
    lua_State *co = lua_tothread(L, i);
    luaL_argexpected(L, co, i, "thread");
    if (runtime_of(co) != runtime_of(L)) /* older than the library, in a state it has adopted */
        *thread_word(co) = (uintptr_t)runtime_of(L);
    return co;
}

/* ---- resume and wrap ---- */

static int finish_resume(lua_State *L, lua_State *co, int status, int n)
{
    if (status == LUA_OK || status == LUA_YIELD) {
        if (lua_checkstack(L, n + 1)) {
            lua_pushboolean(L, 1);
            lua_xmove(co, L, n);
            return n + 1;
        }
        lua_pop(co, n);
        lua_pushliteral(co, "too many results to resume");
    }
    lua_pushboolean(L, 0);
    lua_xmove(co, L, 1);
    interrupt_caught(L, -1, false);
    return 2;
}

/* Closes what is pending in a coroutine whose own error it is. */
static int reset_failed(lua_State *co)
{
    trace_note(co);
    return lua_resetthread(co);
}

static int finish_wrap(lua_State *L, lua_State *co, int status, int n)
{
    bool traced = false;
    if (status == LUA_OK || status == LUA_YIELD) {
        if (lua_checkstack(L, n)) {
            lua_xmove(co, L, n);
            return n;
        }
        lua_pop(co, n);
        lua_pushliteral(L, "too many results to resume");
    } else {
        if (lua_status(co) != LUA_OK && lua_status(co) != LUA_YIELD)
            status = reset_failed(co);
        traced = trace_is_of(co, -1);
        lua_xmove(co, L, 1);
    }
    if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    if (traced)
        trace_pass(L);
    return lua_error(L);
}

typedef int finish_fn(lua_State *L, lua_State *co, int status, int n);

static int go_on(lua_State *L, int status, lua_KContext finish);

/* co, at index 1, has come back to L. */
static int came_back(lua_State *L, lua_State *co, int status, int n, lua_KContext finish)
{
    struct runtime *rt = runtime_of(L);
    if (status == LUA_YIELD && rt->suspending) {
        *thread_word(co) |= THREAD_WAITING;
        return lua_yieldk(L, 0, finish, go_on);
    }
    if (rt->current && rt->current->leaf == co) {
        rt->current->leaf = L;
        slice_turn(rt, L);
        if (rt->current->thrown || rt->run_limit || rt->slice.stands)
            slice_new_leaf(L, rt->current);
    }
    return ((finish_fn *)finish)(L, co, status, n);
}

/* The wait inside is over: resumes the next level. */
static int go_on(lua_State *L, int status, lua_KContext finish)
{
    int n;
    lua_State *co = lua_tothread(L, 1);
    *thread_word(co) &= ~(uintptr_t)THREAD_WAITING;
    status = lua_resume(co, L, 0, &n);
    return came_back(L, co, status, n, finish);
}

/* Resumes co, which is alone at index 1 of L, with nargs values on its own stack. */
static int step(lua_State *L, lua_State *co, int nargs, finish_fn *finish)
{
    struct runtime *rt = runtime_of(L);
    struct tasklet *t = rt->current;
    lua_State *stop = rt->chain_stop;
    int n;
    if (rt->slice.stands)
        slice_charge(L);
    if (t && t->leaf == L) {
        if (!stop && !lua_isyieldable(L))
            rt->chain_stop = L;
        t->leaf = co;
        slice_turn(rt, co);
        if (rt->run_limit || rt->slice.stands)
            slice_new_leaf(L, t);
    }
    int status = lua_resume(co, L, nargs, &n);
    if (!rt->suspending)
        rt->chain_stop = stop;
    return came_back(L, co, status, n, (lua_KContext)finish);
}

/* Why co cannot be resumed now, or NULL. [E] */
static const char *refusal(lua_State *L, lua_State *co, int nargs)
{
    struct tasklet *t = runtime_of(L)->current;
    if (t && t->thrown && !t->late && wait_possible(L))
        slice_raise(L, t);
    if (*thread_word(co) & THREAD_OVER)
        return "cannot resume dead coroutine";
    if (*thread_word(co) & THREAD_MARKS ||
        (lua_status(co) == LUA_OK && (co == L || lua_getstack(co, 0, &(lua_Debug){0}))))
        return "cannot resume non-suspended coroutine";
    if (lua_status(co) != LUA_YIELD && (lua_status(co) != LUA_OK || lua_gettop(co) == 0))
        return "cannot resume dead coroutine";
    return lua_checkstack(co, nargs) ? NULL : "too many arguments to resume";
}

static int resume(lua_State *L)
{
    lua_State *co = check(L, 1);
    int nargs = lua_gettop(L) - 1;
    const char *why = refusal(L, co, nargs);
    if (why) {
        lua_pushboolean(L, 0);
        lua_pushstring(L, why);
        return 2;
    }
    lua_xmove(L, co, nargs);
    return step(L, co, nargs, finish_resume);
}

static int wrapped(lua_State *L)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    int nargs = lua_gettop(L);
    const char *why = refusal(L, co, nargs);
    if (why) {
        luaL_where(L, 1);
        lua_pushstring(L, why);
        lua_concat(L, 2);
        return lua_error(L);
    }
    lua_xmove(L, co, nargs);
    lua_pushvalue(L, lua_upvalueindex(1));
    return step(L, co, nargs, finish_wrap);
}

static int create(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    return 1;
}

static int wrap(lua_State *L)
{
    create(L);
    lua_pushcclosure(L, wrapped, 1);
    return 1;
}

/* ---- the rest ---- */

static const char *status_of(lua_State *L, lua_State *co)
{
    if (co == L)
        return "running";
    if (*thread_word(co) & THREAD_OVER)
        return "dead";
    if (*thread_word(co) & THREAD_MARKS)
        return "normal";
    switch (lua_status(co)) {
    case LUA_YIELD:
        return "suspended";
    case LUA_OK:
        if (lua_getstack(co, 0, &(lua_Debug){0}))
            return "normal";
        return lua_gettop(co) == 0 ? "dead" : "suspended";
    default:
        return "dead";
    }
}

static int status(lua_State *L)
{
    lua_pushstring(L, status_of(L, check(L, 1)));
    return 1;
}

/* What is thrown into the coroutine is raised here. */
static int yielded(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct runtime *rt = runtime_of(L);
    if (rt->thrown_into != L)
        return lua_gettop(L);
    rt->thrown_into = NULL;
    return lua_error(L);
}

/* At a tasklet's root: as in Lua's main thread. */
static int yield(lua_State *L)
{
    if (*thread_word(L) & THREAD_ROOT) {
        lua_pushliteral(L, "attempt to yield from outside a coroutine");
        return lua_error(L);
    }
    return lua_yieldk(L, lua_gettop(L), 0, yielded);
}

/* Whether co is suspended in coroutine.yield. */
static bool in_yield(lua_State *L, lua_State *co)
{
    lua_Debug ar;
    if (lua_status(co) != LUA_YIELD || !lua_checkstack(co, 2) || !lua_getstack(co, 0, &ar))
        return false;
    lua_getinfo(co, "f", &ar);
    bool so = lua_tocfunction(co, -1) == yield;
    lua_pop(co, 1);
    return so && !refusal(L, co, 1);
}

int bind_throw(lua_State *L)
{
    lua_State *co = check(L, 1);
    lua_settop(L, 2);
    luaL_argcheck(L, in_yield(L, co), 1, "a coroutine that has yielded expected");
    lua_xmove(L, co, 1);
    runtime_of(L)->thrown_into = co;
    return step(L, co, 1, finish_resume);
}

static int isyieldable(lua_State *L)
{
    lua_State *co = lua_isthread(L, 1) ? lua_tothread(L, 1) : L;
    lua_pushboolean(L, !(*thread_word(co) & THREAD_ROOT) && lua_isyieldable(co));
    return 1;
}

static int running(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    bool root = *thread_word(L) & THREAD_ROOT;
    if (root && rt->current)
        rt->current->exposed = true;
    int is_main = lua_pushthread(L);
    lua_pushboolean(L, is_main || root);
    return 2;
}

static int close(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    lua_State *co = check(L, 1);
    const char *state = status_of(L, co);
    if (*state != 'd' && *state != 's')
        return luaL_error(L, "cannot close a %s coroutine", state);
    if (*thread_word(co) & THREAD_OVER) {
        lua_pushboolean(L, 1);
        return 1;
    }
    if (rt->closing_depth >= MAX_CLOSING)
        return luaL_error(L, "C stack overflow");
    rt->closing_depth++;
    int code = lua_resetthread(co);
    rt->closing_depth--;
    lua_pushboolean(L, code == LUA_OK);
    if (code == LUA_OK)
        return 1;
    lua_xmove(co, L, 1);
    return 2;
}

void bind_coroutines(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"create", create},   {"resume", resume}, {"wrap", wrap},
        {"yield", yield},     {"status", status}, {"isyieldable", isyieldable},
        {"running", running}, {"close", close},   {NULL, NULL},
    };
    runtime_of(L)->wrapped = wrapped;
    lua_getglobal(L, "coroutine");
    luaL_setfuncs(L, functions, 0);
    lua_pop(L, 1);
}
