/* All of neap.h while memory runs out. Each call then works, or says NEAP_EMEM (an id: 0);
** nobody is told twice, and every byte comes back. */
#include "embed/scarce.h"
#include "lauxlib.h"

struct account {
    struct scarce scarce;
    int watched, told; /* neap_then's */
    neap_deferred asked;
    int loads; /* of the module `mod` */
};

/* Fine, or out of memory and that was so. */
static int fine(struct account *a, int result)
{
    return result >= 0 || (a->scarce.refused && result == NEAP_EMEM);
}

static int any(struct account *a, int result) /* or what it is about has not come to be */
{
    return fine(a, result) ||
           (a->scarce.refused &&
            (result == NEAP_ESTALE || result == NEAP_ERUN || result == NEAP_EARG));
}

static int load(void *ud, lua_State *L, const char *name)
{
    if (strcmp(name, "mod") != 0)
        return 0;
    struct account *a = ud;
    static const char *const versions[] = {"return {1, 1, f = 1, g = 1, h = 1}",
                                           "return {2, 2, 2, 2, 2, 2, 2, 2, 2, f = 2, "
                                           "a = 2, b = 2, c = 2, d = 2, e = 2}"};
    switch (luaL_loadstring(L, versions[a->loads++ > 0])) {
    case LUA_OK:
        return 1;
    default:
        return -1;
    }
}

static void on_end(neap *N, neap_task t, int ok, void *ud)
{
    struct account *a = ud;
    (void)t, (void)ok;
    CHECK(neap_lua(N) && lua_gettop(neap_lua(N)) >= 1);
    a->told++;
}

static void on_post(neap *N, void *ud)
{
    struct account *a = ud;
    CHECK(fine(a, neap_gc(N, 0)));
}

static int ask(lua_State *L)
{
    neap *N = neap_of(L);
    struct account *a = lua_touserdata(L, lua_upvalueindex(1));
    a->asked = neap_defer(N);
    if (!a->asked.id)
        return luaL_error(L, "not enough memory");
    return neap_await(L, a->asked);
}

static int check(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)neap_check_ref(L, 1, "enemy"));
    return 1;
}

static int bind(lua_State *L)
{
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, ask, 1);
    lua_setglobal(L, "ask");
    lua_register(L, "check", check);
    neap_push_ref(L, "enemy", 17);
    lua_setglobal(L, "enemy");
    return 0;
}

static neap_task text(neap *N, struct account *a, const char *s)
{
    neap_task t = neap_text(N, s, strlen(s), "=t");
    CHECK(t.id || (a->scarce.refused && neap_error(N, NULL) == NEAP_EMEM));
    if (t.id && neap_then(N, t, on_end, a) == NEAP_OK)
        a->watched++;
    return t;
}

/* The module is of one version as a whole; there is memory to look. */
static int whole(lua_State *L, struct account *a)
{
    long fail_at = a->scarce.fail_at, sum = 0, count = 0;
    a->scarce.fail_at = 0;
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, -1, "mod") == LUA_TTABLE)
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1), count++)
            sum += lua_tointeger(L, -1);
    lua_settop(L, 0);
    a->scarce.fail_at = fail_at;
    return (count == 0 && sum == 0) || (count == 5 && sum == 5) || (count == 15 && sum == 30);
}

static void use(neap *N, struct account *a)
{
    lua_State *L = neap_lua(N);
    lua_pushcfunction(L, bind);
    lua_pushlightuserdata(L, a);
    CHECK(fine(a, neap_call(N, 1, 0)));
    lua_settop(L, 0);
    neap_chan ch = neap_channel(N, "in", 1);
    neap_value v[] = {{.type = NEAP_BYTES, .s = "text", .len = 4},
                      {.type = NEAP_REF, .s = "enemy", .u.ref = 18}};
    neap_task asks = text(N, a, "assert(ask() == 'text') assert(pcall(ask))");
    neap_task hears = text(N, a, "for i = 1, 3 do channel('in'):receive() end require 'mod'");
    neap_task sleeps = text(N, a,
                            "local c <close> = setmetatable({}, {__close = function() end}) "
                            "spawn(sleep, 9) sleep(9)");
    lua_settop(L, 0);
    CHECK(any(a, neap_group(N, sleeps, 7)));
    CHECK(fine(a, neap_step(N, 0, -1)));
    for (int i = 0; i < 3 && ch.id; i++)
        CHECK(fine(a, neap_send(N, ch, v, 2)));
    CHECK(fine(a, neap_post(N, on_post, a)));
    if (a->asked.id)
        CHECK(any(a, neap_settle_from(N, a->asked, 1, v, 1)));
    CHECK(fine(a, neap_step_n(N, 0.1, 2)));
    CHECK(fine(a, neap_step(N, 0.1, 0)));
    CHECK(fine(a, neap_step(N, 0.1, -1)));
    CHECK(any(a, neap_reload(N, "mod")));
    CHECK(whole(L, a));
    if (a->asked.id) {
        CHECK(lua_checkstack(L, 2) || a->scarce.refused);
        lua_settop(L, 0);
        CHECK(any(a, neap_settle(N, a->asked, 1, 0)));
    }
    CHECK(fine(a, neap_pause_group(N, 7, 1)));
    CHECK(fine(a, neap_step(N, 1, -1)));
    CHECK(fine(a, neap_pause_group(N, 7, 0)));
    char buf[40];
    CHECK(neap_trace(N, sleeps, buf, sizeof buf) > 0 || a->scarce.refused);
    CHECK(any(a, neap_revoke(N, "enemy", 17)));
    CHECK(any(a, neap_kill(N, sleeps, "enough")));
    CHECK(fine(a, neap_kill_group(N, 7)));
    CHECK(fine(a, neap_gc(N, 1000)) && fine(a, neap_gc(N, -1)));
    CHECK(fine(a, neap_step(N, 0, -1)));
    CHECK(any(a, neap_status(N, asks)) && any(a, neap_status(N, hears)));
    if (!a->scarce.refused)
        CHECK(neap_status(N, asks) == NEAP_DONE && neap_status(N, sleeps) == NEAP_FAILED);
}

static void live(const neap_config *config, struct scarce *s)
{
    struct account *a = (struct account *)s;
    const char *why = NULL;
    neap_config c = *config;
    c.load = load;
    neap *N = neap_new(&c, &why);
    CHECK(N || (s->refused && why && *why));
    if (!N)
        return;
    use(N, a);
    neap_free(N);
    if (a->told != a->watched) {
        fprintf(stderr, "%ld: %d watched, %d told\n", s->fail_at, a->watched, a->told);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    return scarce_main(argc, argv, live, sizeof(struct account));
}
