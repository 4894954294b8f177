/* tostring; print and io.write, which go to the host's write hook. */
#include "bind/bind.h"

#include <stdio.h>

static void write_hook(lua_State *L, const char *s, size_t n)
{
    struct runtime *rt = runtime_of(L);
    if (rt->on_write)
        rt->on_write(rt, s, n);
}

/* Pushes the text of the value at i; false: it takes a call of its __tostring, and function
** and argument are pushed. */
static bool push_text(lua_State *L, int i)
{
    if (luaL_getmetafield(L, i, "__tostring") == LUA_TNIL) {
        luaL_tolstring(L, i, NULL);
        return true;
    }
    lua_pushvalue(L, i);
    return false;
}

/* What a __tostring has given is on the top. */
static void check_text(lua_State *L)
{
    if (!lua_tostring(L, -1))
        luaL_error(L, "'__tostring' must return a string");
}

static int to_string_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    check_text(L);
    return 1;
}

/* tostring(v); a __tostring may wait */
static int to_string(lua_State *L)
{
    luaL_checkany(L, 1);
    if (push_text(L, 1))
        return 1;
    lua_callk(L, 1, 1, 0, to_string_k);
    return to_string_k(L, LUA_OK, 0);
}

static void print_line(lua_State *L, int n)
{
    for (int i = 1; i <= n; i++) {
        size_t length;
        const char *s = lua_tolstring(L, i, &length);
        if (i > 1)
            write_hook(L, "\t", 1);
        write_hook(L, s, length);
    }
    write_hook(L, "\n", 1);
}

/* The text of the i-th argument is on the top (0: nothing yet); makes the others'. */
static int print_k(lua_State *L, int status, lua_KContext i)
{
    (void)status;
    int n = lua_gettop(L) - (i > 0);
    for (;;) {
        if (i > 0) {
            check_text(L);
            lua_replace(L, (int)i);
        }
        if (++i > n)
            break;
        if (!push_text(L, (int)i))
            lua_callk(L, 1, 1, i, print_k);
    }
    print_line(L, n);
    return 0;
}

/* print(...): one line, written when all of it is known; a __tostring may wait */
static int print(lua_State *L)
{
    return print_k(L, LUA_OK, 0);
}

static int written(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return lua_gettop(L);
}

/* Writes to the file on the top: a pipe's write may wait, one that is closed says so. */
static int write_to_file(lua_State *L)
{
    int n = lua_gettop(L) - 1;
    luaL_Stream *p = luaL_testudata(L, -1, LUA_FILEHANDLE);
    if (!p || !p->closef) {
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_replace(L, -2);
        lua_insert(L, 1);
        lua_call(L, n, LUA_MULTRET);
        return lua_gettop(L);
    }
    lua_insert(L, 1);
    lua_getfield(L, 1, "write");
    lua_insert(L, 1);
    lua_callk(L, n + 1, LUA_MULTRET, 0, written);
    return lua_gettop(L);
}

/* io.write(...); upvalues: the stock io.write, io.stdout. */
static int io_write(lua_State *L)
{
    int n = lua_gettop(L);
    lua_getfield(L, LUA_REGISTRYINDEX, "_IO_output");
    if (!lua_rawequal(L, -1, lua_upvalueindex(2))) /* io.output(file) is in force */
        return write_to_file(L);
    for (int i = 1; i <= n; i++) {
        size_t length;
        if (lua_type(L, i) == LUA_TNUMBER && !lua_isinteger(L, i)) {
            char number[64];
            length =
                (size_t)snprintf(number, sizeof number, LUA_NUMBER_FMT, lua_tonumber(L, i));
            write_hook(L, number, length);
            continue;
        }
        const char *s = luaL_checklstring(L, i, &length);
        write_hook(L, s, length);
    }
    return 1;
}

void bind_output(lua_State *L)
{
    lua_pushcfunction(L, print);
    lua_setglobal(L, "print");
    lua_pushcfunction(L, to_string);
    lua_setglobal(L, "tostring");
    if (lua_getglobal(L, "io") == LUA_TTABLE) {
        lua_getfield(L, -1, "write");
        lua_getfield(L, -2, "stdout");
        lua_pushcclosure(L, io_write, 2);
        lua_setfield(L, -2, "write");
    }
    lua_pop(L, 1);
}
