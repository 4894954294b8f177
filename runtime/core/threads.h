/* The pool of Lua threads that tasklets run on. A thread is made once, is anchored in
** threads_ref by its place there, and serves one tasklet after the other. */
#ifndef CORE_THREADS_H
#define CORE_THREADS_H

#include "core/runtime.h"

/* An idle thread, or a new one; its stack is empty. May run finalizers. [E] */
struct idle_thread threads_take(lua_State *L);

/* Gives an emptied thread back. keep: false for one that a script has seen, which must never
** be another tasklet's. */
void threads_give(struct runtime *rt, struct idle_thread th, bool keep);

/* Lets go of the thread at a place: it is collected when nothing else holds it. */
void threads_drop(struct runtime *rt, uint32_t place);

/* Before the loop sleeps: drops idle threads that were not needed lately. */
void threads_trim(struct runtime *rt);

#endif
