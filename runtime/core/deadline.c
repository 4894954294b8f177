#include "core/deadline.h"

#include <math.h>

enum { DEADLINE_ERROR = 1, DEADLINE_VALUES = DEADLINE_ERROR }; /* user values */

/* Pushes the userdata of d, or nil if it is about to be collected. */
static void push(lua_State *L, struct deadline *d)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime_of(L)->deadlines_ref);
    lua_rawgetp(L, -1, d);
    lua_remove(L, -2);
}

/* Replaces d's userdata on the top by its error, which is raised now. */
static void to_error(lua_State *L, struct deadline *d)
{
    list_remove(&d->overdue);
    d->raised = ++runtime_of(L)->moments;
    error_push(L, ERROR_UNWINDING, "timeout");
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, -3, DEADLINE_ERROR);
    lua_remove(L, -2);
}

static bool waits_in(struct tasklet *t, lua_State *L)
{
    return (t->state == TASKLET_BLOCKED || t->state == TASKLET_PAUSED) && tasklet_runs(t, L);
}

/* The tasklet that waits in d's thread, or NULL. A generator may run in any. */
static struct tasklet *waiting(struct runtime *rt, const struct deadline *d)
{
    struct list *node;
    if (d->tasklet && tasklet_runs(d->tasklet, d->L))
        return waits_in(d->tasklet, d->L) ? d->tasklet : NULL;
    list_each(node, &rt->tasklets) {
        struct tasklet *t = container_of(node, struct tasklet, all);
        if (waits_in(t, d->L))
            return t;
    }
    return NULL;
}

static int expire(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    struct deadline *d = lua_touserdata(L, 1);
    push(L, d);
    if (lua_isnil(L, -1))
        return 0;
    struct tasklet *t = waiting(rt, d);
    if (t) {
        to_error(L, d);
        tasklet_throw(L, t, false);
    } else {
        list_push_back(&rt->overdue, &d->overdue);
    }
    return 0;
}

static void on_due(struct runtime *rt, struct timed_call *c)
{
    runtime_enter(rt, expire, container_of(c, struct deadline, due));
}

void deadline_raise_overdue(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    struct list *node;
    list_each(node, &rt->overdue) {
        struct deadline *d = container_of(node, struct deadline, overdue);
        if (!tasklet_runs(rt->current, d->L))
            continue;
        luaL_checkstack(L, 4, NULL);
        push(L, d);
        to_error(L, d);
        lua_error(L);
    }
}

/* The list of deadlines of the running tasklet, made if need be; NULL in reactor code. */
static struct list *list_of(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    if (!rt->current || rt->reactor_code)
        return NULL;
    tasklet_push(L, rt->current);
    struct side *side = tasklet_side(L, -1);
    lua_pop(L, 1);
    return &side->deadlines;
}

struct deadline *deadline_new(lua_State *L, bool real, double seconds)
{
    struct runtime *rt = runtime_of(L);
    struct list *list = list_of(L);
    struct deadline *d = object_new(L, OBJECT_DEADLINE, sizeof *d, DEADLINE_VALUES);
    list_init(&d->link);
    list_init(&d->overdue);
    d->L = L;
    d->due.fn = on_due;
    d->began = ++rt->moments;
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->deadlines_ref);
    lua_pushvalue(L, -2);
    lua_rawsetp(L, -2, d);
    lua_pop(L, 1);
    if (seconds <= 0 && rt->clock->rate == 0)
        real = true; /* as wait_on has it */
    if (timer_arm(rt, &d->due.timer, TIMER_CALL | TIMER_LUA | (real ? TIMER_REAL : 0),
                  seconds) < 0)
        luaL_error(L, "not enough memory");
    if (list) {
        d->tasklet = rt->current;
        list_push_back(list, &d->link);
    }
    return d;
}

/* Takes it out of the table, which would else grow with those that wait for collection. */
static void forget(lua_State *L, struct deadline *d)
{
    if (!lua_checkstack(L, 2))
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime_of(L)->deadlines_ref);
    lua_pushnil(L);
    lua_rawsetp(L, -2, d);
    lua_pop(L, 1);
}

void deadline_leave(lua_State *L, struct deadline *d)
{
    timer_disarm(runtime_of(L), &d->due.timer);
    forget(L, d);
    list_remove(&d->overdue);
    list_remove(&d->link);
    d->tasklet = NULL;
}

bool deadline_is(lua_State *L, int i)
{
    lua_getiuservalue(L, i, DEADLINE_ERROR);
    lua_pushvalue(L, -2);
    failure_unwrap(L);
    bool same = lua_rawequal(L, -1, -2) && !lua_isnil(L, -1);
    lua_pop(L, 2);
    return same;
}

bool deadline_overruled(lua_State *L, int i)
{
    struct deadline *d = lua_touserdata(L, i);
    struct list *node;
    if (!d->tasklet)
        return false;
    struct side *side = d->tasklet->side;
    if (side->killed > d->began) {
        error_push(L, ERROR_TASKLET_EXIT, NULL);
        return true;
    }
    for (node = side->deadlines.next; node != &d->link; node = node->next) {
        struct deadline *around = container_of(node, struct deadline, link);
        if (around->raised <= d->began)
            continue;
        push(L, around);
        lua_getiuservalue(L, -1, DEADLINE_ERROR);
        lua_remove(L, -2);
        return true;
    }
    return false;
}

void deadline_note(lua_State *L, struct tasklet *t)
{
    if (t->side && !list_empty(&t->side->deadlines) && error_is(L, -1, ERROR_TASKLET_EXIT))
        t->side->killed = ++runtime_of(L)->moments;
}

void deadline_abandon(struct tasklet *t)
{
    while (!list_empty(&t->side->deadlines)) {
        struct deadline *d = container_of(t->side->deadlines.next, struct deadline, link);
        list_remove(&d->link);
        d->tasklet = NULL;
    }
}
