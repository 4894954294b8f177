/* Names by c-ares: an optional part (core/part.h).
**
** A resolver is one c-ares channel. It lives for as long as tasklets wait for its queries, so
** that the system's configuration is read anew for the next, and is gone with the last of
** them: queries are never cancelled one by one, who waited is only detached. c-ares frees
** twice what is destroyed from inside its own callbacks, so in those nothing is: they keep
** the answer and wake who waits, and settle() looks after each call of c-ares. None of them
** runs Lua. Answers are kept for as long as the servers allow, and that there is no such name
** for a few seconds. */
#include "net/resolver.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    TRY_TIME = 2000, /* milliseconds for a server's answer; the caller's timeout is for all */
    TRIES = 2,
    MAX_KNOWN = 256, /* answers kept */
    MAX_TTL = 86400,
    NEGATIVE_TTL = 5, /* seconds for which an answer that there is none is kept */
    MAX_LABEL = 63
};

struct resolver {
    struct list all;
    struct names *names;
    ares_channel channel;
    struct list sockets, queries; /* queries: those in flight */
    struct serving_timer timer;   /* c-ares's own deadlines */
    double born;
    bool inside; /* c-ares runs: nothing may be destroyed */
    size_t size; /* of this block */
    char servers[];
};

/* A socket of c-ares's. */
struct name_socket {
    struct list all;
    struct resolver *resolver;
    struct watch watch;
    int fd;
};

void *names_allocate(struct names *n, size_t size)
{
    void *p = n->core->memory_resize(&n->rt->memory, NULL, 0, size);
    return p ? memset(p, 0, size) : NULL;
}

void names_release(struct names *n, void *p, size_t size)
{
    if (p)
        n->core->memory_resize(&n->rt->memory, p, size, 0);
}

/* ---- queries ---- */

void query_drop(struct query *q)
{
    if (--q->holders > 0)
        return;
    names_release(q->names, q->addresses, q->count * sizeof *q->addresses);
    names_release(q->names, q, q->size);
}

static void forget(struct query *q)
{
    list_remove(&q->all);
    q->names->known_count--;
    query_drop(q);
}

static void keep(struct query *q, int ttl)
{
    struct names *n = q->names;
    if (ttl <= 0)
        return;
    if (n->known_count >= MAX_KNOWN)
        forget(container_of(n->known.next, struct query, all));
    q->expires = n->core->clock_now() + (ttl < MAX_TTL ? ttl : MAX_TTL);
    q->holders++;
    n->known_count++;
    list_push_back(&n->known, &q->all);
}

/* A server may answer with addresses that were not asked for. */
static bool is_asked_for(const struct query *q, const struct ares_addrinfo_node *a)
{
    return q->family == AF_UNSPEC || q->family == a->ai_family;
}

int query_take(struct query *q, const struct ares_addrinfo *found)
{
    int ttl = MAX_TTL;
    size_t n = 0;
    const struct ares_addrinfo_node *a;
    for (a = found->nodes; a; a = a->ai_next)
        n += is_asked_for(q, a);
    q->addresses = n > 0 ? names_allocate(q->names, n * sizeof *q->addresses) : NULL;
    if (!q->addresses) {
        q->status = n > 0 ? ARES_ENOMEM : ARES_ENODATA;
        return 0;
    }
    for (a = found->nodes; a; a = a->ai_next) {
        if (!is_asked_for(q, a))
            continue;
        struct name_address *to = &q->addresses[q->count++];
        to->family = a->ai_family;
        if (a->ai_family == AF_INET)
            memcpy(&to->bytes, &((struct sockaddr_in *)(void *)a->ai_addr)->sin_addr, 4);
        else
            to->bytes = ((struct sockaddr_in6 *)(void *)a->ai_addr)->sin6_addr;
        ttl = a->ai_ttl < ttl ? a->ai_ttl : ttl;
    }
    for (const struct ares_addrinfo_cname *c = found->cnames; c; c = c->next)
        ttl = c->ttl < ttl ? c->ttl : ttl;
    return ttl;
}

static void tell_askers(struct query *q)
{
    while (!list_empty(&q->askers)) {
        struct list *link = q->askers.next;
        list_remove(link);
        struct asker *a = container_of(link, struct asker, link);
        a->answered(a);
    }
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *found)
{
    struct query *q = arg;
    int ttl = 0;
    assert(q->resolver->inside);
    list_remove(&q->all);
    q->resolver = NULL;
    q->status = status;
    if (status == ARES_SUCCESS)
        ttl = query_take(q, found);
    else if ((status == ARES_ENOTFOUND || status == ARES_ENODATA) && timeouts == 0)
        ttl = NEGATIVE_TTL; /* how long the server allows is not told */
    if (found)
        ares_freeaddrinfo(found);
    keep(q, ttl);
    q->names->core->wait_wake_all(q->names->rt, &q->waiters, WAKE_SERVED);
    tell_askers(q);
    query_drop(q);
}

/* ---- sockets: as c-ares asks for them ---- */

static ares_socket_t open_socket(int domain, int type, int protocol, void *ud)
{
    (void)ud;
    return socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
}

static int close_socket(ares_socket_t fd, void *ud)
{
    (void)ud;
    return close(fd);
}

static int connect_socket(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t n,
                          void *ud)
{
    (void)ud;
    return connect(fd, to, n);
}

static ares_ssize_t receive(ares_socket_t fd, void *p, size_t n, int flags,
                            struct sockaddr *from, ares_socklen_t *length, void *ud)
{
    (void)ud;
    return recvfrom(fd, p, n, flags, from, length);
}

static ares_ssize_t send_vector(ares_socket_t fd, const struct iovec *v, int n, void *ud)
{
    struct msghdr m = {.msg_iov = (struct iovec *)v, .msg_iovlen = (size_t)n};
    (void)ud;
    return sendmsg(fd, &m, MSG_NOSIGNAL);
}

/* ---- resolvers ---- */

/* Ends a resolver; what it still asks for is answered with an error. */
static void resolver_end(struct resolver *r)
{
    struct names *n = r->names;
    list_remove(&r->all);
    r->inside = true;
    ares_destroy(r->channel);
    n->core->timer_serve_end(n->rt, &r->timer);
    while (!list_empty(&r->sockets)) { /* c-ares has told of each one's end */
        struct name_socket *s = container_of(r->sockets.next, struct name_socket, all);
        n->core->watch_stop(n->rt->reactor, &s->watch);
        list_remove(&s->all);
        names_release(n, s, sizeof *s);
    }
    names_release(n, r, r->size);
}

static bool awaited(const struct resolver *r)
{
    const struct list *node;
    list_each(node, &r->queries) {
        const struct query *q = container_of(node, struct query, all);
        if (!list_empty(&q->waiters.waiters) || !list_empty(&q->askers))
            return true;
    }
    return false;
}

/* After each call of c-ares, and when a waiter has left. */
static void settle(struct resolver *r)
{
    struct names *n = r->names;
    struct timeval tv, *next;
    if (r->inside)
        return;
    if (!awaited(r)) {
        resolver_end(r);
        return;
    }
    next = ares_timeout(r->channel, NULL, &tv);
    double seconds =
        next ? (double)next->tv_sec + (double)next->tv_usec * 1e-6 : TRY_TIME / 1e3;
    if (n->core->timer_serve(n->rt, &r->timer, seconds) < 0)
        resolver_end(r);
}

static void process(struct resolver *r, ares_socket_t read, ares_socket_t write)
{
    r->inside = true;
    ares_process_fd(r->channel, read, write);
    r->inside = false;
    settle(r);
}

static void on_time(struct runtime *rt, struct serving_timer *t)
{
    (void)rt;
    process(container_of(t, struct resolver, timer), ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static void on_socket(struct watch *w, int events)
{
    struct name_socket *s = container_of(w, struct name_socket, watch);
    process(s->resolver, events & (WATCH_READ | WATCH_ERROR) ? s->fd : ARES_SOCKET_BAD,
            events & WATCH_WRITE ? s->fd : ARES_SOCKET_BAD);
}

static struct name_socket *find_socket(struct resolver *r, int fd)
{
    struct list *node;
    list_each(node, &r->sockets) {
        struct name_socket *s = container_of(node, struct name_socket, all);
        if (s->fd == fd)
            return s;
    }
    struct name_socket *s = names_allocate(r->names, sizeof *s);
    if (s) {
        s->resolver = r;
        s->fd = fd;
        list_push_back(&r->sockets, &s->all);
        r->names->core->watch_init(&s->watch, fd, WATCH_READ, on_socket);
    }
    return s;
}

/* Without memory for the watch c-ares's own timeout ends the query. */
static void on_socket_state(void *arg, ares_socket_t fd, int read, int write)
{
    struct resolver *r = arg;
    const struct part_core *core = r->names->core;
    struct reactor *reactor = r->names->rt->reactor;
    struct name_socket *s = find_socket(r, fd);
    if (!s)
        return;
    core->watch_stop(reactor, &s->watch);
    if (!read && !write) {
        list_remove(&s->all);
        names_release(r->names, s, sizeof *s);
        return;
    }
    core->watch_init(&s->watch, fd, (read ? WATCH_READ : 0) | (write ? WATCH_WRITE : 0),
                     on_socket);
    core->watch_start(reactor, &s->watch);
}

static int open_channel(struct resolver *r)
{
    static const struct ares_socket_functions sockets = {open_socket, close_socket,
                                                         connect_socket, receive, send_vector};
    struct ares_options o = {.timeout = TRY_TIME,
                             .tries = TRIES,
                             .sock_state_cb = on_socket_state,
                             .sock_state_cb_data = r};
    int status = ares_init_options(
        &r->channel, &o, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (status != ARES_SUCCESS)
        return status;
    ares_set_socket_functions(r->channel, &sockets, NULL);
    if (*r->servers && ares_set_servers_ports_csv(r->channel, r->servers) != ARES_SUCCESS) {
        ares_destroy(r->channel);
        return ARES_EBADSTR;
    }
    return ARES_SUCCESS;
}

/* A resolver that asks these servers, "" for the system's. ARES_*. */
static int resolver_find(struct names *n, const char *servers, struct resolver **r)
{
    struct list *node;
    double now = n->core->clock_now();
    list_each(node, &n->resolvers) {
        *r = container_of(node, struct resolver, all);
        if (strcmp((*r)->servers, servers) == 0 && now - (*r)->born < RESOLVER_AGE)
            return ARES_SUCCESS;
    }
    size_t size = sizeof **r + strlen(servers) + 1;
    *r = names_allocate(n, size);
    if (!*r)
        return ARES_ENOMEM;
    (*r)->names = n;
    (*r)->size = size;
    (*r)->born = now;
    (*r)->timer.fn = on_time;
    strcpy((*r)->servers, servers);
    list_init(&(*r)->sockets);
    list_init(&(*r)->queries);
    int status = open_channel(*r);
    if (status != ARES_SUCCESS) {
        names_release(n, *r, size);
        return status;
    }
    list_push_back(&n->resolvers, &(*r)->all);
    return ARES_SUCCESS;
}

/* ---- lookup ---- */

/* A waiter has joined, or left unserved. */
static void waiters_changed(struct wait_queue *q)
{
    struct query *query = container_of(q, struct query, waiters);
    if (query->resolver)
        settle(query->resolver);
}

static const struct wait_class lookup_class = {
    .what = "name lookup", .outside = true, .joined = waiters_changed, .left = waiters_changed};

static bool same(const struct query *q, const char *name, int family, const char *servers)
{
    return q->family == family && strcasecmp(q->name, name) == 0 &&
           strcmp(q->servers, servers) == 0;
}

struct query *query_known(struct names *n, const char *name, int family, const char *servers)
{
    struct list *node, *next;
    double now = n->core->clock_now();
    for (node = n->known.next; node != &n->known; node = next) {
        struct query *q = container_of(node, struct query, all);
        next = node->next;
        if (q->expires <= now)
            forget(q);
        else if (same(q, name, family, servers))
            return q;
    }
    return NULL;
}

/* One that c-ares works at, whoever asked. */
static struct query *find_running(struct names *n, const char *name, int family,
                                  const char *servers)
{
    struct list *rnode, *node;
    list_each(rnode, &n->resolvers) {
        struct resolver *r = container_of(rnode, struct resolver, all);
        list_each(node, &r->queries) {
            struct query *q = container_of(node, struct query, all);
            if (same(q, name, family, servers))
                return q;
        }
    }
    return NULL;
}

struct query *query_new(struct names *n, const char *name, int family, const char *servers)
{
    size_t length = strlen(name) + 1,
           size = sizeof(struct query) + length + strlen(servers) + 1;
    struct query *q = names_allocate(n, size);
    if (!q)
        return NULL;
    q->names = n;
    q->size = size;
    q->holders = 1;
    q->family = family;
    q->servers = strcpy(q->name + length, servers);
    strcpy(q->name, name);
    list_init(&q->all);
    list_init(&q->askers);
    wait_queue_init(&q->waiters, &lookup_class);
    return q;
}

/* Has c-ares work at a new query, which holds it as long as that lasts. ARES_*. */
static int query_start(struct names *n, struct query *q)
{
    struct resolver *r;
    struct ares_addrinfo_hints hints = {
        .ai_flags = ARES_AI_ENVHOSTS, .ai_family = q->family, .ai_socktype = SOCK_STREAM};
    int status = resolver_find(n, q->servers, &r);
    if (status != ARES_SUCCESS)
        return status;
    q->resolver = r;
    q->holders++;
    list_push_back(&r->queries, &q->all);
    bool inside = r->inside;
    r->inside = true;
    ares_getaddrinfo(r->channel, q->name, NULL, &hints, on_answer, q);
    r->inside = inside;
    if (!q->resolver)
        settle(r);
    return ARES_SUCCESS;
}

int names_descriptor_missing(void)
{
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

/* Has c-ares work at a new one. ARES_*, or -errno. */
static int query_ask(struct names *n, const char *name, int family, const char *servers,
                     struct query **q)
{
    int error = names_descriptor_missing();
    if (error)
        return -error;
    *q = query_new(n, name, family, servers);
    if (!*q)
        return ARES_ENOMEM;
    int status = query_start(n, *q);
    if (status != ARES_SUCCESS) {
        query_drop(*q);
        *q = NULL;
    }
    return status;
}

int query_find(struct names *n, const char *name, int family, const char *servers,
               struct query **q)
{
    *q = query_known(n, name, family, servers);
    if (!*q)
        *q = find_running(n, name, family, servers);
    if (!*q)
        return query_ask(n, name, family, servers, q);
    (*q)->holders++;
    return ARES_SUCCESS;
}

void query_join(struct asker *a)
{
    list_push_back(&a->query->askers, &a->link);
    settle(a->query->resolver);
}

void query_leave(struct asker *a)
{
    list_remove(&a->link);
}

void query_settle(struct asker *a)
{
    struct query *q = a->query;
    a->query = NULL;
    if (!q)
        return;
    if (q->resolver)
        settle(q->resolver);
    query_drop(q);
}

bool name_valid(const char *name, size_t n)
{
    size_t label = 0;
    if (n == 0 || n > MAX_NAME + (name[n - 1] == '.'))
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (c == '.' && label > 0)
            label = 0;
        else if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '_')
            return false;
        else if (++label > MAX_LABEL)
            return false;
    }
    return true;
}

/* ---- what scripts are told ---- */

void names_failure(int status, const char **text, const char **code)
{
    static const char no_server[] = "no name server gives an answer";
    static const struct {
        int status;
        const char *code, *text;
    } failures[] = {
        {ARES_ENOTFOUND, "ENOTFOUND", "name not found"},
        {ARES_ENODATA, "ENOTFOUND", "the name has no such address"},
        {ARES_EBADNAME, "ENOTFOUND", "not a host name"},
        {ARES_ETIMEOUT, "ETIMEDOUT", "timeout"},
        {ARES_ESERVFAIL, "ESERVFAIL", no_server},
        {ARES_EREFUSED, "ESERVFAIL", no_server},
        {ARES_ENOTIMP, "ESERVFAIL", no_server},
        {ARES_ECONNREFUSED, "ESERVFAIL", no_server},
        {ARES_ENOMEM, "ENOMEM", "not enough memory"},
    };
    size_t i = 0, n = sizeof failures / sizeof *failures;
    while (i < n && failures[i].status != status)
        i++;
    *text = i < n ? failures[i].text : "the name server's answer makes no sense";
    *code = i < n ? failures[i].code : "EBADRESP";
    if (status < 0) {
        *text = strerror(-status);
        *code = status == -EMFILE ? "EMFILE" : status == -ENFILE ? "ENFILE" : "EIO";
    }
}

static int push_failure(lua_State *L, int status)
{
    const char *text, *code;
    names_failure(status, &text, &code);
    lua_pushnil(L);
    lua_pushstring(L, text);
    lua_pushstring(L, code);
    return 3;
}

static int push_answer(lua_State *L, const struct query *q)
{
    char text[INET6_ADDRSTRLEN];
    if (q->status != ARES_SUCCESS)
        return push_failure(L, q->status);
    lua_createtable(L, (int)q->count, 0);
    for (size_t i = 0; i < q->count; i++) {
        inet_ntop(q->addresses[i].family, &q->addresses[i].bytes, text, sizeof text);
        lua_pushstring(L, text);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* The frame of a lookup. */
enum { NAME = 1, FAMILY, SERVERS, TIMEOUT, HOLD };

static struct names *names_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

static int answered(lua_State *L, int status, lua_KContext ctx)
{
    struct query **hold = lua_touserdata(L, HOLD);
    (void)status, (void)ctx;
    if (names_of(L)->core->wait_result(L) == WAKE_TIMEOUT)
        return push_failure(L, ARES_ETIMEOUT);
    return push_answer(L, *hold);
}

/* __gc of a waiter's hold on its query. */
static int let_go(lua_State *L)
{
    struct query **hold = lua_touserdata(L, 1);
    struct resolver *r = *hold ? (*hold)->resolver : NULL;
    if (*hold)
        query_drop(*hold);
    *hold = NULL;
    if (r)
        settle(r);
    return 0;
}

/* lookup(name, family, servers, timeout): family 0, 4 or 6; servers "" or as 127.0.0.1:53,
** with commas between them. A list of addresses, or nil, err, code */
static int lookup(lua_State *L)
{
    struct names *n = names_of(L);
    size_t length;
    const char *name = luaL_checklstring(L, NAME, &length);
    lua_Integer family = luaL_checkinteger(L, FAMILY);
    const char *servers = luaL_checkstring(L, SERVERS);
    double timeout = luaL_checknumber(L, TIMEOUT);
    family = family == 4 ? AF_INET : family == 6 ? AF_INET6 : AF_UNSPEC;
    lua_settop(L, TIMEOUT);
    lua_pushinteger(L, family);
    lua_replace(L, FAMILY);
    n->core->wait_check(L);
    if (!name_valid(name, length))
        return push_failure(L, ARES_EBADNAME);
    struct query **hold = lua_newuserdatauv(L, sizeof *hold, 0);
    *hold = NULL;
    luaL_setmetatable(L, "neap.names.hold");
    int status = query_find(n, name, (int)family, servers, hold);
    if (status == ARES_EBADSTR)
        return luaL_error(L, "bad server in '%s'", servers);
    if (status != ARES_SUCCESS)
        return push_failure(L, status);
    if (!(*hold)->resolver)
        return push_answer(L, *hold);
    return n->core->wait_on(L, &(*hold)->waiters, timeout, 0, answered);
}

/* __gc of a runtime's names. */
static int names_end(lua_State *L)
{
    struct names *n = lua_touserdata(L, 1);
    while (!list_empty(&n->resolvers))
        resolver_end(container_of(n->resolvers.next, struct resolver, all));
    while (!list_empty(&n->known))
        forget(container_of(n->known.next, struct query, all));
    ares_destroy_options(&n->system);
    n->system.lookups = NULL;
    return 0;
}

/* Pushes a metatable with that __gc. */
static void push_metatable(lua_State *L, const char *name, lua_CFunction gc)
{
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
}

__attribute__((visibility("default"))) int luaopen_neap_names(lua_State *L);

/* Gives the function `lookup`. */
int luaopen_neap_names(lua_State *L)
{
    const struct part_core *core =
        part_find(L, PART_CORE, (struct part_table)PART_TABLE(struct part_core));
    push_metatable(L, "neap.names.hold", let_go);
    struct names *n = lua_newuserdatauv(L, sizeof *n, 0);
    *n = (struct names){.provided = name_search, .core = core, .rt = runtime_of(L)};
    list_init(&n->resolvers);
    list_init(&n->known);
    push_metatable(L, "neap.names", names_end);
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, PART_NAMES);
    lua_pushcclosure(L, lookup, 1);
    return 1;
}
