/* What moves a runtime: steps, runs, the collector; and its figures. */
#include "embed/embed.h"

#include "core/sched.h"
#include "core/tasklet.h"
#include "core/timer.h"
#include "reactor/inbox.h"

#include <math.h>
#include <string.h>

static int64_t nanoseconds(double seconds)
{
    return (int64_t)(seconds * 1e9);
}

/* ---- the collector ----
** From the first neap_gc on it stands still but in there, in neap_run and when memory is
** refused; one that is never let finish while memory grows fourfold collects all the same. */

enum { GROWTH = 4 };

/* Lua's own pace, or none. */
static void set_collector(neap *N, bool on)
{
    if (N->keeps_collector)
        lua_gc(N->rt.L, on ? LUA_GCRESTART : LUA_GCSTOP);
}

static void note_piece(neap *N, double began)
{
    int64_t ns = nanoseconds(runtime_now(&N->rt) - began);
    N->gc_ns += ns;
    if (ns > N->gc_max_ns)
        N->gc_max_ns = ns;
}

static void cycle_ended(neap *N)
{
    N->live_size = N->rt.memory.used;
}

static int collect_all(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT);
    return 0;
}

/* log2 of the bytes of allocation that a step stands for: in here, and Lua's own. */
enum { PIECE = 9, LUA_PIECE = 13 };

static int collect_piece(lua_State *L)
{
    lua_gc(L, LUA_GCINC, 0, 0, PIECE);
    lua_pushboolean(L, lua_gc(L, LUA_GCSTEP, 0));
    lua_gc(L, LUA_GCINC, 0, 0, LUA_PIECE);
    return 1;
}

/* A finalizer's errors are warnings, so nothing is raised in here but lack of memory. */
static bool collect(neap *N, lua_CFunction f)
{
    double began = runtime_now(&N->rt);
    N->collects = true;
    N->inside++;
    bool ended = embed_protect(N, f, 0, 1, NEAP_EMEM) == NEAP_OK;
    N->inside--;
    N->collects = false;
    note_piece(N, began);
    if (ended) {
        ended = lua_toboolean(N->rt.L, -1) || f == collect_all;
        lua_pop(N->rt.L, 1);
    }
    if (ended)
        cycle_ended(N);
    return ended;
}

static void collect_if_grown(neap *N)
{
    if (N->keeps_collector && N->rt.memory.used > GROWTH * N->live_size)
        collect(N, collect_all);
}

int neap_gc(neap *N, int64_t budget_ns)
{
    if (!embed_owned(N))
        return embed_foreign(N);
    if (N->collects || N->rt.current || N->rt.calls)
        return embed_fail(N, NEAP_EBUSY, "neap_gc was called from script");
    if (!N->keeps_collector) {
        N->keeps_collector = true;
        cycle_ended(N);
        lua_gc(N->rt.L, LUA_GCSTOP);
    }
    if (budget_ns < 0)
        return collect(N, collect_all);
    double end = runtime_now(&N->rt) + (double)budget_ns * 1e-9;
    do {
        if (collect(N, collect_piece))
            return 1;
    } while (runtime_now(&N->rt) < end);
    return 0;
}

/* ---- steps and runs ---- */

static int enter(neap *N, const char *what)
{
    if (!embed_owned(N))
        return embed_foreign(N);
    if (embed_busy(N))
        return embed_fail(N, NEAP_EBUSY, what);
    if (!lua_checkstack(N->rt.L, LUA_MINSTACK))
        return embed_fail(N, NEAP_EMEM, "not enough memory");
    N->running = true;
    return NEAP_OK;
}

static int step(neap *N, double dt, struct step *limit, int64_t budget_ns)
{
    int status = enter(N, "neap_step was called from inside a step or a run");
    if (status != NEAP_OK)
        return status;
    struct runtime *rt = &N->rt;
    double began = runtime_now(rt);
    N->gc_ns = N->gc_max_ns = 0;
    set_collector(N, false); /* script may have asked for it */
    if (budget_ns >= 0)
        limit->until = began + (double)budget_ns * 1e-9;
    timer_advance(rt, dt);
    bool more = sched_step(rt, limit);
    N->running = false;
    N->script_ns = nanoseconds(runtime_now(rt) - began);
    N->over_ns = budget_ns > 0 && N->script_ns > budget_ns ? N->script_ns - budget_ns : 0;
    collect_if_grown(N);
    return more;
}

int neap_step(neap *N, double dt, int64_t budget_ns)
{
    if (!(dt >= 0 && dt < HUGE_VAL))
        return embed_owned(N) ? embed_fail(N, NEAP_EARG, "neap_step: not a time")
                              : embed_foreign(N);
    return step(N, dt, &(struct step){.until = HUGE_VAL}, budget_ns);
}

int neap_step_n(neap *N, double dt, int resumes)
{
    if (!(dt >= 0 && dt < HUGE_VAL) || resumes < 1)
        return embed_owned(N) ? embed_fail(N, NEAP_EARG, "neap_step_n: not a time, or no count")
                              : embed_foreign(N);
    return step(N, dt, &(struct step){.until = HUGE_VAL, .resumes = resumes}, -1);
}

int neap_run(neap *N)
{
    int status = enter(N, "neap_run was called from inside a step or a run");
    if (status != NEAP_OK)
        return status;
    set_collector(N, true);
    bool stopped = sched_run(&N->rt);
    set_collector(N, false);
    N->running = false;
    return stopped ? 1 : NEAP_OK;
}

void neap_interrupt(neap *N)
{
    if (!N)
        return;
    atomic_store(&N->rt.stop, true);
    reactor_wake(N->rt.reactor);
}

/* ---- when the next step is due ---- */

int64_t neap_timeout(neap *N)
{
    if (!embed_owned(N))
        return embed_foreign(N);
    struct runtime *rt = &N->rt;
    if (rt->ready_count > 0 || !inbox_empty(rt->inbox))
        return 0;
    double next = timer_next(rt);
    return next < 9e9 ? (int64_t)ceil(next * 1e9) : -1;
}

void embed_wake(neap *N)
{
    if (N->config.wake && !embed_busy(N) && neap_timeout(N) >= 0)
        N->config.wake(N->config.ud);
}

int neap_fd(neap *N)
{
    if (!embed_owned(N))
        return embed_foreign(N);
    return reactor_fd(N->rt.reactor);
}

void neap_scale(neap *N, double f)
{
    if (!embed_owned(N) || !(f >= 0 && f < HUGE_VAL))
        return;
    timer_scale(&N->rt, f);
    embed_wake(N);
}

double neap_now(neap *N)
{
    return embed_owned(N) ? clock_read(&N->rt.own) : 0;
}

/* ---- figures ---- */

void neap_get_stats(neap *N, neap_stats *out)
{
    neap_stats s = {0};
    if (!out)
        return;
    size_t size = out->size && out->size < sizeof s ? out->size : sizeof s;
    s.size = out->size;
    if (embed_owned(N)) {
        struct runtime *rt = &N->rt;
        s.tasks = rt->tasklet_count;
        s.ready = rt->ready_count;
        s.timers = timer_count(rt);
        s.watches = reactor_watches(rt->reactor);
        s.refs = N->refs;
        s.mem = rt->memory.used;
        s.mem_peak = rt->memory.peak;
        s.resumes = rt->resumes;
        s.preempts = rt->preempts;
        s.fails = rt->fails;
        s.script_ns = N->script_ns;
        s.gc_ns = N->gc_ns;
        s.gc_max_ns = N->gc_max_ns;
        s.over_ns = N->over_ns;
    }
    memcpy(out, &s, size);
}
