/* Counted memory: one account per runtime. Lua's heap and neap's own blocks come through
** here. Sizes are given back at free, as Lua does, so no block carries a header. Each block
** is asked of the host's allocation function; without one, small blocks are cut from slabs
** and the others are malloc's. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* As lua_Alloc: n == 0 frees, p == NULL (then old == 0) makes a new block. */
typedef void *memory_fn(void *ud, void *p, size_t old, size_t n);

struct slabs;

struct memory {
    memory_fn *fn; /* NULL: slabs and malloc */
    void *ud;
    size_t used, peak;            /* bytes in use now, and at most so far */
    size_t buffers, buffer_limit; /* of them in buffers (buffer.h), and at most; 0: any */
    struct slabs *slabs;          /* made on use; never with a host's fn */
};

void memory_init(struct memory *m, memory_fn *fn, void *ud);

/* All blocks have been freed: frees what they were cut from. */
void memory_close(struct memory *m);

/* Makes, moves or frees a block; NULL when there is no memory (the old block stays). */
void *memory_resize(struct memory *m, void *p, size_t old, size_t n);

/* A new block of n bytes, all zero; NULL when there is no memory. */
void *memory_new(struct memory *m, size_t n);

void memory_free(struct memory *m, void *p, size_t n);

/* Grows an array of `size`-byte items to hold at least `need` of them, doubling.
** Returns the array and sets *cap, or NULL and leaves both as they were. */
void *memory_grow(struct memory *m, void *items, uint32_t *cap, uint32_t need, size_t size);

#endif
