/* Listeners as scripts see them: API.md section 8. */
#include "net/listener.h"

#include "bind/net.h"
#include "core/sched.h"
#include "core/tasklet.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* Accepts in one go before the other tasklets have their turn. */
enum { ACCEPT_BATCH = 64, BACKLOG = 1024 };

static struct listener *check(lua_State *L)
{
    return object_check(L, 1, OBJECT_LISTENER);
}

/* net.listen(host, port[, opts]) */
int net_listen(lua_State *L)
{
    const char *host = luaL_optstring(L, 1, "*");
    lua_Integer port = luaL_checkinteger(L, 2), backlog = BACKLOG;
    luaL_argcheck(L, port >= 0 && port <= 65535, 2, "port out of range");
    if (!lua_isnoneornil(L, 3)) {
        static const char *const known[] = {"backlog", NULL};
        net_check_options(L, known);
        lua_getfield(L, 3, "backlog");
        backlog = luaL_optinteger(L, -1, BACKLOG);
    }
    struct address a;
    struct listener *l = object_new(L, OBJECT_LISTENER, sizeof *l, 0);
    int r = address_parse(&a, host, (int)port);
    if (r == 0)
        r = listener_open(l, runtime_of(L), &a, (int)backlog);
    if (r == -EAFNOSUPPORT && strcmp(host, "*") == 0 && /* a kernel without IPv6 */
        address_parse(&a, "0.0.0.0", (int)port) == 0)
        r = listener_open(l, runtime_of(L), &a, (int)backlog);
    if (r == 0)
        return 1;
    lua_pushfstring(L, "listen %s:%d", host, (int)port);
    return net_push_error(L, lua_tostring(L, -1), -r);
}

/* ---- accept ---- */

static int accepted(lua_State *L, int status, lua_KContext ctx);

static int go_on_accepting(lua_State *L, struct listener *l, double timeout)
{
    struct address peer;
    struct stream *s = net_new_stream(L);
    int fd = listener_accept(l, &peer);
    if (fd >= 0) {
        stream_init(s, l->rt, fd);
        net_push_peer(L, &peer);
        return 2;
    }
    if (fd == -EBADF)
        return net_push_end(L, WAKE_CLOSED);
    if (fd != -EAGAIN)
        return net_push_error(L, "accept", -fd);
    wait_check(L);
    lua_settop(L, 1);
    listener_want(l);
    return wait_on(L, &l->acceptors, timeout, 0, accepted);
}

static int accepted(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    enum wake why = wait_result(L);
    if (why != WAKE_SERVED)
        return net_push_end(L, why);
    return go_on_accepting(L, lua_touserdata(L, 1), HUGE_VAL);
}

/* l:accept(): stream, peer */
static int accept_(lua_State *L)
{
    return go_on_accepting(L, check(L), HUGE_VAL);
}

/* ---- serve ---- */

/* The frame of serve: the listener, the handler, where serve was called, a spare stream. */
enum { SERVE_HANDLER = 2, SERVE_SITE, SERVE_SPARE };

static int handler_returned(lua_State *L, int status, lua_KContext ctx)
{
    (void)L, (void)status, (void)ctx;
    return 0;
}

/* The body of a connection's tasklet: handler, stream, peer. The stream is closed when
** the handler returns, fails or is killed. */
static int serve_client(lua_State *L)
{
    lua_toclose(L, 2);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_callk(L, 2, 0, 0, handler_returned);
    return 0;
}

static void spawn_client(lua_State *L, int fd, const struct address *peer, int line)
{
    struct runtime *rt = runtime_of(L);
    stream_init(lua_touserdata(L, SERVE_SPARE), rt, fd);
    struct tasklet *t = tasklet_new(L);
    lua_pushcfunction(L, serve_client);
    lua_pushvalue(L, SERVE_HANDLER);
    lua_pushvalue(L, SERVE_SPARE);
    net_push_peer(L, peer);
    tasklet_bind_at(L, SERVE_SPARE + 1, 3, SERVE_SITE, line);
    sched_append(rt, t);
}

static int serving(lua_State *L, int status, lua_KContext line);

static int go_on_serving(lua_State *L, lua_KContext line)
{
    struct runtime *rt = runtime_of(L);
    struct listener *l = lua_touserdata(L, 1);
    struct address peer;
    for (int n = 0; n < ACCEPT_BATCH; n++) {
        if (lua_gettop(L) < SERVE_SPARE)
            net_new_stream(L);
        int fd = listener_accept(l, &peer);
        if (fd == -EBADF)
            return 0;
        if (fd == -EAGAIN) {
            listener_want(l);
            return wait_on(L, &l->acceptors, HUGE_VAL, line, serving);
        }
        if (fd < 0) {
            net_push_error(L, "accept", -fd);
            return bind_raise(L);
        }
        spawn_client(L, fd, &peer, (int)line);
        lua_settop(L, SERVE_SITE);
    }
    sched_append(rt, rt->current);
    return wait_switch(L, line, serving);
}

static int serving(lua_State *L, int status, lua_KContext line)
{
    (void)status;
    return wait_result(L) == WAKE_CLOSED ? 0 : go_on_serving(L, line);
}

/* l:serve(handler): a tasklet a connection, until the listener is closed */
static int serve(lua_State *L)
{
    lua_Debug ar = {.currentline = -1};
    check(L);
    bind_check_callable(L, 2);
    wait_check(L);
    lua_settop(L, 2);
    if (lua_getstack(L, 1, &ar))
        lua_getinfo(L, "fl", &ar);
    else
        lua_pushnil(L);
    return go_on_serving(L, ar.currentline);
}

/* The body of l:start's tasklet: serve, with a site that is already known. */
static int serve_at_site(lua_State *L)
{
    lua_KContext line = (lua_KContext)lua_tointeger(L, 4);
    lua_settop(L, SERVE_SITE);
    return go_on_serving(L, line);
}

/* l:start(handler): serves in the background; the tasklet that does */
static int start(lua_State *L)
{
    lua_Debug ar = {.currentline = -1};
    check(L);
    bind_check_callable(L, 2);
    lua_settop(L, 2);
    lua_pushcfunction(L, serve_at_site);
    lua_insert(L, 1);
    if (lua_getstack(L, 1, &ar))
        lua_getinfo(L, "fl", &ar);
    else
        lua_pushnil(L);
    lua_pushinteger(L, ar.currentline);
    tasklet_spawn(L, 4, 1);
    return 1;
}

/* ---- the rest ---- */

/* l:close(), also by `<close>` and when it is collected */
static int close_(lua_State *L)
{
    listener_close(check(L));
    return 0;
}

static int to_string(lua_State *L)
{
    struct listener *l = check(L);
    char host[ADDRESS_TEXT];
    int port = address_format(&l->address, host);
    lua_pushfstring(L, l->closed ? "listener: closed" : "listener: %s:%d", host, port);
    return 1;
}

static void get_host(lua_State *L, void *l)
{
    char host[ADDRESS_TEXT];
    address_format(&((struct listener *)l)->address, host);
    lua_pushstring(L, host);
}

static void get_port(lua_State *L, void *l)
{
    char host[ADDRESS_TEXT];
    lua_pushinteger(L, address_format(&((struct listener *)l)->address, host));
}

void net_open_listeners(lua_State *L)
{
    static const luaL_Reg methods[] = {{"accept", accept_},
                                       {"serve", serve},
                                       {"start", start},
                                       {"close", close_},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__gc", close_}, {"__close", close_}, {"__tostring", to_string}, {NULL, NULL}};
    static const struct object_property properties[] = {
        {"host", get_host, NULL}, {"port", get_port, NULL}, {NULL, NULL, NULL}};
    object_class_new(L, OBJECT_LISTENER,
                     &(struct object_class){"listener", methods, meta, properties, false});
}
