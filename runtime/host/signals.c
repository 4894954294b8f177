#define _GNU_SOURCE
#include "host/signals.h"

#include "host/terminal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

enum { SIGNALS = 65, AGAIN = 2000 /* microseconds of computing */ };

static struct {
    pthread_t thread;
    void *volatile runtime; /* NULL: none any more */
    void (*cut_in)(void *runtime);
    int (*post)(void *runtime, int signal);
    struct sigaction before[SIGNALS]; /* of those that are taken */
} lent;

static void handle(int signal, void (*handler)(int), struct sigaction *before)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    sigaction(signal, &action, before);
}

/* SIGURG: nobody else uses it, and where it is not handled it does nothing. */
static void on_interrupt(int signal)
{
    int saved = errno;
    (void)signal;
    if (lent.runtime)
        lent.cut_in(lent.runtime);
    errno = saved;
}

static void interrupt_thread(void)
{
    pthread_kill(lent.thread, SIGURG);
}

static void on_again(int signal);

/* The hook that cuts in on a computation can be missed: looks again in a moment, which
** passes only while it goes on. */
static void look_again(void)
{
    static const struct itimerval soon = {.it_value.tv_usec = AGAIN};
    handle(SIGVTALRM, on_again, NULL);
    setitimer(ITIMER_VIRTUAL, &soon, NULL);
}

static void on_again(int signal)
{
    int saved = errno;
    (void)signal;
    if (lent.runtime && lent.post(lent.runtime, 0))
        look_again();
    errno = saved;
}

static void on_signal(int signal)
{
    int saved = errno;
    if (lent.runtime && lent.post(lent.runtime, signal)) {
        look_again();
    } else if (signal == SIGINT) {
        editor_restore();
        _exit(INTERRUPTED);
    }
    errno = saved;
}

/* Takes a signal for the script, or gives it back. The two that the program has itself stay
** with it, unless they were ignored when it began. */
static int arm(int signal, int on)
{
    struct sigaction *before = &lent.before[signal];
    if (on) {
        handle(signal, on_signal, before);
        if (before->sa_handler == on_signal)
            before->sa_handler = signal == SIGINT || signal == SIGQUIT ? on_signal : SIG_DFL;
        return 0;
    }
    return sigaction(signal, before, NULL) < 0 ? -errno : 0;
}

static void take(int signal)
{
    arm(signal, 1);
    if (lent.before[signal].sa_handler == SIG_IGN)
        arm(signal, 0);
}

/* Pushes what a function of neap.host, on the top, gives for a function of ours: two light
** userdata. */
static void exchange(lua_State *L, const char *name, void *ours)
{
    lua_getfield(L, -1, name);
    lua_pushlightuserdata(L, ours);
    lua_call(L, 1, 2);
}

void signals_lend(lua_State *L)
{
    lent.thread = pthread_self();
    exchange(L, "set_interrupt", (void *)interrupt_thread);
    lent.cut_in = (void (*)(void *))lua_touserdata(L, -2);
    lua_pop(L, 2);
    exchange(L, "set_signals", (void *)arm);
    lent.post = (int (*)(void *, int))lua_touserdata(L, -2);
    lent.runtime = lua_touserdata(L, -1);
    lua_pop(L, 2);
    handle(SIGURG, on_interrupt, NULL);
    take(SIGINT);
    take(SIGQUIT);
}

void signals_end(void)
{
    lent.runtime = NULL;
}
