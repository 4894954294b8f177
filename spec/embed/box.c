/* A runtime with a memory limit in a box that is not much larger: 32 MiB, as `ulimit -d` has
** it. Scripts grow whatever they can; each meets the runtime's limit with an error of Lua's, and
** the box never has to refuse anything. Prints the most that was resident, in KiB. */
#include "embed/kept.h"

#include <stdbool.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MIB = 1 << 20, LIMIT = 10 * MIB, BOX = 32 * MIB };

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
    neap *N = open_with((neap_config){.alloc = alloc, .mem_limit = LIMIT, .slice_ns = 1000000});
    text(N, script);
    while (failed.length == 0)
        CHECK(neap_step(N, 0.001, 10000000) >= 0);
    size_t peak = figures(N).mem_peak;
    bool told =
        strstr(failed.text, "not enough memory") || strstr(failed.text, "Cannot allocate");
    if (!told || peak > LIMIT + LIMIT / 2) {
        fprintf(stderr, "%s\n%zu %s\n", script, peak, failed.text);
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
