#include "core/tracer.h"

#include "core/sched.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    EVENT = 4096, /* the longest event */
    TEXT = 300    /* bytes of a name in it; escaped, each may take six */
};

static const double flush_after = 0.2; /* seconds, when the loop is about to sleep */

struct tracer {
    tracer_sink *sink;
    void *ud;
    double began, flushed;
    uint64_t running; /* the tasklet that runs; 0: none */
    bool first;
    size_t used;
    char buffer[TRACER_BUFFER];
};

/* ---- writing ---- */

static void flush(struct tracer *tr)
{
    if (tr->used > 0)
        tr->sink(tr->ud, tr->buffer, tr->used);
    tr->used = 0;
    tr->flushed = clock_now();
}

static void put(struct tracer *tr, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(tr->buffer + tr->used, sizeof tr->buffer - tr->used, format, ap);
    va_end(ap);
    if (n > 0 && (size_t)n < sizeof tr->buffer - tr->used)
        tr->used += (size_t)n;
}

/* Begins an event, without its end. */
static void begin(struct tracer *tr, char phase, uint64_t track)
{
    if (tr->used > sizeof tr->buffer - EVENT)
        flush(tr);
    /* no %f: a script may have set a locale with another point */
    long long ns = (long long)((clock_now() - tr->began) * 1e9);
    put(tr, "%s{\"ph\":\"%c\",\"pid\":1,\"tid\":%llu,\"ts\":%lld.%03d",
        tr->first ? "[\n" : ",\n", phase, (unsigned long long)track, ns / 1000,
        (int)(ns % 1000));
    tr->first = false;
}

/* Length of the UTF-8 sequence at s, 0 if it is none. */
static int sequence(const char *s)
{
    unsigned char c = (unsigned char)*s;
    int n = c < 0x80 ? 1 : c >= 0xC2 && c < 0xE0 ? 2 : c >= 0xE0 && c < 0xF0 ? 3 : 4;
    if (n == 4 && (c < 0xF0 || c > 0xF4))
        return 0;
    for (int i = 1; i < n; i++)
        if (((unsigned char)s[i] & 0xC0) != 0x80)
            return 0;
    unsigned char d = (unsigned char)s[n > 1];
    bool odd = (c == 0xE0 && d < 0xA0) || (c == 0xED && d >= 0xA0) || (c == 0xF0 && d < 0x90) ||
               (c == 0xF4 && d >= 0x90);
    return odd ? 0 : n;
}

/* A string, quoted; what is no text becomes a question mark. */
static void put_text(struct tracer *tr, const char *s)
{
    put(tr, "\"");
    for (const char *end = s + strnlen(s, TEXT); s < end;) {
        int n = sequence(s);
        if (n == 0 || *s == 0x7F)
            put(tr, "?"), n = 1;
        else if (*s == '"' || *s == '\\')
            put(tr, "\\%c", *s);
        else if (n == 1 && *s < ' ')
            put(tr, "\\u%04x", (unsigned)*s);
        else
            put(tr, "%.*s", n, s);
        s += n;
    }
    put(tr, "\"");
}

static void end_slice(struct tracer *tr, uint64_t track)
{
    begin(tr, 'E', track);
    put(tr, "}");
}

static void begin_slice(struct tracer *tr, uint64_t track, const char *name)
{
    begin(tr, 'B', track);
    put(tr, ",\"name\":");
    put_text(tr, name);
}

static void metadata(struct tracer *tr, const char *what, uint64_t track, const char *name)
{
    begin(tr, 'M', track);
    put(tr, ",\"name\":\"%s\",\"args\":{\"name\":", what);
    put_text(tr, name);
}

/* ---- tasklets ---- */

static const char *reason(const struct tasklet *t)
{
    switch (t->state) {
    case TASKLET_BLOCKED:
        return t->on ? t->on->class->what : "sleep";
    case TASKLET_PAUSED:
        return "paused";
    default:
        return t->held ? "held" : "ready";
    }
}

static void begin_wait(struct tracer *tr, struct tasklet *t)
{
    lua_Debug ar;
    begin_slice(tr, t->id, reason(t));
    if (tasklet_place(t, &ar)) {
        put(tr, ",\"args\":{\"at\":");
        char place[LUA_IDSIZE + 16];
        snprintf(place, sizeof place, "%s:%d", ar.short_src, ar.currentline);
        put_text(tr, place);
        put(tr, "}");
    }
    put(tr, "}");
}

void tracer_name(lua_State *L, struct tasklet *t)
{
    struct runtime *rt = runtime_of(L);
    tasklet_push_title(L, t);
    tasklet_push_site(L, t);
    const char *title = lua_tostring(L, -2), *site = lua_tostring(L, -1);
    if (rt->tracer) {
        metadata(rt->tracer, "thread_name", t->id, title);
        put(rt->tracer, ",\"site\":");
        put_text(rt->tracer, site);
        put(rt->tracer, "}}");
    }
    lua_pop(L, 2);
}

static void begin_run(struct tracer *tr, const struct tasklet *t)
{
    begin_slice(tr, t->id, "run");
    put(tr, "}");
    tr->running = t->id;
}

void tracer_run(struct runtime *rt, const struct tasklet *t)
{
    if (t->started)
        end_slice(rt->tracer, t->id);
    begin_run(rt->tracer, t);
}

void tracer_ran(struct runtime *rt, struct tasklet *t)
{
    struct tracer *tr = rt->tracer;
    if (!tr || !tr->running)
        return; /* it has ended, or the trace has */
    tr->running = 0;
    end_slice(tr, t->id);
    begin_wait(tr, t);
}

void tracer_ended(struct runtime *rt, const struct tasklet *t)
{
    struct tracer *tr = rt->tracer;
    if (t->started)
        end_slice(tr, t->id);
    if (tr->running == t->id)
        tr->running = 0;
}

void tracer_poll(struct runtime *rt, double wait)
{
    struct tracer *tr = rt->tracer;
    if (wait > 0 && clock_now() - tr->flushed > flush_after)
        flush(tr);
    begin_slice(tr, 0, "poll");
    if (wait < HUGE_VAL)
        put(tr, ",\"args\":{\"at most, us\":%lld}", (long long)(wait * 1e6));
    put(tr, "}");
    reactor_poll(rt->reactor, wait);
    begin(tr, 'E', 0);
    put(tr, ",\"args\":{\"ready\":%zu}}", rt->ready_count);
}

/* ---- life ---- */

/* Those that live already are in the middle of a turn or a wait. */
static void name_all(lua_State *L, struct tracer *tr)
{
    struct runtime *rt = runtime_of(L);
    struct list *node;
    bool collects = lua_gc(L, LUA_GCISRUNNING);
    lua_gc(L, LUA_GCSTOP); /* no finalizer may change the list */
    list_each(node, &rt->tasklets) {
        struct tasklet *t = container_of(node, struct tasklet, all);
        if (!t->started)
            continue;
        tracer_name(L, t);
        if (t == rt->current)
            begin_run(tr, t);
        else
            begin_wait(tr, t);
    }
    if (collects)
        lua_gc(L, LUA_GCRESTART);
}

int tracer_open(lua_State *L, tracer_sink *sink, void *ud)
{
    struct runtime *rt = runtime_of(L);
    tracer_close(rt);
    struct tracer *tr = memory_new(&rt->memory, sizeof *tr);
    if (!tr)
        return -ENOMEM;
    tr->sink = sink;
    tr->ud = ud;
    tr->began = tr->flushed = clock_now();
    tr->first = true;
    rt->tracer = tr;
    sched_observe(rt);
    metadata(tr, "process_name", 0, "neap");
    put(tr, "}}");
    metadata(tr, "thread_name", 0, "reactor");
    put(tr, "}}");
    name_all(L, tr);
    return 0;
}

void tracer_close(struct runtime *rt)
{
    struct tracer *tr = rt->tracer;
    struct list *node;
    if (!tr)
        return;
    list_each(node, &rt->tasklets) {
        const struct tasklet *t = container_of(node, struct tasklet, all);
        if (t->started)
            end_slice(tr, t->id);
    }
    put(tr, "\n]\n");
    flush(tr);
    rt->tracer = NULL;
    sched_observe(rt);
    memory_free(&rt->memory, tr, sizeof *tr);
}
