/* require "neap.signal": lua/neap/types/signal.lua. Only where the host lends its signals. */
#include "system/signal.h"

#include "bind/net.h"
#include "core/tasklet.h"

#include <math.h>

/* The set of signals named at 1..top. */
static uint64_t check_set(lua_State *L)
{
    uint64_t set = 0;
    luaL_checkany(L, 1);
    for (int i = 1; i <= lua_gettop(L); i++) {
        const char *name = luaL_checkstring(L, i);
        int n = signal_number(name);
        if (n == 0)
            luaL_argerror(L, i, lua_pushfstring(L, "no signal '%s' that can be taken", name));
        set |= UINT64_C(1) << n;
    }
    return set;
}

static int not_here(lua_State *L)
{
    lua_pushnil(L);
    lua_pushliteral(L, "signals belong to the host");
    lua_pushliteral(L, "ENOTSUP");
    return 3;
}

static int wait_k(lua_State *L, int status, lua_KContext set);

static int go_on_waiting(lua_State *L, uint64_t set)
{
    struct runtime *rt = runtime_of(L);
    int n = signal_pick(rt, set);
    if (n) {
        lua_pushstring(L, signal_name(n));
        return 1;
    }
    wait_check(L);
    return wait_on(L, signal_waiters(rt), HUGE_VAL, (lua_KContext)set, wait_k);
}

static int wait_k(lua_State *L, int status, lua_KContext set)
{
    (void)status;
    wait_result(L);
    return go_on_waiting(L, (uint64_t)set);
}

/* wait(name, ...): the name of the one that has come. From the first wait on they are taken
** for good: one that comes while nobody waits is given to the next who does */
static int wait(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    uint64_t set = check_set(L);
    if (!rt->lent)
        return not_here(L);
    if (!signal_has_come(rt, set))
        wait_check(L);
    int r = signal_take_for_wait(rt, set);
    return r < 0 ? net_push_error(L, "signal", -r) : go_on_waiting(L, set);
}

/* channel(name, ...): a channel of their names; they are taken until it is closed */
static int channel(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    uint64_t set = check_set(L);
    if (!rt->lent)
        return not_here(L);
    int r = signal_take(rt, set);
    if (r < 0)
        return net_push_error(L, "signal", -r);
    signal_push_channel(L, set);
    return 1;
}

int bind_open_signal(lua_State *L)
{
    static const luaL_Reg functions[] = {{"wait", wait}, {"channel", channel}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
