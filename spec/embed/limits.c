/* Scripts that mean harm, under every limit that neap.h has. Each is contained: it ends, and
** the script beside it goes on. (docs/embedding.md names what is not contained.) */
#include "embed/kept.h"
#include "lauxlib.h"

#include <stdbool.h>
#include <time.h>

/* The time that this program has had: others may hold up the machine. */
static int64_t on_clock(void *ud)
{
    struct timespec t;
    (void)ud;
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

enum {
    ALL = NEAP_FS | NEAP_NET | NEAP_PROC | NEAP_CMOD | NEAP_ENV | NEAP_BYTECODE | NEAP_DEBUG
};

static neap *open_one(unsigned deny, int64_t runaway_ns)
{
    return open_with((neap_config){.clock = on_clock,
                                   .mem_limit = 8 << 20,
                                   .slice_ns = 200000,
                                   .runaway_ns = runaway_ns,
                                   .deny = deny});
}

/* Steps until it has ended. One whose id is stale already has failed before others did. */
static int end_of(neap *N, neap_task t, int steps)
{
    int status = neap_status(N, t);
    for (int i = 0; i < steps && (status == NEAP_READY || status == NEAP_WAITING); i++) {
        CHECK(neap_step(N, 0.01, 1000000) >= 0);
        status = neap_status(N, t);
    }
    return status == NEAP_ESTALE ? NEAP_FAILED : status;
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
    {"error(setmetatable({}, {__name = {}, __index = " FOREVER "}))",
     "error object is a table"},
    {"local t = {} while true do t[#t + 1] = neap.call_later(1e9, print) end",
     "not enough memory"},
    {"local t = {} while true do t[#t + 1] = deferred() end", "not enough memory"},
    {"for i = 1, 1e9 do channel('named' .. i) end", "not enough memory"},
    {"while true do neap.with_timeout(1e9, function() end) end", "has held on for"},
    {"while true do print(('x'):rep(100)) end", "has held on for"},
    /* nesting */
    {"local function f(d) local c <close> = setmetatable({}, {__close = function() "
     "if d > 0 then local co = coroutine.create(f) coroutine.resume(co, d - 1) "
     "coroutine.close(co) end end}) coroutine.yield() end local co = coroutine.create(f) "
     "coroutine.resume(co, 15000) coroutine.close(co) error 'closed'",
     "closed"},
    {"local function f(d) return coroutine.wrap(f)(d + 1) end f(1)", "C stack overflow"},
    {"local function f(d) return select(2, pcall(string.gsub, 'x', 'x', f)) end error(f(1))",
     "C stack overflow"},
    {"local t = {} for i = 1, 1e4 do t = setmetatable({}, {__index = t}) end print(t.x)",
     "chain too long"},
    {"assert(load(('('):rep(1e5)))", "C stack overflow"},
    {"assert(load('return ' .. ('{'):rep(1e5)))", "C stack overflow"},
    {"assert(load(('a.'):rep(1e5) .. 'a = 1')) error 'fine'", "fine"},
    /* what a script may try to turn off, or to have called for it */
    {"pcall(neap.preempt, nil) pcall(neap.watchdog, nil) " SPIN, "has held on for"},
    {"pcall(neap.preempt, 1e9) pcall(neap.watchdog, 1e9) " SPIN, "has held on for"},
    {"neap.run(1e9) " SPIN, "has held on for"},
    {"tasklet(" FOREVER ")() while true do neap.run(100) end", "has held on for"},
    {"neap.on_error(" FOREVER ") error 'x'", "has held on for"},
    {"neap.set_channel_callback(" FOREVER ") channel(1):send(1)", "has held on for"},
    {"neap.set_schedule_callback(" FOREVER ") sleep(0) sleep(0) "
     "neap.set_schedule_callback(nil) error 'fine'",
     "fine"},
    {"collectgarbage 'generational' collectgarbage 'stop' "
     "local t = {} while true do t[#t + 1] = {} end",
     "not enough memory"},
    {"collectgarbage('setpause', 1000) local t = {} while true do t[#t + 1] = {} end",
     "not enough memory"},
    {"for i = 1, 3 do spawn(function() local c <close> = setmetatable({}, {__close = " FOREVER
     "}) sleep(1e9) end) end sleep(0) error 'and then the host ends it'",
     "ends it"},
};

/* What no hook can stop, after scripts/embed/untrusted.lua. */
#define LIES(n)   "setmetatable({}, {__len = function() return " n " end})"
#define TOO_LONG  "too long"
#define NOT_THERE "a nil value"

static const struct attack priced[] = {
    {"('').rep('', 1e18)", TOO_LONG},
    {"('').rep('', '1000000000000000000')", TOO_LONG},
    {"('').rep('', 1e15, 1)", TOO_LONG},
    {"('a'):rep(200):find(('.-'):rep(6) .. 'b')", TOO_LONG},
    {"('a'):rep(1000):match('.-.-.-x')", TOO_LONG},
    {"('a'):rep(1000):gsub('.-.-.-x', '')", TOO_LONG},
    {"('a'):rep(1000):gmatch('.-.-.-x')", TOO_LONG},
    {"('a'):rep(200):find(('[%]a]-'):rep(6) .. 'b')", TOO_LONG},
    {"('a'):rep(200):find(('[]a]-'):rep(6) .. 'b')", TOO_LONG},
    {"('a'):rep(200):find(('a?'):rep(200) .. ('a'):rep(200))", TOO_LONG},
    {"('a'):rep(1000):find('(.-)%1%1%1(.-)%2x')", TOO_LONG},
    {"('a'):rep(1e6):find(('a'):rep(5e5) .. 'b', 1, true)", TOO_LONG},
    {"('['):rep(1e6):find(('['):rep(1e5))", TOO_LONG},
    {"local next = ('a'):rep(200000):gmatch(('a?'):rep(200000)) pcall(next) pcall(next)",
     TOO_LONG},
    {"local next = ('a'):rep(300):gmatch('(a?(a?(a?(a?(a?(a?)a?)a?)a?)a?)a?)') pcall(next) "
     "pcall(next)",
     NULL},
    {"table.move({}, 1, 1e15, 2)", TOO_LONG},
    {"table.move({}, '1', '1000000000000000', 2)", TOO_LONG},
    {"table.concat({}, '', 1, 1e15)", TOO_LONG},
    {"table.concat(setmetatable({}, {__index = type}), '', 1, 1e15)", TOO_LONG},
    {"table.insert(" LIES("1e15 // 1 | 0") ", 1, 1)", TOO_LONG},
    {"table.remove(" LIES("1e15 // 1 | 0") ", 1)", TOO_LONG},
    {"table.unpack(" LIES("1e15 // 1 | 0") ")", "too many results"},
    {"table.sort(" LIES("2147483646") ", coroutine.isyieldable)", TOO_LONG},
    {"setmetatable({}, {__gc = " FOREVER "})", "finalizers"},
    {"collectgarbage 'stop'", "only"},
    {"load 'x = 1'", NOT_THERE},
    {"loadfile()", NOT_THERE},
    {"io.read()", NOT_THERE},
    {"os.exit()", NOT_THERE},
    {"string.dump(print)", NOT_THERE},
    {"debug.sethook()", NOT_THERE},
    {"require 'io'", "not found"},
    {"require 'debug'", "not found"},
};

/* A script that is well behaved, and sees all frames. */
static const char innocent[] = "while true do sleep(0) frames = (frames or 0) + 1 end";

static lua_Integer frames(neap *N)
{
    lua_getglobal(neap_lua(N), "frames");
    lua_Integer n = lua_tointeger(neap_lua(N), -1);
    lua_pop(neap_lua(N), 1);
    return n;
}

/* Whether it ends by itself, of another limit, and may take its time until then. */
static bool ends(const struct attack *a)
{
    return a->says && (strstr(a->says, "memory") ||
                       (!strstr(a->says, "has held on") && !strstr(a->script, "while true")));
}

static void contained(const struct attack *a, bool strangers)
{
    neap *N = open_one(ALL, ends(a) ? 60000000000 : 10000000);
    if (strangers) {
        CHECK(luaL_loadfilex(neap_lua(N), "scripts/embed/untrusted.lua", "t") == LUA_OK);
        CHECK(neap_call(N, 0, 0) == NEAP_OK);
    }
    neap_task beside = text(N, innocent);
    neap_task t = neap_text(N, a->script, strlen(a->script), "=t");
    if (t.id) {
        int status = end_of(N, t, a->says ? 100000 : 30);
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
    lua_Integer before = frames(N);
    for (int i = 0; i < 100 && frames(N) == before; i++)
        neap_step(N, 0.01, 20000000);
    CHECK(frames(N) > before);
    CHECK(neap_status(N, beside) == NEAP_WAITING || neap_status(N, beside) == NEAP_READY);
    neap_free(N);
}

static void contain_all(const struct attack *list, size_t n, bool strangers, bool tell)
{
    for (size_t i = 0; i < n; i++) {
        if (tell)
            fprintf(stderr, "%zu %s\n", i, list[i].script);
        contained(&list[i], strangers);
    }
}

/* With an argument it tells what it does. */
int main(int argc, char **argv)
{
    (void)argv;
    contain_all(attacks, sizeof attacks / sizeof *attacks, false, argc > 1);
    contain_all(priced, sizeof priced / sizeof *priced, true, argc > 1);
    return 0;
}
