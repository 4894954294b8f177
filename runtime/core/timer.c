#include "core/timer.h"

#include "core/tasklet.h"
#include "core/wait.h"

#include <errno.h>
#include <math.h>

/* ---- clocks ---- */

int timer_open(struct runtime *rt)
{
    rt->real.source = rt->own.source = &rt->real_time;
    rt->real.rate = rt->scale = 1;
    rt->real.bound = rt->own.bound = UINT64_MAX;
    rt->clock = &rt->own;
    return timer_add_clock(rt, &rt->real) < 0 || timer_add_clock(rt, &rt->own) < 0 ? -ENOMEM
                                                                                   : 0;
}

void timer_close(struct runtime *rt)
{
    heap_free(&rt->own.timers, &rt->memory);
    heap_free(&rt->real.timers, &rt->memory);
    memory_free(&rt->memory, rt->clocks, rt->clock_cap * sizeof *rt->clocks);
}

int timer_add_clock(struct runtime *rt, struct clock *c)
{
    uint32_t place = 0;
    while (place < rt->clock_count && rt->clocks[place])
        place++;
    if (place == rt->clock_cap) {
        void *p =
            memory_grow(&rt->memory, rt->clocks, &rt->clock_cap, place + 1, sizeof *rt->clocks);
        if (!p)
            return -ENOMEM;
        rt->clocks = p;
    }
    if (place == rt->clock_count)
        rt->clock_count++;
    rt->clocks[place] = c;
    c->place = place;
    return 0;
}

/* What a paused group keeps of its tasklets' timers on c is not due any more either. */
static void forget_remainders(struct runtime *rt, const struct clock *c)
{
    struct list *node;
    list_each(node, &rt->tasklets) {
        struct tasklet *t = container_of(node, struct tasklet, all);
        if (t->held && t->state == TASKLET_BLOCKED && timer_clock(rt, &t->timer) == c)
            t->side->remainder = -1;
    }
}

void timer_remove_clock(struct runtime *rt, struct clock *c)
{
    double due;
    struct heap_node *n;
    if (c->place == CLOCK_NOWHERE)
        return;
    while ((n = heap_first(&c->timers, &due)))
        heap_remove(&c->timers, n);
    heap_free(&c->timers, &rt->memory);
    forget_remainders(rt, c);
    rt->clocks[c->place] = NULL;
    c->place = CLOCK_NOWHERE;
}

static void set_rate(struct clock *c, double rate)
{
    c->base = clock_read(c);
    c->real_base = real_time_now(c->source);
    c->rate = rate;
}

void timer_scale(struct runtime *rt, double scale)
{
    rt->scale = scale;
    if (rt->flows)
        set_rate(&rt->own, scale);
}

void timer_flow(struct runtime *rt, bool on)
{
    rt->flows = on;
    set_rate(&rt->own, on ? rt->scale : 0);
}

void timer_advance(struct runtime *rt, double seconds)
{
    rt->own.base += seconds * rt->scale;
}

void timer_bound(struct runtime *rt, bool on)
{
    rt->own.bound = on ? rt->own.timers.next_seq : UINT64_MAX;
    rt->real.bound = on ? rt->real.timers.next_seq : UINT64_MAX;
}

/* ---- arming ---- */

void timer_choose(struct runtime *rt, struct heap_node *n, uint32_t kind)
{
    uint32_t place = kind & TIMER_REAL ? CLOCK_REAL : rt->clock->place;
    n->kind = kind | place << TIMER_CLOCK;
}

int timer_arm_again(struct runtime *rt, struct heap_node *n, double seconds)
{
    struct clock *c = timer_clock(rt, n);
    return heap_insert(&c->timers, &rt->memory, n, clock_read(c) + seconds);
}

int timer_arm(struct runtime *rt, struct heap_node *n, uint32_t kind, double seconds)
{
    timer_choose(rt, n, kind);
    return timer_arm_again(rt, n, seconds);
}

int timer_arm_at(struct runtime *rt, struct heap_node *n, uint32_t kind, struct clock *c,
                 double time)
{
    if (time == HUGE_VAL || c->place == CLOCK_NOWHERE)
        return 0;
    n->kind = kind | c->place << TIMER_CLOCK;
    return heap_insert(&c->timers, &rt->memory, n, time);
}

int timer_reserve(struct runtime *rt)
{
    return heap_reserve(&rt->clock->timers, &rt->memory) < 0 ||
                   heap_reserve(&rt->real.timers, &rt->memory) < 0
               ? -ENOMEM
               : 0;
}

double timer_left(struct runtime *rt, const struct heap_node *n)
{
    struct clock *c = timer_clock(rt, n);
    double left = heap_key(&c->timers, n) - clock_read(c);
    return left > 0 ? left : 0;
}

size_t timer_count(const struct runtime *rt)
{
    size_t n = 0;
    for (uint32_t i = 0; i < rt->clock_count; i++)
        n += rt->clocks[i] ? rt->clocks[i]->timers.count : 0;
    return n;
}

bool timer_pending(const struct runtime *rt)
{
    return rt->real.timers.count > rt->serving_timers ||
           (rt->own.timers.count > 0 && rt->scale > 0);
}

/* ---- firing ---- */

static void serve(struct runtime *rt, struct timed_call *c)
{
    struct serving_timer *s = container_of(c, struct serving_timer, call);
    s->armed = false;
    rt->serving_timers--;
    s->fn(rt, s);
}

int timer_serve(struct runtime *rt, struct serving_timer *s, double seconds)
{
    timer_serve_end(rt, s);
    s->call.fn = serve;
    if (timer_arm(rt, &s->call.timer, TIMER_CALL | TIMER_REAL, seconds) < 0)
        return -ENOMEM;
    s->armed = true;
    rt->serving_timers++;
    return 0;
}

void timer_serve_end(struct runtime *rt, struct serving_timer *s)
{
    if (!s->armed)
        return;
    s->armed = false;
    rt->serving_timers--;
    timer_disarm(rt, &s->call.timer);
}

void timer_fire(struct runtime *rt, struct heap_node *n)
{
    if (n->kind & TIMER_CALL) {
        struct timed_call *c = container_of(n, struct timed_call, timer);
        c->fn(rt, c);
    } else {
        wait_expire(rt, container_of(n, struct tasklet, timer));
    }
}

static bool fire(struct runtime *rt, struct clock *c, bool lua)
{
    double due, now = clock_read(c);
    struct heap_node *n;
    /* one that is armed in here waits for the next look, so that a delay of 0 cannot spin */
    uint64_t before = c->timers.next_seq < c->bound ? c->timers.next_seq : c->bound;
    while ((n = heap_first(&c->timers, &due)) && due <= now && n->seq < before) {
        if (n->kind & TIMER_LUA && !lua)
            return true;
        heap_remove(&c->timers, n);
        lua = lua && n->kind & TIMER_CALL; /* else a tasklet runs first */
        timer_fire(rt, n);
    }
    return false;
}

bool timer_fire_due(struct runtime *rt, bool lua)
{
    bool own = rt->own.timers.count > 0 && fire(rt, &rt->own, lua);
    return (rt->real.timers.count > 0 && fire(rt, &rt->real, lua)) || own;
}

double timer_next(struct runtime *rt)
{
    double due, next = HUGE_VAL;
    if (rt->scale > 0 && heap_first(&rt->own.timers, &due))
        next = (due - clock_read(&rt->own)) / rt->scale;
    if (heap_first(&rt->real.timers, &due) && due - runtime_now(rt) < next)
        next = due - runtime_now(rt);
    return next > 0 ? next : 0;
}
