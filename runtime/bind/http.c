/* The HTTP server as scripts see it: what lua/neap/http.lua makes http.serve of. */
#include "bind/http.h"

#include "core/sched.h"
#include "core/tasklet.h"
#include "net/listener.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { ACCEPT_BATCH = 64, REST_MAX = 1024 };

enum { CALLER_OF_CALLER = 2 }; /* of http.serve, which calls serve */

static const struct wait_class full_class = {.what = "room for a client", .outside = true};
static const struct wait_class drained_class = {.what = "the end of a server", .outside = true};

static struct http_server *check(lua_State *L)
{
    return object_check(L, 1, OBJECT_HTTP_SERVER);
}

/* ---- connections ---- */

static int connection_ends(lua_State *L)
{
    struct connection *c = object_check(L, 1, OBJECT_HTTP_CONNECTION);
    if (c->request) {
        c->request->connection = NULL;
        c->request->left = c->gone;
    }
    c->request = NULL;
    connection_close(c);
    return 0;
}

/* Collected: its tasklet was dropped; the request that it was at is garbage too. */
static int connection_gc(lua_State *L)
{
    connection_close(object_check(L, 1, OBJECT_HTTP_CONNECTION));
    return 0;
}

/* ---- accepting ---- */

/* The frame of who accepts: the listener, the server, its handler, where http.serve was
** called, and a spare stream and connection. */
enum { LISTENER = 1, SERVER, HANDLER, SITE, STREAM, CONNECTION };

static void spawn(lua_State *L, struct http_server *server, int fd, const struct address *peer)
{
    struct runtime *rt = runtime_of(L);
    struct stream *s = lua_touserdata(L, STREAM);
    struct connection *c = lua_touserdata(L, CONNECTION);
    stream_init(s, rt, fd);
    net_accept_tls(L, lua_touserdata(L, LISTENER), s);
    connection_open(c, server, s);
    c->peer = *peer;
    struct tasklet *t = tasklet_new(L);
    c->task = t;
    lua_pushcfunction(L, http_serve_connection);
    lua_pushvalue(L, SERVER);
    lua_pushvalue(L, HANDLER);
    lua_pushvalue(L, STREAM);
    lua_pushvalue(L, CONNECTION);
    tasklet_bind_at(L, CONNECTION + 1, 4, SITE, server->line);
    sched_append(rt, t);
}

/* A connection's userdata, with its stream, before there is a client. */
static void push_spare(lua_State *L)
{
    net_new_stream(L);
    object_new(L, OBJECT_HTTP_CONNECTION, sizeof(struct connection), CONNECTION_VALUES);
    lua_pushvalue(L, STREAM);
    lua_setiuservalue(L, -2, CONNECTION_STREAM);
    lua_pushvalue(L, SERVER);
    lua_setiuservalue(L, -2, CONNECTION_SERVER);
}

static int accepting(lua_State *L, int status, lua_KContext ctx);

static int accept_on(lua_State *L)
{
    struct http_server *server = lua_touserdata(L, SERVER);
    struct listener *l = lua_touserdata(L, LISTENER);
    struct runtime *rt = runtime_of(L);
    size_t most = server->limits.max_connections;
    struct address peer;
    for (int n = 0; n < ACCEPT_BATCH; n++) {
        if (lua_gettop(L) < CONNECTION)
            push_spare(L);
        if (most && server->count >= most && !l->closed)
            return wait_on(L, &server->full, HUGE_VAL, 0, accepting);
        int fd = listener_accept(l, &peer);
        if (fd == -EAGAIN) {
            listener_want(l);
            return wait_on(L, &l->acceptors, HUGE_VAL, 0, accepting);
        }
        if (fd == -EBADF)
            return 0;
        if (fd < 0) {
            net_push_error(L, "accept", -fd);
            return bind_raise(L);
        }
        spawn(L, server, fd, &peer);
        lua_settop(L, SITE);
    }
    sched_append(rt, rt->current);
    return wait_switch(L, 0, accepting);
}

static int accepting(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return wait_result(L) == WAKE_CLOSED ? 0 : accept_on(L);
}

/* The body of the server's own tasklet, with the frame down to the site. */
static int accept_clients(lua_State *L)
{
    return accept_on(L);
}

/* Takes in those who are connected already; the frame is the same. */
static int accept_rest(lua_State *L)
{
    struct http_server *server = lua_touserdata(L, SERVER);
    struct listener *l = lua_touserdata(L, LISTENER);
    size_t most = server->limits.max_connections;
    struct address peer;
    l->hot = l->hot || list_empty(&l->starved);
    for (int n = 0; n < REST_MAX && (!most || server->count < most); n++) {
        push_spare(L);
        int fd = listener_accept(l, &peer);
        if (fd < 0)
            break;
        spawn(L, server, fd, &peer);
        lua_settop(L, SITE);
    }
    return 0;
}

static void push_frame(lua_State *L, int server)
{
    lua_getiuservalue(L, server, SERVER_LISTENER);
    lua_pushvalue(L, server);
    lua_getiuservalue(L, server, SERVER_HANDLER);
    lua_getiuservalue(L, server, SERVER_SITE);
}

/* ---- the server ---- */

static double number(lua_State *L, const char *name)
{
    lua_getfield(L, 2, name);
    double n = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return n;
}

/* A count; a negative one: no limit. */
static uint64_t count(lua_State *L, const char *name)
{
    double n = number(L, name);
    return n < 0 || n >= 1e15 ? UINT64_MAX : (uint64_t)n;
}

static void set_limits(lua_State *L, struct http_limits *l)
{
    l->head.bytes = count(L, "max_head");
    l->head.fields = count(L, "max_headers");
    l->max_body = count(L, "max_body");
    l->max_stream = count(L, "max_stream");
    l->max_connections = count(L, "max_connections");
    l->head_timeout = number(L, "head_timeout");
    l->idle_timeout = number(L, "idle_timeout");
    l->body_timeout = number(L, "body_timeout");
    l->write_timeout = number(L, "write_timeout");
}

/* Pushes the function that has called http.serve; the line in it, or -1. */
static int push_site(lua_State *L)
{
    lua_Debug ar;
    if (!lua_getstack(L, CALLER_OF_CALLER, &ar)) {
        lua_pushnil(L);
        return -1;
    }
    lua_getinfo(L, "fl", &ar);
    return ar.currentline;
}

/* serve(listener, limits, handler, reactor, on_request): the server, which has begun. The
** limits are checked and complete. */
static int serve(lua_State *L)
{
    struct listener *l = object_check(L, 1, OBJECT_LISTENER);
    luaL_checktype(L, 2, LUA_TTABLE);
    bind_check_callable(L, 3);
    lua_settop(L, 5);
    struct http_server *server =
        object_new(L, OBJECT_HTTP_SERVER, sizeof *server, SERVER_VALUES);
    server->rt = l->rt;
    list_init(&server->connections);
    list_init(&server->idle);
    wait_queue_init(&server->full, &full_class);
    wait_queue_init(&server->drained, &drained_class);
    server->reactor = lua_toboolean(L, 4);
    server->logs = !lua_isnil(L, 5);
    set_limits(L, &server->limits);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 6, SERVER_LISTENER);
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, 6, SERVER_HANDLER);
    server->line = push_site(L);
    lua_setiuservalue(L, 6, SERVER_SITE);
    lua_pushvalue(L, 5);
    lua_setiuservalue(L, 6, SERVER_HOOK);
    lua_pushcfunction(L, accept_clients);
    push_frame(L, 6);
    tasklet_spawn(L, 4, CALLER_OF_CALLER);
    lua_settop(L, 6);
    return 1;
}

static struct listener *listener_of(lua_State *L)
{
    lua_getiuservalue(L, 1, SERVER_LISTENER);
    struct listener *l = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return l;
}

/* One that waits for its next request takes what has come already, and ends. */
static void end_waiting(struct http_server *server, struct connection *c)
{
    struct stream *s = c->stream;
    if (c->request || c->begun || c->task->state != TASKLET_BLOCKED ||
        c->task->on != &s->reader)
        return;
    s->hot = true;
    wait_wake(server->rt, c->task, WAKE_SERVED);
}

/* Accepts no more, and ends the connections on which no request is at hand, or closes all but
** the one of the running handler. */
static void end_connections(lua_State *L, struct http_server *server, bool all)
{
    struct list *node, *next;
    server->draining = server->closed = true;
    listener_close(listener_of(L));
    wait_wake_all(server->rt, &server->full, WAKE_CLOSED);
    for (node = server->connections.next; node != &server->connections; node = next) {
        struct connection *c = container_of(node, struct connection, all);
        next = node->next;
        if (!all) {
            end_waiting(server, c);
        } else if (c->task != server->rt->current) {
            connection_leave(c);
            stream_close(c->stream);
        }
    }
}

static void push_own(lua_State *L, struct http_server *server)
{
    struct list *node;
    int own = 0;
    list_each(node, &server->connections)
        own += container_of(node, struct connection, all)->task == server->rt->current;
    lua_pushinteger(L, own);
}

/* server:close(): connections end at their next read or write; for handlers it is as if the
** clients had left */
static int close_(lua_State *L)
{
    struct http_server *server = check(L);
    if (server->rt)
        end_connections(L, server, true);
    return 0;
}

/* Cuts what is left; how many. */
static int cut_rest(lua_State *L, struct http_server *server)
{
    lua_Integer n = 0;
    struct list *node = server->connections.next;
    while (node != &server->connections) {
        struct connection *c = container_of(node, struct connection, all);
        if (c->task == server->rt->current) {
            node = node->next;
            continue;
        }
        n += c->request || c->begun;
        c->awaits = false; /* the cut itself cancels what it waits for */
        connection_leave(c);
        stream_close(c->stream);
        tasklet_cut(server->rt, c->task);
        list_remove(&c->all); /* if it had not begun, it is still there */
        node = server->connections.next;
    }
    lua_pushinteger(L, n);
    return 1;
}

static int drained(lua_State *L, int status, lua_KContext cuts);

/* The frame: the server, the moment at which the rest is cut, connections of its own. */
static int go_on_draining(lua_State *L, lua_KContext cuts)
{
    struct http_server *server = lua_touserdata(L, 1);
    double left = lua_tonumber(L, 2) - runtime_now(server->rt);
    if (server->closed && server->count <= (size_t)lua_tointeger(L, 3)) {
        lua_pushinteger(L, 0);
        return 1;
    }
    if (cuts && left <= 0)
        return cut_rest(L, server);
    wait_check(L);
    return wait_on(L, &server->drained, left > 0 ? left : 0, cuts, drained);
}

static int drained(lua_State *L, int status, lua_KContext cuts)
{
    (void)status;
    wait_result(L);
    return go_on_draining(L, cuts);
}

/* server:shutdown([grace]): running answers are finished, at `grace` seconds the rest is cut;
** how many */
static int shutdown_(lua_State *L)
{
    struct http_server *server = check(L);
    double grace = wait_timeout(L, 2);
    wait_check(L);
    if (!server->closed) {
        lua_pushcfunction(L, accept_rest);
        push_frame(L, 1);
        lua_call(L, 4, 0);
    }
    end_connections(L, server, false);
    lua_settop(L, 1);
    lua_pushnumber(L, runtime_now(server->rt) + grace);
    push_own(L, server);
    return go_on_draining(L, 1);
}

/* server:wait(): until it is closed, and its last connection too */
static int wait_(lua_State *L)
{
    struct http_server *server = check(L);
    lua_settop(L, 1);
    lua_pushnumber(L, HUGE_VAL);
    push_own(L, server);
    return go_on_draining(L, 0);
}

/* Pushes a copy of the options of TLS at index i that tells clients what is spoken here. */
static void push_tls_options(lua_State *L, int i)
{
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, i);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
    if (lua_getfield(L, -1, "alpn") == LUA_TNIL) {
        lua_newtable(L);
        lua_pushliteral(L, "http/1.1");
        lua_rawseti(L, -2, 1);
        lua_setfield(L, -3, "alpn");
    }
    lua_pop(L, 1);
}

/* tls_options(opts): what the listener's are to be */
static int tls_options(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    push_tls_options(L, 1);
    return 1;
}

/* server:set_tls(opts): for the clients that come from now on; the server, or nil, err, code */
static int set_tls(lua_State *L)
{
    check(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    lua_pushcfunction(L, net_set_tls);
    lua_getiuservalue(L, 1, SERVER_LISTENER);
    push_tls_options(L, 2);
    lua_call(L, 2, 3);
    if (lua_isnil(L, 3))
        return 3;
    lua_settop(L, 1);
    return 1;
}

static void get_port(lua_State *L, void *server)
{
    char host[ADDRESS_TEXT];
    (void)server;
    int port = address_format(&listener_of(L)->address, host);
    port >= 0 ? lua_pushinteger(L, port) : lua_pushnil(L);
}

static void get_draining(lua_State *L, void *server)
{
    lua_pushboolean(L, ((struct http_server *)server)->draining);
}

static void get_connections(lua_State *L, void *server)
{
    lua_pushinteger(L, (lua_Integer)((struct http_server *)server)->count);
}

int bind_open_http(lua_State *L)
{
    static const luaL_Reg functions[] = {{"serve", serve},
                                         {"tls_options", tls_options},
                                         {"open_file", http_open_file},
                                         {NULL, NULL}};
    static const luaL_Reg methods[] = {{"wait", wait_},
                                       {"close", close_},
                                       {"shutdown", shutdown_},
                                       {"set_tls", set_tls},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__close", close_}, {NULL, NULL}};
    static const luaL_Reg connection_meta[] = {
        {"__close", connection_ends}, {"__gc", connection_gc}, {NULL, NULL}};
    static const struct object_property properties[] = {{"port", get_port, NULL},
                                                        {"draining", get_draining, NULL},
                                                        {"connections", get_connections, NULL},
                                                        {NULL, NULL, NULL}};
    object_class_new(L, OBJECT_HTTP_SERVER,
                     &(struct object_class){"http server", methods, meta, properties, false});
    object_class_new(
        L, OBJECT_HTTP_CONNECTION,
        &(struct object_class){.name = "http connection", .metamethods = connection_meta});
    http_open_files(L);
    http_open_requests(L);
    http_open_answers(L);
    luaL_newlib(L, functions);
    return 1;
}
