/* A runtime's life: configuration, hooks, errors. */
#include "embed/embed.h"

#include "bind/bind.h"
#include "core/sched.h"
#include "core/slice.h"
#include "core/tasklet.h"
#include "core/timer.h"
#include "reactor/inbox.h"

#include <assert.h>
#include <string.h>

static const char registry_key; /* registry: the neap of a state */

/* ---- errors ---- */

int embed_fail(neap *N, int code, const char *text)
{
    N->error = code;
    strncpy(N->error_text, text, sizeof N->error_text - 1);
    return code;
}

int embed_protect(neap *N, lua_CFunction f, int n, int nresults, int code)
{
    lua_State *L = N->rt.L;
    if (!lua_checkstack(L, LUA_MINSTACK)) {
        lua_pop(L, n);
        return embed_fail(N, NEAP_EMEM, "not enough memory");
    }
    lua_pushcfunction(L, f);
    lua_insert(L, -(n + 1));
    int status = lua_pcall(L, n, nresults, 0);
    if (status == LUA_OK)
        return NEAP_OK;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?";
    embed_fail(N, status == LUA_ERRMEM ? NEAP_EMEM : code, text);
    lua_pop(L, 1);
    return N->error;
}

int neap_error(neap *N, const char **msg)
{
    if (!embed_owned(N))
        return embed_foreign(N);
    if (msg)
        *msg = N->error_text;
    return N->error;
}

/* ---- hooks ---- */

static void on_write(struct runtime *rt, const char *s, size_t n)
{
    neap *N = rt->host;
    if (N->config.write)
        N->config.write(N->config.ud, s, n);
}

static void on_log(struct runtime *rt, int level, const char *message)
{
    neap *N = rt->host;
    if (N->config.log)
        N->config.log(N->config.ud, level, message);
}

static void on_fail(struct runtime *rt, struct tasklet *t, const char *message,
                    const char *trace)
{
    neap *N = rt->host;
    if (N->config.fail)
        N->config.fail(N->config.ud, t && t->side ? embed_task(N, t) : (neap_task){0}, message,
                       trace);
    else
        error_log(rt, "%s\n%s", message, trace);
}

static void on_untold(struct runtime *rt)
{
    embed_tell_watches(rt->host, false);
}

/* Lua's warnings come in pieces. An error in a finalizer comes this way too, and is an
** error that nobody waits for, whether warnings are on or not. */
static void on_warning(void *ud, const char *piece, int to_continue)
{
    neap *N = ud;
    if (N->warning_length == 0 && !to_continue && *piece == '@') {
        if (strcmp(piece, "@on") == 0 || strcmp(piece, "@off") == 0)
            N->warns = piece[2] == 'n';
        return;
    }
    size_t room = sizeof N->warning - 1 - N->warning_length, n = strlen(piece);
    n = n < room ? n : room;
    memcpy(N->warning + N->warning_length, piece, n);
    N->warning_length += n;
    if (to_continue)
        return;
    static const char finalizer[] = "error in __gc";
    N->warning[N->warning_length] = '\0';
    N->warning_length = 0;
    if (strncmp(N->warning, finalizer, sizeof finalizer - 1) == 0)
        error_report_text(&N->rt, NULL, N->warning);
    else if (N->warns)
        error_log(&N->rt, "Lua warning: %s", N->warning);
}

/* ---- life ---- */

unsigned neap_version(void)
{
    return NEAP_VERSION;
}

/* The first searcher of require: asks the host. */
static int search_host(lua_State *L)
{
    neap *N = runtime_of(L)->host;
    const char *name = luaL_checkstring(L, 1);
    switch (N->config.load(N->config.ud, L, name)) {
    case 0:
        return 0;
    case 1:
        lua_pushfstring(L, "the host's %s", name);
        return 2;
    default:
        return lua_error(L);
    }
}

static void add_searcher(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchers");
    for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i > 0; i--) {
        lua_rawgeti(L, -1, i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushcfunction(L, search_host);
    lua_rawseti(L, -2, 1);
    lua_pop(L, 2);
}

static void seed_random(lua_State *L, uint64_t seed)
{
    lua_getglobal(L, "math");
    lua_getfield(L, -1, "randomseed");
    lua_pushinteger(L, (lua_Integer)seed);
    lua_pushinteger(L, 0);
    lua_call(L, 2, 0);
    lua_pop(L, 1);
}

static int open_libraries(lua_State *L)
{
    neap *N = runtime_of(L)->host;
    lua_setwarnf(L, on_warning, N);
    luaL_openlibs(L);
    lua_pushlightuserdata(L, N);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &registry_key);
    bind_open(L);
    lua_pop(L, 1);
    embed_open_objects(L);
    embed_deny(L, N->config.deny);
    if (N->config.load)
        add_searcher(L);
    if (N->config.seed)
        seed_random(L, N->config.seed);
    return 0;
}

/* Copies the host's config, of whatever size; NULL, or what is wrong with it. */
static const char *take_config(neap_config *to, const neap_config *c)
{
    memset(to, 0, sizeof *to);
    if (!c)
        return NULL;
    size_t size = c->size ? c->size : sizeof *to;
    if (size < sizeof *to)
        return "neap_config is smaller than that of version 0.1.0";
    for (size_t i = sizeof *to; i < size; i++)
        if (((const char *)c)[i])
            return "neap_config sets what this version does not know";
    memcpy(to, c, sizeof *to);
    if (c->slice_ns < 0 || c->runaway_ns < 0)
        return "neap_config has a negative time";
    return NULL;
}

static void set_up(neap *N, const neap_config *c)
{
    struct runtime *rt = &N->rt;
    N->config = *c;
    atomic_store(&N->owner, pthread_self());
    rt->host = N;
    rt->on_write = on_write;
    rt->on_log = on_log;
    rt->on_fail = on_fail;
    rt->on_untold = on_untold;
    list_init(&N->watched);
    rt->real_time = (struct real_time){c->clock, c->ud};
}

static void limit(neap *N)
{
    struct runtime *rt = &N->rt;
    rt->memory_limit = N->config.mem_limit;
    rt->memory.buffer_limit = N->config.mem_limit / 2; /* no garbage can make room for those */
    slice_stand(rt, N->config.slice_ns > 0 ? (double)N->config.slice_ns * 1e-9 : HUGE_VAL,
                N->config.runaway_ns > 0 ? (double)N->config.runaway_ns * 1e-9 : HUGE_VAL);
}

static void release(neap *N)
{
    struct memory memory = N->rt.memory;
    inbox_free(N->rt.inbox);
    slots_free(&N->answers, &memory);
    slots_free(&N->channels, &memory);
    slots_free(&N->watches, &memory);
    memory_free(&memory, N, sizeof *N);
#ifdef EMBED_ASSERTS
    assert(memory.used == 0); /* whatever was open held some */
#endif
    memory_close(&memory);
}

neap *neap_new(const neap_config *c, const char **why)
{
    const char *ignored;
    neap_config config;
    struct memory memory;
    if (!why)
        why = &ignored;
    *why = take_config(&config, c);
    if (*why)
        return NULL;
    memory_init(&memory, config.alloc, config.ud);
    neap *N = memory_new(&memory, sizeof *N);
    *why = "not enough memory";
    if (!N)
        return NULL;
    N->rt.memory = memory;
    set_up(N, &config);
    N->rt.inbox = inbox_new();
    if (!N->rt.inbox || runtime_open(&N->rt, why) < 0)
        goto fail;
    if (embed_protect(N, open_libraries, 0, 0, NEAP_ERUN) == NEAP_OK) {
        limit(N);
        return N;
    }
    *why = "not enough memory";
    runtime_close(&N->rt);
fail:
    release(N);
    return NULL;
}

static void take_in_all(struct runtime *rt)
{
    while (!inbox_empty(rt->inbox))
        sched_take_in(rt);
}

static void kill_all(neap *N)
{
    struct runtime *rt = &N->rt;
    for (size_t n = rt->tasklet_count; n > 0 && !list_empty(&rt->tasklets); n--) {
        struct tasklet *t = container_of(rt->tasklets.prev, struct tasklet, all);
        if (embed_kill(N, t, "the runtime ends") != NEAP_OK)
            tasklet_cut(rt, t);
    }
}

void neap_free(neap *N)
{
    if (!embed_owned(N))
        return;
    if (embed_busy(N)) {
        error_log(&N->rt, "neap_free was called from inside a step, a run or another call");
        return;
    }
    struct runtime *rt = &N->rt;
    N->running = true;
    rt->memory_limit = 0;
    take_in_all(rt);
    kill_all(N);
    take_in_all(rt);
    lua_settop(rt->L, 0);
    embed_tell_watches(N, true);
    runtime_close(rt);
    atomic_store(&N->closed, true);
    take_in_all(rt); /* of finalizers: the calls are made, there is no script any more */
    release(N);
}

int neap_adopt(neap *N)
{
    if (!N)
        return NEAP_EARG;
    if (N->running)
        return NEAP_EBUSY;
    atomic_store(&N->owner, pthread_self());
    return NEAP_OK;
}

lua_State *neap_lua(neap *N)
{
    return embed_owned(N) ? N->rt.L : NULL;
}

neap *neap_of(lua_State *L)
{
    if (!L || !lua_checkstack(L, 1))
        return NULL;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &registry_key);
    neap *N = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return N;
}
