/* A program of tasklets, channels, deferreds and sockets while memory runs out. Every time the
** runtime says so, nothing crashes, and every byte comes back. */
#include "embed/scarce.h"

#include <pthread.h>

struct account {
    struct scarce scarce;
    int reported;
};

static void on_fail(void *ud, neap_task t, const char *message, const char *trace)
{
    struct account *a = ud;
    (void)t, (void)trace;
    CHECK(*message);
    a->reported++;
}

static const char script[] =
    "local net = require 'neap.net'\n"
    "local listener <close> = assert(net.listen('127.0.0.1', 0))\n"
    "local serving = listener:start(function(s)\n"
    "    s:settimeout(0.2)\n"
    "    for line in s:lines() do if not s:write(line:rep(3), '\\n') then return end end\n"
    "end)\n"
    "do\n"
    "    local s <close> = assert(net.connect('127.0.0.1', listener.port, { timeout = 0.2 }))\n"
    "    s:settimeout(0.2)\n"
    "    s:write('abc', { '\\n', 'def\\n' })\n"
    "    s:read('l', 'L')\n"
    "    s:unread('x'):read(1)\n"
    "end\n"
    "local ch <close> = setmetatable({ c = channel(2) }, { __close = function(t) t.c:close() "
    "end })\n"
    "spawn(function() for i = 1, 4 do ch.c:send(i, tostring(i)) end ch.c:close() end)\n"
    "for i, text in ch.c do assert(tostring(i) == text) end\n"
    "local d = deferred()\n"
    "d:add_callback(function(v) return v .. '!' end)\n"
    "spawn(function() d:callback('fired') end)\n"
    "assert(block_on(d) == 'fired!')\n"
    "local t = spawn(function() local c <close> = ch sleep(0.05) end)\n"
    "sleep(0)\n"
    "t:kill()\n"
    "spawn(function() error({}) end):join()\n"
    "coroutine.wrap(function() sleep(0) print(coroutine.isyieldable()) end)()\n"
    "warn('@on') warn('a', 'b')\n";

/* With no memory for good, a stream may stay open for which somebody waits: its close could
** not be called. The host ends such a run. */
struct watchdog {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t done;
    int ended;
    const struct scarce *scarce;
    neap *N;
};

static bool refused(const struct watchdog *w)
{
    return __atomic_load_n(&w->scarce->refused, __ATOMIC_RELAXED) > 0;
}

/* A run that has all the memory it asks for may take its time. */
static void *watch(void *ud)
{
    struct watchdog *w = ud;
    struct timespec until;
    pthread_mutex_lock(&w->lock);
    do {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 20000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        while (!w->ended && pthread_cond_timedwait(&w->done, &w->lock, &until) == 0)
            ;
    } while (!w->ended && !refused(w));
    if (!w->ended)
        neap_interrupt(w->N);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static int watched_run(neap *N, const struct scarce *scarce)
{
    struct watchdog w = {.lock = PTHREAD_MUTEX_INITIALIZER,
                         .done = PTHREAD_COND_INITIALIZER,
                         .scarce = scarce,
                         .N = N};
    CHECK(pthread_create(&w.thread, NULL, watch, &w) == 0);
    int r = neap_run(N);
    pthread_mutex_lock(&w.lock);
    w.ended = 1;
    pthread_cond_signal(&w.done);
    pthread_mutex_unlock(&w.lock);
    pthread_join(w.thread, NULL);
    return r == 1 ? NEAP_OK : r;
}

static void run(neap *N, struct account *a)
{
    const char *why;
    neap_task t = neap_text(N, script, strlen(script), "=memory");
    if (!t.id) {
        CHECK(a->scarce.refused && neap_error(N, &why) == NEAP_EMEM && *why);
        return;
    }
    CHECK((a->scarce.persistent ? watched_run(N, &a->scarce) : neap_run(N)) == NEAP_OK ||
          neap_error(N, NULL) == NEAP_EMEM);
    if (!a->scarce.refused)
        CHECK(a->reported == 0 && neap_status(N, t) == NEAP_DONE);
}

static void live(const neap_config *config, struct scarce *s)
{
    const char *why = NULL;
    neap_config c = *config;
    c.fail = on_fail;
    neap *N = neap_new(&c, &why);
    CHECK(N || (s->refused && why && *why));
    if (N)
        run(N, (struct account *)s);
    neap_free(N);
}

int main(int argc, char **argv)
{
    return scarce_main(argc, argv, live, sizeof(struct account));
}
