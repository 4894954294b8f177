#include "net/race.h"

#include "core/tasklet.h"
#include "net/listener.h"
#include "net/option.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static const double STAGGER = 0.25;

static void close_one(struct race *r, int fd)
{
    close(fd);
    listener_descriptor_free(r->rt);
}

static void attempt_close(struct race *r, struct attempt *a)
{
    if (a->fd < 0)
        return;
    watch_stop(r->rt->reactor, &a->watch);
    close_one(r, a->fd);
    a->fd = -1;
    r->running--;
}

static void close_attempts(struct race *r)
{
    timer_serve_end(r->rt, &r->stagger);
    for (size_t i = 0; i < r->begun; i++)
        attempt_close(r, &r->attempts[i]);
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
    r->running--;
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
    r->running++;
    watch_init(&a->watch, a->fd, WATCH_WRITE, on_writable);
    int e = set_options(r, a);
    if (e == 0)
        e = begin_connecting(a);
    if (e == 0)
        win(r, a);
    else if (e == -EINPROGRESS)
        watch_start(r->rt->reactor, &a->watch);
    else
        attempt_close(r, a);
    return e == -EINPROGRESS ? 0 : e;
}

/* Begins the next attempt that can be begun; true: the race is over. Without memory for the
** timer the one after waits until it has failed. */
static bool advance(struct race *r)
{
    timer_serve_end(r->rt, &r->stagger);
    while (r->fd < 0 && r->begun < r->count) {
        int e = attempt_begin(r, &r->attempts[r->begun++]);
        if (e == 0)
            break;
        note_error(r, -e);
    }
    if (r->fd >= 0 || r->running == 0) {
        close_attempts(r);
        return true;
    }
    if (r->begun < r->count)
        timer_serve(r->rt, &r->stagger, STAGGER);
    return false;
}

static void go_on(struct race *r)
{
    if (advance(r))
        wait_wake_all(r->rt, &r->waiter, WAKE_SERVED);
}

static void on_stagger(struct runtime *rt, struct serving_timer *t)
{
    (void)rt;
    go_on(container_of(t, struct race, stagger));
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
        attempt_close(r, a);
        note_error(r, error);
        go_on(r);
        return;
    }
    win(r, a);
    close_attempts(r);
    wait_wake_all(r->rt, &r->waiter, WAKE_SERVED);
}

static void waiter_left(struct wait_queue *q)
{
    race_close(container_of(q, struct race, waiter));
}

static const struct wait_class connect_class = {
    .what = "connect", .outside = true, .left = waiter_left};

size_t race_size(size_t count)
{
    return sizeof(struct race) + count * sizeof(struct attempt);
}

void race_init(struct race *r, struct runtime *rt, size_t count)
{
    r->rt = rt;
    r->fd = -1;
    r->keepalive = -1;
    r->count = count;
    r->stagger.fn = on_stagger;
    wait_queue_init(&r->waiter, &connect_class);
    for (size_t i = 0; i < count; i++) {
        r->attempts[i].race = r;
        r->attempts[i].fd = -1;
    }
}

void race_interleave(struct race *r)
{
    for (size_t i = 1; i < r->count; i++) {
        size_t k = i;
        while (k < r->count &&
               r->attempts[k].to.sa.ss_family == r->attempts[i - 1].to.sa.ss_family)
            k++;
        if (k == r->count)
            return;
        struct address to = r->attempts[k].to;
        for (; k > i; k--)
            r->attempts[k].to = r->attempts[k - 1].to;
        r->attempts[i].to = to;
    }
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
    close_attempts(r);
    if (r->fd >= 0)
        close_one(r, race_take(r));
}
