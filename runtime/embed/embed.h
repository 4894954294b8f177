/* What the files of neap.h's implementation share. Every entry checks its thread and its
** arguments, and runs what may raise under a pcall of its own. */
#ifndef EMBED_EMBED_H
#define EMBED_EMBED_H

#include "core/runtime.h"
#include "neap.h"

/* Builds that look for errors also look for what a runtime has left behind. */
#if defined(NEAP_STRESS) || defined(__SANITIZE_ADDRESS__)
#define EMBED_ASSERTS
#endif

#include <pthread.h>

struct neap {
    struct runtime rt;
    neap_config config;
    _Atomic(pthread_t) owner;
    atomic_bool running; /* in a step or a run, or being freed */
    atomic_bool closed;  /* only what was posted is still looked through */
    unsigned inside;     /* calls of the host that run script, now, in one another */
    bool collects;       /* neap_gc is at work */
    int error;
    char error_text[512];
    bool warns; /* warn("@on") */
    size_t warning_length;
    char warning[512]; /* the pieces so far */

    bool keeps_collector; /* neap_gc has been called: nothing collects inside a step */
    size_t live_size;     /* when the last cycle ended */
    int64_t script_ns, gc_ns, gc_max_ns, over_ns;

    struct slots answers, channels; /* of neap_defer and neap_channel */
    struct slots watches;           /* of neap_then: */
    struct list watched;            /* those that have not been told */
    int no_memory_ref;              /* registry: a text for who is told without memory */
    int refs_ref;                   /* registry: type -> id -> reference, weak */
    size_t refs;
    int channel_ids_ref; /* registry: name -> id in channels */
};

/* Whether the calling thread may use N. */
static inline bool embed_owned(neap *N)
{
    return N && !atomic_load_explicit(&N->closed, memory_order_relaxed) &&
           pthread_equal(atomic_load_explicit(&N->owner, memory_order_relaxed), pthread_self());
}

/* The result of an [O] call for which embed_owned is false. */
static inline int embed_foreign(const neap *N)
{
    return N ? NEAP_ETHREAD : NEAP_EARG;
}

/* Whether N is in the middle of a call that runs script: no step and no end then. */
static inline bool embed_busy(const neap *N)
{
    return N->running || N->inside > 0;
}

/* Tells the wake hook, outside of a step, that the owner has perhaps brought work. */
void embed_wake(neap *N);

/* Keeps a failure for neap_error; its code. */
int embed_fail(neap *N, int code, const char *text);

/* Calls f on the main state with the n values on the top, taken off; nresults are left. On
** failure nothing is left, the error's text is kept, and its code: NEAP_EMEM, or `code`. */
int embed_protect(neap *N, lua_CFunction f, int n, int nresults, int code);

/* The id by which the host knows t, or may know it from now on; 0: no memory. */
neap_task embed_task(neap *N, struct tasklet *t);

/* Ends a live tasklet for good; who waits for it gets the text. A result of neap.h. */
int embed_kill(neap *N, struct tasklet *t, const char *why);

/* Settles with the n values on the top of the main stack, taken off. A result of neap.h. */
int embed_settle(neap *N, neap_deferred d, bool ok, int n);

/* Tells those whom neap_then has promised it, and nobody could: of tasklets that have ended,
** or of all. It wants no memory. */
void embed_tell_watches(neap *N, bool all);

/* Takes away what the bits of neap_config.deny name. [E] */
void embed_deny(lua_State *L, unsigned bits);

/* What references and named channels need in the state. [E] */
void embed_open_objects(lua_State *L);

#endif
