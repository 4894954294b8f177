/* Fuzzes what parses bytes and texts for streams and sockets: where a read ends must not depend
** on how its input was cut, and is where a plain search finds it; a numeral that is complete
** stays as it is whatever follows; an address that is read and written is the same when it is
** read again. The first byte says which, the next two how the others are cut. */
#define _GNU_SOURCE
#include "net/address.h"
#include "net/scan.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static void check(bool ok)
{
    if (!ok)
        abort();
}

/* The n bytes at p in a block of just that size, so that a look too far is seen. */
static char *copy(const void *p, size_t n)
{
    char *q = malloc(n ? n : 1);
    check(q != NULL);
    memcpy(q, p, n);
    return q;
}

/* Short ones towards the end. */
static size_t next_piece(uint32_t *cuts, size_t left)
{
    *cuts = *cuts * 1103515245u + 12345u;
    size_t n = 1 + (*cuts >> 16) % (16 + left / 4);
    return n < left ? n : left;
}

/* Where it ends in all of the input, found the plain way; 0: nowhere. */
static size_t plain_end(const struct request *q, const char *p, size_t n)
{
    const char *d = q->kind == READ_UNTIL ? q->delimiter : "\n";
    size_t length = q->kind == READ_UNTIL ? q->delimiter_length : 1;
    if (q->kind == READ_COUNT)
        return n >= q->n ? q->n : 0;
    for (size_t i = 0; i + length <= n; i++)
        if (memcmp(p + i, d, length) == 0)
            return i + length;
    return 0;
}

static void fuzz_end(const struct request *q, const char *p, size_t n, uint32_t cuts)
{
    size_t scanned = 0, drop, end = 0, have = 0;
    while (have < n && end == 0) {
        have += next_piece(&cuts, n - have);
        char *bytes = copy(p, have);
        end = scan_end(q, bytes, have, &scanned, &drop);
        check(end <= have && drop <= end + (end == 0));
        check(end == plain_end(q, bytes, have));
        free(bytes);
    }
}

/* The first byte of p says how long the delimiter is, or which form it is. */
static void fuzz_read(const char *p, size_t n, uint32_t cuts)
{
    struct request q = {.kind = READ_LINE, .n = SIZE_MAX};
    size_t length = n > 0 ? (unsigned char)*p % 8 : 0;
    if (n > length && length >= 3) {
        q.kind = READ_UNTIL;
        q.delimiter_length = length - 2;
        q.delimiter = p + 1;
    } else if (length > 0) {
        q.kind = length == 1 ? READ_LINE_KEPT : READ_COUNT;
        q.n = q.kind == READ_COUNT ? 1 + n / 2 : SIZE_MAX;
    }
    fuzz_end(&q, p, n, cuts);
}

static void fuzz_numeral(const char *p, size_t n, uint32_t cuts)
{
    struct numeral all = {.p = p, .n = n};
    scan_numeral(&all);
    check(all.at <= n && all.length <= NUMERAL_MAX && memchr(all.text, '\0', sizeof all.text));
    for (size_t have = 0; have < n;) {
        have += next_piece(&cuts, n - have);
        char *bytes = copy(p, have);
        struct numeral some = {.p = bytes, .n = have};
        scan_numeral(&some);
        if (!some.dry)
            check(some.at == all.at && strcmp(some.text, all.text) == 0);
        free(bytes);
    }
}

static bool same(const struct address *a, const struct address *b)
{
    return a->length == b->length && memcmp(&a->sa, &b->sa, a->length) == 0;
}

static void fuzz_ip(const char *p, size_t n)
{
    struct address a, b;
    char host[ADDRESS_TEXT], *text = copy(p, n + 1);
    text[n] = '\0';
    if (address_parse(&a, text, (int)n) == 0) {
        check(address_format(&a, host) == (int)n && strlen(host) < sizeof host);
        check(address_parse(&b, host, (int)n) == 0);
        address_map(&a); /* ::ffff:1.2.3.4 is written as IPv4 */
        address_map(&b);
        check(same(&a, &b));
    }
    free(text);
}

static void fuzz_unix(const char *p, size_t n)
{
    struct address a, b;
    char text[ADDRESS_TEXT], *path = copy(p, n);
    if (address_unix(&a, path, n) == 0) {
        check(n <= sizeof((struct sockaddr_un *)0)->sun_path && !memchr(path, '\0', n));
        check(address_format(&a, text) == -1 && strlen(text) == n);
        check(address_unix(&b, text, n) == 0 && same(&a, &b));
        check(!address_file(&a) == (*path == '@'));
    }
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 4)
        return 0;
    const char *p = (const char *)data + 3;
    uint32_t cuts = data[1] | (uint32_t)data[2] << 8;
    switch (data[0] % 4) {
    case 0:
        fuzz_read(p, n - 3, cuts);
        break;
    case 1:
        fuzz_numeral(p, n - 3, cuts);
        break;
    case 2:
        fuzz_ip(p, n - 4);
        break;
    default:
        fuzz_unix(p, n - 3);
    }
    return 0;
}
