/* What a handler answers with: the head of an answer, the writer of a streamed one, and the
** taking over of the stream. */
#define _GNU_SOURCE
#include "bind/http.h"

#include "core/tasklet.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <strings.h>

static struct request *check(lua_State *L)
{
    return object_check(L, 1, OBJECT_HTTP_REQUEST);
}

/* ---- the head ---- */

struct answer_head {
    uint64_t length;
    bool whole, dated;
};

#define NAME_IS(p, n, name) ((n) == sizeof(name) - 1 && strncasecmp(p, name, n) == 0)

/* A field that is about the connection, which is the server's business. */
static bool is_hop(const char *p, size_t n)
{
    switch (n) {
    case 2:
        return NAME_IS(p, n, "te");
    case 7:
        return NAME_IS(p, n, "trailer") || NAME_IS(p, n, "upgrade");
    case 10:
        return NAME_IS(p, n, "connection") || NAME_IS(p, n, "keep-alive");
    case 16:
        return NAME_IS(p, n, "proxy-connection");
    case 17:
        return NAME_IS(p, n, "transfer-encoding");
    default:
        return false;
    }
}

/* Puts a field; NULL, or what is wrong. */
static const char *put_text(struct connection *c, const char *p, size_t n, const char *v,
                            size_t m, struct answer_head *a)
{
    for (size_t i = 0; i < n; i++)
        if (!head_is(p[i], HEAD_TOKEN))
            return "a bad header name";
    if (n == 0)
        return "a bad header name";
    if (memchr(v, '\r', m) || memchr(v, '\n', m) || memchr(v, '\0', m))
        return "a header's value with CR, LF or NUL";
    if (NAME_IS(p, n, "connection") && strcasestr(v, "close"))
        c->keep = false;
    if (is_hop(p, n))
        return NULL;
    a->dated |= NAME_IS(p, n, "date");
    connection_field(c, p, n, v, m);
    return NULL;
}

/* The length on the top, as the handler gave it. */
static const char *put_length(lua_State *L, struct connection *c, struct answer_head *a)
{
    int whole;
    lua_Integer length = lua_tointegerx(L, -1, &whole);
    if (!whole || length < 0)
        return "a bad Content-Length";
    if (a->length == UINT64_MAX || (c->head.is_head && a->length == 0))
        a->length = (uint64_t)length;
    return NULL;
}

/* Puts the value on the top under the name at index `name`; NULL, or what is wrong. */
static const char *put_value(lua_State *L, struct connection *c, int name,
                             struct answer_head *a)
{
    size_t n, m;
    const char *p = lua_tolstring(L, name, &n);
    const char *v = lua_isstring(L, -1) ? lua_tolstring(L, -1, &m) : NULL;
    if (!v)
        return "a header's value is no text";
    if (NAME_IS(p, n, "content-length"))
        return put_length(L, c, a);
    return put_text(c, p, n, v, m, a);
}

/* The same for a value that may be a list. */
static const char *put_values(lua_State *L, struct connection *c, int name,
                              struct answer_head *a)
{
    const char *wrong = NULL;
    if (lua_type(L, name) != LUA_TSTRING)
        return "a header's name is no text";
    if (!lua_istable(L, -1))
        return put_value(L, c, name, a);
    int t = lua_gettop(L);
    for (lua_Integer i = 1; !wrong && lua_rawgeti(L, t, i) != LUA_TNIL; i++) {
        wrong = put_value(L, c, name, a);
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

/* Puts the field whose name and value are on the top, if both are texts and good. */
static bool put_plain(lua_State *L, struct connection *c, struct answer_head *a)
{
    size_t n, m;
    if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
        return false;
    const char *p = lua_tolstring(L, -2, &n), *v = lua_tolstring(L, -1, &m);
    return !NAME_IS(p, n, "content-length") && !put_text(c, p, n, v, m, a);
}

bool http_begin_plain_answer(lua_State *L, struct connection *c, int status, int h,
                             uint64_t length)
{
    struct answer_head a = {.length = length};
    bool keep = c->keep;
    connection_begin_head(c, status);
    if (h) {
        for (lua_pushnil(L); lua_next(L, h); lua_pop(L, 1)) {
            if (!put_plain(L, c, &a)) {
                lua_pop(L, 2);
                connection_drop_head(c);
                c->keep = keep;
                return false;
            }
        }
    }
    connection_end_head(c, status, a.length, a.dated);
    return true;
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
int http_respond(lua_State *L)
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
            return wait_on(L, &s->writing.queue, HUGE_VAL, (lua_KContext)offset, written);
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
            return wait_on(L, &s->writer, connection_write_time(c),
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

/* w:write(...): what a stream takes; the writer. Waits while the client does not read */
static int writer_write(lua_State *L)
{
    check_writer(L);
    net_join_pieces(L);
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
int http_upgrade(lua_State *L)
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
        return wait_on(L, &c->stream->writer, connection_write_time(c), 0, upgrade_room);
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
    return c && why == WAKE_SERVED ? http_upgrade(L) : net_push_end(L, why);
}

void http_open_answers(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"write", writer_write}, {"close", writer_close}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__close", writer_close}, {NULL, NULL}};
    static const struct object_property none[] = {{NULL, NULL, NULL}};
    object_class_new(L, OBJECT_HTTP_WRITER,
                     &(struct object_class){"writer", methods, meta, none, false});
}
