#include "core/runtime.h"

#include "core/slice.h"
#include "core/tasklet.h"
#include "core/timer.h"
#include "core/trace.h"
#include "core/tracer.h"
#include "core/usage.h"

#include <math.h>

#include <string.h>

#ifdef NEAP_STRESS
/* Makes the first try of every now and then a new object fail, so that Lua collects in
** the middle of whatever it was doing and tries again. (lauxlib's buffers do not try
** again; for an object there is a type in `old`, for them there is not.) */
static bool stress_refuses(const void *p, size_t old)
{
    static _Thread_local unsigned count;
    return !p && old && ++count % 503 == 0;
}
#else
#define stress_refuses(p, old) false
#endif

static bool over_limit(const struct runtime *rt, size_t old, size_t n)
{
    return rt->memory_limit && n > old && rt->memory.used + (n - old) > rt->memory_limit &&
           (rt->current || rt->reactor_code || rt->calls) && !rt->unlimited && !rt->closing;
}

static void *lua_memory(void *ud, void *p, size_t old, size_t n)
{
    struct runtime *rt = ud;
    if (stress_refuses(p, old))
        return NULL;
    if (!p)
        old = 0; /* for a new block Lua gives a type there */
    return over_limit(rt, old, n) ? NULL : memory_resize(&rt->memory, p, old, n);
}

static int ref_table(lua_State *L, const char *mode)
{
    lua_newtable(L);
    if (mode) {
        lua_createtable(L, 0, 1);
        lua_pushstring(L, mode);
        lua_setfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
    }
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

/* os.exit may close the state under a running tasklet: nothing must cut in on it then. */
static int closing(lua_State *L)
{
    slice_close(runtime_of(L));
    tracer_close(runtime_of(L));
    return 0;
}

static int open(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    lua_newuserdatauv(L, 0, 0);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, closing);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    luaL_ref(L, LUA_REGISTRYINDEX);
    rt->threads_ref = ref_table(L, NULL);
    rt->sides_ref = ref_table(L, "k");
    rt->unhandled_ref = ref_table(L, NULL);
    rt->channels_ref = ref_table(L, NULL);
    rt->postponed_ref = ref_table(L, NULL);
    rt->calls_ref = ref_table(L, NULL);
    rt->deadlines_ref = ref_table(L, "v");
    lua_pushboolean(L, 0);
    rt->last_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushboolean(L, 0);
    rt->trace_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    error_open(L);
    return 0;
}

/* All that needs no Lua. False: some of it is missing. */
static bool prepare(struct runtime *rt, const char **why)
{
    list_init(&rt->ready);
    list_init(&rt->tasklets);
    list_init(&rt->daemons);
    list_init(&rt->streams);
    list_init(&rt->lingering);
    list_init(&rt->listeners);
    list_init(&rt->starved);
    list_init(&rt->processes);
    list_init(&rt->runners);
    list_init(&rt->overdue);
    list_init(&rt->held);
    list_init(&rt->loads);
    rt->slice.length = rt->slice.watchdog = rt->slice.shortest = HUGE_VAL;
    rt->on_switch_ref = rt->on_channel_ref = LUA_NOREF;
    rt->on_error_ref = rt->clock_ref = LUA_NOREF;
    rt->reactor = reactor_new(&rt->memory, why);
    if (!rt->reactor)
        return false;
    *why = "not enough memory";
    rt->read_buffer = memory_new(&rt->memory, READ_BUFFER);
    return rt->read_buffer && timer_open(rt) == 0;
}

/* Gives back what prepare and the work since have taken. */
static void release(struct runtime *rt)
{
    if (!rt->reactor)
        return;
    if (rt->close_net)
        rt->close_net(rt);
    if (rt->close_processes)
        rt->close_processes(rt);
    rt->L = NULL;
    trace_free(rt);
    usage_close(rt);
    memory_free(&rt->memory, rt->read_buffer, READ_BUFFER);
    memory_free(&rt->memory, rt->idle, rt->idle_cap * sizeof *rt->idle);
    timer_close(rt);
    slots_free(&rt->slots, &rt->memory);
    reactor_free(rt->reactor);
    rt->reactor = NULL;
}

int runtime_open(struct runtime *rt, const char **why)
{
    if (prepare(rt, why))
        rt->L = lua_newstate(lua_memory, rt);
    if (rt->L) {
        *thread_word(rt->L) = (uintptr_t)rt;
        lua_pushcfunction(rt->L, open);
        if (lua_pcall(rt->L, 0, 0, 0) == LUA_OK)
            return 0;
    }
    runtime_close(rt);
    return -1;
}

int runtime_adopt(struct runtime *rt, lua_State *L, const char **why)
{
    rt->adopted = true;
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    rt->L = lua_tothread(L, -1);
    lua_pop(L, 1);
    if (!prepare(rt, why)) {
        release(rt);
        return -1;
    }
    *thread_word(rt->L) = *thread_word(L) = (uintptr_t)rt; /* new threads copy the first */
    open(L);
    return 0;
}

void runtime_close(struct runtime *rt)
{
    rt->closing = true;
    slice_close(rt);
    while (!list_empty(&rt->tasklets))
        tasklet_cut(rt, container_of(rt->tasklets.prev, struct tasklet, all));
    tracer_close(rt);
    if (rt->L)
        lua_close(rt->L);
    release(rt);
}

void runtime_leave(struct runtime *rt)
{
    rt->closing = true;
    if (!list_empty(&rt->tasklets))
        return; /* os.exit was called in one: the process ends */
    release(rt);
    memory_close(&rt->memory);
}

static int report(lua_State *L)
{
    error_report(L, NULL, "");
    return 0;
}

int runtime_enter(struct runtime *rt, lua_CFunction f, void *ud)
{
    lua_State *L = rt->L;
    if (!lua_checkstack(L, LUA_MINSTACK)) {
        error_report_text(rt, NULL, "not enough memory");
        return LUA_ERRMEM;
    }
    rt->reactor_code++;
    slice_call(rt, L, true);
    int top = lua_gettop(L);
    lua_pushcfunction(L, error_handler);
    lua_pushcfunction(L, f);
    lua_pushlightuserdata(L, ud);
    int status = lua_pcall(L, 1, 0, top + 1);
    if (status != LUA_OK) {
        lua_pushcfunction(L, report);
        lua_insert(L, -2);
        if (lua_pcall(L, 1, 0, 0) != LUA_OK)
            error_report_text(rt, NULL, "not enough memory to report an error");
    }
    lua_settop(L, top);
    slice_call(rt, L, false);
    rt->reactor_code--;
    return status;
}
