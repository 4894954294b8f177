/* Groups: tasklets that belong to one thing (a creature, a request) and their children,
** ended or held all at once. A group is any value but nil. */
#ifndef CORE_GROUP_H
#define CORE_GROUP_H

#include "core/tasklet.h"

/* Kills all tasklets of the group at index i, newest first; the running one last, which
** then raises here. How many. [E] */
int group_kill(lua_State *L, int i);

/* Holds the group at index i: what wakes its tasklets waits, their timers keep what is
** left; or releases it, in the order in which they were woken. How many. [E] */
int group_hold(lua_State *L, int i, bool on);

/* Puts the tasklet at index i into the group at index g (0, or a nil there: none). [E] */
void group_set(lua_State *L, int i, int g);

/* The newest live tasklet of the group at index i among those made before the one with the
** id `before`; NULL: none. [E] */
struct tasklet *group_newest(lua_State *L, int i, uint64_t before);

/* t leaves its group: it is held no more. [E] */
void group_leave(lua_State *L, struct tasklet *t);

#endif
