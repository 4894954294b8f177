#include "base/slab.h"

#include "base/list.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { SLAB_SIZE = 16 * 1024, CHUNK_LEAST = 64 * 1024, CHUNK_MOST = 2 * 1024 * 1024 };
enum { CLASSES = SLAB_MAX / SLAB_STEP };

struct block {
    struct block *next;
};

struct chunk {
    struct list link;  /* in slabs.chunks */
    struct list empty; /* slabs that emptied */
    char *memory;
    uint32_t slabs, made, used; /* that fit, were cut so far, hold blocks */
};

/* At the start of each slab, whose blocks follow; aligned, so that a block finds it. */
struct slab {
    struct list link; /* in slabs.open while it has room, in chunk.empty when it is all room */
    struct chunk *chunk;
    struct block *idle; /* blocks that were given back */
    uint32_t fresh;     /* offset of the first block that was never out */
    uint32_t used;      /* blocks out */
    size_t size;        /* of a block */
};

struct slabs {
    struct list open[CLASSES]; /* slabs with room, by size of block */
    struct list chunks;        /* the full ones last */
    struct chunk *spare;       /* one that has emptied, in no list; or NULL */
    size_t bytes;              /* of all chunks */
};

struct slabs *slabs_new(void)
{
    struct slabs *s = malloc(sizeof *s);
    if (!s)
        return NULL;
    for (int i = 0; i < CLASSES; i++)
        list_init(&s->open[i]);
    list_init(&s->chunks);
    s->spare = NULL;
    s->bytes = 0;
    return s;
}

static void chunk_free(struct slabs *s, struct chunk *c)
{
    list_remove(&c->link);
    s->bytes -= (size_t)c->slabs * SLAB_SIZE;
    free(c->memory);
    free(c);
}

void slabs_free(struct slabs *s)
{
    if (!s)
        return;
    if (s->spare)
        chunk_free(s, s->spare);
    while (!list_empty(&s->chunks))
        chunk_free(s, container_of(s->chunks.next, struct chunk, link));
    free(s);
}

size_t slabs_held(const struct slabs *s)
{
    return s->bytes;
}

static struct chunk *chunk_new(struct slabs *s)
{
    size_t n = s->bytes < CHUNK_LEAST  ? CHUNK_LEAST
               : s->bytes > CHUNK_MOST ? CHUNK_MOST
                                       : s->bytes;
    struct chunk *c = malloc(sizeof *c);
    char *memory = c ? aligned_alloc(n == CHUNK_MOST ? n : SLAB_SIZE, n) : NULL;
    if (!memory) {
        free(c);
        return NULL;
    }
    if (n == CHUNK_MOST)
        madvise(memory, n, MADV_HUGEPAGE); /* where there are none it works all the same */
    *c = (struct chunk){.memory = memory, .slabs = (uint32_t)(n / SLAB_SIZE)};
    list_init(&c->empty);
    list_init(&c->link);
    s->bytes += n;
    return c;
}

static bool chunk_full(const struct chunk *c)
{
    return c->used == c->slabs;
}

/* A slab of a chunk that is not full. */
static struct slab *slab_of(struct chunk *c)
{
    c->used++;
    if (list_empty(&c->empty))
        return (struct slab *)(void *)(c->memory + (size_t)SLAB_SIZE * c->made++);
    struct slab *b = container_of(c->empty.next, struct slab, link);
    list_remove(&b->link);
    return b;
}

/* A chunk with room for a slab, first in the list. */
static struct chunk *chunk_with_room(struct slabs *s)
{
    struct chunk *c = container_of(s->chunks.next, struct chunk, link);
    if (!list_empty(&s->chunks) && !chunk_full(c))
        return c;
    c = s->spare ? s->spare : chunk_new(s);
    s->spare = NULL;
    if (c)
        list_push_front(&s->chunks, &c->link);
    return c;
}

/* Opens a slab for blocks of a class. */
static struct slab *slab_new(struct slabs *s, size_t class)
{
    struct chunk *c = chunk_with_room(s);
    if (!c)
        return NULL;
    struct slab *b = slab_of(c);
    if (chunk_full(c)) {
        list_remove(&c->link);
        list_push_back(&s->chunks, &c->link);
    }
    *b = (struct slab){.chunk = c, .fresh = sizeof *b, .size = (class + 1) * SLAB_STEP};
    list_push_front(&s->open[class], &b->link);
    return b;
}

static bool slab_full(const struct slab *b)
{
    return !b->idle && b->fresh + b->size > SLAB_SIZE;
}

void *slab_take(struct slabs *s, size_t n)
{
    size_t class = (n - 1) / SLAB_STEP;
    struct list *open = &s->open[class];
    struct slab *b =
        list_empty(open) ? slab_new(s, class) : container_of(open->next, struct slab, link);
    if (!b)
        return NULL;
    struct block *p = b->idle;
    if (p) {
        b->idle = p->next;
    } else {
        p = (struct block *)(void *)((char *)b + b->fresh);
        b->fresh += (uint32_t)b->size;
    }
    b->used++;
    if (slab_full(b))
        list_remove(&b->link);
    return p;
}

/* All blocks of a slab are back: it serves any class again. */
static void slab_emptied(struct slabs *s, struct slab *b)
{
    struct chunk *c = b->chunk;
    list_remove(&b->link);
    list_push_front(&c->empty, &b->link);
    list_remove(&c->link);
    if (--c->used > 0)
        list_push_front(&s->chunks, &c->link);
    else if (s->spare)
        chunk_free(s, c);
    else
        s->spare = c;
}

void slab_give(struct slabs *s, void *p, size_t n)
{
    struct slab *b = (struct slab *)((uintptr_t)p & ~(uintptr_t)(SLAB_SIZE - 1));
    struct block *block = p;
    if (slab_full(b))
        list_push_front(&s->open[(n - 1) / SLAB_STEP], &b->link);
    block->next = b->idle;
    b->idle = block;
    if (--b->used == 0)
        slab_emptied(s, b);
}
