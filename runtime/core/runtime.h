/* All that a runtime knows, in one struct: the page to read first.
** Runtimes share nothing; there is no other state in the library. A runtime is used by
** one thread at a time. Functions marked [E] may raise a Lua error; all others never do. */
#ifndef CORE_RUNTIME_H
#define CORE_RUNTIME_H

#include "base/heap.h"
#include "base/list.h"
#include "base/memory.h"
#include "base/slots.h"
#include "core/error.h"
#include "core/object.h"
#include "lua.h"
#include "reactor/reactor.h"

#include <stdatomic.h>

struct tasklet;
struct stream;

/* A Lua thread that waits for the next tasklet, and its place in threads_ref. */
struct idle_thread {
    lua_State *L;
    uint32_t place;
};

struct runtime {
    lua_State *L; /* the main state: runs reactor code and the host's, never a tasklet */
    struct memory memory;
    struct reactor *reactor;
    bool closing; /* being torn down: nothing new may start */

    /* scheduler: sched.c */
    struct list ready; /* tasklets to run, in order */
    size_t ready_count;
    struct tasklet *current; /* the one that runs; NULL: the reactor or the host */
    bool suspending;         /* from a wait to the trampoline: a yield in between is neap's */
    atomic_bool stop;        /* [any thread] the run ends soon */
    uint64_t resumes;
    int burst; /* reads and writes that the running tasklet has done without a wait */

    /* where a wait is possible: wait.c, bind/coroutine.c */
    int reactor_code;      /* > 0: code that may neither block nor switch */
    lua_State *chain_stop; /* the outermost thread under the leaf that cannot yield, or NULL */
    int closing_depth;     /* coroutine.close inside coroutine.close */
    size_t outside;        /* tasklets whose wait the world outside can end */

    /* time: timer.c */
    struct heap timers;
    double now; /* as of the last look at the clock */

    /* tasklets: tasklet.c */
    struct list tasklets;               /* the live ones, oldest first */
    size_t tasklet_count, tasklet_peak; /* now; at most since the loop last slept */
    uint64_t next_id;
    struct tasklet *main; /* the program's; NULL in an embedding host */
    struct idle_thread *idle;
    uint32_t idle_count, idle_cap, thread_count, free_places;
    int threads_ref;    /* registry: array that anchors the tasklets' threads */
    int sides_ref;      /* registry: tasklet -> side block, weak keys */
    struct slots slots; /* ids of tasklets that a host knows */

    /* deferreds: deferred.c */
    int postponed_ref; /* registry: deferreds to run when the outermost firing is done */
    lua_Integer postponed_count;
    int nested_firings;

    /* errors: error.c */
    int error_ref[ERROR_CLASSES]; /* registry: the classes */
    const void *error_id[ERROR_CLASSES];
    int failure_ref;
    const void *failure_id;
    int on_error_ref;  /* registry: the script's handler, LUA_NOREF: none */
    int unhandled_ref; /* registry: list of failures that collection found unhandled */
    uint32_t unhandled_count;
    uint64_t fails; /* errors that nobody waited for */
    void (*on_fail)(struct runtime *rt, struct tasklet *t, const char *message,
                    const char *trace);
    void (*on_log)(struct runtime *rt, int level, const char *message);
    void (*on_write)(struct runtime *rt, const char *s, size_t n); /* print, io.write */

    /* objects: object.c */
    struct object_kind_data kinds[OBJECT_KINDS];
    int channels_ref; /* registry: name -> channel */

    /* networks: net/ */
    char *read_buffer; /* READ_BUFFER bytes, valid until the first call that may run Lua */
    struct stream *held_for; /* whose its bytes at held_from .. held_to are, or NULL */
    size_t held_from, held_to;
    struct list streams, lingering;        /* open ones; closed ones with output left */
    struct list starved;                   /* listeners out of descriptors */
    void (*close_net)(struct runtime *rt); /* ends what is left there; NULL: never opened */

    void *host; /* the embedding layer's */
};

enum { READ_BUFFER = 65536 };

/* Each thread's extra space holds its runtime and, in the lowest bits, what a script's
** coroutine functions must know of it. */
enum {
    THREAD_ROOT = 1,    /* a tasklet's own thread: nobody but the scheduler resumes it */
    THREAD_WAITING = 2, /* a script's coroutine in the middle of a wait */
    THREAD_MARKS = 3
};

static inline uintptr_t *thread_word(lua_State *L)
{
    return (uintptr_t *)lua_getextraspace(L);
}

/* The runtime of a state that neap made. */
static inline struct runtime *runtime_of(lua_State *L)
{
    return (struct runtime *)(*thread_word(L) & ~(uintptr_t)THREAD_MARKS);
}

/* Fills a zeroed *rt and opens its Lua state, without libraries; `memory` must be
** set. 0, or -1 with *why a constant text and nothing left behind. */
int runtime_open(struct runtime *rt, const char **why);

/* Kills every tasklet, newest first, closes the Lua state and the reactor. */
void runtime_close(struct runtime *rt);

/* Calls f(L, ud) on the main state, protected, as reactor code: for whatever may
** raise outside of a tasklet. LUA_OK, or the status with the error reported. */
int runtime_enter(struct runtime *rt, lua_CFunction f, void *ud);

#endif
