/* UDP sockets as scripts see them: lua/neap/types/net.lua. */
#include "net/udp.h"

#include "bind/net.h"
#include "core/select.h"
#include "core/tasklet.h"
#include "net/option.h"

#include <errno.h>
#include <math.h>
#include <net/if.h>
#include <string.h>

static struct udp *check(lua_State *L)
{
    return object_check(L, 1, OBJECT_UDP);
}

/* The address in the arguments host and port at i and i + 1; what: the call, for the error.
** 0, or the number of results that it pushes: nil, err, code. */
static int check_address(lua_State *L, int i, const char *what, struct address *a)
{
    const char *host = luaL_checkstring(L, i);
    lua_Integer port = luaL_checkinteger(L, i + 1);
    luaL_argcheck(L, port >= 0 && port <= 65535, i + 1, "port out of range");
    if (address_parse(a, host, (int)port) == 0)
        return 0;
    lua_pushfstring(L, "%s %s:%d", what, host, (int)port);
    return net_push_no_address(L, lua_tostring(L, -1));
}

static struct udp_options parse_options(lua_State *L, int i)
{
    static const char *const known[] = {"reuseaddr", "reuseport", NULL};
    struct udp_options o = {0};
    if (lua_isnoneornil(L, i))
        return o;
    net_check_options(L, i, known);
    lua_getfield(L, i, "reuseaddr");
    lua_getfield(L, i, "reuseport");
    o.reuse_address = lua_toboolean(L, -2);
    o.reuse_port = lua_toboolean(L, -1);
    return o;
}

/* net.udp([host, port][, opts]): bound to that address, or to any and a free port */
int net_udp(lua_State *L)
{
    struct address a;
    if (lua_istable(L, 1)) {
        lua_settop(L, 1);
        lua_pushnil(L);
        lua_pushnil(L);
        lua_rotate(L, 1, 2);
    }
    lua_settop(L, 3);
    const char *host = luaL_optstring(L, 1, "*");
    lua_Integer port = luaL_optinteger(L, 2, 0);
    luaL_argcheck(L, port >= 0 && port <= 65535, 2, "port out of range");
    struct udp *u = object_new(L, OBJECT_UDP, sizeof *u, 0);
    u->fd = -1;
    struct udp_options o = parse_options(L, 3);
    bool known = address_parse(&a, host, (int)port) == 0;
    int r = known ? udp_open(u, runtime_of(L), &a, &o) : -EINVAL;
    if (r == -EAFNOSUPPORT && strcmp(host, "*") == 0 && /* a kernel without IPv6 */
        address_parse(&a, "0.0.0.0", (int)port) == 0)
        r = udp_open(u, runtime_of(L), &a, &o);
    lua_settop(L, 4);
    if (r == 0)
        return 1;
    const char *what = lua_pushfstring(L, "udp %s:%d", host, (int)port);
    return known ? net_push_error(L, what, -r) : net_push_no_address(L, what);
}

/* ---- sending ---- */

static int sent(lua_State *L, int status, lua_KContext ctx);

/* It is sent; others have had their turn. */
static int gave_way(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    wait_result(L);
    lua_pushboolean(L, 1);
    return 1;
}

/* The frame: the socket, the data, and the host and port or nothing. */
static int go_on_sending(lua_State *L)
{
    struct udp *u = lua_touserdata(L, 1);
    struct address a;
    size_t n;
    const char *p = luaL_checklstring(L, 2, &n);
    bool named = lua_gettop(L) > 2;
    int results = named ? check_address(L, 3, "send", &a) : 0;
    if (results)
        return results;
    if (u->fd < 0)
        return net_push_end(L, WAKE_CLOSED);
    int r = udp_send(u, p, n, named ? &a : NULL);
    if (r == -EAGAIN) {
        wait_check(L);
        return wait_on(L, &u->senders, HUGE_VAL, 0, sent);
    }
    if (r < 0)
        return net_push_error(L, "send", -r);
    lua_pushboolean(L, 1);
    return net_must_give_way(L) ? net_give_way(L, 0, gave_way) : 1;
}

static int sent(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    enum wake why = wait_result(L);
    return why == WAKE_SERVED ? go_on_sending(L) : net_push_end(L, why);
}

/* u:send(data[, host, port]): true, once the kernel has it */
static int send_(lua_State *L)
{
    check(L);
    if (lua_isnoneornil(L, 3) && lua_isnoneornil(L, 4))
        lua_settop(L, 2);
    return go_on_sending(L);
}

/* ---- receiving ---- */

/* The frame of a receive. */
enum { RECEIVE_MOST = 2, RECEIVE_DEADLINE, RECEIVE_TOP = RECEIVE_DEADLINE };

/* Pushes data, host, port, and the datagram's length if that is more than was given. */
static int push_datagram(lua_State *L, struct udp *u, size_t n, const struct address *from,
                         size_t most)
{
    size_t given = n < most ? n : most;
    if (given > READ_BUFFER)
        given = READ_BUFFER;
    lua_pushlstring(L, u->rt->read_buffer, given);
    net_push_address(L, from);
    if (given < n)
        lua_pushinteger(L, (lua_Integer)n);
    return lua_gettop(L) - RECEIVE_TOP;
}

static int received(lua_State *L, int status, lua_KContext ctx);

static int go_on_receiving(lua_State *L)
{
    struct udp *u = lua_touserdata(L, 1);
    struct address from;
    if (u->fd < 0)
        return net_push_end(L, WAKE_CLOSED);
    ssize_t n = udp_receive(u, &from);
    if (n >= 0)
        return push_datagram(L, u, (size_t)n, &from, (size_t)lua_tointeger(L, RECEIVE_MOST));
    if (n != -EAGAIN)
        return net_push_error(L, "receive", (int)-n);
    wait_check(L);
    return wait_on(L, &u->receivers, net_time_left(L, RECEIVE_DEADLINE), 0, received);
}

static int received(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    enum wake why = wait_result(L);
    return why == WAKE_SERVED ? go_on_receiving(L) : net_push_end(L, why);
}

static int take_one(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    wait_result(L);
    return go_on_receiving(L);
}

/* u:receive([timeout[, max]]): data, host, port; with a fourth result, its length, one longer
** than max was cut */
static int receive(lua_State *L)
{
    check(L);
    double timeout = wait_timeout(L, 2);
    lua_Integer most = luaL_optinteger(L, 3, READ_BUFFER);
    luaL_argcheck(L, most >= 0, 3, "a size cannot be negative");
    lua_settop(L, 1);
    lua_pushinteger(L, most);
    net_push_deadline(L, timeout);
    if (net_must_give_way(L)) /* before anything is taken, which a kill would lose */
        return net_give_way(L, 0, take_one);
    return go_on_receiving(L);
}

/* ---- the rest ---- */

/* The socket itself, or what went wrong. */
static int give_self(lua_State *L, const char *what, int r)
{
    if (r < 0)
        return net_push_error(L, what, -r);
    lua_settop(L, 1);
    return 1;
}

/* u:connect(host, port): talks to that one only; u:connect(): to anybody again */
static int connect_(lua_State *L)
{
    struct udp *u = check(L);
    struct address a;
    bool named = !lua_isnoneornil(L, 2);
    int results = named ? check_address(L, 2, "connect", &a) : 0;
    if (results)
        return results;
    if (u->fd < 0)
        return net_push_end(L, WAKE_CLOSED);
    return give_self(L, "connect", udp_connect(u, named ? &a : NULL));
}

static int group(lua_State *L, const char *what, bool join)
{
    struct udp *u = check(L);
    struct address a;
    unsigned interface = 0;
    const char *host = luaL_checkstring(L, 2);
    if (u->fd < 0)
        return net_push_end(L, WAKE_CLOSED);
    if (!lua_isnoneornil(L, 3) && !(interface = if_nametoindex(luaL_checkstring(L, 3))))
        return net_push_error(L, what, errno);
    if (address_parse(&a, host, 0) < 0)
        return net_push_no_address(L, what);
    return give_self(L, what, udp_group(u, &a, interface, join));
}

/* u:join_group(address[, interface]), u:leave_group: a multicast group */
static int join_group(lua_State *L)
{
    return group(L, "join_group", true);
}

static int leave_group(lua_State *L)
{
    return group(L, "leave_group", false);
}

/* u:setoption(name, value): those of net/option.c */
static int setoption(lua_State *L)
{
    struct udp *u = check(L);
    return u->fd < 0 ? net_push_end(L, WAKE_CLOSED) : net_set_option(L, u->fd);
}

static int push_name(lua_State *L, bool peer)
{
    struct udp *u = check(L);
    struct address a = {.length = sizeof a.sa};
    struct sockaddr *sa = (struct sockaddr *)&a.sa;
    if (u->fd < 0)
        return net_push_end(L, WAKE_CLOSED);
    if ((peer ? getpeername(u->fd, sa, &a.length) : getsockname(u->fd, sa, &a.length)) < 0)
        return net_push_error(L, NULL, errno);
    return net_push_address(L, &a);
}

/* u:sockname(), u:peername(): host, port */
static int sockname(lua_State *L)
{
    return push_name(L, false);
}

static int peername(lua_State *L)
{
    return push_name(L, true);
}

/* u:close(), also by `<close>` and when it is collected */
static int close_(lua_State *L)
{
    udp_close(check(L));
    return 0;
}

static int to_string(lua_State *L)
{
    struct udp *u = check(L);
    lua_pushfstring(L, u->fd < 0 ? "udp: closed" : "udp: %d", u->fd);
    return 1;
}

static void get_port(lua_State *L, void *u)
{
    struct address a = {.length = sizeof a.sa};
    char host[ADDRESS_TEXT];
    if (getsockname(((struct udp *)u)->fd, (struct sockaddr *)&a.sa, &a.length) < 0)
        lua_pushnil(L);
    else
        lua_pushinteger(L, address_format(&a, host));
}

static void get_fd(lua_State *L, void *u)
{
    lua_pushinteger(L, ((struct udp *)u)->fd);
}

static bool is_ready(void *u)
{
    return udp_ready(u);
}

static bool is_closed(const void *u)
{
    return ((const struct udp *)u)->fd < 0;
}

static struct wait_queue *selectors(void *u)
{
    return &((struct udp *)u)->selectors;
}

void net_open_udp(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"send", send_},
        {"receive", receive},
        {"connect", connect_},
        {"join_group", join_group},
        {"leave_group", leave_group},
        {"setoption", setoption},
        {"sockname", sockname},
        {"peername", peername},
        {"close", close_},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", close_}, {"__close", close_}, {"__tostring", to_string}, {NULL, NULL}};
    static const struct object_property properties[] = {
        {"port", get_port, NULL}, {"fd", get_fd, NULL}, {NULL, NULL, NULL}};
    static const struct select_source source = {is_ready, is_closed, selectors};
    object_class_new(L, OBJECT_UDP,
                     &(struct object_class){"udp", methods, meta, properties, true});
    runtime_of(L)->kinds[OBJECT_UDP].source = &source;
}
