#include "core/channel.h"

#include "core/sched.h"
#include "core/select.h"
#include "core/tasklet.h"

#include <math.h>

/* Values for which the frame of a send or receive has room without asking: it has
** LUA_MINSTACK slots, and holds the channel and a few more. */
enum { SPARE_SLOTS = 8 };

static const char closed_text[] = "Send/receive operation on a closed channel";

static void sender_joined(struct wait_queue *q)
{
    container_of(q, struct channel, queue)->balance++;
}

static void receiver_joined(struct wait_queue *q)
{
    container_of(q, struct channel, queue)->balance--;
}

static const struct wait_class sending = {
    .what = "send on a channel", .joined = sender_joined, .left = receiver_joined};
static const struct wait_class receiving = {
    .what = "receive on a channel", .joined = receiver_joined, .left = sender_joined};

struct channel *channel_push(lua_State *L, uint32_t capacity)
{
    struct channel *ch = object_new(L, OBJECT_CHANNEL, sizeof *ch, CHANNEL_VALUES);
    wait_queue_init(&ch->queue, &receiving);
    ch->preference = -1;
    ch->capacity = capacity;
    return ch;
}

/* ---- the buffer ----
** A ring in a Lua list, two entries an item: the number of values (-1: an error to raise),
** and the value itself or a list of them. The ring grows with what it holds, not with what it
** may hold. A sender that waits for room has its item packed the same way above the channel,
** so that moving it in later needs no memory. */

/* Replaces the n values on the top by their item: the number and the value. */
static void pack_item(lua_State *L, int n, bool error)
{
    if (n != 1) {
        lua_createtable(L, n, 0);
        lua_insert(L, -(n + 1));
        for (int i = n; i > 0; i--)
            lua_rawseti(L, -(i + 1), i);
    }
    lua_pushinteger(L, error ? -1 : n);
    lua_insert(L, -2);
}

static lua_Integer ring_place(const struct channel *ch, uint32_t nth)
{
    return 2 * (lua_Integer)(((uint64_t)ch->first + nth) % ch->ring) + 1;
}

/* Doubles the ring, up to the capacity; the oldest item comes first. */
static void buffer_grow(lua_State *L, struct channel *ch, int c)
{
    uint32_t least = 8;
    lua_newtable(L); /* may collect: a finalizer may have grown it, or taken from it */
    if (ch->count < ch->ring) {
        lua_pop(L, 1);
        return;
    }
    uint32_t doubled = ch->ring < least / 2 ? least : 2 * ch->ring;
    lua_getiuservalue(L, c, CHANNEL_BUFFER);
    lua_insert(L, -2);
    for (uint32_t i = 0; i < ch->count; i++) {
        lua_Integer from = ring_place(ch, i), to = 2 * (lua_Integer)i + 1;
        for (int half = 0; half < 2; half++) {
            lua_rawgeti(L, -2, from + half);
            lua_rawseti(L, -2, to + half);
        }
    }
    lua_setiuservalue(L, c, CHANNEL_BUFFER);
    lua_pop(L, 1);
    ch->ring = doubled < ch->capacity ? doubled : ch->capacity;
    ch->first = 0;
}

/* Packs the n values on the top and makes room for their item; whether there is room. Runs
** finalizers, which may use the channel: what was known of it before is not known any more. */
static bool buffer_ready(lua_State *L, struct channel *ch, int c, int n, bool error)
{
    pack_item(L, n, error);
    while (ch->count == ch->ring && ch->ring < ch->capacity)
        buffer_grow(L, ch, c);
    return ch->count < ch->capacity;
}

/* Takes the item on the top into the buffer of the channel at index c, which has room. */
static void buffer_put(lua_State *L, struct channel *ch, int c)
{
    lua_Integer at = ring_place(ch, ch->count);
    lua_getiuservalue(L, c, CHANNEL_BUFFER);
    lua_insert(L, -3);
    lua_rawseti(L, -3, at + 1);
    lua_rawseti(L, -2, at);
    lua_pop(L, 1);
    ch->count++;
}

/* The number of values of the oldest item, with room made for them. */
static int buffer_peek(lua_State *L, struct channel *ch, int c)
{
    lua_getiuservalue(L, c, CHANNEL_BUFFER);
    lua_rawgeti(L, -1, ring_place(ch, 0));
    int n = (int)lua_tointeger(L, -1);
    lua_pop(L, 2);
    luaL_checkstack(L, n + 8, NULL);
    return n;
}

/* Pushes the values of the oldest item, of which there are n (-1: one, an error). */
static void buffer_take(lua_State *L, struct channel *ch, int c, int n)
{
    lua_Integer at = ring_place(ch, 0);
    lua_getiuservalue(L, c, CHANNEL_BUFFER);
    int buffer = lua_gettop(L);
    lua_rawgeti(L, buffer, at + 1);
    for (int i = 0; i < 2; i++) {
        lua_pushboolean(L, 0);
        lua_rawseti(L, buffer, at + i);
    }
    ch->first = (uint32_t)(((uint64_t)ch->first + 1) % ch->ring);
    ch->count--;
    if (n == 0 || n > 1) {
        int list = lua_gettop(L);
        for (int i = 1; i <= n; i++)
            lua_rawgeti(L, list, i);
        lua_remove(L, list);
    }
    lua_remove(L, buffer);
}

/* ---- the channel callback ---- */

/* Tells the callback of an operation on the channel at 1 before anything has moved. */
static void tell(lua_State *L, bool sends, bool will_block)
{
    struct runtime *rt = runtime_of(L);
    int top = lua_gettop(L);
    if (rt->in_on_channel)
        luaL_error(L, "Recursive channel call due to callbacks!");
    luaL_checkstack(L, 8, NULL);
    lua_pushcfunction(L, error_handler);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->on_channel_ref);
    lua_pushvalue(L, 1);
    if (rt->current)
        tasklet_push(L, rt->current);
    else
        lua_pushnil(L);
    lua_pushboolean(L, sends);
    lua_pushboolean(L, will_block);
    rt->in_on_channel = true;
    rt->reactor_code++;
    int status = lua_pcall(L, 4, 0, top + 1);
    rt->reactor_code--;
    rt->in_on_channel = false;
    if (status != LUA_OK)
        error_report(L, NULL, "");
    lua_settop(L, top);
}

/* ---- who runs on ---- */

static int sent(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    wait_result(L);
    return 0;
}

/* What a receive returns when all it got lies above index 1 (and the counter). */
static int received(lua_State *L, enum channel_mode mode)
{
    if (mode == CHANNEL_EACH && lua_isnoneornil(L, 2))
        return luaL_error(L, "nil was sent: use `for i, v in ch:iter()`");
    if (mode == CHANNEL_COUNTED) {
        lua_pushinteger(L, lua_tointeger(L, 2) + 1);
        lua_replace(L, 2);
    }
    return lua_gettop(L) - 1;
}

static int unserved(lua_State *L, enum wake why, enum channel_mode mode)
{
    lua_pushnil(L);
    if (mode != CHANNEL_PLAIN)
        return 1;
    lua_pushstring(L, why == WAKE_TIMEOUT ? "timeout" : "closed");
    return 2;
}

static int received_k(lua_State *L, int status, lua_KContext mode)
{
    (void)status;
    enum wake why = wait_result(L);
    return why == WAKE_SERVED ? received(L, (enum channel_mode)mode)
                              : unserved(L, why, (enum channel_mode)mode);
}

/* Raises, before anything has moved, if a hand-over would switch where switch_trap forbids
** it. */
static void check_switch(lua_State *L, struct channel *ch, bool partner_first)
{
    if (runtime_of(L)->switch_trap && (ch->schedule_all || partner_first) && wait_possible(L))
        wait_refuse(L);
}

/* After a hand-over between the caller and its partner: the caller's place in the order.
** True: it gives way, and has been queued. The partner is woken here. */
static bool give_way(lua_State *L, struct channel *ch, struct tasklet *partner, enum wake why,
                     bool partner_first)
{
    struct runtime *rt = runtime_of(L);
    if (!(ch->schedule_all || partner_first) || !wait_possible(L) || rt->current->thrown) {
        wait_wake(rt, partner, why);
        return false;
    }
    if (ch->schedule_all)
        wait_wake(rt, partner, why);
    else
        wait_wake_front(rt, partner, why);
    sched_append(rt, rt->current);
    return true;
}

/* ---- send ---- */

/* Moves the n values on the top to the first receiver, which stays in the queue. */
static struct tasklet *hand_over(lua_State *L, struct channel *ch, int n)
{
    struct tasklet *t = wait_first(&ch->queue);
    if (n > SPARE_SLOTS && !lua_checkstack(t->leaf, n + 1))
        luaL_error(L, "not enough memory");
    ch->balance++;
    lua_xmove(L, t->leaf, n);
    return t;
}

int channel_send(lua_State *L, struct channel *ch, bool error)
{
    int n = lua_gettop(L) - 1;
    if (runtime_of(L)->on_channel_ref != LUA_NOREF)
        tell(L, true, ch->balance >= 0 && ch->count >= ch->capacity);
    if (ch->balance < 0) {
        bool receiver_first = ch->preference < 0 && ch->capacity == 0;
        check_switch(L, ch, receiver_first);
        struct tasklet *t = hand_over(L, ch, n);
        if (give_way(L, ch, t, error ? WAKE_RAISE : WAKE_SERVED, receiver_first))
            return wait_switch(L, 0, sent);
        return 0;
    }
    if (ch->closing)
        return error_raise(L, ERROR_CLOSED, closed_text);
    if (ch->count >= ch->capacity)
        wait_check(L); /* before anything is made */
    if (ch->capacity > 0 && buffer_ready(L, ch, 1, n, error)) {
        buffer_put(L, ch, 1);
        return 0;
    }
    struct tasklet *t = wait_check(L);
    t->sends_error = error;
    ch->queue.class = &sending;
    return wait_on(L, &ch->queue, HUGE_VAL, 0, sent);
}

bool channel_try_send(lua_State *L, int i)
{
    struct channel *ch = lua_touserdata(L, i);
    int n = lua_gettop(L) - i;
    if (ch->balance < 0) {
        wait_wake(runtime_of(L), hand_over(L, ch, n), WAKE_SERVED);
        return true;
    }
    if (ch->closing || ch->count >= ch->capacity)
        return false;
    if (!buffer_ready(L, ch, i, n, false))
        return false;
    buffer_put(L, ch, i);
    return true;
}

/* ---- receive ---- */

/* Pushes what a select sends (for a buffered channel, its item), which may run finalizers.
** False, and nothing is pushed: one of them has ended that wait. */
static bool pull_case(lua_State *L, struct channel *ch, struct tasklet *t)
{
    int top = lua_gettop(L);
    select_push_values(L, t);
    if (ch->capacity > 0)
        pack_item(L, lua_gettop(L) - top, false);
    if (ch->balance > 0 && wait_first(&ch->queue) == t)
        return true;
    lua_settop(L, top);
    return false;
}

/* Pulls the values of the first sender onto L (of a buffered channel, its item); it stays
** in the queue. NULL, and nothing has moved: look at the channel again. */
static struct tasklet *pull(lua_State *L, struct channel *ch)
{
    struct tasklet *t = wait_first(&ch->queue);
    if (t->state == TASKLET_CASE) {
        if (!pull_case(L, ch, t))
            return NULL;
    } else {
        int n = lua_gettop(t->leaf) - 1;
        if (n > SPARE_SLOTS)
            luaL_checkstack(L, n + 4, NULL);
        lua_xmove(t->leaf, L, n);
    }
    ch->balance--;
    return t;
}

/* Takes from the buffer of the channel at c, and lets the first sender that waits for room
** in: 1, or 0 if the one value is an error. -1, and nothing has moved: look again. */
static int take_buffered(lua_State *L, struct channel *ch, int c)
{
    int n = buffer_peek(L, ch, c), top = lua_gettop(L);
    struct tasklet *t = NULL;
    if (ch->balance > 0 && !(t = pull(L, ch)))
        return -1;
    buffer_take(L, ch, c, n);
    if (t) {
        lua_rotate(L, top + 1, -2); /* the item on the top again */
        buffer_put(L, ch, c);
        wait_wake(runtime_of(L), t, WAKE_SERVED);
    }
    return n >= 0;
}

int channel_receive(lua_State *L, struct channel *ch, double timeout, enum channel_mode mode)
{
    if (runtime_of(L)->on_channel_ref != LUA_NOREF)
        tell(L, false, ch->count == 0 && ch->balance <= 0);
    while (ch->count > 0) {
        int got = take_buffered(L, ch, 1);
        if (got >= 0)
            return got ? received(L, mode) : lua_error(L);
    }
    while (ch->balance > 0) {
        check_switch(L, ch, ch->preference > 0);
        struct tasklet *t = pull(L, ch);
        if (!t)
            continue;
        if (t->sends_error) {
            wait_wake(runtime_of(L), t, WAKE_SERVED);
            return lua_error(L);
        }
        if (give_way(L, ch, t, WAKE_SERVED, ch->preference > 0))
            return wait_switch(L, mode, received_k);
        return received(L, mode);
    }
    if (ch->closing)
        return unserved(L, WAKE_CLOSED, mode);
    wait_check(L);
    ch->queue.class = &receiving;
    return wait_on(L, &ch->queue, timeout, mode, received_k);
}

bool channel_try_receive(lua_State *L, int i)
{
    struct channel *ch = lua_touserdata(L, i);
    while (ch->count > 0) {
        int got = take_buffered(L, ch, i);
        if (got >= 0)
            return got ? true : lua_error(L);
    }
    while (ch->balance > 0) {
        struct tasklet *t = pull(L, ch);
        if (!t)
            continue;
        wait_wake(runtime_of(L), t, WAKE_SERVED);
        return t->sends_error ? lua_error(L) : true;
    }
    return false;
}

bool channel_join(struct channel *ch, bool sender)
{
    if (sender ? ch->balance < 0 : ch->balance > 0)
        return false;
    ch->queue.class = sender ? &sending : &receiving;
    return true;
}

/* ---- close ---- */

void channel_close(lua_State *L, struct channel *ch, bool wake)
{
    struct runtime *rt = runtime_of(L);
    struct tasklet *t;
    ch->closing = true;
    if (!wake)
        return;
    error_push(L, ERROR_CLOSED, closed_text);
    for (; (t = wait_first(&ch->queue)); ch->balance += ch->balance > 0 ? -1 : 1) {
        if (ch->balance > 0) {
            if (!lua_checkstack(t->leaf, 1))
                luaL_error(L, "not enough memory");
            lua_pushvalue(L, -1);
            lua_xmove(L, t->leaf, 1);
        }
        wait_wake(rt, t, ch->balance > 0 ? WAKE_RAISE : WAKE_CLOSED);
    }
    lua_pop(L, 1);
}
