/* net.connect: a name's addresses, then a race between them. API.md section 8. */
#include "bind/net.h"
#include "core/tasklet.h"
#include "net/race.h"

#include <errno.h>
#include <string.h>

static const double connect_timeout = 30, lookup_timeout = 5;

enum { MAX_ADDRESSES = 32 }; /* of a name that are tried */

/* The frame. CONNECT_RACE first holds what the lookup gives. */
enum {
    CONNECT_HOST = 1,
    CONNECT_PORT,
    CONNECT_OPTIONS,
    CONNECT_DEADLINE,
    CONNECT_RACE,
    CONNECT_STREAM
};

static const char *push_what(lua_State *L)
{
    return lua_pushfstring(L, "connect %s:%d", lua_tostring(L, CONNECT_HOST),
                           (int)lua_tointeger(L, CONNECT_PORT));
}

static double time_left(lua_State *L)
{
    double left = lua_tonumber(L, CONNECT_DEADLINE) - clock_now();
    return left > 0 ? left : 0;
}

static int race_collect(lua_State *L)
{
    race_close(lua_touserdata(L, 1));
    return 0;
}

/* Puts a race to so many addresses in its place in the frame. */
static struct race *new_race(lua_State *L, size_t count)
{
    struct race *r = lua_newuserdatauv(L, race_size(count), 0);
    memset(r, 0, race_size(count));
    race_init(r, runtime_of(L), count);
    if (luaL_newmetatable(L, "neap.race")) {
        lua_pushcfunction(L, race_collect);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    lua_insert(L, CONNECT_RACE);
    return r;
}

static int finish(lua_State *L)
{
    struct race *r = lua_touserdata(L, CONNECT_RACE);
    int fd = race_take(r);
    if (fd < 0)
        return net_push_error(L, push_what(L), r->error);
    struct stream *s = lua_touserdata(L, CONNECT_STREAM);
    stream_init(s, r->rt, fd);
    s->max_line = net_max_line_option(L, CONNECT_OPTIONS);
    lua_settop(L, CONNECT_STREAM);
    return 1;
}

static int raced(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    if (runtime_of(L)->current->wake == WAKE_RAISE)
        race_close(lua_touserdata(L, CONNECT_RACE)); /* it may have been won just before */
    enum wake why = wait_result(L);
    return why == WAKE_TIMEOUT ? net_push_end(L, why) : finish(L);
}

/* Takes what the options ask for. False: the address to bind to is none. */
static bool take_options(lua_State *L, struct race *r)
{
    if (lua_isnil(L, CONNECT_OPTIONS))
        return true;
    r->delay = lua_getfield(L, CONNECT_OPTIONS, "nodelay") != LUA_TNIL && !lua_toboolean(L, -1);
    if (lua_getfield(L, CONNECT_OPTIONS, "keepalive") != LUA_TNIL)
        r->keepalive = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : lua_toboolean(L, -1);
    return lua_getfield(L, CONNECT_OPTIONS, "bind") == LUA_TNIL ||
           net_bind_address(L, -1, &r->own);
}

static int start(lua_State *L, struct race *r)
{
    if (!take_options(L, r))
        return net_push_error(L, "connect: the address of option 'bind'", EINVAL);
    lua_settop(L, CONNECT_RACE);
    net_new_stream(L);
    wait_check(L);
    if (race_start(r))
        return finish(L);
    return wait_on(L, &r->waiter, time_left(L), 0, raced);
}

static int looked_up(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    if (!lua_istable(L, CONNECT_RACE))
        return net_push_lookup_error(L, push_what(L), CONNECT_RACE);
    int list = CONNECT_RACE + 1;
    size_t n = lua_rawlen(L, CONNECT_RACE);
    struct race *r = new_race(L, n < MAX_ADDRESSES ? n : MAX_ADDRESSES);
    for (size_t i = 0; i < r->count; i++) {
        lua_rawgeti(L, list, (lua_Integer)i + 1);
        address_parse(&r->attempts[i].to, lua_tostring(L, -1),
                      (int)lua_tointeger(L, CONNECT_PORT));
        lua_pop(L, 1);
    }
    race_interleave(r);
    return start(L, r);
}

static int look_up(lua_State *L)
{
    double left = time_left(L);
    lua_pushcfunction(L, net_lookup);
    lua_pushvalue(L, CONNECT_HOST);
    lua_pushinteger(L, net_family_option(L, CONNECT_OPTIONS));
    net_push_servers_option(L, CONNECT_OPTIONS);
    lua_pushnumber(L, left < lookup_timeout ? left : lookup_timeout);
    lua_callk(L, 4, 3, 0, looked_up);
    return looked_up(L, LUA_OK, 0);
}

/* net.connect(host, port[, opts]) */
int net_connect(lua_State *L)
{
    static const char *const known[] = {"timeout", "bind",    "nodelay",  "keepalive",
                                        "family",  "servers", "max_line", NULL};
    size_t length;
    const char *host = luaL_checklstring(L, CONNECT_HOST, &length);
    lua_Integer port = luaL_checkinteger(L, CONNECT_PORT);
    luaL_argcheck(L, port >= 0 && port <= 65535, CONNECT_PORT, "port out of range");
    lua_settop(L, CONNECT_OPTIONS);
    if (!lua_isnil(L, CONNECT_OPTIONS))
        net_check_options(L, CONNECT_OPTIONS, known);
    net_max_line_option(L, CONNECT_OPTIONS);
    lua_pushnumber(L, clock_now() + net_timeout_option(L, CONNECT_OPTIONS, connect_timeout));
    wait_check(L);
    struct address a;
    if (strlen(host) != length || strcmp(host, "localhost") == 0 ||
        address_parse(&a, host, (int)port) < 0)
        return look_up(L);
    struct race *r = new_race(L, 1);
    r->attempts[0].to = a;
    return start(L, r);
}
