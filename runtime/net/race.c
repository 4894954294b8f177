#include "net/race.h"

#include "core/tasklet.h"
#include "net/listener.h"
#include "net/option.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static const double STAGGER = 0.25, RESOLUTION_DELAY = 0.05;

enum { MAX_ADDRESSES = 16 }; /* of a name and a family that are tried */

struct attempt {
    struct list all; /* in race.untried or race.running */
    struct race *race;
    struct watch watch;
    int fd; /* -1: not begun */
    struct address to;
};

static const struct wait_class lookup_class, connect_class;

static void close_one(struct race *r, int fd)
{
    close(fd);
    listener_descriptor_free(r->rt);
}

static void attempt_free(struct attempt *a)
{
    struct race *r = a->race;
    if (a->fd >= 0) {
        watch_stop(r->rt->reactor, &a->watch);
        close_one(r, a->fd);
    }
    list_remove(&a->all);
    memory_free(&r->rt->memory, a, sizeof *a);
}

static void free_all(struct list *attempts)
{
    while (!list_empty(attempts))
        attempt_free(container_of(attempts->next, struct attempt, all));
}

/* Ends all but the winner. */
static void settle(struct race *r)
{
    timer_serve_end(r->rt, &r->pace);
    if (r->names)
        r->names->end(&r->lookup);
    free_all(&r->running);
    for (int i = 0; i < 2; i++)
        free_all(&r->untried[i]);
}

/* Whether it says more about this machine than about the other. */
static bool is_local(int error)
{
    return error == ENETUNREACH || error == EADDRNOTAVAIL || error == EAFNOSUPPORT;
}

static void note_error(struct race *r, int error)
{
    if (!r->error || !is_local(error))
        r->error = error;
}

static void win(struct race *r, struct attempt *a)
{
    watch_stop(r->rt->reactor, &a->watch);
    r->fd = a->fd;
    a->fd = -1;
}

static int set_options(const struct race *r, const struct attempt *a)
{
    int e = r->delay ? 0 : option_set(a->fd, option_find("nodelay"), 1);
    if (e == 0 && r->keepalive >= 0)
        e = option_keepalive(a->fd, r->keepalive);
    if (e < 0 || r->own.length == 0)
        return e;
    return bind(a->fd, (const struct sockaddr *)&r->own.sa, r->own.length) < 0 ? -errno : 0;
}

static void on_writable(struct watch *w, int events);

static int begin_connecting(struct attempt *a)
{
    int e;
    do
        e = connect(a->fd, (struct sockaddr *)&a->to.sa, a->to.length) < 0 ? -errno : 0;
    while (e == -EINTR);
    return e == -EALREADY ? -EINPROGRESS : e; /* the interrupted call goes on */
}

/* 0: it runs, or has won at once; or -errno. */
static int attempt_begin(struct race *r, struct attempt *a)
{
    if (r->own.length > 0 && r->own.sa.ss_family != a->to.sa.ss_family)
        return -EAFNOSUPPORT;
    a->fd = socket(a->to.sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (a->fd < 0)
        return -errno;
    watch_init(&a->watch, a->fd, WATCH_WRITE, on_writable);
    int e = set_options(r, a);
    if (e == 0)
        e = begin_connecting(a);
    if (e == 0)
        win(r, a);
    else if (e == -EINPROGRESS)
        watch_start(r->rt->reactor, &a->watch);
    return e == -EINPROGRESS ? 0 : e;
}

/* The next address, of the family whose turn it is if that has one; NULL: there is none. */
static struct attempt *next_untried(struct race *r)
{
    if (list_empty(&r->untried[r->turn]))
        r->turn = !r->turn;
    struct list *untried = &r->untried[r->turn];
    return list_empty(untried) ? NULL : container_of(untried->next, struct attempt, all);
}

static bool more_may_come(const struct race *r)
{
    return r->lookup.pending || !list_empty(&r->untried[0]) || !list_empty(&r->untried[1]);
}

static bool is_over(const struct race *r)
{
    return r->fd >= 0 || (list_empty(&r->running) && !more_may_come(r));
}

/* Without memory for the timer the next one begins at once. */
static void begin_next(struct race *r, struct attempt *a)
{
    list_remove(&a->all);
    list_push_back(&r->running, &a->all);
    r->begun = true;
    r->waiter.class = &connect_class;
    r->turn = !r->turn;
    int e = attempt_begin(r, a);
    if (e < 0) {
        note_error(r, -e);
        attempt_free(a);
    } else if (more_may_come(r)) {
        timer_serve(r->rt, &r->pace, STAGGER);
    }
}

/* Begins what is to be begun now; true: the race is over. */
static bool advance(struct race *r)
{
    struct attempt *a;
    while (r->fd < 0 && !r->pace.armed && (a = next_untried(r)))
        begin_next(r, a);
    if (!is_over(r))
        return false;
    settle(r);
    return true;
}

static void go_on(struct race *r)
{
    if (advance(r))
        wait_wake_all(r->rt, &r->waiter, WAKE_SERVED);
}

static void on_pace(struct runtime *rt, struct serving_timer *t)
{
    (void)rt;
    go_on(container_of(t, struct race, pace));
}

static void on_writable(struct watch *w, int events)
{
    struct attempt *a = container_of(w, struct attempt, watch);
    struct race *r = a->race;
    int error = 0;
    socklen_t n = sizeof error;
    if (events & WATCH_ERROR)
        error = EIO;
    else if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
        error = errno;
    if (error) {
        note_error(r, error);
        attempt_free(a);
        timer_serve_end(r->rt, &r->pace);
    } else {
        win(r, a);
    }
    go_on(r);
}

/* ---- the addresses of a name ---- */

static void on_found(struct lookup *l, const struct address *a)
{
    struct race *r = container_of(l, struct race, lookup);
    struct address to = *a;
    if (r->found[a->sa.ss_family == AF_INET]++ >= MAX_ADDRESSES)
        return;
    address_set_port(&to, r->port);
    race_add(r, &to);
}

/* Whether IPv4 is to wait a little for IPv6: nothing has begun. */
static bool is_early(const struct race *r)
{
    return r->lookup.pending & NAME_SIX && list_empty(&r->untried[0]) &&
           !list_empty(&r->untried[1]);
}

static void on_answered(struct lookup *l)
{
    struct race *r = container_of(l, struct race, lookup);
    if (!r->begun) {
        r->turn = l->first == NAME_FOUR;
        timer_serve_end(r->rt, &r->pace);
        if (is_early(r))
            timer_serve(r->rt, &r->pace, RESOLUTION_DELAY);
    }
    go_on(r);
}

bool race_look_up(struct race *r, const struct part_names *part, const char *name, size_t n,
                  unsigned families, const char *servers, double seconds)
{
    r->names = part;
    r->lookup.found = on_found;
    r->lookup.answered = on_answered;
    r->waiter.class = &lookup_class;
    return part->begin(part, &r->lookup, name, n, families, servers, seconds);
}

/* ---- from the beginning to the end ---- */

static void waiter_left(struct wait_queue *q)
{
    race_close(container_of(q, struct race, waiter));
}

static const struct wait_class lookup_class = {
    .what = "name lookup", .outside = true, .left = waiter_left};
static const struct wait_class connect_class = {
    .what = "connect", .outside = true, .left = waiter_left};

void race_init(struct race *r, struct runtime *rt)
{
    r->rt = rt;
    r->fd = -1;
    r->keepalive = -1;
    r->pace.fn = on_pace;
    wait_queue_init(&r->waiter, &connect_class);
    list_init(&r->running);
    for (int i = 0; i < 2; i++)
        list_init(&r->untried[i]);
}

void race_add(struct race *r, const struct address *to)
{
    int side = to->sa.ss_family == AF_INET;
    struct attempt *a = memory_new(&r->rt->memory, sizeof *a);
    if (!a) {
        note_error(r, ENOMEM);
        return;
    }
    if (!r->begun && !more_may_come(r))
        r->turn = side;
    *a = (struct attempt){.race = r, .fd = -1, .to = *to};
    list_push_back(&r->untried[side], &a->all);
}

bool race_start(struct race *r)
{
    return advance(r);
}

int race_take(struct race *r)
{
    int fd = r->fd;
    r->fd = -1;
    return fd;
}

void race_close(struct race *r)
{
    settle(r);
    if (r->fd >= 0)
        close_one(r, race_take(r));
}
