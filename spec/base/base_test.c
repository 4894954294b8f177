/* The containers of runtime/base against the plainest thing that does the same. */
#include "base/buffer.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/memory.h"
#include "base/slab.h"
#include "base/slots.h"
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned below(unsigned n)
{
    return (unsigned)rand() % n;
}

static void *system_memory(void *p, size_t old, size_t n)
{
    (void)old;
    if (n > 0)
        return realloc(p, n);
    free(p);
    return NULL;
}

/* An allocator that refuses while *ud is not 0. */
static void *refusing(void *ud, void *p, size_t old, size_t n)
{
    return *(int *)ud && n > old ? NULL : system_memory(p, old, n);
}

/* ---- memory ---- */

/* Contents survive every move, between slabs and malloc too. */
static void test_moves(memory_fn *fn, void *ud)
{
    struct memory m;
    memory_init(&m, fn, ud);
    for (size_t n = 1; n < 2000; n++) {
        char *p = memory_new(&m, n);
        memset(p, 'a', n);
        p = memory_resize(&m, p, n, 2000 - n);
        for (size_t i = 0; i < n && i < 2000 - n; i++)
            CHECK(p[i] == 'a');
        memory_free(&m, p, 2000 - n);
    }
    CHECK(m.used == 0);
    memory_close(&m);
}

static void test_memory(void)
{
    int refuse = 0;
    uint32_t cap = 0;
    struct memory m;
    memory_init(&m, refusing, &refuse);
    char *p = memory_new(&m, 100);
    CHECK(p && m.used == 100 && m.peak == 100);
    for (int i = 0; i < 100; i++)
        CHECK(p[i] == 0);
    memset(p, 'x', 100);
    p = memory_resize(&m, p, 100, 300);
    CHECK(p && p[99] == 'x' && m.used == 300);
    p = memory_resize(&m, p, 300, 50);
    CHECK(p && p[49] == 'x' && m.used == 50 && m.peak == 300);
    refuse = 1;
    CHECK(!memory_resize(&m, p, 50, 90) && p[49] == 'x' && m.used == 50);
    CHECK(!memory_new(&m, 1) && m.used == 50);
    CHECK(!memory_grow(&m, NULL, &cap, 1, 4) && cap == 0);
    refuse = 0;
    memory_free(&m, p, 50);
    memory_free(&m, NULL, 0);
    CHECK(m.used == 0 && m.peak == 300);
    test_moves(NULL, NULL);
    test_moves(refusing, &refuse);
    int *items = NULL;
    for (uint32_t need = 1; need <= 1000; need++) {
        if (need > cap)
            CHECK(items = memory_grow(&m, items, &cap, need, sizeof *items));
        CHECK(cap >= need && m.used == cap * sizeof *items);
        items[need - 1] = (int)need;
    }
    for (int i = 0; i < 1000; i++)
        CHECK(items[i] == i + 1);
    memory_free(&m, items, cap * sizeof *items);
    CHECK(m.used == 0);
}

/* ---- list ---- */

struct linked {
    int value;
    struct list link;
};

static void test_list(void)
{
    struct list head, *node;
    struct linked items[5];
    int sum = 0;
    list_init(&head);
    CHECK(list_empty(&head));
    for (int i = 0; i < 5; i++) {
        items[i].value = i;
        list_init(&items[i].link);
        i % 2 ? list_push_front(&head, &items[i].link) : list_push_back(&head, &items[i].link);
    }
    list_each(node, &head)
        sum = sum * 10 + container_of(node, struct linked, link)->value;
    CHECK(sum == 31024);
    list_remove(&items[0].link);
    list_remove(&items[0].link);
    sum = 0;
    list_each(node, &head)
        sum = sum * 10 + container_of(node, struct linked, link)->value;
    CHECK(sum == 3124);
}

/* ---- slabs ---- */

enum { BLOCKS = 20000, STEPS = 200000 };

static void check_block(const unsigned char *p, size_t n, unsigned char mark)
{
    for (size_t i = 0; i < n; i++)
        CHECK(p[i] == mark);
}

/* Takes and gives back blocks of all sizes: none overlaps another, and when all are back the
** memory is too, but for one chunk. */
static void test_slabs(void)
{
    static unsigned char *blocks[BLOCKS];
    static size_t sizes[BLOCKS];
    struct slabs *s = slabs_new();
    CHECK(s && slabs_held(s) == 0);
    for (int step = 0; step < 3 * STEPS; step++) {
        unsigned i = below(BLOCKS);
        if (blocks[i]) {
            check_block(blocks[i], sizes[i], (unsigned char)i);
            slab_give(s, blocks[i], sizes[i]);
            blocks[i] = NULL;
        } else {
            sizes[i] = 1 + below(SLAB_MAX);
            CHECK(blocks[i] = slab_take(s, sizes[i]));
            CHECK((uintptr_t)blocks[i] % SLAB_STEP == 0);
            memset(blocks[i], (unsigned char)i, sizes[i]);
        }
    }
    size_t most = slabs_held(s);
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (blocks[i]) {
            check_block(blocks[i], sizes[i], (unsigned char)i);
            slab_give(s, blocks[i], sizes[i]);
        }
    }
    CHECK(most > 4 << 20 && slabs_held(s) <= 2 << 20);
    CHECK(blocks[0] = slab_take(s, 1));
    slabs_free(s); /* with a block that is out */
}

/* ---- heap ---- */

enum { NODES = 500 };

static void test_heap(void)
{
    static struct heap_node nodes[NODES];
    static double keys[NODES];
    struct heap h = {0};
    struct memory m;
    double key;
    memory_init(&m, NULL, NULL);
    CHECK(!heap_first(&h, &key));
    for (int step = 0; step < STEPS; step++) {
        int i = (int)below(NODES);
        if (heap_holds(&nodes[i])) {
            heap_remove(&h, &nodes[i]);
            CHECK(!heap_holds(&nodes[i]));
            heap_remove(&h, &nodes[i]); /* harmless */
        } else {
            keys[i] = below(50); /* many equal ones */
            CHECK(heap_insert(&h, &m, &nodes[i], keys[i]) == 0);
        }
        if (step % 7 && step < STEPS - 100)
            continue;
        int first = -1; /* the plain way */
        uint32_t count = 0;
        for (int k = 0; k < NODES; k++) {
            if (!heap_holds(&nodes[k]))
                continue;
            count++;
            if (first < 0 || keys[k] < keys[first] ||
                (keys[k] == keys[first] && nodes[k].seq < nodes[first].seq))
                first = k;
        }
        CHECK(h.count == count);
        struct heap_node *n = heap_first(&h, &key);
        CHECK(first < 0 ? !n : n == &nodes[first] && key == keys[first]);
        if (n && step % 14 == 0)
            heap_remove(&h, n);
    }
    double last = -1;
    uint64_t last_seq = 0;
    for (struct heap_node *n; (n = heap_first(&h, &key)); last = key, last_seq = n->seq) {
        CHECK(key > last || (key == last && n->seq > last_seq)); /* in the order of arrival */
        heap_remove(&h, n);
    }
    CHECK(h.count == 0);
    heap_free(&h, &m);
    CHECK(m.used == 0);

    int refuse = 1;
    memory_init(&m, refusing, &refuse);
    CHECK(heap_insert(&h, &m, &nodes[0], 1) < 0 && !heap_holds(&nodes[0]) && h.count == 0);
}

/* ---- slots ---- */

enum { SLOTS = 300 };

static void test_slots(void)
{
    struct slots s = {0};
    struct memory m;
    uint64_t ids[SLOTS] = {0}, old[SLOTS] = {0};
    int items[SLOTS], word;
    memory_init(&m, NULL, NULL);
    CHECK(!slots_find(&s, 0, &word) && word == 0);
    CHECK(!slots_find(&s, 12345, NULL));
    for (int step = 0; step < STEPS; step++) {
        int i = (int)below(SLOTS);
        if (ids[i]) {
            CHECK(slots_find(&s, ids[i], &word) == &items[i]);
            slots_drop(&s, ids[i], 7);
            slots_drop(&s, ids[i], 8); /* the first word stays */
            CHECK(!slots_find(&s, ids[i], &word) && word == 7);
            old[i] = ids[i];
            ids[i] = 0;
        } else {
            CHECK(ids[i] = slots_add(&s, &m, &items[i]));
            CHECK(ids[i] != old[i]);
        }
        if (old[i])
            CHECK(!slots_find(&s, old[i], &word) && (word == 7 || word == 0));
    }
    for (int i = 0; i < SLOTS; i++)
        for (int k = 0; k < i; k++)
            CHECK(!ids[i] || ids[i] != ids[k]);
    for (int i = 0; i < SLOTS; i++)
        CHECK(!ids[i] || slots_find(&s, ids[i], NULL) == &items[i]);
    CHECK(s.count <= SLOTS);
    slots_free(&s, &m);
    CHECK(m.used == 0);

    /* one that ended keeps its last word until its place is taken, the oldest first */
    uint64_t a = slots_add(&s, &m, &items[0]), b = slots_add(&s, &m, &items[1]);
    slots_drop(&s, a, 1);
    slots_drop(&s, b, 2);
    CHECK(slots_add(&s, &m, &items[2]));
    CHECK(!slots_find(&s, a, &word) && word == 0);
    CHECK(!slots_find(&s, b, &word) && word == 2);
    slots_free(&s, &m);

    int refuse = 1;
    memory_init(&m, refusing, &refuse);
    CHECK(slots_add(&s, &m, &items[0]) == 0);
}

/* ---- buffer ---- */

enum { LONGEST = 20000 };

static void test_buffer(void)
{
    static char plain[4 * LONGEST], piece[LONGEST];
    size_t length = 0;
    int refuse = 0;
    struct buffer b = {0};
    struct memory m;
    memory_init(&m, refusing, &refuse);
    for (int step = 0; step < 20000; step++) {
        size_t n = below(4) ? below(100) : below(LONGEST);
        for (size_t i = 0; i < n; i++)
            piece[i] = (char)rand();
        unsigned what = below(5);
        refuse = below(20) == 0;
        if (what < 2 && length + n <= sizeof plain) {
            if (buffer_append(&b, &m, piece, n) == 0) {
                memcpy(plain + length, piece, n);
                length += n;
            } else {
                CHECK(refuse);
            }
        } else if (what == 2 && length + n <= sizeof plain) {
            if (buffer_prepend(&b, &m, piece, n) == 0) {
                memmove(plain + n, plain, length);
                memcpy(plain, piece, n);
                length += n;
            } else {
                CHECK(refuse);
            }
        } else {
            n = n < length ? n : length;
            if (n > 0)
                buffer_consume(&b, &m, n);
            memmove(plain, plain + n, length - n);
            length -= n;
        }
        CHECK(buffer_length(&b) == length);
        CHECK(length == 0 || memcmp(buffer_bytes(&b), plain, length) == 0);
        CHECK(m.used == b.cap);
        CHECK(length > 0 || m.used == 0 || b.data); /* the last byte takes the memory along */
    }
    buffer_free(&b, &m);
    CHECK(m.used == 0 && buffer_length(&b) == 0);
    buffer_append(&b, &m, "abc", 3);
    buffer_consume(&b, &m, 3);
    CHECK(m.used == 0);
}

int main(void)
{
    test_memory();
    test_slabs();
    test_list();
    test_heap();
    test_slots();
    test_buffer();
    return 0;
}
