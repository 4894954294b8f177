/* Optional parts: require "neap.NAME" loads NAME.so, unless the host has put its own opener
** into package.preload. Where it is follows from where the library itself is, so that a tree
** can be moved: beside the installed library or program, or in the build tree. */
#define _GNU_SOURCE
#include "core/part.h"

#include "bind/bind.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of a part: what it is built from. */
static const char *const parts[][2] = {
    {"names", "libc-ares-dev"}, {"tls", "libssl-dev"}, {"curl", "libcurl4-openssl-dev"}};

enum { PARTS = sizeof parts / sizeof *parts };

/* Pushes the folder in which the library is, or the program that holds it. */
static const char *push_folder(lua_State *L)
{
    Dl_info info;
    struct link_map *map;
    char path[PATH_MAX];
    if (!dladdr1(parts, &info, (void **)&map, RTLD_DL_LINKMAP) ||
        !realpath(*map->l_name ? map->l_name : "/proc/self/exe", path))
        return lua_pushliteral(L, ".");
    return lua_pushlstring(L, path, (size_t)(strrchr(path, '/') - path));
}

/* Pushes the path of a part's file; NULL: it is nowhere. */
static const char *push_path(lua_State *L, const char *name)
{
    static const char *const places[] = {
        "%s/../lib/neap/%s.so",       /* the installed program */
        "%s/neap/%s.so",              /* the installed library */
        "%s/build/plain/parts/%s.so", /* the build tree */
        "%s/parts/%s.so",             /* a variant in it */
    };
    const char *folder = push_folder(L);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *path = lua_pushfstring(L, places[i], folder, name);
        if (access(path, R_OK) == 0)
            return path;
        lua_pop(L, 1);
    }
    return NULL;
}

/* The loader of require "neap.NAME"; upvalue: its line of `parts`. */
static int load_part(lua_State *L)
{
    const char *const *part = lua_touserdata(L, lua_upvalueindex(1));
    const char *path = push_path(L, part[0]);
    if (!path)
        return luaL_error(
            L, "neap.%s is missing: no %s.so beside this neap (it needs %s when it is built)",
            part[0], part[0], part[1]);
    void *file = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!file)
        return luaL_error(L, "neap.%s cannot be loaded: %s", part[0], dlerror());
    lua_pushfstring(L, "luaopen_neap_%s", part[0]);
    lua_CFunction open = (lua_CFunction)dlsym(file, lua_tostring(L, -1));
    if (!open)
        return luaL_error(L, "neap.%s cannot be loaded: %s", part[0], dlerror());
    lua_pushcfunction(L, open);
    lua_call(L, 0, 1);
    return 1;
}

bool bind_is_part(lua_CFunction loader)
{
    return loader == load_part;
}

void bind_parts(lua_State *L)
{
    part_open(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (int i = 0; i < PARTS; i++) {
        lua_pushfstring(L, "neap.%s", parts[i][0]);
        lua_pushlightuserdata(L, (void *)parts[i]);
        lua_pushcclosure(L, load_part, 1);
        lua_rawset(L, -3);
    }
    lua_pop(L, 1);
}
