/* require for tasklets: a module may wait while it loads. Who requires it meanwhile waits for
** that one load and gets its module or its error; where the load is left unfinished (its
** tasklet is killed) the next who waits begins anew. For the rest it is Lua's own require.
** A load is in runtime.loads for as long as it runs. It is the `<close>` variable of its
** require, and ends with it however that is left. */
#include "bind/bind.h"
#include "core/tasklet.h"

#include <math.h>
#include <string.h>

struct load {
    struct list all;           /* in runtime.loads, oldest first */
    struct wait_queue waiters; /* tasklets that wait for its end */
    struct tasklet *owner;     /* who loads; NULL: reactor code or the host */
    struct load *awaited;      /* by the owner, in this load; NULL: none */
    const char *name;
};

enum load_value { LOAD_NAME = 1, LOAD_OWNER, LOAD_VALUES = LOAD_OWNER };

/* The frame of require. */
enum { NAME = 1, LOADED, LOAD, SEARCHERS, MESSAGE };

#define PACKAGE lua_upvalueindex(1)

static const struct wait_class load_class = {.what = "require"};

static struct load *load_of(struct list *node)
{
    return container_of(node, struct load, all);
}

static struct tasklet *running(struct runtime *rt)
{
    return rt->reactor_code ? NULL : rt->current;
}

/* What the tasklet is loading at the innermost, or NULL. */
static struct load *innermost(struct runtime *rt, const struct tasklet *owner)
{
    for (struct list *node = rt->loads.prev; node != &rt->loads; node = node->prev)
        if (load_of(node)->owner == owner)
            return load_of(node);
    return NULL;
}

/* ---- the end of a load ---- */

/* Wakes who waits for it, with the error at index `error`, or (0) to look again. */
static void end(lua_State *L, struct load *l, int error)
{
    struct runtime *rt = runtime_of(L);
    struct list *node;
    struct tasklet *t;
    list_remove(&l->all);
    list_each(node, &rt->loads) {
        if (load_of(node)->awaited == l)
            load_of(node)->awaited = NULL;
    }
    while ((t = wait_first(&l->waiters))) {
        bool told = error && lua_checkstack(t->leaf, 2);
        if (told) {
            lua_pushvalue(L, error);
            lua_xmove(L, t->leaf, 1);
        }
        wait_wake(rt, t, told ? WAKE_SERVED : WAKE_CLOSED);
    }
}

/* __close(load, err), and its __gc: its require has been left, by a return, an error, a kill,
** or with the coroutine it was called in. */
static int leave(lua_State *L)
{
    lua_settop(L, 2);
    failure_unwrap(L); /* under the library's own pcalls an error is one */
    bool unfinished = lua_isnil(L, 2) || error_unwinds(L, 2);
    end(L, lua_touserdata(L, 1), unfinished ? 0 : 2);
    return 0;
}

/* The load of the module at NAME, or NULL. One whose tasklet was dropped in the middle of it
** goes on no more. */
static struct load *find(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    const char *name = lua_tostring(L, NAME);
    for (struct list *node = rt->loads.next; node != &rt->loads; node = node->next) {
        struct load *l = load_of(node);
        if (strcmp(l->name, name) != 0)
            continue;
        if (!l->owner || tasklet_alive(l->owner))
            return l;
        end(L, l, 0);
        break;
    }
    return NULL;
}

/* Pushes a new load, which this frame closes. */
static void begin(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    struct load *l = lua_newuserdatauv(L, sizeof *l, LOAD_VALUES);
    *l = (struct load){.owner = running(rt), .name = lua_tostring(L, NAME)};
    list_init(&l->all);
    wait_queue_init(&l->waiters, &load_class);
    lua_pushvalue(L, NAME);
    lua_setiuservalue(L, -2, LOAD_NAME);
    l->owner ? tasklet_push(L, l->owner) : lua_pushnil(L);
    lua_setiuservalue(L, -2, LOAD_OWNER);
    if (luaL_newmetatable(L, "neap.load")) {
        lua_pushcfunction(L, leave);
        lua_setfield(L, -2, "__close");
        lua_pushcfunction(L, leave);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    lua_toclose(L, -1);
    list_push_back(&rt->loads, &l->all);
}

/* ---- loops ---- */

/* Whether l cannot end before the running code goes on. */
static bool is_loop(struct runtime *rt, struct load *l)
{
    while (l && l->owner != running(rt))
        l = innermost(rt, l->owner)->awaited;
    return l;
}

/* Adds the names of what the owner of l loads, from l inwards. */
static void add_names(struct runtime *rt, luaL_Buffer *b, struct load *l)
{
    for (struct list *node = &l->all; node != &rt->loads; node = node->next) {
        if (load_of(node)->owner == l->owner) {
            luaL_addstring(b, load_of(node)->name);
            luaL_addstring(b, " -> ");
        }
    }
}

static int raise_loop(lua_State *L, struct load *l)
{
    struct runtime *rt = runtime_of(L);
    struct load *at = l;
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (; at->owner != running(rt); at = innermost(rt, at->owner)->awaited)
        add_names(rt, &b, at);
    add_names(rt, &b, at);
    luaL_addstring(&b, l->name);
    luaL_pushresult(&b);
    return luaL_error(L, "loop in require: %s", lua_tostring(L, -1));
}

/* ---- loading ---- */

/* The loader has returned: on the top are its data and its result. */
static int loaded(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    const char *name = lua_tostring(L, NAME);
    if (lua_isnil(L, -1))
        lua_pop(L, 1);
    else
        lua_setfield(L, LOADED, name);
    if (lua_getfield(L, LOADED, name) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
        lua_pushvalue(L, -1);
        lua_setfield(L, LOADED, name);
    }
    lua_insert(L, -2);
    return 2;
}

/* Calls the searchers from number i + 1 on; those before it have found nothing but what
** MESSAGE says, and number i (if there is one) has just returned. */
static int search(lua_State *L, int status, lua_KContext i)
{
    (void)status;
    while (i == 0 || !lua_isfunction(L, -2)) {
        if (i > 0 && lua_isstring(L, -2)) {
            lua_pop(L, 1);
            lua_pushliteral(L, "\n\t");
            lua_insert(L, -2);
            lua_concat(L, 3);
        } else if (i > 0) {
            lua_pop(L, 2);
        }
        if (lua_rawgeti(L, SEARCHERS, ++i) == LUA_TNIL)
            return luaL_error(L, "module '%s' not found:%s", lua_tostring(L, NAME),
                              lua_tostring(L, MESSAGE));
        lua_pushvalue(L, NAME);
        lua_callk(L, 1, 2, i, search);
    }
    lua_insert(L, -2); /* what it found the loader by, the loader */
    lua_pushvalue(L, NAME);
    lua_pushvalue(L, -3);
    lua_callk(L, 2, 1, 0, loaded);
    return loaded(L, LUA_OK, 0);
}

static int again(lua_State *L);

/* The load that this tasklet waits for has ended, or something is thrown into it. */
static int waited(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct runtime *rt = runtime_of(L);
    struct load *own = innermost(rt, rt->current);
    if (own)
        own->awaited = NULL;
    return wait_result(L) == WAKE_SERVED ? lua_error(L) : again(L);
}

static int wait_for(lua_State *L, struct load *l)
{
    struct load *own = innermost(runtime_of(L), wait_check(L));
    if (own)
        own->awaited = l;
    return wait_on(L, &l->waiters, HUGE_VAL, 0, waited);
}

/* Gives the module, or waits for who loads it, or loads it. */
static int again(lua_State *L)
{
    struct load *l = find(L);
    bool loop = l && is_loop(runtime_of(L), l);
    lua_settop(L, LOADED);
    if (l && !loop && wait_possible(L))
        return wait_for(L, l);
    lua_getfield(L, LOADED, lua_tostring(L, NAME));
    if (lua_toboolean(L, -1))
        return 1;
    if (loop)
        return raise_loop(L, l);
    if (l)
        wait_check(L); /* raises why not */
    lua_settop(L, LOADED);
    begin(L);
    if (lua_getfield(L, PACKAGE, "searchers") != LUA_TTABLE)
        return luaL_error(L, "'package.searchers' must be a table");
    lua_pushliteral(L, "");
    return search(L, LUA_OK, 0);
}

/* require(name): the module, and where its loader was found if this call has loaded it */
static int require(lua_State *L)
{
    luaL_checkstring(L, 1);
    lua_settop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    return again(L);
}

void bind_require(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_pushcclosure(L, require, 1);
    lua_setglobal(L, "require");
}
