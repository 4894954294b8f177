/* The search for the addresses of a name, for a connection: each family is a question of its
** own, so that one that is answered late or never does not hold up the other.
**
** Both families are always asked for the same full name: what the hosts file says counts for
** both, and only when both know of no address is the next name of the search list tried. So a
** connection never mixes the addresses of two hosts. Where the system looks for names in a way
** of its own, c-ares is asked for all at once. */
#include "net/resolver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A question of a search. */
struct question {
    struct asker asker;
    struct search *search;
    unsigned families;
};

struct search {
    struct names *names;
    struct lookup *owner;
    struct serving_timer limit;
    struct question questions[2];
    unsigned families, pending;
    bool whole;        /* c-ares searches by itself, for all families at once */
    bool beginning;    /* an answer that comes now is one at once */
    bool found, empty; /* there are addresses; there is such a name */
    int failure;       /* why the search is over: ARES_*, or -errno */
    int next;          /* name of the search list */
    size_t size;       /* of this block */
    const char *servers;
    char name[];
};

static int family_of(unsigned families)
{
    return families == NAME_SIX ? AF_INET6 : families == NAME_FOUR ? AF_INET : AF_UNSPEC;
}

static unsigned bit_of(int family)
{
    return family == AF_INET6 ? NAME_SIX : NAME_FOUR;
}

/* ---- answers ---- */

static void give(struct lookup *l, const struct name_address *from)
{
    struct address a = {.length = 0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&a.sa;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a.sa;
    a.sa.ss_family = (sa_family_t)from->family;
    if (from->family == AF_INET6)
        v6->sin6_addr = from->bytes;
    else
        memcpy(&v4->sin_addr, &from->bytes, sizeof v4->sin_addr);
    a.length = from->family == AF_INET6 ? sizeof *v6 : sizeof *v4;
    l->found(l, &a);
}

/* Where RFC 6724's table of policies has an address: in one of the two rows above that of
** IPv4, or below. */
enum { ABOVE_LOOPBACK, ABOVE_GLOBAL, BELOW };

static int policy(const struct in6_addr *a)
{
    const uint8_t *b = a->s6_addr;
    if (IN6_IS_ADDR_LOOPBACK(a))
        return ABOVE_LOOPBACK;
    if (IN6_IS_ADDR_V4COMPAT(a) || IN6_IS_ADDR_V4MAPPED(a) || IN6_IS_ADDR_SITELOCAL(a))
        return BELOW;
    if ((b[0] & 0xfe) == 0xfc || (b[0] == 0x20 && b[1] == 0x02) ||
        (b[0] == 0x3f && b[1] == 0xfe) || memcmp(b, "\x20\x01\0\0", 4) == 0)
        return BELOW;
    return ABOVE_GLOBAL;
}

/* The address of ours from which a connection to that one would come; false: none would. */
static bool source_of(const struct in6_addr *a, struct in6_addr *source)
{
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(53), .sin6_addr = *a};
    socklen_t n = sizeof to;
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool ok = connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
              getsockname(fd, (struct sockaddr *)&to, &n) == 0;
    close(fd);
    *source = to.sin6_addr;
    return ok;
}

/* Whether RFC 6724 has the best of a name's IPv6 addresses before those of IPv4. */
static bool is_above_four(const struct in6_addr *a)
{
    struct in6_addr source;
    return policy(a) != BELOW && source_of(a, &source) && policy(&source) == policy(a);
}

/* Which family is to be tried first, once there are these addresses, too. */
static unsigned first_family(const struct search *s, const struct query *q)
{
    const struct name_address *a = &q->addresses[0];
    if (q->family == AF_UNSPEC) /* c-ares has put them in order */
        return bit_of(a->family);
    if (a->family == AF_INET6)
        return is_above_four(&a->bytes) ? NAME_SIX : NAME_FOUR;
    return s->found ? s->owner->first : NAME_FOUR;
}

static void take_answer(struct search *s, const struct query *q)
{
    struct lookup *l = s->owner;
    if (q->status == ARES_ENODATA)
        s->empty = true;
    else if (q->status != ARES_SUCCESS && q->status != ARES_ENOTFOUND)
        s->failure = q->status;
    for (size_t i = 0; i < q->count; i++)
        give(l, &q->addresses[i]);
    if (q->count == 0)
        return;
    l->first = first_family(s, q);
    s->found = true;
}

static void take_question(struct question *q)
{
    struct search *s = q->search;
    s->pending &= ~q->families;
    take_answer(s, q->asker.query);
    query_settle(&q->asker);
}

/* Tells the owner, who may end the search: called last. */
static void tell(struct search *s)
{
    struct lookup *l = s->owner;
    l->pending = s->pending;
    if (!s->pending)
        s->names->core->timer_serve_end(s->names->rt, &s->limit);
    if (!s->pending && !s->found)
        names_failure(s->failure ? s->failure
                      : s->empty ? ARES_ENODATA
                                 : ARES_ENOTFOUND,
                      &l->text, &l->code);
    l->answered(l);
}

/* Waits for no answer any more. */
static void leave(struct search *s)
{
    for (int i = 0; i < 2; i++)
        query_leave(&s->questions[i].asker);
    for (int i = 0; i < 2; i++)
        query_settle(&s->questions[i].asker);
    s->pending = 0;
}

/* ---- questions ---- */

/* Reads the system's configuration, unless it was read a short while ago. ARES_*, or -errno. */
static int read_system(struct names *n)
{
    double now = n->core->clock_now();
    struct ares_options fresh = {.lookups = NULL};
    ares_channel channel;
    int mask, error;
    if (n->system.lookups && now - n->system_read < RESOLVER_AGE)
        return ARES_SUCCESS;
    if ((error = names_descriptor_missing()))
        return -error;
    int status = ares_init(&channel);
    if (status != ARES_SUCCESS)
        return status;
    status = ares_save_options(channel, &fresh, &mask);
    ares_destroy(channel);
    if (status == ARES_SUCCESS && !fresh.lookups)
        status = ARES_ENOMEM;
    struct ares_options old = status == ARES_SUCCESS ? n->system : fresh;
    ares_destroy_options(&old);
    if (status == ARES_SUCCESS)
        n->system = fresh, n->system_read = now;
    return status;
}

/* Whether c-ares is to search by itself. */
static bool is_odd(const struct search *s)
{
    const char *lookups = s->names->system.lookups;
    return (strcmp(lookups, "fb") != 0 && strcmp(lookups, "b") != 0) ||
           (!strchr(s->name, '.') && getenv("HOSTALIASES"));
}

/* Name i of the search list, which ends with a dot, so that c-ares looks for no other. False:
** it is none. */
static bool put_candidate(const struct search *s, int i, char to[MAX_NAME + 2])
{
    const struct ares_options *system = &s->names->system;
    bool absolute = s->name[strlen(s->name) - 1] == '.';
    int dots = 0;
    for (const char *p = s->name; *p; p++)
        dots += *p == '.';
    bool first = absolute || s->whole || dots >= system->ndots;
    int domain = first ? i - 1 : i;
    int n = i == (first ? 0 : system->ndomains)
                ? snprintf(to, MAX_NAME + 2, "%s%s", s->name, absolute || s->whole ? "" : ".")
                : snprintf(to, MAX_NAME + 2, "%s.%s.", s->name, system->domains[domain]);
    return n < MAX_NAME + 2 && name_valid(to, (size_t)n);
}

static bool next_candidate(struct search *s, char to[MAX_NAME + 2])
{
    bool only = s->whole || s->name[strlen(s->name) - 1] == '.';
    int count = only ? 1 : s->names->system.ndomains + 1;
    while (s->next < count)
        if (put_candidate(s, s->next++, to))
            return true;
    return false;
}

static void ask(struct question *q, const char *name, unsigned families)
{
    struct search *s = q->search;
    int status = query_find(s->names, name, family_of(families), s->servers, &q->asker.query);
    q->families = families;
    if (status != ARES_SUCCESS) {
        s->failure = status;
        return;
    }
    s->pending |= families;
    if (q->asker.query->resolver)
        query_join(&q->asker);
    else
        take_question(q);
}

/* Asks for the addresses of the next name; false: there is none. */
static bool ask_next(struct search *s)
{
    char name[MAX_NAME + 2];
    if (!next_candidate(s, name))
        return false;
    s->beginning = true;
    if (s->whole)
        ask(&s->questions[0], name, s->families);
    for (unsigned i = 0; i < 2 && !s->whole; i++)
        if (s->families & (NAME_SIX << i))
            ask(&s->questions[i], name, NAME_SIX << i);
    s->beginning = false;
    return true;
}

static void ask_on(struct search *s)
{
    while (!s->pending && !s->found && !s->failure && ask_next(s))
        ;
}

static void on_answered(struct asker *a)
{
    struct question *q = container_of(a, struct question, asker);
    struct search *s = q->search;
    take_question(q);
    if (s->beginning)
        return;
    ask_on(s);
    tell(s);
}

/* ---- the hosts file ---- */

static void on_file_answer(void *arg, int status, int timeouts, struct ares_addrinfo *found)
{
    struct query *q = arg;
    (void)timeouts;
    q->status = status;
    if (status == ARES_SUCCESS)
        query_take(q, found);
    if (found)
        ares_freeaddrinfo(found);
}

static void look_in_file(struct search *s)
{
    static const char lookups[] = "f";
    struct ares_options o = {.lookups = (char *)lookups};
    struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_ENVHOSTS,
                                        .ai_family = family_of(s->families),
                                        .ai_socktype = SOCK_STREAM};
    ares_channel channel;
    struct query *q = query_new(s->names, s->name, hints.ai_family, s->servers);
    if (q && ares_init_options(&channel, &o, ARES_OPT_LOOKUPS) == ARES_SUCCESS) {
        ares_getaddrinfo(channel, s->name, NULL, &hints, on_file_answer, q);
        ares_destroy(channel);
        if (q->status == ARES_SUCCESS)
            take_answer(s, q);
    }
    if (q)
        query_drop(q);
}

/* Whether an answer about the first name of the search list is kept: the hosts file did not
** know it then. */
static bool is_known(struct search *s)
{
    char name[MAX_NAME + 2];
    return put_candidate(s, 0, name) && (query_known(s->names, name, AF_INET6, s->servers) ||
                                         query_known(s->names, name, AF_INET, s->servers));
}

/* ---- from the beginning to the end ---- */

/* Looks at what is kept, in the hosts file, and then asks. */
static void look(struct search *s)
{
    struct query *q = query_known(s->names, s->name, family_of(s->families), s->servers);
    if (q) {
        take_answer(s, q);
        return;
    }
    s->failure = read_system(s->names);
    if (s->failure)
        return;
    s->whole = is_odd(s);
    if (!s->whole && *s->names->system.lookups == 'f' && !is_known(s))
        look_in_file(s);
    ask_on(s);
}

static void give_up(struct search *s, int status)
{
    leave(s);
    s->failure = status;
}

static void on_limit(struct runtime *rt, struct serving_timer *t)
{
    struct search *s = container_of(t, struct search, limit);
    (void)rt;
    give_up(s, ARES_ETIMEOUT);
    tell(s);
}

static struct search *search_new(struct names *n, const char *name, const char *servers)
{
    size_t length = strlen(name) + 1,
           size = sizeof(struct search) + length + strlen(servers) + 1;
    struct search *s = names_allocate(n, size);
    if (!s)
        return NULL;
    s->names = n;
    s->size = size;
    s->limit.fn = on_limit;
    s->servers = strcpy(s->name + length, servers);
    strcpy(s->name, name);
    for (int i = 0; i < 2; i++) {
        s->questions[i].search = s;
        s->questions[i].asker.answered = on_answered;
        list_init(&s->questions[i].asker.link);
    }
    return s;
}

static void end(struct lookup *l)
{
    struct search *s = l->search;
    if (!s)
        return;
    l->search = NULL;
    l->pending = 0;
    leave(s);
    s->names->core->timer_serve_end(s->names->rt, &s->limit);
    names_release(s->names, s, s->size);
}

static bool begin(const struct part_names *part, struct lookup *l, const char *name, size_t n,
                  unsigned families, const char *servers, double seconds)
{
    struct names *names = container_of(part, struct names, provided);
    bool valid = name_valid(name, n);
    struct search *s = valid ? search_new(names, name, servers) : NULL;
    if (!s) {
        names_failure(valid ? ARES_ENOMEM : ARES_EBADNAME, &l->text, &l->code);
        return true;
    }
    l->search = s;
    s->owner = l;
    s->families = families;
    look(s);
    if (s->failure == ARES_EBADSTR) {
        end(l);
        return false;
    }
    if (s->pending && names->core->timer_serve(names->rt, &s->limit, seconds) < 0)
        give_up(s, ARES_ENOMEM);
    tell(s);
    return true;
}

const struct part_names name_search = {
    .table = PART_TABLE(struct part_names), .begin = begin, .end = end};
