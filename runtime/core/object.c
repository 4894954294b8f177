#include "core/object.h"

#include "core/runtime.h"

#include <string.h>

/* Of the lookups on objects of a lasting kind, every so many-th makes one direct: an
** object that is used again and again is soon found, and the others cost nothing. */
#ifdef NEAP_STRESS
enum { DIRECT_EACH = 2 };
#else
enum { DIRECT_EACH = 256 };
#endif

/* The object at 1, of the kind at upvalue `kind`; a script may call this with anything. */
static void *self(lua_State *L, int kind, int name)
{
    struct object *o = lua_touserdata(L, 1);
    if (lua_type(L, 1) != LUA_TUSERDATA || lua_rawlen(L, 1) < sizeof *o ||
        o->kind != lua_touserdata(L, lua_upvalueindex(kind)))
        luaL_typeerror(L, 1, lua_tostring(L, lua_upvalueindex(name)));
    return o;
}

/* Pushes the property named at 2 of the object o of a kind; raises if there is none. */
static int push_property(lua_State *L, const struct object_property *p, void *o,
                         const char *kind)
{
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
    for (; key && p && p->name; p++) {
        if (strcmp(p->name, key) == 0) {
            p->get(L, o);
            return 1;
        }
    }
    return luaL_error(L, "%s has no field '%s'", kind, luaL_tolstring(L, 2, NULL));
}

/* __index of a table of methods that one object has for itself: a property. Upvalues:
** properties, name, the object. */
static int index_direct(lua_State *L)
{
    lua_settop(L, 2);
    lua_pushvalue(L, lua_upvalueindex(3));
    lua_replace(L, 1);
    return push_property(L, lua_touserdata(L, lua_upvalueindex(1)), lua_touserdata(L, 1),
                         lua_tostring(L, lua_upvalueindex(2)));
}

/* Pushes a shallow copy of the table at index i. */
static void push_copy(lua_State *L, int i)
{
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, i);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
}

/* Gives the object at 1 a metatable of its own, whose __index is a table of its methods:
** Lua then finds them without a call, and only properties need one. (A table that all
** objects shared could not tell whose property it is asked for.) */
static void make_direct(lua_State *L)
{
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    int top = lua_gettop(L);
    lua_getmetatable(L, 1);
    push_copy(L, top + 1);
    push_copy(L, lua_upvalueindex(1));
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_pushvalue(L, lua_upvalueindex(3));
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, index_direct, 3);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, 1);
    lua_settop(L, top);
}

/* __index(object, key): a method, or a property. Upvalues: methods, properties, name, kind. */
static int index_object(lua_State *L)
{
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    return push_property(L, lua_touserdata(L, lua_upvalueindex(2)), self(L, 4, 3),
                         lua_tostring(L, lua_upvalueindex(3)));
}

/* The same for a lasting kind. */
static int index_lasting(lua_State *L)
{
    struct object_kind_data *kind = lua_touserdata(L, lua_upvalueindex(4));
    index_object(L);
    if (++kind->lookups % DIRECT_EACH == 0 && self(L, 4, 3))
        make_direct(L);
    return 1;
}

/* __newindex(object, key, value): a settable property. Upvalues: properties, name, kind. */
static int set_object(lua_State *L)
{
    const struct object_property *p = lua_touserdata(L, lua_upvalueindex(1));
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
    for (; key && p && p->name; p++) {
        if (p->set && strcmp(p->name, key) == 0) {
            p->set(L, self(L, 3, 2));
            return 0;
        }
    }
    return luaL_error(L, "%s has no field '%s' that can be set",
                      lua_tostring(L, lua_upvalueindex(2)), luaL_tolstring(L, 2, NULL));
}

void object_class_new(lua_State *L, enum object_kind kind, const struct object_class *c)
{
    struct runtime *rt = runtime_of(L);
    rt->kinds[kind].properties = c->properties;
    lua_newtable(L);
    lua_pushstring(L, c->name);
    lua_setfield(L, -2, "__name");
    lua_pushstring(L, c->name);
    lua_setfield(L, -2, "__metatable"); /* scripts have no business with it */
    if (c->metamethods)
        luaL_setfuncs(L, c->metamethods, 0);
    if (c->methods) {
        lua_newtable(L);
        luaL_setfuncs(L, c->methods, 0);
        lua_pushlightuserdata(L, (void *)c->properties);
        lua_pushstring(L, c->name);
        lua_pushlightuserdata(L, &rt->kinds[kind]);
        lua_pushcclosure(L, c->lasting ? index_lasting : index_object, 4);
        lua_setfield(L, -2, "__index");
        lua_pushlightuserdata(L, (void *)c->properties);
        lua_pushstring(L, c->name);
        lua_pushlightuserdata(L, &rt->kinds[kind]);
        lua_pushcclosure(L, set_object, 3);
        lua_setfield(L, -2, "__newindex");
    }
    rt->kinds[kind].ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

void *object_new(lua_State *L, enum object_kind kind, size_t size, int values)
{
    struct object *o = lua_newuserdatauv(L, size, values);
    struct object_kind_data *data = &runtime_of(L)->kinds[kind];
    memset(o, 0, size);
    o->kind = data;
    lua_rawgeti(L, LUA_REGISTRYINDEX, data->ref);
    lua_setmetatable(L, -2);
    return o;
}

void object_methods(lua_State *L, enum object_kind kind)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime_of(L)->kinds[kind].ref);
    if (lua_getfield(L, -1, "__index") == LUA_TFUNCTION) {
        lua_getupvalue(L, -1, 1);
        lua_remove(L, -2);
    }
    lua_remove(L, -2);
}

/* The kind of the value at index i; OBJECT_KINDS: it is no object of ours. */
static int kind_of(lua_State *L, int i)
{
    struct runtime *rt = runtime_of(L);
    struct object *o = lua_rawlen(L, i) < sizeof *o ? NULL : lua_touserdata(L, i);
    int kind = o ? 0 : OBJECT_KINDS;
    while (kind < OBJECT_KINDS && o->kind != &rt->kinds[kind])
        kind++;
    return kind;
}

void object_methods_of(lua_State *L, int i)
{
    int kind = kind_of(L, i);
    if (kind < OBJECT_KINDS)
        object_methods(L, kind);
    else
        lua_pushnil(L);
}

void object_property_names(lua_State *L, int i)
{
    int kind = kind_of(L, i);
    const struct object_property *p =
        kind < OBJECT_KINDS ? runtime_of(L)->kinds[kind].properties : NULL;
    p ? lua_newtable(L) : lua_pushnil(L);
    for (int n = 0; p && p->name; p++) {
        lua_pushstring(L, p->name);
        lua_rawseti(L, -2, ++n);
    }
}

void object_type_error(lua_State *L, int i, enum object_kind kind)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime_of(L)->kinds[kind].ref);
    lua_getfield(L, -1, "__name");
    luaL_typeerror(L, i, lua_tostring(L, -1));
}
