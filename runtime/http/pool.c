#include "http/pool.h"

#include "http/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    PATIENCE = 60,   /* seconds that connections are kept while nobody asks for anything */
    MOST_IDLE = 100, /* connections kept */
    WASTE = 64       /* reads of what an unfit connection has brought */
};

/* ---- sockets ---- */

static struct pool_socket *find(struct pool *p, int fd)
{
    struct list *node;
    list_each(node, &p->sockets) {
        struct pool_socket *s = container_of(node, struct pool_socket, all);
        if (s->fd == fd)
            return s;
    }
    return NULL;
}

static void on_socket(struct watch *w, int events);

static void stop_watch(struct pool_socket *s)
{
    s->pool->core->watch_stop(s->pool->rt->reactor, &s->watch);
    s->pool->idle -= s->idle;
    s->idle = false;
}

static void start_watch(struct pool_socket *s, int events)
{
    s->pool->core->watch_init(&s->watch, s->fd, events, on_socket);
    s->pool->core->watch_start(s->pool->rt->reactor, &s->watch);
}

/* Of CURL_POLL_*: what a watch is for. */
static int watched(int wanted)
{
    return (wanted & CURL_POLL_IN ? WATCH_READ : 0) |
           (wanted & CURL_POLL_OUT ? WATCH_WRITE : 0);
}

/* Watches it if nobody uses it any more. */
static void rest(struct pool_socket *s)
{
    if (s->dead || s->idle || !s->served || s->wanted || !list_empty(&s->users))
        return;
    start_watch(s, WATCH_READ);
    s->idle = true;
    s->pool->idle++;
}

/* Makes it unfit: libcurl finds it closed, and closes it when it looks for one. */
static void discard(struct pool_socket *s)
{
    char waste[4096];
    stop_watch(s);
    s->dead = true;
    for (int i = 0; i < WASTE && recv(s->fd, waste, sizeof waste, MSG_DONTWAIT) > 0; i++)
        ;
    shutdown(s->fd, SHUT_RDWR);
}

static bool has_input(const struct pool_socket *s)
{
    char c;
    return recv(s->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

/* libcurl 7 closes a socket that never got connected without a word, and if it gives the same
** number to the next, it takes the old one's events for granted: that one lives on. */
static struct pool_socket *make(struct pool *p, int fd)
{
    struct pool_socket *s = find(p, fd);
    if (s) {
        int wanted = s->wanted;
        stop_watch(s);
        list_remove(&s->all);
        memset(s, 0, sizeof *s);
        s->wanted = wanted;
    } else {
        s = p->core->memory_resize(&p->rt->memory, NULL, 0, sizeof *s);
        if (!s)
            return NULL;
        memset(s, 0, sizeof *s);
    }
    s->pool = p;
    s->fd = fd;
    list_init(&s->users);
    list_push_front(&p->sockets, &s->all);
    p->core->watch_init(&s->watch, fd, WATCH_READ, on_socket);
    if (s->wanted)
        start_watch(s, watched(s->wanted));
    return s;
}

/* A connection has failed. libcurl 7 tries the next address only when something else happens:
** wake_stalled makes it happen. */
static void mark_stalled(struct pool *p, const struct pool_socket *s)
{
    struct list *node;
    list_each(node, &p->transfers) {
        struct transfer *t = container_of(node, struct transfer, all);
        if (t->number == s->opener)
            t->stalled = p->stalled = true;
    }
}

static void forget(struct pool_socket *s)
{
    if (!s->served && list_empty(&s->users))
        mark_stalled(s->pool, s);
    stop_watch(s);
    while (!list_empty(&s->users)) {
        struct transfer *t = container_of(s->users.next, struct transfer, use);
        list_remove(&t->use);
        t->socket = NULL;
    }
    list_remove(&s->all);
    s->pool->core->memory_resize(&s->pool->rt->memory, s, sizeof *s, 0);
}

curl_socket_t pool_open_socket(void *ud, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct transfer *t = ud;
    int fd = socket(a->family, a->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);
    (void)purpose;
    struct pool_socket *s = fd >= 0 ? make(t->pool, fd) : NULL;
    if (s) {
        s->opener = t->number;
        return fd;
    }
    t->os_error = fd < 0 ? errno : ENOMEM;
    if (fd >= 0)
        close(fd);
    return CURL_SOCKET_BAD;
}

int pool_close_socket(void *ud, curl_socket_t fd)
{
    struct pool_socket *s = find(ud, fd);
    if (s)
        forget(s);
    return close(fd);
}

static void wake_stalled(struct pool *p)
{
    struct list *node;
    p->stalled = false;
    p->inside = true;
    list_each(node, &p->transfers) {
        struct transfer *t = container_of(node, struct transfer, all);
        if (!t->stalled)
            continue;
        t->stalled = false;
        curl_easy_pause(t->easy, CURLPAUSE_ALL); /* the end of a pause is an event */
        curl_easy_pause(t->easy, transfer_pauses(t));
    }
    p->inside = false;
}

/* libcurl wants other events of a socket. */
static int on_wanted(CURL *easy, curl_socket_t fd, int what, void *ud, void *known)
{
    struct pool *p = ud;
    struct pool_socket *s = known ? known : find(p, fd);
    (void)easy;
    if (!s)
        return 0;
    stop_watch(s);
    s->wanted = what == CURL_POLL_REMOVE ? 0 : what;
    if (s->wanted) {
        curl_multi_assign(p->multi, fd, s);
        start_watch(s, watched(what));
    } else if (fcntl(fd, F_GETFD) < 0) {
        forget(s);
    } else {
        rest(s);
    }
    return 0;
}

static int name(const struct sockaddr_storage *a, char *text)
{
    const struct sockaddr_in *v4 = (const void *)a;
    const struct sockaddr_in6 *v6 = (const void *)a;
    bool six = a->ss_family == AF_INET6;
    const void *bytes = six ? (const void *)&v6->sin6_addr : &v4->sin_addr;
    if ((!six && a->ss_family != AF_INET) ||
        !inet_ntop(a->ss_family, bytes, text, INET6_ADDRSTRLEN))
        return -1;
    return ntohs(six ? v6->sin6_port : v4->sin_port);
}

static void learn_names(struct pool_socket *s)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    if (getpeername(s->fd, (struct sockaddr *)&a, &n) < 0)
        return; /* not connected yet */
    s->port = name(&a, s->address);
    n = sizeof a;
    if (getsockname(s->fd, (struct sockaddr *)&a, &n) < 0)
        return;
    s->local_port = name(&a, s->local_address);
    s->named = true;
}

bool pool_use(struct transfer *t, const char *address, int port, const char *local_address,
              int local_port)
{
    struct list *node;
    struct pool_socket *s = NULL;
    list_each(node, &t->pool->sockets) {
        s = container_of(node, struct pool_socket, all);
        if (!s->named)
            learn_names(s);
        if (s->named && s->local_port == local_port && s->port == port &&
            strcmp(s->local_address, local_address) == 0 && strcmp(s->address, address) == 0)
            break;
    }
    if (node == &t->pool->sockets)
        return true; /* it will not rest */
    bool rested = s->served && list_empty(&s->users);
    if (s->dead || (rested && has_input(s))) {
        discard(s);
        return false;
    }
    if (s->idle)
        stop_watch(s);
    list_remove(&t->use);
    list_push_back(&s->users, &t->use);
    t->socket = s;
    return true;
}

/* ---- libcurl in the reactor ---- */

double pool_now(const struct pool *p)
{
    const struct real_time *r = &p->rt->real_time;
    return r->fn ? (double)r->fn(r->ud) * 1e-9 : p->core->clock_now();
}

static void act(struct pool *p, curl_socket_t fd, int events)
{
    int running;
    p->now = pool_now(p);
    p->inside = true;
    curl_multi_socket_action(p->multi, fd, events, &running);
    p->inside = false;
    pool_settle(p);
}

static void on_socket(struct watch *w, int events)
{
    struct pool_socket *s = container_of(w, struct pool_socket, watch);
    struct pool *p = s->pool;
    if (s->idle) {
        discard(s);
        pool_settle(p);
        return;
    }
    act(p, s->fd,
        (events & WATCH_READ ? CURL_CSELECT_IN : 0) |
            (events & WATCH_WRITE ? CURL_CSELECT_OUT : 0) |
            (events & WATCH_ERROR ? CURL_CSELECT_ERR : 0));
}

static void on_time(struct runtime *rt, struct serving_timer *s)
{
    (void)rt;
    act(container_of(s, struct pool, timer), CURL_SOCKET_TIMEOUT, 0);
}

/* Without memory for the timer the transfer's own timeout ends it. */
static int on_timer_wanted(CURLM *multi, long milliseconds, void *ud)
{
    struct pool *p = ud;
    (void)multi;
    if (milliseconds < 0)
        p->core->timer_serve_end(p->rt, &p->timer);
    else
        p->core->timer_serve(p->rt, &p->timer, (double)milliseconds / 1000);
    return 0;
}

static int open_multi(struct pool *p)
{
    if (p->multi)
        return 0;
    p->multi = curl_multi_init();
    if (!p->multi)
        return -ENOMEM;
    curl_multi_setopt(p->multi, CURLMOPT_SOCKETFUNCTION, on_wanted);
    curl_multi_setopt(p->multi, CURLMOPT_SOCKETDATA, p);
    curl_multi_setopt(p->multi, CURLMOPT_TIMERFUNCTION, on_timer_wanted);
    curl_multi_setopt(p->multi, CURLMOPT_TIMERDATA, p);
    curl_multi_setopt(p->multi, CURLMOPT_MAXCONNECTS, (long)MOST_IDLE);
    return 0;
}

/* Closes all connections; no transfer is left. */
static void close_multi(struct pool *p)
{
    while (p->spares > 0)
        curl_easy_cleanup(p->spare[--p->spares]);
    if (!p->multi)
        return;
    p->inside = true;
    curl_multi_cleanup(p->multi);
    p->inside = false;
    p->multi = NULL;
    while (!list_empty(&p->sockets)) /* that libcurl has closed without a word */
        forget(container_of(p->sockets.next, struct pool_socket, all));
    p->core->timer_serve_end(p->rt, &p->timer);
    p->core->timer_serve_end(p->rt, &p->patience);
}

static void on_patience(struct runtime *rt, struct serving_timer *s)
{
    (void)rt;
    close_multi(container_of(s, struct pool, patience));
}

static void take_results(struct pool *p)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(p->multi, &left))) {
        struct transfer *t;
        CURLcode result = m->data.result;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
        transfer_done(t, result);
    }
}

/* libcurl tells only of a new deadline; one that our timer has met too early is the old. */
static void renew_timer(struct pool *p)
{
    long milliseconds = -1;
    if (p->timer.armed)
        return;
    curl_multi_timeout(p->multi, &milliseconds);
    if (milliseconds >= 0)
        on_timer_wanted(p->multi, milliseconds, p);
}

void pool_settle(struct pool *p)
{
    if (p->inside || !p->multi)
        return;
    take_results(p);
    if (p->stalled)
        wake_stalled(p);
    renew_timer(p);
    if (!list_empty(&p->transfers))
        return;
    if (p->idle == 0 ||
        (!p->patience.armed && p->core->timer_serve(p->rt, &p->patience, PATIENCE) < 0))
        close_multi(p);
}

/* ---- transfers ---- */

CURL *pool_take_handle(struct pool *p)
{
    return p->spares > 0 ? p->spare[--p->spares] : curl_easy_init();
}

void pool_give_handle(struct pool *p, CURL *easy, bool again)
{
    if (!again || !p->multi || p->spares == MOST_SPARE) {
        curl_easy_cleanup(easy);
        return;
    }
    curl_easy_setopt(easy, CURLOPT_COOKIEFILE, NULL); /* a reset would leak it */
    curl_easy_reset(easy);
    p->spare[p->spares++] = easy;
}

void pool_hurry(struct pool *p)
{
    act(p, CURL_SOCKET_TIMEOUT, 0);
}

int pool_begin(struct transfer *t)
{
    struct pool *p = t->pool;
    int error = open_multi(p);
    if (error)
        return error;
    p->core->timer_serve_end(p->rt, &p->patience);
    t->number = ++p->begun;
    p->inside = true;
    bool ok = curl_multi_add_handle(p->multi, t->easy) == CURLM_OK;
    p->inside = false;
    if (ok)
        list_push_back(&p->transfers, &t->all);
    return ok ? 0 : -ENOMEM;
}

void pool_stop(struct transfer *t)
{
    struct pool *p = t->pool;
    p->inside = true;
    curl_multi_remove_handle(p->multi, t->easy);
    p->inside = false;
    list_remove(&t->all);
    if (!t->socket)
        return;
    list_remove(&t->use);
    t->socket->served = true;
    if (t->unfit)
        discard(t->socket);
    rest(t->socket);
    t->socket = NULL;
}

/* ---- the whole ---- */

void pool_init(struct pool *p, const struct part_core *core, struct runtime *rt)
{
    *p = (struct pool){.core = core, .rt = rt};
    p->timer.fn = on_time;
    p->patience.fn = on_patience;
    list_init(&p->sockets);
    list_init(&p->transfers);
}

int pool_keep_cookies(struct pool *p)
{
    p->shared = curl_share_init();
    if (!p->shared)
        return -ENOMEM;
    curl_share_setopt(p->shared, CURLSHOPT_SHARE, CURL_LOCK_DATA_COOKIE);
    return 0;
}

void pool_close(struct pool *p)
{
    while (!list_empty(&p->transfers))
        transfer_cancel(container_of(p->transfers.next, struct transfer, all));
    close_multi(p);
    if (p->shared)
        curl_share_cleanup(p->shared);
    p->shared = NULL;
}
