/* A slot map: 64-bit ids for things that may be gone when the id is used.
** An id is generation << 32 | index + 1, so 0 is never one and a stale id finds
** nothing. A slot whose thing has ended keeps one last word about it until it is
** taken again. */
#ifndef BASE_SLOTS_H
#define BASE_SLOTS_H

#include "base/memory.h"

struct slot {
    void *item; /* NULL: ended, or never used */
    uint32_t generation;
    uint32_t next; /* free list: index + 1 of the next */
    int last_word; /* while ended: what was left about it; 0: nothing */
};

struct slots {
    struct slot *slots;
    uint32_t count, cap;
    uint32_t first_free, last_free; /* index + 1; freed slots are reused oldest first */
};

/* The new id of item; 0 if there is no memory. */
uint64_t slots_add(struct slots *s, struct memory *m, void *item);

/* The item, or NULL when it is gone; then *last_word (if not NULL) is what
** slots_drop left, or 0 once the slot serves another. */
void *slots_find(const struct slots *s, uint64_t id, int *last_word);

/* Ends the id; last_word must not be 0. */
void slots_drop(struct slots *s, uint64_t id, int last_word);

void slots_free(struct slots *s, struct memory *m);

#endif
