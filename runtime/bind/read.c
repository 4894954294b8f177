/* Reading from a stream: its own forms, and those of Lua's files. */
#include "bind/stream.h"
#include "core/tasklet.h"
#include "net/scan.h"

#include <errno.h>
#include <string.h>

/* Which function reads; with the number of its arguments and the one it is at, the
** context of its continuation. The last three are those of Lua's own files. */
enum read_op {
    OP_READ,
    OP_SOME,
    OP_UNTIL,
    OP_LINES,
    OP_FILE_READ,
    OP_FILE_LINES,
    OP_IO_READ /* no method: its arguments count from 1 */
};

static bool of_file(enum read_op op)
{
    return op >= OP_FILE_READ;
}

struct read_state {
    enum read_op op;
    int nargs, at; /* arguments behind the stream; the one at hand, from 0 */
};

static lua_KContext encode(struct read_state r)
{
    return (lua_KContext)r.op | (lua_KContext)r.nargs << 4 | (lua_KContext)r.at << 16;
}

static struct read_state decode(lua_KContext ctx)
{
    return (struct read_state){(enum read_op)(ctx & 15), (int)(ctx >> 4 & 4095),
                               (int)(ctx >> 16)};
}

size_t net_size_argument(lua_State *L, int i, lua_Integer fallback)
{
    lua_Integer n = luaL_optinteger(L, i, fallback);
    luaL_argcheck(L, n >= 0, i, "a size cannot be negative");
    return (size_t)n;
}

/* The format at index i, as Lua's files take it: no line is too long for them. */
static struct request parse_file_format(lua_State *L, int i, enum read_op op)
{
    if (lua_type(L, i) == LUA_TNUMBER) {
        size_t n = (size_t)luaL_checkinteger(L, i);
        return (struct request){.kind = n > 0 ? READ_COUNT : READ_TEST, .n = n};
    }
    int arg = op == OP_IO_READ ? i - 1 : i;
    if (lua_type(L, i) != LUA_TSTRING)
        luaL_argerror(L, arg,
                      lua_pushfstring(L, "string expected, got %s", luaL_typename(L, i)));
    const char *format = lua_tostring(L, i);
    switch (format[*format == '*']) {
    case 'n':
        return (struct request){.kind = READ_NUMBER};
    case 'l':
        return (struct request){.kind = READ_LINE, .n = SIZE_MAX};
    case 'L':
        return (struct request){.kind = READ_LINE_KEPT, .n = SIZE_MAX};
    case 'a':
        return (struct request){.kind = READ_ALL};
    default:
        luaL_argerror(L, arg, "invalid format");
        return (struct request){0};
    }
}

/* The format at index i, as in io. */
static struct request parse_format(lua_State *L, int i, const struct stream *s)
{
    if (lua_type(L, i) == LUA_TNUMBER)
        return (struct request){.kind = READ_COUNT, .n = net_size_argument(L, i, 0)};
    const char *format = luaL_checkstring(L, i);
    if (*format == '*')
        format++;
    switch (*format) {
    case 'l':
        return (struct request){.kind = READ_LINE, .n = s->max_line};
    case 'L':
        return (struct request){.kind = READ_LINE_KEPT, .n = s->max_line};
    case 'a':
        return (struct request){.kind = READ_ALL};
    default:
        luaL_argerror(L, i, "invalid format");
        return (struct request){0};
    }
}

static struct request parse(lua_State *L, const struct stream *s, const struct read_state *r)
{
    struct request q = {0};
    switch (r->op) {
    case OP_SOME:
        q.kind = READ_SOME;
        q.n = net_size_argument(L, 2, READ_BUFFER);
        luaL_argcheck(L, q.n > 0, 2, "a size cannot be 0");
        return q;
    case OP_UNTIL:
        q.kind = READ_UNTIL;
        q.delimiter = luaL_checklstring(L, 2, &q.delimiter_length);
        luaL_argcheck(L, q.delimiter_length > 0, 2, "an empty delimiter");
        q.n = net_size_argument(L, 3, (lua_Integer)s->max_line);
        return q;
    case OP_FILE_READ:
    case OP_FILE_LINES:
    case OP_IO_READ:
        return parse_file_format(L, 2 + r->at, r->op);
    default:
        return parse_format(L, 2 + r->at, s);
    }
}

enum read_result { READ_DONE, READ_ENDED, READ_FAILED, READ_WAITS, READ_PAUSES };

/* Takes the numeral at the beginning of the input, unless more could belong to it. */
static enum read_result read_number(lua_State *L, struct stream *s, bool ended)
{
    struct numeral m = {0};
    m.n = stream_input(s, &m.p);
    scan_numeral(&m);
    if (m.dry && !ended)
        return READ_WAITS;
    stream_take(s, m.at);
    if (lua_stringtonumber(L, m.text))
        return READ_DONE;
    lua_pushnil(L);
    return READ_ENDED;
}

/* Gives what is left at the end of the stream. */
static enum read_result at_end(lua_State *L, struct stream *s, const struct request *q)
{
    const char *p;
    if (q->kind == READ_NUMBER)
        return read_number(L, s, true);
    size_t n = stream_input(s, &p);
    if (n == 0 && q->kind != READ_ALL) {
        lua_pushnil(L);
        return READ_ENDED;
    }
    lua_pushlstring(L, p, n);
    stream_take(s, n);
    return READ_DONE;
}

/* Pushes what is asked for if the n bytes at p, the input, hold it. */
static enum read_result take_input(lua_State *L, struct stream *s, const struct request *q,
                                   const char *p, size_t n)
{
    size_t drop, length = scan_end(q, p, n, &s->scanned, &drop);
    bool limited = q->kind <= READ_LINE_KEPT || q->kind == READ_UNTIL;
    if (limited && (length > 0 ? length - drop : n) > q->n) {
        lua_pushnil(L);
        lua_pushliteral(L, "line too long");
        lua_pushliteral(L, "EMSGSIZE");
        return READ_FAILED;
    }
    if (length > 0) {
        lua_pushlstring(L, p, length - drop);
        stream_take(s, length);
        return READ_DONE;
    }
    if (q->kind == READ_NUMBER)
        return read_number(L, s, false);
    if (q->kind != READ_TEST)
        return READ_WAITS;
    lua_pushliteral(L, "");
    return READ_DONE;
}

/* Pushes what is asked for; or nil at the end; or nil, err, code. */
static enum read_result read_one(lua_State *L, struct stream *s, const struct request *q)
{
    if (q->kind == READ_COUNT && q->n == 0) {
        lua_pushliteral(L, "");
        return READ_DONE;
    }
    for (;;) {
        const char *p;
        size_t n = stream_input(s, &p);
        enum read_result taken = n > 0 ? take_input(L, s, q, p, n) : READ_WAITS;
        if (taken != READ_WAITS)
            return taken;
        if (s->hot && net_must_give_way(L))
            return READ_PAUSES;
        int got = stream_fill(s);
        if (got == 0)
            return at_end(L, s, q);
        if (got == -EAGAIN)
            return READ_WAITS;
        if (got < 0) {
            net_push_failure(L, s, "read", -got);
            return READ_FAILED;
        }
    }
}

/* What Lua's files give instead of nil, err, code: the errno, and no results before it. */
static int file_failed(lua_State *L, struct stream *s, int first)
{
    int error = s->closed ? EBADF : s->in_error;
    lua_settop(L, first - 1);
    lua_pushnil(L);
    lua_pushstring(L, s->closed ? "closed" : strerror(error));
    lua_pushinteger(L, error);
    return 3;
}

/* The last results of a read, whose turn ends. */
static int read_ends(lua_State *L, struct stream *s, const struct read_state *r, bool failed)
{
    if (s->reading.owner && s->reading.owner == runtime_of(L)->current)
        turn_give(s->rt, &s->reading);
    int first = r->nargs + 3, n = lua_gettop(L) - first + 1;
    if (of_file(r->op) && failed)
        n = file_failed(L, s, first);
    if (r->op == OP_FILE_LINES && lua_isnil(L, first))
        return n > 1 ? luaL_error(L, "%s", lua_tostring(L, first + 1)) : 0;
    if (r->op == OP_LINES && lua_isnil(L, first) && n == 3) {
        if (strcmp(lua_tostring(L, first + 2), "ECLOSED") != 0)
            return bind_raise(L);
        lua_settop(L, first);
        n = 1;
    }
    return n;
}

static int read_failed(lua_State *L, struct stream *s, lua_KContext ctx, enum wake why);
static int read_k(lua_State *L, int status, lua_KContext ctx);
static int turn_k(lua_State *L, int status, lua_KContext ctx);

static int go_on_reading(lua_State *L, struct stream *s, struct read_state r)
{
    while (r.at < r.nargs) {
        struct request q = parse(L, s, &r);
        enum read_result got = read_one(L, s, &q);
        if (got == READ_WAITS && of_file(r.op) && bind_must_block(L)) {
            stream_block_for_input(s);
            continue;
        }
        if (got == READ_WAITS) {
            wait_check(L);
            stream_want_input(s);
            return wait_on(L, &s->reader, net_time_left(L, r.nargs + 2), encode(r), read_k);
        }
        if (got == READ_PAUSES) {
            s->reading.owner = runtime_of(L)->current;
            if (net_time_left(L, r.nargs + 2) <= 0)
                return read_failed(L, s, encode(r), WAKE_TIMEOUT);
            return net_give_way(L, encode(r), read_k);
        }
        if (got != READ_DONE || r.op == OP_UNTIL || r.op == OP_SOME)
            return read_ends(L, s, &r, got == READ_FAILED);
        r.at++;
    }
    return read_ends(L, s, &r, false);
}

static int read_failed(lua_State *L, struct stream *s, lua_KContext ctx, enum wake why)
{
    struct read_state r = decode(ctx);
    net_push_end(L, why);
    return read_ends(L, s, &r, true);
}

static int read_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    struct stream *s = lua_touserdata(L, 1);
    enum wake why;
    if (net_wait_ended(L, &s->reading, &why))
        return read_failed(L, s, ctx, why);
    return s->closed ? read_failed(L, s, ctx, WAKE_CLOSED) : go_on_reading(L, s, decode(ctx));
}

/* It is this tasklet's turn to read; it may look for something else than the one before. */
static int turn_k(lua_State *L, int status, lua_KContext ctx)
{
    struct stream *s = lua_touserdata(L, 1);
    s->scanned = 0;
    return read_k(L, status, ctx);
}

/* A terminal goes on behind its end, a file may have grown. */
static void look_again(struct stream *s)
{
    if (s->ended || s->in_error)
        s->hot = true;
    s->ended = false;
    s->in_error = 0;
}

/* Starts a read of s, at 1, whose arguments are at 2..top. */
static int start_reading(lua_State *L, struct stream *s, enum read_op op)
{
    struct read_state r = {.op = op, .nargs = lua_gettop(L) - 1};
    luaL_argcheck(L, r.nargs < 200, 200, "too many formats");
    luaL_checkstack(L, r.nargs + 10, NULL); /* the results */
    net_push_deadline(L, s->timeout);
    if (s->closed)
        return read_failed(L, s, encode(r), WAKE_CLOSED);
    if (of_file(op))
        look_again(s);
    if (s->reading.owner) {
        wait_check(L);
        return wait_on(L, &s->reading.queue, net_time_left(L, r.nargs + 2), encode(r), turn_k);
    }
    s->scanned = 0;
    return go_on_reading(L, s, r);
}

/* s:read(...) */
int net_stream_read(lua_State *L)
{
    struct stream *s = net_check_stream(L);
    if (lua_gettop(L) < 2) {
        lua_settop(L, 1);
        lua_pushliteral(L, "l");
    }
    if (net_must_shake(s))
        return net_shake_first(L, net_stream_read, false);
    return start_reading(L, s, OP_READ);
}

int net_read_file(lua_State *L, bool method)
{
    if (lua_gettop(L) == 1)
        lua_pushliteral(L, "l");
    return start_reading(L, net_check_stream(L), method ? OP_FILE_READ : OP_IO_READ);
}

int net_read_file_line(lua_State *L)
{
    return start_reading(L, net_check_stream(L), OP_FILE_LINES);
}

/* s:read_some([max]): what has arrived */
int net_stream_read_some(lua_State *L)
{
    lua_settop(L, 2);
    struct stream *s = net_check_stream(L);
    if (net_must_shake(s))
        return net_shake_first(L, net_stream_read_some, false);
    return start_reading(L, s, OP_SOME);
}

/* s:read_until(delimiter[, max]): up to and including the delimiter */
int net_stream_read_until(lua_State *L)
{
    lua_settop(L, 3);
    struct stream *s = net_check_stream(L);
    if (net_must_shake(s))
        return net_shake_first(L, net_stream_read_until, false);
    return start_reading(L, s, OP_UNTIL);
}

static int next_line(lua_State *L)
{
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, lua_upvalueindex(2));
    struct stream *s = net_check_stream(L);
    if (net_must_shake(s))
        return net_shake_first(L, next_line, true);
    return start_reading(L, s, OP_LINES);
}

/* s:lines([format]) */
int net_stream_lines(lua_State *L)
{
    struct stream *s = net_check_stream(L);
    lua_settop(L, 2);
    if (lua_isnil(L, 2)) {
        lua_pushliteral(L, "l");
        lua_replace(L, 2);
    }
    parse_format(L, 2, s);
    lua_pushcclosure(L, next_line, 2);
    return 1;
}

/* s:unread(text): it is read next */
int net_stream_unread(lua_State *L)
{
    struct stream *s = net_check_stream(L);
    size_t n;
    const char *p = luaL_checklstring(L, 2, &n);
    if (s->closed)
        return net_push_end(L, WAKE_CLOSED);
    if (stream_unread(s, p, n) < 0)
        return luaL_error(L, "not enough memory");
    lua_settop(L, 1);
    return 1;
}
