/* Code that the host runs: as tasklets, or at once. */
#include "embed/embed.h"

#include "core/sched.h"
#include "core/slice.h"
#include "core/tasklet.h"

/* spawn(f, ...): the new tasklet's id is left in its slot, and that on the stack below. */
static int spawn(lua_State *L)
{
    neap *N = runtime_of(L)->host;
    uint64_t *id = lua_touserdata(L, 1);
    struct tasklet *t = tasklet_spawn(L, lua_gettop(L) - 2, -1);
    tasklet_side(L, -1);
    *id = embed_task(N, t).id;
    if (*id)
        return 0;
    sched_remove(&N->rt, t); /* nobody could ever ask for it */
    tasklet_drop(&N->rt, t);
    return luaL_error(L, "not enough memory");
}

neap_task neap_spawn(neap *N, int nargs)
{
    neap_task t = {0};
    if (!embed_owned(N))
        return t;
    lua_State *L = N->rt.L;
    if (nargs < 0 || lua_gettop(L) < nargs + 1) {
        lua_settop(L, nargs < 0 ? -1 : 0); /* what there was it takes */
        embed_fail(N, NEAP_EARG, "neap_spawn: no function, or fewer arguments than said");
        return t;
    }
    if (!lua_checkstack(L, 2)) {
        lua_pop(L, nargs + 1);
        embed_fail(N, NEAP_EMEM, "not enough memory");
        return t;
    }
    lua_pushlightuserdata(L, &t.id);
    lua_insert(L, -(nargs + 2));
    embed_protect(N, spawn, nargs + 2, 0, NEAP_EMEM);
    embed_wake(N);
    return t;
}

struct chunk {
    const char *path, *text, *name; /* path NULL: the text */
    size_t length;
};

/* load(chunk, ...): loads it and spawns it; leaves the id as spawn does. */
static int load(lua_State *L)
{
    const struct chunk *c = lua_touserdata(L, 2);
    int status = c->path ? luaL_loadfilex(L, c->path, "t")
                         : luaL_loadbufferx(L, c->text, c->length, c->name, "t");
    if (status != LUA_OK)
        return lua_error(L);
    lua_replace(L, 2);
    return spawn(L);
}

static neap_task load_and_spawn(neap *N, struct chunk *c, int nargs)
{
    neap_task t = {0};
    lua_State *L = N->rt.L;
    if (!lua_checkstack(L, 4)) {
        lua_pop(L, nargs);
        embed_fail(N, NEAP_EMEM, "not enough memory");
        return t;
    }
    lua_pushlightuserdata(L, &t.id);
    lua_insert(L, -(nargs + 1));
    lua_pushlightuserdata(L, c);
    lua_insert(L, -(nargs + 1));
    embed_protect(N, load, nargs + 2, 0, NEAP_ESYNTAX);
    embed_wake(N);
    return t;
}

neap_task neap_file(neap *N, const char *path, int nargs)
{
    if (!embed_owned(N))
        return (neap_task){0};
    bool there = nargs >= 0 && lua_gettop(N->rt.L) >= nargs;
    if (!path || !there) {
        lua_pop(N->rt.L, there ? nargs : 0);
        embed_fail(N, NEAP_EARG, "neap_file: no path, or fewer arguments than said");
        return (neap_task){0};
    }
    return load_and_spawn(N, &(struct chunk){.path = path}, nargs);
}

neap_task neap_text(neap *N, const char *s, size_t n, const char *name)
{
    if (!embed_owned(N))
        return (neap_task){0};
    if (!s) {
        embed_fail(N, NEAP_EARG, "neap_text: no text");
        return (neap_task){0};
    }
    return load_and_spawn(
        N, &(struct chunk){.text = s, .length = n, .name = name ? name : "=text"}, 0);
}

/* ---- at once ----
** A hook may call from inside a tasklet: this is outside of it. */

static struct tasklet *call_begins(neap *N)
{
    struct tasklet *current = N->rt.current;
    slice_call(&N->rt, N->rt.L, true);
    N->rt.current = NULL;
    N->rt.calls++;
    N->inside++;
    return current;
}

static void call_ends(neap *N, struct tasklet *current)
{
    N->inside--;
    N->rt.calls--;
    N->rt.current = current;
    slice_call(&N->rt, N->rt.L, false);
    embed_wake(N);
}

int neap_call(neap *N, int nargs, int nres)
{
    if (!embed_owned(N))
        return embed_foreign(N);
    lua_State *L = N->rt.L;
    if (nargs < 0 || nres < LUA_MULTRET || lua_gettop(L) < nargs + 1) {
        lua_settop(L, nargs < 0 ? -1 : 0);
        lua_pushnil(L);
        return embed_fail(N, NEAP_EARG, "neap_call: no function, or fewer arguments than said");
    }
    if (!lua_checkstack(L, LUA_MINSTACK + (nres > 0 ? nres : 0))) {
        lua_pop(L, nargs + 1);
        lua_pushnil(L);
        return embed_fail(N, NEAP_EMEM, "not enough memory");
    }
    struct tasklet *current = call_begins(N);
    int status = lua_pcall(L, nargs, nres, 0);
    call_ends(N, current);
    if (status == LUA_OK)
        return NEAP_OK;
    const char *text =
        lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "(error object is not a string)";
    return embed_fail(N, status == LUA_ERRMEM ? NEAP_EMEM : NEAP_ERUN, text);
}

/* reload(mod) */
static int reload(lua_State *L)
{
    const char *mod = lua_touserdata(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, "neap");
    lua_getfield(L, -1, "reload");
    lua_pushstring(L, mod);
    lua_call(L, 1, 0);
    return 0;
}

/* is_loaded(mod) */
static int is_loaded(lua_State *L)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, -1, lua_touserdata(L, 1)) == LUA_TNIL)
        return luaL_error(L, "neap_reload: not loaded so far");
    return 0;
}

int neap_reload(neap *N, const char *mod)
{
    if (!embed_owned(N))
        return embed_foreign(N);
    lua_State *L = N->rt.L;
    if (!mod)
        return embed_fail(N, NEAP_EARG, "neap_reload: no module");
    if (!lua_checkstack(L, LUA_MINSTACK))
        return embed_fail(N, NEAP_EMEM, "not enough memory");
    lua_pushlightuserdata(L, (void *)mod);
    if (embed_protect(N, is_loaded, 1, 0, NEAP_EARG) != NEAP_OK)
        return N->error;
    lua_pushlightuserdata(L, (void *)mod);
    struct tasklet *current = call_begins(N);
    int status = embed_protect(N, reload, 1, 0, NEAP_ERUN);
    call_ends(N, current);
    return status;
}
