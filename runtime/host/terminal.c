#include "host/terminal.h"

#include "lauxlib.h"

#include <sys/ioctl.h>
#include <unistd.h>

/* width(): columns of the terminal on standard output */
static int width(lua_State *L)
{
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    lua_pushinteger(L, known ? size.ws_col : 80);
    return 1;
}

void terminal_push(lua_State *L, neap *N)
{
    static const luaL_Reg functions[] = {{"width", width}, {NULL, NULL}};
    (void)N;
    if (!isatty(STDIN_FILENO)) {
        lua_pushnil(L);
        return;
    }
    luaL_newlib(L, functions);
    lua_pushboolean(L, isatty(STDOUT_FILENO));
    lua_setfield(L, -2, "output");
}
