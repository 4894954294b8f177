/* The hooks of neap_config, and which calls they and posted functions may make. */
#include "embed/check.h"
#include "lauxlib.h"

struct host {
    struct kept out, log, failed;
    int64_t now; /* what the clock hook shows */
    int wakes;
    neap *N;
    int busy; /* the write hook tries what it must not */
};

static void on_write(void *ud, const char *s, size_t n)
{
    struct host *h = ud;
    keep(&h->out, s, n);
    if (h->busy) {
        CHECK(neap_step(h->N, 0, -1) == NEAP_EBUSY);
        CHECK(neap_step_n(h->N, 0, 1) == NEAP_EBUSY);
        CHECK(neap_run(h->N) == NEAP_EBUSY);
        CHECK(neap_lua(h->N) && neap_now(h->N) >= 0); /* what is not [S] works */
        neap_free(h->N);                              /* only logs */
        h->busy++;
    }
}

static void on_log(void *ud, int level, const char *message)
{
    struct host *h = ud;
    CHECK(level >= NEAP_LOG_INFO && level <= NEAP_LOG_ERROR);
    keep(&h->log, message, strlen(message));
    keep(&h->log, "\n", 1);
}

static void on_fail(void *ud, neap_task t, const char *message, const char *trace)
{
    struct host *h = ud;
    (void)trace;
    CHECK(neap_kill(h->N, (neap_task){0}, NULL) == NEAP_ESTALE);
    CHECK(!t.id || neap_status(h->N, t) != NEAP_ESTALE);
    keep(&h->failed, message, strlen(message));
    keep(&h->failed, "\n", 1);
}

static int on_load(void *ud, lua_State *L, const char *name)
{
    (void)ud;
    if (strcmp(name, "given") == 0) {
        CHECK(luaL_loadstring(L, "return {name = ..., where = select(2, ...)}") == LUA_OK);
        return 1;
    }
    if (strcmp(name, "refused") == 0) {
        lua_pushliteral(L, "not this one");
        return -1;
    }
    return 0;
}

static int64_t on_clock(void *ud)
{
    return ((struct host *)ud)->now;
}

static void on_wake(void *ud)
{
    ((struct host *)ud)->wakes++;
}

static neap *open_one(struct host *h)
{
    neap_config c = {.size = sizeof c,
                     .ud = h,
                     .write = on_write,
                     .log = on_log,
                     .fail = on_fail,
                     .load = on_load,
                     .clock = on_clock,
                     .wake = on_wake};
    memset(h, 0, sizeof *h);
    h->N = neap_new(&c, NULL);
    CHECK(h->N);
    return h->N;
}

static neap_task text(neap *N, const char *s)
{
    neap_task t = neap_text(N, s, strlen(s), "=t");
    CHECK(t.id);
    return t;
}

static int load_and_call(neap *N, const char *s, int nres)
{
    CHECK(luaL_loadstring(neap_lua(N), s) == LUA_OK);
    return neap_call(N, 0, nres);
}

/* ---- load, log, clock ---- */

static void test_load(struct host *h)
{
    neap *N = open_one(h);
    text(N, "local m = require 'given' print(m.name, m.where)\n"
            "print(select(2, pcall(require, 'refused')))\n"
            "print(require 'neap.sync' ~= nil, pcall(require, 'nowhere'))");
    CHECK(neap_step(N, 0, -1) == 0);
    CHECK(strncmp(h->out.text,
                  "given\tthe host's given\nnot this one\n"
                  "true\tfalse\tmodule 'nowhere' not found:",
                  60) == 0);
    text(N, "local m = require 'given' m.old = 1\n"
            "assert(neap.reload 'given' == m and not m.old and m.name == 'given')");
    CHECK(neap_step(N, 0, -1) == 0 && h->failed.length == 0);
    neap_free(N);
}

static void test_log(struct host *h)
{
    neap *N = open_one(h);
    text(N, "warn 'unheard' warn '@on' warn('he', 'ard')");
    CHECK(neap_step(N, 0, -1) == 0);
    CHECK(strcmp(h->log.text, "Lua warning: heard\n") == 0);
    text(N, "setmetatable({}, {__gc = function() error 'late' end}) collectgarbage()");
    CHECK(neap_step(N, 0, -1) == 0);
    CHECK(strstr(h->failed.text, "late"));
    neap_free(N);
}

/* The real time is the host's; the game's goes by steps. */
static void test_clock(struct host *h)
{
    neap *N = open_one(h);
    text(N, "neap.realtime.sleep(1) print 'real'");
    text(N, "sleep(1) print 'game'");
    CHECK(neap_step(N, 0, -1) == 0);
    CHECK(neap_timeout(N) == 1000000000);
    neap_scale(N, 0.5);
    h->now += 400000000;
    CHECK(neap_timeout(N) == 600000000);
    neap_scale(N, 0); /* paused: the real one goes on */
    CHECK(neap_step(N, 100, -1) == 0 && h->out.length == 0);
    h->now += 600000000;
    CHECK(neap_timeout(N) == 0);
    CHECK(neap_step(N, 100, -1) == 0);
    CHECK(strcmp(h->out.text, "real\n") == 0 && neap_timeout(N) == -1);
    neap_scale(N, -1); /* ignored */
    neap_scale(N, 0.0 / 0.0);
    CHECK(neap_timeout(N) == -1);
    neap_scale(N, 4);
    CHECK(neap_timeout(N) == 250000000);
    CHECK(neap_step(N, 0.25, -1) == 0);
    CHECK(strcmp(h->out.text, "real\ngame\n") == 0 && neap_now(N) == 1);
    neap_free(N);
}

/* ---- wake ---- */

static void nothing(neap *N, void *ud)
{
    (void)N, (void)ud;
}

static void test_wake(struct host *h)
{
    neap *N = open_one(h);
    int before = h->wakes;
    neap_task t = text(N, "sleep(1)");
    CHECK(h->wakes > before);
    neap_step(N, 0, -1);
    before = h->wakes;
    CHECK(neap_post(N, nothing, NULL) == NEAP_OK && h->wakes == before + 1);
    CHECK(load_and_call(N, "neap.call_later(0.5, print)", 0) == NEAP_OK);
    CHECK(h->wakes == before + 2); /* a nearer deadline */
    CHECK(neap_timeout(N) == 0);   /* the post */
    neap_step(N, 0, -1);
    CHECK(h->wakes == before + 2); /* never from inside a step */
    CHECK(neap_kill(N, t, NULL) == NEAP_OK);
    neap_free(N);
}

/* ---- from inside ---- */

static int call_inside(lua_State *L)
{
    neap *N = neap_of(L);
    lua_State *main = neap_lua(N);
    int top = lua_gettop(main);
    CHECK(load_and_call(N, "return 1, 2", LUA_MULTRET) == NEAP_OK);
    CHECK(lua_gettop(main) == top + 2);
    lua_settop(main, top);
    CHECK(load_and_call(N, "error {}", 3) == NEAP_ERUN);
    CHECK(lua_gettop(main) == top + 1 && lua_istable(main, -1)); /* the error value alone */
    lua_settop(main, top);
    CHECK(load_and_call(N, "sleep(1)", 0) == NEAP_ERUN);
    CHECK(strstr(lua_tostring(main, -1), "cannot wait here; use neap_spawn"));
    lua_settop(main, top);
    CHECK(load_and_call(N, "channel():receive()", 0) == NEAP_ERUN);
    lua_settop(main, top);
    CHECK(neap_gc(N, 0) == NEAP_EBUSY);
    return 0;
}

static void all_but_steps(neap *N, void *ud)
{
    struct host *h = ud;
    CHECK(neap_step(N, 0, -1) == NEAP_EBUSY && neap_run(N) == NEAP_EBUSY);
    CHECK(neap_gc(N, 0) >= 0);
    CHECK(load_and_call(N, "print 'called'", 0) == NEAP_OK);
    CHECK(text(N, "print 'spawned'").id);
    CHECK(neap_adopt(N) == NEAP_EBUSY);
    h->busy = 0;
}

static void test_busy(struct host *h)
{
    neap *N = open_one(h);
    lua_State *L = neap_lua(N);
    lua_register(L, "call_inside", call_inside);
    h->busy = 1;
    text(N, "print(1)");
    neap_step(N, 0, -1);
    CHECK(load_and_call(N, "print(2)", 0) == NEAP_OK); /* and from all others that run script */
    neap_task t = text(N, "local c <close> = setmetatable({}, {__close = function() print(3) "
                          "end}) sleep(1)");
    neap_step(N, 0, -1);
    CHECK(neap_kill(N, t, NULL) == NEAP_OK);
    CHECK(load_and_call(N, "setmetatable({}, {__gc = function() print(4) end})", 0) == NEAP_OK);
    CHECK(neap_gc(N, -1) == 1);
    CHECK(strcmp(h->out.text, "1\n2\n3\n4\n") == 0 && h->busy == 9);
    CHECK(strstr(h->log.text, "neap_free"));
    h->busy = 0;
    text(N, "call_inside()");
    neap_step(N, 0, -1);
    CHECK(load_and_call(N, "call_inside()", 0) == NEAP_ERUN || h->failed.length == 0);
    lua_settop(L, 0);
    h->out.length = 0;
    CHECK(neap_post(N, all_but_steps, h) == NEAP_OK);
    neap_step(N, 0, -1);
    CHECK(strcmp(h->out.text, "called\nspawned\n") == 0);
    neap_free(N);
}

/* What nobody could take in any more is taken in by neap_free. */
static void count(neap *N, void *ud)
{
    CHECK(neap_step(N, 0, -1) < 0);
    ++*(int *)ud;
}

static void post_again(neap *N, void *ud)
{
    CHECK(neap_post(N, count, ud) == NEAP_OK);
    ++*(int *)ud;
}

static int counted;

static int post_late(lua_State *L)
{
    neap_value v = {.type = NEAP_INT};
    neap *N = neap_of(L);
    CHECK(neap_post(N, count, &counted) == NEAP_OK);
    CHECK(neap_settle_from(N, (neap_deferred){77}, 1, &v, 1) == NEAP_OK);
    CHECK(neap_send(N, (neap_chan){77}, &v, 1) == NEAP_OK);
    return 0;
}

static void test_free(struct host *h)
{
    neap *N = open_one(h);
    lua_register(neap_lua(N), "post_late", post_late);
    counted = 0;
    CHECK(neap_post(N, post_again, &counted) == NEAP_OK);
    text(N, "keep = setmetatable({}, {__gc = post_late}) "
            "local c <close> = setmetatable({}, {__close = post_late}) sleep(1)");
    neap_step_n(N, 0, 1);
    CHECK(counted == 1);
    CHECK(neap_post(N, post_again, &counted) == NEAP_OK);
    neap_free(N);
    CHECK(counted == 6); /* 2 of each post_again, one of __close, one of __gc */
}

/* An interrupt that came before leaves the next step one tasklet. */
static void test_interrupt(struct host *h)
{
    neap *N = open_one(h);
    text(N, "print 'a'");
    text(N, "print 'b'");
    neap_interrupt(N);
    neap_interrupt(N);
    CHECK(neap_step(N, 0, -1) == 1 && strcmp(h->out.text, "a\n") == 0);
    CHECK(neap_step(N, 0, -1) == 0 && strcmp(h->out.text, "a\nb\n") == 0);
    neap_interrupt(NULL);
    neap_free(N);
}

int main(void)
{
    static struct host h;
    test_load(&h);
    test_log(&h);
    test_clock(&h);
    test_wake(&h);
    test_busy(&h);
    test_free(&h);
    test_interrupt(&h);
    return 0;
}
