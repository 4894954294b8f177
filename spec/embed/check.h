/* What the example hosts have in common: checks, and a text kept. */
#ifndef SPEC_EMBED_CHECK_H
#define SPEC_EMBED_CHECK_H

#include "neap.h"
#include "support/check.h"

#include <string.h>

struct kept {
    char text[4096];
    size_t length;
};

/* Adds to it; what is too much is dropped. */
static inline void keep(struct kept *k, const char *s, size_t n)
{
    size_t room = sizeof k->text - 1 - k->length;
    n = n < room ? n : room;
    memcpy(k->text + k->length, s, n);
    k->length += n;
    k->text[k->length] = '\0';
}

#endif
