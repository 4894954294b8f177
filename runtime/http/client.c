/* The optional part neap.curl: what lua/neap/http/client.lua makes the HTTP client of.
** A pool has connections, and with cookies of its own is a session's; a transfer is one request
** to one URL. Redirects, names and timeouts are the caller's business. */
#include "http/transfer.h"

#include <math.h>
#include <string.h>

#define POOL_CLASS     "neap.curl.pool"
#define TRANSFER_CLASS "neap.curl.transfer"

/* User values of a transfer. */
enum { TRANSFER_POOL = 1, TRANSFER_OUT, TRANSFER_VALUES = TRANSFER_OUT };

static const struct wait_class transfer_class = {.what = "HTTP transfer", .outside = true};

/* ---- URLs ---- */

/* Sets field `name` of the table on the top to a part of the URL, if it has that. */
static void set_part(lua_State *L, CURLU *u, const char *name, CURLUPart part, unsigned flags)
{
    char *text;
    if (curl_url_get(u, part, &text, flags) != CURLUE_OK)
        return;
    lua_pushstring(L, text);
    curl_free(text);
    lua_setfield(L, -2, name);
}

static int url_end(lua_State *L)
{
    CURLU **u = lua_touserdata(L, 1);
    curl_url_cleanup(*u);
    *u = NULL;
    return 0;
}

/* Sets it, of any scheme; a space and what is not ASCII is encoded. */
static CURLUcode set_url(CURLU *u, const char *text)
{
    return curl_url_set(u, CURLUPART_URL, text,
                        CURLU_URLENCODE | CURLU_ALLOW_SPACE | CURLU_NON_SUPPORT_SCHEME);
}

/* Whether a host, as libcurl writes it, is an address. */
static bool is_address(const char *host)
{
    struct in_addr a;
    return host[0] == '[' || inet_pton(AF_INET, host, &a) == 1;
}

/* url(text[, base]): { url, scheme, host, port, user, password, in_figures } of a URL, which may
** be relative to another, or nil, why. In `url` there is no user, password or fragment;
** in_figures: the host is an address. */
static int url(lua_State *L)
{
    const char *text = luaL_checkstring(L, 1), *base = luaL_optstring(L, 2, NULL);
    lua_settop(L, 2);
    CURLU **hold = lua_newuserdatauv(L, sizeof *hold, 0);
    *hold = NULL;
    luaL_setmetatable(L, "neap.curl.url");
    CURLU *u = *hold = curl_url();
    if (!u)
        return luaL_error(L, "not enough memory");
    CURLUcode bad = base ? set_url(u, base) : CURLUE_OK;
    if (!bad)
        bad = set_url(u, text);
    if (bad) {
        lua_pushnil(L);
        lua_pushstring(L, curl_url_strerror(bad));
        return 2;
    }
    lua_createtable(L, 0, 8);
    set_part(L, u, "scheme", CURLUPART_SCHEME, 0);
    set_part(L, u, "host", CURLUPART_HOST, 0);
    set_part(L, u, "port", CURLUPART_PORT, CURLU_DEFAULT_PORT);
    set_part(L, u, "user", CURLUPART_USER, CURLU_URLDECODE);
    set_part(L, u, "password", CURLUPART_PASSWORD, CURLU_URLDECODE);
    curl_url_set(u, CURLUPART_USER, NULL, 0);
    curl_url_set(u, CURLUPART_PASSWORD, NULL, 0);
    curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
    set_part(L, u, "url", CURLUPART_URL, 0);
    lua_getfield(L, -1, "host");
    lua_pushboolean(L, !lua_isnil(L, -1) && is_address(lua_tostring(L, -1)));
    lua_setfield(L, -3, "in_figures");
    lua_pop(L, 1);
    return 1;
}

/* ---- pools ---- */

/* What a script holds. */
struct pool_handle {
    struct pool pool;
    bool closed;
};

static struct pool_handle *check_pool(lua_State *L)
{
    return luaL_checkudata(L, 1, POOL_CLASS);
}

static int close_pool(lua_State *L)
{
    struct pool_handle *h = check_pool(L);
    h->closed = true;
    pool_close(&h->pool);
    return 0;
}

/* pool(cookies): a new one, which keeps cookies or does not */
static int new_pool(lua_State *L)
{
    const struct part_core *core = lua_touserdata(L, lua_upvalueindex(1));
    struct pool_handle *h = lua_newuserdatauv(L, sizeof *h, 0);
    h->closed = false;
    pool_init(&h->pool, core, runtime_of(L));
    luaL_setmetatable(L, POOL_CLASS);
    if (lua_toboolean(L, 1) && pool_keep_cookies(&h->pool) < 0)
        return luaL_error(L, "not enough memory");
    return 1;
}

/* ---- the options of a transfer ---- */

/* What pool:start is given. */
enum { REQUEST = 2, TARGET, HEADERS, ADDRESSES, PATIENCE };

static void set_option(lua_State *L, CURLcode result, const char *name)
{
    if (result != CURLE_OK)
        luaL_error(L, "%s: %s", name, curl_easy_strerror(result));
}

/* Sets it to field `name` of the table at index i, if that is a text; whether it is. */
static bool set_text(lua_State *L, CURL *e, int i, const char *name, CURLoption option)
{
    lua_getfield(L, i, name);
    const char *text = lua_tostring(L, -1);
    if (text)
        set_option(L, curl_easy_setopt(e, option, text), name);
    lua_pop(L, 1);
    return text;
}

/* Makes a list of the strings of the list at index i, if there is one. */
static void set_list(lua_State *L, CURL *e, int i, CURLoption option, struct curl_slist **list)
{
    if (!lua_istable(L, i))
        return;
    for (lua_Integer n = 1; lua_rawgeti(L, i, n) != LUA_TNIL; n++) {
        struct curl_slist *longer = curl_slist_append(*list, luaL_checkstring(L, -1));
        if (!longer)
            luaL_error(L, "not enough memory");
        *list = longer;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    set_option(L, curl_easy_setopt(e, option, *list), "list");
}

static bool flag(lua_State *L, int i, const char *name)
{
    lua_getfield(L, i, name);
    bool on = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return on;
}

/* Whether field `name` of the request is false, and not only absent. */
static bool denied(lua_State *L, const char *name)
{
    bool no = lua_getfield(L, REQUEST, name) == LUA_TBOOLEAN && !lua_toboolean(L, -1);
    lua_pop(L, 1);
    return no;
}

/* A number of the request. */
static lua_Number number(lua_State *L, const char *name, lua_Number otherwise)
{
    lua_Number n =
        lua_getfield(L, REQUEST, name) == LUA_TNIL ? otherwise : luaL_checknumber(L, -1);
    lua_pop(L, 1);
    return n;
}

/* A count of bytes; infinite: no limit. */
static uint64_t count(lua_State *L, const char *name)
{
    lua_Number n = number(L, name, HUGE_VAL);
    return n < 1e18 ? (uint64_t)n : UINT64_MAX;
}

/* The body: a string `out`, or `pieces` of `size` bytes in all, -1: any. The transfer, its user
** value, is on the top. */
static void set_body(lua_State *L, struct transfer *t)
{
    t->pieces = flag(L, REQUEST, "pieces");
    curl_off_t size = t->pieces ? (curl_off_t)number(L, "size", -1) : 0;
    if (lua_getfield(L, REQUEST, "out") != LUA_TNIL) {
        t->out = luaL_checklstring(L, -1, &t->out_length);
        size = (curl_off_t)t->out_length;
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, -3, TRANSFER_OUT);
    }
    lua_pop(L, 1);
    if (!t->out && !t->pieces)
        return;
    curl_easy_setopt(t->easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(t->easy, CURLOPT_INFILESIZE_LARGE, size);
}

/* The method, which libcurl knows itself where it is GET or HEAD as they should be. */
static void set_method(lua_State *L, struct transfer *t)
{
    lua_getfield(L, REQUEST, "method");
    const char *method = luaL_checkstring(L, -1);
    t->nobody = strcmp(method, "HEAD") == 0;
    if (t->nobody)
        curl_easy_setopt(t->easy, CURLOPT_NOBODY, 1L);
    else if (t->out || t->pieces || strcmp(method, "GET") != 0)
        set_option(L, curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, method), "method");
    lua_pop(L, 1);
}

static void set_identity(lua_State *L, struct transfer *t)
{
    CURL *e = t->easy;
    t->secret = set_text(L, e, TARGET, "user", CURLOPT_USERNAME);
    if (t->secret && !set_text(L, e, TARGET, "password", CURLOPT_PASSWORD))
        curl_easy_setopt(e, CURLOPT_PASSWORD, "");
    set_text(L, e, REQUEST, "cookies", CURLOPT_COOKIE);
    t->secret |= set_text(L, e, REQUEST, "cert", CURLOPT_SSLCERT);
    t->secret |= set_text(L, e, REQUEST, "key", CURLOPT_SSLKEY);
}

/* Where it connects to, if not to the host of the URL. */
static void set_route(lua_State *L, struct transfer *t)
{
    CURL *e = t->easy;
    if (set_text(L, e, REQUEST, "unix", CURLOPT_UNIX_SOCKET_PATH))
        curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L); /* pool_use knows it by no name */
    else if (set_text(L, e, REQUEST, "proxy", CURLOPT_PROXY)) {
        t->secret = t->proxied = true;
        return;
    }
    curl_easy_setopt(e, CURLOPT_PROXY, ""); /* not the environment's */
}

static void set_trust(lua_State *L, CURL *e)
{
    bool verify = !denied(L, "verify");
    set_text(L, e, REQUEST, "ca", CURLOPT_CAINFO);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, (long)verify);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
}

static void set_options(lua_State *L, struct transfer *t)
{
    CURL *e = t->easy;
    set_text(L, e, TARGET, "url", CURLOPT_URL);
    set_list(L, e, HEADERS, CURLOPT_HTTPHEADER, &t->headers);
    set_list(L, e, ADDRESSES, CURLOPT_RESOLVE, &t->addresses);
    set_body(L, t);
    set_method(L, t);
    set_identity(L, t);
    set_route(L, t);
    if (flag(L, TARGET, "secure")) {
        set_trust(L, e);
        curl_easy_setopt(e, CURLOPT_PIPEWAIT, 1L); /* for a connection of HTTP/2 being made */
    }
    if (!denied(L, "decompress"))
        curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "");
    lua_Number patience = fmin(fmax(luaL_checknumber(L, PATIENCE) * 1000, 1), 1e9);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)patience);
    t->in_figures = flag(L, REQUEST, "in_figures");
    t->idempotent = flag(L, REQUEST, "idempotent");
    t->streams = flag(L, REQUEST, "stream");
    t->max_body = flag(L, REQUEST, "limited") ? count(L, "max_body") : UINT64_MAX;
    t->max_head = count(L, "max_head");
}

/* pool:start(request, target, headers, addresses, patience): a transfer that has begun.
** request, target: of client.lua; headers, addresses: lists, or nil; patience: seconds until
** it is connected */
static int start(lua_State *L)
{
    struct pool_handle *h = check_pool(L);
    luaL_checktype(L, REQUEST, LUA_TTABLE);
    luaL_checktype(L, TARGET, LUA_TTABLE);
    luaL_argcheck(L, !h->closed, 1, "the session is closed");
    lua_settop(L, PATIENCE);
    struct transfer *t = lua_newuserdatauv(L, sizeof *t, TRANSFER_VALUES);
    memset(t, 0, sizeof *t);
    list_init(&t->all);
    list_init(&t->use);
    wait_queue_init(&t->waiters, &transfer_class);
    t->pool = &h->pool;
    luaL_setmetatable(L, TRANSFER_CLASS);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, TRANSFER_POOL);
    if (transfer_init(t) < 0)
        return luaL_error(L, "not enough memory");
    set_options(L, t);
    if (h->closed || pool_begin(t) < 0) /* a finalizer may close it */
        return luaL_error(L, "not enough memory");
    pool_hurry(&h->pool);
    return 1;
}

/* ---- transfers ---- */

static struct transfer *check(lua_State *L)
{
    return luaL_checkudata(L, 1, TRANSFER_CLASS);
}

/* What t:wait is given; then, when it began to wait. */
enum { WANT = 2, SILENCE, DEADLINE, BEGAN };

/* Seconds that t:wait may still wait. */
static lua_Number time_left(lua_State *L, const struct transfer *t)
{
    lua_Number now = pool_now(t->pool), began = lua_tonumber(L, BEGAN);
    lua_Number silence_ends = fmax(began, t->moved) + lua_tonumber(L, SILENCE);
    return fmin(silence_ends, lua_tonumber(L, DEADLINE)) - now;
}

static int waited(lua_State *L, int status, lua_KContext want);

/* Tells the waiter, or has it wait on. */
static int tell(lua_State *L, struct transfer *t, int want)
{
    if (t->hungry) {
        lua_pushliteral(L, "hungry");
    } else if (transfer_ready(t, want)) {
        lua_pushliteral(L, "ready");
    } else {
        lua_Number left = time_left(L, t);
        if (left > 0) {
            t->pool->core->wait_check(L);
            t->wants |= want;
            return t->pool->core->wait_on(L, &t->waiters, left, want, waited);
        }
        lua_pushliteral(L, "timeout");
    }
    return 1;
}

static int waited(lua_State *L, int status, lua_KContext want)
{
    struct transfer *t = lua_touserdata(L, 1);
    (void)status;
    t->pool->core->wait_result(L);
    return tell(L, t, (int)want);
}

/* t:wait("head"|"data"|"end"|"sent", silence, deadline): "ready" when it has that, or is over;
** sent: it has a connection; "hungry" when the next piece of its body is to be fed; "timeout" when
** no byte has come or gone for so many seconds of the wait, or at that time of
** neap.realtime.now() */
static int wait(lua_State *L)
{
    static const char *const names[] = {"head", "data", "end", "sent", NULL};
    struct transfer *t = check(L);
    int want = 1 << luaL_checkoption(L, WANT, NULL, names);
    luaL_checknumber(L, SILENCE);
    luaL_checknumber(L, DEADLINE);
    lua_settop(L, DEADLINE);
    lua_pushnumber(L, pool_now(t->pool));
    return tell(L, t, want);
}

/* t:head(): the status, the lines of the fields, and whether it came over HTTP/2, once they are
** there */
static int head(lua_State *L)
{
    struct transfer *t = check(L);
    if (!t->has_head)
        return 0;
    lua_pushinteger(L, t->status);
    lua_pushlstring(L, t->head.p ? t->head.p : "", t->head.n);
    lua_pushboolean(L, t->shared);
    return 3;
}

/* t:read(max): what has come of the body, at most so many bytes; nil: nothing */
static int read_(lua_State *L)
{
    struct transfer *t = check(L);
    size_t n = t->body.n - t->taken;
    lua_Number max = luaL_optnumber(L, 2, HUGE_VAL);
    if (n == 0)
        return 0;
    if (max < (lua_Number)n)
        n = (size_t)max;
    lua_pushlstring(L, t->body.p + t->taken, n); /* its finalizers may read too */
    n = n < t->body.n - t->taken ? n : t->body.n - t->taken;
    transfer_took(t, n);
    return 1;
}

/* t:feed(piece): the next of the body; nil: there is no more */
static int feed(lua_State *L)
{
    struct transfer *t = check(L);
    size_t n = 0;
    const char *piece = luaL_optlstring(L, 2, NULL, &n);
    lua_settop(L, 2);
    lua_setiuservalue(L, 1, TRANSFER_OUT);
    transfer_feed(t, piece, n);
    return 0;
}

/* t:skip(n): nobody wants the rest of its body, of which at most n bytes may come */
static int skip(lua_State *L)
{
    struct transfer *t = check(L);
    t->skips = true;
    t->max_body = t->received + (uint64_t)luaL_checkinteger(L, 2);
    transfer_took(t, t->body.n - t->taken);
    return 0;
}

/* t:result(): true if it has ended well, false if it has not ended; nil, err, code */
static int result(lua_State *L)
{
    struct transfer *t = check(L);
    if (!t->over || t->ok) {
        lua_pushboolean(L, t->ok);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, t->why);
    lua_pushstring(L, t->code);
    return 3;
}

/* t:abort() */
static int abort_(lua_State *L)
{
    struct transfer *t = check(L);
    struct pool *p = t->pool;
    transfer_cancel(t);
    transfer_free(t);
    pool_settle(p);
    return 0;
}

/* ---- the part ---- */

static void make_class(lua_State *L, const char *name, const luaL_Reg *functions)
{
    luaL_newmetatable(L, name);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    luaL_setfuncs(L, functions, 0);
    lua_pop(L, 1);
}

__attribute__((visibility("default"))) int luaopen_neap_curl(lua_State *L);

/* Gives the functions `url` and `pool`. */
int luaopen_neap_curl(lua_State *L)
{
    static const luaL_Reg functions[] = {{"url", url}, {"pool", new_pool}, {NULL, NULL}};
    static const luaL_Reg urls[] = {{"__gc", url_end}, {NULL, NULL}};
    static const luaL_Reg pools[] = {
        {"start", start}, {"close", close_pool}, {"__gc", close_pool}, {NULL, NULL}};
    static const luaL_Reg transfers[] = {
        {"wait", wait},      {"head", head},     {"read", read_},   {"feed", feed},
        {"skip", skip},      {"result", result}, {"abort", abort_}, {"__gc", abort_},
        {"__close", abort_}, {NULL, NULL}};
    const struct part_core *core =
        part_find(L, PART_CORE, (struct part_table)PART_TABLE(struct part_core));
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return luaL_error(L, "libcurl cannot be used");
    make_class(L, "neap.curl.url", urls);
    make_class(L, POOL_CLASS, pools);
    make_class(L, TRANSFER_CLASS, transfers);
    luaL_newlibtable(L, functions);
    lua_pushlightuserdata(L, (void *)core);
    luaL_setfuncs(L, functions, 1);
    return 1;
}
