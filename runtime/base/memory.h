/* Counted memory: one account per runtime, over a host's allocation function.
** Lua's heap and neap's own blocks come through here. Sizes are given back at free, as
** Lua does, so no block carries a header. Small blocks that are freed are kept for the
** next of their size, up to a limit: a program that makes and drops tasklets, closures
** and short strings all day asks malloc for hardly any. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* As lua_Alloc: n == 0 frees, p == NULL (then old == 0) makes a new block. */
typedef void *memory_fn(void *ud, void *p, size_t old, size_t n);

/* Small blocks are rounded up to a multiple of MEMORY_STEP; those of one size that lie
** idle take at most MEMORY_IDLE bytes. */
enum { MEMORY_STEP = 16, MEMORY_SMALL = 256, MEMORY_IDLE = 256 * 1024 };

struct memory_idle {
    struct memory_idle *next;
};

struct memory {
    memory_fn *fn;
    void *ud;
    size_t used, peak; /* bytes in use now, and at most so far */
    struct {
        struct memory_idle *first;
        uint32_t count;
    } idle[MEMORY_SMALL / MEMORY_STEP];
};

/* The default memory_fn: realloc and free. */
void *memory_system(void *ud, void *p, size_t old, size_t n);

/* fn NULL: memory_system. */
void memory_init(struct memory *m, memory_fn *fn, void *ud);

/* Gives the idle blocks back. */
void memory_trim(struct memory *m);

/* Makes, moves or frees a block; NULL when there is no memory (the old block stays). */
void *memory_resize(struct memory *m, void *p, size_t old, size_t n);

/* A new block of n bytes, all zero; NULL when there is no memory. */
void *memory_new(struct memory *m, size_t n);

void memory_free(struct memory *m, void *p, size_t n);

/* Grows an array of `size`-byte items to hold at least `need` of them, doubling.
** Returns the array and sets *cap, or NULL and leaves both as they were. */
void *memory_grow(struct memory *m, void *items, uint32_t *cap, uint32_t need, size_t size);

#endif
