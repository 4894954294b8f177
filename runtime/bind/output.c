/* print and io.write, which go to the host's write hook. */
#include "bind/bind.h"

static void write_hook(lua_State *L, const char *s, size_t n)
{
    struct runtime *rt = runtime_of(L);
    if (rt->on_write)
        rt->on_write(rt, s, n);
}

static int print(lua_State *L)
{
    int n = lua_gettop(L);
    for (int i = 1; i <= n; i++) {
        size_t length;
        const char *s = luaL_tolstring(L, i, &length);
        if (i > 1)
            write_hook(L, "\t", 1);
        write_hook(L, s, length);
        lua_pop(L, 1);
    }
    write_hook(L, "\n", 1);
    return 0;
}

/* io.write(...); upvalues: the stock io.write, io.stdout. */
static int io_write(lua_State *L)
{
    int n = lua_gettop(L);
    lua_getfield(L, LUA_REGISTRYINDEX, "_IO_output");
    if (!lua_rawequal(L, -1, lua_upvalueindex(2))) { /* io.output(file) is in force */
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_insert(L, 1);
        lua_pop(L, 1);
        lua_call(L, n, LUA_MULTRET);
        return lua_gettop(L);
    }
    for (int i = 1; i <= n; i++) {
        size_t length;
        if (lua_type(L, i) != LUA_TNUMBER)
            luaL_checkstring(L, i);
        const char *s = lua_tolstring(L, i, &length);
        write_hook(L, s, length);
    }
    return 1;
}

void bind_output(lua_State *L)
{
    lua_pushcfunction(L, print);
    lua_setglobal(L, "print");
    if (lua_getglobal(L, "io") == LUA_TTABLE) {
        lua_getfield(L, -1, "write");
        lua_getfield(L, -2, "stdout");
        lua_pushcclosure(L, io_write, 2);
        lua_setfield(L, -2, "write");
    }
    lua_pop(L, 1);
}
