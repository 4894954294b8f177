/* neap.wait_fd: waits on a descriptor that other code owns. */
#define _GNU_SOURCE
#include "bind/bind.h"
#include "core/tasklet.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* It lies on the waiting tasklet's frame. */
struct fd_wait {
    struct runtime *rt;
    struct watch watch;
    struct wait_queue queue;
    bool failed; /* the kernel does not watch such a descriptor */
};

static void joined(struct wait_queue *q)
{
    struct fd_wait *w = container_of(q, struct fd_wait, queue);
    watch_start(w->rt->reactor, &w->watch);
}

static void left(struct wait_queue *q)
{
    struct fd_wait *w = container_of(q, struct fd_wait, queue);
    watch_stop(w->rt->reactor, &w->watch);
}

static const struct wait_class fd_class = {
    .what = "wait_fd", .outside = true, .joined = joined, .left = left};

static void on_ready(struct watch *watch, int events)
{
    struct fd_wait *w = container_of(watch, struct fd_wait, watch);
    w->failed = events & WATCH_ERROR;
    watch_stop(w->rt->reactor, watch);
    wait_wake_all(w->rt, &w->queue, WAKE_SERVED);
}

static int give_error(lua_State *L, const char *text, int error)
{
    lua_pushnil(L);
    lua_pushstring(L, text);
    lua_pushstring(L, strerrorname_np(error));
    return 3;
}

static int waited(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct fd_wait *w = lua_touserdata(L, 1);
    enum wake why = wait_result(L);
    if (why == WAKE_TIMEOUT)
        return give_error(L, "timeout", ETIMEDOUT);
    if (w->failed)
        return give_error(L, "wait_fd: Bad file descriptor", EBADF);
    lua_pushboolean(L, 1);
    return 1;
}

/* neap.wait_fd(fd, "r"|"w"[, timeout]): true when it can be read, or written. The descriptor
** must stay open meanwhile */
static int wait_fd(lua_State *L)
{
    static const char *const modes[] = {"r", "w", NULL};
    int fd = (int)luaL_checkinteger(L, 1);
    int events = luaL_checkoption(L, 2, NULL, modes) == 0 ? WATCH_READ : WATCH_WRITE;
    double timeout = wait_timeout(L, 3);
    wait_check(L);
    if (fcntl(fd, F_GETFD) < 0)
        return give_error(L, "wait_fd: Bad file descriptor", EBADF);
    lua_settop(L, 0);
    struct fd_wait *w = lua_newuserdatauv(L, sizeof *w, 0);
    wait_check(L); /* a finalizer may have killed the tasklet */
    *w = (struct fd_wait){.rt = runtime_of(L)};
    wait_queue_init(&w->queue, &fd_class);
    watch_init(&w->watch, fd, events, on_ready);
    return wait_on(L, &w->queue, timeout, 0, waited);
}

void bind_wait_fd(lua_State *L)
{
    lua_pushcfunction(L, wait_fd);
    lua_setfield(L, -2, "wait_fd");
}
