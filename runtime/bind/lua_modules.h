/* The modules of lua/neap, as text; made by lua/embed.sh. Ends with a NULL name. */
#ifndef BIND_LUA_MODULES_H
#define BIND_LUA_MODULES_H

#include <stddef.h>

struct lua_module {
    const char *name, *chunkname;
    const char *source;
    size_t size;
};

extern const struct lua_module lua_modules[];

#endif
