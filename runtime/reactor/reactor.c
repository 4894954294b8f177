#include "reactor/reactor.h"

#include <assert.h>
#include <ev.h>
#include <math.h>
#include <time.h>

#ifdef NEAP_STRESS
#include <stdlib.h>
#endif

struct reactor {
    struct ev_loop *loop;
    struct memory *memory;
    ev_async wake;
    ev_timer deadline; /* ends a turn in time; neap's own timers live in its heaps */
    size_t watches;
};

static_assert(sizeof(ev_io) <= sizeof((struct watch *)0)->ev, "struct watch holds an ev_io");

static ev_io *io_of(const struct watch *w)
{
    return (ev_io *)w->ev;
}

static void on_wake(struct ev_loop *loop, ev_async *w, int revents)
{
    (void)loop, (void)w, (void)revents;
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
    r->loop = ev_loop_new(EVFLAG_NOENV | EVBACKEND_EPOLL);
    if (!r->loop || ev_backend(r->loop) != EVBACKEND_EPOLL) {
        *why = "cannot make an epoll loop (out of descriptors?)";
        reactor_free(r);
        return NULL;
    }
    ev_set_userdata(r->loop, r);
    ev_timer_init(&r->deadline, on_deadline, 0, 0);
    ev_async_init(&r->wake, on_wake);
    ev_async_start(r->loop,
                   &r->wake); /* at the first one libev needs a descriptor, or aborts */
    return r;
}

void reactor_free(struct reactor *r)
{
    if (r->loop) {
        ev_async_stop(r->loop, &r->wake);
        ev_loop_destroy(r->loop);
    }
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
    ev_async_send(r->loop, &r->wake);
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
