/* neap.h - embed a neap runtime: Lua 5.4, tasklets and a reactor in one handle.
** A neap owns one Lua state and one event loop; instances share nothing.
**
**     neap_config c = {0};
**     c.size = sizeof c;
**     c.write = my_write;
**     neap *N = neap_new(&c, NULL);
**     neap_file(N, "game.lua", 0);
**     neap_run(N);
**     neap_free(N);
**
** This version has what running scripts needs: life, running, status, figures. Stepping,
** channels and references for engines come; what is declared here stays as it is.
**
** Marks on every function:
**   [O]  owner thread only: the one that called neap_new
**   [A]  any thread, between neap_new's return and neap_free's call
**   [S]  may run script, and so your hooks and callbacks
** An int result is NEAP_OK or a negative NEAP_E*, unless said otherwise.
** None raises a Lua error. None aborts when alloc refuses: no memory is NEAP_EMEM or
** an id of 0. (libev uses the process's malloc, and aborts if that fails.)
** An [O] call from a wrong thread touches nothing and answers NEAP_ETHREAD; one
** whose result is no int answers an id of 0, NULL, or does nothing.
** "The stack" is that of neap_lua(N); a lua_CFunction that was given another
** lua_State moves its values there first (lua_xmove). What a call takes from
** the stack it takes also when it fails.
** Text handed in is copied. Text handed out lasts until the hook returns; that of
** neap_error until the next call that fails.
** Units: size_t = bytes, int64_t *_ns = nanoseconds. */
#ifndef NEAP_H
#define NEAP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "lua.h"

#ifndef NEAP_API
#if defined(__GNUC__)
#define NEAP_API __attribute__((visibility("default")))
#else
#define NEAP_API
#endif
#endif

#define NEAP_VERSION 0x000100u  /* major << 16 | minor << 8 | patch */

typedef struct neap neap;                       /* one runtime; opaque */

/* A generational id. 0 is never a live one. A stale one (ended, or never given
** out) is NEAP_ESTALE, never undefined behaviour. */
typedef struct { uint64_t id; } neap_task;

enum {                      /* results; new ones are only appended */
    NEAP_OK = 0,
    NEAP_ESYNTAX = -1,      /* the chunk does not compile, or is not readable */
    NEAP_ERUN = -2,         /* the script raised an error */
    NEAP_EMEM = -3,         /* no memory */
    NEAP_ESTALE = -4,       /* the id's thing is gone */
    NEAP_EBUSY = -5,        /* not from inside a run or a hook */
    NEAP_ETHREAD = -6,      /* not the owner thread */
    NEAP_EARG = -7          /* NULL, a negative count, ... */
};

enum {                      /* neap_status */
    NEAP_READY = 1,         /* in the run queue */
    NEAP_WAITING,           /* blocked, or paused by the script */
    NEAP_RUNNING,
    NEAP_DONE,              /* has returned */
    NEAP_FAILED             /* died of an error, or was killed */
};

enum { NEAP_LOG_INFO = 1, NEAP_LOG_WARN, NEAP_LOG_ERROR };      /* log hook */

/* Zero means default, throughout. Hooks get `ud` first, run on the owner thread, may
** not raise, and may call [A] functions and those [O] ones that are not [S].
** The members marked "later" are laid out already, but this version refuses them:
** leave them zero. */
typedef struct {
    size_t size;            /* sizeof(neap_config). 0: that of version 0.1.0 */
    void *ud;               /* handed to every hook below */
    lua_Alloc alloc;        /* the Lua heap and neap's own blocks; osize is
                            ** exact, 0 for a new block. Default: realloc and free */
    void (*write)(void *ud, const char *s, size_t n);
                            /* print and io.write. Default: thrown away */
    void (*log)(void *ud, int level, const char *msg);
                            /* warn(), neap itself. Default: thrown away */
    void (*fail)(void *ud, neap_task t, const char *msg, const char *trace);
                            /* an error that nobody waits for, once each.
                            ** Default: log */
    int (*load)(void *ud, lua_State *L, const char *mod);       /* later */
    int64_t (*clock)(void *ud);                                 /* later */
    void (*wake)(void *ud);                                     /* later */
    size_t mem_limit;                                           /* later */
    int64_t slice_ns;                                           /* later */
    int64_t runaway_ns;                                         /* later */
    uint64_t seed;                                              /* later */
    unsigned deny;                                              /* later */
} neap_config;

typedef struct {
    size_t size;            /* set it: sizeof(neap_stats). 0: that of 0.1.0 */
    size_t tasks;           /* live tasklets */
    size_t ready;           /* of these, in the run queue */
    size_t timers;          /* armed */
    size_t watches;         /* descriptors that the reactor watches */
    size_t refs;            /* later: 0 */
    size_t mem, mem_peak;   /* bytes held through alloc, now and at most */
    uint64_t resumes;       /* since neap_new: turns of tasklets, */
    uint64_t preempts;      /* of them cut short by a time slice */
    uint64_t fails;         /* errors that nobody waited for */
    int64_t script_ns, gc_ns, gc_max_ns, over_ns;               /* later: 0 */
} neap_stats;

/* ---- life ---- */

/* [A] The library's NEAP_VERSION; the host compares: majors must be equal. */
NEAP_API unsigned neap_version(void);

/* [A] A new runtime; the caller's thread owns it. c may be NULL: all defaults.
** NULL on failure, *why (if why) is then a constant text. c->size below that of
** 0.1.0, or larger than known with a non-zero rest, is refused. Scripts find
** the globals of the neap program, and require "neap". */
NEAP_API neap *neap_new(const neap_config *c, const char **why);

/* [O][S] Kills every tasklet, newest first, closes, releases. NULL is fine. From inside
** a run it only logs. */
NEAP_API void neap_free(neap *N);

/* [O] The main state, to bind an engine with the Lua API; gone by neap_free. */
NEAP_API lua_State *neap_lua(neap *N);

/* The runtime behind any of its lua_States, on the thread that runs L; NULL if L
** is none of neap's. */
NEAP_API neap *neap_of(lua_State *L);

/* [O] The code of the last [O] call on N that failed, NEAP_OK if none did; *msg
** (if msg) its text. For calls that return an id, and for the text of
** NEAP_ESYNTAX. */
NEAP_API int neap_error(neap *N, const char **msg);

/* ---- run ---- */

/* [O] A tasklet that runs the file with nargs values off the stack as `...`.
** Queued; it first runs in the next neap_run. An id of 0: see neap_error; the fail
** hook is not called, for no tasklet came to be. */
NEAP_API neap_task neap_file(neap *N, const char *path, int nargs);

/* [O] The same with n bytes at s; name is the chunk's, as in luaL_loadbuffer,
** and there are no arguments. */
NEAP_API neap_task neap_text(neap *N, const char *s, size_t n, const char *name);

/* [O] The same with a function and then nargs arguments off the stack. */
NEAP_API neap_task neap_spawn(neap *N, int nargs);

/* [O][S] Runs, and sleeps between, until nothing is left that could move: no ready
** tasklet, timer, or wait that the world outside can end. Tasklets blocked for ever
** remain: stats.tasks. NEAP_OK, or 1 after neap_interrupt. NEAP_EBUSY inside itself. */
NEAP_API int neap_run(neap *N);

/* [A] The running neap_run ends soon: when the tasklet that runs now waits or ends.
** Between runs it counts for the next. Not for signal handlers. */
NEAP_API void neap_interrupt(neap *N);

/* ---- tasklets ---- */

/* [O] NEAP_READY .. NEAP_FAILED. One that has ended still says so until another
** tasklet takes its place, then NEAP_ESTALE. */
NEAP_API int neap_status(neap *N, neap_task t);

/* ---- figures ---- */

/* [O] Fills *out, out->size bytes of it. From a wrong thread: all 0. */
NEAP_API void neap_get_stats(neap *N, neap_stats *out);

#ifdef __cplusplus
}
#endif
#endif
