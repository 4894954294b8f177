/* TLS on streams as scripts see it: lua/neap/types/tls.lua. The part neap.tls, which knows
** OpenSSL, is loaded at the first use of the option.
**
** A server's handshake is done by the first operation on the stream, in the tasklet that asks
** for it; a client's before connect returns it. Whoever is in the middle of one has the turn to
** read. */
#include "net/tls.h"

#include "bind/net.h"
#include "core/tasklet.h"
#include "net/listener.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static const double connect_timeout = 30;

/* The loaded part. [E] */
static const struct part_tls *load_part(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "neap.tls");
    lua_call(L, 1, 0);
    return part_find(L, PART_TLS, (struct part_table)PART_TABLE(struct part_tls));
}

int net_push_failure(lua_State *L, const struct stream *s, const char *what, int error)
{
    if (!s->tls || s->tls->error != error)
        return net_push_error(L, what, error);
    char reason[sizeof s->tls->reason]; /* a finalizer may close the stream */
    const char *code = s->tls->code;
    memcpy(reason, s->tls->reason, sizeof reason);
    lua_pushnil(L);
    lua_pushstring(L, reason);
    lua_pushstring(L, code);
    return 3;
}

/* ---- the handshake ---- */

/* Its frame: the stream, the moment at which the caller's patience ends, whether the stream
** closes if it fails. */
enum { SHAKE_STREAM = 1, SHAKE_DEADLINE, SHAKE_CLOSES };

static int shaken(lua_State *L, int status, lua_KContext ctx);

static void give_turn(struct stream *s)
{
    if (s->reading.owner && s->reading.owner == s->rt->current)
        turn_give(s->rt, &s->reading);
}

/* With nil, err, code on the top. */
static int shake_failed(lua_State *L, struct stream *s)
{
    give_turn(s);
    if (lua_toboolean(L, SHAKE_CLOSES))
        stream_close(s);
    return 3;
}

static double time_left(lua_State *L, const struct stream *s)
{
    double at = fmin(lua_tonumber(L, SHAKE_DEADLINE), s->tls->deadline);
    return at < HUGE_VAL ? fmax(at - runtime_now(s->rt), 0) : HUGE_VAL;
}

static int shake_timed_out(lua_State *L, struct stream *s)
{
    if (runtime_now(s->rt) >= s->tls->deadline)
        stream_break(s, ETIMEDOUT, "ETIMEDOUT", "tls: handshake timed out");
    if (s->in_error)
        net_push_failure(L, s, NULL, s->in_error);
    else
        net_push_end(L, WAKE_TIMEOUT);
    return shake_failed(L, s);
}

static int go_on_shaking(lua_State *L, struct stream *s)
{
    int got = 1;
    if (s->closed) {
        net_push_end(L, WAKE_CLOSED);
        return shake_failed(L, s);
    }
    if (s->reading.owner && s->reading.owner != s->rt->current) {
        wait_check(L);
        return wait_on(L, &s->reading.queue, time_left(L, s), 0, shaken);
    }
    while (!s->tls->ready && got > 0)
        got = stream_fill(s);
    if (s->tls->ready) {
        give_turn(s);
        lua_settop(L, SHAKE_STREAM);
        return 1;
    }
    if (got == 0)
        stream_break(s, EPROTO, "EPROTO", "tls: closed in the handshake");
    if (got != -EAGAIN) {
        net_push_failure(L, s, "handshake", s->in_error);
        return shake_failed(L, s);
    }
    wait_check(L);
    stream_want_input(s);
    return wait_on(L, &s->reader, time_left(L, s), 0, shaken);
}

static int shaken(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct stream *s = lua_touserdata(L, SHAKE_STREAM);
    if (s->rt->current->wake == WAKE_RAISE) {
        give_turn(s);
        if (lua_toboolean(L, SHAKE_CLOSES))
            stream_close(s);
    }
    enum wake why = wait_result(L);
    if (why == WAKE_TIMEOUT && !s->closed)
        return shake_timed_out(L, s);
    return go_on_shaking(L, s);
}

/* Begins or goes on, with the stream, the deadline and `closes` at 1 to 3: the stream. */
static int shake(lua_State *L)
{
    struct stream *s = lua_touserdata(L, SHAKE_STREAM);
    lua_settop(L, SHAKE_CLOSES);
    if (!s->closed && s->tls->deadline == 0)
        s->tls->deadline = runtime_now(s->rt) + s->tls->patience;
    return go_on_shaking(L, s);
}

static int shaken_first(lua_State *L, int status, lua_KContext op)
{
    (void)status;
    if (lua_isnil(L, -3))
        return 3;
    lua_pop(L, 3);
    return ((lua_CFunction)op)(L);
}

static int shaken_or_raise(lua_State *L, int status, lua_KContext op)
{
    return lua_isnil(L, -3) ? bind_raise(L) : shaken_first(L, status, op);
}

bool net_must_shake(const struct stream *s)
{
    return s->tls && !s->tls->ready && !s->closed && !s->in_error && !s->out_error;
}

/* must_shake(stream) */
int net_inside_must_shake(lua_State *L)
{
    lua_pushboolean(L, net_must_shake(object_check(L, 1, OBJECT_STREAM)));
    return 1;
}

static void push_deadline(lua_State *L, const struct stream *s)
{
    lua_pushnumber(L, s->timeout < HUGE_VAL ? runtime_now(s->rt) + s->timeout : HUGE_VAL);
}

int net_shake_first(lua_State *L, lua_CFunction op, bool raises)
{
    lua_KFunction k = raises ? shaken_or_raise : shaken_first;
    luaL_checkstack(L, 8, NULL);
    lua_pushcfunction(L, shake);
    lua_pushvalue(L, 1);
    push_deadline(L, lua_touserdata(L, 1));
    lua_callk(L, 2, 3, (lua_KContext)op, k);
    return k(L, LUA_OK, (lua_KContext)op);
}

/* ---- streams ---- */

/* Whether there is TLS now on s, with the context at index i. */
static bool begin(lua_State *L, const struct part_tls *part, int i, struct stream *s,
                  const char *host)
{
    struct tls *t = s->closed ? NULL : part->begin(L, i, host);
    if (t)
        stream_encrypt(s, t);
    return t != NULL;
}

/* Whether starttls on s, with the options at 2, is a server's side. */
static bool is_server(lua_State *L, const struct stream *s)
{
    bool server = s->accepted;
    if (lua_istable(L, 2)) {
        if (lua_getfield(L, 2, "server") != LUA_TNIL)
            server = lua_toboolean(L, -1);
        lua_pop(L, 1);
    }
    return server;
}

/* Pushes nil, err, code if the stream at 1 cannot begin TLS now; how many. */
static int push_obstacle(lua_State *L, struct stream *s)
{
    const char *p, *why = NULL;
    if (s->closed)
        return net_push_end(L, WAKE_CLOSED);
    if (s->in_error || s->out_error)
        return net_push_failure(L, s, "starttls", s->in_error ? s->in_error : s->out_error);
    if (s->shut || s->ended)
        return net_push_error(L, "starttls", EPIPE);
    if (s->reading.owner || s->writing.owner)
        return net_push_error(L, "starttls", EBUSY);
    if (stream_input(s, &p) > 0)
        why = "starttls: bytes have come in the clear";
    if (!why)
        return 0;
    lua_pushnil(L);
    lua_pushstring(L, why);
    lua_pushliteral(L, "EPROTO");
    return 3;
}

/* s:starttls(opts): the stream, when the handshake is done */
int net_starttls(lua_State *L)
{
    struct stream *s = object_check(L, 1, OBJECT_STREAM);
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    luaL_argcheck(L, !s->tls, 1, "it has TLS already");
    luaL_argcheck(L, s->kind == STREAM_SOCKET, 1, "no socket");
    wait_check(L);
    const struct part_tls *part = load_part(L);
    bool server = is_server(L, s);
    if (!part->push_context(L, 2, server ? TLS_SERVER : TLS_CLIENT))
        return 3;
    if (!server && !part->knows_host(L, 3, NULL))
        return luaL_error(L, "starttls needs the tls option 'hostname', to verify it");
    int n = push_obstacle(L, s);
    if (n > 0)
        return n;
    if (!begin(L, part, 3, s, NULL))
        return net_push_error(L, "starttls", ENOMEM);
    lua_settop(L, 1);
    push_deadline(L, s);
    return shake(L);
}

/* s:tls(): what is known of its TLS; nil: it has none */
int net_tls_state(lua_State *L)
{
    struct stream *s = object_check(L, 1, OBJECT_STREAM);
    lua_settop(L, 1);
    if (s->closed)
        return net_push_end(L, WAKE_CLOSED);
    if (net_must_shake(s))
        return net_shake_first(L, net_tls_state, false);
    if (!s->tls) {
        lua_pushnil(L);
        return 1;
    }
    if (!s->tls->ready)
        return net_push_failure(L, s, "tls", s->in_error ? s->in_error : s->out_error);
    s->tls->part->push_state(L, &s->tls);
    return 1;
}

/* ---- the option `tls` ---- */

/* Whether the options at index i have it. */
static bool asks_for_tls(lua_State *L, int i)
{
    bool asks = lua_istable(L, i) && lua_getfield(L, i, "tls") != LUA_TNIL;
    lua_settop(L, i);
    return asks;
}

/* Pushes a copy of the options at index i, without `tls`. */
static void push_rest(lua_State *L, int i)
{
    lua_newtable(L);
    int copy = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, i);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, copy);
    }
    lua_pushnil(L);
    lua_setfield(L, copy, "tls");
}

/* Calls f(the arguments before i, their options at i without `tls`), then k, with the part at
** i + 1, the context at i + 2, `value` at i + 3, and what f gave behind. */
static int call_plain(lua_State *L, int i, bool server, lua_Number value, lua_CFunction f,
                      lua_KFunction k)
{
    const struct part_tls *part = load_part(L);
    lua_pushlightuserdata(L, (void *)part);
    lua_getfield(L, i, "tls");
    if (!part->push_context(L, i + 2, server ? TLS_LISTENER : TLS_CLIENT))
        return 3;
    lua_replace(L, i + 2);
    if (!server && !part->knows_host(L, i + 2, i == 3 ? lua_tostring(L, 1) : NULL))
        return luaL_error(L, "tls needs the option 'hostname', to verify it");
    lua_pushnumber(L, value);
    lua_pushcfunction(L, f);
    for (int arg = 1; arg < i; arg++)
        lua_pushvalue(L, arg);
    push_rest(L, i);
    lua_callk(L, i, LUA_MULTRET, i, k);
    return k(L, LUA_OK, i);
}

/* With what call_plain says on the stack. */
static int connected(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    int i = (int)ctx, results = i + 4;
    struct stream *s = object_test(L, results, OBJECT_STREAM);
    if (!s)
        return lua_gettop(L) - results + 1;
    if (!begin(L, lua_touserdata(L, i + 1), i + 2, s, i == 3 ? lua_tostring(L, 1) : NULL)) {
        stream_close(s);
        return net_push_error(L, "tls", ENOMEM);
    }
    lua_pushvalue(L, results);
    lua_replace(L, SHAKE_STREAM);
    lua_pushvalue(L, i + 3);
    lua_replace(L, SHAKE_DEADLINE);
    lua_settop(L, SHAKE_DEADLINE);
    lua_pushboolean(L, 1);
    return shake(L);
}

static int connect_any(lua_State *L, int i, lua_CFunction f)
{
    if (!asks_for_tls(L, i))
        return f(L);
    double timeout = net_timeout_option(L, i, connect_timeout);
    wait_check(L);
    return call_plain(L, i, false, runtime_now(runtime_of(L)) + timeout, f, connected);
}

int net_connect_any(lua_State *L)
{
    return connect_any(L, 3, net_connect);
}

int net_connect_unix_any(lua_State *L)
{
    return connect_any(L, 2, net_connect_unix);
}

static int listening(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    int i = (int)ctx, results = i + 4;
    struct listener *l = object_test(L, results, OBJECT_LISTENER);
    if (!l)
        return lua_gettop(L) - results + 1;
    lua_settop(L, results);
    lua_pushvalue(L, i + 2);
    lua_setiuservalue(L, results, LISTENER_TLS);
    l->tls = lua_touserdata(L, i + 1);
    return 1;
}

static int listen_any(lua_State *L, int i, lua_CFunction f)
{
    if (lua_gettop(L) < i || !asks_for_tls(L, i))
        return f(L);
    return call_plain(L, i, true, 0, f, listening);
}

int net_listen_any(lua_State *L)
{
    return listen_any(L, lua_istable(L, 1) ? 1 : 3, net_listen);
}

int net_listen_unix_any(lua_State *L)
{
    return listen_any(L, 2, net_listen_unix);
}

/* l:set_tls(opts): for the clients that it accepts from now on */
int net_set_tls(lua_State *L)
{
    struct listener *l = object_check(L, 1, OBJECT_LISTENER);
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    const struct part_tls *part = load_part(L);
    if (!part->push_context(L, 2, TLS_LISTENER))
        return 3;
    lua_setiuservalue(L, 1, LISTENER_TLS);
    l->tls = part;
    lua_settop(L, 1);
    return 1;
}

void net_accept_tls(lua_State *L, struct listener *l, struct stream *s)
{
    s->accepted = true;
    if (!l->tls)
        return;
    lua_getiuservalue(L, 1, LISTENER_TLS);
    if (!begin(L, l->tls, -1, s, NULL))
        stream_close(s); /* no memory for it */
    lua_pop(L, 1);
}
