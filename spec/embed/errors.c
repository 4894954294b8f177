/* Every way in which neap.h says no: each code, where it comes from and what its text is. */
#include "embed/check.h"
#include "lauxlib.h"

#include <pthread.h>

struct host {
    struct kept failed, logged;
    neap *N;
    neap_task task;
};

static void on_fail(void *ud, neap_task t, const char *message, const char *trace)
{
    struct host *h = ud;
    h->task = t;
    keep(&h->failed, message, strlen(message));
    CHECK(strncmp(trace, "stack traceback:", 16) == 0);
}

static void on_log(void *ud, int level, const char *message)
{
    struct host *h = ud;
    CHECK(level == NEAP_LOG_WARN);
    keep(&h->logged, message, strlen(message));
}

static neap_task text(neap *N, const char *s)
{
    return neap_text(N, s, strlen(s), "=t");
}

/* The last error, with its text. */
static int last(neap *N, const char *part)
{
    const char *message;
    int code = neap_error(N, &message);
    CHECK(strstr(message, part));
    return code;
}

/* ---- configurations that are refused ---- */

static void check_config(void)
{
    const char *why = NULL;
    struct {
        neap_config c;
        char more[16];
    } large = {.c = {.size = sizeof large}};
    neap_config small = {.size = 8}, wrong = {.size = sizeof wrong, .slice_ns = -1};
    CHECK(!neap_new(&small, &why) && why);
    why = NULL;
    CHECK(!neap_new(&wrong, &why) && why);
    large.more[15] = 1; /* of a version that this one does not know */
    why = NULL;
    CHECK(!neap_new((neap_config *)&large, &why) && why);
    CHECK(!neap_new((neap_config *)&large, NULL));
    large.more[15] = 0;
    neap *N = neap_new((neap_config *)&large, &why);
    CHECK(N);
    neap_free(N);
    N = neap_new(NULL, NULL);
    CHECK(N);
    neap_free(N);
    neap_free(NULL);
    CHECK(neap_version() == NEAP_VERSION);
}

/* ---- NEAP_EMEM ---- */

struct refusing {
    int refuse;
};

static void *alloc(void *ud, void *p, size_t old, size_t n)
{
    struct refusing *r = ud;
    if (n == 0) {
        free(p);
        return NULL;
    }
    return r->refuse && n > old ? NULL : realloc(p, n);
}

static void check_memory(void)
{
    struct refusing r = {.refuse = 0};
    const char *why;
    neap_config c = {.size = sizeof c, .alloc = alloc, .ud = &r};
    neap *N = neap_new(&c, NULL);
    CHECK(N);
    r.refuse = 1;
    CHECK(text(N, "return 1").id == 0);
    CHECK(last(N, "not enough memory") == NEAP_EMEM);
    CHECK(!neap_new(&c, &why) && strcmp(why, "not enough memory") == 0);
    r.refuse = 0;
    CHECK(text(N, "return 1").id != 0);
    CHECK(neap_run(N) == NEAP_OK);
    neap_free(N);
}

/* ---- NEAP_EBUSY, from inside a run ---- */

static int run_inside(lua_State *L)
{
    neap *N = neap_of(L);
    CHECK(N && N == lua_touserdata(L, lua_upvalueindex(1)));
    CHECK(neap_run(N) == NEAP_EBUSY);
    CHECK(last(N, "inside") == NEAP_EBUSY);
    neap_free(N); /* only logs */
    return 0;
}

static void check_busy(neap *N, struct host *h)
{
    lua_State *L = neap_lua(N);
    lua_pushlightuserdata(L, N);
    lua_pushcclosure(L, run_inside, 1);
    CHECK(neap_spawn(N, 0).id != 0);
    CHECK(neap_run(N) == NEAP_OK);
    CHECK(strstr(h->logged.text, "neap_free"));
    CHECK(h->failed.length == 0);
}

/* ---- NEAP_ETHREAD ---- */

static void *from_another_thread(void *ud)
{
    neap *N = ud;
    neap_task none = {0};
    neap_stats stats = {.size = sizeof stats, .mem = 1};
    CHECK(neap_run(N) == NEAP_ETHREAD);
    CHECK(neap_status(N, none) == NEAP_ETHREAD);
    CHECK(neap_error(N, NULL) == NEAP_ETHREAD);
    CHECK(neap_lua(N) == NULL);
    CHECK(text(N, "print(1)").id == 0);
    CHECK(neap_file(N, "x.lua", 0).id == 0);
    CHECK(neap_spawn(N, 0).id == 0);
    neap_get_stats(N, &stats);
    CHECK(stats.mem == 0);
    neap_free(N);      /* does nothing */
    neap_interrupt(N); /* is allowed: the next run returns 1 */
    return NULL;
}

static void check_thread(neap *N)
{
    pthread_t other;
    neap_stats before = {.size = sizeof before}, after = before;
    neap_get_stats(N, &before);
    CHECK(pthread_create(&other, NULL, from_another_thread, N) == 0);
    pthread_join(other, NULL);
    neap_get_stats(N, &after);
    CHECK(before.tasks == after.tasks && after.mem > 0);
    CHECK(neap_run(N) == 1);
    CHECK(neap_run(N) == NEAP_OK);
}

/* ---- the rest ---- */

static void check_arguments(neap *N)
{
    lua_State *L = neap_lua(N);
    int top = lua_gettop(L);
    CHECK(neap_text(N, NULL, 0, "=t").id == 0);
    CHECK(last(N, "neap_text") == NEAP_EARG);
    CHECK(neap_file(N, "x.lua", -1).id == 0);
    CHECK(last(N, "neap_file") == NEAP_EARG);
    CHECK(neap_file(N, "x.lua", 1000).id == 0);
    CHECK(neap_spawn(N, -1).id == 0);
    CHECK(last(N, "neap_spawn") == NEAP_EARG);
    CHECK(neap_spawn(N, 0).id == 0);
    CHECK(neap_of(NULL) == NULL);
    CHECK(lua_gettop(L) == top);
    lua_pushinteger(L, 1);
    CHECK(neap_file(N, NULL, 1).id == 0);
    CHECK(lua_gettop(L) == top); /* taken also when it fails */
    lua_pushinteger(L, 1);
    CHECK(neap_file(N, "/no/such/file", 1).id == 0);
    CHECK(last(N, "cannot open") == NEAP_ESYNTAX);
    CHECK(lua_gettop(L) == top);
    CHECK(text(N, "local = 1").id == 0);
    CHECK(last(N, "t:1:") == NEAP_ESYNTAX);
    CHECK(neap_text(N, "\033Lua", 4, NULL).id == 0); /* text only */
    CHECK(last(N, "binary") == NEAP_ESYNTAX);
    lua_State *stock = luaL_newstate();
    CHECK(neap_of(stock) == NULL);
    lua_close(stock);
}

static void check_script_error(neap *N, struct host *h)
{
    neap_stats stats = {.size = sizeof stats};
    neap_task t = text(N, "error('on purpose')"), none = {0};
    CHECK(neap_status(N, none) == NEAP_ESTALE);
    CHECK(neap_run(N) == NEAP_OK); /* the run goes well: the tasklet does not */
    CHECK(neap_status(N, t) == NEAP_FAILED);
    CHECK(h->task.id == t.id);
    CHECK(strcmp(h->failed.text, "t:1: on purpose") == 0);
    neap_get_stats(N, &stats);
    CHECK(stats.fails == 1 && stats.tasks == 0);
    for (int i = 0; i < 3; i++) /* others take its place */
        CHECK(text(N, "sleep(0)").id != 0);
    CHECK(neap_status(N, t) == NEAP_ESTALE);
    CHECK(neap_run(N) == NEAP_OK);
}

static void check_blocked(neap *N)
{
    neap_stats stats = {.size = sizeof stats};
    neap_task t = text(N, "channel():receive()");
    CHECK(neap_run(N) == NEAP_OK); /* nothing can move any more */
    CHECK(neap_status(N, t) == NEAP_WAITING);
    neap_get_stats(N, &stats);
    CHECK(stats.tasks == 1 && stats.ready == 0 && stats.timers == 0);
}

int main(void)
{
    struct host h = {0};
    neap_config c = {.size = sizeof c, .ud = &h, .fail = on_fail, .log = on_log};
    check_config();
    check_memory();
    h.N = neap_new(&c, NULL);
    CHECK(h.N && neap_error(h.N, NULL) == NEAP_OK);
    check_busy(h.N, &h);
    check_thread(h.N);
    check_arguments(h.N);
    check_script_error(h.N, &h);
    check_blocked(h.N);
    neap_free(h.N);
    return 0;
}
