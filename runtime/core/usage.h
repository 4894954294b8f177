/* How old tasklets are, and how long each has run: only while somebody asks.
**
** Ages come from marks: at the end of a turn, which id was the newest. A tasklet whose id lies
** between two marks was made between their times; marks closer than 0.05 s are one. */
#ifndef CORE_USAGE_H
#define CORE_USAGE_H

#include "core/runtime.h"

/* From now on there are ages. 0 or -ENOMEM; again is harmless. */
int usage_open(struct runtime *rt);

void usage_close(struct runtime *rt);

/* At the end of a turn. */
void usage_mark(struct runtime *rt);

/* Seconds since a tasklet was made, or since usage_open. */
double usage_age(const struct runtime *rt, uint64_t id);

/* Begins to count, or ends it and forgets. usage_open must have succeeded. */
void usage_count(struct runtime *rt, bool on);

/* A tasklet has run for so many seconds. */
void usage_add(struct runtime *rt, uint64_t id, double seconds);

/* Pushes a table, seconds by id, of what has run since the last time or the beginning. [E] */
void usage_take(lua_State *L);

#endif
