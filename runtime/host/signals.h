/* The program's signal handlers, which it lends to the library by way of neap.host. */
#ifndef HOST_SIGNALS_H
#define HOST_SIGNALS_H

#include "lua.h"

enum { INTERRUPTED = 130 }; /* the exit status after Ctrl-C */

/* Takes SIGURG (cuts in on tasklets), SIGINT and SIGQUIT, unless they are ignored. On the top
** of the stack is neap.host. [E] */
void signals_lend(lua_State *L);

/* The runtime is about to go: another SIGINT ends the program at once. */
void signals_end(void);

#endif
