/* neap.h implemented: every entry checks its thread and its arguments, and runs what may
** raise under a pcall of its own. */
#include "neap.h"

#include "bind/bind.h"
#include "core/sched.h"
#include "core/tasklet.h"
#include "core/timer.h"

#include <pthread.h>
#include <string.h>

struct neap {
    struct runtime rt;
    neap_config config;
    pthread_t owner;
    bool running;
    int error;
    char error_text[512];
    bool warns; /* warn("@on") */
    size_t warning_length;
    char warning[512]; /* the pieces so far */
};

static const char registry_key; /* registry: the neap of a state */

/* ---- errors ---- */

static int fail(neap *N, int code, const char *text)
{
    N->error = code;
    strncpy(N->error_text, text, sizeof N->error_text - 1);
    return code;
}

static bool owned(neap *N)
{
    return N && pthread_equal(N->owner, pthread_self());
}

/* Calls f on the main state with the n values on the top. On failure the error's text is
** kept, and its code: NEAP_EMEM, or what `code` says. */
static int protect(neap *N, lua_CFunction f, int n, int code)
{
    lua_State *L = N->rt.L;
    if (!lua_checkstack(L, LUA_MINSTACK)) {
        lua_pop(L, n);
        return fail(N, NEAP_EMEM, "not enough memory");
    }
    lua_pushcfunction(L, f);
    lua_insert(L, -(n + 1));
    int status = lua_pcall(L, n, 0, 0);
    if (status == LUA_OK)
        return NEAP_OK;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?";
    fail(N, status == LUA_ERRMEM ? NEAP_EMEM : code, text);
    lua_pop(L, 1);
    return N->error;
}

/* ---- hooks ---- */

static neap_task task_of(neap *N, struct tasklet *t)
{
    if (!t || !t->side)
        return (neap_task){0};
    if (!t->side->host_id)
        t->side->host_id = slots_add(&N->rt.slots, &N->rt.memory, t);
    return (neap_task){t->side->host_id};
}

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
        N->config.fail(N->config.ud, task_of(N, t), message, trace);
    else
        error_log(rt, "%s\n%s", message, trace);
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

static int open_libraries(lua_State *L)
{
    neap *N = runtime_of(L)->host;
    lua_setwarnf(L, on_warning, N);
    luaL_openlibs(L);
    lua_pushlightuserdata(L, N);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &registry_key);
    bind_open(L);
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
    if (c->load || c->clock || c->wake || c->mem_limit || c->slice_ns || c->runaway_ns ||
        c->seed || c->deny)
        return "neap_config sets what this version does not have yet";
    return NULL;
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
    N->config = config;
    N->owner = pthread_self();
    struct runtime *rt = &N->rt;
    rt->memory = memory;
    rt->host = N;
    rt->on_write = on_write;
    rt->on_log = on_log;
    rt->on_fail = on_fail;
    if (runtime_open(rt, why) < 0)
        goto fail;
    if (protect(N, open_libraries, 0, NEAP_ERUN) == NEAP_OK)
        return N;
    *why = "not enough memory";
    runtime_close(rt);
fail:
    memory = rt->memory;
    memory_free(&memory, N, sizeof *N);
    memory_close(&memory);
    return NULL;
}

void neap_free(neap *N)
{
    if (!owned(N))
        return;
    if (N->running) {
        error_log(&N->rt, "neap_free was called from inside a run");
        return;
    }
    runtime_close(&N->rt);
    struct memory memory = N->rt.memory;
    memory_free(&memory, N, sizeof *N);
    memory_close(&memory);
}

lua_State *neap_lua(neap *N)
{
    return owned(N) ? N->rt.L : NULL;
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

int neap_error(neap *N, const char **msg)
{
    if (!owned(N))
        return NEAP_ETHREAD;
    if (msg)
        *msg = N->error_text;
    return N->error;
}

/* ---- run ---- */

/* spawn(f, ...): the new tasklet's id is left in its slot, and that on the stack below. */
static int spawn(lua_State *L)
{
    neap *N = runtime_of(L)->host;
    uint64_t *id = lua_touserdata(L, 1);
    struct tasklet *t = tasklet_spawn(L, lua_gettop(L) - 2, -1);
    tasklet_side(L, -1);
    *id = task_of(N, t).id;
    if (*id)
        return 0;
    sched_remove(&N->rt, t); /* nobody could ever ask for it */
    tasklet_drop(&N->rt, t);
    return luaL_error(L, "not enough memory");
}

neap_task neap_spawn(neap *N, int nargs)
{
    neap_task t = {0};
    if (!owned(N))
        return t;
    lua_State *L = N->rt.L;
    if (nargs < 0 || lua_gettop(L) < nargs + 1) {
        fail(N, NEAP_EARG, "neap_spawn: no function, or fewer arguments than said");
        return t;
    }
    if (!lua_checkstack(L, 2)) {
        lua_pop(L, nargs + 1);
        fail(N, NEAP_EMEM, "not enough memory");
        return t;
    }
    lua_pushlightuserdata(L, &t.id);
    lua_insert(L, -(nargs + 2));
    protect(N, spawn, nargs + 2, NEAP_EMEM);
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
        fail(N, NEAP_EMEM, "not enough memory");
        return t;
    }
    lua_pushlightuserdata(L, &t.id);
    lua_insert(L, -(nargs + 1));
    lua_pushlightuserdata(L, c);
    lua_insert(L, -(nargs + 1));
    protect(N, load, nargs + 2, NEAP_ESYNTAX);
    return t;
}

neap_task neap_file(neap *N, const char *path, int nargs)
{
    if (!owned(N))
        return (neap_task){0};
    bool there = nargs >= 0 && lua_gettop(N->rt.L) >= nargs;
    if (!path || !there) {
        lua_pop(N->rt.L, there ? nargs : 0);
        fail(N, NEAP_EARG, "neap_file: no path, or fewer arguments than said");
        return (neap_task){0};
    }
    return load_and_spawn(N, &(struct chunk){.path = path}, nargs);
}

neap_task neap_text(neap *N, const char *s, size_t n, const char *name)
{
    if (!owned(N))
        return (neap_task){0};
    if (!s) {
        fail(N, NEAP_EARG, "neap_text: no text");
        return (neap_task){0};
    }
    return load_and_spawn(
        N, &(struct chunk){.text = s, .length = n, .name = name ? name : "=text"}, 0);
}

int neap_run(neap *N)
{
    if (!owned(N))
        return NEAP_ETHREAD;
    if (N->running)
        return fail(N, NEAP_EBUSY, "neap_run was called from inside itself");
    if (!lua_checkstack(N->rt.L, LUA_MINSTACK))
        return fail(N, NEAP_EMEM, "not enough memory");
    N->running = true;
    bool stopped = sched_run(&N->rt);
    N->running = false;
    return stopped ? 1 : NEAP_OK;
}

void neap_interrupt(neap *N)
{
    if (!N)
        return;
    atomic_store(&N->rt.stop, true);
    reactor_wake(N->rt.reactor);
}

/* ---- tasklets, figures ---- */

int neap_status(neap *N, neap_task id)
{
    if (!owned(N))
        return NEAP_ETHREAD;
    int last_word;
    struct tasklet *t = slots_find(&N->rt.slots, id.id, &last_word);
    if (!t) {
        switch (last_word) {
        case TASKLET_RETURNED:
            return NEAP_DONE;
        case TASKLET_FAILED:
            return NEAP_FAILED;
        default:
            return NEAP_ESTALE;
        }
    }
    switch (t->state) {
    case TASKLET_READY:
        return NEAP_READY;
    case TASKLET_RUNNING:
        return NEAP_RUNNING;
    default:
        return NEAP_WAITING;
    }
}

void neap_get_stats(neap *N, neap_stats *out)
{
    neap_stats s = {0};
    if (!out)
        return;
    size_t size = out->size && out->size < sizeof s ? out->size : sizeof s;
    s.size = out->size;
    if (owned(N)) {
        struct runtime *rt = &N->rt;
        s.tasks = rt->tasklet_count;
        s.ready = rt->ready_count;
        s.timers = timer_count(rt);
        s.preempts = rt->preempts;
        s.watches = reactor_watches(rt->reactor);
        s.mem = rt->memory.used;
        s.mem_peak = rt->memory.peak;
        s.resumes = rt->resumes;
        s.fails = rt->fails;
    }
    memcpy(out, &s, size);
}
