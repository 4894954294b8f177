#include "core/call.h"

#include "core/tasklet.h"
#include "lauxlib.h"

#include <math.h>

enum { CALL_CLOCK = 1, CALL_FUNCTION, CALL_ARGS };    /* user values of a call */
enum { CLOCK_CALLS = 1, CLOCK_VALUES = CLOCK_CALLS }; /* of a virtual clock */

/* ---- who keeps a call ---- */

/* Pushes the table that keeps the calls on the clock of the call at index i. */
static void push_keeper(lua_State *L, int i)
{
    if (lua_getiuservalue(L, i, CALL_CLOCK) == LUA_TNIL)
        lua_rawgeti(L, LUA_REGISTRYINDEX, runtime_of(L)->calls_ref);
    else
        lua_getiuservalue(L, -1, CLOCK_CALLS);
    lua_remove(L, -2);
}

static void keep(lua_State *L, int i, bool on)
{
    i = lua_absindex(L, i);
    luaL_checkstack(L, 4, NULL);
    push_keeper(L, i);
    on ? lua_pushvalue(L, i) : lua_pushnil(L);
    lua_rawsetp(L, -2, lua_touserdata(L, i));
    lua_pop(L, 1);
}

/* ---- making it ---- */

/* Replaces the call on the top by its function and arguments, which it lets go of. */
static int push_function(lua_State *L)
{
    struct call *c = lua_touserdata(L, -1);
    int i = lua_gettop(L), n = c->nargs;
    luaL_checkstack(L, n + 2, NULL);
    for (int v = CALL_FUNCTION; v <= CALL_FUNCTION + n; v++) {
        lua_getiuservalue(L, i, v);
        lua_pushnil(L);
        lua_setiuservalue(L, i, v);
    }
    lua_remove(L, i);
    return n;
}

static int make(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime_of(L)->calls_ref);
    lua_rawgetp(L, -1, c);
    keep(L, -1, false);
    lua_call(L, push_function(L), 0);
    return 0;
}

/* Of the scheduler: a virtual clock makes its own. */
static void on_due(struct runtime *rt, struct timed_call *due)
{
    struct call *c = container_of(due, struct call, due);
    c->called = true;
    runtime_enter(rt, make, c);
}

static int arm(struct runtime *rt, struct call *c, double time)
{
    c->time = time;
    return timer_arm_at(rt, &c->due.timer, TIMER_CALL | TIMER_LUA, c->clock, time);
}

/* Pushes the userdata of the clock at index i (or an enum), nil for the runtime's own. */
static struct clock *push_clock(lua_State *L, int i)
{
    struct runtime *rt = runtime_of(L);
    if (i > 0)
        lua_pushvalue(L, i);
    else if (i == CALL_REAL || rt->clock == &rt->own)
        lua_pushnil(L);
    else
        lua_rawgeti(L, LUA_REGISTRYINDEX, rt->clock_ref);
    if (lua_isnil(L, -1))
        return i == CALL_REAL ? &rt->real : &rt->own;
    return &((struct virtual_clock *)lua_touserdata(L, -1))->clock;
}

struct call *call_new(lua_State *L, int clock, double seconds, int nargs)
{
    luaL_argcheck(L, nargs < 250, nargs, "too many arguments");
    struct call *c = object_new(L, OBJECT_CALL, sizeof *c, CALL_FUNCTION + nargs);
    c->nargs = nargs;
    c->due.fn = on_due;
    c->clock = push_clock(L, clock);
    lua_setiuservalue(L, -2, CALL_CLOCK);
    lua_insert(L, -(nargs + 2));
    int i = lua_gettop(L) - nargs - 1;
    for (int v = CALL_FUNCTION + nargs; v >= CALL_FUNCTION; v--)
        lua_setiuservalue(L, i, v);
    keep(L, i, true);
    if (arm(runtime_of(L), c, clock_read(c->clock) + seconds) < 0) {
        keep(L, i, false);
        luaL_error(L, "not enough memory");
    }
    return c;
}

void call_cancel(lua_State *L, int i)
{
    struct call *c = lua_touserdata(L, i);
    c->cancelled = true;
    timer_disarm(runtime_of(L), &c->due.timer);
    keep(L, i, false);
    lua_pushvalue(L, i);
    lua_settop(L, lua_gettop(L) - push_function(L) - 1); /* it keeps nothing alive */
}

void call_move(lua_State *L, int i, double time)
{
    struct call *c = lua_touserdata(L, i);
    timer_disarm(runtime_of(L), &c->due.timer);
    if (arm(runtime_of(L), c, time) < 0)
        luaL_error(L, "not enough memory");
}

int call_gc(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);
    timer_disarm(runtime_of(L), &c->due.timer);
    return 0;
}

/* ---- virtual clocks ---- */

void virtual_clock_new(lua_State *L)
{
    struct virtual_clock *v = object_new(L, OBJECT_CLOCK, sizeof *v, CLOCK_VALUES);
    v->clock.place = CLOCK_NOWHERE;
    lua_newtable(L);
    lua_setiuservalue(L, -2, CLOCK_CALLS);
    if (timer_add_clock(runtime_of(L), &v->clock) < 0)
        luaL_error(L, "not enough memory");
}

int virtual_clock_gc(lua_State *L)
{
    struct virtual_clock *v = lua_touserdata(L, 1);
    timer_remove_clock(runtime_of(L), &v->clock);
    return 0;
}

void virtual_clock_use(lua_State *L, int i)
{
    struct runtime *rt = runtime_of(L);
    int old = rt->clock_ref, ref = LUA_NOREF;
    if (i) {
        lua_pushvalue(L, i);
        ref = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    rt->clock_ref = ref;
    rt->clock = i ? &((struct virtual_clock *)lua_touserdata(L, i))->clock : &rt->own;
    old == LUA_NOREF ? lua_pushnil(L) : (void)lua_rawgeti(L, LUA_REGISTRYINDEX, old);
    luaL_unref(L, LUA_REGISTRYINDEX, old);
}

void call_raise(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    if (rt->current && !rt->reactor_code) {
        tasklet_push(L, rt->current);
        lua_pushvalue(L, -2);
        tasklet_set(L, -2, SIDE_ORIGIN);
        lua_pop(L, 1);
    }
    failure_unwrap(L);
    lua_error(L);
}

/* Makes a call that is due on the virtual clock at index i, here and now. */
static void make_here(lua_State *L, int i, struct call *c)
{
    struct runtime *rt = runtime_of(L);
    c->called = true;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    lua_pushcfunction(L, error_handler);
    int base = lua_gettop(L);
    lua_getiuservalue(L, i, CLOCK_CALLS);
    lua_rawgetp(L, -1, c);
    lua_remove(L, -2);
    keep(L, -1, false);
    int nargs = push_function(L);
    rt->reactor_code++;
    int status = lua_pcall(L, nargs, 0, base);
    rt->reactor_code--;
    if (status != LUA_OK)
        call_raise(L);
    lua_settop(L, base - 1);
}

void virtual_clock_advance(lua_State *L, int i, double seconds)
{
    struct runtime *rt = runtime_of(L);
    struct clock *c = &((struct virtual_clock *)lua_touserdata(L, i))->clock;
    struct heap_node *n;
    double due;
    c->base += seconds;
    while ((n = heap_first(&c->timers, &due)) && due <= c->base) {
        heap_remove(&c->timers, n);
        struct timed_call *call = container_of(n, struct timed_call, timer);
        if (n->kind & TIMER_CALL && call->fn == on_due)
            make_here(L, i, container_of(call, struct call, due));
        else
            timer_fire(rt, n);
    }
}
