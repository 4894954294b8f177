/* The stacks of coroutines that an error has left: coroutine.wrap empties a coroutine that
** failed before it passes the error on, so its frames are noted first, for the report of
** the error at the tasklet's root. One error is noted at a time, the last. */
#ifndef CORE_TRACE_H
#define CORE_TRACE_H

#include "core/runtime.h"

/* co has failed and is still as it was then, its error on its top: notes its frames, after
** those of the coroutines that the same error has left before. */
void trace_note(lua_State *co);

/* Whether what was noted is of the error at index i of L. */
bool trace_is_of(lua_State *L, int i);

/* That error, as it now is on the top of L, has been passed on to L. */
void trace_pass(lua_State *L);

/* Pushes what was noted. [E] */
void trace_push(lua_State *L);

/* Forgets all, when the runtime closes. */
void trace_free(struct runtime *rt);

/* Pushes a traceback of T, which runs or waits for the tasklet t (NULL: none), as
** luaL_traceback does, but without the library's frame under the body of t. [E] */
void trace_push_stack(lua_State *L, const struct tasklet *t, lua_State *T, const char *title,
                      int level);

#endif
