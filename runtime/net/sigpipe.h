/* Around a system call that may raise SIGPIPE, which stays the host's: nobody hears of one that
** the call causes. Of the calling thread. */
#ifndef NET_SIGPIPE_H
#define NET_SIGPIPE_H

#include <signal.h>
#include <stdbool.h>

struct held_sigpipe {
    sigset_t mask; /* as it was before */
    bool pending;  /* one was already, which is not the call's */
};

void sigpipe_hold(struct held_sigpipe *h);

/* whole: the call has done all that it was asked for. One that has done a part may have raised
** it at the rest: sendfile and splice are many writes. errno stays as it is. */
void sigpipe_release(const struct held_sigpipe *h, bool whole);

#endif
