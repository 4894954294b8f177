/* What other threads bring: calls, messages for channels, answers. Each is one block from the
** host's allocation function, taken in by the next step in the order in which it came. */
#include "embed/embed.h"

#include "core/channel.h"
#include "core/sched.h"
#include "core/tasklet.h"
#include "reactor/inbox.h"

#include <stdlib.h>
#include <string.h>

/* ---- values: copied where they are handed in, pushed by the owner ---- */

/* Whether each value is of a known type. */
static bool valid(const neap_value *v, int n)
{
    if (n < 0 || (n > 0 && !v))
        return false;
    for (int i = 0; i < n; i++)
        if (v[i].type < NEAP_NIL || v[i].type > NEAP_REF ||
            (v[i].type == NEAP_BYTES && v[i].len > 0 && !v[i].s) ||
            (v[i].type == NEAP_REF && !v[i].s))
            return false;
    return true;
}

/* The text of a value: bytes, or the name of a reference's type with its final 0. */
static size_t text_length(const neap_value *v)
{
    return v->type == NEAP_BYTES ? v->len : v->type == NEAP_REF ? strlen(v->s) + 1 : 0;
}

/* Bytes that a copy of n values takes behind its array. */
static size_t text_bytes(const neap_value *v, int n)
{
    size_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += text_length(&v[i]);
    return sum;
}

/* Copies n values to `to`, and their texts to `text`. */
static void copy(neap_value *to, char *text, const neap_value *v, int n)
{
    for (int i = 0; i < n; i++) {
        size_t length = text_length(&v[i]);
        to[i] = v[i];
        if (length == 0)
            continue;
        to[i].s = memcpy(text, v[i].s, length);
        text += length;
    }
}

/* [E] */
static void push(lua_State *L, const neap_value *v)
{
    switch (v->type) {
    case NEAP_BOOL:
        lua_pushboolean(L, v->u.b);
        break;
    case NEAP_INT:
        lua_pushinteger(L, v->u.i);
        break;
    case NEAP_NUM:
        lua_pushnumber(L, v->u.n);
        break;
    case NEAP_BYTES:
        lua_pushlstring(L, v->len ? v->s : "", v->len);
        break;
    case NEAP_REF:
        neap_push_ref(L, v->s, v->u.ref);
        break;
    default:
        lua_pushnil(L);
    }
}

/* ---- messages ---- */

struct message {
    struct post post;
    size_t size;
    uint64_t id; /* of the channel or the answer */
    bool ok;
    void (*fn)(neap *N, void *ud);
    void *ud;
    int n;
    neap_value values[]; /* and their texts behind them */
};

static struct message *message_new(neap *N, const neap_value *v, int n)
{
    size_t head = sizeof(struct message) + (size_t)n * sizeof *v,
           size = head + text_bytes(v, n);
    struct message *m =
        N->config.alloc ? N->config.alloc(N->config.ud, NULL, 0, size) : malloc(size);
    if (!m)
        return NULL;
    *m = (struct message){.size = size, .n = n};
    copy(m->values, (char *)m + head, v, n);
    return m;
}

static void message_free(neap *N, struct message *m)
{
    if (N->config.alloc)
        N->config.alloc(N->config.ud, m, m->size, 0);
    else
        free(m);
}

static int put(neap *N, struct message *m, void (*fn)(struct runtime *, struct post *))
{
    m->post.fn = fn;
    inbox_put(N->rt.inbox, &m->post);
    reactor_wake(N->rt.reactor);
    if (N->config.wake)
        N->config.wake(N->config.ud);
    return NEAP_OK;
}

static struct message *message_of(struct post *p)
{
    return container_of(p, struct message, post);
}

/* ---- calls ---- */

static void take_call(struct runtime *rt, struct post *p)
{
    struct message *m = message_of(p);
    neap *N = rt->host;
    void (*fn)(neap *, void *) = m->fn;
    void *ud = m->ud;
    message_free(N, m);
    fn(N, ud);
}

int neap_post(neap *N, void (*fn)(neap *N, void *ud), void *ud)
{
    if (!N || !fn)
        return NEAP_EARG;
    struct message *m = message_new(N, NULL, 0);
    if (!m)
        return NEAP_EMEM;
    m->fn = fn;
    m->ud = ud;
    return put(N, m, take_call);
}

static void push_all(lua_State *L, const struct message *m)
{
    luaL_checkstack(L, m->n + 4, NULL);
    for (int i = 0; i < m->n; i++)
        push(L, &m->values[i]);
}

static int push_values(lua_State *L)
{
    struct message *m = lua_touserdata(L, 1);
    push_all(L, m);
    return m->n;
}

/* Hands a message, pushed on the main stack, to `to`; one that is lost is told. A runtime that
** ends drops it. */
static void take(neap *N, struct message *m, int (*to)(neap *, struct message *),
                 const char *what)
{
    if (!N->closed) {
        lua_pushlightuserdata(N->rt.L, m);
        if (to(N, m) != NEAP_OK)
            error_log(&N->rt, "%s: %s", what, N->error_text);
    }
    message_free(N, m);
}

/* ---- answers ---- */

static int answer(neap *N, struct message *m)
{
    int status = embed_protect(N, push_values, 1, LUA_MULTRET, NEAP_EMEM);
    if (status != NEAP_OK)
        return status;
    status = embed_settle(N, (neap_deferred){m->id}, m->ok, m->n);
    return status == NEAP_EMEM ? status : NEAP_OK; /* a stale one is dropped in silence */
}

static void take_answer(struct runtime *rt, struct post *p)
{
    take(rt->host, message_of(p), answer, "an answer of another thread");
}

int neap_settle_from(neap *N, neap_deferred d, int ok, const neap_value *v, int n)
{
    if (!N || !valid(v, n))
        return NEAP_EARG;
    if (!d.id)
        return NEAP_ESTALE;
    struct message *m = message_new(N, v, n);
    if (!m)
        return NEAP_EMEM;
    m->id = d.id;
    m->ok = ok;
    return put(N, m, take_answer);
}

/* ---- channels ---- */

struct find {
    const char *name;
    int capacity;
    uint64_t id;
};

/* Pushes script's channel(name, capacity). */
static struct channel *push_named(lua_State *L, const struct find *f)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime_of(L)->channels_ref);
    if (lua_getfield(L, -1, f->name) == LUA_TNIL) {
        lua_pop(L, 1);
        channel_push(L, (uint32_t)f->capacity);
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, f->name);
    }
    lua_remove(L, -2);
    return lua_touserdata(L, -1);
}

/* channel(find): the registry holds it under its own address, and its id under its name. */
static int find_channel(lua_State *L)
{
    struct find *f = lua_touserdata(L, 1);
    neap *N = runtime_of(L)->host;
    lua_rawgeti(L, LUA_REGISTRYINDEX, N->channel_ids_ref);
    if (lua_getfield(L, -1, f->name) == LUA_TNIL) {
        struct channel *ch = push_named(L, f);
        lua_rawsetp(L, LUA_REGISTRYINDEX, ch);
        uint64_t id = slots_add(&N->channels, &N->rt.memory, ch);
        if (!id)
            return luaL_error(L, "not enough memory");
        lua_pushinteger(L, (lua_Integer)id);
        lua_pushvalue(L, -1);
        lua_setfield(L, -4, f->name);
    }
    f->id = (uint64_t)lua_tointeger(L, -1);
    return 0;
}

neap_chan neap_channel(neap *N, const char *name, int cap)
{
    struct find f = {name, cap, 0};
    if (!embed_owned(N))
        return (neap_chan){0};
    if (!name || cap < 0)
        embed_fail(N, NEAP_EARG, "neap_channel: no name, or a negative room");
    else if (!lua_checkstack(N->rt.L, 4))
        embed_fail(N, NEAP_EMEM, "not enough memory");
    else {
        lua_pushlightuserdata(N->rt.L, &f);
        embed_protect(N, find_channel, 1, 0, NEAP_EMEM);
    }
    return (neap_chan){f.id};
}

static int send(lua_State *L)
{
    return channel_send(L, lua_touserdata(L, 1), false);
}

/* Who closes a channel tells the senders that wait there. */
static int sent_late(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    if (status == LUA_OK || status == LUA_YIELD)
        return 0;
    if (!error_is(L, -1, ERROR_CLOSED))
        return lua_error(L);
    error_log(runtime_of(L), "a message of another thread: the channel is closed");
    return 0;
}

/* send_late(channel, ...): the body of the tasklet that waits for room */
static int send_late(lua_State *L)
{
    lua_pushcfunction(L, send);
    lua_insert(L, 1);
    return sent_late(L, lua_pcallk(L, lua_gettop(L) - 1, 0, 0, 0, sent_late), 0);
}

/* deliver(message): into the channel, or by a tasklet that waits for room in its place */
static int deliver(lua_State *L)
{
    struct message *m = lua_touserdata(L, 1);
    neap *N = runtime_of(L)->host;
    struct channel *ch = slots_find(&N->channels, m->id, NULL);
    if (!ch)
        return luaL_error(L, "no such channel");
    if (ch->closing)
        return luaL_error(L, "the channel is closed");
    lua_settop(L, 0);
    lua_rawgetp(L, LUA_REGISTRYINDEX, ch);
    push_all(L, m);
    if (channel_try_send(L, 1))
        return 0;
    lua_pushcfunction(L, send_late);
    lua_insert(L, 1);
    sched_run_one(&N->rt, tasklet_spawn(L, lua_gettop(L) - 1, -1));
    return 0;
}

static int send_on(neap *N, struct message *m)
{
    (void)m;
    return embed_protect(N, deliver, 1, 0, NEAP_ERUN);
}

static void take_send(struct runtime *rt, struct post *p)
{
    take(rt->host, message_of(p), send_on, "a message of another thread");
}

int neap_send(neap *N, neap_chan c, const neap_value *v, int n)
{
    if (!N || !valid(v, n))
        return NEAP_EARG;
    if (!c.id)
        return NEAP_ESTALE;
    struct message *m = message_new(N, v, n);
    if (!m)
        return NEAP_EMEM;
    m->id = c.id;
    return put(N, m, take_send);
}
