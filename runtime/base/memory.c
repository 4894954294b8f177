#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

void *memory_system(void *ud, void *p, size_t old, size_t n)
{
    (void)ud;
    (void)old;
    if (n == 0) {
        free(p);
        return NULL;
    }
    return realloc(p, n);
}

void memory_init(struct memory *m, memory_fn *fn, void *ud)
{
    *m = (struct memory){.fn = fn ? fn : memory_system, .ud = ud};
}

void *memory_resize(struct memory *m, void *p, size_t old, size_t n)
{
    void *q = m->fn(m->ud, p, old, n);
    if (!q && n > 0)
        return NULL;
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
