/* The properties of a tasklet. */
#include "bind/bind.h"
#include "core/ending.h"
#include "core/group.h"
#include "core/tasklet.h"
#include "core/tracer.h"
#include "core/wait.h"

static void get_alive(lua_State *L, void *t)
{
    lua_pushboolean(L, tasklet_alive(t));
}

static void get_blocked(lua_State *L, void *p)
{
    lua_pushboolean(L, ((struct tasklet *)p)->state == TASKLET_BLOCKED);
}

static void get_scheduled(lua_State *L, void *p)
{
    struct tasklet *t = p; /* one that is blocked counts, as in Stackless */
    lua_pushboolean(L, tasklet_alive(t) && t->state != TASKLET_PAUSED);
}

static void get_paused(lua_State *L, void *p)
{
    lua_pushboolean(L, ((struct tasklet *)p)->state == TASKLET_PAUSED);
}

static void get_current(lua_State *L, void *p)
{
    lua_pushboolean(L, ((struct tasklet *)p)->state == TASKLET_RUNNING);
}

static void get_is_main(lua_State *L, void *p)
{
    lua_pushboolean(L, runtime_of(L)->main == p);
}

static void get_id(lua_State *L, void *p)
{
    lua_pushinteger(L, (lua_Integer)((struct tasklet *)p)->id);
}

static void get_waiting_on(lua_State *L, void *p)
{
    struct tasklet *t = p;
    if (t->state != TASKLET_BLOCKED)
        lua_pushnil(L);
    else
        lua_pushstring(L, wait_what(runtime_of(L), t));
}

static void get_group(lua_State *L, void *t)
{
    (void)t;
    tasklet_get(L, 1, SIDE_GROUP);
}

static void set_group(lua_State *L, void *t)
{
    (void)t;
    group_set(L, 1, 3);
}

static void get_block_trap(lua_State *L, void *t)
{
    lua_pushboolean(L, ((struct tasklet *)t)->block_trap);
}

static void set_block_trap(lua_State *L, void *t)
{
    ((struct tasklet *)t)->block_trap = lua_toboolean(L, 3);
}

static void get_daemon(lua_State *L, void *p)
{
    struct tasklet *t = p;
    lua_pushboolean(L, t->side && t->side->daemon);
}

static void set_daemon(lua_State *L, void *t)
{
    tasklet_side(L, 1);
    ending_set_daemon(runtime_of(L), t, lua_toboolean(L, 3));
}

static void get_recursion_depth(lua_State *L, void *t)
{
    lua_pushinteger(L, tasklet_depth(t));
}

static void get_name(lua_State *L, void *p)
{
    (void)p;
    tasklet_get(L, 1, SIDE_NAME);
}

static void set_name(lua_State *L, void *p)
{
    if (!lua_isnil(L, 3))
        if (!lua_isstring(L, 3))
            luaL_error(L, "a tasklet's name is a string, not a %s", luaL_typename(L, 3));
    tasklet_set(L, 1, SIDE_NAME);
    struct tasklet *t = p;
    if (runtime_of(L)->tracer && tasklet_alive(t) && t->started)
        tracer_name(L, t);
}

static void get_tempval(lua_State *L, void *p)
{
    (void)p;
    tasklet_get(L, 1, SIDE_TEMPVAL);
}

static void set_tempval(lua_State *L, void *p)
{
    (void)p;
    tasklet_set(L, 1, SIDE_TEMPVAL);
}

static void get_locals(lua_State *L, void *p)
{
    (void)p;
    tasklet_get(L, 1, SIDE_LOCALS);
    if (lua_isnil(L, -1)) {
        lua_newtable(L);
        lua_pushvalue(L, -1);
        tasklet_set(L, 1, SIDE_LOCALS);
    }
}

const struct object_property bind_tasklet_properties[] = {
    {"alive", get_alive, NULL},
    {"blocked", get_blocked, NULL},
    {"scheduled", get_scheduled, NULL},
    {"paused", get_paused, NULL},
    {"current", get_current, NULL},
    {"is_main", get_is_main, NULL},
    {"id", get_id, NULL},
    {"waiting_on", get_waiting_on, NULL},
    {"name", get_name, set_name},
    {"group", get_group, set_group},
    {"daemon", get_daemon, set_daemon},
    {"block_trap", get_block_trap, set_block_trap},
    {"recursion_depth", get_recursion_depth, NULL},
    {"tempval", get_tempval, set_tempval},
    {"locals", get_locals, NULL},
    {NULL, NULL, NULL},
};
