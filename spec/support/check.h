/* What the C programs among the specs check with: it says what is not so, and ends. */
#ifndef SPEC_SUPPORT_CHECK_H
#define SPEC_SUPPORT_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(what)                                                            \
    do {                                                                       \
        if (!(what)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

#endif
