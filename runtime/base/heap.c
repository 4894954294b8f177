#include "base/heap.h"

#include <errno.h>

enum { ARITY = 4 }; /* four children share a cache line: fewer misses than two */

static bool before(const struct heap_entry *a, const struct heap_entry *b)
{
    if (a->key != b->key)
        return a->key < b->key;
    return a->node->seq < b->node->seq;
}

static void put(struct heap *h, uint32_t i, struct heap_entry e)
{
    h->entries[i] = e;
    e.node->pos = i + 1;
}

static void sift_up(struct heap *h, uint32_t i, struct heap_entry e)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / ARITY;
        if (!before(&e, &h->entries[parent]))
            break;
        put(h, i, h->entries[parent]);
        i = parent;
    }
    put(h, i, e);
}

/* The smallest child of i, or count if it has none. */
static uint32_t least_child(const struct heap *h, uint32_t i)
{
    uint64_t first = (uint64_t)i * ARITY + 1, last = first + ARITY;
    if (first >= h->count)
        return h->count;
    if (last > h->count)
        last = h->count;
    uint32_t best = (uint32_t)first;
    for (uint32_t c = best + 1; c < last; c++)
        if (before(&h->entries[c], &h->entries[best]))
            best = c;
    return best;
}

static void sift_down(struct heap *h, uint32_t i, struct heap_entry e)
{
    for (;;) {
        uint32_t c = least_child(h, i);
        if (c == h->count || before(&e, &h->entries[c]))
            break;
        put(h, i, h->entries[c]);
        i = c;
    }
    put(h, i, e);
}

int heap_reserve(struct heap *h, struct memory *m)
{
    if (h->count < h->cap)
        return 0;
    void *p = memory_grow(m, h->entries, &h->cap, h->count + 1, sizeof *h->entries);
    if (!p)
        return -ENOMEM;
    h->entries = p;
    return 0;
}

int heap_insert(struct heap *h, struct memory *m, struct heap_node *n, double key)
{
    if (heap_reserve(h, m) < 0)
        return -ENOMEM;
    n->seq = h->next_seq++;
    sift_up(h, h->count++, (struct heap_entry){key, n});
    return 0;
}

void heap_remove(struct heap *h, struct heap_node *n)
{
    if (!heap_holds(n))
        return;
    uint32_t i = n->pos - 1;
    struct heap_entry last = h->entries[--h->count];
    n->pos = 0;
    if (i == h->count)
        return;
    if (i > 0 && before(&last, &h->entries[(i - 1) / ARITY]))
        sift_up(h, i, last);
    else
        sift_down(h, i, last);
}

struct heap_node *heap_first(const struct heap *h, double *key)
{
    if (h->count == 0)
        return NULL;
    *key = h->entries[0].key;
    return h->entries[0].node;
}

void heap_free(struct heap *h, struct memory *m)
{
    memory_free(m, h->entries, h->cap * sizeof *h->entries);
    *h = (struct heap){0};
}
