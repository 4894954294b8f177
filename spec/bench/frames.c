/* What frames cost in a host with neap_step: the distribution over FRAMES frames of 10,000
** tasklets that sleep random times, within a budget of 2 ms; 1,000 that act in every frame;
** pure Lua with the limits on time and without. Wall time and CPU time: where others use the
** machine too, the tail of the first is theirs.
**
** frames [FRAMES] */
#include "neap.h"

#include "lauxlib.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void on_fail(void *ud, neap_task t, const char *message, const char *trace)
{
    (void)ud, (void)t;
    fprintf(stderr, "%s\n%s\n", message, trace);
    exit(1);
}

static double now_us(int clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static neap *open_one(const char *script, int64_t slice_ns, int64_t runaway_ns)
{
    neap_config c = {.size = sizeof c,
                     .fail = on_fail,
                     .seed = 1,
                     .slice_ns = slice_ns,
                     .runaway_ns = runaway_ns};
    neap *N = neap_new(&c, NULL);
    if (!N || !neap_text(N, script, strlen(script), "=frames").id)
        exit(1);
    return N;
}

static int ascending(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void tell(const char *what, double *us, int n)
{
    qsort(us, (size_t)n, sizeof *us, ascending);
    printf("%-34s median %7.1f us, 99 %% %7.1f, 99.9 %% %7.1f, most %7.1f\n", what, us[n / 2],
           us[n * 99 / 100], us[n * 999 / 1000], us[n - 1]);
}

/* ---- frames ---- */

static void play(const char *what, const char *script, int frames)
{
    neap *N = open_one(script, 0, 0);
    neap_stats s = {.size = sizeof s};
    double *us = malloc((size_t)frames * sizeof *us),
           *cpu = malloc((size_t)frames * sizeof *cpu),
           *gc = malloc((size_t)frames * sizeof *gc);
    int late = 0, cycles = 0;
    int64_t longest = 0, over = 0;
    for (int i = 0; i < 200; i++) { /* all have begun, and the collector keeps up */
        neap_step(N, 1.0 / 60, -1);
        neap_gc(N, 1000000);
    }
    for (int i = 0; i < frames; i++) {
        double began = now_us(CLOCK_MONOTONIC), cpu_began = now_us(CLOCK_THREAD_CPUTIME_ID);
        neap_step(N, 1.0 / 60, 2000000);
        double stepped = now_us(CLOCK_THREAD_CPUTIME_ID);
        us[i] = now_us(CLOCK_MONOTONIC) - began;
        cpu[i] = stepped - cpu_began;
        cycles += neap_gc(N, 500000);
        gc[i] = now_us(CLOCK_THREAD_CPUTIME_ID) - stepped;
        neap_get_stats(N, &s);
        late += s.over_ns > 0;
        over = s.over_ns > over ? s.over_ns : over;
        longest = s.gc_max_ns > longest ? s.gc_max_ns : longest;
    }
    printf("%s: %zu tasklets, %d frames\n", what, s.tasks, frames);
    tell("  neap_step, budget 2 ms, wall", us, frames);
    tell("  neap_step, CPU", cpu, frames);
    tell("  neap_gc, budget 0.5 ms, CPU", gc, frames);
    printf("  late %d, by at most %.1f us; %d cycles, longest piece %.1f us\n", late,
           (double)over * 1e-3, cycles, (double)longest * 1e-3);
    free(us);
    free(cpu);
    free(gc);
    neap_free(N);
}

/* ---- the hook that stands ---- */

static const struct load {
    const char *name, *script;
} loads[] = {
    {"loop of additions", "local x = 0 for i = 1, 2e7 do x = x + i end"},
    {"calls",
     "local function f(n) if n < 2 then return n end return f(n - 1) + f(n - 2) end f(27)"},
    {"tables and strings",
     "for i = 1, 2e5 do local t = {} for j = 1, 10 do t[j] = j .. 'x' end end"},
    {"waits", "for i = 1, 2e5 do schedule() end"},
};

static double cpu_us(const char *script, int64_t slice_ns, int64_t runaway_ns)
{
    double best = 1e18;
    for (int i = 0; i < 5; i++) {
        neap *N = open_one(script, slice_ns, runaway_ns);
        double began = now_us(CLOCK_THREAD_CPUTIME_ID);
        neap_run(N);
        double us = now_us(CLOCK_THREAD_CPUTIME_ID) - began;
        best = us < best ? us : best;
        neap_free(N);
    }
    return best;
}

int main(int argc, char **argv)
{
    int frames = argc > 1 ? atoi(argv[1]) : 10000;
    play("random sleeps",
         "for i = 1, 10000 do spawn(function() while true do sleep(math.random() * 2) end end) "
         "end",
         frames);
    play("all active",
         "for i = 1, 1000 do spawn(function() while true do sleep(0) end end) end", frames);
    puts("slice_ns and runaway_ns set, CPU time beside none:");
    for (size_t i = 0; i < sizeof loads / sizeof *loads; i++) {
        double bare = cpu_us(loads[i].script, 0, 0);
        double held = cpu_us(loads[i].script, 2000000, 60000000000);
        printf("  %-20s %8.0f us -> %8.0f us, %+.0f %%\n", loads[i].name, bare, held,
               (held / bare - 1) * 100);
    }
    return 0;
}
