/* net.resolve, and what net.connect asks for names. Addresses in figures and localhost are
** known here; the rest is the business of the part neap.names. */
#include "net/names.h"
#include "bind/net.h"
#include "core/tasklet.h"

#include <string.h>

static const double resolve_timeout = 5;

/* The frame of net_lookup, and of what it calls. */
enum {
    LOOKUP_NAME = 1,
    LOOKUP_FAMILY,
    LOOKUP_SERVERS,
    LOOKUP_TIMEOUT,
    LOOKUP_TOP = LOOKUP_TIMEOUT
};

bool net_is_localhost(const char *name)
{
    return strcmp(name, "localhost") == 0 || strcmp(name, "localhost.") == 0;
}

bool net_is_known(lua_State *L, int i)
{
    struct address a;
    size_t n;
    const char *name = lua_tolstring(L, i, &n);
    return strlen(name) == n && (net_is_localhost(name) || address_parse(&a, name, 0) == 0);
}

/* Pushes a list of the addresses in figures that are of the family, or nil, err, code. */
static int push_known(lua_State *L, const char *const *addresses, lua_Integer family)
{
    lua_newtable(L);
    for (; *addresses; addresses++) {
        if (family != 0 && family != (strchr(*addresses, ':') ? 6 : 4))
            continue;
        lua_pushstring(L, *addresses);
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    }
    if (lua_rawlen(L, -1) > 0)
        return 1;
    lua_pushnil(L);
    lua_pushliteral(L, "the name has no such address");
    lua_pushliteral(L, "ENOTFOUND");
    return 3;
}

static int looked_up(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return lua_gettop(L) - LOOKUP_TOP;
}

/* Pushes what the part gives, or why there is none: then false. */
static bool load(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "neap.names");
    return lua_pcall(L, 1, 1, 0) == LUA_OK;
}

const struct part_names *net_names(lua_State *L)
{
    if (!load(L))
        return NULL;
    part_find(L, PART_NAMES, (struct part_table)PART_TABLE(struct part_names));
    lua_pop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, PART_NAMES);
    return lua_touserdata(L, -1);
}

int net_lookup(lua_State *L)
{
    const char *name = luaL_checkstring(L, LOOKUP_NAME);
    const char *const localhost[] = {"127.0.0.1", "::1", NULL}, *const itself[] = {name, NULL};
    lua_Integer family = luaL_checkinteger(L, LOOKUP_FAMILY);
    lua_settop(L, LOOKUP_TOP);
    if (net_is_known(L, LOOKUP_NAME))
        return push_known(L, net_is_localhost(name) ? localhost : itself, family);
    if (!load(L)) {
        lua_pushnil(L);
        lua_insert(L, -2);
        lua_pushliteral(L, "ENOTSUP");
        return 3;
    }
    for (int i = LOOKUP_NAME; i <= LOOKUP_TOP; i++)
        lua_pushvalue(L, i);
    lua_callk(L, LOOKUP_TOP, LUA_MULTRET, 0, looked_up);
    return looked_up(L, LUA_OK, 0);
}

int net_push_lookup_error(lua_State *L, const char *what, const char *text, const char *code)
{
    lua_pushnil(L);
    if (strcmp(text, "timeout") == 0)
        lua_pushstring(L, text);
    else
        lua_pushfstring(L, "%s: %s", what, text);
    lua_pushstring(L, code);
    return 3;
}

lua_Integer net_family_option(lua_State *L, int i)
{
    lua_Integer family = 0;
    if (lua_isnoneornil(L, i))
        return 0;
    if (lua_getfield(L, i, "family") != LUA_TNIL) {
        family = lua_tointeger(L, -1);
        if (family != 4 && family != 6)
            net_bad_option(L, "family", "4 or 6 expected");
    }
    lua_pop(L, 1);
    return family;
}

void net_push_servers_option(lua_State *L, int i)
{
    luaL_Buffer b;
    if (lua_isnoneornil(L, i)) {
        lua_pushliteral(L, "");
        return;
    }
    if (lua_getfield(L, i, "servers") == LUA_TNIL) {
        lua_pushliteral(L, "");
        lua_replace(L, -2);
        return;
    }
    int list = lua_gettop(L);
    if (!lua_istable(L, list) || lua_rawlen(L, list) == 0)
        net_bad_option(L, "servers", "a list of addresses expected");
    luaL_buffinit(L, &b);
    for (lua_Integer k = 1; k <= (lua_Integer)lua_rawlen(L, list); k++) {
        if (k > 1)
            luaL_addchar(&b, ',');
        if (lua_rawgeti(L, list, k) != LUA_TSTRING)
            net_bad_option(L, "servers", "a list of addresses expected");
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    lua_replace(L, list);
}

/* The frame of net.resolve. */
enum { RESOLVE_NAME = 1, RESOLVE_OPTIONS, RESOLVE_RESULTS };

static int resolved(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    lua_settop(L, RESOLVE_RESULTS + 2);
    if (lua_istable(L, RESOLVE_RESULTS)) {
        lua_settop(L, RESOLVE_RESULTS);
        return 1;
    }
    lua_pushfstring(L, "resolve %s", lua_tostring(L, RESOLVE_NAME));
    return net_push_lookup_error(L, lua_tostring(L, -1), lua_tostring(L, RESOLVE_RESULTS + 1),
                                 lua_tostring(L, RESOLVE_RESULTS + 2));
}

/* net.resolve(name[, opts]) */
int net_resolve(lua_State *L)
{
    static const char *const known[] = {"family", "servers", "timeout", NULL};
    luaL_checkstring(L, RESOLVE_NAME);
    lua_settop(L, RESOLVE_OPTIONS);
    double timeout = resolve_timeout;
    if (!lua_isnil(L, RESOLVE_OPTIONS)) {
        net_check_options(L, RESOLVE_OPTIONS, known);
        timeout = net_timeout_option(L, RESOLVE_OPTIONS, resolve_timeout);
    }
    if (!net_is_known(L, RESOLVE_NAME))
        wait_check(L);
    lua_pushcfunction(L, net_lookup);
    lua_pushvalue(L, RESOLVE_NAME);
    lua_pushinteger(L, net_family_option(L, RESOLVE_OPTIONS));
    net_push_servers_option(L, RESOLVE_OPTIONS);
    lua_pushnumber(L, timeout);
    lua_callk(L, 4, 3, 0, resolved);
    return resolved(L, LUA_OK, 0);
}
