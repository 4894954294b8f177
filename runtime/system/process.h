/* Children: started by posix_spawn, reaped through a pidfd, so that SIGCHLD and the children
** of others are left alone. Nothing in here runs Lua. */
#ifndef SYSTEM_PROCESS_H
#define SYSTEM_PROCESS_H

#include "core/runtime.h"
#include "core/wait.h"

#include <sys/types.h>

struct process {
    struct list all; /* in runtime.processes until it is reaped and released */
    struct runtime *rt;
    pid_t pid;
    int fd;     /* the pidfd; -1: reaped */
    int status; /* then: as waitpid gives it; or, if that failed, -1 and errno in `error` */
    int error;
    bool held; /* by its owner */
    struct watch watch;
    struct wait_queue waiters; /* woken at its end */
};

/* What a child gets as descriptors 0, 1, 2: -1: the same as ours. It inherits no others. */
struct process_files {
    int fd[3];
};

/* Starts a program (argv[0] without a slash is looked for in PATH) with default signal
** dispositions and an empty mask; env NULL: ours. Given to the caller, who releases it.
** 0 or -errno. */
int process_start(struct runtime *rt, char *const argv[], char *const env[],
                  const struct process_files *files, struct process **made);

static inline bool process_ended(const struct process *p)
{
    return p->fd < 0;
}

/* Blocks the thread until it has ended, for code that cannot wait. */
void process_block(struct process *p);

/* The owner needs it no more; it is reaped in the background. */
void process_release(struct process *p);

#endif
