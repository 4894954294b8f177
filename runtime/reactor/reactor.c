#include "reactor/reactor.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <ev.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct reactor {
    struct ev_loop *loop;
    struct memory *memory;
    ev_io wake; /* on an eventfd: libev's own ev_async writes only while its loop waits, and a
                ** host that polls the loop's descriptor would not see it */
    int wake_fd;
    atomic_bool woken;
    ev_timer deadline; /* ends a turn in time; neap's own timers live in its heaps */
    size_t watches;
    int fd; /* of epoll; -1: not known */
    bool searched;
};

static_assert(sizeof(ev_io) <= sizeof((struct watch *)0)->ev, "struct watch holds an ev_io");

static ev_io *io_of(const struct watch *w)
{
    return (ev_io *)w->ev;
}

/* What has been brought is looked at behind this, so a wake in the middle is not lost. */
static void on_wake(struct ev_loop *loop, ev_io *w, int revents)
{
    struct reactor *r = ev_userdata(loop);
    uint64_t count;
    (void)revents;
    if (read(w->fd, &count, sizeof count) < 0)
        return; /* there was none */
    atomic_store(&r->woken, false);
}

/* Between the changes of watches and the wait for events: libev does not see that a watch which
** the kernel has refused is to be told already. */
static void on_release(struct ev_loop *loop) EV_NOEXCEPT
{
    if (ev_pending_count(loop) > 0)
        reactor_wake(ev_userdata(loop));
}

static void on_acquire(struct ev_loop *loop) EV_NOEXCEPT
{
    (void)loop;
}

static void on_deadline(struct ev_loop *loop, ev_timer *w, int revents)
{
    (void)loop, (void)w, (void)revents;
}

static void on_io(struct ev_loop *loop, ev_io *io, int revents)
{
    struct watch *w = (struct watch *)io;
    int events = (revents & EV_READ ? WATCH_READ : 0) | (revents & EV_WRITE ? WATCH_WRITE : 0);
    if (revents & EV_ERROR) {
        struct reactor *r = ev_userdata(loop);
        r->watches--; /* libev has stopped it */
        events |= WATCH_ERROR;
    }
    w->fn(w, events);
}

struct reactor *reactor_new(struct memory *m, const char **why)
{
    struct reactor *r = memory_new(m, sizeof *r);
    if (!r) {
        *why = "not enough memory";
        return NULL;
    }
    r->memory = m;
    r->fd = r->wake_fd = -1;
    r->loop = ev_loop_new(EVFLAG_NOENV | EVBACKEND_EPOLL);
    if (!r->loop || ev_backend(r->loop) != EVBACKEND_EPOLL) {
        *why = "cannot make an epoll loop (out of descriptors?)";
        reactor_free(r);
        return NULL;
    }
    ev_set_userdata(r->loop, r);
    ev_set_loop_release_cb(r->loop, on_release, on_acquire);
    ev_timer_init(&r->deadline, on_deadline, 0, 0);
    r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->wake_fd < 0) {
        *why = "cannot make an eventfd (out of descriptors?)";
        reactor_free(r);
        return NULL;
    }
    ev_io_init(&r->wake, on_wake, r->wake_fd, EV_READ);
    ev_io_start(r->loop, &r->wake);
    return r;
}

void reactor_free(struct reactor *r)
{
    if (r->wake_fd >= 0) {
        ev_io_stop(r->loop, &r->wake);
        close(r->wake_fd);
    }
    if (r->loop)
        ev_loop_destroy(r->loop);
    memory_free(r->memory, r, sizeof *r);
}

void reactor_poll(struct reactor *r, double wait)
{
    if (wait <= 0) {
        ev_run(r->loop, EVRUN_NOWAIT);
        return;
    }
    if (wait < HUGE_VAL) {
        ev_now_update(r->loop);
        ev_timer_set(&r->deadline, wait, 0);
        ev_timer_start(r->loop, &r->deadline);
    }
    ev_run(r->loop, EVRUN_ONCE);
    ev_timer_stop(r->loop, &r->deadline);
}

void reactor_wake(struct reactor *r)
{
    static const uint64_t one = 1;
    int error = errno; /* a signal handler's caller keeps its own */
    if (!atomic_exchange(&r->woken, true) && write(r->wake_fd, &one, sizeof one) < 0)
        atomic_store(&r->woken, false); /* cannot be: the counter is far from full */
    errno = error;
}

/* ---- the loop's descriptor ----
** libev shows it nowhere. It is the eventpoll that watches wake_fd. */

/* Whether fd is an eventpoll that watches `target`. */
static bool watches(int fd, int target)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    FILE *f = fopen(path, "re");
    bool found = false;
    int n;
    while (f && !found && fgets(line, sizeof line, f))
        found = sscanf(line, "tfd: %d", &n) == 1 && n == target;
    if (f)
        fclose(f);
    return found;
}

static int find_watcher(int target)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *e;
    int found = -1;
    while (dir && found < 0 && (e = readdir(dir)))
        if (*e->d_name != '.' && watches(atoi(e->d_name), target))
            found = atoi(e->d_name);
    if (dir)
        closedir(dir);
    return found;
}

int reactor_fd(struct reactor *r)
{
    if (!r->searched) {
        ev_run(r->loop, EVRUN_NOWAIT); /* only in there the kernel is told of new watches */
        r->fd = find_watcher(r->wake_fd);
        r->searched = true;
    }
    return r->fd;
}

size_t reactor_watches(const struct reactor *r)
{
    return r->watches;
}

void watch_init(struct watch *w, int fd, int events, void (*fn)(struct watch *, int))
{
    ev_io_init(io_of(w), on_io, fd,
               (events & WATCH_READ ? EV_READ : 0) | (events & WATCH_WRITE ? EV_WRITE : 0));
    w->fn = fn;
}

void watch_start(struct reactor *r, struct watch *w)
{
    if (ev_is_active(io_of(w)))
        return;
#ifdef NEAP_STRESS
    ev_set_priority(io_of(w), EV_MINPRI + rand() % (EV_MAXPRI - EV_MINPRI + 1)); /* shuffles */
#endif
    ev_io_start(r->loop, io_of(w));
    r->watches++;
}

void watch_stop(struct reactor *r, struct watch *w)
{
    if (!ev_is_active(io_of(w)) && !ev_is_pending(io_of(w)))
        return;
    r->watches -= ev_is_active(io_of(w)) ? 1 : 0;
    ev_io_stop(r->loop, io_of(w));
}

double clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
