/* A runtime with a memory limit in a box that is not much larger: 64 MiB, as `ulimit -d` has
** it. Scripts grow whatever they can; each meets the runtime's limit with an error of Lua's, and
** the box never has to refuse anything. Prints the most that was resident, in KiB. */
#include "embed/check.h"

#include <stdbool.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MIB = 1 << 20, LIMIT = 24 * MIB, BOX = 64 * MIB };

static struct kept failed;
static int refused; /* by the box */

static void *alloc(void *ud, void *p, size_t old, size_t n)
{
    (void)ud, (void)old;
    if (n == 0) {
        free(p);
        return NULL;
    }
    void *q = realloc(p, n);
    refused += !q;
    return q;
}

static void on_fail(void *ud, neap_task t, const char *message, const char *trace)
{
    (void)ud, (void)t, (void)trace;
    keep(&failed, message, strlen(message));
    keep(&failed, "\n", 1);
}

/* Two connected streams; a tasklet that feeds one of them without end. */
#define PAIR                                                                       \
    "local net = require 'neap.net' local l = assert(net.listen('127.0.0.1', 0)) " \
    "local near = assert(net.connect('127.0.0.1', l.port)) local far = assert(l:accept()) "
#define FED PAIR "spawn(function() while far:write(('x'):rep(65536)) do end end) "

static const char *const scripts[] = {
    "local t = {} while true do t[#t + 1] = {} end",
    "local s = 'x' while true do s = s .. s end",
    "local t = {} while true do t[#t + 1] = ('x'):rep(100000) .. #t end",
    "local t = {} for i = 1, 1e9 do t[i] = i end",
    "local t = {} while true do t[#t + 1] = coroutine.wrap(print) end",
    "while true do spawn(sleep, 1e9) sleep(0) end",
    "local c = channel(1e9) while true do c:send(('x'):rep(1000) .. #c) end",
    "local d = deferred() while true do d:add_callback(function() end) end",
    FED "assert(near:read('a'))",
    FED "assert(near:read(1e9))",
    FED "local t = {} while true do t[#t + 1] = assert(near:read(100000)) end",
    PAIR "while true do assert(near:unread(('x'):rep(1e6))) end",
    PAIR "for i = 1, 1e9 do spawn(near.write, near, ('x'):rep(100000) .. i) end",
};

static void contained(const char *script)
{
    neap_config c = {.size = sizeof c,
                     .alloc = alloc,
                     .fail = on_fail,
                     .mem_limit = LIMIT,
                     .slice_ns = 1000000};
    neap *N = neap_new(&c, NULL);
    CHECK(N);
    failed.length = 0;
    CHECK(neap_text(N, script, strlen(script), "=t").id);
    while (failed.length == 0)
        CHECK(neap_step(N, 0.001, 10000000) >= 0);
    neap_stats s = {.size = sizeof s};
    neap_get_stats(N, &s);
    bool told =
        strstr(failed.text, "not enough memory") || strstr(failed.text, "Cannot allocate");
    if (!told || s.mem_peak > LIMIT + LIMIT / 2) {
        fprintf(stderr, "%s\n%zu %s\n", script, s.mem_peak, failed.text);
        exit(1);
    }
    neap_free(N);
}

int main(void)
{
    struct rlimit box = {BOX, BOX};
    struct rusage used;
    alarm(120);
    CHECK(setrlimit(RLIMIT_DATA, &box) == 0);
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++)
        contained(scripts[i]);
    CHECK(refused == 0 && getrusage(RUSAGE_SELF, &used) == 0);
    CHECK(used.ru_maxrss < BOX / 1024);
    printf("%ld\n", used.ru_maxrss);
    return 0;
}
