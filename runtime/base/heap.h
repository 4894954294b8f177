/* A min-heap of (key, sequence) with O(log n) removal from the middle.
** Equal keys leave in the order in which they came: ties break by the sequence
** number. A node knows its position, so it can be withdrawn at any time. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include "base/memory.h"

#include <stdbool.h>

struct heap_node {
    uint64_t seq;
    uint32_t pos;  /* 1-based place in the heap; 0: not in it */
    uint32_t kind; /* the owner's, to tell nodes apart */
};

struct heap_entry {
    double key;
    struct heap_node *node;
};

struct heap {
    struct heap_entry *entries;
    uint32_t count, cap;
    uint64_t next_seq;
};

static inline bool heap_holds(const struct heap_node *n)
{
    return n->pos != 0;
}

/* Makes room for one more. 0 or -ENOMEM. */
int heap_reserve(struct heap *h, struct memory *m);

/* 0, or -ENOMEM with nothing changed. The node must not be in a heap. */
int heap_insert(struct heap *h, struct memory *m, struct heap_node *n, double key);

/* Takes a node out; harmless when it is not in. */
void heap_remove(struct heap *h, struct heap_node *n);

/* The key of a node that is in. */
static inline double heap_key(const struct heap *h, const struct heap_node *n)
{
    return h->entries[n->pos - 1].key;
}

/* The first node, or NULL; *key is its key. It stays in. */
struct heap_node *heap_first(const struct heap *h, double *key);

void heap_free(struct heap *h, struct memory *m);

#endif
