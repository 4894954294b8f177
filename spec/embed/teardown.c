/* neap_free with tasklets alive, wherever they wait: their <close> variables run, the
** newest tasklet first, and the innermost variable first. */
#include "embed/check.h"

struct host {
    struct kept written, failed;
};

static void on_write(void *ud, const char *s, size_t n)
{
    keep(&((struct host *)ud)->written, s, n);
}

static void on_fail(void *ud, neap_task t, const char *message, const char *trace)
{
    (void)t, (void)trace;
    keep(&((struct host *)ud)->failed, message, strlen(message));
    keep(&((struct host *)ud)->failed, "\n", 1);
}

static const char script[] =
    "local net = require 'neap.net'\n"
    "function closing(what)\n"
    "    return setmetatable({}, { __close = function() io.write(what, ' ') end })\n"
    "end\n"
    "local listener = net.listen('127.0.0.1', 0)\n"
    "local stream = net.connect('127.0.0.1', listener.port)\n"
    "local waits = {\n"
    "    function() channel():receive() end,\n"
    "    function() channel():send(1) end,\n"
    "    function() block_on(deferred()) end,\n"
    "    function() neap.getmain() neap.schedule_remove() end,\n"
    "    function() local c <close> = closing 'inner' channel():receive() end,\n"
    "    function() coroutine.wrap(function()\n"
    "        local c <close> = closing 'coroutine' channel():receive() end)() end,\n"
    "    function() pcall(function() channel():receive() end) print 'never' end,\n"
    "}\n"
    "for i, wait in ipairs(waits) do\n"
    "    spawn(function() local c <close> = closing(i) wait() end)\n"
    "end\n"
    "spawn(function() local c <close> = closing 'sockets' listener:accept() listener:accept() "
    "end)\n"
    "spawn(function() local c <close> = closing 'read' stream:read() end)\n"
    "spawn(function() local c <close> = closing 'sleep' sleep(1000) end)\n"
    "spawn(function()\n"
    "    local c <close> = setmetatable({}, { __close = function() error('in close', 0) end "
    "})\n"
    "    channel():receive()\n"
    "end)\n"
    "spawn(function()\n"
    "    local c <close> = setmetatable({}, { __close = function() sleep(1) end })\n"
    "    channel():receive()\n"
    "end)\n"
    "spawn(function() stop() channel():receive() end)\n"
    "setmetatable({}, { __gc = function() stream:write('x') stream:close() end })\n"
    "local c <close> = closing 'first'\n"
    "sleep(1000)\n";

static int stop(lua_State *L)
{
    neap_interrupt(neap_of(L));
    return 0;
}

int main(void)
{
    struct host h = {0};
    neap_config c = {.size = sizeof c, .ud = &h, .write = on_write, .fail = on_fail};
    neap *N = neap_new(&c, NULL);
    CHECK(N);
    lua_register(neap_lua(N), "stop", stop);
    CHECK(neap_text(N, script, strlen(script), "=teardown").id != 0);
    CHECK(neap_run(N) == 1);
    CHECK(h.written.length == 0);
    CHECK(neap_text(N, "print 'never begun'", 19, "=x").id != 0);
    neap_free(N);
    CHECK(strcmp(h.written.text, "sleep read sockets 7 coroutine 6 inner 5 4 3 2 1 first ") ==
          0);
    CHECK(strstr(h.failed.text, "in close\n"));
    CHECK(strstr(h.failed.text, "Cannot block in reactor task\n"));
    return 0;
}
