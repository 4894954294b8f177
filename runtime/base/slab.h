/* Small blocks without headers, cut from slabs of 16 KiB, each of one size of block. A slab
** that empties serves any size again; a chunk of memory whose slabs are all empty goes back
** to the system, all but the last. Chunks grow from 64 KiB to 2 MiB; those of 2 MiB may be
** huge pages, without which a hundred thousand tasklets spend a third of their time on page
** faults and missed translations. */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include <stddef.h>

/* Sizes are rounded up to a multiple of SLAB_STEP; SLAB_MAX is the largest. */
enum { SLAB_STEP = 16, SLAB_MAX = 1024 };

struct slabs;

/* NULL when there is no memory. */
struct slabs *slabs_new(void);

/* Frees everything, with all blocks that are still out. NULL is fine. */
void slabs_free(struct slabs *s);

/* Bytes that they hold, in use or not. */
size_t slabs_held(const struct slabs *s);

/* A block of n bytes, 1 to SLAB_MAX; NULL when there is no memory. */
void *slab_take(struct slabs *s, size_t n);

/* Gives back a block of n bytes. */
void slab_give(struct slabs *s, void *p, size_t n);

#endif
