/* An optional part as small as one can be: tasklets that doze until somebody rouses them. It is
** built as the part `names`, in whose place the library finds it. */
#include "core/part.h"

#include <math.h>

struct bed {
    const struct part_core *core;
    struct wait_queue queue;
};

static const struct wait_class dozing = {.what = "a nap", .outside = true};

static struct bed *bed_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

static int roused(lua_State *L, int status, lua_KContext core)
{
    (void)status;
    lua_pushboolean(L, ((const struct part_core *)core)->wait_result(L) == WAKE_SERVED);
    return 1;
}

/* doze([seconds]): whether it was roused before they were over */
static int doze(lua_State *L)
{
    struct bed *b = bed_of(L);
    double seconds = luaL_optnumber(L, 1, HUGE_VAL);
    b->core->wait_check(L);
    return b->core->wait_on(L, &b->queue, seconds, (lua_KContext)b->core, roused);
}

/* rouse(): all who doze */
static int rouse(lua_State *L)
{
    struct bed *b = bed_of(L);
    b->core->wait_wake_all(runtime_of(L), &b->queue, WAKE_SERVED);
    return 0;
}

/* empty(): whether nobody dozes */
static int empty(lua_State *L)
{
    lua_pushboolean(L, list_empty(&bed_of(L)->queue.waiters));
    return 1;
}

__attribute__((visibility("default"))) int luaopen_neap_names(lua_State *L);

int luaopen_neap_names(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"doze", doze}, {"rouse", rouse}, {"empty", empty}, {NULL, NULL}};
    struct part_table own = PART_TABLE(struct part_core);
#ifdef OF_ANOTHER_VERSION
    own.version++;
#endif
    const struct part_core *core = part_find(L, PART_CORE, own);
    luaL_newlibtable(L, functions);
    struct bed *b = lua_newuserdatauv(L, sizeof *b, 0);
    b->core = core;
    wait_queue_init(&b->queue, &dozing);
    luaL_setfuncs(L, functions, 1);
    return 1;
}
