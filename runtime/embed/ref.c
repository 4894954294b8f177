/* References to the engine's objects, which may die before the script lets go of them.
** A script holds one userdata for each object: registry table refs_ref, weak, has it under
** its type and id for as long as the object lives. A revoked one is dead for good. */
#include "embed/embed.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct ref {
    struct object object;
    uint64_t id;
    bool gone;
}; /* user value: the type's name */

static int ref_gc(lua_State *L)
{
    neap *N = runtime_of(L)->host;
    N->refs--;
    return 0;
}

/* Pushes `type#id`. */
static void push_name(lua_State *L, int i)
{
    struct ref *r = lua_touserdata(L, i);
    lua_getiuservalue(L, i, 1);
    char id[24];
    snprintf(id, sizeof id, "%" PRIu64, r->id);
    lua_pushfstring(L, "%s#%s", lua_tostring(L, -1), id);
    lua_remove(L, -2);
}

static int ref_tostring(lua_State *L)
{
    object_check(L, 1, OBJECT_REF);
    push_name(L, 1);
    return 1;
}

/* Pushes the table of a type's references; if there is none it is made, or (make false) nil is
** pushed and false returned. */
static bool push_type(lua_State *L, neap *N, const char *type, bool make)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, N->refs_ref);
    if (lua_getfield(L, -1, type) == LUA_TTABLE || !make) {
        lua_remove(L, -2);
        return lua_istable(L, -1);
    }
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -2); /* the outer table is its own metatable: weak values */
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, type);
    lua_remove(L, -2);
    return true;
}

void neap_push_ref(lua_State *L, const char *type, uint64_t id)
{
    neap *N = runtime_of(L)->host;
    luaL_checkstack(L, 6, NULL);
    push_type(L, N, type, true);
    if (lua_rawgeti(L, -1, (lua_Integer)id) == LUA_TNIL) {
        lua_pop(L, 1);
        struct ref *r = object_new(L, OBJECT_REF, sizeof *r, 1);
        N->refs++;
        r->id = id;
        lua_pushstring(L, type);
        lua_setiuservalue(L, -2, 1);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, (lua_Integer)id);
    }
    lua_remove(L, -2);
}

uint64_t neap_check_ref(lua_State *L, int idx, const char *type)
{
    struct ref *r = object_test(L, idx, OBJECT_REF);
    if (r) {
        luaL_checkstack(L, 4, NULL);
        idx = lua_absindex(L, idx);
        lua_getiuservalue(L, idx, 1);
        bool same = strcmp(lua_tostring(L, -1), type) == 0;
        lua_pop(L, 1);
        if (same && !r->gone)
            return r->id;
        push_name(L, idx);
        if (same)
            luaL_error(L, "%s is gone", lua_tostring(L, -1));
    }
    luaL_typeerror(L, idx, type);
    return 0;
}

/* revoke(type, id): whether script held one */
static int revoke(lua_State *L)
{
    neap *N = runtime_of(L)->host;
    const char *type = lua_touserdata(L, 1);
    lua_Integer id = lua_tointeger(L, 2);
    struct ref *r = NULL;
    if (push_type(L, N, type, false)) {
        lua_rawgeti(L, -1, id);
        r = lua_touserdata(L, -1);
        lua_pushnil(L);
        lua_rawseti(L, -3, id);
    }
    if (r)
        r->gone = true;
    lua_pushboolean(L, r != NULL);
    return 1;
}

int neap_revoke(neap *N, const char *type, uint64_t id)
{
    if (!embed_owned(N))
        return embed_foreign(N);
    lua_State *L = N->rt.L;
    if (!type)
        return embed_fail(N, NEAP_EARG, "neap_revoke: no type");
    if (!lua_checkstack(L, 4))
        return embed_fail(N, NEAP_EMEM, "not enough memory");
    lua_pushlightuserdata(L, (void *)type);
    lua_pushinteger(L, (lua_Integer)id);
    int status = embed_protect(N, revoke, 2, 1, NEAP_EMEM);
    if (status != NEAP_OK)
        return status;
    bool held = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return held ? NEAP_OK : embed_fail(N, NEAP_ESTALE, "script holds no such reference");
}

void embed_open_objects(lua_State *L)
{
    static const luaL_Reg meta[] = {
        {"__gc", ref_gc}, {"__tostring", ref_tostring}, {NULL, NULL}};
    neap *N = runtime_of(L)->host;
    object_class_new(L, OBJECT_REF,
                     &(struct object_class){.name = "reference", .metamethods = meta});
    lua_createtable(L, 0, 4);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    N->refs_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    N->channel_ids_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushliteral(L, "not enough memory");
    N->no_memory_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}
