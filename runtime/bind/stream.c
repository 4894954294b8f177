/* Streams as scripts see them: API.md section 8.
**
** A read or a write may wait several times. Its state lies on its own frame: the stream,
** the arguments, then the moment at which it times out, then the results so far. The
** continuation's context says where it is. */
#define _GNU_SOURCE
#include "net/stream.h"

#include "bind/net.h"
#include "core/sched.h"
#include "core/select.h"
#include "core/tasklet.h"
#include "net/option.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct stream *check(lua_State *L)
{
    return object_check(L, 1, OBJECT_STREAM);
}

struct stream *net_new_stream(lua_State *L)
{
    struct stream *s = object_new(L, OBJECT_STREAM, sizeof *s, 0);
    s->rt = runtime_of(L);
    s->fd = -1;
    list_init(&s->all);
    s->closed = true; /* until stream_init */
    return s;
}

/* Pushes the moment at which an operation that begins now times out. */
static void push_deadline(lua_State *L, const struct stream *s)
{
    lua_pushnumber(L, s->timeout < HUGE_VAL ? runtime_now(s->rt) + s->timeout : HUGE_VAL);
}

/* Seconds left until the moment at index i. */
static double time_left(lua_State *L, int i)
{
    double at = lua_tonumber(L, i);
    double left = at < HUGE_VAL ? at - runtime_now(runtime_of(L)) : HUGE_VAL;
    return left > 0 ? left : 0;
}

/* What a wait that ended without being served gives; raises what was thrown in. A turn
** that had just been given to this tasklet goes on to the next. */
static bool wait_ended(lua_State *L, struct turn *turn, enum wake *why)
{
    struct runtime *rt = runtime_of(L);
    if (rt->current->wake == WAKE_RAISE && turn->owner == rt->current)
        turn_give(rt, turn);
    *why = wait_result(L);
    return *why != WAKE_SERVED;
}

/* Reads or writes in a row that find the kernel ready, after which a tasklet gives way: a
** peer that never stops must not keep the others from running. */
#ifdef NEAP_STRESS
enum { MAX_BURST = 1 }; /* every second one gives way */
#else
enum { MAX_BURST = 32 };
#endif

bool net_must_give_way(lua_State *L)
{
    return ++runtime_of(L)->burst > MAX_BURST && wait_possible(L);
}

int net_give_way(lua_State *L, lua_KContext ctx, lua_KFunction k)
{
    struct runtime *rt = runtime_of(L);
    sched_append(rt, rt->current);
    return wait_switch(L, ctx, k);
}

/* ---- reading ---- */

enum { NUMERAL_MAX = 200 };

enum read_kind {
    READ_LINE,
    READ_LINE_KEPT,
    READ_ALL,
    READ_COUNT,
    READ_SOME,
    READ_UNTIL,
    READ_NUMBER, /* the next two: files only */
    READ_TEST    /* a count of 0: whether there is more */
};

struct request {
    enum read_kind kind;
    size_t n; /* bytes; of a line or a read_until: at most */
    const char *delimiter;
    size_t delimiter_length;
};

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

static size_t size_argument(lua_State *L, int i, lua_Integer fallback)
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
        return (struct request){.kind = READ_COUNT, .n = size_argument(L, i, 0)};
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
        q.n = size_argument(L, 2, READ_BUFFER);
        luaL_argcheck(L, q.n > 0, 2, "a size cannot be 0");
        return q;
    case OP_UNTIL:
        q.kind = READ_UNTIL;
        q.delimiter = luaL_checklstring(L, 2, &q.delimiter_length);
        luaL_argcheck(L, q.delimiter_length > 0, 2, "an empty delimiter");
        q.n = size_argument(L, 3, (lua_Integer)s->max_line);
        return q;
    case OP_FILE_READ:
    case OP_FILE_LINES:
    case OP_IO_READ:
        return parse_file_format(L, 2 + r->at, r->op);
    default:
        return parse_format(L, 2 + r->at, s);
    }
}

/* Where what is asked for ends in the n bytes at p, 0 if they do not hold it; *drop: bytes
** at its end that are not given. */
static size_t find_end(struct stream *s, const struct request *q, const char *p, size_t n,
                       size_t *drop)
{
    const char *end;
    size_t overlap;
    *drop = 0;
    switch (q->kind) {
    case READ_LINE:
    case READ_LINE_KEPT:
        end = n > s->scanned ? memchr(p + s->scanned, '\n', n - s->scanned) : NULL;
        s->scanned = n;
        *drop = q->kind == READ_LINE;
        return end ? (size_t)(end - p) + 1 : 0;
    case READ_UNTIL:
        overlap = q->delimiter_length - 1;
        size_t from = s->scanned > overlap ? s->scanned - overlap : 0;
        end = n > from ? memmem(p + from, n - from, q->delimiter, q->delimiter_length) : NULL;
        s->scanned = n;
        return end ? (size_t)(end - p) + q->delimiter_length : 0;
    case READ_COUNT:
        return n >= q->n ? q->n : 0;
    case READ_SOME:
        return n < q->n ? n : q->n;
    default:
        return 0;
    }
}

/* A numeral, as Lua's files read one: the longest beginning of the input that could be one. */
struct numeral {
    const char *p;
    size_t n, at;
    bool dry; /* the input ends where more could belong to it */
    bool too_long;
    int length;
    char text[NUMERAL_MAX + 1];
};

static int look(struct numeral *m)
{
    if (m->at < m->n)
        return (unsigned char)m->p[m->at];
    m->dry = true;
    return -1;
}

static bool keep(struct numeral *m)
{
    if (m->length == NUMERAL_MAX)
        m->too_long = true;
    else
        m->text[m->length++] = m->p[m->at++];
    return !m->too_long;
}

/* Keeps the next character if it is one of the two. */
static bool keep_one_of(struct numeral *m, char a, char b)
{
    int c = look(m);
    return c >= 0 && (c == a || c == b) && keep(m);
}

static int keep_digits(struct numeral *m, bool hex)
{
    int n = 0;
    for (int c = look(m); c >= 0 && (hex ? isxdigit(c) : isdigit(c)) && keep(m); c = look(m))
        n++;
    return n;
}

static void scan_numeral(struct numeral *m)
{
    bool hex = false;
    int digits = 0;
    char point = *localeconv()->decimal_point;
    while (look(m) >= 0 && isspace(look(m)))
        m->at++;
    keep_one_of(m, '+', '-');
    if (keep_one_of(m, '0', '0')) {
        hex = keep_one_of(m, 'x', 'X');
        digits = !hex;
    }
    digits += keep_digits(m, hex);
    if (keep_one_of(m, point, point))
        digits += keep_digits(m, hex);
    if (digits > 0 && (hex ? keep_one_of(m, 'p', 'P') : keep_one_of(m, 'e', 'E'))) {
        keep_one_of(m, '+', '-');
        keep_digits(m, false);
    }
    m->text[m->too_long ? 0 : m->length] = '\0';
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

/* Pushes what is asked for; or nil at the end; or nil, err, code. */
static enum read_result read_one(lua_State *L, struct stream *s, const struct request *q)
{
    for (;;) {
        const char *p;
        size_t drop, n = stream_input(s, &p), length = find_end(s, q, p, n, &drop);
        bool limited = q->kind <= READ_LINE_KEPT || q->kind == READ_UNTIL;
        if (q->kind == READ_TEST && n > 0) {
            lua_pushliteral(L, "");
            return READ_DONE;
        }
        if (length > 0 || (q->kind == READ_COUNT && q->n == 0)) {
            if (!limited || length - drop <= q->n) {
                lua_pushlstring(L, p, length - (length ? drop : 0));
                stream_take(s, length);
                return READ_DONE;
            }
        }
        if (limited && (length > 0 || n > q->n)) {
            lua_pushnil(L);
            lua_pushliteral(L, "line too long");
            lua_pushliteral(L, "EMSGSIZE");
            return READ_FAILED;
        }
        if (q->kind == READ_NUMBER && read_number(L, s, false) != READ_WAITS)
            return lua_isnil(L, -1) ? READ_ENDED : READ_DONE;
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
        luaL_checkstack(L, 4, NULL);
        enum read_result got = read_one(L, s, &q);
        if (got == READ_WAITS && of_file(r.op) && bind_must_block(L)) {
            stream_block_for_input(s);
            continue;
        }
        if (got == READ_WAITS) {
            wait_check(L);
            stream_want_input(s);
            return wait_on(L, &s->reader, time_left(L, r.nargs + 2), encode(r), read_k);
        }
        if (got == READ_PAUSES) {
            s->reading.owner = runtime_of(L)->current;
            if (time_left(L, r.nargs + 2) <= 0)
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
    if (wait_ended(L, &s->reading, &why))
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

/* Starts a read whose arguments are at 2..top. */
static int start_reading(lua_State *L, enum read_op op)
{
    struct stream *s = check(L);
    struct read_state r = {.op = op, .nargs = lua_gettop(L) - 1};
    luaL_argcheck(L, r.nargs < 200, 200, "too many formats");
    push_deadline(L, s);
    if (s->closed)
        return read_failed(L, s, encode(r), WAKE_CLOSED);
    if (of_file(op))
        look_again(s);
    if (s->reading.owner) {
        wait_check(L);
        return wait_on(L, &s->reading.queue, time_left(L, r.nargs + 2), encode(r), turn_k);
    }
    s->scanned = 0;
    return go_on_reading(L, s, r);
}

/* s:read(...) */
static int read_(lua_State *L)
{
    if (lua_gettop(L) < 2) {
        lua_settop(L, 1);
        lua_pushliteral(L, "l");
    }
    if (net_must_shake(check(L)))
        return net_shake_first(L, read_, false);
    return start_reading(L, OP_READ);
}

int net_read_file(lua_State *L, bool method)
{
    if (lua_gettop(L) == 1)
        lua_pushliteral(L, "l");
    return start_reading(L, method ? OP_FILE_READ : OP_IO_READ);
}

int net_read_file_line(lua_State *L)
{
    return start_reading(L, OP_FILE_LINES);
}

/* s:read_some([max]): what has arrived */
static int read_some(lua_State *L)
{
    lua_settop(L, 2);
    if (net_must_shake(check(L)))
        return net_shake_first(L, read_some, false);
    return start_reading(L, OP_SOME);
}

/* s:read_until(delimiter[, max]): up to and including the delimiter */
static int read_until(lua_State *L)
{
    lua_settop(L, 3);
    if (net_must_shake(check(L)))
        return net_shake_first(L, read_until, false);
    return start_reading(L, OP_UNTIL);
}

static int next_line(lua_State *L)
{
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, lua_upvalueindex(2));
    if (net_must_shake(check(L)))
        return net_shake_first(L, next_line, true);
    return start_reading(L, OP_LINES);
}

/* s:lines([format]) */
static int lines(lua_State *L)
{
    struct stream *s = check(L);
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
static int unread(lua_State *L)
{
    struct stream *s = check(L);
    size_t n;
    const char *p = luaL_checklstring(L, 2, &n);
    if (s->closed)
        return net_push_end(L, WAKE_CLOSED);
    if (stream_unread(s, p, n) < 0)
        return luaL_error(L, "not enough memory");
    lua_settop(L, 1);
    return 1;
}

/* ---- writing ---- */

enum { MAX_NESTING = 100 };

/* Copies a string, a number, or a table of such, to `to` (NULL: only measures it). How
** many bytes. */
static size_t copy_piece(lua_State *L, int i, char *to, const char *end, int nesting)
{
    size_t n, total = 0;
    if (lua_type(L, i) != LUA_TTABLE) {
        luaL_argexpected(L, lua_isstring(L, i), 2, "string or table of strings");
        lua_pushvalue(L, i); /* a number in a table must stay one */
        const char *p = lua_tolstring(L, -1, &n);
        /* to make a number's text may collect, and a finalizer change the table */
        luaL_argcheck(L, !to || n <= (size_t)(end - to), 2, "changed while it is written");
        if (to)
            memcpy(to, p, n);
        lua_pop(L, 1);
        return n;
    }
    luaL_argcheck(L, nesting < MAX_NESTING, 2, "tables nested too deeply");
    luaL_checkstack(L, 10, NULL);
    lua_Integer count = (lua_Integer)lua_rawlen(L, i);
    for (lua_Integer k = 1; k <= count; k++) {
        lua_rawgeti(L, i, k);
        total += copy_piece(L, lua_gettop(L), to ? to + total : NULL, end, nesting + 1);
        lua_pop(L, 1);
    }
    return total;
}

void net_join_pieces(lua_State *L)
{
    int top = lua_gettop(L);
    luaL_checkany(L, 2);
    if (top == 2 && lua_isstring(L, 2)) {
        lua_tostring(L, 2);
        return;
    }
    size_t total = 0;
    luaL_Buffer b;
    for (int i = 2; i <= top; i++)
        total += copy_piece(L, i, NULL, NULL, 0);
    char *start = luaL_buffinitsize(L, &b, total), *to = start;
    for (int i = 2; i <= top; i++)
        to += copy_piece(L, i, to, start + total, 0);
    luaL_pushresultsize(&b, (size_t)(to - start));
    lua_replace(L, 2);
    lua_settop(L, 2);
}

static int write_k(lua_State *L, int status, lua_KContext sent);

static int write_ends(lua_State *L, struct stream *s, int results)
{
    if (s->writing.owner && s->writing.owner == runtime_of(L)->current)
        turn_give(s->rt, &s->writing);
    return results;
}

static int written(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    wait_result(L);
    lua_settop(L, 1);
    return 1;
}

static int go_on_writing(lua_State *L, struct stream *s, size_t sent)
{
    size_t n;
    const char *p = lua_tolstring(L, 2, &n);
    while (sent < n) {
        ssize_t r = stream_send(s, p + sent, n - sent);
        if (r < 0)
            return write_ends(L, s, net_push_failure(L, s, "write", (int)-r));
        sent += (size_t)r;
        if (sent == n)
            break;
        wait_check(L);
        stream_want_room(s);
        return wait_on(L, &s->writer, time_left(L, 3), (lua_KContext)sent, write_k);
    }
    write_ends(L, s, 0);
    if (net_must_give_way(L))
        return net_give_way(L, 0, written);
    lua_settop(L, 1);
    return 1;
}

static int write_k(lua_State *L, int status, lua_KContext sent)
{
    (void)status;
    struct stream *s = lua_touserdata(L, 1);
    enum wake why;
    if (wait_ended(L, &s->writing, &why) || s->closed)
        return write_ends(L, s, net_push_end(L, s->closed ? WAKE_CLOSED : why));
    return go_on_writing(L, s, (size_t)sent);
}

/* s:write(...): the stream, when all is handed over or buffered */
static int write_(lua_State *L)
{
    struct stream *s = check(L);
    if (net_must_shake(s))
        return net_shake_first(L, write_, false);
    if (s->standard)
        bind_make_room(L); /* what print has left comes first */
    net_join_pieces(L);
    if (s->closed)
        return net_push_end(L, WAKE_CLOSED);
    if (s->shut)
        return net_push_error(L, "write", EPIPE);
    push_deadline(L, s);
    if (s->writing.owner) {
        wait_check(L);
        return wait_on(L, &s->writing.queue, time_left(L, 3), 0, write_k);
    }
    return go_on_writing(L, s, 0);
}

static int flushed(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct stream *s = lua_touserdata(L, 1);
    enum wake why = wait_result(L);
    if (why != WAKE_SERVED)
        return net_push_end(L, why);
    if (s->out_error)
        return net_push_failure(L, s, "flush", s->out_error);
    lua_settop(L, 1);
    return 1;
}

/* s:flush(): waits until the kernel has it all */
static int flush(lua_State *L)
{
    struct stream *s = check(L);
    lua_settop(L, 1);
    if (s->closed)
        return net_push_end(L, WAKE_CLOSED);
    if (s->out_error)
        return net_push_failure(L, s, "flush", s->out_error);
    if (buffer_length(&s->output) == 0)
        return 1;
    wait_check(L);
    return wait_on(L, &s->flushers, s->timeout, 0, flushed);
}

/* ---- the rest ---- */

/* s:shutdown(): ends our direction */
static int shutdown_(lua_State *L)
{
    struct stream *s = check(L);
    if (net_must_shake(s))
        return net_shake_first(L, shutdown_, false);
    if (s->closed)
        return net_push_end(L, WAKE_CLOSED);
    int r = stream_shutdown(s);
    if (r < 0)
        return net_push_failure(L, s, "shutdown", -r);
    lua_pushboolean(L, 1);
    return 1;
}

/* s:close(), also by `<close>` and when it is collected */
static int close_(lua_State *L)
{
    stream_close(check(L));
    return 0;
}

/* s:settimeout(seconds): of each operation from now on; nil: none */
static int settimeout(lua_State *L)
{
    struct stream *s = check(L);
    s->timeout = wait_timeout(L, 2);
    lua_settop(L, 1);
    return 1;
}

static int push_name(lua_State *L, int (*name)(int, struct sockaddr *, socklen_t *))
{
    struct stream *s = check(L);
    struct address a = {.length = sizeof a.sa};
    if (s->closed)
        return net_push_end(L, WAKE_CLOSED);
    if (name(s->fd, (struct sockaddr *)&a.sa, &a.length) < 0)
        return net_push_error(L, NULL, errno);
    return net_push_address(L, &a);
}

static int get_peer(int fd, struct sockaddr *sa, socklen_t *n)
{
    return getpeername(fd, sa, n);
}

static int get_own(int fd, struct sockaddr *sa, socklen_t *n)
{
    return getsockname(fd, sa, n);
}

/* s:peername(), s:sockname(): host, port; of a unix socket its path, "" if it has none */
static int peername(lua_State *L)
{
    return push_name(L, get_peer);
}

static int sockname(lua_State *L)
{
    return push_name(L, get_own);
}

static double option_value(lua_State *L, int i, int option)
{
    if (option_is_number(option) && lua_type(L, i) == LUA_TNUMBER)
        return lua_tonumber(L, i);
    luaL_argexpected(L, lua_isboolean(L, i), i,
                     option_is_number(option) ? "boolean or number" : "boolean");
    return lua_toboolean(L, i);
}

int net_set_option(lua_State *L, int fd)
{
    const char *name = luaL_checkstring(L, 2);
    int option = option_find(name);
    luaL_argcheck(L, option >= 0, 2, lua_pushfstring(L, "no option '%s'", name));
    int r = option_set(fd, option, option_value(L, 3, option));
    if (r < 0)
        return net_push_error(L, "setoption", -r);
    lua_settop(L, 1);
    return 1;
}

/* s:setoption(name, value): "max_line", and those of net/option.c */
static int setoption(lua_State *L)
{
    struct stream *s = check(L);
    if (s->closed)
        return net_push_end(L, WAKE_CLOSED);
    if (strcmp(luaL_checkstring(L, 2), "max_line") != 0)
        return net_set_option(L, s->fd);
    s->max_line = size_argument(L, 3, STREAM_MAX_LINE);
    lua_settop(L, 1);
    return 1;
}

static int to_string(lua_State *L)
{
    struct stream *s = check(L);
    lua_pushfstring(L, s->closed ? "stream: closed" : "stream: %d", s->fd);
    return 1;
}

static void get_fd(lua_State *L, void *s)
{
    lua_pushinteger(L, ((struct stream *)s)->fd);
}

static bool is_ready(void *s)
{
    return stream_ready(s);
}

static bool is_closed(const void *s)
{
    return ((const struct stream *)s)->closed;
}

static struct wait_queue *selectors(void *s)
{
    return &((struct stream *)s)->selectors;
}

void net_open_streams(lua_State *L)
{
    static const struct select_source source = {is_ready, is_closed, selectors};
    static const luaL_Reg methods[] = {
        {"read", read_},
        {"read_some", read_some},
        {"read_until", read_until},
        {"lines", lines},
        {"unread", unread},
        {"write", write_},
        {"flush", flush},
        {"shutdown", shutdown_},
        {"close", close_},
        {"settimeout", settimeout},
        {"peername", peername},
        {"sockname", sockname},
        {"setoption", setoption},
        {"starttls", net_starttls},
        {"tls", net_tls_state},
        {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", close_}, {"__close", close_}, {"__tostring", to_string}, {NULL, NULL}};
    static const struct object_property properties[] = {{"fd", get_fd, NULL},
                                                        {NULL, NULL, NULL}};
    object_class_new(L, OBJECT_STREAM,
                     &(struct object_class){"stream", methods, meta, properties, true});
    runtime_of(L)->kinds[OBJECT_STREAM].source = &source;
}
