/* Fuzzes how answers of name servers are read: the part neap.names itself, with c-ares under
** it, looks up a name and is given the input's bytes as answers, by datagrams or by TCP in
** pieces. Whatever they say, the lookup ends with addresses of the families asked for or with a
** reason, nobody is called after that, and no memory is left. The first three bytes say how it
** is asked and answered, the fourth how much belongs to the first answer. */
#define _GNU_SOURCE
#include "net/resolver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

enum { MOST = 4096, WATCHES = 64, ANSWERS = 8, ROUNDS = 40 };

enum { SIX_ONLY = 1, FOUR_ONLY = 2, WRONG_ID = 4, OWN_QUESTION = 8, TWICE = 16 };

static void check(bool ok)
{
    if (!ok)
        abort();
}

/* ---- the core ---- */

static size_t used;

static void *resize(struct memory *m, void *p, size_t old, size_t n)
{
    (void)m;
    used += n - old;
    if (n > 0)
        return realloc(p, n);
    free(p);
    return NULL;
}

static struct {
    struct watch *watch;
    int fd;
} watches[WATCHES];

static void init_watch(struct watch *w, int fd, int events, void (*fn)(struct watch *, int))
{
    w->fn = fn;
    w->ev[0] = (uint64_t)fd;
    w->ev[1] = (uint64_t)events;
}

static void stop_watch(struct reactor *r, struct watch *w)
{
    (void)r;
    for (int i = 0; i < WATCHES; i++)
        if (watches[i].watch == w)
            watches[i].watch = NULL;
}

static void start_watch(struct reactor *r, struct watch *w)
{
    int i = 0;
    stop_watch(r, w);
    while (watches[i].watch)
        check(++i < WATCHES);
    watches[i].watch = w;
    watches[i].fd = (int)w->ev[0];
}

static void wake_all(struct runtime *rt, struct wait_queue *q, enum wake why)
{
    (void)rt, (void)q, (void)why;
}

static int serve(struct runtime *rt, struct serving_timer *s, double seconds)
{
    (void)rt, (void)seconds;
    s->armed = true;
    return 0;
}

static void serve_end(struct runtime *rt, struct serving_timer *s)
{
    (void)rt;
    s->armed = false;
}

static double now = 1;

static double the_clock(void)
{
    return now;
}

static const struct part_core core = {
    .table = PART_TABLE(struct part_core),
    .watch_init = init_watch,
    .watch_start = start_watch,
    .watch_stop = stop_watch,
    .wait_wake_all = wake_all,
    .timer_serve = serve,
    .timer_serve_end = serve_end,
    .clock_now = the_clock,
    .memory_resize = resize,
};

/* ---- the network: what names.c calls instead of the system's ---- */

static const uint8_t *bytes; /* of the input, not yet used */
static size_t left, part;    /* how many; and of 255, what the next answer gets */
static unsigned flags, piece;

/* The answers that are on their way. */
static struct answer {
    uint8_t message[MOST + 1024];
    size_t length, at;
    int fd;
    bool stream;
} answers[ANSWERS];
static int count;

static void put(struct answer *a, const void *p, size_t n)
{
    check(a->length + n <= sizeof a->message);
    memcpy(a->message + a->length, p, n);
    a->length += n;
}

/* Takes the next bytes of the input for the answer to this question. */
static void prepare(int fd, const uint8_t *question, size_t n, bool stream)
{
    struct answer *a = &answers[count];
    uint8_t head[12] = {0};
    size_t size = left * part / 255, room = size < sizeof head ? size : sizeof head;
    if (count == ANSWERS)
        return;
    count++;
    *a = (struct answer){.fd = fd, .stream = stream};
    memcpy(head, bytes, room);
    if (!(flags & WRONG_ID) && n >= 2)
        memcpy(head, question, 2);
    if (stream)
        put(a, "\0", 2);
    put(a, head, flags & OWN_QUESTION ? sizeof head : room);
    if (flags & OWN_QUESTION && n > 12)
        put(a, question + 12, n - 12);
    put(a, bytes + room, size - room);
    if (stream) {
        a->message[0] = (uint8_t)((a->length - 2) >> 8);
        a->message[1] = (uint8_t)(a->length - 2);
    }
    bytes += size;
    left -= size;
}

/* The next answer for a socket; NULL: there is none. */
static struct answer *find_answer(int fd)
{
    for (int i = 0; i < count; i++)
        if (answers[i].fd == fd && answers[i].at < answers[i].length)
            return &answers[i];
    return NULL;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int how);
ssize_t __wrap_recvfrom(int fd, void *to, size_t n, int how, struct sockaddr *from,
                        socklen_t *length);
int __wrap_connect(int fd, const struct sockaddr *to, socklen_t n);

static bool streams[1024]; /* by descriptor */

int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol);

int __wrap_socket(int domain, int type, int protocol)
{
    int fd = __real_socket(domain, type, protocol);
    check(fd < 1024);
    if (fd >= 0)
        streams[fd] = (type & 15) == SOCK_STREAM;
    return fd;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int how)
{
    uint8_t question[1024];
    size_t n = 0, skip = streams[fd] ? 2 : 0;
    (void)how;
    for (size_t i = 0; i < m->msg_iovlen; i++) {
        check(n + m->msg_iov[i].iov_len <= sizeof question);
        memcpy(question + n, m->msg_iov[i].iov_base, m->msg_iov[i].iov_len);
        n += m->msg_iov[i].iov_len;
    }
    if (n > skip)
        prepare(fd, question + skip, n - skip, skip > 0);
    return (ssize_t)n;
}

ssize_t __wrap_recvfrom(int fd, void *to, size_t n, int how, struct sockaddr *from,
                        socklen_t *length)
{
    struct answer *a = find_answer(fd);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(53)};
    (void)how;
    if (!a && streams[fd])
        return 0;
    if (!a) {
        errno = EAGAIN;
        return -1;
    }
    size_t have = a->length - a->at < n ? a->length - a->at : n;
    if (a->stream && have > piece)
        have = piece;
    memcpy(to, a->message + a->at, have);
    a->at = a->stream ? a->at + have : a->length;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (from && length && *length >= sizeof in) {
        memcpy(from, &in, sizeof in);
        *length = sizeof in;
    }
    return (ssize_t)have;
}

int __wrap_connect(int fd, const struct sockaddr *to, socklen_t n)
{
    (void)fd, (void)to, (void)n;
    return 0;
}

/* ---- a lookup ---- */

static unsigned found, told;
static unsigned wanted;

static void on_found(struct lookup *l, const struct address *a)
{
    bool six = a->sa.ss_family == AF_INET6;
    check(l->search && (six || a->sa.ss_family == AF_INET));
    check(wanted & (six ? NAME_SIX : NAME_FOUR));
    check(a->length == (six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)));
    found++;
}

static void on_answered(struct lookup *l)
{
    check(l->search && told++ < ROUNDS);
    check((l->pending & ~wanted) == 0);
    check(l->pending || found || (l->text && l->code));
    check(found == 0 || l->first == NAME_SIX || l->first == NAME_FOUR);
}

/* Lets the sockets say what they have, as the reactor does. */
static void turn(void)
{
    for (int i = 0; i < WATCHES; i++) {
        struct watch *w = watches[i].watch;
        int events = w ? (int)w->ev[1] : 0;
        if (w && (events & WATCH_WRITE))
            w->fn(w, WATCH_WRITE);
        if (w && watches[i].watch == w &&
            (find_answer(watches[i].fd) || streams[watches[i].fd]))
            w->fn(w, WATCH_READ);
    }
}

static void look_up(struct names *n, const char *name)
{
    struct lookup l = {.found = on_found, .answered = on_answered};
    found = told = 0;
    check(n->provided.begin(&n->provided, &l, name, strlen(name), wanted, "127.0.0.1", 5));
    for (int i = 0; i < ROUNDS && l.pending; i++)
        turn();
    n->provided.end(&l);
    check(!l.search && l.pending == 0);
    for (int i = 0; i < WATCHES; i++)
        check(!watches[i].watch);
}

/* Lets what is kept be out of date. */
static void forget(struct names *n)
{
    now += 2 * 86400;
    check(!query_known(n, "none.test", AF_INET, ""));
    check(list_empty(&n->known) && list_empty(&n->resolvers) && used == 0);
}

/* As if the system's configuration had been read for good, and named no hosts file. */
static void set_up(struct names *n, struct runtime *rt)
{
    static char lookups[] = "b";
    *n = (struct names){.provided = name_search, .core = &core, .rt = rt};
    n->system = (struct ares_options){.lookups = lookups, .ndots = 1};
    n->system_read = HUGE_VAL;
    list_init(&n->resolvers);
    list_init(&n->known);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct runtime rt;
    static struct names names;
    if (!names.core)
        set_up(&names, &rt);
    if (n < 4 || n > MOST)
        return 0;
    flags = data[0];
    wanted = flags & SIX_ONLY ? NAME_SIX : flags & FOUR_ONLY ? NAME_FOUR : NAME_SIX | NAME_FOUR;
    piece = 1 + data[1] % 64;
    bytes = data + 4;
    left = n - 4;
    part = data[3];
    count = 0;
    look_up(&names, "a.test.");
    if (flags & TWICE) /* what is kept now answers some of it */
        look_up(&names, "a.test.");
    forget(&names);
    return 0;
}
