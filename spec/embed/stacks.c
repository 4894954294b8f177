/* How small a stack may be on which a runtime lives: scripts that nest C calls as deep as Lua
** lets them, on threads of ever larger stacks, each in a process of its own. Prints the least
** stack in KiB on which all of them got no further than an error. */
#include "embed/check.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const scripts[] = {
    "local function f() return (('x'):gsub('x', f)) end f()",
    "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end "
    "return t.x",
    "local function f() return coroutine.wrap(f)() end f()",
    "local function f() return coroutine.wrap(function() pcall(f) end)() end f()",
    "local function f() pcall(f) end f()",
    "local function f() xpcall(f, f) end f()",
    "local function f() table.sort({1, 2, 3}, f) end f()",
    "local function f() return tostring(setmetatable({}, {__tostring = f})) end f()",
    "local function f() return load(f)() end f()",
    "local function f() local c <close> = setmetatable({}, {__close = f}) end f()",
    "local function f(d) local c <close> = setmetatable({}, {__close = function() if d > 0 "
    "then "
    "local co = coroutine.create(f) coroutine.resume(co, d - 1) coroutine.close(co) end end}) "
    "coroutine.yield() end local co = coroutine.create(f) coroutine.resume(co, 2000) "
    "coroutine.close(co)",
    "local n = 0 local function f() n = n + 1 if n < 1e4 then "
    "deferred():add_callback(f):callback() end end f()",
    "local function f() neap.pcall(f) end f()",
    "local function f() return neap.with_timeout(9, f) end f()",
    "return load(('('):rep(1000) .. '1' .. (')'):rep(1000))",
    "return load(('function f() '):rep(1000) .. ('end '):rep(1000))",
    "('('):rep(30):rep(100):find(('(.'):rep(30) .. ('-)'):rep(30))",
    "return ('a'):rep(1e5):find(('a?'):rep(1e5))",
    "return ('a'):find(('a-'):rep(190))",
    "local function f() pcall(string.find, 'a', ('a-'):rep(190)) "
    "pcall(load, ('('):rep(190)) return (('x'):gsub('x', f)) end f()",
    "local t = {} for i = 1, 1000 do t[i] = i % 7 end print(table.concat(t, ' '))",
    "return string.format('%99.99f %s', -1e308, ('x'):rep(1e5))",
    "error(setmetatable({}, {__tostring = function(t) error(t) end}))",
};

static void *live(void *ud)
{
    neap_config c = {.size = sizeof c, .mem_limit = 64 << 20, .runaway_ns = 500000000};
    neap *N = neap_new(&c, NULL);
    CHECK(N);
    CHECK(neap_text(N, ud, strlen(ud), "=t").id);
    for (int i = 0; i < 100; i++)
        CHECK(neap_step(N, 1, -1) >= 0);
    neap_free(N);
    return NULL;
}

/* Whether a script is survived by a thread with that stack. */
static int survives(const char *script, size_t kib)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit no_core = {0, 0};
        pthread_attr_t attr;
        pthread_t thread;
        setrlimit(RLIMIT_CORE, &no_core);
        pthread_attr_init(&attr);
        CHECK(pthread_attr_setstacksize(&attr, kib * 1024) == 0);
        CHECK(pthread_create(&thread, &attr, live, (void *)script) == 0);
        pthread_join(thread, NULL);
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGSEGV);
    return WIFEXITED(status);
}

/* With an argument it tells what each script takes. */
int main(int argc, char **argv)
{
    size_t most = 0;
    (void)argv;
    alarm(120);
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        size_t kib = 64;
        while (!survives(scripts[i], kib))
            CHECK((kib += 32) <= 512); /* as docs/embedding.md says */
        if (argc > 1)
            fprintf(stderr, "%zu KiB: %s\n", kib, scripts[i]);
        most = kib > most ? kib : most;
    }
    printf("%zu\n", most);
    return 0;
}
