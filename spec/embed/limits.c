/* Scripts that mean harm, under every limit that neap.h has. Each is contained: it ends, and
** the script beside it goes on. (docs/embedding.md names what is not contained.) */
#include "embed/check.h"
#include "lauxlib.h"

#include <stdbool.h>

static struct kept out, failed;

static void on_write(void *ud, const char *s, size_t n)
{
    (void)ud;
    keep(&out, s, n);
}

static void on_fail(void *ud, neap_task t, const char *message, const char *trace)
{
    (void)ud, (void)t, (void)trace;
    keep(&failed, message, strlen(message));
    keep(&failed, "\n", 1);
}

static void forget(void)
{
    out.length = failed.length = 0;
    *out.text = *failed.text = '\0';
}

enum {
    ALL = NEAP_FS | NEAP_NET | NEAP_PROC | NEAP_CMOD | NEAP_ENV | NEAP_BYTECODE | NEAP_DEBUG
};

static neap *open_one(unsigned deny, int64_t runaway_ns)
{
    neap_config c = {.size = sizeof c,
                     .write = on_write,
                     .fail = on_fail,
                     .mem_limit = 8 << 20,
                     .slice_ns = 1000000,
                     .runaway_ns = runaway_ns,
                     .deny = deny};
    neap *N = neap_new(&c, NULL);
    CHECK(N);
    forget();
    return N;
}

static neap_task text(neap *N, const char *s)
{
    neap_task t = neap_text(N, s, strlen(s), "=t");
    CHECK(t.id);
    return t;
}

/* Steps until it has ended. */
static int end_of(neap *N, neap_task t, int steps)
{
    int status = 0;
    for (int i = 0; i < steps; i++) {
        status = neap_status(N, t);
        if (status == NEAP_DONE || status == NEAP_FAILED)
            return status;
        CHECK(neap_step(N, 0.01, 1000000) >= 0);
    }
    return status;
}

/* ---- attacks ---- */

#define SPIN    "while true do end"
#define FOREVER "function() while true do end end"

static const struct attack {
    const char *script, *says; /* what `fail` hears, or NULL: it ends well */
} attacks[] = {
    /* time */
    {SPIN, "has held on for"},
    {"while true do pcall(" FOREVER ") end", "has held on for"},
    {"while true do pcall(error) end", "has held on for"},
    {"while true do neap.pcall(" FOREVER ") end", "has held on for"},
    {"xpcall(" FOREVER ", " FOREVER ")", "has held on for"},
    {"xpcall(error, " FOREVER ")", "has held on for"},
    {"xpcall(function() table.sort({1, 2, 3}, " FOREVER ") end, " FOREVER ")",
     "has held on for"},
    {"xpcall(function() table.sort({1, 2, 3}, " FOREVER ") end, debug and debug.traceback or "
     "print) " SPIN,
     "has held on for"},
    {"coroutine.wrap(" FOREVER ")()", "has held on for"},
    {"while true do coroutine.wrap(function() pcall(" FOREVER ") end)() end",
     "has held on for"},
    {"local function f(d) if d > 0 then coroutine.wrap(f)(d - 1) coroutine.wrap(f)(d - 1) end "
     "end f(60)",
     "has held on for"},
    {"local function f(d) if d > 0 then pcall(coroutine.wrap(f), d - 1) "
     "pcall(coroutine.wrap(f), d - 1) end end f(60)",
     "has held on for"},
    {"table.sort({1, 2, 3}, " FOREVER ")", "has held on for"},
    {"('x'):rep(10):gsub('.', " FOREVER ")", "has held on for"},
    {"local t = setmetatable({}, {__index = " FOREVER "}) print(t.x)", "has held on for"},
    {"local t <close> = setmetatable({}, {__close = " FOREVER "})", "has held on for"},
    {"local t <close> = setmetatable({}, {__close = " FOREVER "}) error 'x'",
     "has held on for"},
    {"for _ in " FOREVER " do end", "has held on for"},
    {"load(" FOREVER ")", "has held on for"},
    {"print(setmetatable({}, {__tostring = " FOREVER "}))", "has held on for"},
    {"spawn(function() local t <close> = setmetatable({}, {__close = " FOREVER "}) "
     "sleep(10) end) sleep(0) sleep(0.1)",
     NULL},
    {"local t = spawn(function() local t <close> = setmetatable({}, {__close = " FOREVER
     "}) sleep(10) end) sleep(0) t:kill() " SPIN,
     "has held on for"},
    {"local d = deferred() d:add_callback(" FOREVER ") d:callback(1) " SPIN, "has held on for"},
    {"neap.call_later(0, " FOREVER ") sleep(0.1)", NULL},
    {"while true do spawn(" FOREVER ") end", NULL},
    {"while true do spawn(function() end):kill() end", NULL},
    {"while true do schedule() end", NULL},
    /* memory */
    {"local t = {} while true do t[#t + 1] = {} end", "not enough memory"},
    {"local s = 'x' while true do s = s .. s end", "not enough memory"},
    {"local s = ('x'):rep(1e9)", "not enough memory"},
    {"local s = ('x'):rep(1e6) s:gsub('.', s)", "not enough memory"},
    {"local t = {} while true do t[#t + 1] = coroutine.create(print) end", "not enough memory"},
    {"local t = {} while true do t[#t + 1] = spawn(sleep, 1e9) end", "not enough memory"},
    {"local t = {} while true do t[#t + 1] = channel(10) end", "not enough memory"},
    {"collectgarbage 'stop' local t = {} while true do t[#t + 1] = {} end",
     "not enough memory"},
    {"local c = channel(1e9) while true do c:send(('x'):rep(1000)) end", "not enough memory"},
    {"string.format('%99999s', 'x')", "invalid conversion"},
    {"local function f() return f() + 1 end f()", "not enough memory"},
    {"local function f() pcall(f) end f()", NULL},
    {"setmetatable({}, {__concat = function(a, b) return a .. b end}) error({})", "table"},
    {"error(setmetatable({}, {__tostring = function() error 'again' end}))", ""},
    {"error(setmetatable({}, {__tostring = " FOREVER "}))", ""},
};

/* A script that is well behaved, and sees all frames. */
static const char innocent[] = "while true do sleep(0) frames = (frames or 0) + 1 end";

static void contained(const struct attack *a)
{
    bool fills = a->says && strstr(a->says, "memory"); /* which takes its time at the cap */
    neap *N = open_one(ALL, fills ? 10000000000 : 50000000);
    lua_State *L = neap_lua(N);
    neap_task beside = text(N, innocent);
    neap_task t = neap_text(N, a->script, strlen(a->script), "=t");
    if (t.id) {
        int status = end_of(N, t, a->says ? 100000 : 300);
        if (status != NEAP_DONE && status != NEAP_FAILED)
            neap_kill(N, t, NULL);
        else if (!(a->says ? status == NEAP_FAILED && strstr(failed.text, a->says)
                           : status == NEAP_DONE || failed.length > 0)) {
            fprintf(stderr, "%s\n%d %s\n", a->script, status, failed.text);
            exit(1);
        }
        if (a->says)
            CHECK(status == NEAP_FAILED);
    }
    lua_getglobal(L, "frames");
    lua_Integer frames = lua_tointeger(L, -1);
    for (int i = 0; i < 100; i++)
        neap_step(N, 0.01, 50000000);
    lua_getglobal(L, "frames");
    CHECK(lua_tointeger(L, -1) > frames);
    lua_settop(L, 0);
    CHECK(neap_status(N, beside) == NEAP_WAITING || neap_status(N, beside) == NEAP_READY);
    neap_free(N);
}

int main(int argc, char **argv)
{
    size_t from = argc > 1 ? (size_t)atol(argv[1]) : 0;
    for (size_t i = from; i < sizeof attacks / sizeof *attacks; i++) {
        if (argc > 1)
            fprintf(stderr, "%zu %s\n", i, attacks[i].script);
        contained(&attacks[i]);
    }
    return 0;
}
