#define _GNU_SOURCE
#include "core/slice.h"

#include "core/interrupt.h"
#include "core/sched.h"
#include "core/timer.h"
#include "core/trace.h"

#include <linux/membarrier.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A hook that finds that it cannot cut here tries again after so many instructions. */
enum { TRY_AGAIN = 1000 };

/* ---- in the owner's thread: the hook ---- */

/* Puts back the hook that the script had on L, or none. */
static void restore_hook(struct runtime *rt, lua_State *L)
{
    struct slice *s = &rt->slice;
    if (s->saved_thread != L) { /* it had none; or L has got ours from the one that made it */
        lua_sethook(L, NULL, 0, 0);
        return;
    }
    lua_sethook(L, s->saved_hook, s->saved_mask, s->saved_count);
    s->saved_thread = NULL;
}

static void on_time(lua_State *L, lua_Debug *ar);

static int report_hold(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    struct tasklet *t = rt->current;
    tasklet_push_title(L, t);
    tasklet_push_traceback(L, t);
    char held[32];
    double seconds = clock_now() - atomic_load(&rt->slice.began);
    snprintf(held, sizeof held, "%.1f", seconds);
    lua_pushfstring(L, "%s has held the reactor for %s s\n%s", lua_tostring(L, -2), held,
                    lua_tostring(L, -1));
    if (rt->on_log)
        rt->on_log(rt, 2, lua_tostring(L, -1));
    return 0;
}

/* Somebody else could run: a ready tasklet, a due timer, a descriptor. */
static bool others_wait(struct runtime *rt)
{
    bool call_due = rt->ready_count == 0 && timer_fire_due(rt, false);
    if (call_due)
        return true;
    if (rt->ready_count == 0)
        reactor_poll(rt->reactor, 0);
    return rt->ready_count > 0;
}

static void watch_hold(struct runtime *rt, lua_State *L)
{
    struct slice *s = &rt->slice;
    if (s->reported_turn == s->turn || clock_now() - s->began < s->watchdog || !others_wait(rt))
        return;
    s->reported_turn = s->turn;
    lua_State *leaf = rt->current->leaf;
    rt->current->leaf = L; /* an inner thread that C resumed shows itself */
    runtime_enter(rt, report_hold, NULL);
    rt->current->leaf = leaf;
}

/* What the library's own Lua code does between two waits is one step for the others. */
static bool in_library(lua_State *L, lua_Debug *ar)
{
    static const char ours[] = "@lua/neap/";
    lua_getinfo(L, "S", ar);
    return strncmp(ar->source, ours, sizeof ours - 1) == 0;
}

/* t, which runs in L, gives way, to go on at its next turn. Hooks only, called last. */
static void cut(lua_State *L, struct tasklet *t)
{
    struct runtime *rt = runtime_of(L);
    t->cut = true;
    sched_append(rt, t);
    rt->suspending = true;
    lua_yield(L, 0);
}

static bool may_cut(lua_State *L, struct tasklet *t)
{
    return wait_possible(L) && !runtime_of(L)->switch_trap && !t->atomic;
}

/* Signals have come while t computes. True: the hook has done its work. */
static bool on_signal(lua_State *L, struct tasklet *t)
{
    struct runtime *rt = runtime_of(L);
    restore_hook(rt, L);
    if (!rt->reactor_code && !interrupt_stops(L, t))
        return false;
    if (!rt->reactor_code && may_cut(L, t))
        cut(L, t);
    else
        lua_sethook(L, on_time, LUA_MASKCOUNT, TRY_AGAIN);
    return true;
}

static void on_time(lua_State *L, lua_Debug *ar)
{
    struct runtime *rt = runtime_of(L);
    struct slice *s = &rt->slice;
    struct tasklet *t = rt->current;
    if (t && interrupt_waits(rt) && on_signal(L, t))
        return;
    if (!t || atomic_load(&rt->resumes) != s->turn || clock_now() - s->began < s->shortest) {
        restore_hook(rt, L); /* it is about a turn that is over */
        return;
    }
    watch_hold(rt, L);
    if (clock_now() - s->began < s->length) {
        restore_hook(rt, L);
        return;
    }
    if (!may_cut(L, t) || in_library(L, ar)) {
        lua_sethook(L, on_time, LUA_MASKCOUNT, TRY_AGAIN);
        return;
    }
    restore_hook(rt, L);
    if (!others_wait(rt)) {
        s->began = clock_now(); /* alone: it may as well go on */
        return;
    }
    rt->preempts++;
    cut(L, t);
}

/* ---- the hook that stands: by the host's clock, if it has one ---- */

enum { STAND = 1000, CHARGE = 64 };

static int report_runaway(lua_State *L, struct tasklet *t, double held)
{
    char text[64];
    snprintf(text, sizeof text, "has held on for %.3f s in one go", held);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    luaL_where(L, 0);
    lua_pushfstring(L, "%s%s", lua_tostring(L, -1), text);
    if (t) {
        trace_push_stack(L, t, L, NULL, 0);
        failure_push(L, -2, lua_tostring(L, -1));
        error_report(L, t, "");
        lua_pop(L, 1);
    }
    lua_remove(L, -2);
    return 1;
}

/* Leaves the text of why on the top, and sees to it that whatever goes on in L raises it. */
static void end_runaway(lua_State *L, struct tasklet *t, double held)
{
    report_runaway(L, t, held);
    if (t) {
        lua_pushvalue(L, -1);
        slice_doom(L, t);
    } else {
        lua_sethook(L, lua_gethook(L), LUA_MASKCOUNT, 1);
    }
    lua_error(L);
}

/* The tasklet whose go it is; NULL: code outside of any. */
static struct tasklet *running(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    return L == rt->L || rt->calls || rt->reactor_code ? NULL : rt->current;
}

/* How long what runs in L has held on. */
static double held_on(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    return rt->slice.go_before + (runtime_now(rt) - rt->slice.go_began);
}

void slice_charge(lua_State *L)
{
    struct slice *s = &runtime_of(L)->slice;
    if (s->dies < HUGE_VAL && ++s->charges % CHARGE == 0 && held_on(L) >= s->dies)
        end_runaway(L, running(L), held_on(L));
}

bool slice_is_over(lua_State *L)
{
    struct runtime *rt = runtime_of(L);
    struct tasklet *t = running(L);
    return rt->slice.dies < HUGE_VAL && ((t && t->doomed) || held_on(L) >= rt->slice.dies);
}

static void on_stand(lua_State *L, lua_Debug *ar)
{
    struct runtime *rt = runtime_of(L);
    struct slice *s = &rt->slice;
    struct tasklet *t = running(L);
    double held = runtime_now(rt) - s->go_began;
    if (s->go_before + held >= s->dies)
        end_runaway(L, t, s->go_before + held);
    if (!t || (held < s->gives_way && !atomic_load_explicit(&rt->stop, memory_order_relaxed)))
        return;
    if (!wait_possible(L) || rt->switch_trap || t->atomic || in_library(L, ar))
        return;
    tasklet_push(L, t);
    tasklet_side(L, -1)->ran = s->go_before + held;
    lua_pop(L, 1);
    rt->preempts++;
    t->cut = true;
    sched_append(rt, t);
    rt->suspending = true;
    lua_yield(L, 0);
}

static void stand(lua_State *L)
{
    lua_Hook hook = lua_gethook(L);
    if (!hook || (hook == on_stand && lua_gethookcount(L) != STAND))
        lua_sethook(L, on_stand, LUA_MASKCOUNT, STAND);
}

void slice_stand(struct runtime *rt, double gives_way, double dies)
{
    rt->slice.gives_way = gives_way;
    rt->slice.dies = dies;
    rt->slice.stands = gives_way < HUGE_VAL || dies < HUGE_VAL;
}

void slice_call(struct runtime *rt, lua_State *L, bool begins)
{
    struct slice *s = &rt->slice;
    if (!s->stands)
        return;
    if (begins) {
        if (s->calls++ == 0) { /* in another one, or a tasklet, its time is counted there */
            if (!rt->current) {
                s->go_began = runtime_now(rt);
                s->go_before = 0;
            }
            stand(L);
        }
    } else if (--s->calls == 0 && lua_gethook(L) == on_stand) {
        lua_sethook(L, NULL, 0, 0);
    }
}

/* A go of t begins, or goes on after a cut. */
static void begin_go(struct runtime *rt, struct tasklet *t)
{
    struct slice *s = &rt->slice;
    s->go_began = runtime_now(rt);
    s->go_before = t->cut && t->side ? t->side->ran : 0;
    stand(t->leaf);
}

/* ---- the instruction count of neap.run ---- */

static void on_count(lua_State *L, lua_Debug *ar)
{
    struct runtime *rt = runtime_of(L);
    struct tasklet *t = rt->current;
    if (!t || !rt->run_limit || list_empty(&rt->runners) || !wait_possible(L) ||
        rt->switch_trap || t->atomic || in_library(L, ar)) {
        if (!rt->run_limit)
            lua_sethook(L, NULL, 0, 0);
        return;
    }
    t->cut = true;
    t->state = TASKLET_PAUSED;
    rt->suspending = true;
    rt->over_limit = t;
    lua_yield(L, 0);
}

/* Stays on a doomed tasklet, up to its root or to where it can be left. */
static void on_raise(lua_State *L, lua_Debug *ar)
{
    struct runtime *rt = runtime_of(L);
    struct tasklet *t = rt->current;
    if (!t || !t->thrown) { /* a binding was quicker */
        lua_sethook(L, NULL, 0, 0);
        return;
    }
    if (rt->reactor_code || (!t->doomed && in_library(L, ar)))
        return;
    if (!t->doomed || !wait_possible(L))
        slice_raise(L, t);
    tasklet_leave(L, t);
    t->cut = true;
    rt->suspending = true;
    lua_yield(L, 0);
}

void slice_doom(lua_State *L, struct tasklet *t)
{
    luaL_checkstack(L, 4, NULL);
    t->doomed = true;
    tasklet_push(L, t);
    lua_insert(L, -2);
    tasklet_interrupt(L, lua_gettop(L) - 1);
    lua_pop(L, 1);
    lua_sethook(t->leaf, on_raise, LUA_MASKCOUNT, 1);
}

void slice_raise(lua_State *L, struct tasklet *t)
{
    luaL_checkstack(L, 4, NULL);
    t->wake = WAKE_SERVED;
    t->thrown = t->doomed;
    t->late = false;
    lua_sethook(L, t->doomed ? on_raise : NULL, t->doomed ? LUA_MASKCOUNT : 0, 1);
    tasklet_push(L, t);
    tasklet_get(L, -1, SIDE_THROWN);
    lua_error(L);
}

/* A hook of the script's own stays, and nothing is counted there. */
static void count(struct runtime *rt, lua_State *leaf)
{
    lua_Hook hook = lua_gethook(leaf);
    if (rt->run_limit && !list_empty(&rt->runners) && (!hook || hook == on_count))
        lua_sethook(leaf, on_count, LUA_MASKCOUNT, rt->run_limit);
}

void slice_before(struct runtime *rt, struct tasklet *t)
{
    if (rt->slice.stands)
        begin_go(rt, t);
    if (t->thrown)
        lua_sethook(t->leaf, on_raise, LUA_MASKCOUNT, 1);
    else
        count(rt, t->leaf);
    t->cut = false;
}

void slice_new_leaf(lua_State *L, struct tasklet *t)
{
    struct runtime *rt = runtime_of(L);
    bool due = t->thrown && !t->late;
    if (due && wait_possible(L))
        slice_raise(L, t);
    if (due)
        lua_sethook(L, on_raise, LUA_MASKCOUNT, 1);
    if (rt->slice.stands)
        stand(L);
    if (lua_gethook(t->leaf) != on_count)
        count(rt, t->leaf);
}

void slice_after(struct tasklet *t)
{
    if (t->leaf && lua_gethook(t->leaf) == on_count)
        lua_sethook(t->leaf, NULL, 0, 0);
}

/* ---- the thread ---- */

static void membarrier(int command)
{
    syscall(SYS_membarrier, command, 0, 0);
}

void slice_cut_in(void *runtime)
{
    struct runtime *rt = runtime;
    struct slice *s = &rt->slice;
    lua_State *L = atomic_load_explicit(&s->leaf, memory_order_relaxed);
    if (!L)
        return;
    lua_Hook hook = lua_gethook(L);
    if (hook && hook != on_time) {
        s->saved_hook = hook;
        s->saved_mask = lua_gethookmask(L);
        s->saved_count = lua_gethookcount(L);
        s->saved_thread = L;
    } else if (!hook && s->saved_thread == L) {
        s->saved_thread = NULL;
    }
    /* again, if it was set and has not run: between two steps of the VM it is missed */
    lua_sethook(L, on_time, LUA_MASKCOUNT, 1);
}

static struct timespec in(double seconds)
{
    struct timespec t;
    double at = clock_now() + seconds;
    t.tv_sec = (time_t)at;
    t.tv_nsec = (long)((at - (double)t.tv_sec) * 1e9);
    return t;
}

/* Looks, twice in the shortest time that matters, whether the same turn still runs. When
** it has seen none run for a whole look it sleeps until slice_awake. */
static void *look(void *arg)
{
    struct runtime *rt = arg;
    struct slice *s = &rt->slice;
    pthread_mutex_lock(&s->lock);
    while (!s->quit) {
        double step = s->shortest / 2;
        if (step < 0.0005)
            step = 0.0005;
        if (s->asleep || step > 1e6) {
            s->asleep = true;
            pthread_cond_wait(&s->wake, &s->lock);
            s->asleep = false;
            continue;
        }
        struct timespec until = in(step);
        pthread_cond_timedwait(&s->wake, &s->lock, &until);
        if (s->quit)
            break;
        uint64_t turn = atomic_load_explicit(&rt->resumes, memory_order_relaxed);
        bool running = atomic_load(&s->leaf) != NULL;
        if (turn != s->turn) {
            atomic_store(&s->began, clock_now());
            atomic_store(&s->turn, turn);
        } else if (!running) {
            s->asleep = true;
            membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED); /* a turn that begins now sees it, */
            if (atomic_load(&s->leaf))                    /* or is seen here */
                s->asleep = false;
        } else if (clock_now() - atomic_load(&s->began) >= s->shortest) {
            s->interrupt();
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void start(struct runtime *rt)
{
    struct slice *s = &rt->slice;
    sigset_t all, old;
    pthread_condattr_t monotonic;
    membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    sigfillset(&all); /* signals are the host's, on its threads */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    s->started = pthread_create(&s->thread, NULL, look, rt) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!s->started) {
        error_log(rt, "no thread for time slices and the watchdog: they are off");
        s->shortest = HUGE_VAL;
    }
}

void slice_start(struct runtime *rt)
{
    struct slice *s = &rt->slice;
    if (!s->started) {
        start(rt);
        return;
    }
    pthread_mutex_lock(&s->lock);
    s->asleep = false;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

static void changed(struct runtime *rt)
{
    struct slice *s = &rt->slice;
    if (s->started)
        pthread_mutex_lock(&s->lock);
    s->shortest = s->length < s->watchdog ? s->length : s->watchdog;
    if (s->started) {
        s->asleep = false;
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->lock);
    }
}

void slice_set(struct runtime *rt, double seconds)
{
    rt->slice.length = seconds;
    changed(rt);
    slice_awake(rt); /* also for the tasklet that asks for it */
}

void slice_set_watchdog(struct runtime *rt, double seconds)
{
    rt->slice.watchdog = seconds;
    changed(rt);
}

void slice_close(struct runtime *rt)
{
    struct slice *s = &rt->slice;
    slice_turn(rt, NULL);
    if (s->started) {
        pthread_mutex_lock(&s->lock);
        s->quit = true;
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
        pthread_cond_destroy(&s->wake);
        pthread_mutex_destroy(&s->lock);
        s->started = false;
    }
    s->shortest = HUGE_VAL;
}
