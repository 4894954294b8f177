-- Optional parts, by one of the spec's own (spec/embed/part.c): a host that is linked with
-- libneap.so, whose parts are found beside that, and a static one with the part linked in.

local child = require "spec.support.child"

local function there(package)
    return (child.shell("pkg-config --exists " .. package)) == 0
end

local works = [[
roused	true
roused	false
false	cannot wait inside table.sort (a C function)
]]

local missing = "^neap.names is missing: no names.so beside this neap %(it needs libc%-ares%-dev "

describe("a part", function()
    local folder

    -- Runs a shell command in which these stand for what it takes to build.
    local function shell(command, ...)
        return child.shell(([[
            compile() { ${CC:-cc} -std=gnu11 -fvisibility=hidden -Wall -Wextra -Werror \
                -Iruntime -Ispec -isystem ${LUA_INC:-/usr/include/lua5.4} "$@"; }
            static="libneap.a -l:liblua5.4.a -l:libev.a -lm -ldl -lpthread"
            part() { compile -shared -fPIC -o "$@" spec/embed/part.c; }
            d=%s
        ]]):format(child.quote(folder)) .. command:format(...))
    end

    local function build(command, ...)
        local status, _, err = shell(command, ...)
        assert.same({ 0, "" }, { status, err })
    end

    -- What the host prints, started in a folder of no concern.
    local function run(program, script)
        local status, out, err = shell("cd / && $d/%s %s", program,
            script and child.quote(script) or "")
        assert.same({ 0, "" }, { status, err })
        return out
    end

    -- Both runtimes of the host have failed so.
    local function assert_fails(message, program)
        local out = run(program)
        local one, other = out:match("^failed: ([^\n]+)\nfailed: ([^\n]+)\n$")
        assert.is_truthy(one and one:find(message) and other:find(message), out)
    end

    setup(function()
        child.make("libneap.so", "libneap.a")
        folder = os.tmpname()
        os.remove(folder)
        build("mkdir -p $d/neap && cp libneap.so $d/libneap.so.0")
        build("compile -o $d/shared spec/embed/parts.c -L. -lneap -llua5.4 -Wl,-rpath,$d")
    end)

    teardown(function() build("rm -r $d") end)

    describe("of the shared library", function()
        it("is found beside it", function()
            build("part $d/neap/names.so")
            assert.equal(works .. works, run("shared"))
        end)

        it("is missing with a word", function()
            build("rm -f $d/neap/names.so")
            assert_fails(missing, "shared")
        end)

        it("is refused if it was built for another version", function()
            build("part $d/neap/names.so -DOF_ANOTHER_VERSION")
            assert_fails("^this part is of another neap than the one that loads it$", "shared")
        end)

        it("is refused if it is no library, or has no part in it", function()
            build("echo nothing >$d/neap/names.so")
            assert_fails("^neap.names cannot be loaded: .*names.so", "shared")
            build("compile -shared -o $d/neap/names.so -xc /dev/null")
            assert_fails("^neap.names cannot be loaded: .*luaopen_neap_names", "shared")
        end)
    end)

    describe("of the static library", function()
        it("is linked in, and nothing is looked for", function()
            build("part=$d/libneap-toy.a && compile -c -o $d/part.o spec/embed/part.c && " ..
                "${AR:-ar} rcs $part $d/part.o && rm $d/part.o && echo nothing >$d/neap/names.so")
            build("compile -DPART_INSIDE -o $d/static spec/embed/parts.c $d/libneap-toy.a $static")
            assert.equal(works .. works, run("static"))
        end)

        it("is found beside the program if that shows what of Lua is in it", function()
            build("part $d/neap/names.so")
            build("compile -rdynamic -o $d/dynamic spec/embed/parts.c -Wl,--whole-archive " ..
                "-l:liblua5.4.a -Wl,--no-whole-archive $static")
            assert.equal(works .. works, run("dynamic"))
        end)

        it("is missing with a word", function()
            build("rm -f $d/neap/names.so")
            build("compile -o $d/without spec/embed/parts.c $static")
            assert_fails(missing, "without")
        end)

        it("can be the library's own", function()
            if not there("libcares") then return pending("no c-ares") end
            child.make("parts")
            build("compile -DPART_INSIDE -o $d/names spec/embed/parts.c " ..
                "build/pic/parts/libneap-names.a $static -lcares")
            assert.equal("function\nfunction\n", run("names", "print(type(require 'neap.names'))"))
        end)
    end)
end)
