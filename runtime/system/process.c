#define _GNU_SOURCE
#include "system/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct wait_class exit_class = {.what = "end of a process", .outside = true};

static void discard(struct process *p)
{
    list_remove(&p->all);
    memory_free(&p->rt->memory, p, sizeof *p);
}

/* Takes the status if the child has ended, or cannot be waited for. */
static bool reap(struct process *p)
{
    pid_t r;
    do
        r = waitpid(p->pid, &p->status, WNOHANG);
    while (r < 0 && errno == EINTR);
    if (r == 0)
        return false;
    if (r < 0) { /* the host has SIGCHLD ignored, or has waited for it */
        p->status = -1;
        p->error = errno;
    }
    watch_stop(p->rt->reactor, &p->watch);
    close(p->fd);
    p->fd = -1;
    return true;
}

static void on_exit_of(struct watch *w, int events)
{
    struct process *p = container_of(w, struct process, watch);
    (void)events;
    if (!reap(p))
        return;
    wait_wake_all(p->rt, &p->waiters, WAKE_SERVED);
    if (!p->held)
        discard(p);
}

void process_block(struct process *p)
{
    struct pollfd exit = {.fd = p->fd, .events = POLLIN};
    while (!process_ended(p)) {
        poll(&exit, 1, -1);
        on_exit_of(&p->watch, WATCH_READ);
    }
}

void process_release(struct process *p)
{
    p->held = false;
    if (process_ended(p))
        discard(p);
}

static void let_go(struct runtime *rt)
{
    while (!list_empty(&rt->processes)) {
        struct process *p = container_of(rt->processes.next, struct process, all);
        if (!process_ended(p) && !reap(p)) {
            watch_stop(rt->reactor, &p->watch);
            close(p->fd);
        }
        discard(p);
    }
}

static int spawn(pid_t *pid, char *const argv[], char *const env[],
                 const struct process_files *files)
{
    posix_spawnattr_t how;
    posix_spawn_file_actions_t actions;
    sigset_t none, all;
    int error = 0;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&how);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawnattr_setsigdefault(&how, &all);
    posix_spawn_file_actions_init(&actions);
    for (int i = 0; i < 3 && !error; i++)
        if (files->fd[i] >= 0)
            error = posix_spawn_file_actions_adddup2(&actions, files->fd[i], i);
    if (!error)
        error = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    if (!error)
        error = posix_spawnp(pid, argv[0], &actions, &how, argv, env ? env : environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&how);
    return -error;
}

int process_start(struct runtime *rt, char *const argv[], char *const env[],
                  const struct process_files *files, struct process **made)
{
    struct process *p = memory_new(&rt->memory, sizeof *p);
    if (!p)
        return -ENOMEM;
    int r = spawn(&p->pid, argv, env, files);
    if (r < 0)
        goto no_child;
    p->fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    if (p->fd < 0) {
        r = -errno;
        goto no_watch;
    }
    fcntl(p->fd, F_SETFD, FD_CLOEXEC);
    p->rt = rt;
    p->held = true;
    wait_queue_init(&p->waiters, &exit_class);
    watch_init(&p->watch, p->fd, WATCH_READ, on_exit_of);
    watch_start(rt->reactor, &p->watch);
    list_push_back(&rt->processes, &p->all);
    rt->close_processes = let_go;
    *made = p;
    return 0;
no_watch:
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
no_child:
    memory_free(&rt->memory, p, sizeof *p);
    return r;
}
