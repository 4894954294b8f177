#include "base/buffer.h"

#include <errno.h>
#include <string.h>

enum { SMALLEST = 512 };

/* A block for a buffer that has one of b->cap bytes. */
static char *new_block(struct buffer *b, struct memory *m, size_t cap)
{
    if (m->buffer_limit && m->buffers + (cap - b->cap) > m->buffer_limit)
        return NULL;
    char *p = memory_resize(m, NULL, 0, cap);
    if (p)
        m->buffers += cap;
    return p;
}

/* Makes room for n more bytes, `front` of them before the first. */
static int reserve(struct buffer *b, struct memory *m, size_t n, size_t front)
{
    size_t have = buffer_length(b), cap = b->cap ? b->cap : SMALLEST;
    if (have + n <= b->cap / 2 || (front && have + n <= b->cap)) {
        /* sliding is cheap when half is free */
        memmove(b->data + front, buffer_bytes(b), have);
    } else {
        while (cap < have + n)
            cap *= 2;
        char *p = new_block(b, m, cap);
        if (!p)
            return -ENOMEM;
        if (have)
            memcpy(p + front, buffer_bytes(b), have);
        memory_free(m, b->data, b->cap);
        m->buffers -= b->cap;
        b->data = p;
        b->cap = cap;
    }
    b->from = front;
    b->to = front + have;
    return 0;
}

int buffer_append(struct buffer *b, struct memory *m, const char *s, size_t n)
{
    if (n == 0)
        return 0;
    if (b->cap - b->to < n && reserve(b, m, n, 0) < 0)
        return -ENOMEM;
    memcpy(b->data + b->to, s, n);
    b->to += n;
    return 0;
}

int buffer_prepend(struct buffer *b, struct memory *m, const char *s, size_t n)
{
    if (n == 0)
        return 0;
    if (b->from < n && reserve(b, m, n, n) < 0)
        return -ENOMEM;
    b->from -= n;
    memcpy(buffer_bytes(b), s, n);
    return 0;
}

void buffer_consume(struct buffer *b, struct memory *m, size_t n)
{
    b->from += n;
    if (b->from == b->to)
        buffer_free(b, m);
}

void buffer_free(struct buffer *b, struct memory *m)
{
    memory_free(m, b->data, b->cap);
    m->buffers -= b->cap;
    *b = (struct buffer){0};
}
