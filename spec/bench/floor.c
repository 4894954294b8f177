/* floor.c: what a switch, a rendezvous and a spawn cost at the least: bare Lua
** coroutines, with no scheduler, channel or tasklet around them.
** floor switch|rendezvous|reuse|reset|new prints CPU nanoseconds for each. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 1000000 };

static double cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static int give_way(lua_State *L)
{
    return lua_yield(L, 0);
}

/* Leaves a coroutine at the top of L, ready to run the chunk. */
static lua_State *coroutine(lua_State *L, const char *chunk)
{
    lua_State *co = lua_newthread(L);
    luaL_loadstring(co, chunk);
    return co;
}

static void bench_switch(lua_State *L)
{
    lua_register(L, "give_way", give_way);
    lua_State *co = coroutine(L, "local give_way = give_way while true do give_way() end");
    int results;
    for (int i = 0; i < ROUNDS; i++)
        lua_resume(co, L, 0, &results);
}

static void bench_rendezvous(lua_State *L)
{
    lua_pushinteger(L, ROUNDS);
    lua_setglobal(L, "rounds");
    luaL_loadstring(L, "local resume, yield = coroutine.resume, coroutine.yield\n"
                       "local function echo(v) while true do v = yield(v) end end\n"
                       "local a, b = coroutine.create(echo), coroutine.create(echo)\n"
                       "for i = 1, rounds do local _, v = resume(a, i) resume(b, v) end");
    lua_call(L, 0, 0);
}

enum lifetime { REUSE, RESET, NEW };

static void bench_spawn(lua_State *L, enum lifetime lifetime)
{
    int results;
    luaL_loadstring(L, "n = (n or 0) + 1");
    lua_State *co = lua_newthread(L);
    for (int i = 0; i < ROUNDS; i++) {
        if (lifetime == NEW) {
            lua_pop(L, 1);
            co = lua_newthread(L);
        }
        lua_pushvalue(L, -2);
        lua_xmove(L, co, 1);
        lua_resume(co, L, 0, &results);
        if (lifetime == RESET)
            lua_resetthread(co);
    }
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);

    double start = cpu_ns();
    if (strcmp(what, "switch") == 0)
        bench_switch(L);
    else if (strcmp(what, "rendezvous") == 0)
        bench_rendezvous(L);
    else if (strcmp(what, "reuse") == 0)
        bench_spawn(L, REUSE);
    else if (strcmp(what, "reset") == 0)
        bench_spawn(L, RESET);
    else if (strcmp(what, "new") == 0)
        bench_spawn(L, NEW);
    else
        return 2;
    printf("%s %.1f ns\n", what, (cpu_ns() - start) / ROUNDS);
    lua_close(L);
    return 0;
}
