/* A host whose script needs an optional part. Linked with libneap.so it leaves finding that to
** the library; one that is linked statically has it linked in (PART_INSIDE), and says so. */
#include "embed/check.h"
#include "lauxlib.h"

static void on_write(void *ud, const char *s, size_t n)
{
    (void)ud;
    fwrite(s, 1, n, stdout);
}

static void on_fail(void *ud, neap_task t, const char *message, const char *trace)
{
    (void)ud, (void)t, (void)trace;
    printf("failed: %s\n", message);
}

static const char script[] =
    "local part = require 'neap.names'\n"
    "local sleeper = spawn(function() print('roused', part.doze()) end)\n"
    "sleep(0)\n"
    "assert(not part.empty())\n"
    "part.rouse()\n"
    "sleeper:join()\n"
    "print('roused', part.doze(0.001))\n"
    "local killed = spawn(part.doze)\n"
    "sleep(0)\n"
    "killed:kill()\n"
    "sleep(0)\n"
    "assert(part.empty())\n"
    "print(pcall(table.sort, {1, 2}, part.doze))\n";

#ifdef PART_INSIDE
int luaopen_neap_names(lua_State *L);
#endif

static neap *open_one(void)
{
    neap_config c = {.size = sizeof c, .write = on_write, .fail = on_fail};
    const char *why = NULL;
    neap *N = neap_new(&c, &why);
    CHECK(N);
#ifdef PART_INSIDE
    lua_State *L = neap_lua(N);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_neap_names);
    lua_setfield(L, -2, "neap.names");
    lua_pop(L, 1);
#endif
    return N;
}

/* Each runtime opens the part for itself. */
int main(int argc, char **argv)
{
    const char *text = argc > 1 ? argv[1] : script;
    neap *one = open_one(), *other = open_one();
    CHECK(neap_text(one, text, strlen(text), "=t").id);
    CHECK(neap_text(other, text, strlen(text), "=t").id);
    CHECK(neap_run(one) == NEAP_OK && neap_run(other) == NEAP_OK);
    neap_free(one);
    neap_free(other);
    return 0;
}
