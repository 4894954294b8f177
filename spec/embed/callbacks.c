/* C that calls back: a wait cannot pass through it. The script gets an error that names the C
** function; nothing is left armed, and the tasklet goes on. */
#include "embed/check.h"
#include "lauxlib.h"

static const char script[] =
    "local host = require 'host'\n"
    "local ch = channel()\n"
    "local function refused(how, name, wait)\n"
    "    local ok, err\n"
    "    how(function() ok, err = pcall(wait) end)\n"
    "    local text = 'cannot wait inside ' .. name .. ' (a C function)'\n"
    "    assert(not ok and err:sub(-#text) == text, err)\n"
    "    assert(ch.balance == 0)\n"
    "    schedule()\n"
    "end\n"
    "local function driven(f) host.drive(coroutine.create(f)) end\n"
    "local function nested(f) driven(function() coroutine.wrap(f)() end) end\n"
    "for _, wait in ipairs {\n"
    "    schedule, function() sleep(0) end, function() ch:receive() end,\n"
    "    function() ch:send(1) end, function() deferred():wait() end,\n"
    "} do\n"
    "    refused(host.call, 'host.call', wait)\n"
    "    refused(driven, 'host.drive', wait)\n"
    "    refused(nested, 'host.drive', wait)\n"
    "    coroutine.wrap(function() refused(host.call, 'host.call', wait) end)()\n"
    "    refused(function(f) host.call(coroutine.wrap(f)) end, 'host.call', wait)\n"
    "end\n"
    "-- what does not wait is as ever\n"
    "local co = coroutine.create(function()\n"
    "    for i = 1, 3 do coroutine.yield(i) end\n"
    "end)\n"
    "assert(host.drive(co) == 4 and coroutine.status(co) == 'dead')\n"
    "spawn(function() ch:send('sent') end)\n"
    "assert(ch:receive() == 'sent')\n"
    "print 'done'\n";

/* call(f) */
static int call(lua_State *L)
{
    lua_settop(L, 1);
    lua_call(L, 0, 0);
    return 0;
}

/* drive(co): resumes it until it ends; how often */
static int drive(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    int n, times = 0, status;
    do {
        status = lua_resume(co, L, 0, &n);
        times++;
        if (status == LUA_YIELD)
            lua_pop(co, n);
    } while (status == LUA_YIELD);
    if (status != LUA_OK) {
        lua_xmove(co, L, 1);
        return lua_error(L);
    }
    lua_pushinteger(L, times);
    return 1;
}

static int open_host(lua_State *L)
{
    static const luaL_Reg functions[] = {{"call", call}, {"drive", drive}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}

static void on_write(void *ud, const char *s, size_t n)
{
    (void)ud;
    fwrite(s, 1, n, stdout);
}

static void on_fail(void *ud, neap_task t, const char *message, const char *trace)
{
    (void)ud, (void)t;
    fprintf(stderr, "%s\n%s\n", message, trace);
}

int main(void)
{
    neap_config c = {.size = sizeof c, .write = on_write, .fail = on_fail};
    neap *N = neap_new(&c, NULL);
    CHECK(N);
    luaL_requiref(neap_lua(N), "host", open_host, 0);
    lua_pop(neap_lua(N), 1);
    CHECK(neap_text(N, script, sizeof script - 1, "=script").id != 0);
    CHECK(neap_run(N) == NEAP_OK);
    neap_free(N);
    return 0;
}
