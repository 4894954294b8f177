/* What other threads bring: posts, taken in by the owner's thread in the order in which they
** came. The one structure of a runtime that two threads touch. */
#ifndef REACTOR_INBOX_H
#define REACTOR_INBOX_H

#include <stdbool.h>

struct inbox;
struct runtime;

/* Embed it. fn runs on the owner's thread and frees it. */
struct post {
    struct post *next;
    void (*fn)(struct runtime *rt, struct post *p);
};

/* NULL when there is no memory. */
struct inbox *inbox_new(void);

/* With no post left in it. */
void inbox_free(struct inbox *in);

/* [any thread] Adds one at the end. */
void inbox_put(struct inbox *in, struct post *p);

/* Takes all out: a list, oldest first, or NULL. Costs one load where there are none. */
struct post *inbox_take(struct inbox *in);

/* [any thread] */
bool inbox_empty(struct inbox *in);

#endif
