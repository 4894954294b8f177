/* Two runtimes share nothing: interleaved in one thread, then each in a thread of its own. */
#include "embed/check.h"

#include <pthread.h>

static void on_write(void *ud, const char *s, size_t n)
{
    keep(ud, s, n);
}

static void on_fail(void *ud, neap_task t, const char *message, const char *trace)
{
    (void)ud, (void)t;
    fprintf(stderr, "two: %s\n%s\n", message, trace);
    exit(1);
}

static neap *open_one(struct kept *out)
{
    neap_config c = {.size = sizeof c, .ud = out, .write = on_write, .fail = on_fail};
    neap *N = neap_new(&c, NULL);
    CHECK(N);
    return N;
}

static void start(neap *N, const char *s)
{
    CHECK(neap_text(N, s, strlen(s), "=two").id != 0);
}

static void interleaved(void)
{
    struct kept a = {0}, b = {0};
    neap *A = open_one(&a), *B = open_one(&b);
    start(A, "x = 'a' print(x) neap.on_error(function() end)");
    start(B, "print(x) x = 'b' sleep(0.005) print(x)");
    CHECK(neap_run(A) == NEAP_OK);
    CHECK(neap_run(B) == NEAP_OK);
    start(A, "print(x) ch = channel('c') spawn(function() print(ch:receive()) end)");
    start(B, "print(x) ch = channel('c') print(ch.balance)");
    CHECK(neap_run(B) == NEAP_OK);
    CHECK(neap_run(A) == NEAP_OK);
    neap_free(B);
    start(A, "channel('c'):send('still here')");
    CHECK(neap_run(A) == NEAP_OK);
    neap_free(A);
    CHECK(strcmp(a.text, "a\na\nstill here\n") == 0);
    CHECK(strcmp(b.text, "nil\nb\nb\n0\n") == 0);
}

static const char busy[] =
    "local net = require 'neap.net'\n"
    "local listener = assert(net.listen('127.0.0.1', 0))\n"
    "listener:start(function(s) for line in s:lines() do s:write(line, '\\n') end end)\n"
    "local stream = assert(net.connect('127.0.0.1', listener.port))\n"
    "local ch, sum = channel(), 0\n"
    "spawn(function()\n"
    "    for i = 1, 300 do\n"
    "        stream:write(i, '\\n')\n"
    "        ch:send(tonumber(stream:read()))\n"
    "        if i % 100 == 0 then collectgarbage() sleep(0.001) end\n"
    "    end\n"
    "    ch:close()\n"
    "end)\n"
    "for n in ch do sum = sum + n end\n"
    "stream:close() listener:close()\n"
    "print(sum)\n";

static void *whole_life(void *ignored)
{
    (void)ignored;
    for (int i = 0; i < 3; i++) {
        struct kept out = {0};
        neap *N = open_one(&out);
        start(N, busy);
        CHECK(neap_run(N) == NEAP_OK);
        neap_free(N);
        CHECK(strcmp(out.text, "45150\n") == 0);
    }
    return NULL;
}

struct stoppable {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    neap *N;
};

/* A server that only neap_interrupt ends. */
static void *serve(void *ud)
{
    struct stoppable *s = ud;
    struct kept out = {0};
    neap *N = open_one(&out);
    start(N, "require 'neap.net'.listen('127.0.0.1', 0):serve(print)");
    pthread_mutex_lock(&s->lock);
    s->N = N;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    CHECK(neap_run(N) == 1);
    pthread_mutex_lock(&s->lock); /* from here on nobody else may use it */
    s->N = NULL;
    pthread_mutex_unlock(&s->lock);
    neap_free(N);
    return NULL;
}

static void in_threads(void)
{
    pthread_t threads[4], server;
    struct stoppable s = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL};
    CHECK(pthread_create(&server, NULL, serve, &s) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, whole_life, NULL) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_lock(&s.lock);
    while (!s.N)
        pthread_cond_wait(&s.changed, &s.lock);
    neap_interrupt(s.N);
    pthread_mutex_unlock(&s.lock);
    pthread_join(server, NULL);
}

/* Signals are the host's; one that lends none has scripts without. */
static void without_signals(void)
{
    struct kept out = {0};
    neap *N = open_one(&out);
    start(N, "print(require 'neap.signal'.wait('SIGTERM'))\n"
             "print(require 'neap.signal'.channel('SIGINT'))");
    CHECK(neap_run(N) == NEAP_OK);
    neap_free(N);
    CHECK(strcmp(out.text, "nil\tsignals belong to the host\tENOTSUP\n"
                           "nil\tsignals belong to the host\tENOTSUP\n") == 0);
}

int main(void)
{
    interleaved();
    without_signals();
    in_threads();
    return 0;
}
