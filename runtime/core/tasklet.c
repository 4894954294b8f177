#include "core/tasklet.h"

#include "core/chain.h"
#include "core/deadline.h"
#include "core/interrupt.h"
#include "core/outcome.h"
#include "core/sched.h"
#include "core/select.h"
#include "core/slice.h"
#include "core/threads.h"
#include "core/trace.h"
#include "core/tracer.h"

#include <assert.h>
#include <string.h>

/* The root frame of a tasklet's thread. */
enum { ROOT_SELF = 1, ROOT_SITE, ROOT_HANDLER, ROOT_RESULTS };

/* lua_resetthread needs a thread whose stack is at hand; nested resumes end before 200. */
enum { MAX_CHAIN = 256 };

enum { SHOWN_WAITERS = 5 }; /* in a traceback */

static_assert(sizeof(struct tasklet) + 32 <= 144, "a parked tasklet stays small");

static const struct wait_class join_class = {.what = "join"};

/* The threads of a suspended tasklet, outermost first; each waits in coroutine.resume or
** wrap with the next one at index 1. */
static int chain_of(struct tasklet *t, lua_State *chain[MAX_CHAIN])
{
    int n = 0;
    lua_State *T = t->thread;
    chain[n++] = T;
    while (T != t->leaf && n < MAX_CHAIN && (T = lua_tothread(T, 1)))
        chain[n++] = T;
    return n;
}

bool tasklet_runs(struct tasklet *t, lua_State *L)
{
    lua_State *chain[MAX_CHAIN];
    if (t->leaf == L || t->thread == L)
        return true;
    if (!t->started || t->leaf == t->thread)
        return false;
    for (int n = chain_of(t, chain); n-- > 0;)
        if (chain[n] == L)
            return true;
    return false;
}

/* ---- making ---- */

struct tasklet *tasklet_new(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    struct tasklet *t = object_new(L, OBJECT_TASKLET, sizeof *t, 0);
    list_init(&t->all);
    list_init(&t->link);
    t->id = ++rt->next_id;
    return t;
}

static int root(lua_State *L);

/* A tasklet is of the group of the one that spawns it, unless it has one. */
static void inherit_group(lua_State *L, int self)
{
    struct tasklet *t = lua_touserdata(L, self), *parent = runtime_of(L)->current;
    if (t->side && t->side->grouped)
        return;
    tasklet_push(L, parent);
    tasklet_get(L, -1, SIDE_GROUP);
    tasklet_set(L, self, SIDE_GROUP);
    lua_pop(L, 1);
    tasklet_side(L, self)->grouped = true;
    t->held = parent->held;
}

/* On the top: function, nargs arguments, the function that spawned. */
static void bind(lua_State *L, int self, int nargs, int line)
{
    struct runtime *rt = runtime_of(L);
    if (rt->closing)
        luaL_error(L, "the runtime is closing");
    struct tasklet *t = lua_touserdata(L, self);
    if (rt->current && rt->current->side && rt->current->side->grouped)
        inherit_group(L, self);
    struct idle_thread th = threads_take(L);
    lua_State *T = th.L;
    if (!lua_checkstack(T, nargs + 8)) {
        threads_give(rt, th, true);
        luaL_error(L, "too many arguments");
    }
    lua_pushcfunction(T, root);
    lua_pushvalue(L, self);
    lua_xmove(L, T, 1);
    lua_xmove(L, T, 1);
    lua_pushcfunction(T, error_handler_keeping);
    lua_xmove(L, T, nargs + 1);
    t->thread = t->leaf = T;
    t->place = th.place;
    t->line = line;
    t->started = t->exposed = t->cut = t->thrown = t->doomed = t->late = false;
    t->left = LEFT_NOTHING;
    t->wake = WAKE_SERVED;
    t->state = TASKLET_PAUSED;
    list_push_back(&rt->tasklets, &t->all);
    if (t->side && t->side->daemon)
        list_push_back(&rt->daemons, &t->side->daemons);
    if (++rt->tasklet_count > rt->tasklet_peak)
        rt->tasklet_peak = rt->tasklet_count;
    slice_awake(rt); /* the one that runs is not alone any more */
}

void tasklet_bind(lua_State *L, int self, int nargs, int level)
{
    lua_Debug ar;
    int line = -1;
    if (level >= 0 && lua_getstack(L, level, &ar)) {
        lua_getinfo(L, "fl", &ar);
        line = ar.currentline;
    } else {
        lua_pushnil(L);
    }
    bind(L, self, nargs, line);
}

void tasklet_bind_at(lua_State *L, int self, int nargs, int site, int line)
{
    lua_pushvalue(L, site);
    bind(L, self, nargs, line);
}

struct tasklet *tasklet_spawn(lua_State *L, int nargs, int level)
{
    struct tasklet *t = tasklet_new(L);
    lua_insert(L, -(nargs + 2));
    tasklet_bind(L, lua_gettop(L) - nargs - 1, nargs, level);
    sched_append(runtime_of(L), t);
    return t;
}

/* ---- ending ---- */

static void mark_dead(struct runtime *rt, struct tasklet *t, bool ok)
{
    t->state = TASKLET_DEAD;
    t->held = false;
    list_remove(&t->all);
    rt->tasklet_count--;
    if (rt->tracer)
        tracer_ended(rt, t);
    if (t == rt->main) {
        rt->main = NULL;
        rt->main_ended = true;
        if (ok)
            interrupt_main_returned(rt);
    }
    if (t->side) {
        list_remove(&t->side->daemons);
        deadline_abandon(t);
    }
    if (t->side && t->side->host_id)
        slots_drop(&rt->slots, t->side->host_id, ok ? TASKLET_RETURNED : TASKLET_FAILED);
}

static int root_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    struct runtime *rt = runtime_of(L);
    struct tasklet *t = lua_touserdata(L, ROOT_SELF);
    bool ok = status == LUA_OK || status == LUA_YIELD;
    t->leaf = L;
    rt->chain_stop = NULL;
    if (!ok || t->side || lua_gettop(L) >= ROOT_RESULTS) /* else nobody has anything to get */
        outcome_settle(L, ROOT_SELF, ok, ROOT_RESULTS);
    mark_dead(rt, t, ok);
    return 0;
}

/* Runs under the body for as long as the tasklet lives: it catches the error with its
** traceback and lets `<close>` variables wait while it unwinds. */
static int root(lua_State *L)
{
    int nargs = lua_gettop(L) - ROOT_RESULTS;
    return root_k(L, lua_pcallk(L, nargs, LUA_MULTRET, ROOT_HANDLER, 0, root_k), 0);
}

static int abandon(lua_State *L)
{
    struct tasklet *t = lua_touserdata(L, 1);
    lua_State *T = t->thread;
    tasklet_push(L, t);
    if (lua_status(T) == LUA_YIELD)
        lua_pushliteral(L, "attempt to yield from outside a coroutine");
    else if (lua_gettop(T) > 0 && lua_checkstack(T, 1))
        lua_pushvalue(T, -1), lua_xmove(T, L, 1);
    else
        lua_pushnil(L);
    outcome_settle(L, 2, false, 3);
    return 0;
}

void tasklet_abandon(struct runtime *rt, struct tasklet *t)
{
    if (runtime_enter(rt, abandon, t) != LUA_OK) {
        rt->untold = true;
        if (t->side)
            wait_wake_all(rt, &t->side->joiners, WAKE_CLOSED);
    }
    mark_dead(rt, t, false);
}

void tasklet_drop(struct runtime *rt, struct tasklet *t)
{
    list_remove(&t->link);
    mark_dead(rt, t, false);
    threads_drop(rt, t->place);
    t->thread = t->leaf = NULL;
}

/* Empties a thread that has ended and gives it back; the host tells those whom nobody could.
** Its tasklet may be gone. */
static void release(struct runtime *rt, struct idle_thread th, bool keep, int status)
{
    if (status != LUA_OK)
        lua_resetthread(th.L);
    lua_settop(th.L, 0);
    if (lua_gethook(th.L))
        lua_sethook(th.L, NULL, 0, 0);
    threads_give(rt, th, keep);
    if (rt->untold && rt->on_untold)
        rt->on_untold(rt);
}

void tasklet_release(struct runtime *rt, struct tasklet *t, int status)
{
    struct idle_thread th = {t->thread, t->place};
    bool keep = !t->exposed;
    t->thread = t->leaf = NULL; /* the thread lets go of t, and what follows may collect */
    release(rt, th, keep, status);
}

/* Takes t out of whatever it is in: a wait, the run queue, neap.run. */
static void detach(struct runtime *rt, struct tasklet *t)
{
    if (t->state == TASKLET_BLOCKED)
        wait_withdraw(rt, t);
    else if (t->state == TASKLET_READY)
        sched_remove(rt, t);
    else
        list_remove(&t->link);
}

static int cut(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    struct tasklet *t = lua_touserdata(L, 1);
    lua_State *chain[MAX_CHAIN];
    tasklet_push(L, t); /* its thread lets go of it below */
    if (!rt->closing)
        wait_abandon(L, t);
    int n = chain_of(t, chain);
    t->thread = t->leaf = NULL;
    while (n-- > 0) {
        if (lua_resetthread(chain[n]) != LUA_OK) {
            lua_xmove(chain[n], L, 1);
            if (rt->ending && error_is(L, -1, ERROR_TASKLET_EXIT))
                lua_pop(L, 1); /* its cleanup would have waited */
            else
                error_report(L, NULL, "");
        }
    }
    if (!rt->closing) {
        if (t->doomed)
            tasklet_get(L, 2, SIDE_THROWN);
        else
            error_push(L, ERROR_TASKLET_EXIT, NULL);
        outcome_settle(L, 2, false, 3);
    }
    return 0;
}

void tasklet_cut(struct runtime *rt, struct tasklet *t)
{
    detach(rt, t);
    if (rt->cut_net && !rt->closing)
        rt->cut_net(rt, t);
    struct idle_thread th = {t->thread, t->place};
    bool keep = !t->exposed;
    bool main = t == rt->main;
    mark_dead(rt, t, false); /* from here on it may be collected */
    if (main)
        rt->main = t; /* until its end has been told */
    int status = runtime_enter(rt, cut, t);
    rt->untold |= status != LUA_OK;
    if (main)
        rt->main = NULL;
    release(rt, th, keep && status == LUA_OK, status);
}

static int cut_off(lua_State *L)
{
    struct tasklet *t = lua_touserdata(L, 1);
    if (tasklet_alive(t))
        tasklet_cut(runtime_of(L), t);
    return 0;
}

void tasklet_leave(lua_State *L, struct tasklet *t)
{
    struct runtime *rt = runtime_of(L);
    luaL_checkstack(L, 4, NULL);
    lua_pushcfunction(L, cut_off);
    tasklet_push(L, t);
    struct tasklet *cutter = tasklet_spawn(L, 1, -1);
    sched_remove(rt, cutter);
    cutter->held = false; /* nor of the group, from here on */
    if (cutter->side)
        cutter->side->grouped = false;
    sched_prepend(rt, cutter);
    lua_pop(L, 1);
    t->state = TASKLET_PAUSED;
}

/* The body of a tasklet that got an error before it ever ran. */
static int raise_argument(lua_State *L)
{
    return lua_error(L);
}

void tasklet_throw(lua_State *L, struct tasklet *t, bool now)
{
    struct runtime *rt = runtime_of(L);
    if (!lua_checkstack(t->leaf, 3))
        luaL_error(L, "not enough memory");
    deadline_note(L, t);
    if (t->cut) {
        tasklet_push(L, t);
        lua_pushvalue(L, -2);
        tasklet_set(L, -2, SIDE_THROWN);
        lua_pop(L, 2);
    }
    detach(rt, t);
    if (t->cut) {
        t->thrown = true;
        t->late = false;
        now ? sched_prepend(rt, t) : sched_append(rt, t);
        return;
    }
    if (!t->started) {
        /* one deeper than in the frame: the root itself */
        lua_settop(t->leaf, ROOT_HANDLER + 1);
        lua_pushcfunction(t->leaf, raise_argument);
    } else if (t->wake == WAKE_RAISE) {
        lua_pop(t->leaf, 1); /* the last of several wins */
    }
    lua_xmove(L, t->leaf, 1);
    t->wake = WAKE_RAISE;
    now ? sched_prepend(rt, t) : sched_append(rt, t);
}

void tasklet_interrupt(lua_State *L, int i)
{
    struct tasklet *t = lua_touserdata(L, i);
    if (t->state != TASKLET_RUNNING) {
        tasklet_throw(L, t, false);
        return;
    }
    tasklet_set(L, i, SIDE_THROWN);
    t->thrown = true;
    t->late = !t->doomed;
}

/* ---- looking ---- */

/* The level of the outermost frame of a thread, -1 if it has none. */
static int outermost(lua_State *T)
{
    lua_Debug ar;
    int lo = -1, hi = 0; /* lo: a level that is there, or -1; hi: not looked at yet */
    while (lua_getstack(T, hi, &ar)) {
        lo = hi;
        hi = 2 * hi + 1;
    }
    while (hi - lo > 1) {
        int mid = lo + (hi - lo) / 2;
        if (lua_getstack(T, mid, &ar))
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* The outermost frame of a started thread. */
static bool root_frame(lua_State *T, lua_Debug *ar)
{
    return lua_getstack(T, outermost(T), ar);
}

/* Pushes a slot of the root frame on L. */
static void push_root_value(lua_State *L, struct tasklet *t, int slot)
{
    lua_State *T = t->thread;
    lua_Debug ar;
    luaL_checkstack(L, 2, NULL);
    if (!lua_checkstack(T, 2))
        luaL_error(L, "not enough memory");
    if (!t->started)
        lua_pushvalue(T, slot + 1);
    else if (!root_frame(T, &ar) || !lua_getlocal(T, &ar, slot))
        luaL_error(L, "the tasklet has no root frame");
    if (T != L)
        lua_xmove(T, L, 1);
}

void tasklet_push(lua_State *L, struct tasklet *t)
{
    push_root_value(L, t, ROOT_SELF);
}

int tasklet_depth(struct tasklet *t)
{
    lua_State *chain[MAX_CHAIN];
    int depth = 0;
    if (!tasklet_alive(t) || !t->started)
        return 0;
    for (int n = chain_of(t, chain); n-- > 0;)
        depth += outermost(chain[n]) + 1;
    return depth - 1; /* without the root */
}

struct side *tasklet_side(lua_State *L, int i)
{
    struct runtime *rt = runtime_of(L);
    struct tasklet *t = lua_touserdata(L, i);
    if (t->side)
        return t->side;
    i = lua_absindex(L, i);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->sides_ref);
    lua_pushvalue(L, i);
    struct side *side = object_new(L, OBJECT_SIDE, sizeof *side, SIDE_VALUES);
    if (t->side) { /* a finalizer was first */
        lua_pop(L, 3);
        return t->side;
    }
    wait_queue_init(&side->joiners, &join_class);
    list_init(&side->daemons);
    list_init(&side->deadlines);
    side->owner = t;
    side->remainder = -1;
    lua_rawset(L, -3);
    lua_pop(L, 1);
    return t->side = side;
}

/* Pushes the side block's userdata of the tasklet at i, which has one. */
static void push_side(lua_State *L, int i)
{
    i = lua_absindex(L, i);
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime_of(L)->sides_ref);
    lua_pushvalue(L, i);
    lua_rawget(L, -2);
    lua_remove(L, -2);
}

void tasklet_get(lua_State *L, int i, enum side_value v)
{
    struct tasklet *t = lua_touserdata(L, i);
    if (!t->side) {
        lua_pushnil(L);
        return;
    }
    push_side(L, i);
    lua_getiuservalue(L, -1, v);
    lua_remove(L, -2);
}

void tasklet_set(lua_State *L, int i, enum side_value v)
{
    i = lua_absindex(L, i);
    tasklet_side(L, i);
    push_side(L, i);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, v);
    lua_pop(L, 1);
}

void tasklet_push_title(lua_State *L, struct tasklet *t)
{
    tasklet_push(L, t);
    tasklet_get(L, -1, SIDE_NAME);
    if (lua_isstring(L, -1))
        lua_pushfstring(L, "tasklet %I (%s)", (LUAI_UACINT)t->id, lua_tostring(L, -1));
    else
        lua_pushfstring(L, t == runtime_of(L)->main ? "tasklet %I (main)" : "tasklet %I",
                        (LUAI_UACINT)t->id);
    lua_replace(L, -3);
    lua_pop(L, 1);
}

void tasklet_push_site(lua_State *L, struct tasklet *t)
{
    lua_Debug ar;
    push_root_value(L, t, ROOT_SITE);
    if (!lua_isfunction(L, -1)) {
        lua_pop(L, 1);
        lua_pushstring(L,
                       t == runtime_of(L)->main ? "the main tasklet" : "spawned by the host");
        return;
    }
    lua_getinfo(L, ">S", &ar);
    if (t->line > 0)
        lua_pushfstring(L, "spawned at %s:%d", ar.short_src, (int)t->line);
    else
        lua_pushfstring(L, "spawned in %s", ar.short_src);
}

static bool innermost_line(lua_State *T, lua_Debug *ar)
{
    for (int level = 0; lua_getstack(T, level, ar); level++) {
        lua_getinfo(T, "Sl", ar);
        if (ar->currentline > 0)
            return true;
    }
    return false;
}

bool tasklet_place(struct tasklet *t, lua_Debug *ar)
{
    lua_State *chain[MAX_CHAIN];
    for (int n = t->started ? chain_of(t, chain) : 0; n-- > 0;)
        if (innermost_line(chain[n], ar))
            return true;
    return false;
}

static bool stands_in(const struct wait_queue *q, const struct list *link)
{
    const struct list *node;
    list_each(node, &q->waiters)
        if (node == link)
            return true;
    return false;
}

/* Appends the tasklets that wait in q to the text on the top, the first few by name. */
static void append_waiters(lua_State *L, const struct wait_queue *q)
{
    struct list *shown[SHOWN_WAITERS], *node;
    int n = 0, text = lua_gettop(L);
    list_each(node, &q->waiters)
        if (n++ < SHOWN_WAITERS)
            shown[n - 1] = node;
    for (int i = 0; i < n && i < SHOWN_WAITERS; i++) {
        if (!stands_in(q, shown[i])) /* a finalizer has taken it out */
            continue;
        tasklet_push_title(L, select_owner(container_of(shown[i], struct tasklet, link)));
        lua_pushfstring(L, "%s\nwaited for by %s", lua_tostring(L, text), lua_tostring(L, -1));
        lua_replace(L, text);
        lua_settop(L, text);
    }
    if (n > SHOWN_WAITERS) {
        lua_pushfstring(L, "%s, and %d more", lua_tostring(L, text), n - SHOWN_WAITERS);
        lua_replace(L, text);
    }
}

/* The same for who waits for the deferred that stands for t. */
static void append_bridge(lua_State *L, struct tasklet *t)
{
    int text = lua_gettop(L);
    tasklet_push(L, t);
    tasklet_get(L, -1, SIDE_DEFERRED);
    struct deferred *d = object_test(L, -1, OBJECT_DEFERRED);
    for (uint32_t n = d ? d->head : 0; d && n < d->tail; n++) {
        if (chain_get(L, d, text + 2, n) == LINK_WAITERS) {
            struct waiters *w = lua_touserdata(L, -1);
            lua_pushvalue(L, text);
            append_waiters(L, &w->queue);
            lua_replace(L, text);
        }
        lua_settop(L, text + 2);
    }
    lua_settop(L, text);
}

void tasklet_push_traceback(lua_State *L, struct tasklet *t)
{
    lua_State *chain[MAX_CHAIN];
    luaL_Buffer b;
    int n = t->started ? chain_of(t, chain) : 0;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    luaL_buffinit(L, &b);
    for (int i = n; i-- > 0;) {
        if (!lua_checkstack(chain[i], 10))
            continue;
        trace_push_stack(L, t, chain[i], i == n - 1 ? NULL : "in the coroutine resumed by", 0);
        luaL_addvalue(&b);
        luaL_addchar(&b, '\n');
    }
    if (n == 0)
        luaL_addstring(&b, "not started yet\n");
    tasklet_push_site(L, t);
    luaL_addvalue(&b);
    luaL_pushresult(&b);
    if (t->side) {
        append_waiters(L, &t->side->joiners);
        append_bridge(L, t);
    }
}
