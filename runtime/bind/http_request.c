/* A request as its handler sees it: what its head says. */
#define _GNU_SOURCE
#include "bind/http.h"

#include "core/deferred.h"
#include "core/tasklet.h"

#include <math.h>
#include <string.h>
#include <strings.h>

static struct request *check(lua_State *L)
{
    return object_check(L, 1, OBJECT_HTTP_REQUEST);
}

void http_push_request(lua_State *L, struct connection *c, int connection)
{
    struct request *q =
        object_new(L, OBJECT_HTTP_REQUEST, sizeof *q + c->head.length, REQUEST_VALUES);
    const char *p;
    lua_pushvalue(L, connection);
    lua_setiuservalue(L, -2, REQUEST_CONNECTION);
    stream_input(c->stream, &p);
    q->head = c->head;
    memcpy(q->bytes, p, c->head.length);
    stream_take(c->stream, c->head.length);
    q->connection = c;
    c->request = q;
}

/* ---- text of a head ---- */

static int hex(char c)
{
    return c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
}

/* Pushes the n bytes at p with %xx undone, and with `plus` + as a space. */
static void push_decoded(lua_State *L, const char *p, size_t n, bool plus)
{
    if (!memchr(p, '%', n) && !(plus && memchr(p, '+', n))) {
        lua_pushlstring(L, p, n);
        return;
    }
    luaL_Buffer b;
    char *start = luaL_buffinitsize(L, &b, n), *to = start;
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '%') {
            *to++ = (char)(hex(p[i + 1]) * 16 + hex(p[i + 2]));
            i += 2;
        } else {
            *to++ = plus && p[i] == '+' ? ' ' : p[i];
        }
    }
    luaL_pushresultsize(&b, (size_t)(to - start));
}

/* The raw query at *p; false: there is none. */
static bool find_query(const struct request *q, const char **p, size_t *n)
{
    size_t at = q->head.path_at + q->head.path_length;
    size_t end = q->head.target_at + q->head.target_length;
    *p = q->bytes + at + 1;
    *n = at < end ? end - at - 1 : 0;
    return at < end;
}

struct line {
    const char *name, *value;
    size_t name_length, value_length;
};

/* The next field of a head that has been checked; *at: where it begins, 0 at first. */
static bool next_field(const struct request *q, size_t *at, struct line *f)
{
    const char *p = q->bytes + (*at ? *at : q->head.fields_at);
    const char *end = q->bytes + q->head.length - 2;
    if (p >= end)
        return false;
    const char *cr = memchr(p, '\r', (size_t)(end + 1 - p));
    const char *colon = memchr(p, ':', (size_t)(cr - p)), *value = colon + 1;
    *f = (struct line){.name = p, .name_length = (size_t)(colon - p)};
    *at = (size_t)(cr + 2 - q->bytes);
    while (value < cr && (*value == ' ' || *value == '\t'))
        value++;
    while (cr > value && (cr[-1] == ' ' || cr[-1] == '\t'))
        cr--;
    f->value = value;
    f->value_length = (size_t)(cr - value);
    return true;
}

/* The next part name=value of a query; *at: where it begins. */
static bool next_argument(const char *p, size_t n, size_t *at, struct line *f)
{
    while (*at < n && p[*at] == '&')
        ++*at;
    if (*at >= n)
        return false;
    const char *begin = p + *at, *end = memchr(begin, '&', n - *at);
    end = end ? end : p + n;
    const char *is = memchr(begin, '=', (size_t)(end - begin));
    *f = (struct line){begin, is ? is + 1 : end, (size_t)((is ? is : end) - begin),
                       is ? (size_t)(end - is - 1) : 0};
    *at = (size_t)(end - p);
    return true;
}

/* ---- headers and arguments ---- */

/* Its user values: the request; of arguments, a table of all that are decoded. */
enum { FIELDS_REQUEST = 1, FIELDS_TABLE, FIELDS_VALUES = FIELDS_TABLE };

struct fields {
    struct object object;
    const struct request *request;
    bool arguments;
};

/* Pushes the name in lower case. */
static void push_lower(lua_State *L, const char *p, size_t n)
{
    luaL_Buffer b;
    char *to = luaL_buffinitsize(L, &b, n);
    for (size_t i = 0; i < n; i++)
        to[i] = p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] | 32) : p[i];
    luaL_pushresultsize(&b, n);
}

/* Visits the next field or argument and pushes its name and value. */
static bool push_next(lua_State *L, const struct fields *f, size_t *at)
{
    struct line l;
    const char *p;
    size_t n;
    if (!f->arguments) {
        if (!next_field(f->request, at, &l))
            return false;
        push_lower(L, l.name, l.name_length);
        lua_pushlstring(L, l.value, l.value_length);
        return true;
    }
    if (!find_query(f->request, &p, &n) || !next_argument(p, n, at, &l))
        return false;
    push_decoded(L, l.name, l.name_length, true);
    push_decoded(L, l.value, l.value_length, true);
    return true;
}

/* fields:all(name): a list of its values */
static int all(lua_State *L)
{
    struct fields *f = object_check(L, 1, OBJECT_HTTP_FIELDS);
    size_t n, at = 0;
    const char *name = luaL_checklstring(L, 2, &n);
    lua_Integer count = 0;
    lua_settop(L, 2);
    if (!f->arguments) {
        push_lower(L, name, n);
        lua_replace(L, 2);
    }
    lua_newtable(L);
    while (push_next(L, f, &at)) {
        if (lua_rawequal(L, -2, 2))
            lua_rawseti(L, 3, ++count);
        lua_settop(L, 3);
    }
    return 1;
}

/* Adds the value on the top to what the table at `t` has under the name below it. */
static void add_value(lua_State *L, const struct fields *f, int t)
{
    lua_pushvalue(L, -2);
    bool had = lua_rawget(L, t) != LUA_TNIL;
    if (had && !f->arguments) {
        if (strcmp(lua_tostring(L, -3), "set-cookie") == 0) {
            lua_pop(L, 3);
            return;
        }
        lua_pushliteral(L, ", ");
        lua_pushvalue(L, -3);
        lua_concat(L, 3);
        lua_replace(L, -2);
    } else {
        lua_pop(L, 1);
    }
    lua_rawset(L, t);
}

/* Pushes a table of all. */
static void push_table(lua_State *L, const struct fields *f)
{
    size_t at = 0;
    lua_newtable(L);
    int t = lua_gettop(L);
    while (push_next(L, f, &at))
        add_value(L, f, t);
}

static int fields_pairs(lua_State *L)
{
    struct fields *f = object_check(L, 1, OBJECT_HTTP_FIELDS);
    lua_getglobal(L, "next");
    push_table(L, f);
    return 2;
}

/* Pushes the argument named at 2: all are decoded once. */
static void push_argument(lua_State *L, const struct fields *f)
{
    if (lua_getiuservalue(L, 1, FIELDS_TABLE) == LUA_TNIL) {
        push_table(L, f);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, FIELDS_TABLE);
    }
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
}

/* Pushes the value of a header, or nil: without making a table. */
static void push_header(lua_State *L, const struct request *q, const char *name, size_t n)
{
    struct line l;
    size_t at = 0;
    int found = 0;
    while (next_field(q, &at, &l)) {
        if (l.name_length != n || strncasecmp(l.name, name, n) != 0)
            continue;
        if (found++)
            lua_pushliteral(L, ", ");
        lua_pushlstring(L, l.value, l.value_length);
        if (found > 1)
            lua_concat(L, 3);
        if (n == 10 && strncasecmp(name, "set-cookie", 10) == 0)
            return;
    }
    if (!found)
        lua_pushnil(L);
}

static int fields_index(lua_State *L)
{
    struct fields *f = object_check(L, 1, OBJECT_HTTP_FIELDS);
    size_t n;
    if (lua_type(L, 2) != LUA_TSTRING)
        return 0;
    const char *name = lua_tolstring(L, 2, &n);
    if (strcmp(name, "all") == 0) {
        lua_pushcfunction(L, all);
    } else if (f->arguments) {
        push_argument(L, f);
    } else {
        push_header(L, f->request, name, n);
    }
    return 1;
}

static void push_fields(lua_State *L, int i, const struct request *q, bool arguments)
{
    struct fields *f = object_new(L, OBJECT_HTTP_FIELDS, sizeof *f, FIELDS_VALUES);
    f->request = q;
    f->arguments = arguments;
    lua_pushvalue(L, i);
    lua_setiuservalue(L, -2, FIELDS_REQUEST);
}

/* ---- gone ---- */

static int left(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    if (wait_result(L) != WAKE_SERVED) /* the request is over */
        return 0;
    lua_settop(L, 2);
    deferred_settle(L, 2, true, 0);
    return 0;
}

/* The body of a tasklet that lasts as long as the request: request, deferred. */
static int watch_leaving(lua_State *L)
{
    struct request *q = lua_touserdata(L, 1);
    struct connection *c = q->connection;
    if (c ? c->gone : q->left)
        deferred_settle(L, 2, true, 0);
    else if (c)
        return wait_on(L, &c->leaving, HUGE_VAL, 0, left);
    return 0;
}

/* Pushes a deferred that fires when the client has left. */
static void push_gone(lua_State *L, struct request *q)
{
    deferred_push(L, 0);
    if (!q->connection && !q->left)
        return;
    lua_pushcfunction(L, watch_leaving);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -3);
    tasklet_spawn(L, 2, 1);
    lua_pop(L, 1);
    if (q->connection && !q->connection->stream->closed && !q->connection->stream->ended)
        stream_want_input(q->connection->stream);
}

/* ---- properties ---- */

static void push_property(lua_State *L, struct request *q, const char *name)
{
    const struct head *h = &q->head;
    const char *p;
    size_t n;
    if (strcmp(name, "method") == 0)
        lua_pushlstring(L, q->bytes, h->method_length);
    else if (strcmp(name, "path") == 0)
        push_decoded(L, h->path_length ? q->bytes + h->path_at : "/",
                     h->path_length ? h->path_length : 1, false);
    else if (strcmp(name, "headers") == 0)
        push_fields(L, 1, q, false);
    else if (strcmp(name, "args") == 0)
        push_fields(L, 1, q, true);
    else if (strcmp(name, "target") == 0)
        lua_pushlstring(L, q->bytes + h->target_at, h->target_length);
    else if (strcmp(name, "host") == 0 && h->host_length > 0)
        lua_pushlstring(L, q->bytes + h->host_at, h->host_length);
    else if (strcmp(name, "query") == 0 && find_query(q, &p, &n))
        lua_pushlstring(L, p, n);
    else if (strcmp(name, "version") == 0)
        lua_pushfstring(L, "1.%d", (int)h->minor);
    else if (strcmp(name, "peer") == 0 && q->connection)
        net_push_peer(L, &q->connection->peer);
    else if (strcmp(name, "gone") == 0)
        push_gone(L, q);
    else
        lua_pushnil(L);
}

/* Pushes the table of what scripts set. */
static void push_own(lua_State *L)
{
    if (lua_getiuservalue(L, 1, REQUEST_TABLE) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, REQUEST_TABLE);
    }
}

static bool is_costly(const char *name)
{
    static const char *const names[] = {"headers", "args", "peer", "gone", NULL};
    const char *const *n = names;
    while (*n && strcmp(*n, name) != 0)
        n++;
    return *n;
}

/* __index; upvalue: the methods */
static int request_index(lua_State *L)
{
    struct request *q = check(L);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    if (lua_getiuservalue(L, 1, REQUEST_TABLE) == LUA_TTABLE) {
        lua_pushvalue(L, 2);
        if (lua_rawget(L, -2) != LUA_TNIL)
            return 1;
    }
    if (lua_type(L, 2) != LUA_TSTRING)
        return 0;
    const char *name = lua_tostring(L, 2);
    push_property(L, q, name);
    if (is_costly(name)) {
        push_own(L);
        lua_pushvalue(L, 2);
        lua_pushvalue(L, -3);
        lua_rawset(L, -3);
        lua_pop(L, 1);
    }
    return 1;
}

/* __newindex: handlers and what lies around them may keep things in a request */
static int request_set(lua_State *L)
{
    check(L);
    push_own(L);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_rawset(L, -3);
    return 0;
}

static int request_tostring(lua_State *L)
{
    struct request *q = check(L);
    lua_pushlstring(L, q->bytes, q->head.method_length);
    lua_pushlstring(L, q->bytes + q->head.target_at, q->head.target_length);
    lua_pushfstring(L, "request: %s %s", lua_tostring(L, -2), lua_tostring(L, -1));
    return 1;
}

/* ---- classes ---- */

/* Gives a class whose metamethod __index has its methods for an upvalue. */
static void add_index(lua_State *L, enum object_kind kind, const luaL_Reg *methods)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime_of(L)->kinds[kind].ref);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_pushcclosure(L, request_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void http_open_requests(lua_State *L)
{
    static const luaL_Reg methods[] = {{"body", http_body},
                                       {"read_some", http_read_some},
                                       {"respond", http_respond},
                                       {"upgrade", http_upgrade},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__newindex", request_set}, {"__tostring", request_tostring}, {NULL, NULL}};
    static const luaL_Reg fields_meta[] = {
        {"__index", fields_index}, {"__pairs", fields_pairs}, {NULL, NULL}};
    object_class_new(L, OBJECT_HTTP_REQUEST,
                     &(struct object_class){.name = "request", .metamethods = meta});
    add_index(L, OBJECT_HTTP_REQUEST, methods);
    object_class_new(L, OBJECT_HTTP_FIELDS,
                     &(struct object_class){.name = "fields", .metamethods = fields_meta});
}
