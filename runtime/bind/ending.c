/* The end of a program as its host sees it: the part of neap.host that tells what waits for
** ever, and kills what is left. */
#include "core/ending.h"

#include "bind/bind.h"
#include "net/listener.h"

#include <stdlib.h>

/* Of thousands that wait, those beyond the first ENTRIES are only counted, by the place at
** which they wait; a new place is worth an entry, up to PLACES. */
enum { ENTRIES = 20, PLACES = 40 };

/* The frame of a report. */
enum { REPORT_TEXT = 1, REPORT_PLACES, REPORT_COUNTS, REPORT_TOP = REPORT_COUNTS };

/* Appends the value on the top to the list at index i. */
static void append(lua_State *L, int i)
{
    lua_rawseti(L, i, (lua_Integer)lua_rawlen(L, i) + 1);
}

/* Pushes what a live tasklet waits on, and where: `receive on a channel, at script.lua:3`. */
static void push_wait(lua_State *L, struct tasklet *t)
{
    if (t->state == TASKLET_BLOCKED)
        lua_pushstring(L, wait_what(runtime_of(L), t));
    else
        lua_pushstring(L, t->state == TASKLET_PAUSED ? "paused" : "ready");
    if (t->held)
        lua_pushliteral(L, ", its group held"), lua_concat(L, 2);
    lua_Debug ar;
    if (tasklet_place(t, &ar)) {
        lua_pushfstring(L, ", at %s:%d", ar.short_src, ar.currentline);
        lua_concat(L, 2);
    }
}

/* Adds the tasklet's entry; its wait is on the top, and stays. */
static void add_entry(lua_State *L, struct tasklet *t)
{
    int wait = lua_gettop(L);
    tasklet_push_title(L, t);
    lua_pushliteral(L, " waits: ");
    lua_pushvalue(L, wait);
    lua_pushliteral(L, "\n");
    tasklet_push_traceback(L, t);
    lua_concat(L, 5);
    append(L, REPORT_TEXT);
}

/* Adds a tasklet, by an entry or to the count of its place. */
static void add(lua_State *L, struct tasklet *t)
{
    push_wait(L, t);
    lua_pushvalue(L, -1);
    bool known = lua_rawget(L, REPORT_COUNTS) != LUA_TNIL;
    lua_Integer hidden = lua_tointeger(L, -1);
    size_t entries = lua_rawlen(L, REPORT_TEXT);
    lua_pop(L, 1);
    if (entries < ENTRIES || (!known && entries < PLACES))
        add_entry(L, t);
    else
        hidden++;
    if (!known) {
        lua_pushvalue(L, -1);
        append(L, REPORT_PLACES);
    }
    lua_pushinteger(L, hidden);
    lua_rawset(L, REPORT_COUNTS);
}

static void add_counts(lua_State *L)
{
    lua_Integer n = (lua_Integer)lua_rawlen(L, REPORT_PLACES), others = 0;
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, REPORT_PLACES, i);
        lua_pushvalue(L, -1);
        lua_rawget(L, REPORT_COUNTS);
        lua_Integer hidden = lua_tointeger(L, -1);
        if (hidden > 0 && i <= PLACES) {
            lua_pushfstring(L, "and %I more: %s", (LUAI_UACINT)hidden, lua_tostring(L, -2));
            append(L, REPORT_TEXT);
        } else {
            others += hidden;
        }
        lua_settop(L, REPORT_TOP);
    }
    if (others > 0) {
        lua_pushfstring(L, "and %I more elsewhere", (LUAI_UACINT)others);
        append(L, REPORT_TEXT);
    }
}

/* A listener keeps nothing alive while nobody accepts; that may be why all the rest waits. */
static void add_listeners(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    struct list *node;
    list_each(node, &rt->listeners) {
        const struct listener *l = container_of(node, struct listener, all);
        char host[ADDRESS_TEXT];
        int port = address_format(&l->address, host);
        if (list_empty(&l->acceptors.waiters)) {
            lua_pushfstring(L, "listener %s:%d: nobody accepts", host, port);
            append(L, REPORT_TEXT);
        }
    }
}

/* Pushes the lines of the list at REPORT_TEXT as one text. */
static void push_text(lua_State *L)
{
    luaL_Buffer b;
    lua_Integer n = (lua_Integer)lua_rawlen(L, REPORT_TEXT);
    luaL_buffinit(L, &b);
    for (lua_Integer i = 1; i <= n; i++) {
        if (i > 1)
            luaL_addchar(&b, '\n');
        lua_rawgeti(L, REPORT_TEXT, i);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
}

/* Leaves a text about each tasklet that waits for ever, oldest first: "" if none does. No
** finalizer may change their list meanwhile. */
static void report(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    struct list *node;
    bool collects = lua_gc(L, LUA_GCISRUNNING);
    lua_gc(L, LUA_GCSTOP);
    lua_settop(L, 0);
    luaL_checkstack(L, 20, NULL);
    for (int i = REPORT_TEXT; i <= REPORT_TOP; i++)
        lua_newtable(L);
    list_each(node, &rt->tasklets) {
        struct tasklet *t = container_of(node, struct tasklet, all);
        if (rt->main || !t->side || !t->side->daemon)
            add(L, t);
        lua_settop(L, REPORT_TOP);
    }
    if (lua_rawlen(L, REPORT_TEXT) > 0) {
        add_counts(L);
        add_listeners(L);
    }
    push_text(L);
    if (collects)
        lua_gc(L, LUA_GCRESTART);
}

/* deadlock(): nothing can move any more: raises DeadlockError in main at its wait; false if
** main has ended */
int bind_deadlock(lua_State *L)
{
    if (runtime_of(L)->main)
        report(L);
    else
        lua_pushnil(L);
    lua_pushboolean(L, ending_raise_deadlock(L));
    return 1;
}

/* blocked(): a text about each live tasklet that is no daemon: what it waits on, its
** traceback; "" if there is none */
int bind_blocked(lua_State *L)
{
    report(L);
    return 1;
}

/* finish([hard]): kills what is left; the host calls it when the program has ended. hard:
** nobody may catch it */
int bind_finish(lua_State *L)
{
    if (runtime_of(L)->current)
        return luaL_error(L, "only the host can end the program");
    ending_kill_all(L, lua_toboolean(L, 1));
    return 0;
}

/* exit_status(): what os.exit has ended the program with; nil: it has not */
static int exit_status(lua_State *L)
{
    const struct runtime *rt = runtime_of(L);
    if (rt->exits)
        lua_pushinteger(L, rt->exit_status);
    else
        lua_pushnil(L);
    return 1;
}

static int never(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    wait_result(L);
    return 0;
}

/* os.exit([code[, close]]); upvalue: the stock one. To close, in a program, is to step aside
** for the host: it closes the variables of main as `lua` does, and of the others. Where
** nothing can step aside, only Lua's state is closed. */
static int os_exit(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    bool program = rt->main || rt->main_ended;
    if (!program || !lua_toboolean(L, 2) || !wait_possible(L)) {
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_insert(L, 1);
        lua_call(L, lua_gettop(L) - 1, 0);
        return 0;
    }
    rt->exit_status = lua_isboolean(L, 1) ? (lua_toboolean(L, 1) ? EXIT_SUCCESS : EXIT_FAILURE)
                                          : (int)luaL_optinteger(L, 1, EXIT_SUCCESS);
    rt->exits = true;
    rt->current->state = TASKLET_PAUSED;
    atomic_store(&rt->stop, true);
    return wait_switch(L, 0, never);
}

void bind_exit(lua_State *L)
{
    if (lua_getglobal(L, "os") == LUA_TTABLE) {
        lua_getfield(L, -1, "exit");
        lua_pushcclosure(L, os_exit, 1);
        lua_setfield(L, -2, "exit");
    }
    lua_pop(L, 1);
}

void bind_ending(lua_State *L)
{
    static const luaL_Reg functions[] = {{"deadlock", bind_deadlock},
                                         {"blocked", bind_blocked},
                                         {"finish", bind_finish},
                                         {"exit_status", exit_status},
                                         {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
