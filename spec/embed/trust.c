/* trust PORT [allow]: a client of TLS in a host. The environment moves whom it trusts only if the
** host says so. Prints the version of TLS, or why there is none. */
#include "embed/kept.h"
#include "lauxlib.h"

static const char script[] =
    "local stream, err = require 'neap.net'.connect('localhost', port, { tls = true })\n"
    "print(stream and stream:tls().version or err)\n";

int main(int argc, char **argv)
{
    CHECK(argc > 1);
    neap *N = open_with((neap_config){0});
    lua_State *L = neap_lua(N);
    lua_pushinteger(L, atoi(argv[1]));
    lua_setglobal(L, "port");
    if (argc > 2) {
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "neap.tls.environment");
    }
    text(N, script);
    CHECK(neap_run(N) == NEAP_OK);
    fputs(out.text, stdout);
    fputs(failed.text, stderr);
    neap_free(N);
    return 0;
}
