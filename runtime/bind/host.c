/* require "neap.host": what a program around neap needs beyond neap.h. */
#include "bind/bind.h"
#include "core/interrupt.h"
#include "core/slice.h"
#include "core/timer.h"
#include "core/tracer.h"
#include "system/signal.h"

/* set_main(): the running tasklet is the program's main one */
static int set_main(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    rt->main = rt->current;
    if (rt->tracer && rt->main)
        tracer_name(L, rt->main);
    return 0;
}

/* set_interrupt(f): f, a light userdata that is a void (*)(void), interrupts the thread that
** runs this runtime; may be called by another one. Two light userdata: a void (*)(void *)
** that the thread is to call when it is interrupted, from a signal handler, and its argument */
static int set_interrupt(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
    rt->slice.interrupt = (void (*)(void))lua_touserdata(L, 1);
    lua_pushlightuserdata(L, (void *)slice_cut_in);
    lua_pushlightuserdata(L, rt);
    return 2;
}

/* set_signals(arm): arm, a light userdata that is an int (*)(int signal, int on), takes a
** signal from its default, with a handler, or gives it back: 0 or -errno. Two light userdata:
** an int (*)(void *, int signal) that the handlers are to call, on this thread, and its first
** argument. It returns 0 when the program must end at once: main has not caught the SIGINT
** before this one. With signal 0 it cuts in once more on a tasklet that computes, and 0 says
** that there is no need any more */
static int set_signals(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
    signal_open(L, (signal_arm *)lua_touserdata(L, 1));
    lua_pushlightuserdata(L, (void *)signal_post);
    lua_pushlightuserdata(L, runtime_of(L));
    return 2;
}

/* interrupted(): whether main has not caught a SIGINT, or had returned before it */
static int interrupted(lua_State *L)
{
    lua_pushboolean(L, atomic_load(&runtime_of(L)->interrupt) != INTERRUPT_NONE);
    return 1;
}

static void end_trace(void *runtime)
{
    tracer_close(runtime);
}

/* set_trace(f, ud): f, a light userdata that is a void (*)(void *ud, const char *s, size_t n),
** takes Chrome trace events, JSON in pieces; nil: no more of them. Two light userdata: a
** void (*)(void *) that ends the trace, when the process exits say, and its argument */
static int set_trace(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    if (lua_isnoneornil(L, 1)) {
        tracer_close(rt);
        return 0;
    }
    luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
    if (tracer_open(L, (tracer_sink *)lua_touserdata(L, 1), lua_touserdata(L, 2)) < 0)
        return luaL_error(L, "not enough memory");
    lua_pushlightuserdata(L, (void *)end_trace);
    lua_pushlightuserdata(L, rt);
    return 2;
}

/* stats(): figures: tasks, ready, timers, watches, outside (waits that the world outside can
** end), mem (bytes), resumes, fails */
static int stats(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    const struct {
        const char *name;
        uint64_t value;
    } figures[] = {
        {"tasks", rt->tasklet_count}, {"ready", rt->ready_count},
        {"timers", timer_count(rt)},  {"watches", reactor_watches(rt->reactor)},
        {"outside", rt->outside},     {"mem", rt->memory.used},
        {"resumes", rt->resumes},     {"fails", rt->fails},
    };
    lua_newtable(L);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        lua_pushinteger(L, (lua_Integer)figures[i].value);
        lua_setfield(L, -2, figures[i].name);
    }
    return 1;
}

static int open_host(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"set_main", set_main},
        {"stats", stats},
        {"set_interrupt", set_interrupt},
        {"set_signals", set_signals},
        {"interrupted", interrupted},
        {"set_trace", set_trace},
        {"lend_stdio", bind_lend_stdio},
        {"return_stdio", bind_return_stdio},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    bind_ending(L);
    return 1;
}

void bind_host(lua_State *L)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, open_host);
    lua_setfield(L, -2, "neap.host");
    lua_pop(L, 1);
}
