#include "core/select.h"
#include "core/outcome.h"

#include "core/channel.h"
#include "core/deferred.h"
#include "core/timer.h"

#include <math.h>

enum case_kind { CASE_RECEIVE, CASE_SEND, CASE_JOIN, CASE_DEFERRED, CASE_READY };

struct select_case {
    struct tasklet stand_in; /* state TASKLET_CASE; leaf, link and `on` are in use */
    struct select *select;
    struct wait_queue *queue; /* where it is to wait; stand_in.on: where it does */
    enum case_kind kind;
};

struct select {
    struct object object;
    struct wait_queue queue; /* of the one tasklet that selects */
    struct tasklet *tasklet;
    int count, chosen;
    struct select_case cases[];
};

/* The frame of a select: the list of cases, then the struct. */
enum { SELECT_CASES = 1, SELECT_SELF };

static struct select_case *case_of(struct tasklet *stand_in)
{
    return container_of(stand_in, struct select_case, stand_in);
}

/* Takes all cases out of their queues but `served`, which its server has settled. */
static void withdraw(struct select *s, struct tasklet *served)
{
    for (int i = 0; i < s->count; i++) {
        struct tasklet *t = &s->cases[i].stand_in;
        if (!t->on)
            continue;
        list_remove(&t->link);
        if (t != served && t->on->class->left)
            t->on->class->left(t->on);
        t->on = NULL;
    }
}

static void left(struct wait_queue *q)
{
    withdraw(container_of(q, struct select, queue), NULL);
}

static const struct wait_class inside = {.what = "select", .left = left};
static const struct wait_class outside = {.what = "select", .outside = true, .left = left};

struct tasklet *select_owner(struct tasklet *t)
{
    return t->state == TASKLET_CASE ? case_of(t)->select->tasklet : t;
}

struct tasklet *select_choose(struct tasklet *stand_in)
{
    struct select *s = case_of(stand_in)->select;
    s->chosen = (int)(case_of(stand_in) - s->cases) + 1;
    withdraw(s, stand_in);
    return s->tasklet;
}

/* ---- what a case is ---- */

/* What the object at index i is as a case, if its kind is known above only. */
static const struct select_source *source_of(lua_State *L, int i)
{
    struct object *o = lua_touserdata(L, i);
    if (lua_type(L, i) != LUA_TUSERDATA || lua_rawlen(L, i) < sizeof *o)
        return NULL;
    for (int kind = 0; kind < OBJECT_KINDS; kind++)
        if (o->kind == &runtime_of(L)->kinds[kind])
            return runtime_of(L)->kinds[kind].source;
    return NULL;
}

/* Pushes the n-th case, taken apart: the thing itself, above it (for a send) the list. Its
** kind, or -1. */
static int push_case(lua_State *L, int n)
{
    static const struct {
        enum object_kind object;
        enum case_kind kind;
    } kinds[] = {{OBJECT_CHANNEL, CASE_RECEIVE},
                 {OBJECT_TASKLET, CASE_JOIN},
                 {OBJECT_DEFERRED, CASE_DEFERRED}};
    if (lua_rawgeti(L, SELECT_CASES, n) == LUA_TTABLE) {
        lua_rawgeti(L, -1, 1);
        lua_insert(L, -2);
        return object_test(L, -2, OBJECT_CHANNEL) ? CASE_SEND : -1;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (object_test(L, -1, kinds[i].object))
            return (int)kinds[i].kind;
    return source_of(L, -1) ? CASE_READY : -1;
}

/* Pushes the values 2..n of the list at index i; how many. No script's code runs, but
** finalizers may. */
static int push_values(lua_State *L, int i)
{
    lua_pushliteral(L, "n");
    lua_rawget(L, i);
    lua_Integer n = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : (lua_Integer)lua_rawlen(L, i);
    lua_pop(L, 1);
    if (n > INT32_MAX / 2)
        luaL_error(L, "too many values");
    luaL_checkstack(L, n > 0 ? (int)n + 4 : 4, "too many values");
    for (lua_Integer v = 2; v <= n; v++)
        lua_rawgeti(L, i, v);
    return n > 1 ? (int)n - 1 : 0;
}

void select_push_values(lua_State *L, struct tasklet *stand_in)
{
    struct select_case *c = case_of(stand_in);
    lua_State *leaf = stand_in->leaf;
    if (leaf != L && !lua_checkstack(leaf, 1))
        luaL_error(L, "not enough memory");
    lua_pushvalue(leaf, SELECT_CASES);
    if (leaf != L)
        lua_xmove(leaf, L, 1);
    lua_rawgeti(L, -1, (lua_Integer)(c - c->select->cases) + 1);
    lua_remove(L, -2);
    int list = lua_gettop(L);
    push_values(L, list);
    lua_remove(L, list);
}

static bool receive_now(lua_State *L, int i)
{
    struct channel *ch = lua_touserdata(L, i);
    if (!channel_try_receive(L, i)) {
        if (!ch->closing)
            return false;
        lua_pushnil(L);
        lua_pushliteral(L, "closed");
    }
    lua_remove(L, i);
    return true;
}

/* The values are above the channel. */
static bool send_now(lua_State *L, int i)
{
    struct channel *ch = lua_touserdata(L, i);
    if (ch->closing && ch->balance >= 0)
        error_raise(L, ERROR_CLOSED, "Send/receive operation on a closed channel");
    if (!channel_try_send(L, i))
        return false;
    lua_settop(L, i - 1);
    return true;
}

/* Replaces the object on the top, if it is ready, by what a select gives for it. */
static bool ready_now(lua_State *L)
{
    const struct select_source *source = source_of(L, -1);
    if (!source->ready(lua_touserdata(L, -1)))
        return false;
    if (source->closed(lua_touserdata(L, -1))) {
        lua_pop(L, 1);
        lua_pushnil(L);
        lua_pushliteral(L, "closed");
    }
    return true;
}

/* Does the case on the top (as push_case left it) at once, if it is ready: its results
** take its place. */
static bool do_now(lua_State *L, int kind)
{
    int top = lua_gettop(L);
    switch (kind) {
    case CASE_RECEIVE:
        return receive_now(L, top);
    case CASE_SEND:
        push_values(L, top);
        lua_remove(L, top);
        return send_now(L, top - 1);
    case CASE_JOIN:
        if (((struct tasklet *)lua_touserdata(L, top))->state != TASKLET_DEAD)
            return false;
        outcome_push(L, top);
        lua_remove(L, top);
        return true;
    case CASE_READY:
        return ready_now(L);
    default:
        if (!deferred_done(L, top))
            return false;
        deferred_take(L, top);
        lua_remove(L, top);
        return true;
    }
}

/* The queue in which the case at index i waits, made if need be. */
static struct wait_queue *queue_of(lua_State *L, int i, int kind)
{
    switch (kind) {
    case CASE_RECEIVE:
    case CASE_SEND:
        return &((struct channel *)lua_touserdata(L, i))->queue;
    case CASE_JOIN:
        return &tasklet_side(L, i)->joiners;
    case CASE_READY:
        return source_of(L, i)->queue(lua_touserdata(L, i));
    default:
        return deferred_queue(L, i);
    }
}

/* ---- select ---- */

static int selected(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct select *s = lua_touserdata(L, SELECT_SELF);
    switch (wait_result(L)) {
    case WAKE_TIMEOUT:
        lua_pushnil(L);
        lua_pushliteral(L, "timeout");
        return 2;
    case WAKE_CLOSED:
        lua_pushinteger(L, s->chosen);
        lua_pushnil(L);
        lua_pushliteral(L, "closed");
        return 3;
    default:
        if (s->cases[s->chosen - 1].kind == CASE_READY)
            lua_rawgeti(L, SELECT_CASES, s->chosen);
        lua_pushinteger(L, s->chosen);
        lua_replace(L, SELECT_SELF);
        return lua_gettop(L) - SELECT_CASES;
    }
}

/* Makes the struct, with every case's queue; nothing is joined yet. */
static struct select *make(lua_State *L, int n)
{
    struct select *s =
        object_new(L, OBJECT_SELECT, sizeof *s + (size_t)n * sizeof s->cases[0], 0);
    wait_queue_init(&s->queue, &inside);
    s->count = n;
    for (int i = 0; i < n; i++) {
        struct select_case *c = &s->cases[i];
        int kind = push_case(L, i + 1), top = lua_gettop(L);
        c->select = s;
        c->kind = (enum case_kind)kind;
        c->stand_in.state = TASKLET_CASE;
        c->stand_in.leaf = L;
        list_init(&c->stand_in.link);
        c->queue = queue_of(L, kind == CASE_SEND ? top - 1 : top, kind);
        if (c->queue->class->outside)
            s->queue.class = &outside;
        lua_settop(L, SELECT_SELF);
    }
    return s;
}

static bool join(struct select_case *c)
{
    if (c->kind <= CASE_SEND &&
        !channel_join(container_of(c->queue, struct channel, queue), c->kind == CASE_SEND))
        return false;
    c->stand_in.on = c->queue;
    list_push_back(&c->queue->waiters, &c->stand_in.link);
    if (c->queue->class->joined)
        c->queue->class->joined(c->queue);
    return true;
}

/* Does the first case that is ready: its index and its results are then above `base`. */
static bool any_now(lua_State *L, int n, int base)
{
    for (int i = 1; i <= n; i++) {
        lua_pushinteger(L, i);
        if (do_now(L, push_case(L, i)))
            return true;
        lua_settop(L, base);
    }
    return false;
}

int select_run(lua_State *L, double timeout)
{
    lua_settop(L, SELECT_CASES);
    int n = (int)lua_rawlen(L, SELECT_CASES);
    for (int i = 1; i <= n; i++) {
        if (push_case(L, i) < 0)
            return luaL_error(L, "select: case %d is nothing to wait for", i);
        lua_settop(L, SELECT_CASES);
    }
    if (any_now(L, n, SELECT_CASES))
        return lua_gettop(L) - SELECT_CASES;
    if (timeout <= 0) {
        lua_pushnil(L);
        lua_pushliteral(L, "timeout");
        return 2;
    }
    struct tasklet *t = wait_check(L);
    struct select *s = make(L, n);
    s->tasklet = t;
    if (timeout < HUGE_VAL && timer_reserve(runtime_of(L)) < 0)
        return luaL_error(L, "not enough memory");
    if (any_now(L, n, SELECT_SELF)) /* making it may have run finalizers, that made one ready */
        return lua_gettop(L) - SELECT_SELF;
    wait_check(L); /* or killed the tasklet */
    for (int i = 0; i < n; i++) {
        if (!join(&s->cases[i])) {
            withdraw(s, NULL);
            return luaL_error(L, "select: both directions of one channel");
        }
    }
    return wait_on(L, &s->queue, timeout, 0, selected);
}

void select_open(lua_State *L)
{
    object_class_new(L, OBJECT_SELECT, &(struct object_class){.name = "select"});
}
