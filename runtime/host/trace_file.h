/* --trace FILE: the file to which the library's trace events go. */
#ifndef HOST_TRACE_FILE_H
#define HOST_TRACE_FILE_H

#include "lua.h"

#include <stdbool.h>

/* Makes the file; false, with an error printed, if it cannot be made. */
bool trace_file_open(const char *path);

/* Begins the trace of this Lua state's runtime, before the first tasklet runs. It ends with the
** runtime, or with the process. A lua_CFunction. [E] */
int trace_file_start(lua_State *L);

/* The runtime is gone. */
void trace_file_forget(void);

#endif
