/* The smallest host: a runtime, a script that waits, the end.
**
**     cc hello.c $(pkg-config --cflags --libs neap) */
#include "embed/check.h"

static void to_stdout(void *ud, const char *s, size_t n)
{
    (void)ud;
    fwrite(s, 1, n, stdout);
}

int main(void)
{
    static const char script[] = "local ch = channel()\n"
                                 "spawn(function() sleep(0.01) ch:send('world') end)\n"
                                 "print('hello ' .. ch:receive())\n";
    const char *why;
    neap_config c = {.size = sizeof c, .write = to_stdout};
    neap *N = neap_new(&c, &why);
    if (!N) {
        fprintf(stderr, "hello: %s\n", why);
        return 1;
    }
    neap_task t = neap_text(N, script, strlen(script), "=hello");
    CHECK(t.id != 0);
    CHECK(neap_status(N, t) == NEAP_READY);
    CHECK(neap_run(N) == NEAP_OK);
    CHECK(neap_status(N, t) == NEAP_DONE);
    neap_free(N);
    return 0;
}
