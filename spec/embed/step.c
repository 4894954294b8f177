/* A game's loop in small: steps, the two clocks, limits, groups, posts, answers, references. */
#include "embed/kept.h"
#include "lauxlib.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

static int status_after(neap *N, const char *s, int steps)
{
    neap_task t = text(N, s);
    for (int i = 0; i < steps; i++)
        neap_step(N, 0.25, -1);
    return neap_status(N, t);
}

/* ---- steps, the game clock ---- */

static void test_step(void)
{
    neap *N = open_with((neap_config){0});
    CHECK(neap_timeout(N) == -1);
    neap_task t = text(N, "for i = 1, 3 do print(i, neap.now()) sleep(0.5) end");
    CHECK(neap_timeout(N) == 0);
    CHECK(neap_step(N, 0.25, -1) == 0); /* prints 1 at 0.25 */
    CHECK(neap_timeout(N) > 0 && neap_timeout(N) <= 500000000);
    CHECK(neap_step(N, 0.25, -1) == 0);
    CHECK(strcmp(out.text, "1\t0.25\n") == 0);
    CHECK(neap_step(N, 0.25, -1) == 0); /* 0.75: 2 */
    neap_scale(N, 0);
    for (int i = 0; i < 10; i++)
        neap_step(N, 1, -1);
    CHECK(neap_timeout(N) == -1 && neap_now(N) == 0.75);
    CHECK(strcmp(out.text, "1\t0.25\n2\t0.75\n") == 0);
    neap_scale(N, 2);
    neap_step(N, 0.25, -1); /* 1.25: 3 */
    CHECK(strcmp(out.text, "1\t0.25\n2\t0.75\n3\t1.25\n") == 0);
    neap_step(N, 1, -1);
    CHECK(neap_status(N, t) == NEAP_DONE);
    CHECK(neap_step(N, -1, 0) == NEAP_EARG);
    neap_free(N);
}

/* sleep(0) waits for the next step. */
static void test_next_frame(void)
{
    neap *N = open_with((neap_config){0});
    text(N, "for i = 1, 100 do print(i) sleep(0) end");
    for (int i = 0; i < 3; i++)
        neap_step(N, 0, -1);
    CHECK(strcmp(out.text, "1\n2\n3\n") == 0);
    neap_free(N);
}

static void test_budget(void)
{
    neap *N = open_with((neap_config){0});
    for (int i = 0; i < 10; i++)
        text(N, "print '.'");
    CHECK(neap_step(N, 0, 0) == 1 && out.length == 2); /* one tasklet */
    CHECK(neap_step_n(N, 0, 3) == 1 && out.length == 8);
    CHECK(neap_step_n(N, 0, 100) == 0 && out.length == 20);
    CHECK(neap_step_n(N, 0, 0) == NEAP_EARG);
    neap_free(N);
}

/* ---- slices and runaways ---- */

static void test_limits(void)
{
    neap_config c = {.slice_ns = 1000000};
    neap *N = open_with(c);
    text(N, "while not done do end print 'saw it'");
    text(N, "print 'other' done = true");
    for (int i = 0; i < 1000 && !strstr(out.text, "saw it"); i++)
        neap_step(N, 0.01, 2000000);
    CHECK(strcmp(out.text, "other\nsaw it\n") == 0);
    neap_free(N);

    c = (neap_config){.runaway_ns = 20000000};
    N = open_with(c);
    CHECK(status_after(N, "while true do pcall(function() while true do end end) end", 1) ==
          NEAP_FAILED);
    CHECK(strstr(failed.text, "has held on for"));
    forget();
    CHECK(status_after(N, "coroutine.wrap(function() while true do end end)()", 1) ==
          NEAP_FAILED);
    CHECK(status_after(N, "table.sort({1,2,3}, function() while true do end end)", 1) ==
          NEAP_FAILED);
    CHECK(status_after(N, "print 'lives'", 1) == NEAP_DONE && strcmp(out.text, "lives\n") == 0);
    luaL_loadstring(neap_lua(N), "while true do pcall(function() while true do end end) end");
    CHECK(neap_call(N, 0, 0) == NEAP_ERUN);
    CHECK(strstr(lua_tostring(neap_lua(N), -1), "has held on for"));
    lua_pop(neap_lua(N), 1);
    neap_free(N);
}

static void test_memory(void)
{
    neap_config c = {.mem_limit = 4 << 20};
    neap *N = open_with(c);
    CHECK(status_after(N, "local t = {} for i = 1, 1e9 do t[i] = {} end", 1) == NEAP_FAILED);
    CHECK(strstr(failed.text, "not enough memory"));
    CHECK(status_after(N, "print(pcall(string.rep, 'x', 1e8)) print 'lives'", 1) == NEAP_DONE);
    CHECK(strcmp(out.text, "false\tnot enough memory\nlives\n") == 0);
    neap_free(N);
}

/* ---- denied ---- */

static void test_deny(void)
{
    neap_config c = {.deny = NEAP_FS | NEAP_NET | NEAP_PROC | NEAP_CMOD | NEAP_ENV |
                             NEAP_BYTECODE | NEAP_DEBUG};
    neap *N = open_with(c);
    CHECK(status_after(
              N,
              "assert(not (io.open or io.lines or io.popen or os.exit or os.getenv or "
              "debug or dofile or loadfile or package.loadlib or string.dump)) "
              "assert(not pcall(require, 'neap.net')) assert(not pcall(require, 'debug')) "
              "assert(load('return 1')() == 1) assert(not load('\\27Lua')) "
              "assert(not load('\\27Lua', 'x', 'b')) "
              "assert(select(2, load('return a', 'x', 't', {a = 2}))) print 'fine'",
              1) == NEAP_FAILED);
    forget();
    CHECK(status_after(N, "assert(load('return a', 'x', 't', {a = 2})() == 2) print 'fine'",
                       1) == NEAP_DONE);
    CHECK(strcmp(out.text, "fine\n") == 0);
    neap_free(N);
}

/* ---- tasklets by id ---- */

static struct kept ended;
static char name_a[] = "a", name_b[] = "b", name_d[] = "d", name_z[] = "z";

static void on_end(neap *N, neap_task t, int ok, void *ud)
{
    char line[64];
    snprintf(line, sizeof line, "%s %d %s\n", (const char *)ud, ok,
             lua_tostring(neap_lua(N), -1));
    keep(&ended, line, strlen(line));
    CHECK(t.id);
}

static void test_tasks(void)
{
    neap *N = open_with((neap_config){0});
    neap_task a =
        text(N, "local x <close> = setmetatable({}, {__close = function() print 'a closed' "
                "end}) while true do pcall(sleep, 1) end");
    neap_task b = text(N, "sleep(0.2) return 'result'");
    neap_task d = text(N, "error('oh', 0)");
    CHECK(neap_then(N, a, on_end, name_a) == NEAP_OK &&
          neap_then(N, b, on_end, name_b) == NEAP_OK);
    CHECK(neap_then(N, d, on_end, name_d) == NEAP_OK);
    neap_step(N, 0, -1);
    char buf[16];
    CHECK(neap_trace(N, a, buf, sizeof buf) > 15 && strlen(buf) == 15);
    CHECK(neap_trace(N, a, NULL, 0) > 15);
    CHECK(neap_kill(N, a, "enough") == NEAP_OK);
    CHECK(strcmp(out.text, "a closed\n") == 0);
    CHECK(neap_status(N, a) == NEAP_FAILED && neap_kill(N, a, NULL) == NEAP_ESTALE);
    neap_step(N, 0.3, -1);
    CHECK(strcmp(ended.text, "d 0 oh\na 0 enough\nb 1 result\n") == 0);
    CHECK(neap_then(N, b, on_end, name_b) == NEAP_ESTALE);
    CHECK(failed.length == 0);

    neap_task g = text(N, "spawn(function() while true do sleep(0.1) print 'child' end end) "
                          "while true do sleep(0.1) print 'parent' end");
    CHECK(neap_group(N, g, 17) == NEAP_OK);
    forget();
    neap_step(N, 0, -1);
    neap_step(N, 0, -1);
    neap_step(N, 0.15, -1);
    CHECK(strcmp(out.text, "parent\nchild\n") == 0 || strcmp(out.text, "child\nparent\n") == 0);
    CHECK(neap_pause_group(N, 17, 1) == 2);
    forget();
    neap_step(N, 10, -1);
    CHECK(out.length == 0);
    CHECK(neap_pause_group(N, 17, 0) == 2);
    neap_step(N, 0.1, -1);
    CHECK(out.length > 0);
    CHECK(neap_kill_group(N, 17) == 2 && neap_kill_group(N, 17) == 0);
    CHECK(neap_kill_group(N, 0) == NEAP_EARG);
    CHECK(figures(N).tasks == 0 && figures(N).timers == 0);
    ended.length = 0;
    CHECK(neap_then(N, text(N, "sleep(1e9)"), on_end, name_z) == NEAP_OK);
    neap_free(N);
    CHECK(strcmp(ended.text, "z 0 the runtime ends\n") == 0);
}

/* ---- answers ---- */

static neap_deferred pending;

static int ask(lua_State *L)
{
    pending = neap_defer(neap_of(L));
    return neap_await(L, pending);
}

static void test_answers(void)
{
    neap *N = open_with((neap_config){0});
    lua_register(neap_lua(N), "ask", ask);
    text(N, "print(ask()) print(pcall(ask))");
    neap_step(N, 0, -1);
    neap_deferred first = pending;
    lua_pushinteger(neap_lua(N), 1);
    lua_pushnil(neap_lua(N));
    CHECK(neap_settle(N, first, 1, 2) == NEAP_OK);
    CHECK(neap_settle(N, first, 1, 0) == NEAP_ESTALE);
    neap_step(N, 0, -1);
    CHECK(strcmp(out.text, "1\tnil\n") == 0);
    neap_value v = {.type = NEAP_BYTES, .s = "no", .len = 2};
    CHECK(neap_settle_from(N, pending, 0, &v, 1) == NEAP_OK);
    neap_step(N, 0, -1);
    CHECK(strcmp(out.text, "1\tnil\nfalse\tno\n") == 0);
    neap_task t = text(N, "ask()");
    neap_step(N, 0, -1);
    neap_kill(N, t, NULL);
    CHECK(neap_settle(N, pending, 1, 0) == NEAP_ESTALE);
    neap_free(N);
}

/* ---- other threads ---- */

enum { SENDERS = 4, MESSAGES = 1000 };

struct sender {
    neap *N;
    neap_chan ch;
    int number;
};

static int posted;

static void on_post(neap *N, void *ud)
{
    (void)N, (void)ud;
    posted++;
}

static void *send_many(void *arg)
{
    struct sender *s = arg;
    for (int i = 0; i < MESSAGES; i++) {
        neap_value v[] = {{.type = NEAP_INT, .u.i = s->number}, {.type = NEAP_INT, .u.i = i}};
        CHECK(neap_send(s->N, s->ch, v, 2) == NEAP_OK);
        CHECK(neap_post(s->N, on_post, NULL) == NEAP_OK);
    }
    return NULL;
}

static void test_threads(void)
{
    neap *N = open_with((neap_config){0});
    neap_chan ch = neap_channel(N, "in", 8);
    CHECK(ch.id && neap_channel(N, "in", 8).id == ch.id);
    neap_task t =
        text(N, "local last = {} for i = 1, 4000 do local who, n = channel('in'):receive() "
                "assert(n == (last[who] or -1) + 1) last[who] = n end");
    struct sender s[SENDERS];
    pthread_t thread[SENDERS];
    for (int i = 0; i < SENDERS; i++) {
        s[i] = (struct sender){N, ch, i};
        pthread_create(&thread[i], NULL, send_many, &s[i]);
    }
    struct pollfd p = {.fd = neap_fd(N), .events = POLLIN};
    CHECK(p.fd >= 0);
    while (neap_status(N, t) != NEAP_DONE && neap_status(N, t) != NEAP_FAILED) {
        if (neap_timeout(N) < 0)
            CHECK(poll(&p, 1, 5000) > 0);
        neap_step(N, 0, -1);
    }
    for (int i = 0; i < SENDERS; i++)
        pthread_join(thread[i], NULL);
    neap_step(N, 0, -1);
    CHECK(neap_status(N, t) == NEAP_DONE && posted == SENDERS * MESSAGES);
    neap_free(N);
}

/* ---- references ---- */

static int hit(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)neap_check_ref(L, 1, "enemy"));
    return 1;
}

static void test_refs(void)
{
    neap *N = open_with((neap_config){0});
    lua_State *L = neap_lua(N);
    lua_register(L, "hit", hit);
    neap_push_ref(L, "enemy", 17);
    lua_setglobal(L, "e");
    neap_push_ref(L, "enemy", 17);
    lua_getglobal(L, "e");
    CHECK(lua_rawequal(L, -1, -2));
    lua_settop(L, 0);
    status_after(N, "print(tostring(e), hit(e), pcall(hit, 1))", 1);
    CHECK(strncmp(out.text, "enemy#17\t17\tfalse\t", 18) == 0);
    CHECK(neap_revoke(N, "enemy", 17) == NEAP_OK && neap_revoke(N, "enemy", 17) == NEAP_ESTALE);
    forget();
    status_after(N, "print(pcall(hit, e))", 1);
    CHECK(strstr(out.text, "enemy#17 is gone"));
    neap_push_ref(L, "enemy", 17);
    lua_setglobal(L, "f");
    status_after(N, "assert(hit(f) == 17 and not pcall(hit, e)) e, f = nil, nil", 1);
    neap_gc(N, -1);
    neap_gc(N, -1);
    CHECK(figures(N).refs == 0);
    neap_free(N);
}

int main(void)
{
    test_step();
    test_next_frame();
    test_budget();
    test_limits();
    test_memory();
    test_deny();
    test_tasks();
    test_answers();
    test_threads();
    test_refs();
    return 0;
}
