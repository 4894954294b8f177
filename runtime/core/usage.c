#include "core/usage.h"

#include "core/sched.h"

#include <errno.h>
#include <string.h>

enum { MARKS = 2048, RUNS_LEAST = 64 };

static const double mark_apart = 0.05; /* seconds */

struct mark {
    uint64_t id; /* the newest then */
    double time;
};

struct run {
    uint64_t id; /* 0: a free place */
    double seconds;
};

struct usage {
    uint32_t marked;
    struct mark marks[MARKS];
    struct run *runs; /* a hash table, at most half full */
    uint32_t run_count, run_cap;
};

/* ---- ages ---- */

int usage_open(struct runtime *rt)
{
    if (rt->usage)
        return 0;
    rt->usage = memory_new(&rt->memory, sizeof *rt->usage);
    if (!rt->usage)
        return -ENOMEM;
    usage_mark(rt);
    return 0;
}

/* Of the older half every second one stays. */
static void thin_out(struct usage *u)
{
    for (int i = 0; i < MARKS / 4; i++)
        u->marks[i] = u->marks[2 * i + 1];
    memmove(u->marks + MARKS / 4, u->marks + MARKS / 2, MARKS / 2 * sizeof *u->marks);
    u->marked = MARKS * 3 / 4;
}

void usage_mark(struct runtime *rt)
{
    struct usage *u = rt->usage;
    struct mark *last = u->marked > 0 ? &u->marks[u->marked - 1] : NULL;
    if (last && last->id == rt->next_id)
        return;
    double now = runtime_now(rt);
    if (last && now - last->time < mark_apart) {
        last->id = rt->next_id;
        return;
    }
    if (u->marked == MARKS)
        thin_out(u);
    u->marks[u->marked++] = (struct mark){rt->next_id, now};
}

double usage_age(const struct runtime *rt, uint64_t id)
{
    const struct usage *u = rt->usage;
    uint32_t low = 0, high = u->marked;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (u->marks[middle].id >= id)
            high = middle;
        else
            low = middle + 1;
    }
    return low < u->marked ? runtime_now(rt) - u->marks[low].time : 0;
}

/* ---- runs ---- */

static void free_runs(struct runtime *rt)
{
    struct usage *u = rt->usage;
    memory_free(&rt->memory, u->runs, u->run_cap * sizeof *u->runs);
    u->runs = NULL;
    u->run_cap = u->run_count = 0;
}

void usage_count(struct runtime *rt, bool on)
{
    rt->counts_runs = on;
    free_runs(rt);
    sched_observe(rt);
}

void usage_close(struct runtime *rt)
{
    if (!rt->usage)
        return;
    usage_count(rt, false);
    memory_free(&rt->memory, rt->usage, sizeof *rt->usage);
    rt->usage = NULL;
}

static struct run *place_of(struct run *runs, uint32_t cap, uint64_t id)
{
    uint32_t i = (uint32_t)(id * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (cap - 1);
    while (runs[i].id != 0 && runs[i].id != id)
        i = (i + 1) & (cap - 1);
    return &runs[i];
}

static bool grow(struct runtime *rt)
{
    struct usage *u = rt->usage;
    uint32_t cap = u->run_cap > 0 ? 2 * u->run_cap : RUNS_LEAST, n = u->run_count;
    struct run *runs = memory_new(&rt->memory, cap * sizeof *runs);
    if (!runs)
        return false;
    for (uint32_t i = 0; i < u->run_cap; i++)
        if (u->runs[i].id != 0)
            *place_of(runs, cap, u->runs[i].id) = u->runs[i];
    free_runs(rt);
    u->runs = runs;
    u->run_cap = cap;
    u->run_count = n;
    return true;
}

void usage_add(struct runtime *rt, uint64_t id, double seconds)
{
    struct usage *u = rt->usage;
    if (2 * u->run_count >= u->run_cap && !grow(rt))
        return;
    struct run *r = place_of(u->runs, u->run_cap, id);
    u->run_count += r->id == 0;
    r->id = id;
    r->seconds += seconds;
}

void usage_take(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    lua_newtable(L); /* a finalizer may run, which counts nothing: it is no tasklet's turn */
    for (uint32_t i = 0; rt->usage && i < rt->usage->run_cap; i++) {
        struct run r = rt->usage->runs[i];
        if (r.id == 0)
            continue;
        lua_pushnumber(L, r.seconds);
        lua_rawseti(L, -2, (lua_Integer)r.id);
    }
    if (rt->usage)
        free_runs(rt);
}
