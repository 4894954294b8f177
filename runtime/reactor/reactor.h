/* The reactor: one private libev loop per runtime, and the only folder that knows libev.
** A watch's callback never runs Lua: it marks tasklets ready and returns. */
#ifndef REACTOR_REACTOR_H
#define REACTOR_REACTOR_H

#include "base/memory.h"

#include <stdbool.h>

struct reactor;

enum { WATCH_READ = 1, WATCH_WRITE = 2, WATCH_ERROR = 4 };

/* Interest in one descriptor. Embed it; the descriptor must stay open while it is
** active. WATCH_ERROR: the kernel refused the descriptor and the watch has been
** stopped. Stopping it from its own callback is fine. */
struct watch {
    uint64_t ev[6]; /* the loop's own */
    void (*fn)(struct watch *w, int events);
};

/* A new loop, or NULL with *why a constant text. Takes three descriptors at once,
** so that running out of them later cannot stop the loop itself. */
struct reactor *reactor_new(struct memory *m, const char **why);
void reactor_free(struct reactor *r);

/* One turn: waits at most `wait` seconds (0: not at all, HUGE_VAL: until something
** happens), then calls back the watches that are ready. */
void reactor_poll(struct reactor *r, double wait);

/* Any thread, and signal handlers: the running or the next reactor_poll returns soon. */
void reactor_wake(struct reactor *r);

/* The descriptor that tells, by being readable, that a turn would find something; -1 where
** it cannot be told. The reactor's own: found at the first call. */
int reactor_fd(struct reactor *r);

/* Watches that are active now. */
size_t reactor_watches(const struct reactor *r);

/* events: WATCH_READ or WATCH_WRITE, or both. */
void watch_init(struct watch *w, int fd, int events, void (*fn)(struct watch *, int));
void watch_start(struct reactor *r, struct watch *w);
void watch_stop(struct reactor *r, struct watch *w);

/* Monotonic seconds. */
double clock_now(void);

#endif
