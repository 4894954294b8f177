/* A request as its handler sees it, and the writer of a streamed answer: API.md section 10. */
#define _GNU_SOURCE
#include "bind/http.h"

#include "core/deferred.h"
#include "core/sched.h"
#include "core/tasklet.h"

#include <errno.h>
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

/* ---- waits of a handler ---- */

enum wake http_input_came(lua_State *L, struct stream *s)
{
    struct runtime *rt = runtime_of(L);
    if (s->reading.owner == rt->current)
        turn_give(rt, &s->reading);
    return wait_result(L);
}

enum wake http_room_came(lua_State *L, struct stream *s)
{
    struct runtime *rt = runtime_of(L);
    if (s->writing.owner == rt->current)
        turn_give(rt, &s->writing);
    return wait_result(L);
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

/* User value: the request. */
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
        push_table(L, f);
        lua_pushvalue(L, 2);
        lua_rawget(L, -2);
    } else {
        push_header(L, f->request, name, n);
    }
    return 1;
}

static void push_fields(lua_State *L, int i, const struct request *q, bool arguments)
{
    struct fields *f = object_new(L, OBJECT_HTTP_FIELDS, sizeof *f, 1);
    f->request = q;
    f->arguments = arguments;
    lua_pushvalue(L, i);
    lua_setiuservalue(L, -2, 1);
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
    if (!c)
        return 0;
    if (c->gone) {
        deferred_settle(L, 2, true, 0);
        return 0;
    }
    return wait_on(L, &c->leaving, HUGE_VAL, 0, left);
}

/* Pushes a deferred that fires when the client has left. */
static void push_gone(lua_State *L, struct request *q)
{
    deferred_push(L, 0);
    if (!q->connection)
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

/* ---- the body ---- */

static int body_failed(lua_State *L, int error)
{
    switch (error) {
    case ECONNRESET:
        lua_pushnil(L);
        lua_pushliteral(L, "closed");
        lua_pushliteral(L, "ECONNRESET");
        return 3;
    case EBADMSG:
        return net_push_error(L, "body", EBADMSG);
    case EMSGSIZE:
        return net_push_error(L, "body", EMSGSIZE);
    case ENOMEM:
        return luaL_error(L, "not enough memory");
    default:
        return net_push_end(L, WAKE_TIMEOUT);
    }
}

enum { WHOLE, SOME };

static int body_came(lua_State *L, int status, lua_KContext ctx);
static int body_room(lua_State *L, int status, lua_KContext ctx);

static int give_body(lua_State *L, struct connection *c)
{
    struct buffer *b = &c->in;
    lua_pushlstring(L, buffer_length(b) ? buffer_bytes(b) : "", buffer_length(b));
    buffer_free(b, &c->server->rt->memory);
    return 1;
}

/* The connection of the request at 1, if the handler still may read; else NULL. */
static struct connection *reading(lua_State *L)
{
    struct connection *c = check(L)->connection;
    if (!c || c->upgraded || c->gone || c->stream->closed)
        return NULL;
    if (!list_empty(&c->stream->reader.waiters))
        luaL_error(L, "another tasklet reads this body");
    return c;
}

static uint64_t body_limit(lua_State *L, struct connection *c, lua_KContext kind)
{
    uint64_t most = kind == WHOLE ? c->server->limits.max_body : c->server->limits.max_stream;
    if (kind == WHOLE && !lua_isnil(L, 2))
        most = (uint64_t)lua_tointeger(L, 2);
    return most;
}

/* The frame: the request, max. */
static int go_on_reading(lua_State *L, lua_KContext kind)
{
    struct connection *c = reading(L);
    if (!c)
        return net_push_end(L, WAKE_CLOSED);
    if (c->refused)
        return body_failed(L, c->refused == 413 ? EMSGSIZE : EBADMSG);
    uint64_t most = body_limit(L, c, kind);
    size_t piece = kind == SOME && !lua_isnil(L, 2) ? (size_t)lua_tointeger(L, 2) : OUT_ENOUGH;
    for (;;) {
        if (c->body.size > most || (c->body.framing == BODY_LENGTH && c->body.left > most)) {
            connection_refuse(c, 413);
            return body_failed(L, EMSGSIZE);
        }
        int got = connection_read_body(c, piece);
        if (got == 1 && kind == WHOLE)
            continue;
        if (got == 0 && kind == SOME && buffer_length(&c->in) == 0) {
            lua_pushnil(L);
            return 1;
        }
        if (got >= 0 && c->body.size <= most)
            return give_body(L, c);
        if (got >= 0)
            continue;
        if (got != -EAGAIN && got != -ENOBUFS)
            return body_failed(L, -got);
        wait_check(L);
        c->wait_began = runtime_now(c->server->rt);
        if (got == -EAGAIN) {
            stream_want_input(c->stream);
            return wait_on(L, &c->stream->reader, connection_body_time(c), kind, body_came);
        }
        stream_want_room(c->stream);
        return wait_on(L, &c->stream->writer, c->server->limits.write_timeout, kind, body_room);
    }
}

static int body_came(lua_State *L, int status, lua_KContext kind)
{
    (void)status;
    struct connection *c = check(L)->connection;
    if (!c)
        return wait_result(L), net_push_end(L, WAKE_CLOSED);
    c->waited += runtime_now(c->server->rt) - c->wait_began;
    enum wake why = http_input_came(L, c->stream);
    if (why == WAKE_TIMEOUT) {
        connection_refuse(c, 408);
        return net_push_end(L, why);
    }
    return why == WAKE_CLOSED ? net_push_end(L, why) : go_on_reading(L, kind);
}

static int body_room(lua_State *L, int status, lua_KContext kind)
{
    (void)status;
    struct connection *c = check(L)->connection;
    if (!c)
        return wait_result(L), net_push_end(L, WAKE_CLOSED);
    enum wake why = http_room_came(L, c->stream);
    return why == WAKE_SERVED ? go_on_reading(L, kind) : net_push_end(L, why);
}

static int start_reading(lua_State *L, lua_KContext kind)
{
    check(L);
    lua_settop(L, 2);
    luaL_argcheck(L, luaL_optinteger(L, 2, 1) > (kind == WHOLE ? -1 : 0), 2, "out of range");
    return go_on_reading(L, kind);
}

/* req:body([max]): all of it */
static int body(lua_State *L)
{
    return start_reading(L, WHOLE);
}

/* req:read_some([max]): what has come of it; nil at its end */
static int read_some(lua_State *L)
{
    return start_reading(L, SOME);
}

/* ---- the answer's head ---- */

struct answer_head {
    uint64_t length;
    bool whole, dated;
};

static bool is_one_of(const char *name, const char *const *names)
{
    while (*names && strcasecmp(name, *names) != 0)
        names++;
    return *names;
}

/* Puts the value on the top under the name at index `name`; NULL, or what is wrong. */
static const char *put_field(lua_State *L, struct connection *c, int name,
                             struct answer_head *a)
{
    static const char *const hop[] = {"connection",        "keep-alive", "proxy-connection",
                                      "transfer-encoding", "te",         "trailer",
                                      "upgrade",           NULL};
    size_t n, m;
    const char *p = lua_tolstring(L, name, &n);
    const char *v = lua_isstring(L, -1) ? lua_tolstring(L, -1, &m) : NULL;
    if (!v)
        return "a header's value is no text";
    for (size_t i = 0; i < n; i++)
        if (!head_is_token((unsigned char)p[i]))
            return "a bad header name";
    if (n == 0)
        return "a bad header name";
    if (memchr(v, '\r', m) || memchr(v, '\n', m) || memchr(v, '\0', m))
        return "a header's value with CR, LF or NUL";
    if (strcasecmp(p, "content-length") == 0) {
        int whole;
        lua_Integer length = lua_tointegerx(L, -1, &whole);
        if (!whole || length < 0)
            return "a bad Content-Length";
        if (a->length == UINT64_MAX || (c->head.is_head && a->length == 0))
            a->length = (uint64_t)length;
        return NULL;
    }
    if (strcasecmp(p, "connection") == 0 && strcasestr(v, "close"))
        c->keep = false;
    if (is_one_of(p, hop))
        return NULL;
    a->dated |= strcasecmp(p, "date") == 0;
    connection_field(c, p, n, v, m);
    return NULL;
}

/* The same for a value that may be a list. */
static const char *put_values(lua_State *L, struct connection *c, int name,
                              struct answer_head *a)
{
    const char *wrong = NULL;
    if (lua_type(L, name) != LUA_TSTRING)
        return "a header's name is no text";
    if (!lua_istable(L, -1))
        return put_field(L, c, name, a);
    int t = lua_gettop(L);
    for (lua_Integer i = 1; !wrong && lua_rawgeti(L, t, i) != LUA_TNIL; i++) {
        wrong = put_field(L, c, name, a);
        lua_settop(L, t);
    }
    lua_settop(L, t);
    return wrong;
}

void http_begin_answer(lua_State *L, struct connection *c, int status, int h, uint64_t length)
{
    struct answer_head a = {.length = length};
    int top = lua_gettop(L);
    const char *wrong = NULL;
    connection_begin_head(c, status);
    if (h) {
        luaL_checkstack(L, 8, NULL);
        for (lua_pushnil(L); lua_next(L, h); lua_settop(L, top + 1)) {
            lua_pushvalue(L, -1);
            wrong = put_values(L, c, top + 1, &a);
            if (wrong)
                break;
        }
    }
    if (wrong) {
        connection_drop_head(c);
        lua_pushvalue(L, top + 1);
        luaL_error(L, "%s ('%s')", wrong, luaL_tolstring(L, -1, NULL));
    }
    lua_settop(L, top);
    connection_end_head(c, status, a.length, a.dated);
}

/* ---- the writer ---- */

/* User value: the request. */
struct writer {
    struct object object;
    struct request *request;
    bool closed;
};

static struct writer *check_writer(lua_State *L)
{
    return object_check(L, 1, OBJECT_HTTP_WRITER);
}

/* req:respond(status[, headers]): a writer of its body */
static int respond(lua_State *L)
{
    struct request *q = check(L);
    lua_Integer status = luaL_checkinteger(L, 2);
    luaL_argcheck(L, status >= 200 && status <= 599, 2, "a status is 200 to 599");
    if (!lua_isnoneornil(L, 3))
        luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 3);
    struct writer *w = object_new(L, OBJECT_HTTP_WRITER, sizeof *w, 1);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    w->request = q;
    struct connection *c = q->connection;
    if (!c || c->gone || c->stream->closed) {
        w->closed = true;
        return 1;
    }
    if (c->answered || c->upgraded)
        return luaL_error(L, "this request has been answered");
    if (!c->refused)
        http_begin_answer(L, c, (int)status, lua_isnil(L, 3) ? 0 : 3, UINT64_MAX);
    w->closed = c->refused != 0;
    return 1;
}

/* The connection of the writer at 1; NULL: nothing can be written any more. */
static struct connection *writing(lua_State *L)
{
    struct writer *w = check_writer(L);
    struct connection *c = w->request->connection;
    return !w->closed && c && !c->ended && !c->gone && !c->stream->closed ? c : NULL;
}

static int written(lua_State *L, int status, lua_KContext offset);

/* The frame: the writer, the text. Turns at writing are the stream's. */
static int go_on_writing(lua_State *L, size_t offset)
{
    struct connection *c = writing(L);
    if (!c)
        return net_push_end(L, WAKE_CLOSED);
    struct stream *s = c->stream;
    size_t n;
    const char *p = lua_tolstring(L, 2, &n);
    bool first = offset == 0;
    while (offset < n || first) {
        size_t piece = n - offset < OUT_ENOUGH / 2 ? n - offset : OUT_ENOUGH / 2;
        if (s->writing.owner) {
            wait_check(L);
            return wait_on(L, &s->writing.queue, c->server->limits.write_timeout,
                           (lua_KContext)offset, written);
        }
        if (c->out_framing == OUT_LENGTH && piece > c->out_left)
            return luaL_error(L, "the body is longer than its Content-Length");
        connection_piece(c, p + offset, piece);
        offset += piece;
        first = false;
        int f = connection_flush(c);
        if (f == -EAGAIN) {
            wait_check(L);
            stream_want_room(s);
            return wait_on(L, &s->writer, c->server->limits.write_timeout,
                           (lua_KContext)(offset ? offset : n), written);
        }
        if (f < 0)
            return net_push_end(L, WAKE_CLOSED);
    }
    lua_settop(L, 1);
    return 1;
}

static int written(lua_State *L, int status, lua_KContext offset)
{
    (void)status;
    struct connection *c = check_writer(L)->request->connection;
    if (!c)
        return wait_result(L), net_push_end(L, WAKE_CLOSED);
    enum wake why = http_room_came(L, c->stream);
    if (why == WAKE_TIMEOUT) {
        c->keep = false;
        stream_close(c->stream);
    }
    if (why != WAKE_SERVED)
        return net_push_end(L, why);
    if ((size_t)offset < lua_rawlen(L, 2) || offset == 0)
        return go_on_writing(L, (size_t)offset);
    lua_settop(L, 1);
    return 1;
}

/* w:write(...): the writer; waits while the client does not read */
static int writer_write(lua_State *L)
{
    check_writer(L);
    for (int i = 2; i <= lua_gettop(L); i++)
        luaL_checkstring(L, i);
    if (lua_gettop(L) > 2)
        lua_concat(L, lua_gettop(L) - 1);
    luaL_checkany(L, 2);
    if (lua_rawlen(L, 2) == 0) { /* an empty chunk would be the end */
        lua_settop(L, 1);
        return writing(L) ? 1 : net_push_end(L, WAKE_CLOSED);
    }
    return go_on_writing(L, 0);
}

/* w:close(): the body is complete */
static int writer_close(lua_State *L)
{
    struct writer *w = check_writer(L);
    struct connection *c = writing(L);
    if (w->closed)
        return 0;
    w->closed = true;
    if (!c)
        return net_push_end(L, WAKE_CLOSED);
    connection_end_body(c);
    connection_flush(c);
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- upgrade ---- */

static int upgrade_room(lua_State *L, int status, lua_KContext ctx);

/* req:upgrade(): the raw stream; what came behind the request is read first */
static int upgrade(lua_State *L)
{
    struct connection *c = check(L)->connection;
    if (!c || c->gone || c->stream->closed)
        return net_push_end(L, WAKE_CLOSED);
    if (c->answered || c->upgraded)
        return luaL_error(L, "this request has been answered");
    int f = connection_flush(c);
    if (f == -EAGAIN) {
        wait_check(L);
        stream_want_room(c->stream);
        return wait_on(L, &c->stream->writer, c->server->limits.write_timeout, 0, upgrade_room);
    }
    if (f < 0)
        return net_push_end(L, WAKE_CLOSED);
    c->upgraded = true;
    c->stream->unread = NULL;
    lua_getiuservalue(L, 1, REQUEST_CONNECTION);
    lua_getiuservalue(L, -1, CONNECTION_STREAM);
    return 1;
}

static int upgrade_room(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct connection *c = check(L)->connection;
    enum wake why = c ? http_room_came(L, c->stream) : wait_result(L);
    return c && why == WAKE_SERVED ? upgrade(L) : net_push_end(L, why);
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
    static const luaL_Reg methods[] = {{"body", body},
                                       {"read_some", read_some},
                                       {"respond", respond},
                                       {"upgrade", upgrade},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__newindex", request_set}, {"__tostring", request_tostring}, {NULL, NULL}};
    static const luaL_Reg fields_meta[] = {
        {"__index", fields_index}, {"__pairs", fields_pairs}, {NULL, NULL}};
    static const luaL_Reg writer_methods[] = {
        {"write", writer_write}, {"close", writer_close}, {NULL, NULL}};
    static const luaL_Reg writer_meta[] = {{"__close", writer_close}, {NULL, NULL}};
    static const struct object_property none[] = {{NULL, NULL, NULL}};
    object_class_new(L, OBJECT_HTTP_REQUEST,
                     &(struct object_class){.name = "request", .metamethods = meta});
    add_index(L, OBJECT_HTTP_REQUEST, methods);
    object_class_new(L, OBJECT_HTTP_FIELDS,
                     &(struct object_class){.name = "fields", .metamethods = fields_meta});
    object_class_new(
        L, OBJECT_HTTP_WRITER,
        &(struct object_class){"writer", writer_methods, writer_meta, none, false});
}
