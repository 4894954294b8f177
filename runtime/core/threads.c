#include "core/threads.h"

/* Idle threads kept beyond the most that were at work lately; dropped at most so many at
** one look. */
enum { SPARE_THREADS = 256, TRIM_STEP = 1000 };

/* runtime.idle holds idle threads from its front and, from its end, the free places in
** threads_ref. Both together never outnumber thread_count, so giving back cannot fail. */

static uint32_t *free_place(struct runtime *rt, uint32_t i)
{
    return &rt->idle[rt->idle_cap - 1 - i].place;
}

struct idle_thread threads_take(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    if (rt->idle_count > 0)
        return rt->idle[--rt->idle_count];
    lua_State *T = lua_newthread(L); /* may collect: a finalizer may spawn, and take a place */
    *thread_word(T) |= THREAD_ROOT;
    lua_sethook(T, NULL, 0, 0);
    if (rt->free_places == 0 && rt->thread_count == rt->idle_cap) {
        uint32_t need = rt->idle_cap + 1;
        void *p = memory_grow(&rt->memory, rt->idle, &rt->idle_cap, need, sizeof *rt->idle);
        if (!p)
            luaL_error(L, "not enough memory");
        rt->idle = p;
    }
    uint32_t place =
        rt->free_places ? *free_place(rt, rt->free_places - 1) : rt->thread_count + 1;
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->threads_ref);
    lua_insert(L, -2);
    lua_rawseti(L, -2, place); /* may raise, but runs no finalizer */
    lua_pop(L, 1);
    rt->free_places ? rt->free_places-- : rt->thread_count++;
    return (struct idle_thread){T, place};
}

void threads_drop(struct runtime *rt, uint32_t place)
{
    lua_rawgeti(rt->L, LUA_REGISTRYINDEX, rt->threads_ref);
    lua_rawgeti(rt->L, -1, place);
    *thread_word(lua_tothread(rt->L, -1)) |= THREAD_OVER; /* a script may still look at it */
    lua_pushboolean(rt->L, 0);
    lua_rawseti(rt->L, -3, place); /* the key exists: no memory needed */
    lua_pop(rt->L, 2);
    *free_place(rt, rt->free_places++) = place;
}

void threads_give(struct runtime *rt, struct idle_thread th, bool keep)
{
    if (keep)
        rt->idle[rt->idle_count++] = th;
    else
        threads_drop(rt, th.place);
}

void threads_trim(struct runtime *rt)
{
    size_t wanted = rt->tasklet_peak - rt->tasklet_count + SPARE_THREADS;
    rt->tasklet_peak = rt->tasklet_count;
    for (int n = 0; n < TRIM_STEP && rt->idle_count > wanted; n++)
        threads_drop(rt, rt->idle[--rt->idle_count].place);
}
