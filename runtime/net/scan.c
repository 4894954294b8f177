#define _GNU_SOURCE
#include "net/scan.h"

#include <ctype.h>
#include <locale.h>
#include <string.h>

size_t scan_end(const struct request *q, const char *p, size_t n, size_t *scanned, size_t *drop)
{
    const char *end;
    size_t overlap;
    *drop = 0;
    switch (q->kind) {
    case READ_LINE:
    case READ_LINE_KEPT:
        end = n > *scanned ? memchr(p + *scanned, '\n', n - *scanned) : NULL;
        *scanned = n;
        *drop = q->kind == READ_LINE;
        return end ? (size_t)(end - p) + 1 : 0;
    case READ_UNTIL:
        overlap = q->delimiter_length - 1;
        size_t from = *scanned > overlap ? *scanned - overlap : 0;
        end = n > from ? memmem(p + from, n - from, q->delimiter, q->delimiter_length) : NULL;
        *scanned = n;
        return end ? (size_t)(end - p) + q->delimiter_length : 0;
    case READ_COUNT:
        return n >= q->n ? q->n : 0;
    case READ_SOME:
        return n < q->n ? n : q->n;
    default:
        return 0;
    }
}

static int look(struct numeral *m)
{
    if (m->at < m->n)
        return (unsigned char)m->p[m->at];
    m->dry = true;
    return -1;
}

static bool keep(struct numeral *m)
{
    if (m->length == NUMERAL_MAX)
        m->too_long = true;
    else
        m->text[m->length++] = m->p[m->at++];
    return !m->too_long;
}

/* Keeps the next character if it is one of the two. */
static bool keep_one_of(struct numeral *m, char a, char b)
{
    int c = look(m);
    return c >= 0 && (c == a || c == b) && keep(m);
}

static int keep_digits(struct numeral *m, bool hex)
{
    int n = 0;
    for (int c = look(m); c >= 0 && (hex ? isxdigit(c) : isdigit(c)) && keep(m); c = look(m))
        n++;
    return n;
}

void scan_numeral(struct numeral *m)
{
    bool hex = false;
    int digits = 0;
    char point = *localeconv()->decimal_point;
    while (look(m) >= 0 && isspace(look(m)))
        m->at++;
    keep_one_of(m, '+', '-');
    if (keep_one_of(m, '0', '0')) {
        hex = keep_one_of(m, 'x', 'X');
        digits = !hex;
    }
    digits += keep_digits(m, hex);
    if (keep_one_of(m, point, point))
        digits += keep_digits(m, hex);
    if (digits > 0 && (hex ? keep_one_of(m, 'p', 'P') : keep_one_of(m, 'e', 'E'))) {
        keep_one_of(m, '+', '-');
        keep_digits(m, false);
    }
    m->text[m->too_long ? 0 : m->length] = '\0';
}
