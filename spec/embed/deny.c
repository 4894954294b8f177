/* What a host denies is not there, however a script asks for it; and what it does not deny
** is. Each bit alone, then all. */
#include "embed/kept.h"
#include "lauxlib.h"

#include <unistd.h>

/* Whether the chunk runs to its end. */
static int runs(neap *N, const char *s)
{
    forget();
    neap_task t = text(N, s);
    CHECK(neap_run(N) == NEAP_OK);
    return neap_status(N, t) == NEAP_DONE;
}

static neap *open_one(unsigned deny)
{
    return open_with((neap_config){.deny = deny});
}

/* ---- names ---- */

static const struct name {
    unsigned bit;
    const char *expression;
} names[] = {
    {NEAP_FS, "io.open"},
    {NEAP_FS, "io.lines"},
    {NEAP_FS, "io.input"},
    {NEAP_FS, "io.output"},
    {NEAP_FS, "io.tmpfile"},
    {NEAP_FS, "os.remove"},
    {NEAP_FS, "os.rename"},
    {NEAP_FS, "os.tmpname"},
    {NEAP_FS, "dofile"},
    {NEAP_FS, "loadfile"},
    {NEAP_FS, "package.searchpath"},
    {NEAP_FS, "package.searchers[2]"},
    {NEAP_FS | NEAP_CMOD, "package.searchers[3]"},
    {NEAP_FS | NEAP_CMOD, "package.searchers[4]"},
    {NEAP_NET, "package.preload['neap.net']"},
    {NEAP_NET, "package.preload['neap.names']"},
    {NEAP_NET, "package.preload['neap.tls']"},
    {NEAP_NET, "package.preload['neap.curl']"},
    {NEAP_NET, "package.preload['neap.http']"},
    {NEAP_NET, "package.preload['neap.http.server']"},
    {NEAP_NET, "package.preload['neap.http.client']"},
    {NEAP_PROC, "os.execute"},
    {NEAP_PROC, "os.exit"},
    {NEAP_PROC, "io.popen"},
    {NEAP_PROC, "package.preload['neap.signal']"},
    {NEAP_CMOD, "package.loadlib"},
    {NEAP_ENV, "os.getenv"},
    {NEAP_ENV, "os.setlocale"},
    {NEAP_BYTECODE, "string.dump"},
    {NEAP_BYTECODE, "('').dump"},
    {NEAP_DEBUG, "debug"},
    {NEAP_DEBUG, "package.loaded.debug"},
    {~0u, "package.preload['neap.host']"},
    {0, "io.write"},
    {0, "os.time"},
    {0, "os.clock"},
    {0, "load"},
    {0, "require"},
    {0, "neap.sleep"},
    {0, "string.rep"},
};

static void check_names(unsigned deny)
{
    neap *N = open_one(deny);
    char chunk[200];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int denied = (names[i].bit & deny) != 0;
        snprintf(chunk, sizeof chunk, "assert((%s == nil) == %s)", names[i].expression,
                 denied ? "true" : "false");
        if (!runs(N, chunk)) {
            fprintf(stderr, "deny %u: %s: %s\n", deny, names[i].expression, failed.text);
            exit(1);
        }
    }
    neap_free(N);
}

/* ---- tricks: each must fail, whatever else is allowed ---- */

static const struct trick {
    unsigned bit;
    const char *chunk;
} tricks[] = {
    {NEAP_NET, "require 'neap.net'"},
    {NEAP_NET, "package.loaded['neap.net'] = nil require 'neap.net'"},
    {NEAP_NET, "return neap.net.listen"},
    {NEAP_NET, "require 'neap.names'"},
    {NEAP_NET, "require 'neap.tls'"},
    {NEAP_NET, "require 'neap.curl'"},
    {NEAP_NET, "require 'neap.http'"},
    {NEAP_NET, "require 'neap.http.server'"},
    {NEAP_NET, "require 'neap.twisted.tcp'"},
    {NEAP_NET, "require 'neap.relay'.relay()"},
    {NEAP_NET, "require 'neap.console'"},
    {NEAP_PROC, "require 'neap.signal'"},
    {NEAP_DEBUG, "require 'debug'"},
    {NEAP_DEBUG, "package.loaded.debug = nil require('debug').sethook()"},
    {NEAP_FS, "package.path = './?.lua;/?.lua' require 'denied_file'"},
    {NEAP_FS, "package.searchers[2] = package.searchers[1] require 'denied_file'"},
    {NEAP_FS, "neap.reload 'denied_file'"},
    {NEAP_FS, "io.stdout.open('denied_file.lua')"},
    {NEAP_FS, "getmetatable(io.stdout).__index.lines(denied)"},
    {NEAP_CMOD, "package.cpath = './?.so' require 'denied_module'"},
    {NEAP_BYTECODE, "assert(load(code))"},
    {NEAP_BYTECODE, "assert(load(code, 'x', 'b'))"},
    {NEAP_BYTECODE, "assert(load(code, 'x', 'bt', {}))"},
    {NEAP_BYTECODE, "local done assert(load(function() if not done then done = true return "
                    "code end end))"},
    {NEAP_BYTECODE, "assert(loadfile('denied_code.lua'))"},
    {NEAP_BYTECODE, "assert(loadfile('denied_code.lua', 'b'))"},
    {NEAP_BYTECODE, "dofile('denied_code.lua')"},
    {NEAP_BYTECODE, "package.path = './?.lua' require 'denied_code'"},
    {NEAP_BYTECODE, "local _, stock = debug.getupvalue(load, 1) assert(stock(code))"},
    {NEAP_BYTECODE, "for _, v in pairs(debug.getregistry()) do if v == stock then return end "
                    "end error 'none'"},
    {~0u, "require 'neap.host'.set_interrupt(debug.upvalueid(load, 1))"},
};

/* A compiled chunk, for the scripts as `code`. */
static int add(lua_State *L, const void *p, size_t n, void *ud)
{
    (void)L;
    keep(ud, p, n);
    return 0;
}

static void prepare(neap *N, struct kept *code)
{
    lua_State *L = neap_lua(N);
    code->length = 0;
    CHECK(luaL_loadstring(L, "return 1") == LUA_OK);
    CHECK(lua_dump(L, add, code, 0) == 0);
    lua_pushlstring(L, code->text, code->length);
    lua_setglobal(L, "code");
    lua_settop(L, 0);
}

static void write_file(const char *name, const char *s, size_t n)
{
    FILE *f = fopen(name, "wb");
    CHECK(f && fwrite(s, 1, n, f) == n);
    fclose(f);
}

static void check_tricks(unsigned deny)
{
    struct kept code;
    neap *N = open_one(deny);
    prepare(N, &code);
    write_file("denied_code.lua", code.text, code.length);
    for (size_t i = 0; i < sizeof tricks / sizeof *tricks; i++) {
        if ((tricks[i].bit & deny) && runs(N, tricks[i].chunk)) {
            fprintf(stderr, "deny %u: not stopped: %s\n", deny, tricks[i].chunk);
            exit(1);
        }
    }
    neap_free(N);
}

/* ---- what is taken cannot be reached, whatever else is loaded ----
** A C function of a library has the same address in each runtime. */

/* Gives `seen`, the addresses of all C functions to be reached, and their paths. */
static const char walk[] =
    "local paths, seen, visited, visit = {}, {}, {} "
    "function visit(v, path) "
    "    if visited[v] then return end "
    "    if type(v) == 'function' then "
    "        visited[v] = true "
    "        seen[('%p'):format(v)] = path "
    "    elseif type(v) == 'table' then "
    "        visited[v] = true "
    "        for key, value in next, v do "
    "            local name = path .. '.' .. tostring(key) "
    "            visit(key, name) visit(value, name) "
    "        end "
    "    end "
    "    local meta = getmetatable(v) "
    "    if type(meta) == 'table' then visit(meta, path .. '<meta>') end "
    "end "
    "local names = {} "
    "for name in next, package.preload do names[#names + 1] = name end "
    "for _, name in ipairs(names) do pcall(require, name) end "
    "visit(_G, '_G') visit(package.loaded, 'loaded') "
    "visit(channel(), 'channel') visit(deferred(), 'deferred') visit(spawn(print), 'tasklet') "
    "visit('', 'string') visit(coroutine.running(), 'thread') "
    "walked = seen";

/* Leaves a list of the names of `names` that a bit takes, with the functions' addresses. */
static void push_taken(neap *N, unsigned deny)
{
    lua_State *L = neap_lua(N);
    lua_newtable(L);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char chunk[200];
        snprintf(chunk, sizeof chunk, "return (%s)", names[i].expression);
        if (!(names[i].bit & deny) || luaL_loadstring(L, chunk) != LUA_OK ||
            neap_call(N, 0, 1) != NEAP_OK || !lua_iscfunction(L, -1) ||
            lua_getupvalue(L, -1, 1)) {
            lua_settop(L, 1);
            continue;
        }
        lua_pushfstring(L, "%p", lua_topointer(L, -1));
        lua_pushstring(L, names[i].expression);
        lua_rawset(L, 1);
        lua_settop(L, 1);
    }
}

/* Of networks all functions of a module count. */
static const char of_networks[] =
    "local taken = ... "
    "for _, name in ipairs {'net', 'names', 'tls', 'curl', 'http.server'} do "
    "    local there, module = pcall(require, 'neap.' .. name) "
    "    if there then "
    "        if type(module) ~= 'table' then module = {module} end "
    "        for key, f in next, module do "
    "            if type(f) == 'function' then taken[('%p'):format(f)] = name .. '.' .. key "
    "end "
    "        end "
    "    end "
    "end";

static void check_unreachable(unsigned deny)
{
    neap *open = open_one(0), *closed = open_one(deny);
    lua_State *L = neap_lua(open), *C = neap_lua(closed);
    push_taken(open, deny);
    if (deny & NEAP_NET) {
        CHECK(luaL_loadstring(L, of_networks) == LUA_OK);
        lua_pushvalue(L, 1);
        CHECK(neap_call(open, 1, 0) == NEAP_OK);
    }
    CHECK(runs(closed, walk));
    lua_getglobal(C, "walked");
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        if (lua_getfield(C, -1, lua_tostring(L, -2)) != LUA_TNIL) {
            fprintf(stderr, "deny %u: %s is %s\n", deny, lua_tostring(L, -1),
                    lua_tostring(C, -1));
            exit(1);
        }
        lua_pop(C, 1);
    }
    neap_free(open);
    neap_free(closed);
}

/* A new module in C is judged before it is left to those who have nothing. */
static void check_modules(unsigned all)
{
    neap *N = open_one(all);
    lua_State *L = neap_lua(N);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        const char *name = lua_tostring(L, -2), *of_lua = lua_getupvalue(L, -1, 1);
        if (!of_lua && strcmp(name, "neap.inside") != 0) {
            fprintf(stderr, "%s is not denied by any bit\n", name);
            exit(1);
        }
        lua_pop(L, of_lua != NULL);
    }
    neap_free(N);
}

/* What text there is is still loaded. */
static void check_text(void)
{
    neap *N = open_one(NEAP_BYTECODE);
    CHECK(runs(N, "assert(load('return a', 'x', 't', {a = 2})() == 2)"));
    CHECK(runs(N, "assert(load('return a', 'x', nil, {a = 2})() == 2)"));
    CHECK(runs(N, "a = 3 assert(load('return a')() == 3)"));
    CHECK(runs(N, "assert(not load('return', 'x', 't', nil)() )"));
    CHECK(runs(N, "assert(loadfile('denied_file.lua', 't', {})() == 'file')"));
    CHECK(runs(N, "assert(dofile('denied_file.lua') == 'file')"));
    CHECK(runs(N, "package.path = './?.lua' local m, where = require 'denied_file' "
                  "assert(m == 'file' and where == './denied_file.lua')"));
    CHECK(!runs(N, "require 'denied_nowhere'"));
    CHECK(strstr(failed.text, "no file './denied_nowhere.lua'"));
    neap_free(N);
}

/* The library's own modules do without what is denied. */
static void check_library(void)
{
    static const char *const chunks[] = {
        "local http = require 'neap.http' "
        "http.serve({host = '127.0.0.1'}, function() return '' end):close()",
        "require 'neap.twisted'.failure.Failure 'f'",
        "local f = neap.inline_callbacks(function() error 'raised' end) "
        "f():add_errback(function(failure) assert(failure.value:find 'raised') end)",
        "local stackless = require 'neap.stackless' stackless.tasklet(print) stackless.run()",
        "assert(require 'neap.pretty'.format({print, io.stdout, spawn(print)}):find "
        "'function')",
    };
    neap *N = open_one(NEAP_DEBUG);
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        if (!runs(N, chunks[i])) {
            fprintf(stderr, "without debug: %s\n", failed.text);
            exit(1);
        }
    }
    neap_free(N);
}

int main(void)
{
    char folder[] = "/tmp/deny.XXXXXX";
    unsigned all = 0;
    CHECK(mkdtemp(folder) && chdir(folder) == 0);
    write_file("denied_file.lua", "return 'file'", 13);
    check_names(0);
    for (unsigned bit = NEAP_FS; bit <= NEAP_DEBUG; bit <<= 1) {
        check_names(bit);
        check_tricks(bit);
        check_unreachable(bit);
        all |= bit;
    }
    check_names(all);
    check_tricks(all);
    check_unreachable(all);
    check_modules(all);
    check_text();
    check_library();
    CHECK(unlink("denied_file.lua") == 0 && unlink("denied_code.lua") == 0);
    CHECK(rmdir(folder) == 0);
    return 0;
}
