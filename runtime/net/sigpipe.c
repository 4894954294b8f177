#include "net/sigpipe.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

static sigset_t only_sigpipe(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    return set;
}

void sigpipe_hold(struct held_sigpipe *h)
{
    sigset_t pipe = only_sigpipe(), pending;
    sigemptyset(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe, &h->mask);
    if (sigismember(&h->mask, SIGPIPE)) /* else one cannot have been pending before */
        sigpending(&pending);
    h->pending = sigismember(&pending, SIGPIPE);
}

void sigpipe_release(const struct held_sigpipe *h, bool whole)
{
    sigset_t pipe = only_sigpipe();
    int error = errno;
    if (!whole && !h->pending)
        sigtimedwait(&pipe, NULL, &(struct timespec){0});
    pthread_sigmask(SIG_SETMASK, &h->mask, NULL);
    errno = error;
}
