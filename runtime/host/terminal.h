/* The program's terminal, for the prompt: how wide it is, whether lines can be edited on it,
** and the editing itself, by libedit. */
#ifndef HOST_TERMINAL_H
#define HOST_TERMINAL_H

#include "lua.h"
#include "neap.h"

#include <stdbool.h>

/* Pushes the table of functions that lua/neap/repl.lua takes, or nil: standard input is no
** terminal. [E] */
void terminal_push(lua_State *L, neap *N);

#endif
