#include "base/memory.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Under the address sanitizer every block is malloc's own, so that it sees each misuse. */
#ifdef __SANITIZE_ADDRESS__
static const bool keeps_idle = false;
#else
static const bool keeps_idle = true;
#endif

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

static size_t rounded(size_t n)
{
    return (n + MEMORY_STEP - 1) & ~(size_t)(MEMORY_STEP - 1);
}

static bool small(size_t n)
{
    return keeps_idle && n <= MEMORY_SMALL;
}

static void *take(struct memory *m, size_t n)
{
    if (!small(n))
        return m->fn(m->ud, NULL, 0, n);
    size_t class = (n - 1) / MEMORY_STEP;
    struct memory_idle *b = m->idle[class].first;
    if (!b)
        return m->fn(m->ud, NULL, 0, rounded(n));
    m->idle[class].first = b->next;
    m->idle[class].count--;
    return b;
}

static void give(struct memory *m, void *p, size_t n)
{
    if (!small(n)) {
        m->fn(m->ud, p, n, 0);
        return;
    }
    size_t class = (n - 1) / MEMORY_STEP;
    if (m->idle[class].count >= MEMORY_IDLE / rounded(n)) {
        m->fn(m->ud, p, rounded(n), 0);
        return;
    }
    struct memory_idle *b = p;
    b->next = m->idle[class].first;
    m->idle[class].first = b;
    m->idle[class].count++;
}

/* A block that grows or shrinks. */
static void *move(struct memory *m, void *p, size_t old, size_t n)
{
    if (!small(old) && !small(n))
        return m->fn(m->ud, p, old, n);
    if (small(old) && small(n) && rounded(old) == rounded(n))
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

void memory_trim(struct memory *m)
{
    for (size_t class = 0; class < MEMORY_SMALL / MEMORY_STEP; class ++) {
        struct memory_idle *b;
        while ((b = m->idle[class].first)) {
            m->idle[class].first = b->next;
            m->fn(m->ud, b, (class + 1) * MEMORY_STEP, 0);
        }
        m->idle[class].count = 0;
    }
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
