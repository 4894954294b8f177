/* What happens when memory runs out: the Nth allocation fails, for N = 1, 2, ... until none
** is left to fail; once alone, once with all that follow. Every time the runtime says so,
** nothing crashes, and every byte comes back. (libev's own allocations do not come here.)
**
** memory [FROM [TO [persistent]]]: only those. */
#include "embed/check.h"

#include <pthread.h>
#include <unistd.h>

struct account {
    long calls, fail_at; /* 0: never */
    int persistent, refused, reported;
    size_t held;
};

static void *alloc(void *ud, void *p, size_t old, size_t n)
{
    struct account *a = ud;
    CHECK(p ? old > 0 : old == 0); /* sizes are exact */
    if (n > old && a->fail_at) {
        a->calls++;
        if (a->calls == a->fail_at || (a->persistent && a->calls > a->fail_at)) {
            a->refused++;
            return NULL;
        }
    }
    void *q = NULL;
    if (n == 0)
        free(p);
    else
        CHECK(q = realloc(p, n));
    a->held += n - old;
    return q;
}

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
    neap *N;
};

static void *watch(void *ud)
{
    struct watchdog *w = ud;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 20000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&w->lock);
    while (!w->ended && pthread_cond_timedwait(&w->done, &w->lock, &until) == 0)
        ;
    if (!w->ended)
        neap_interrupt(w->N);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static int watched_run(neap *N)
{
    struct watchdog w = {
        .lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER, .N = N};
    CHECK(pthread_create(&w.thread, NULL, watch, &w) == 0);
    int r = neap_run(N);
    pthread_mutex_lock(&w.lock);
    w.ended = 1;
    pthread_cond_signal(&w.done);
    pthread_mutex_unlock(&w.lock);
    pthread_join(w.thread, NULL);
    return r == 1 ? NEAP_OK : r;
}

/* One life; whether an allocation failed in it. */
static int live(long fail_at, int persistent)
{
    struct account a = {.fail_at = fail_at, .persistent = persistent};
    const char *why = NULL;
    neap_config c = {.size = sizeof c, .ud = &a, .alloc = alloc, .fail = on_fail};
    neap *N = neap_new(&c, &why);
    if (N) {
        neap_task t = neap_text(N, script, strlen(script), "=memory");
        int error = neap_error(N, &why);
        if (t.id)
            CHECK((persistent ? watched_run(N) : neap_run(N)) == NEAP_OK ||
                  neap_error(N, NULL) == NEAP_EMEM);
        else
            CHECK(a.refused && error == NEAP_EMEM && *why);
        if (!a.refused)
            CHECK(a.reported == 0 && neap_status(N, t) == NEAP_DONE);
        neap_free(N);
    } else {
        CHECK(a.refused && why && *why);
    }
    CHECK(a.held == 0);
    return a.refused;
}

int main(int argc, char **argv)
{
    long from = argc > 1 ? atol(argv[1]) : 1, to = argc > 2 ? atol(argv[2]) : 1000000;
    int persistent = argc > 3;
    long n = from, both = 0;
    alarm(120);
    CHECK(!live(0, 0));
    for (; persistent<2; persistent += argc> 3 ? 2 : 1) {
        for (n = from; n <= to; n++) {
            if (argc > 1)
                fprintf(stderr, "%ld\n", n);
            if (!live(n, persistent))
                break;
        }
        both += n - from;
    }
    printf("%ld\n", both);
    return 0;
}
