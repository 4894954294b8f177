/* Where what is asked of a stream ends in the input that has come. No Lua, no waiting. */
#ifndef NET_SCAN_H
#define NET_SCAN_H

#include <stdbool.h>
#include <stddef.h>

enum read_kind {
    READ_LINE,
    READ_LINE_KEPT,
    READ_ALL,
    READ_COUNT,
    READ_SOME,
    READ_UNTIL,
    READ_NUMBER, /* the next two: files only */
    READ_TEST    /* a count of 0: whether there is more */
};

/* One thing that is asked for. */
struct request {
    enum read_kind kind;
    size_t n; /* bytes; of a line or a read_until: at most */
    const char *delimiter;
    size_t delimiter_length;
};

/* Where it ends in the n bytes at p, 0 if they do not hold it; *drop: bytes at its end that
** are not given. *scanned: how many of them are known not to hold it. */
size_t scan_end(const struct request *q, const char *p, size_t n, size_t *scanned,
                size_t *drop);

/* A numeral, as Lua's files read one: the longest beginning of the input that could be one. */
enum { NUMERAL_MAX = 200 };

struct numeral {
    const char *p;
    size_t n, at;
    bool dry; /* the input ends where more could belong to it */
    bool too_long;
    int length;
    char text[NUMERAL_MAX + 1];
};

/* Fills the rest of *m, in which p and n are set: `text`, empty if it is too long, was read
** up to `at`. */
void scan_numeral(struct numeral *m);

#endif
