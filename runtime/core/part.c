#include "core/part.h"

static void check(lua_State *L)
{
    wait_check(L);
}

static const struct part_core core = {
    .table = PART_TABLE(struct part_core),
    .wait_check = check,
    .wait_on = wait_on,
    .wait_result = wait_result,
    .wait_wake = wait_wake,
    .wait_wake_all = wait_wake_all,
    .watch_init = watch_init,
    .watch_start = watch_start,
    .watch_stop = watch_stop,
    .timer_serve = timer_serve,
    .timer_serve_end = timer_serve_end,
    .clock_now = clock_now,
    .memory_resize = memory_resize,
};

void part_open(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&core.table);
    lua_setfield(L, LUA_REGISTRYINDEX, PART_CORE);
}
