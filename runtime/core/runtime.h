/* All that a runtime knows, in one struct: the page to read first.
** Runtimes share nothing; there is no other state in the library. A runtime is used by
** one thread at a time. Functions marked [E] may raise a Lua error; all others never do. */
#ifndef CORE_RUNTIME_H
#define CORE_RUNTIME_H

#include "base/heap.h"
#include "base/list.h"
#include "base/memory.h"
#include "base/slots.h"
#include "core/clock.h"
#include "core/error.h"
#include "core/object.h"
#include "lua.h"
#include "reactor/reactor.h"

#include <pthread.h>
#include <stdatomic.h>

struct tasklet;
struct stream;
struct signals;
struct trace;
struct inbox;

/* A Lua thread that waits for the next tasklet, and its place in threads_ref. */
struct idle_thread {
    lua_State *L;
    uint32_t place;
};

/* What cuts in on a tasklet that holds on: slice.c. */
struct slice {
    double length, watchdog, shortest; /* seconds; HUGE_VAL: off. shortest: of both */
    uint64_t reported_turn;            /* the watchdog has spoken about it */
    bool started, quit;                /* the thread */
    atomic_bool asleep;                /* it waits for slice_awake */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    _Atomic(lua_State *) leaf;  /* the Lua thread that runs; NULL: none */
    _Atomic uint64_t turn;      /* runtime.resumes at the thread's last look, */
    _Atomic double began;       /* and when it first saw that one */
    void (*interrupt)(void);    /* the host's: interrupts the owner's thread; NULL: it cannot */
    double gives_way, dies;     /* seconds; HUGE_VAL: never. What the standing hook asks for */
    double go_began, go_before; /* the go that runs: since when, and how long before its cuts */
    bool stands;
    unsigned calls, charges; /* slice_call's in one another; coroutines resumed */
    lua_Hook saved_hook;     /* the script's own, on saved_thread */
    int saved_mask, saved_count;
    lua_State *saved_thread;
};

struct runtime {
    lua_State *L; /* the main state: runs reactor code and the host's, never a tasklet */
    struct memory memory;
    size_t memory_limit; /* bytes, of all; refuses only what script asks for; 0: none */
    unsigned unlimited;  /* > 0: an error is being told, which script did not ask for */
    unsigned calls;      /* of the host into script, outside any tasklet, now */
    struct reactor *reactor;
    bool closing; /* being torn down: nothing new may start */
    bool adopted; /* in a Lua state that others made and close */

    /* scheduler: sched.c */
    struct list ready; /* tasklets to run, in order */
    size_t ready_count;
    struct tasklet *current;  /* the one that runs; NULL: the reactor or the host */
    bool suspending;          /* from a wait to the trampoline: a yield in between is neap's */
    atomic_bool stop;         /* [any thread] the run ends soon */
    _Atomic uint64_t resumes; /* turns of tasklets so far */
    uint64_t preempts;        /* of them cut short by a slice */
    struct list runners;      /* tasklets in neap.run, innermost last */
    int run_limit;            /* instructions a tasklet may use in one go; 0: any */
    struct tasklet *over_limit; /* the one that used more */
    struct list held; /* ready tasklets of paused groups, in the order of their wakes */
    int on_switch_ref, last_ref; /* registry: the schedule callback, the last tasklet it saw */
    struct tracer *tracer;       /* NULL: off */
    struct usage *usage;         /* ages and runs of tasklets; NULL: nobody asks */
    bool counts_runs;            /* usage_add is told of each run */
    bool observed;               /* one of these wants every switch */
    int burst; /* reads and writes that the running tasklet has done without a wait */

    /* where a wait is possible: wait.c, bind/coroutine.c */
    int switch_trap;        /* > 0: a switch raises */
    int reactor_code;       /* > 0: code that may neither block nor switch */
    lua_State *chain_stop;  /* the outermost thread under the leaf that cannot yield, or NULL */
    lua_State *thrown_into; /* it is resumed with an error, to be raised at its yield */
    int closing_depth;      /* coroutine.close inside coroutine.close */
    lua_CFunction wrapped;  /* what coroutine.wrap returns: it has no name of its own */
    size_t outside;         /* tasklets whose wait the world outside can end */

    /* time: timer.c, clock.h, call.c */
    struct real_time real_time;
    struct clock real, own;
    double scale; /* the rate of `own` while it flows: in a run. A step moves it by hand */
    bool flows;
    struct clock *clock;   /* the one in use: `own`, or a script's */
    struct clock **clocks; /* by place; NULL: a free one */
    uint32_t clock_count, clock_cap;
    int clock_ref;         /* registry: the userdata of the one in use, if it is a script's */
    int deadlines_ref;     /* registry: the userdata of deadlines by address, weak */
    struct list overdue;   /* deadlines that nobody waited in */
    size_t serving_timers; /* armed on the real clock for tasklets that wait outside */
    uint64_t moments;      /* what happened first: deadline.c */
    int calls_ref; /* registry: calls on `real` and `own` that are to be made, by address */

    /* tasklets: tasklet.c, threads.c */
    struct list tasklets;               /* the live ones, oldest first */
    size_t tasklet_count, tasklet_peak; /* now; at most since the loop last slept */
    uint64_t next_id;
    struct tasklet *main; /* the program's, while it lives; NULL in an embedding host */
    struct idle_thread *idle;
    uint32_t idle_count, idle_cap, thread_count, free_places;
    int threads_ref;    /* registry: array that anchors the tasklets' threads */
    int sides_ref;      /* registry: tasklet -> side block, weak keys */
    struct slots slots; /* ids of tasklets that a host knows */
    bool untold;        /* some who watch one that has ended could not be told: no memory */
    void (*on_untold)(struct runtime *rt); /* the host's: at once, outside of all script */

    /* the end: ending.c */
    struct list daemons;    /* side blocks of the live daemon tasklets */
    bool main_ended;        /* there was a main tasklet: daemons do not count any more */
    int last_turns;         /* turns since only daemons could run */
    int deadlocks;          /* that main has caught in a row, nobody else having run */
    uint64_t deadlock_turn; /* runtime.resumes at the last of them */
    bool ending;            /* what is left is being killed */
    bool exits;             /* os.exit has ended the program: */
    int exit_status;        /* with this */

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
    struct trace *trace; /* of the last error that left a coroutine, or NULL: trace.c */
    int trace_ref;       /* registry: that error */
    uint64_t fails;      /* errors that nobody waited for */
    void (*on_fail)(struct runtime *rt, struct tasklet *t, const char *message,
                    const char *trace);
    void (*on_log)(struct runtime *rt, int level, const char *message);
    void (*on_write)(struct runtime *rt, const char *s, size_t n); /* print, io.write */

    /* objects: object.c */
    struct object_kind_data kinds[OBJECT_KINDS];
    int channels_ref;   /* registry: name -> channel */
    int on_channel_ref; /* registry: the channel callback */
    bool in_on_channel; /* it runs */

    struct list loads; /* modules that are being loaded: bind/require.c */

    /* networks: net/ */
    char *read_buffer; /* READ_BUFFER bytes, valid until the first call that may run Lua */
    struct stream *held_for; /* whose its bytes at held_from .. held_to are, or NULL */
    size_t held_from, held_to;
    struct list streams, lingering;        /* open ones; closed ones with output left */
    struct list listeners;                 /* open ones */
    struct list starved;                   /* of them, those out of descriptors */
    void (*close_net)(struct runtime *rt); /* ends what is left there; NULL: never opened */
    void (*cut_net)(struct runtime *rt, struct tasklet *t); /* t is cut: its turns go on */

    /* system/, bind/stdio.c */
    bool lends_stdio;                            /* the host: its standard descriptors */
    struct list processes;                       /* children that are not reaped yet */
    void (*close_processes)(struct runtime *rt); /* lets go of them; NULL: there were none */

    struct slice slice;

    /* signals of the program: core/interrupt.c, system/signal.c. What is atomic, the host's
    ** signal handlers touch too. */
    atomic_bool signalled;          /* something has come that is not taken yet */
    atomic_int interrupt;           /* enum interrupt: how far a Ctrl-C has come */
    _Atomic uint64_t signals;       /* sets, bit n for signal n: have come, not taken yet */
    _Atomic uint64_t signals_taken; /* have left their default */
    struct signals *lent;           /* NULL: the host lends none */
    void (*take_signals)(struct runtime *rt);
    void (*tend_signals)(struct runtime *rt); /* at each turn; NULL: nothing to tend */

    struct inbox *inbox; /* what other threads post; NULL: nobody may */

    void *host; /* the embedding layer's */
};

enum { READ_BUFFER = 65536 };

/* Each thread's extra space holds its runtime and, in the lowest bits, what a script's
** coroutine functions must know of it. */
enum {
    THREAD_ROOT = 1,    /* a tasklet's own thread: nobody but the scheduler resumes it */
    THREAD_WAITING = 2, /* a script's coroutine in the middle of a wait */
    THREAD_OVER = 4,    /* a tasklet's that has ended */
    THREAD_MARKS = 7
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

/* Seconds of the real time: monotonic. */
static inline double runtime_now(const struct runtime *rt)
{
    return real_time_now(&rt->real_time);
}

/* The object at index i, or NULL if that is not of the kind. */
static inline void *object_test(lua_State *L, int i, enum object_kind kind)
{
    struct object *o = lua_touserdata(L, i); /* a light one has no length */
    return o && lua_rawlen(L, i) >= sizeof *o && o->kind == &runtime_of(L)->kinds[kind] ? o
                                                                                        : NULL;
}

/* The same, but raises an argument error. [E] */
static inline void *object_check(lua_State *L, int i, enum object_kind kind)
{
    void *o = object_test(L, i, kind);
    if (!o)
        object_type_error(L, i, kind);
    return o;
}

/* Fills a zeroed *rt and opens its Lua state, without libraries; `memory` must be
** set. 0, or -1 with *why a constant text and nothing left behind. */
int runtime_open(struct runtime *rt, const char **why);

/* The same in the Lua state of L, which others made and close; *rt is zeroed, and stays
** until that has happened. Coroutines that exist already get their word when our
** coroutine functions meet them (bind/coroutine.c). 0, or -1 with *why. [E] */
int runtime_adopt(struct runtime *rt, lua_State *L, const char **why);

/* Kills every tasklet, newest first, closes the Lua state and the reactor. */
void runtime_close(struct runtime *rt);

/* An adopting one's: its Lua state is being closed. */
void runtime_leave(struct runtime *rt);

/* Calls f(L, ud) on the main state, protected, as reactor code: for whatever may
** raise outside of a tasklet. LUA_OK, or the status with the error reported. */
int runtime_enter(struct runtime *rt, lua_CFunction f, void *ud);

#endif
