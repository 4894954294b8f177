/* Tasklets by their ids. */
#include "embed/embed.h"

#include "core/group.h"
#include "core/outcome.h"
#include "core/slice.h"
#include "core/tasklet.h"

#include <string.h>

neap_task embed_task(neap *N, struct tasklet *t)
{
    if (!t->side->host_id)
        t->side->host_id = slots_add(&N->rt.slots, &N->rt.memory, t);
    return (neap_task){t->side->host_id};
}

/* The live tasklet; NULL, with the failure kept, if it has ended. */
static struct tasklet *find(neap *N, neap_task id)
{
    struct tasklet *t = slots_find(&N->rt.slots, id.id, NULL);
    if (!t)
        embed_fail(N, NEAP_ESTALE, "the tasklet has ended");
    return t;
}

int neap_status(neap *N, neap_task id)
{
    if (!embed_owned(N))
        return embed_foreign(N);
    int last_word;
    struct tasklet *t = slots_find(&N->rt.slots, id.id, &last_word);
    if (!t && last_word)
        return last_word == TASKLET_RETURNED ? NEAP_DONE : NEAP_FAILED;
    if (!t)
        return embed_fail(N, NEAP_ESTALE, "the tasklet has ended");
    return t->state == TASKLET_READY     ? NEAP_READY
           : t->state == TASKLET_RUNNING ? NEAP_RUNNING
                                         : NEAP_WAITING;
}

/* ---- their end ---- */

/* kill(tasklet, why) */
static int kill(lua_State *L)
{
    struct tasklet *t = lua_touserdata(L, 1);
    lua_settop(L, 2);
    lua_pushstring(L, lua_touserdata(L, 2));
    tasklet_push(L, t); /* it stays until all is told */
    lua_replace(L, 1);
    if (t->state == TASKLET_RUNNING) {
        slice_doom(L, t);
        return 0;
    }
    tasklet_set(L, 1, SIDE_THROWN);
    t->doomed = true;
    tasklet_cut(runtime_of(L), t);
    return 0;
}

int embed_kill(neap *N, struct tasklet *t, const char *why)
{
    lua_State *L = N->rt.L;
    if (!lua_checkstack(L, 4))
        return embed_fail(N, NEAP_EMEM, "not enough memory");
    lua_pushlightuserdata(L, t);
    lua_pushlightuserdata(L, (void *)why);
    N->inside++;
    int status = embed_protect(N, kill, 2, 0, NEAP_EMEM);
    N->inside--;
    return status;
}

int neap_kill(neap *N, neap_task id, const char *why)
{
    if (!embed_owned(N))
        return embed_foreign(N);
    struct tasklet *t = find(N, id);
    if (!t)
        return NEAP_ESTALE;
    int status = embed_kill(N, t, why ? why : "killed");
    embed_wake(N);
    return status;
}

/* ---- the host waits for one ----
** The function that watches knows its struct by an id: where there is no memory to call it,
** the host is told without. */

struct watch_end {
    struct list link; /* in neap.watched */
    uint64_t id;      /* in neap.watches */
    void (*fn)(neap *N, neap_task t, int ok, void *ud);
    void *ud;
    neap_task task;
};

static struct watch_end *watch_new(neap *N, struct watch_end what)
{
    struct watch_end *w = memory_new(&N->rt.memory, sizeof *w);
    if (!w)
        return NULL;
    *w = what;
    w->id = slots_add(&N->watches, &N->rt.memory, w);
    if (!w->id) {
        memory_free(&N->rt.memory, w, sizeof *w);
        return NULL;
    }
    list_push_back(&N->watched, &w->link);
    return w;
}

static void watch_free(neap *N, struct watch_end *w)
{
    slots_drop(&N->watches, w->id, 1);
    list_remove(&w->link);
    memory_free(&N->rt.memory, w, sizeof *w);
}

/* Tells the host, once, with the value on the main state's stack, which it leaves as `top`. */
static void tell(neap *N, struct watch_end *w, bool ok, int top)
{
    struct watch_end told = *w;
    watch_free(N, w);
    told.fn(N, told.task, ok, told.ud);
    lua_settop(N->rt.L, top);
}

static struct watch_end *first_untold(neap *N, bool all)
{
    struct list *node;
    list_each(node, &N->watched) {
        struct watch_end *w = container_of(node, struct watch_end, link);
        if (all || !slots_find(&N->rt.slots, w->task.id, NULL))
            return w;
    }
    return NULL;
}

void embed_tell_watches(neap *N, bool all)
{
    struct watch_end *w;
    lua_State *L = N->rt.L;
    int top = lua_gettop(L);
    if (!lua_checkstack(L, 1))
        return; /* later */
    N->rt.untold = false;
    N->inside++;
    while ((w = first_untold(N, all))) {
        int last_word = 0;
        slots_find(&N->rt.slots, w->task.id, &last_word);
        lua_rawgeti(L, LUA_REGISTRYINDEX, N->no_memory_ref);
        tell(N, w, last_word == TASKLET_RETURNED, top);
    }
    N->inside--;
}

/* From here on the host finds it ended. */
static void close_id(neap *N, struct tasklet *t, bool ok)
{
    if (t->side->host_id)
        slots_drop(&N->rt.slots, t->side->host_id, ok ? TASKLET_RETURNED : TASKLET_FAILED);
    t->side->host_id = 0;
}

/* A tasklet's watcher: hands the end to the host, with one value on the main state's stack. */
static int ended(lua_State *L)
{
    neap *N = runtime_of(L)->host;
    lua_State *main = N->rt.L;
    uint64_t id = (uint64_t)lua_tointeger(L, lua_upvalueindex(1));
    lua_settop(L, 3);
    failure_unwrap(L);
    if (!lua_checkstack(main, LUA_MINSTACK))
        return luaL_error(L, "not enough memory");
    int top = L == main ? 2 : lua_gettop(main);
    if (L != main)
        lua_xmove(L, main, 1);
    close_id(N, lua_touserdata(L, 1), lua_toboolean(L, 2));
    struct watch_end *w = slots_find(&N->watches, id, NULL);
    w ? tell(N, w, lua_toboolean(L, 2), top) : lua_settop(main, top);
    lua_pushboolean(L, 1);
    return 1;
}

/* then(tasklet, id) */
static int watch(lua_State *L)
{
    lua_pushcclosure(L, ended, 1);
    tasklet_push(L, lua_touserdata(L, 1));
    outcome_watch(L, -1, -2);
    return 0;
}

int neap_then(neap *N, neap_task id, void (*fn)(neap *N, neap_task t, int ok, void *ud),
              void *ud)
{
    if (!embed_owned(N))
        return embed_foreign(N);
    struct tasklet *t = find(N, id);
    if (!t || !fn)
        return t ? embed_fail(N, NEAP_EARG, "neap_then: no function") : NEAP_ESTALE;
    struct watch_end *w = lua_checkstack(N->rt.L, 4)
                              ? watch_new(N, (struct watch_end){.fn = fn, .ud = ud, .task = id})
                              : NULL;
    if (!w)
        return embed_fail(N, NEAP_EMEM, "not enough memory");
    lua_pushlightuserdata(N->rt.L, t);
    lua_pushinteger(N->rt.L, (lua_Integer)w->id);
    int status = embed_protect(N, watch, 2, 0, NEAP_EMEM);
    if (status != NEAP_OK)
        watch_free(N, w);
    return status;
}

/* ---- groups: the owner's number, as script would see it in t.group ---- */

/* group(tasklet, owner) */
static int set_group(lua_State *L)
{
    struct tasklet *t = lua_touserdata(L, 1);
    lua_Integer owner = lua_tointeger(L, 2);
    tasklet_push(L, t);
    group_set(L, -1, owner == 0 ? 0 : 2);
    return 0;
}

int neap_group(neap *N, neap_task id, uint64_t owner)
{
    if (!embed_owned(N))
        return embed_foreign(N);
    struct tasklet *t = find(N, id);
    if (!t)
        return NEAP_ESTALE;
    lua_State *L = N->rt.L;
    if (!lua_checkstack(L, 4))
        return embed_fail(N, NEAP_EMEM, "not enough memory");
    lua_pushlightuserdata(L, t);
    lua_pushinteger(L, (lua_Integer)owner);
    return embed_protect(N, set_group, 2, 0, NEAP_EMEM);
}

/* first_of(owner, before): the newest tasklet of the group that is older than `before`. */
static int first_of(lua_State *L)
{
    lua_pushlightuserdata(L, group_newest(L, 1, (uint64_t)lua_tointeger(L, 2)));
    return 1;
}

int neap_kill_group(neap *N, uint64_t owner)
{
    if (!embed_owned(N))
        return embed_foreign(N);
    if (owner == 0)
        return embed_fail(N, NEAP_EARG, "neap_kill_group: an owner is not 0");
    lua_State *L = N->rt.L;
    uint64_t before = N->rt.next_id + 1;
    int n = 0;
    for (;; n++) {
        if (!lua_checkstack(L, 4))
            return embed_fail(N, NEAP_EMEM, "not enough memory");
        lua_pushinteger(L, (lua_Integer)owner);
        lua_pushinteger(L, (lua_Integer)before);
        int status = embed_protect(N, first_of, 2, 1, NEAP_EMEM);
        if (status != NEAP_OK)
            return status;
        struct tasklet *t = lua_touserdata(L, -1);
        lua_pop(L, 1);
        if (!t) {
            embed_wake(N);
            return n;
        }
        before = t->id;
        if ((status = embed_kill(N, t, "killed")) != NEAP_OK)
            return status;
    }
}

/* hold(owner, on): how many */
static int hold(lua_State *L)
{
    lua_pushinteger(L, group_hold(L, 1, lua_toboolean(L, 2)));
    return 1;
}

int neap_pause_group(neap *N, uint64_t owner, int on)
{
    if (!embed_owned(N))
        return embed_foreign(N);
    if (owner == 0)
        return embed_fail(N, NEAP_EARG, "neap_pause_group: an owner is not 0");
    lua_State *L = N->rt.L;
    if (!lua_checkstack(L, 4))
        return embed_fail(N, NEAP_EMEM, "not enough memory");
    lua_pushinteger(L, (lua_Integer)owner);
    lua_pushboolean(L, on);
    int status = embed_protect(N, hold, 2, 1, NEAP_EMEM);
    if (status != NEAP_OK)
        return status;
    int n = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    embed_wake(N);
    return n;
}

/* ---- looking ---- */

struct text {
    char *buf;
    size_t n, length;
};

/* trace(tasklet, text) */
static int trace(lua_State *L)
{
    struct text *to = lua_touserdata(L, 2);
    tasklet_push_traceback(L, lua_touserdata(L, 1));
    const char *s = lua_tolstring(L, -1, &to->length);
    if (to->n > 0) {
        size_t n = to->length < to->n - 1 ? to->length : to->n - 1;
        memcpy(to->buf, s, n);
        to->buf[n] = '\0';
    }
    return 0;
}

size_t neap_trace(neap *N, neap_task id, char *buf, size_t n)
{
    if (buf && n > 0)
        *buf = '\0';
    if (!embed_owned(N))
        return 0;
    struct tasklet *t = find(N, id);
    struct text to = {buf, buf ? n : 0, 0};
    if (!t || !lua_checkstack(N->rt.L, 4))
        return 0;
    lua_pushlightuserdata(N->rt.L, t);
    lua_pushlightuserdata(N->rt.L, &to);
    embed_protect(N, trace, 2, 0, NEAP_EMEM);
    return to.length;
}
