/* Channels and select as scripts see them: lua/neap/types/channel.lua. */
#include "core/channel.h"

#include "bind/bind.h"
#include "core/select.h"

#include <math.h>

static struct channel *check(lua_State *L)
{
    return object_check(L, 1, OBJECT_CHANNEL);
}

static uint32_t check_capacity(lua_State *L, int i)
{
    lua_Integer n = luaL_optinteger(L, i, 0);
    luaL_argcheck(L, n >= 0 && n <= INT32_MAX, i, "capacity out of range");
    return (uint32_t)n;
}

/* channel([capacity]), channel(name[, capacity]): that name's, made at the first call */
static int new_channel(lua_State *L)
{
    if (lua_type(L, 1) != LUA_TSTRING) {
        channel_push(L, check_capacity(L, 1));
        return 1;
    }
    uint32_t capacity = check_capacity(L, 2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime_of(L)->channels_ref);
    lua_pushvalue(L, 1);
    if (lua_rawget(L, -2) == LUA_TNIL) {
        channel_push(L, capacity);
        lua_pushvalue(L, 1);
        lua_pushvalue(L, -2);
        lua_rawset(L, -5);
    }
    return 1;
}

static int send(lua_State *L)
{
    return channel_send(L, check(L), false);
}

static int send_exception(lua_State *L)
{
    struct channel *ch = check(L);
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    return channel_send(L, ch, true);
}

static int receive(lua_State *L)
{
    struct channel *ch = check(L);
    double timeout = HUGE_VAL;
    if (lua_gettop(L) > 1) {
        timeout = wait_timeout(L, 2);
        lua_settop(L, 1);
    }
    return channel_receive(L, ch, timeout, CHANNEL_PLAIN);
}

static int try_send(lua_State *L)
{
    struct channel *ch = check(L);
    if (ch->closing && ch->balance >= 0)
        return error_raise(L, ERROR_CLOSED, "Send/receive operation on a closed channel");
    lua_pushboolean(L, channel_try_send(L, 1));
    return 1;
}

static int try_receive(lua_State *L)
{
    struct channel *ch = check(L);
    lua_settop(L, 1);
    if (!channel_try_receive(L, 1)) {
        lua_pushboolean(L, 0);
        lua_pushstring(L, ch->closing ? "closed" : "empty");
        return 2;
    }
    lua_pushboolean(L, 1);
    lua_insert(L, 2);
    return lua_gettop(L) - 1;
}

/* The frame of send_sequence: the channel, then the iterator's three values, then what the
** iterator has given. */
enum { SEQUENCE_F = 2, SEQUENCE_STATE, SEQUENCE_CONTROL, SEQUENCE_VALUE };

/* Asks the iterator and sends what it gives, in turns, until that is nil. step: how often it
** has asked and sent; even: the next is to ask. */
static int send_on(lua_State *L, int status, lua_KContext step)
{
    (void)status;
    for (;; step++) {
        bool given = step % 2;
        lua_settop(L, given ? SEQUENCE_VALUE : SEQUENCE_CONTROL);
        if (!given) {
            lua_pushvalue(L, SEQUENCE_F);
            lua_pushvalue(L, SEQUENCE_STATE);
            lua_pushvalue(L, SEQUENCE_CONTROL);
            lua_callk(L, 2, 1, step + 1, send_on);
        } else if (lua_isnil(L, SEQUENCE_VALUE)) {
            lua_pushinteger(L, step / 2);
            return 1;
        } else {
            lua_copy(L, SEQUENCE_VALUE, SEQUENCE_CONTROL);
            lua_pushcfunction(L, send);
            lua_pushvalue(L, 1);
            lua_pushvalue(L, SEQUENCE_VALUE);
            lua_callk(L, 2, 0, step + 1, send_on);
        }
    }
}

/* The iterator over a list: its values up to the first nil, or to n. Upvalue: the place. */
static int next_of_list(lua_State *L)
{
    lua_Integer i = lua_tointeger(L, lua_upvalueindex(1)) + 1;
    lua_pushinteger(L, i);
    lua_replace(L, lua_upvalueindex(1));
    lua_rawgeti(L, 1, i);
    return 1;
}

/* ch:send_sequence(list or iterator): each element in turn; how many */
static int send_sequence(lua_State *L)
{
    check(L);
    lua_settop(L, SEQUENCE_CONTROL);
    if (lua_istable(L, 2) && luaL_getmetafield(L, 2, "__call") == LUA_TNIL) {
        lua_pushvalue(L, 2);
        lua_replace(L, SEQUENCE_STATE);
        lua_pushinteger(L, 0);
        lua_pushcclosure(L, next_of_list, 1);
        lua_replace(L, SEQUENCE_F);
    } else {
        lua_settop(L, SEQUENCE_CONTROL);
        bind_check_callable(L, 2);
    }
    return send_on(L, LUA_OK, 0);
}

/* for v in ch do: called with the channel, nil and the last value */
static int each(lua_State *L)
{
    struct channel *ch = check(L);
    lua_settop(L, 1);
    return channel_receive(L, ch, HUGE_VAL, CHANNEL_EACH);
}

static int counted(lua_State *L)
{
    struct channel *ch = check(L);
    luaL_checkinteger(L, 2);
    lua_settop(L, 2);
    return channel_receive(L, ch, HUGE_VAL, CHANNEL_COUNTED);
}

/* for i, v in ch:iter() do */
static int iter(lua_State *L)
{
    check(L);
    lua_pushcfunction(L, counted);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, 0);
    return 3;
}

/* ch:close([{ wake = false }]) */
static int close(lua_State *L)
{
    struct channel *ch = check(L);
    bool wake = true;
    if (lua_istable(L, 2)) {
        lua_getfield(L, 2, "wake");
        wake = lua_isnil(L, -1) || lua_toboolean(L, -1);
    }
    channel_close(L, ch, wake);
    return 0;
}

static int open(lua_State *L)
{
    check(L)->closing = false;
    return 0;
}

static int length(lua_State *L)
{
    lua_pushinteger(L, check(L)->count);
    return 1;
}

static int to_string(lua_State *L)
{
    struct channel *ch = check(L);
    lua_pushfstring(L, "channel: %p (balance %d)", (void *)ch, ch->balance);
    return 1;
}

static void get_balance(lua_State *L, void *ch)
{
    lua_pushinteger(L, ((struct channel *)ch)->balance);
}

static void get_capacity(lua_State *L, void *ch)
{
    lua_pushinteger(L, ((struct channel *)ch)->capacity);
}

static void get_closing(lua_State *L, void *ch)
{
    lua_pushboolean(L, ((struct channel *)ch)->closing);
}

static void get_closed(lua_State *L, void *p)
{
    struct channel *ch = p;
    lua_pushboolean(L, ch->closing && ch->balance == 0 && ch->count == 0);
}

static void get_preference(lua_State *L, void *ch)
{
    lua_pushinteger(L, ((struct channel *)ch)->preference);
}

static void set_preference(lua_State *L, void *p)
{
    int whole;
    lua_Integer n = lua_tointegerx(L, 3, &whole);
    if (!whole)
        luaL_error(L, "a channel's preference is -1, 0 or 1");
    ((struct channel *)p)->preference = n < 0 ? -1 : n > 0;
}

static void get_schedule_all(lua_State *L, void *ch)
{
    lua_pushboolean(L, ((struct channel *)ch)->schedule_all);
}

static void set_schedule_all(lua_State *L, void *ch)
{
    ((struct channel *)ch)->schedule_all = lua_toboolean(L, 3);
}

static void get_queue(lua_State *L, void *p)
{
    struct channel *ch = p;
    struct list *node;
    lua_Integer n = 0;
    lua_createtable(L, ch->balance < 0 ? -ch->balance : ch->balance, 0);
    list_each(node, &ch->queue.waiters) {
        tasklet_push(L, select_owner(container_of(node, struct tasklet, link)));
        lua_rawseti(L, -2, ++n);
    }
}

/* ---- select ---- */

/* select(cases[, timeout]) */
static int select_(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    return select_run(L, wait_timeout(L, 2));
}

void bind_channels(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"channel", new_channel}, {"select", select_}, {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"send", send},
        {"receive", receive},
        {"try_send", try_send},
        {"try_receive", try_receive},
        {"close", close},
        {"open", open},
        {"iter", iter},
        {"send_sequence", send_sequence},
        {"send_exception", send_exception},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__call", each}, {"__len", length}, {"__tostring", to_string}, {NULL, NULL}};
    static const struct object_property properties[] = {
        {"balance", get_balance, NULL},
        {"preference", get_preference, set_preference},
        {"schedule_all", get_schedule_all, set_schedule_all},
        {"queue", get_queue, NULL},
        {"capacity", get_capacity, NULL},
        {"closing", get_closing, NULL},
        {"closed", get_closed, NULL},
        {NULL, NULL, NULL},
    };
    object_class_new(L, OBJECT_CHANNEL,
                     &(struct object_class){"channel", methods, meta, properties, true});
    select_open(L);
    luaL_setfuncs(L, functions, 0);
}
