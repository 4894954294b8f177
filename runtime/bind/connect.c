/* net.connect: a race between addresses, those of a name as they come. */
#include "bind/net.h"
#include "core/tasklet.h"
#include "net/race.h"

#include <string.h>

static const double connect_timeout = 30, lookup_timeout = 5;

/* The frame. */
enum {
    CONNECT_HOST = 1,
    CONNECT_PORT,
    CONNECT_OPTIONS,
    CONNECT_DEADLINE,
    CONNECT_RACE,
    CONNECT_STREAM,
    CONNECT_SERVERS
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

/* Makes the race, in its place in the frame. */
static struct race *new_race(lua_State *L)
{
    struct race *r = lua_newuserdatauv(L, sizeof *r, 1); /* user value: the part's names */
    memset(r, 0, sizeof *r);
    race_init(r, runtime_of(L));
    if (luaL_newmetatable(L, "neap.race")) {
        lua_pushcfunction(L, race_collect);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return r;
}

static int finish(lua_State *L)
{
    struct race *r = lua_touserdata(L, CONNECT_RACE);
    int fd = race_take(r);
    if (fd < 0 && !r->error)
        return net_push_lookup_error(L, push_what(L), r->lookup.text, r->lookup.code);
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

static unsigned families(lua_State *L)
{
    lua_Integer family = net_family_option(L, CONNECT_OPTIONS);
    return family == 4 ? NAME_FOUR : family == 6 ? NAME_SIX : NAME_FOUR | NAME_SIX;
}

/* Adds what is known without a lookup. */
static void add_known(struct race *r, const char *host, int port, unsigned wanted)
{
    static const char *const localhost[] = {"127.0.0.1", "::1"};
    struct address a;
    if (!net_is_localhost(host)) {
        address_parse(&a, host, port);
        race_add(r, &a);
        return;
    }
    for (int i = 0; i < 2; i++) {
        address_parse(&a, localhost[i], port);
        if (wanted & (i == 0 ? NAME_FOUR : NAME_SIX))
            race_add(r, &a);
    }
}

/* Begins to look up the name; the race has all it needs. */
static void look_up(lua_State *L, struct race *r, const struct part_names *part,
                    unsigned wanted)
{
    size_t n;
    const char *host = lua_tolstring(L, CONNECT_HOST, &n);
    const char *servers = lua_tostring(L, CONNECT_SERVERS);
    double left = time_left(L);
    r->port = (int)lua_tointeger(L, CONNECT_PORT);
    if (!race_look_up(r, part, host, n, wanted, servers,
                      left < lookup_timeout ? left : lookup_timeout))
        luaL_error(L, "bad server in '%s'", servers);
}

/* part: NULL if the address is known. */
static int start(lua_State *L, const struct part_names *part)
{
    struct race *r = lua_touserdata(L, CONNECT_RACE);
    if (!take_options(L, r))
        return net_push_no_address(L, "connect: option 'bind'");
    lua_settop(L, CONNECT_RACE);
    net_new_stream(L);
    net_push_servers_option(L, CONNECT_OPTIONS);
    unsigned wanted = families(L);
    wait_check(L);
    if (part)
        look_up(L, r, part, wanted);
    else
        add_known(r, lua_tostring(L, CONNECT_HOST), (int)lua_tointeger(L, CONNECT_PORT),
                  wanted);
    if (race_start(r))
        return finish(L);
    return wait_on(L, &r->waiter, time_left(L), 0, raced);
}

/* net.connect(host, port[, opts]) */
int net_connect(lua_State *L)
{
    static const char *const known[] = {"timeout", "bind",    "nodelay",  "keepalive",
                                        "family",  "servers", "max_line", NULL};
    luaL_checkstring(L, CONNECT_HOST);
    lua_Integer port = luaL_checkinteger(L, CONNECT_PORT);
    luaL_argcheck(L, port >= 0 && port <= 65535, CONNECT_PORT, "port out of range");
    lua_settop(L, CONNECT_OPTIONS);
    if (!lua_isnil(L, CONNECT_OPTIONS))
        net_check_options(L, CONNECT_OPTIONS, known);
    net_max_line_option(L, CONNECT_OPTIONS);
    lua_pushnumber(L, clock_now() + net_timeout_option(L, CONNECT_OPTIONS, connect_timeout));
    wait_check(L);
    new_race(L);
    if (net_is_known(L, CONNECT_HOST))
        return start(L, NULL);
    const struct part_names *part = net_names(L);
    if (!part)
        return net_push_lookup_error(L, push_what(L), lua_tostring(L, -1), "ENOTSUP");
    lua_setiuservalue(L, CONNECT_RACE, 1);
    return start(L, part);
}
