/* A queue of bytes: appended at the end, consumed at the front.
** The live bytes are data[from .. to); an empty buffer holds no memory. */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include "base/memory.h"

struct buffer {
    char *data;
    size_t from, to, cap;
};

static inline size_t buffer_length(const struct buffer *b)
{
    return b->to - b->from;
}

static inline char *buffer_bytes(const struct buffer *b)
{
    return b->data + b->from;
}

/* 0 or -ENOMEM, also where all buffers would hold more than memory.buffer_limit; then nothing
** was added. */
int buffer_append(struct buffer *b, struct memory *m, const char *s, size_t n);

/* The same in front of what is there. */
int buffer_prepend(struct buffer *b, struct memory *m, const char *s, size_t n);

/* Drops n bytes of the front; at the last one the memory goes too. */
void buffer_consume(struct buffer *b, struct memory *m, size_t n);

void buffer_free(struct buffer *b, struct memory *m);

#endif
