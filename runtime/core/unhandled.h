/* Failures of deferreds that nobody has taken. The deferred anchors a small object whose
** __gc, when both are collected or the runtime closes, notes the failure; it is reported
** at the end of the turn, once. */
#ifndef CORE_UNHANDLED_H
#define CORE_UNHANDLED_H

#include "core/deferred.h"

/* The failure that is the result of the deferred at index i is nobody's from now on; one
** that was cancelled is not watched. [E] */
void unhandled_watch(lua_State *L, int i);

/* Somebody has taken it. */
void unhandled_taken(lua_State *L, int i);

/* Reports the failures that collection found. */
void unhandled_report(struct runtime *rt);

/* Pushes a list of them; they are not reported. [E] */
void unhandled_take_all(lua_State *L);

void unhandled_open(lua_State *L);

#endif
