/* Listeners as scripts see them: lua/neap/types/net.lua. */
#include "net/listener.h"

#include "bind/net.h"
#include "core/group.h"
#include "core/outcome.h"
#include "core/sched.h"
#include "core/select.h"
#include "core/tasklet.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Accepts in one go before the other tasklets have their turn. */
enum { ACCEPT_BATCH = 64, BACKLOG = SOMAXCONN /* as many as the kernel lets wait */ };

static struct listener *check(lua_State *L)
{
    return object_check(L, 1, OBJECT_LISTENER);
}

/* Upvalue: the listener. A handler's tasklet, at 1, has ended, however: its stream closes. */
static int handler_ended(lua_State *L)
{
    struct listener *l = lua_touserdata(L, lua_upvalueindex(1));
    lua_settop(L, 1);
    lua_getiuservalue(L, lua_upvalueindex(1), LISTENER_HANDLERS);
    lua_pushvalue(L, 1);
    lua_rawget(L, 2);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    lua_rawset(L, 2);
    listener_handled(l);
    struct stream *s = lua_touserdata(L, 3);
    if (!s->detached)
        stream_close(s);
    return 0;
}

/* ---- listen ---- */

static const char *const ip_options[] = {"backlog", "reuseport", "max_connections", "max_line",
                                         NULL};
static const char *const unix_options[] = {"backlog", "mode", "max_connections", "max_line",
                                           NULL};
static const char *const fd_options[] = {"fd", "max_connections", "max_line", NULL};

/* Pushes a listener that is to be opened. */
static struct listener *new_listener(lua_State *L)
{
    struct listener *l = object_new(L, OBJECT_LISTENER, sizeof *l, LISTENER_VALUES);
    l->max_line = STREAM_MAX_LINE;
    lua_newtable(L);
    lua_setiuservalue(L, -2, LISTENER_HANDLERS);
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, handler_ended, 1);
    lua_setiuservalue(L, -2, LISTENER_ENDED);
    return l;
}

/* A file's mode: octal digits, as chmod takes them, or a number. */
static int mode_option(lua_State *L, int i)
{
    if (lua_getfield(L, i, "mode") == LUA_TNIL)
        return -1;
    char *end = NULL;
    int whole = 1;
    long mode = lua_type(L, -1) == LUA_TSTRING ? strtol(lua_tostring(L, -1), &end, 8)
                                               : (long)lua_tointegerx(L, -1, &whole);
    if (!whole || mode < 0 || mode > 0777 || (end && (*end || end == lua_tostring(L, -1))))
        net_bad_option(L, "mode", "octal digits expected");
    return (int)mode;
}

/* The options at index i, an empty table if there are none; the listener is on the top. */
static struct listener_options parse_options(lua_State *L, int i, const char *const known[])
{
    struct listener *l = lua_touserdata(L, -1);
    struct listener_options o = {.backlog = BACKLOG, .mode = -1};
    if (lua_isnoneornil(L, i))
        return o;
    net_check_options(L, i, known);
    l->max_line = net_max_line_option(L, i);
    l->max_handlers = (size_t)net_integer_option(L, i, "max_connections", 1, INT32_MAX, 0);
    o.backlog = (int)net_integer_option(L, i, "backlog", 0, INT32_MAX, BACKLOG);
    o.mode = mode_option(L, i);
    o.reuse_port = lua_getfield(L, i, "reuseport") != LUA_TNIL && lua_toboolean(L, -1);
    lua_pop(L, 2);
    return o;
}

/* Whether the kernel does not know IPv6, which "*" would take. */
static bool lacks_ipv6(int r, const char *host)
{
    return r == -EAFNOSUPPORT && strcmp(host, "*") == 0;
}

/* net.listen{ fd = n }: a socket that others have made, and that listens */
static int listen_fd(lua_State *L)
{
    lua_settop(L, 1);
    struct listener *l = new_listener(L);
    parse_options(L, 1, fd_options);
    if (lua_getfield(L, 1, "fd") == LUA_TNIL)
        net_bad_option(L, "fd", "a descriptor expected");
    int fd = (int)net_integer_option(L, 1, "fd", INT32_MIN, INT32_MAX, -1);
    int r = listener_adopt(l, runtime_of(L), fd);
    lua_settop(L, 2);
    if (r == 0)
        return 1;
    lua_pushfstring(L, "listen fd %d", fd);
    return net_push_error(L, lua_tostring(L, -1), -r);
}

/* net.listen(host, port[, opts]) */
int net_listen(lua_State *L)
{
    if (lua_istable(L, 1))
        return listen_fd(L);
    const char *host = luaL_optstring(L, 1, "*");
    lua_Integer port = luaL_checkinteger(L, 2);
    luaL_argcheck(L, port >= 0 && port <= 65535, 2, "port out of range");
    lua_settop(L, 3);
    struct address a;
    struct listener *l = new_listener(L);
    struct listener_options o = parse_options(L, 3, ip_options);
    bool known = address_parse(&a, host, (int)port) == 0;
    int r = known ? listener_open(l, runtime_of(L), &a, &o) : -EINVAL;
    if (lacks_ipv6(r, host) && address_parse(&a, "0.0.0.0", (int)port) == 0)
        r = listener_open(l, runtime_of(L), &a, &o);
    if (r == 0)
        return 1;
    const char *what = lua_pushfstring(L, "listen %s:%d", host, (int)port);
    return known ? net_push_error(L, what, -r) : net_push_no_address(L, what);
}

/* net.listen_unix(path[, opts]) */
int net_listen_unix(lua_State *L)
{
    size_t n;
    const char *path = luaL_checklstring(L, 1, &n);
    lua_settop(L, 2);
    struct address a;
    struct listener *l = new_listener(L);
    struct listener_options o = parse_options(L, 2, unix_options);
    int r = address_unix(&a, path, n);
    if (r == 0)
        r = listener_open(l, runtime_of(L), &a, &o);
    if (r == 0)
        return 1;
    lua_pushfstring(L, "listen %s", path);
    return net_push_error(L, lua_tostring(L, -1), -r);
}

/* ---- accept ---- */

/* s takes over the descriptor of a client. */
static void take_client(lua_State *L, struct listener *l, struct stream *s, int fd)
{
    stream_init(s, l->rt, fd);
    s->max_line = l->max_line;
    net_accept_tls(L, l, s);
}

static int accepted(lua_State *L, int status, lua_KContext counted);

/* The frame: the listener. counted: the client is one of its handlers until its stream is closed,
** and waits for its turn to be one. */
static int go_on_accepting(lua_State *L, lua_KContext counted)
{
    struct listener *l = lua_touserdata(L, 1);
    struct address peer;
    if (counted && listener_full(l)) {
        wait_check(L);
        return wait_on(L, &l->full, HUGE_VAL, counted, accepted);
    }
    struct stream *s = net_new_stream(L);
    int fd = listener_accept(l, &peer);
    if (fd >= 0) {
        if (counted)
            listener_count(l, s);
        take_client(L, l, s, fd);
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
    return wait_on(L, &l->acceptors, HUGE_VAL, counted, accepted);
}

static int accepted(lua_State *L, int status, lua_KContext counted)
{
    (void)status;
    enum wake why = wait_result(L);
    return why == WAKE_SERVED ? go_on_accepting(L, counted) : net_push_end(L, why);
}

/* l:accept(): stream, peer */
static int accept_(lua_State *L)
{
    check(L);
    lua_settop(L, 1);
    return go_on_accepting(L, false);
}

int net_accept_counted(lua_State *L)
{
    check(L);
    lua_settop(L, 1);
    return go_on_accepting(L, true);
}

/* ---- serve ---- */

/* The frame of serve: the listener, the handler, where serve was called, a spare stream. */
enum { SERVE_HANDLER = 2, SERVE_SITE, SERVE_SPARE };

/* Spawns handler(stream, peer), whose end handler_ended is told. */
static void spawn_client(lua_State *L, struct listener *l, int fd, const struct address *peer,
                         int line)
{
    take_client(L, l, lua_touserdata(L, SERVE_SPARE), fd);
    struct tasklet *t = tasklet_new(L);
    lua_getiuservalue(L, 1, LISTENER_ENDED);
    outcome_watch(L, SERVE_SPARE + 1, -1);
    lua_getiuservalue(L, 1, LISTENER_HANDLERS);
    lua_pushvalue(L, SERVE_SPARE + 1);
    lua_pushvalue(L, SERVE_SPARE);
    lua_rawset(L, -3);
    lua_pushvalue(L, SERVE_HANDLER);
    lua_pushvalue(L, SERVE_SPARE);
    net_push_peer(L, peer);
    tasklet_bind_at(L, SERVE_SPARE + 1, 2, SERVE_SITE, line);
    l->handlers++;
    sched_append(runtime_of(L), t);
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
        if (listener_full(l))
            return wait_on(L, &l->full, HUGE_VAL, line, serving);
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
        spawn_client(L, l, fd, &peer, (int)line);
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

/* ---- shutdown ---- */

/* Whether the running tasklet is one of the handlers of the listener at 1. */
static bool handles(lua_State *L)
{
    lua_getiuservalue(L, 1, LISTENER_HANDLERS);
    tasklet_push(L, runtime_of(L)->current);
    bool does = lua_rawget(L, -2) != LUA_TNIL;
    lua_pop(L, 2);
    return does;
}

/* Pushes the other handlers' tasklets, all alive; how many. */
static int push_handlers(lua_State *L)
{
    struct listener *l = lua_touserdata(L, 1);
    int n = 0, top = lua_gettop(L);
    luaL_checkstack(L, (int)l->handlers + 4, "too many handlers");
    lua_getiuservalue(L, 1, LISTENER_HANDLERS);
    for (lua_pushnil(L); lua_next(L, top + n + 1);) {
        struct tasklet *t = lua_touserdata(L, -2);
        lua_pop(L, 1);
        if (t == runtime_of(L)->current || !tasklet_alive(t))
            continue;
        lua_pushvalue(L, -1);
        lua_insert(L, top + ++n);
    }
    lua_settop(L, top + n);
    return n;
}

static int aborted(lua_State *L, int status, lua_KContext n)
{
    struct listener *l = lua_touserdata(L, 1);
    (void)status;
    wait_result(L);
    if (net_abort_protocols(l) > 0) {
        wait_check(L);
        return wait_on(L, &l->drained, HUGE_VAL, n, aborted);
    }
    lua_pushinteger(L, (lua_Integer)n);
    return 1;
}

/* They have had their turn to end: who has not is ended for good. Protocols hear of their end. */
static int killed(lua_State *L, int status, lua_KContext n)
{
    wait_result(L);
    lua_settop(L, 1);
    for (int left = push_handlers(L); left > 0; left--) {
        struct tasklet *t = lua_touserdata(L, 1 + left);
        if (tasklet_alive(t) && t != runtime_of(L)->current)
            tasklet_cut(runtime_of(L), t);
    }
    lua_settop(L, 1);
    return aborted(L, status, n);
}

static int kill_handlers(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    wait_check_switch(L);
    lua_settop(L, 1);
    int n = push_handlers(L);
    for (int i = 2; i < 2 + n; i++) {
        struct tasklet *t = lua_touserdata(L, i);
        if (!tasklet_alive(t)) /* a finalizer has ended it */
            continue;
        group_leave(L, t);
        error_push(L, ERROR_TASKLET_EXIT, NULL);
        tasklet_throw(L, t, false);
    }
    n += (int)net_abort_protocols(lua_touserdata(L, 1));
    sched_append(rt, rt->current);
    return wait_switch(L, (lua_KContext)n, killed);
}

static int drained(lua_State *L, int status, lua_KContext ctx);

static int go_on_draining(lua_State *L)
{
    struct listener *l = lua_touserdata(L, 1);
    double left = lua_tonumber(L, 2) - timer_now(runtime_of(L));
    if (l->handlers == (size_t)handles(L)) {
        lua_pushinteger(L, 0);
        return 1;
    }
    if (left <= 0)
        return kill_handlers(L);
    wait_check(L);
    return wait_on(L, &l->drained, left, 0, drained);
}

static int drained(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    wait_result(L);
    return go_on_draining(L);
}

/* l:shutdown([grace]): accepts no more and waits for the handlers, those that still run after
** so many seconds are ended; how many those were */
static int shutdown_(lua_State *L)
{
    struct listener *l = check(L);
    double grace = wait_timeout(L, 2);
    wait_check(L);
    listener_close(l);
    lua_settop(L, 1);
    lua_pushnumber(L, timer_now(runtime_of(L)) + grace);
    return go_on_draining(L);
}

/* ---- the rest ---- */

/* l:close(), also by `<close>` and when it is collected */
static int close_(lua_State *L)
{
    listener_close(check(L));
    return 0;
}

static int collect(lua_State *L)
{
    listener_forget(check(L));
    return 0;
}

static int to_string(lua_State *L)
{
    struct listener *l = check(L);
    char host[ADDRESS_TEXT];
    int port = address_format(&l->address, host);
    if (l->closed)
        lua_pushliteral(L, "listener: closed");
    else if (port < 0)
        lua_pushfstring(L, "listener: %s", host);
    else
        lua_pushfstring(L, strchr(host, ':') ? "listener: [%s]:%d" : "listener: %s:%d", host,
                        port);
    return 1;
}

/* Pushes what is there of an IP address (ip) or of a unix socket's, else nil. */
static void push_text(lua_State *L, const struct listener *l, bool ip)
{
    char host[ADDRESS_TEXT];
    if ((address_format(&l->address, host) >= 0) == ip)
        lua_pushstring(L, host);
    else
        lua_pushnil(L);
}

static void get_host(lua_State *L, void *l)
{
    push_text(L, l, true);
}

static void get_path(lua_State *L, void *l)
{
    push_text(L, l, false);
}

static void get_port(lua_State *L, void *l)
{
    char host[ADDRESS_TEXT];
    int port = address_format(&((struct listener *)l)->address, host);
    port >= 0 ? lua_pushinteger(L, port) : lua_pushnil(L);
}

static void get_fd(lua_State *L, void *l)
{
    lua_pushinteger(L, ((struct listener *)l)->closed ? -1 : ((struct listener *)l)->fd);
}

static bool is_ready(void *l)
{
    return listener_ready(l);
}

static bool is_closed(const void *l)
{
    return ((const struct listener *)l)->closed;
}

static struct wait_queue *selectors(void *l)
{
    return &((struct listener *)l)->selectors;
}

void net_open_listeners(lua_State *L)
{
    static const struct select_source source = {is_ready, is_closed, selectors};
    static const luaL_Reg methods[] = {{"accept", accept_},
                                       {"serve", serve},
                                       {"start", start},
                                       {"shutdown", shutdown_},
                                       {"protocol", net_listener_protocol},
                                       {"close", close_},
                                       {"set_tls", net_set_tls},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__gc", collect}, {"__close", close_}, {"__tostring", to_string}, {NULL, NULL}};
    static const struct object_property properties[] = {{"host", get_host, NULL},
                                                        {"port", get_port, NULL},
                                                        {"path", get_path, NULL},
                                                        {"fd", get_fd, NULL},
                                                        {NULL, NULL, NULL}};
    object_class_new(L, OBJECT_LISTENER,
                     &(struct object_class){"listener", methods, meta, properties, false});
    runtime_of(L)->kinds[OBJECT_LISTENER].source = &source;
}
