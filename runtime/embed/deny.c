/* What a host denies its scripts, by absence: the names are not there. */
#include "embed/embed.h"

#include "bind/bind.h"
#include "lauxlib.h"

#include <string.h>

/* A name that goes: of a global library, or a module that is not known to require, with all
** that are named under it. What else needs such a module cannot be loaded then. */
static const struct denied {
    unsigned bit;
    const char *library, *name; /* library NULL: the global, or the module, itself */
} denied[] = {
    {NEAP_FS, "io", "open"},
    {NEAP_FS, "io", "lines"},
    {NEAP_FS, "io", "input"},
    {NEAP_FS, "io", "output"},
    {NEAP_FS, "io", "tmpfile"},
    {NEAP_FS, "os", "remove"},
    {NEAP_FS, "os", "rename"},
    {NEAP_FS, "os", "tmpname"},
    {NEAP_FS, "package", "searchpath"},
    {NEAP_FS, NULL, "dofile"},
    {NEAP_FS, NULL, "loadfile"},
    {NEAP_FS, NULL, "neap.fs"},
    {NEAP_NET, NULL, "neap.net"},
    {NEAP_NET, NULL, "neap.http"},
    {NEAP_NET, NULL, "neap.websocket"},
    {NEAP_NET, NULL, "neap.compat"},
    {NEAP_NET, "neap", "wait_fd"},
    {NEAP_PROC, "os", "execute"},
    {NEAP_PROC, "os", "exit"},
    {NEAP_PROC, "io", "popen"},
    {NEAP_PROC, NULL, "neap.process"},
    {NEAP_PROC, NULL, "neap.signal"},
    {NEAP_PROC, NULL, "neap.worker"},
    {NEAP_CMOD, "package", "loadlib"},
    {NEAP_ENV, "os", "getenv"},
    {NEAP_ENV, "os", "setlocale"},
    {NEAP_BYTECODE, "string", "dump"},
    {NEAP_DEBUG, NULL, "debug"},
    {~0u, NULL, "neap.host"}, /* what a program lends: addresses of functions */
};

/* Takes the field from the table on the top. */
static void take_field(lua_State *L, const char *name)
{
    lua_pushstring(L, name);
    lua_pushnil(L);
    lua_rawset(L, -3);
}

/* Whether the key is the name of a module, or of one under it. */
static bool is_of(lua_State *L, int key, const char *name)
{
    size_t n = strlen(name);
    const char *s = lua_type(L, key) == LUA_TSTRING ? lua_tostring(L, key) : "";
    return strncmp(s, name, n) == 0 && (s[n] == '\0' || s[n] == '.');
}

/* Takes modules from package.loaded or package.preload: those of the name, or with NULL all
** optional parts. */
static void take_modules(lua_State *L, const char *table, const char *name)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, table);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (name ? is_of(L, -2, name) : bind_is_part(lua_tocfunction(L, -1))) {
            lua_pushvalue(L, -2);
            lua_pushnil(L);
            lua_rawset(L, -5);
        }
    }
    lua_pop(L, 1);
}

static void take(lua_State *L, const struct denied *d)
{
    if (!d->library) {
        lua_pushglobaltable(L);
        take_field(L, d->name);
        take_modules(L, LUA_LOADED_TABLE, d->name);
        take_modules(L, LUA_PRELOAD_TABLE, d->name);
    } else if (lua_getglobal(L, d->library) == LUA_TTABLE) {
        take_field(L, d->name);
    }
    lua_pop(L, 1);
}

enum { PRELOAD = 1, LUA_FILES };

/* package.searchers keeps its first n. */
static void keep_searchers(lua_State *L, lua_Integer n)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchers");
    for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i > n; i--) {
        lua_pushnil(L);
        lua_rawseti(L, -2, i);
    }
    lua_pop(L, 2);
}

/* ---- text only ----
** The stock functions are called by their addresses: as upvalues, debug could hand them out. */

#define STOCK(n) ((lua_CFunction)lua_touserdata(L, lua_upvalueindex(n)))

/* load and loadfile. Upvalues: the stock one, the index of its mode. */
static int load_text(lua_State *L)
{
    int mode = (int)lua_tointeger(L, lua_upvalueindex(2));
    if (lua_gettop(L) < mode)
        lua_settop(L, mode);
    lua_pushliteral(L, "t");
    lua_replace(L, mode);
    lua_pushcfunction(L, STOCK(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static int results(lua_State *L, int status, lua_KContext base)
{
    (void)status;
    return lua_gettop(L) - (int)base;
}

static int dofile_text(lua_State *L)
{
    const char *name = luaL_optstring(L, 1, NULL);
    lua_settop(L, 1);
    if (luaL_loadfilex(L, name, "t") != LUA_OK)
        return lua_error(L);
    lua_callk(L, 0, LUA_MULTRET, 1, results);
    return results(L, LUA_OK, 1);
}

/* The searcher of package.path. Upvalue: the stock package.searchpath. */
static int search_text(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    lua_pushcfunction(L, STOCK(1));
    lua_pushvalue(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, -1, "package") != LUA_TTABLE ||
        lua_getfield(L, -1, "path") != LUA_TSTRING)
        return luaL_error(L, "'package.path' must be a string");
    lua_replace(L, -3);
    lua_pop(L, 1);
    lua_call(L, 2, 2);
    if (lua_isnil(L, -2))
        return 1;
    const char *file = lua_tostring(L, -2);
    if (luaL_loadfilex(L, file, "t") != LUA_OK)
        return luaL_error(L, "error loading module '%s' from file '%s':\n\t%s", name, file,
                          lua_tostring(L, -1));
    lua_pushvalue(L, -3);
    return 2;
}

/* Pushes `by`, which knows the C function on the top, taken off, by its address. */
static void replace_stock(lua_State *L, lua_CFunction by, int mode)
{
    lua_pushlightuserdata(L, (void *)lua_tocfunction(L, -1));
    lua_pushinteger(L, mode);
    lua_pushcclosure(L, by, 2);
    lua_remove(L, -2);
}

static void text_only(lua_State *L, const char *name, lua_CFunction by, int mode)
{
    if (lua_getglobal(L, name) == LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    replace_stock(L, by, mode);
    lua_setglobal(L, name);
}

/* Where require still looks for Lua files. */
static void search_text_only(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchers");
    if (lua_rawlen(L, -1) >= LUA_FILES && lua_getfield(L, -2, "searchpath") != LUA_TNIL) {
        replace_stock(L, search_text, 0);
        lua_rawseti(L, -2, LUA_FILES);
    }
    lua_settop(L, 0);
}

void embed_deny(lua_State *L, unsigned bits)
{
    if (bits & NEAP_BYTECODE) {
        text_only(L, "load", load_text, 3);
        text_only(L, "loadfile", load_text, 2);
        text_only(L, "dofile", dofile_text, 0);
        search_text_only(L);
    }
    for (size_t i = 0; i < sizeof denied / sizeof *denied; i++)
        if (bits & denied[i].bit)
            take(L, &denied[i]);
    if (bits & NEAP_NET) /* they are all for networks */
        take_modules(L, LUA_PRELOAD_TABLE, NULL);
    if (bits & NEAP_FS)
        keep_searchers(L, PRELOAD);
    else if (bits & NEAP_CMOD)
        keep_searchers(L, LUA_FILES);
}
