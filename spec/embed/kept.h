/* A runtime that keeps what its scripts print and what fails, for the host to look at. */
#ifndef SPEC_EMBED_KEPT_H
#define SPEC_EMBED_KEPT_H

#include "embed/check.h"

static struct kept out, failed;

static inline void on_write(void *ud, const char *s, size_t n)
{
    (void)ud;
    keep(&out, s, n);
}

static inline void on_fail(void *ud, neap_task t, const char *message, const char *trace)
{
    (void)ud, (void)t, (void)trace;
    keep(&failed, message, strlen(message));
    keep(&failed, "\n", 1);
}

static inline void forget(void)
{
    out.length = failed.length = 0;
    *out.text = *failed.text = '\0';
}

/* A new one, with nothing kept so far; of the config only these two hooks are set here. */
static inline neap *open_with(neap_config c)
{
    const char *why = "";
    c.size = sizeof c;
    c.write = on_write;
    c.fail = on_fail;
    neap *N = neap_new(&c, &why);
    if (!N)
        fprintf(stderr, "%s\n", why);
    CHECK(N);
    forget();
    return N;
}

/* A tasklet that runs the chunk. */
static inline neap_task text(neap *N, const char *s)
{
    neap_task t = neap_text(N, s, strlen(s), "=t");
    CHECK(t.id);
    return t;
}

static inline neap_stats figures(neap *N)
{
    neap_stats s = {.size = sizeof s};
    neap_get_stats(N, &s);
    return s;
}

#endif
