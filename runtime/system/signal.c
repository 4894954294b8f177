#include "system/signal.h"

#include "core/channel.h"
#include "core/interrupt.h"
#include "core/slice.h"
#include "core/tasklet.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

/* One signal.channel. A signal that comes again before the first was sent counts once; one
** that finds the buffer full is sent when there is room. */
struct subscription {
    struct list all; /* in signals.channels */
    struct channel *channel;
    uint64_t set, pending;
    int ref; /* registry: this userdata, whose user value is the channel */
};

struct signals {
    signal_arm *arm;
    struct list channels;      /* subscriptions */
    struct wait_queue waiters; /* in signal.wait */
    uint64_t awaited, come;    /* taken by a wait; of them, come and not picked */
};

static const struct wait_class wait_class = {.what = "signal", .outside = true};

static const struct {
    const char *name;
    int n;
} signals[] = {
    {"SIGHUP", SIGHUP},     {"SIGINT", SIGINT},   {"SIGQUIT", SIGQUIT}, {"SIGTERM", SIGTERM},
    {"SIGUSR1", SIGUSR1},   {"SIGUSR2", SIGUSR2}, {"SIGALRM", SIGALRM}, {"SIGCONT", SIGCONT},
    {"SIGTSTP", SIGTSTP},   {"SIGTTIN", SIGTTIN}, {"SIGTTOU", SIGTTOU}, {"SIGPIPE", SIGPIPE},
    {"SIGWINCH", SIGWINCH}, {"SIGCHLD", SIGCHLD}, {"SIGPOLL", SIGPOLL}, {"SIGXCPU", SIGXCPU},
    {"SIGXFSZ", SIGXFSZ},
};

enum { SIGNALS = sizeof signals / sizeof *signals };

static uint64_t bit(int n)
{
    return UINT64_C(1) << n;
}

int signal_number(const char *name)
{
    for (int i = 0; i < SIGNALS; i++)
        if (strcmp(signals[i].name, name) == 0)
            return signals[i].n;
    return 0;
}

const char *signal_name(int n)
{
    for (int i = 0; i < SIGNALS; i++)
        if (signals[i].n == n)
            return signals[i].name;
    return "?";
}

int signal_post(void *runtime, int n)
{
    struct runtime *rt = runtime;
    int none = INTERRUPT_NONE, left;
    if (n == SIGINT && !(atomic_load(&rt->signals_taken) & bit(n))) {
        if (!atomic_compare_exchange_strong(&rt->interrupt, &none, INTERRUPT_POSTED))
            return 0;
    } else if (n) {
        atomic_fetch_or(&rt->signals, bit(n));
    }
    if (n) {
        atomic_store(&rt->signalled, true);
        reactor_wake(rt->reactor);
    }
    left = atomic_load(&rt->signalled) || atomic_load(&rt->interrupt) == INTERRUPT_POSTED;
    if (left)
        slice_cut_in(rt);
    return left;
}

/* ---- taking ---- */

int signal_take(struct runtime *rt, uint64_t set)
{
    for (int i = 0; i < SIGNALS; i++) {
        int n = signals[i].n, r;
        if (!(set & bit(n)) || rt->signals_taken & bit(n))
            continue;
        if ((r = rt->lent->arm(n, 1)) < 0)
            return r;
        atomic_fetch_or(&rt->signals_taken, bit(n));
    }
    return 0;
}

int signal_take_for_wait(struct runtime *rt, uint64_t set)
{
    int r = signal_take(rt, set);
    if (r == 0)
        rt->lent->awaited |= set;
    return r;
}

/* Gives back what no channel and no wait has taken. */
static void release(struct runtime *rt)
{
    uint64_t wanted = rt->lent->awaited;
    struct list *node;
    list_each(node, &rt->lent->channels)
        wanted |= container_of(node, struct subscription, all)->set;
    for (int i = 0; i < SIGNALS; i++) {
        int n = signals[i].n;
        if (!(rt->signals_taken & ~wanted & bit(n)))
            continue;
        atomic_fetch_and(&rt->signals_taken, ~bit(n));
        rt->lent->arm(n, 0);
    }
}

struct wait_queue *signal_waiters(struct runtime *rt)
{
    return &rt->lent->waiters;
}

bool signal_has_come(struct runtime *rt, uint64_t set)
{
    return rt->lent->come & set;
}

int signal_pick(struct runtime *rt, uint64_t set)
{
    for (int i = 0; i < SIGNALS; i++) {
        if (!(rt->lent->come & set & bit(signals[i].n)))
            continue;
        rt->lent->come &= ~bit(signals[i].n);
        return signals[i].n;
    }
    return 0;
}

/* ---- channels ---- */

static void unsubscribe(lua_State *L, struct subscription *s)
{
    list_remove(&s->all);
    runtime_of(L)->outside--;
    luaL_unref(L, LUA_REGISTRYINDEX, s->ref);
}

/* Sends what is pending, as far as there is room; false: the channel is closed. */
static bool send(lua_State *L, struct subscription *s)
{
    int top = lua_gettop(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->ref);
    lua_getiuservalue(L, -1, 1);
    for (int i = 0; i < SIGNALS && !s->channel->closing; i++) {
        int n = signals[i].n;
        if (!(s->pending & bit(n)))
            continue;
        lua_pushstring(L, signals[i].name);
        if (s->channel->closing || !channel_try_send(L, top + 2))
            break;
        s->pending &= ~bit(n);
    }
    lua_settop(L, top);
    return !s->channel->closing;
}

static int deliver(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    struct list *node, *next;
    for (node = rt->lent->channels.next; node != &rt->lent->channels; node = next) {
        struct subscription *s = container_of(node, struct subscription, all);
        bool open = send(L, s);
        next = node->next;
        if (!open)
            unsubscribe(L, s);
    }
    release(rt);
    return 0;
}

static bool has_work(struct runtime *rt)
{
    struct list *node;
    list_each(node, &rt->lent->channels) {
        struct subscription *s = container_of(node, struct subscription, all);
        if (s->pending || s->channel->closing)
            return true;
    }
    return false;
}

static void tend_channels(struct runtime *rt)
{
    if (has_work(rt))
        runtime_enter(rt, deliver, NULL);
}

void signal_push_channel(lua_State *L, uint64_t set)
{
    struct runtime *rt = runtime_of(L);
    struct channel *ch = channel_push(L, (uint32_t)__builtin_popcountll(set));
    struct subscription *s = lua_newuserdatauv(L, sizeof *s, 1);
    lua_pushvalue(L, -2);
    lua_setiuservalue(L, -2, 1);
    *s = (struct subscription){.channel = ch, .set = set};
    s->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    list_push_back(&rt->lent->channels, &s->all);
    rt->tend_signals = tend_channels;
    rt->outside++;
}

/* ---- what has come ---- */

/* Pushes a line and the traceback of a tasklet. */
static void push_report(lua_State *L, struct tasklet *t)
{
    tasklet_push_title(L, t);
    const char *what = t->state == TASKLET_RUNNING   ? "runs"
                       : t->state == TASKLET_READY   ? "is ready"
                       : t->state != TASKLET_BLOCKED ? "is paused"
                       : t->on                       ? t->on->class->what
                                                     : "sleep";
    lua_pushfstring(L, t->state == TASKLET_BLOCKED ? " waits: %s\n" : " %s\n", what);
    tasklet_push_traceback(L, t);
    lua_pushliteral(L, "\n");
    lua_concat(L, 4);
}

/* SIGQUIT: every tasklet shows itself in the host's log. */
static int report_all(lua_State *L)
{
    enum { info = 1 };
    struct runtime *rt = runtime_of(L);
    struct list *node;
    lua_pushfstring(L, "%d tasklets\n", (int)rt->tasklet_count);
    list_each(node, &rt->tasklets) {
        push_report(L, container_of(node, struct tasklet, all));
        lua_concat(L, 2);
    }
    if (rt->on_log)
        rt->on_log(rt, info, lua_tostring(L, -1));
    return 0;
}

static void take_signals(struct runtime *rt)
{
    uint64_t come = atomic_exchange(&rt->signals, 0);
    struct list *node;
    if (come & bit(SIGQUIT) && !(rt->signals_taken & bit(SIGQUIT)))
        runtime_enter(rt, report_all, NULL);
    list_each(node, &rt->lent->channels) {
        struct subscription *s = container_of(node, struct subscription, all);
        s->pending |= come & s->set;
    }
    rt->lent->come |= come & rt->lent->awaited;
    if (come & rt->lent->awaited)
        wait_wake_all(rt, &rt->lent->waiters, WAKE_SERVED);
    tend_channels(rt);
}

void signal_open(lua_State *L, signal_arm *arm)
{
    struct runtime *rt = runtime_of(L);
    struct signals *s = lua_newuserdatauv(L, sizeof *s, 0);
    *s = (struct signals){.arm = arm};
    list_init(&s->channels);
    wait_queue_init(&s->waiters, &wait_class);
    luaL_ref(L, LUA_REGISTRYINDEX);
    rt->lent = s;
    rt->take_signals = take_signals;
}
