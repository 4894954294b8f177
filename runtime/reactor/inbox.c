#include "reactor/inbox.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct inbox {
    pthread_mutex_t lock;
    struct post *first, **end;
    atomic_bool filled;
};

struct inbox *inbox_new(void)
{
    struct inbox *in = calloc(1, sizeof *in);
    if (!in)
        return NULL;
    pthread_mutex_init(&in->lock, NULL);
    in->end = &in->first;
    return in;
}

void inbox_free(struct inbox *in)
{
    if (!in)
        return;
    pthread_mutex_destroy(&in->lock);
    free(in);
}

void inbox_put(struct inbox *in, struct post *p)
{
    p->next = NULL;
    pthread_mutex_lock(&in->lock);
    *in->end = p;
    in->end = &p->next;
    atomic_store(&in->filled, true);
    pthread_mutex_unlock(&in->lock);
}

struct post *inbox_take(struct inbox *in)
{
    if (inbox_empty(in))
        return NULL;
    pthread_mutex_lock(&in->lock);
    struct post *p = in->first;
    in->first = NULL;
    in->end = &in->first;
    atomic_store(&in->filled, false);
    pthread_mutex_unlock(&in->lock);
    return p;
}

bool inbox_empty(struct inbox *in)
{
    return !atomic_load_explicit(&in->filled, memory_order_acquire);
}
