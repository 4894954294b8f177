/* Memory that runs out: of a runtime's allocations the Nth fails, for N = 1, 2, ... until none
** is left to fail; once alone, once with all that follow. They are those of the host's alloc,
** and then, in a host without one, those of malloc itself (embed.mk has them wrapped). Of
** libev's none fails: it would abort, as neap.h says.
**
** A host's arguments: [alloc|malloc FROM TO [persistent]], only those lives. */
#ifndef SPEC_EMBED_SCARCE_H
#define SPEC_EMBED_SCARCE_H

#include "embed/check.h"

#include <ev.h>
#include <stdbool.h>
#include <unistd.h>

struct scarce {
    long calls, fail_at; /* 0: never */
    bool persistent;     /* all that follow fail too */
    int refused;
    size_t held;
};

/* Whether this request is refused. */
static inline bool scarce_refuses(struct scarce *s)
{
    if (!s->fail_at)
        return false;
    s->calls++;
    bool refuse = s->calls == s->fail_at || (s->persistent && s->calls > s->fail_at);
    s->refused += refuse;
    return refuse;
}

/* neap_config.alloc, with a struct scarce for its first argument. */
static inline void *scarce_alloc(void *ud, void *p, size_t old, size_t n)
{
    struct scarce *s = ud;
    void *q = NULL;
    CHECK(p ? old > 0 : old == 0); /* sizes are exact */
    if (n > old && scarce_refuses(s))
        return NULL;
    if (n == 0)
        free(p);
    else
        CHECK(q = realloc(p, n));
    s->held += n - old;
    return q;
}

/* ---- malloc ---- */

static struct scarce *scarce_malloc; /* NULL: it never fails */

void *__wrap_malloc(size_t n), *__real_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size), *__real_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n), *__real_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
    return scarce_malloc && scarce_refuses(scarce_malloc) ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return scarce_malloc && scarce_refuses(scarce_malloc) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return scarce_malloc && scarce_refuses(scarce_malloc) ? NULL : __real_realloc(p, n);
}

static void *libev_alloc(void *p, long n)
{
    if (n)
        return __real_realloc(p, (size_t)n);
    free(p);
    return NULL;
}

/* ---- lives ---- */

/* What a host does with a runtime of this config, from neap_new to neap_free; its own data
** follow the struct scarce, to which ud points. */
typedef void scarce_life(const neap_config *c, struct scarce *s);

/* One life, with a block of `size` zeroed bytes at its ud; whether an allocation failed. */
static inline bool scarce_live(scarce_life *life, size_t size, struct scarce first, bool own)
{
    struct scarce *s = __real_calloc(1, size);
    neap_config c = {.size = sizeof c, .ud = s, .alloc = own ? scarce_alloc : NULL};
    CHECK(s);
    *s = first;
    scarce_malloc = own ? NULL : s;
    life(&c, s);
    scarce_malloc = NULL;
    bool refused = s->refused > 0;
    CHECK(s->held == 0);
    free(s);
    return refused;
}

/* All lives; prints how many. */
static inline int scarce_main(int argc, char **argv, scarce_life *life, size_t size)
{
    long from = argc > 3 ? atol(argv[2]) : 1, to = argc > 3 ? atol(argv[3]) : 1000000;
    long lives = 0;
    ev_set_allocator(libev_alloc);
    alarm(240);
    for (int own = 1; own >= 0; own--) {
        if (argc > 1 && own != !strcmp(argv[1], "alloc"))
            continue;
        CHECK(!scarce_live(life, size, (struct scarce){0}, own));
        for (int persistent = argc > 4; persistent<2; persistent += argc> 3 ? 2 : 1)
            for (long n = from; n <= to; n++, lives++) {
                if (argc > 3)
                    fprintf(stderr, "%ld\n", n);
                if (!scarce_live(life, size, (struct scarce){0, n, persistent, 0, 0}, own))
                    break;
            }
    }
    printf("%ld\n", lives);
    return 0;
}

#endif
