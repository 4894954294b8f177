/* Intrusive doubly linked circular lists.
** A node that is in no list points to itself, so removing it twice is harmless:
** that is the one invariant, and list_init establishes it. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

/* The struct of type `type` whose member `member` is `*ptr`. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Visits the nodes in order; the node at hand must not be removed meanwhile. */
#define list_each(node, head) for (node = (head)->next; node != (head); node = node->next)

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_insert(struct list *n, struct list *prev, struct list *next)
{
    n->next = next;
    n->prev = prev;
    prev->next = n;
    next->prev = n;
}

static inline void list_push_back(struct list *head, struct list *n)
{
    list_insert(n, head->prev, head);
}

static inline void list_push_front(struct list *head, struct list *n)
{
    list_insert(n, head, head->next);
}

static inline void list_remove(struct list *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}

#endif
