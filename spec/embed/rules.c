/* Rules of neap.h, one after the other: what a step does in which order, how tasklets end,
** groups, the collector's pace, new code, references, figures. */
#include "embed/kept.h"
#include "lauxlib.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

static neap *open_one(void)
{
    return open_with((neap_config){0});
}

static int printed(const char *s)
{
    int same = strcmp(out.text, s) == 0;
    if (!same)
        fprintf(stderr, "printed: %s\n", out.text);
    forget();
    return same;
}

/* ---- steps ---- */

static void test_order(void)
{
    neap *N = open_one();
    text(N, "for i, t in ipairs { 0.3, 0.1, 0.2, 0.1, 0 } do\n"
            "    spawn(function() sleep(t) io.write(i, ' ') end)\n"
            "end");
    neap_step(N, 0, -1);
    neap_step(N, 1, -1); /* all are due: by deadline, then as they were set */
    CHECK(printed("5 2 4 3 1 "));
    text(N, "for i = 1, 9 do io.write(i, ' ') sleep(-1) end"); /* never twice in one step */
    for (int i = 0; i < 3; i++)
        neap_step(N, 1, -1);
    CHECK(printed("1 2 3 "));
    neap_free(N);

    N = open_one(); /* nor where a call was due behind a tasklet, and the queue ran twice */
    text(N, "spawn(function() sleep(1) io.write 'a ' sleep(0) io.write 'b ' end) sleep(0)\n"
            "neap.call_later(1, function() io.write 'call ' end)");
    neap_step(N, 0, -1);
    neap_step(N, 0, -1);
    neap_step(N, 1, -1);
    CHECK(printed("a call "));
    neap_step(N, 0, -1);
    CHECK(printed("b "));
    neap_free(N);
}

/* What a budget leaves goes first in the next step, before what wakes then. */
static void test_left(void)
{
    neap *N = open_one();
    text(N, "sleep(1) io.write 'timer '");
    neap_step(N, 0, -1);
    text(N, "io.write 'a '");
    text(N, "io.write 'b '");
    CHECK(neap_step(N, 0.5, 0) == 1);
    CHECK(neap_timeout(N) == 0);
    CHECK(neap_step(N, 0.5, -1) == 0);
    CHECK(printed("a b timer ") && figures(N).tasks == 0);
    for (int i = 0; i < 1000; i++)
        text(N, "for i = 1, 1000 do end");
    int steps = 1;
    while (neap_step(N, 0, 100000) == 1) {
        CHECK(figures(N).over_ns >= 0);
        steps++;
    }
    CHECK(steps > 1 && figures(N).resumes >= 1003);
    CHECK(neap_step(N, 0.0 / 0.0, 0) == NEAP_EARG && neap_step(N, 1.0 / 0.0, 0) == NEAP_EARG);
    neap_free(N);
}

/* ---- ends ---- */

static neap_task self;

static int kill_self(lua_State *L)
{
    neap *N = neap_of(L);
    char buf[200];
    CHECK(neap_status(N, self) == NEAP_RUNNING);
    CHECK(neap_trace(N, self, buf, sizeof buf) > 0 && strstr(buf, "t:2:"));
    CHECK(neap_kill(N, self, "by itself") == NEAP_OK);
    return 0;
}

static char order[32];

static void on_end(neap *N, neap_task t, int ok, void *ud)
{
    strcat(order, ud);
    CHECK(neap_status(N, t) == (ok ? NEAP_DONE : NEAP_FAILED));
    CHECK(neap_then(N, t, on_end, ud) == NEAP_ESTALE);
    if (ok)
        CHECK(lua_isnil(neap_lua(N), -1));
    lua_settop(neap_lua(N), 0); /* whatever fn does to the stack */
}

static char one[] = "1", two[] = "2", three[] = "3";

static void test_ends(void)
{
    neap *N = open_one();
    lua_register(neap_lua(N), "kill_self", kill_self);
    self = text(
        N, "local c <close> = setmetatable({}, {__close = function() print 'closed' end})\n"
           "while true do pcall(kill_self) end");
    CHECK(neap_status(N, self) == NEAP_READY);
    CHECK(neap_then(N, self, on_end, two) == NEAP_OK && neap_then(N, self, on_end, three) == 0);
    neap_step(N, 0, -1);
    neap_step(N, 0, -1);
    CHECK(neap_status(N, self) == NEAP_FAILED && printed("closed\n") && failed.length == 0);
    neap_task never = text(N, "print 'never'");
    CHECK(neap_then(N, never, on_end, one) == NEAP_OK && neap_then(N, never, NULL, one) < 0);
    CHECK(neap_kill(N, never, NULL) == NEAP_OK);
    CHECK(neap_status(N, never) == NEAP_FAILED);
    neap_step(N, 0, -1);
    CHECK(out.length == 0 && failed.length == 0 && strcmp(order, "231") == 0);
    neap_task t = text(N, "local t = spawn(error, 'joined') print(pcall(t.join, t)) sleep(1)");
    neap_step(N, 0, -1);
    CHECK(strstr(out.text, "joined") && failed.length == 0); /* somebody waited for it */
    forget();
    CHECK(neap_then(N, t, on_end, one) == NEAP_OK);
    neap_step(N, 1, -1);
    CHECK(strcmp(order, "2311") == 0 && figures(N).fails == 0);
    text(N, "error 'nobody'"); /* the others go on */
    text(N, "print 'others'");
    neap_step(N, 0, -1);
    CHECK(printed("others\n") && figures(N).fails == 1);
    neap_free(N);
}

/* ---- groups ---- */

static void test_groups(void)
{
    neap *N = open_one();
    neap_task parent =
        text(N, "for i = 1, 3 do spawn(function()\n"
                "    local c <close> = setmetatable({}, {__close = function() "
                "io.write('c', i, ' ') end})\n"
                "    while true do channel('go' .. i):receive() io.write(i, ' ') "
                "end\n"
                "end) end sleep(1) io.write 'slept '");
    neap_task other = text(N, "sleep(1) io.write 'other '");
    CHECK(neap_group(N, parent, UINT64_MAX) == NEAP_OK);
    neap_step(N, 0, -1);
    neap_step(N, 0, -1);
    neap_step(N, 0.75, -1); /* of its second 0.25 are left */
    CHECK(neap_pause_group(N, UINT64_MAX, 1) == 4 && neap_pause_group(N, 5, 1) == 0);
    text(N, "channel('go3'):send() channel('go1'):send() channel('go2'):send()");
    neap_step(N, 0, -1);
    neap_step(N, 5, -1);
    CHECK(printed("other ") && neap_status(N, other) == NEAP_DONE);
    CHECK(neap_pause_group(N, UINT64_MAX, 0) == 4);
    neap_step(N, 0.125, -1);
    CHECK(printed("3 1 2 ")); /* in the order in which they were woken */
    neap_step(N, 0.125, -1);
    CHECK(printed("slept "));
    CHECK(neap_pause_group(N, UINT64_MAX, 1) == 3);
    CHECK(neap_kill_group(N, UINT64_MAX) == 3 && printed("c3 c2 c1 ")); /* newest first */
    neap_task free_one = text(N, "spawn(sleep, 1) sleep(1)");
    CHECK(neap_group(N, free_one, 8) == NEAP_OK && neap_group(N, free_one, 0) == NEAP_OK);
    neap_step(N, 0, -1);
    CHECK(neap_kill_group(N, 8) == 0 && figures(N).tasks == 2);
    CHECK(neap_pause_group(N, 0, 1) == NEAP_EARG && neap_group(N, parent, 1) == NEAP_ESTALE);
    neap_free(N);
}

/* ---- the collector ---- */

static void test_gc(void)
{
    neap *N = open_one();
    text(N, "keep = {} for i = 1, 20000 do keep[i] = {} end");
    neap_step(N, 0, -1);
    CHECK(neap_gc(N, -1) == 1);
    size_t live = figures(N).mem;
    int pieces = 0;
    while (neap_gc(N, 0) == 0) /* a whole cycle in the smallest steps */
        pieces++;
    CHECK(pieces > 10 && figures(N).mem < live + live / 4);
    CHECK(figures(N).gc_max_ns > 0 && figures(N).gc_max_ns <= figures(N).gc_ns);
    text(N, "while true do for i = 1, 1000 do local t = {i} end sleep(0) end");
    size_t most = 0;
    int before = (int)(figures(N).mem > 0), collections = 0;
    size_t last = figures(N).mem;
    for (int i = 0; i < 500; i++) { /* neap_gc is never called again */
        neap_step(N, 0, -1);
        size_t mem = figures(N).mem;
        most = mem > most ? mem : most;
        collections += mem < last;
        last = mem;
    }
    CHECK(before && collections > 0 && most > 3 * live && most < 5 * live);
    text(N, "collectgarbage 'restart'"); /* script cannot bring it back into the steps */
    neap_step(N, 0, -1);
    CHECK(lua_gc(neap_lua(N), LUA_GCISRUNNING) == 1);
    neap_step(N, 0, -1);
    CHECK(lua_gc(neap_lua(N), LUA_GCISRUNNING) == 0);
    neap_free(N);
}

/* ---- new code ---- */

static const char *code;

static int on_load(void *ud, lua_State *L, const char *name)
{
    (void)ud;
    if (strcmp(name, "mod") != 0)
        return 0;
    return luaL_loadstring(L, code) == LUA_OK ? 1 : -1;
}

static void test_reload(void)
{
    neap *N = open_with((neap_config){.load = on_load});
    CHECK(neap_reload(N, "mod") == NEAP_EARG && neap_reload(N, NULL) == NEAP_EARG);
    code = "return {f = function() io.write 'old ' sleep(1) io.write 'old ' end, gone = 1}";
    text(N, "mod = require 'mod' while true do mod.f() end");
    neap_step(N, 0, -1);
    const char *message;
    code = "return {f = function() io.write 'new ' sleep(1) end, fresh = 1}";
    CHECK(neap_reload(N, "mod") == NEAP_OK);
    neap_step(N, 1, -1); /* what runs finishes the old */
    CHECK(printed("old old new "));
    text(N, "assert(mod == require 'mod' and mod.fresh and not mod.gone)");
    static const char *const bad[] = {"return {", "error 'bad'", "sleep(1) return {}",
                                      "package.loaded.mod = {} error 'bad'",
                                      "return setmetatable({odd = 1}, {__metatable = 1})"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        code = bad[i];
        CHECK(neap_reload(N, "mod") == NEAP_ERUN);
        CHECK(neap_error(N, &message) == NEAP_ERUN && *message);
    }
    text(
        N,
        "assert(mod == require 'mod' and mod.fresh and not mod.odd)"); /* nothing has changed */
    neap_step(N, 0, -1);
    CHECK(out.length == 0 && failed.length == 0);
    text(N, "print(pcall(neap.reload, 'other'))");
    neap_step(N, 0, -1);
    CHECK(strstr(out.text, "module 'other' is not loaded"));
    neap_free(N);
}

/* ---- the host's own loop ---- */

static void test_epoll(void)
{
    neap *N = open_one();
    struct epoll_event e = {.events = EPOLLIN};
    int own = epoll_create1(EPOLL_CLOEXEC), fd = neap_fd(N);
    CHECK(own >= 0 && fd >= 0 && neap_fd(N) == fd);
    CHECK(epoll_ctl(own, EPOLL_CTL_ADD, fd, &e) == 0);
    text(N, "local net = require 'neap.net'\n"
            "local l = net.listen('127.0.0.1', 0)\n"
            "spawn(function() local s = l:accept() print(s:read()) end)\n"
            "local s = net.connect('127.0.0.1', l.port)\n"
            "s:write('over the wire\\n')");
    for (int i = 0; i < 100 && !out.length; i++) {
        CHECK(neap_step(N, 0, -1) >= 0);
        if (neap_timeout(N) != 0 && !out.length)
            CHECK(epoll_wait(own, &e, 1, 5000) == 1); /* each wait ends by the kernel's word */
    }
    CHECK(printed("over the wire\n"));
    neap_step(N, 0, -1);
    while (epoll_wait(own, &e, 1, 0) == 1) /* once perhaps for nothing, not for ever */
        neap_step(N, 0, -1);
    text(N, "sleep(0.001)");
    neap_step(N, 0, -1);
    CHECK(epoll_wait(own, &e, 1, 20) == 0 && neap_timeout(N) > 0); /* never for timers */
    close(own);
    neap_free(N);
}

/* The host's children, and what it does on signals, stay the host's. */
static volatile sig_atomic_t pipes;

static void on_signal(int signal)
{
    pipes += signal == SIGPIPE;
}

static void test_children(void)
{
    struct sigaction before = {.sa_handler = on_signal}, after;
    int of[] = {SIGCHLD, SIGPIPE}, status;
    for (int i = 0; i < 2; i++)
        sigaction(of[i], &before, NULL);
    neap *N = open_one();
    pid_t child = fork();
    if (child == 0)
        _exit(3);
    text(N, "local net = require 'neap.net'\n"
            "local l = net.listen('127.0.0.1', 0)\n"
            "local s, t = net.connect('127.0.0.1', l.port), l:accept()\n"
            "t:close() for i = 1, 20 do s:write(('x'):rep(1000)) sleep(0.002) end");
    CHECK(neap_run(N) == NEAP_OK);
    CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3);
    CHECK(pipes == 0);
    for (int i = 0; i < 2; i++) {
        CHECK(sigaction(of[i], NULL, &after) == 0 && after.sa_handler == on_signal);
        signal(of[i], SIG_DFL); /* it would interrupt the stock io.popen of the next */
    }
    neap_free(N);
}

/* Each waits for its own. */
static void test_children_of_both(void)
{
    int status;
    neap *N = open_one();
    pid_t child = fork();
    if (child == 0)
        _exit(5);
    text(N, "print(os.execute 'exit 6') local p = io.popen 'echo hi; exit 7' print(p:read()) "
            "print(p:close())");
    CHECK(neap_run(N) == NEAP_OK);
    CHECK(printed("nil\texit\t6\nhi\nnil\texit\t7\n"));
    CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 5);
    CHECK(waitpid(-1, &status, 0) == -1); /* nobody is left */
    neap_free(N);
}

/* ---- answers, references ---- */

static neap_deferred kept;

static int ask(lua_State *L)
{
    return neap_await(L, kept);
}

static int ask_in_sort(lua_State *L)
{
    kept = neap_defer(neap_of(L));
    return neap_await(L, kept);
}

static int hit(lua_State *L)
{
    neap_check_ref(L, 1, "enemy");
    return 0;
}

static void test_answers(void)
{
    neap *N = open_one();
    lua_State *L = neap_lua(N);
    lua_register(L, "ask", ask);
    lua_register(L, "ask_in_sort", ask_in_sort);
    neap_value v[] = {{.type = NEAP_INT, .u.i = 1}, {.type = NEAP_NIL}};
    kept = neap_defer(N);
    CHECK(neap_settle_from(N, kept, 1, v, 2) == NEAP_OK); /* before anybody waits */
    neap_step(N, 0, -1);
    text(N, "print(ask()) print(pcall(ask))");
    neap_step(N, 0, -1);
    CHECK(strncmp(out.text, "1\tnil\nfalse\t", 12) == 0 && strstr(out.text, "stale"));
    forget();
    kept = neap_defer(N);
    lua_pushliteral(L, "no");
    CHECK(neap_settle(N, kept, 0, 1) == NEAP_OK && neap_settle(N, kept, 1, 0) == NEAP_ESTALE);
    text(N, "print(pcall(ask))");
    neap_step(N, 0, -1);
    CHECK(printed("false\tno\n"));
    size_t top = (size_t)lua_gettop(L);
    text(N, "print(pcall(table.sort, {1, 2}, ask_in_sort))"); /* where nothing may wait */
    neap_step(N, 0, -1);
    CHECK(strstr(out.text, "cannot wait inside table.sort"));
    CHECK(neap_settle(N, kept, 1, 0) == NEAP_ESTALE && (size_t)lua_gettop(L) == top);
    neap_free(N);
}

static void test_refs(void)
{
    neap *N = open_one();
    lua_State *L = neap_lua(N);
    lua_register(L, "hit", hit);
    neap_push_ref(L, "enemy", UINT64_MAX);
    lua_setglobal(L, "e");
    neap_push_ref(L, "door", 1);
    lua_setglobal(L, "door");
    CHECK(figures(N).refs == 2);
    text(N, "hit(e) print(tostring(e), pcall(hit, door))");
    neap_step(N, 0, -1);
    CHECK(strstr(out.text, "enemy#18446744073709551615\tfalse\t"));
    CHECK(strstr(out.text, "enemy expected, got reference"));
    CHECK(neap_revoke(N, "enemy", 1) == NEAP_ESTALE && neap_revoke(N, NULL, 1) == NEAP_EARG);
    CHECK(neap_revoke(N, "door", 1) == NEAP_OK);
    text(N, "door = nil e = nil");
    neap_step(N, 0, -1);
    neap_gc(N, -1);
    neap_gc(N, -1);
    CHECK(figures(N).refs == 0);
    neap_free(N);
}

/* A host of another size of the struct reads and writes only that. */
static void test_figures(void)
{
    neap *N = open_one();
    neap_stats s;
    memset(&s, 0xff, sizeof s);
    s.size = offsetof(neap_stats, timers);
    text(N, "sleep(1)");
    neap_get_stats(N, &s);
    CHECK(s.tasks == 1 && s.ready == 1 && s.timers == (size_t)-1);
    CHECK(figures(N).mem > 0 && figures(N).mem_peak >= figures(N).mem);
    neap_get_stats(N, NULL);
    neap_free(N);
}

int main(void)
{
    test_order();
    test_left();
    test_ends();
    test_groups();
    test_gc();
    test_reload();
    test_epoll();
    test_children();
    test_children_of_both();
    test_answers();
    test_refs();
    test_figures();
    return 0;
}
