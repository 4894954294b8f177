/* Fuzzes how the server reads requests: the first two bytes say how the others are cut into
** pieces. What is read must not depend on the cuts, and whatever is accepted llhttp alone must
** accept, too, with the same body and the same end. */
#include "http/body.h"
#include "http/parser.h"

#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4096 };

static const struct head_limits limits = {2048, 20};

struct outcome {
    int head; /* of head_parse */
    bool done, bad, trailer;
    size_t taken;  /* bytes of the request, if it is done */
    uint64_t body; /* a sum over its bytes */
    uint64_t size;
};

static uint64_t mix(uint64_t sum, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum = (sum ^ (unsigned char)p[i]) * 1099511628211u;
    return sum;
}

/* The size of the next piece; cuts 0: all at once, 1: byte by byte. */
static size_t next_piece(uint32_t *cuts, size_t left)
{
    if (*cuts < 2)
        return *cuts ? 1 : left;
    *cuts = *cuts * 1103515245u + 12345u;
    size_t n = 1 + (*cuts >> 16) % 64;
    *cuts |= 2;
    return n < left ? n : left;
}

/* The n bytes at p in a block of just that size, so that a look too far is seen. */
static char *copy(const char *p, size_t n)
{
    char *q = malloc(n ? n : 1);
    if (!q)
        abort();
    memcpy(q, p, n);
    return q;
}

static void read_body(struct outcome *o, const struct head *head, const char *p, size_t n,
                      uint32_t cuts)
{
    struct body b;
    body_begin(&b, head);
    o->taken = head->length;
    for (size_t at = head->length; at < n && !b.done && !o->bad;) {
        size_t piece = next_piece(&cuts, n - at), used = 0;
        char *bytes = copy(p + at, piece);
        while (used < piece && !b.done && !o->bad) {
            const char *data;
            size_t length;
            ssize_t took = body_decode(&b, bytes + used, piece - used, &data, &length);
            o->bad = took < 0;
            if (o->bad)
                break;
            if (took == 0)
                abort();
            o->body = mix(o->body, data, length);
            used += (size_t)took;
        }
        at += used;
        o->taken += used;
        free(bytes);
    }
    o->done = b.done;
    o->trailer = b.trailer > 0;
    o->size = b.size;
}

static struct outcome read_request(const char *p, size_t n, uint32_t cuts)
{
    struct outcome o = {0};
    struct head_parser h;
    struct head head;
    head_parser_reset(&h);
    for (size_t have = 0; have < n && o.head == 0;) {
        have += next_piece(&cuts, n - have);
        char *bytes = copy(p, have);
        o.head = head_parse(&h, &head, bytes, have, &limits);
        free(bytes);
    }
    if (o.head > 0)
        read_body(&o, &head, p, n, cuts);
    return o;
}

static bool same(const struct outcome *a, const struct outcome *b)
{
    if (a->head != b->head || a->done != b->done || a->bad != b->bad)
        return false;
    return a->head <= 0 || a->bad ||
           (a->taken == b->taken && a->body == b->body && a->size == b->size);
}

/* ---- llhttp alone ---- */

struct other {
    llhttp_t llhttp; /* first */
    uint64_t body, size;
};

static int on_body(llhttp_t *l, const char *p, size_t n)
{
    struct other *other = (struct other *)l;
    other->body = mix(other->body, p, n);
    other->size += n;
    return 0;
}

static int on_complete(llhttp_t *l)
{
    (void)l;
    return HPE_PAUSED;
}

static void compare(const struct outcome *o, const char *p, size_t n)
{
    static const llhttp_settings_t settings = {.on_body = on_body,
                                               .on_message_complete = on_complete};
    struct other other = {.size = 0};
    llhttp_init(&other.llhttp, HTTP_REQUEST, &settings);
    enum llhttp_errno e = llhttp_execute(&other.llhttp, p, n);
    /* It takes the fields of a trailer for those of the head; the server passes over them. */
    const char *at = llhttp_get_error_pos(&other.llhttp);
    if (e == HPE_INVALID_CHUNK_SIZE && (at[0] == ';' || at[-1] == ';'))
        return; /* llhttp 8 takes no second extension behind a value without quotes */
    if (other.llhttp.upgrade) /* it ends such a request behind its head */
        return;
    bool ends = e == HPE_PAUSED && at == p + o->taken;
    if (other.size != o->size || other.body != o->body || (!ends && !o->trailer)) {
        fprintf(stderr, "llhttp reads it otherwise: %s\n", llhttp_errno_name(e));
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 3 || n > MOST)
        return 0;
    const char *p = (const char *)data + 2;
    n -= 2;
    struct outcome whole = read_request(p, n, 0);
    struct outcome cut =
        read_request(p, n, 2u | (uint32_t)data[0] << 8 | (uint32_t)data[1] << 16);
    struct outcome bytes = n < 512 ? read_request(p, n, 1) : whole;
    if (!same(&whole, &cut) || !same(&whole, &bytes)) {
        fprintf(stderr, "the outcome depends on the cuts: %d %d %d\n", whole.head, cut.head,
                bytes.head);
        abort();
    }
    if (whole.done)
        compare(&whole, p, n);
    return 0;
}
