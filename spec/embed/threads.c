/* Who may call what from which thread: all of [O] from a wrong one, neap_adopt, and what other
** threads bring while two runtimes step on two threads. Built with -fsanitize=thread too. */
#include "embed/check.h"
#include "lauxlib.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

static void on_fail(void *ud, neap_task t, const char *message, const char *trace)
{
    (void)ud, (void)t;
    fprintf(stderr, "threads: %s\n%s\n", message, trace);
    exit(1);
}

static neap *open_one(void)
{
    neap_config c = {.size = sizeof c, .fail = on_fail};
    neap *N = neap_new(&c, NULL);
    CHECK(N);
    return N;
}

static neap_task text(neap *N, const char *s)
{
    neap_task t = neap_text(N, s, strlen(s), "=t");
    CHECK(t.id);
    return t;
}

static void *in_thread(void *(*f)(void *), void *ud)
{
    pthread_t thread;
    void *result;
    CHECK(pthread_create(&thread, NULL, f, ud) == 0);
    CHECK(pthread_join(thread, &result) == 0);
    return result;
}

/* ---- the wrong thread ---- */

static void then(neap *N, neap_task t, int ok, void *ud)
{
    (void)N, (void)t, (void)ok, (void)ud;
    CHECK(!"called");
}

struct known {
    neap *N;
    neap_task t;
    neap_deferred d;
};

static void *use_it_all(void *ud)
{
    struct known *k = ud;
    neap *N = k->N;
    char buf[8] = "?";
    neap_stats s = {.size = sizeof s, .tasks = 7};
    CHECK(!neap_lua(N));
    CHECK(neap_error(N, NULL) == NEAP_ETHREAD);
    CHECK(!neap_file(N, "x.lua", 0).id && !neap_text(N, "", 0, "=").id && !neap_spawn(N, 0).id);
    CHECK(neap_call(N, 0, 0) == NEAP_ETHREAD && neap_reload(N, "neap.sync") == NEAP_ETHREAD);
    CHECK(neap_step(N, 0, 0) == NEAP_ETHREAD && neap_step_n(N, 0, 1) == NEAP_ETHREAD);
    CHECK(neap_step(N, -1, 0) == NEAP_ETHREAD && neap_step_n(N, 0, 0) == NEAP_ETHREAD);
    CHECK(neap_run(N) == NEAP_ETHREAD && neap_timeout(N) == NEAP_ETHREAD);
    CHECK(neap_fd(N) == NEAP_ETHREAD && neap_gc(N, 0) == NEAP_ETHREAD && neap_now(N) == 0);
    neap_scale(N, 0);
    CHECK(neap_status(N, k->t) == NEAP_ETHREAD && neap_kill(N, k->t, NULL) == NEAP_ETHREAD);
    CHECK(neap_group(N, k->t, 1) == NEAP_ETHREAD && neap_kill_group(N, 1) == NEAP_ETHREAD);
    CHECK(neap_pause_group(N, 1, 1) == NEAP_ETHREAD);
    CHECK(neap_trace(N, k->t, buf, sizeof buf) == 0 && !*buf);
    CHECK(neap_then(N, k->t, then, NULL) == NEAP_ETHREAD);
    CHECK(!neap_defer(N).id && neap_settle(N, k->d, 1, 0) == NEAP_ETHREAD);
    CHECK(!neap_channel(N, "c", 0).id && neap_revoke(N, "enemy", 1) == NEAP_ETHREAD);
    neap_get_stats(N, &s);
    CHECK(s.tasks == 0);
    neap_free(N);
    return NULL;
}

static void test_wrong_thread(void)
{
    neap *N = open_one();
    struct known k = {N, text(N, "sleep(0.5)"), neap_defer(N)};
    neap_stats before = {.size = sizeof before}, after = before;
    CHECK(k.d.id);
    neap_get_stats(N, &before);
    in_thread(use_it_all, &k);
    neap_get_stats(N, &after);
    CHECK(memcmp(&before, &after, sizeof before) == 0);
    CHECK(neap_error(N, NULL) == NEAP_OK);
    neap_step(N, 0, -1);
    neap_step(N, 0.5, -1); /* its clock has not been stopped */
    CHECK(neap_status(N, k.t) == NEAP_DONE);
    neap_free(N);
}

/* The same with no runtime at all. */
static void test_null(void)
{
    struct known k = {0};
    neap_value v = {.type = NEAP_REF};
    CHECK(neap_step(k.N, 0, 0) == NEAP_EARG && neap_call(NULL, 0, 0) == NEAP_EARG);
    CHECK(neap_adopt(NULL) == NEAP_EARG && neap_post(NULL, NULL, NULL) == NEAP_EARG);
    CHECK(neap_send(NULL, (neap_chan){1}, NULL, 0) == NEAP_EARG);
    CHECK(!neap_lua(NULL) && neap_now(NULL) == 0 && !neap_defer(NULL).id);
    neap_free(NULL);
    neap *N = open_one();
    CHECK(neap_send(N, (neap_chan){0}, NULL, 0) == NEAP_ESTALE);
    CHECK(neap_settle_from(N, (neap_deferred){0}, 1, NULL, 0) == NEAP_ESTALE);
    CHECK(neap_send(N, (neap_chan){1}, &v, 1) == NEAP_EARG); /* a reference of no type */
    CHECK(neap_send(N, (neap_chan){1}, NULL, 1) == NEAP_EARG);
    CHECK(neap_send(N, (neap_chan){1}, NULL, -1) == NEAP_EARG);
    v.type = 99;
    CHECK(neap_settle_from(N, (neap_deferred){1}, 1, &v, 1) == NEAP_EARG);
    CHECK(neap_post(N, NULL, NULL) == NEAP_EARG);
    CHECK(neap_settle(N, (neap_deferred){12345}, 1, 0) == NEAP_ESTALE);
    CHECK(neap_settle(N, (neap_deferred){12345}, 1, -1) == NEAP_EARG);
    CHECK(neap_kill(N, (neap_task){12345}, NULL) == NEAP_ESTALE);
    CHECK(neap_channel(N, NULL, 0).id == 0 && neap_channel(N, "c", -1).id == 0);
    CHECK(neap_error(N, NULL) == NEAP_EARG);
    neap_free(N);
}

/* ---- from thread to thread ---- */

static void *adopt(void *ud)
{
    struct known *k = ud;
    CHECK(neap_step(k->N, 0, -1) == NEAP_ETHREAD);
    CHECK(neap_adopt(k->N) == NEAP_OK);
    CHECK(neap_step(k->N, 1, -1) == 0);
    CHECK(neap_status(k->N, k->t) == NEAP_DONE);
    k->t = text(k->N, "sleep(1)");
    CHECK(neap_step(k->N, 0, -1) == 0);
    return NULL;
}

static void *free_it(void *ud)
{
    struct known *k = ud;
    CHECK(neap_adopt(k->N) == NEAP_OK);
    neap_free(k->N);
    return NULL;
}

static int adopt_inside(lua_State *L)
{
    CHECK(neap_adopt(neap_of(L)) == NEAP_EBUSY);
    return 0;
}

static void test_adopt(void)
{
    neap *N = open_one();
    struct known k = {N, text(N, "sleep(1)"), {0}};
    lua_register(neap_lua(N), "adopt", adopt_inside);
    text(N, "adopt()");
    CHECK(neap_step(N, 0, -1) == 0);
    in_thread(adopt, &k);
    CHECK(neap_step(N, 0, -1) == NEAP_ETHREAD && !neap_lua(N));
    CHECK(neap_adopt(N) == NEAP_OK);
    neap_step(N, 1, -1);
    CHECK(neap_status(N, k.t) == NEAP_DONE);
    in_thread(free_it, &k);
}

/* ---- a small stack ----
** As deep as Lua lets C functions nest; a sanitizer's frames are larger. */

static void *nest(void *ud)
{
    (void)ud;
    neap *N = open_one();
    text(N,
         "local function f(n) return (('x'):gsub('x', function() return f(n + 1) end)) end\n"
         "local function g() return coroutine.wrap(g)() end\n"
         "local function h() local t = setmetatable({}, {__index = function() return h() end}) "
         "return t.x end\n"
         "local function p() return pcall(p) end\n"
         "for _, deep in ipairs { f, g, h } do assert(not pcall(deep, 1)) end\n"
         "pcall(p)\n"
         "assert(not load(('('):rep(10000)))");
    CHECK(neap_run(N) == NEAP_OK);
    neap_free(N);
    return NULL;
}

static void test_small_stack(void)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    pthread_attr_t small;
    pthread_t thread;
    pthread_attr_init(&small);
    CHECK(pthread_attr_setstacksize(&small, 512 * 1024) == 0);
    CHECK(pthread_create(&thread, &small, nest, NULL) == 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&small);
#else
    in_thread(nest, NULL);
#endif
}

/* ---- many threads, two runtimes ---- */

enum { SENDERS = 3, MESSAGES = 300 };

struct sender {
    neap *N;
    neap_chan ch;
    int number;
};

static atomic_int posted;

static void on_post(neap *N, void *ud)
{
    CHECK(neap_lua(N) && !ud);
    atomic_fetch_add(&posted, 1);
}

static void *send_many(void *arg)
{
    struct sender *s = arg;
    char bytes[32];
    for (int i = 0; i < MESSAGES; i++) {
        int n = snprintf(bytes, sizeof bytes, "%d:%d", s->number, i);
        neap_value v[] = {{.type = NEAP_INT, .u.i = s->number},
                          {.type = NEAP_INT, .u.i = i},
                          {.type = NEAP_BYTES, .s = bytes, .len = (size_t)n},
                          {.type = NEAP_REF, .u.ref = (uint64_t)i, .s = "enemy"},
                          {.type = NEAP_NUM, .u.n = 0.5},
                          {.type = NEAP_BOOL, .u.b = 1},
                          {.type = NEAP_NIL}};
        CHECK(neap_send(s->N, s->ch, v, 7) == NEAP_OK);
        CHECK(neap_post(s->N, on_post, NULL) == NEAP_OK);
    }
    return NULL;
}

/* Answers a request from a thread of its own. */
struct request {
    neap *N;
    neap_deferred d;
    lua_Integer n;
    atomic_int *done; /* its game's: nobody frees the runtime before all are */
};

static void *answer(void *ud)
{
    struct request *r = ud;
    neap_value v = {.type = NEAP_INT, .u.i = r->n + 1};
    CHECK(neap_settle_from(r->N, r->d, 1, &v, 1) == NEAP_OK);
    neap_interrupt(r->N);
    atomic_fetch_add(r->done, 1);
    free(r);
    return NULL;
}

static int ask(lua_State *L)
{
    struct request *r = malloc(sizeof *r);
    pthread_t thread;
    CHECK(r);
    neap *N = neap_of(L);
    neap_deferred d = neap_defer(N);
    *r =
        (struct request){N, d, luaL_checkinteger(L, 1), lua_touserdata(L, lua_upvalueindex(1))};
    CHECK(pthread_create(&thread, NULL, answer, r) == 0);
    pthread_detach(thread);
    return neap_await(L, d);
}

static const char script[] =
    "local last = {}\n"
    "spawn(function() for i = 1, 50 do assert(ask(i) == i + 1) end end)\n"
    "for i = 1, 900 do\n"
    "    local who, n, s, ref, half, yes, none = channel('in'):receive()\n"
    "    assert(n == (last[who] or -1) + 1 and s == who .. ':' .. n)\n"
    "    assert(tostring(ref) == 'enemy#' .. n and half == 0.5 and yes == true and not none)\n"
    "    last[who] = n\n"
    "end\n";

/* A game's thread: its own runtime, polled. */
static void *game(void *ud)
{
    neap *N = open_one();
    struct sender s[SENDERS];
    pthread_t thread[SENDERS];
    (void)ud;
    neap_chan ch = neap_channel(N, "in", 4); /* far too small: the rest waits in order */
    CHECK(ch.id);
    atomic_int done = 0;
    lua_pushlightuserdata(neap_lua(N), &done);
    lua_pushcclosure(neap_lua(N), ask, 1);
    lua_setglobal(neap_lua(N), "ask");
    text(N, script);
    for (int i = 0; i < SENDERS; i++) {
        s[i] = (struct sender){N, ch, i};
        CHECK(pthread_create(&thread[i], NULL, send_many, &s[i]) == 0);
    }
    struct pollfd p = {.fd = neap_fd(N), .events = POLLIN};
    neap_stats stats = {.size = sizeof stats};
    CHECK(p.fd >= 0);
    do {
        if (neap_timeout(N) < 0)
            CHECK(poll(&p, 1, 10000) > 0);
        CHECK(neap_step(N, 0.001, 1000000) >= 0);
        CHECK(neap_gc(N, 0) >= 0);
        neap_get_stats(N, &stats);
    } while (stats.tasks > 0);
    for (int i = 0; i < SENDERS; i++)
        pthread_join(thread[i], NULL);
    neap_step(N, 0, -1);
    while (atomic_load(&done) < 50) /* all that use N are over */
        poll(NULL, 0, 1);
    neap_free(N);
    return NULL;
}

static void test_games(void)
{
    pthread_t a, b;
    CHECK(pthread_create(&a, NULL, game, NULL) == 0);
    pthread_join(a, NULL); /* once alone, then two */
    CHECK(pthread_create(&a, NULL, game, NULL) == 0);
    CHECK(pthread_create(&b, NULL, game, NULL) == 0);
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    CHECK(atomic_load(&posted) == 3 * SENDERS * MESSAGES);
}

/* What is sent to a channel that is closed, or was never made, is told in the log. */
static int logged;

static void on_log(void *ud, int level, const char *message)
{
    (void)ud, (void)level;
    CHECK(strstr(message, "a message of another thread"));
    logged++;
}

static void test_closed(void)
{
    neap_config c = {.size = sizeof c, .fail = on_fail, .log = on_log};
    neap *N = neap_new(&c, NULL);
    CHECK(N);
    neap_chan ch = neap_channel(N, "c", 1);
    text(N, "channel('c'):close() channel = nil");
    neap_step(N, 0, -1);
    CHECK(neap_send(N, ch, NULL, 0) == NEAP_OK && neap_send(N, (neap_chan){9}, NULL, 0) == 0);
    CHECK(neap_step(N, 0, -1) == 0 && logged == 2);
    CHECK(neap_channel(N, "c", 1).id == ch.id && neap_channel(N, "d", 1).id);
    ch = neap_channel(N, "d", 1);
    for (int i = 0; i < 3; i++)
        CHECK(neap_send(N, ch, NULL, 0) == NEAP_OK); /* two wait for room */
    text(N, "neap.channel('d'):close()");
    CHECK(neap_step(N, 0, -1) == 0 && logged == 4);
    neap_free(N);
}

int main(void)
{
    test_wrong_thread();
    test_null();
    test_adopt();
    test_closed();
    test_small_stack();
    test_games();
    return 0;
}
