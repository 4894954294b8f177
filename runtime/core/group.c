#include "core/group.h"

#include "core/sched.h"
#include "core/timer.h"

#include <math.h>

/* Pushes the live tasklet if it is of the group at index i. */
static bool push_member(lua_State *L, struct tasklet *t, int i)
{
    if (!t->side || !t->side->grouped)
        return false;
    tasklet_push(L, t);
    tasklet_get(L, -1, SIDE_GROUP);
    bool member = lua_rawequal(L, -1, i);
    lua_pop(L, member ? 1 : 2);
    return member;
}

struct tasklet *group_newest(lua_State *L, int i, uint64_t before)
{
    struct runtime *rt = runtime_of(L);
    struct list *node;
    for (node = rt->tasklets.prev; node != &rt->tasklets; node = node->prev) {
        struct tasklet *t = container_of(node, struct tasklet, all);
        if (t->id >= before || !push_member(L, t, i))
            continue;
        lua_pop(L, 1);
        return t;
    }
    return NULL;
}

int group_kill(lua_State *L, int i)
{
    struct runtime *rt = runtime_of(L);
    struct list *node, *previous;
    bool self = false;
    int n = 0;
    for (node = rt->tasklets.prev; node != &rt->tasklets; node = previous) {
        struct tasklet *t = container_of(node, struct tasklet, all);
        previous = node->prev;
        if (!push_member(L, t, i))
            continue;
        lua_pop(L, 1);
        n++;
        if (t->state == TASKLET_RUNNING) {
            self = true;
            continue;
        }
        error_push(L, ERROR_TASKLET_EXIT, NULL);
        tasklet_throw(L, t, false);
    }
    if (self && !wait_in_reactor_code(L))
        return error_raise(L, ERROR_TASKLET_EXIT, NULL);
    if (self) {
        tasklet_push(L, rt->current);
        error_push(L, ERROR_TASKLET_EXIT, NULL);
        tasklet_interrupt(L, lua_gettop(L) - 1);
        lua_pop(L, 1);
    }
    return n;
}

static void hold(struct runtime *rt, struct tasklet *t)
{
    if (heap_holds(&t->timer) && !(t->timer.kind & TIMER_REAL)) {
        t->side->remainder = timer_left(rt, &t->timer);
        timer_disarm(rt, &t->timer);
    }
    bool ready = t->state == TASKLET_READY;
    if (ready)
        sched_remove(rt, t);
    t->held = true;
    if (ready)
        sched_append(rt, t);
}

/* Its timer goes on with what was left. What has woken it stays for release_ready. */
static void release(lua_State *L, struct runtime *rt, struct tasklet *t)
{
    if (t->side->remainder >= 0) {
        if (timer_arm_again(rt, &t->timer, t->side->remainder) < 0)
            luaL_error(L, "not enough memory");
        t->side->remainder = -1;
    }
}

/* Moves those of the group that were woken to the run queue, in order. */
static void release_ready(lua_State *L, struct runtime *rt, int i)
{
    struct list *node, *next;
    for (node = rt->held.next; node != &rt->held; node = next) {
        struct tasklet *t = container_of(node, struct tasklet, link);
        next = node->next;
        if (!push_member(L, t, i))
            continue;
        lua_pop(L, 1);
        sched_remove(rt, t);
        t->held = false;
        sched_append(rt, t);
    }
}

int group_hold(lua_State *L, int i, bool on)
{
    struct runtime *rt = runtime_of(L);
    struct list *node;
    int n = 0;
    if (!on)
        release_ready(L, rt, i);
    list_each(node, &rt->tasklets) {
        struct tasklet *t = container_of(node, struct tasklet, all);
        if (!push_member(L, t, i))
            continue;
        lua_pop(L, 1);
        n++;
        if (on && !t->held)
            hold(rt, t);
        else if (!on && t->held)
            release(L, rt, t);
        t->held = on;
    }
    return n;
}

void group_leave(lua_State *L, struct tasklet *t)
{
    struct runtime *rt = runtime_of(L);
    if (!t->held)
        return;
    release(L, rt, t);
    bool ready = t->state == TASKLET_READY;
    if (ready)
        sched_remove(rt, t);
    t->held = false;
    if (ready)
        sched_append(rt, t);
}

void group_set(lua_State *L, int i, int g)
{
    struct tasklet *t = lua_touserdata(L, i);
    i = lua_absindex(L, i);
    group_leave(L, t);
    g > 0 ? lua_pushvalue(L, g) : lua_pushnil(L);
    bool grouped = !lua_isnil(L, -1);
    tasklet_set(L, i, SIDE_GROUP);
    t->side->grouped = grouped;
}
