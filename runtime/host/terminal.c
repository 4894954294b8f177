#include "host/terminal.h"

#include "lauxlib.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static struct winsize size_of_terminal(void)
{
    struct winsize size = {.ws_col = 0, .ws_row = 0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    if (size.ws_col == 0)
        size.ws_col = 80;
    if (size.ws_row == 0)
        size.ws_row = 24;
    return size;
}

int terminal_columns(void)
{
    return size_of_terminal().ws_col;
}

/* width(): columns of the terminal on standard output */
static int width(lua_State *L)
{
    lua_pushinteger(L, terminal_columns());
    return 1;
}

/* height(): lines of it */
static int height(lua_State *L)
{
    lua_pushinteger(L, size_of_terminal().ws_row);
    return 1;
}

/* Makes the folders on the way to a file. */
static void make_folders(const char *path)
{
    char folder[PATH_MAX];
    for (const char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
        size_t n = (size_t)(p - path);
        if (n >= sizeof folder)
            return;
        memcpy(folder, path, n);
        folder[n] = '\0';
        mkdir(folder, S_IRWXU);
    }
}

/* keep(path, text, anew): writes it at the end of a file that nobody else may read, or instead
** of what is in there; whether that was possible */
static int keep(lua_State *L)
{
    size_t n;
    const char *path = luaL_checkstring(L, 1), *text = luaL_checklstring(L, 2, &n);
    int how = lua_toboolean(L, 3) ? O_TRUNC : O_APPEND;
    make_folders(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | how, S_IRUSR | S_IWUSR);
    bool done =
        fd >= 0 && fchmod(fd, S_IRUSR | S_IWUSR) == 0 && write(fd, text, n) == (ssize_t)n;
    if (fd >= 0)
        close(fd);
    lua_pushboolean(L, done);
    return 1;
}

void terminal_push(lua_State *L, neap *N)
{
    static const luaL_Reg functions[] = {
        {"width", width}, {"height", height}, {"keep", keep}, {NULL, NULL}};
    if (!isatty(STDIN_FILENO)) {
        lua_pushnil(L);
        return;
    }
    bool output = isatty(STDOUT_FILENO);
    luaL_newlib(L, functions);
    lua_pushboolean(L, output);
    lua_setfield(L, -2, "output");
    const char *missing = NULL;
    lua_pushboolean(L, output && editor_open(L, N, &missing));
    lua_setfield(L, -2, "edits");
    lua_pushstring(L, missing);
    lua_setfield(L, -2, "missing");
}
