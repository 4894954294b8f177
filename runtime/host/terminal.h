/* The program's terminal, for the prompt: how wide it is, where its history is kept, and
** lines that are edited on it, by libedit.
**
** While a line is edited the terminal is raw; what the program prints meanwhile takes the line
** off the screen, and it comes back once the printing is over. */
#ifndef HOST_TERMINAL_H
#define HOST_TERMINAL_H

#include "lua.h"
#include "neap.h"

#include <stdbool.h>
#include <stddef.h>

/* Pushes the table of functions that lua/neap/repl.lua takes, or nil: standard input is no
** terminal. [E] */
void terminal_push(lua_State *L, neap *N);

/* Of the terminal on standard output. */
int terminal_columns(void);

/* Adds the editing functions to the table on the top; false: lines cannot be edited, for this
** terminal is too simple, or because of *missing. [E] */
bool editor_open(lua_State *L, neap *N, const char **missing);

/* Something is about to be printed, the last of it being s[n - 1]; n 0: it is unknown. */
void editor_make_room(const char *s, size_t n);

/* Gives the terminal its settings back, if a line is being edited. For signal handlers too. */
void editor_restore(void);

#endif
