#include "base/memory.h"

#include "base/slab.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Under the address sanitizer every block is malloc's own, so that it sees each misuse. */
#ifdef __SANITIZE_ADDRESS__
enum { SMALL = 0 };
#else
enum { SMALL = SLAB_MAX };
#endif

void memory_init(struct memory *m, memory_fn *fn, void *ud)
{
    *m = (struct memory){.fn = fn, .ud = ud};
}

void memory_close(struct memory *m)
{
    slabs_free(m->slabs);
    m->slabs = NULL;
}

static void *take(struct memory *m, size_t n)
{
    if (m->fn)
        return m->fn(m->ud, NULL, 0, n);
    if (n > SMALL)
        return malloc(n);
    if (!m->slabs && !(m->slabs = slabs_new()))
        return NULL;
    return slab_take(m->slabs, n);
}

static void give(struct memory *m, void *p, size_t n)
{
    if (m->fn)
        m->fn(m->ud, p, n, 0);
    else if (n > SMALL)
        free(p);
    else
        slab_give(m->slabs, p, n);
}

static size_t steps(size_t n)
{
    return (n + SLAB_STEP - 1) / SLAB_STEP;
}

/* A block that grows or shrinks. */
static void *move(struct memory *m, void *p, size_t old, size_t n)
{
    if (m->fn)
        return m->fn(m->ud, p, old, n);
    if (old > SMALL && n > SMALL)
        return realloc(p, n);
    if (old <= SMALL && steps(old) == steps(n))
        return p;
    void *q = take(m, n);
    if (q) {
        memcpy(q, p, old < n ? old : n);
        give(m, p, old);
    }
    return q;
}

void *memory_resize(struct memory *m, void *p, size_t old, size_t n)
{
    void *q = NULL;
    if (n > 0) {
        q = old > 0 ? move(m, p, old, n) : take(m, n);
        if (!q)
            return NULL;
    } else if (old > 0) {
        give(m, p, old);
    }
    m->used += n - old;
    if (m->used > m->peak)
        m->peak = m->used;
    return q;
}

void *memory_new(struct memory *m, size_t n)
{
    void *p = memory_resize(m, NULL, 0, n);
    return p ? memset(p, 0, n) : NULL;
}

void memory_free(struct memory *m, void *p, size_t n)
{
    if (p)
        memory_resize(m, p, n, 0);
}

void *memory_grow(struct memory *m, void *items, uint32_t *cap, uint32_t need, size_t size)
{
    uint32_t n = *cap ? *cap : 16;
    while (n < need)
        n *= 2;
    void *p = memory_resize(m, items, *cap * size, n * size);
    if (p)
        *cap = n;
    return p;
}
