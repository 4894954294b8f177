-- Standard input and output, io.popen and os.execute, from outside: pipes, files, terminals.

local child = require "spec.support.child"
local lfs = require "lfs"

local shell = child.shell

child.make("build/static/support/pty")

local function same(want, ...) assert.same(want, { ... }) end

-- A neap with this text, as a word in a shell's command.
local function neap_e(text)
    return '"$NEAP" -e ' .. child.quote(text)
end

-- Runs a text with that on standard input, once from a file and once from a pipe.
local function both(want, stdin, text)
    local status, out, err = child.run({ "-e", text }, stdin)
    assert.same({ "file", 0, want, "" }, { "file", status, out, err })
    status, out, err = shell("cat | " .. neap_e(text), stdin)
    assert.same({ "pipe", 0, want, "" }, { "pipe", status, out, err })
end

-- count(f) starts a tasklet that counts while something waits, and calls f when it has run
-- for a while; ran() ends it and tells whether it has.
local COUNT = [[
    local n, counter
    local function count(f)
        n = 0
        counter = spawn(function()
            while true do
                n = n + 1
                if n == 5 then f() end
                sleep(0.001)
            end
        end)
    end
    local function ran() counter:kill() return n > 4 end
    local function touch(path) io.open(path, "w"):close() end
]]

-- f(path, await), where `await` is what a shell says to wait for a file at that path, and to
-- remove it.
local function flagged(f)
    local path = os.tmpname()
    os.remove(path)
    f(path, ("n=0; until [ -e %s ] || [ $n = 3000 ]; do n=$((n + 1)); sleep 0.01; done; rm -f %s")
        :format(path, path))
    os.remove(path)
end

local function touch(path) io.open(path, "w"):close() end

-- A tasklet killed while f(command) waits for a command to end leaves it to be reaped.
local function killed_waiting(f)
    flagged(function(path, await)
        local t = spawn(f, await)
        schedule()
        t:kill()
        touch(path)
        same({ false, neap.TaskletExit }, t:join())
        while lfs.attributes(path) do sleep(0.01) end -- until the child has seen it
    end)
end

-- In a terminal: what is typed when that has appeared; status and what was shown.
local function terminal(dialog, text)
    local list = { "build/static/support/pty" }
    for _, word in ipairs(dialog) do list[#list + 1] = word end
    for _, word in ipairs { "--", child.neap, "-e", text } do list[#list + 1] = word end
    local status, out = child.start(list):wait()
    return status, (out:gsub("\r", ""))
end

describe("io.read", function()
    it("takes all formats, as in Lua", function()
        both("one\ttwo\n\nnil\n", "one\ntwo\n\n",
            "print(io.read('l', 'l')) print(io.read()) print(io.read())")
        both("one\n\tl2\nnil\n", "one\nl2",
            "io.write(io.read('L'), '\t', io.read('L')) print() print(io.read('L'))")
        both("12\t31\t-350.0\t0.5\tnil\n", "12 0x1F -3.5e2\n.5 abc",
            "print(io.read('n', 'n', 'n', 'n', 'n'))")
        both("nil\t!\n", ("9"):rep(250) .. "!", "print(io.read('n'), (io.read('a'):gsub('9', '')))")
        both("ab\tcde\n\tf\nnil\n", "abcdef",
            "print(io.read(2, 3)) print(io.read(0), io.read(9)) print(io.read(0))")
        both("xyz\n\n", "xyz", "print(io.read('a')) print(io.read('a'))")
        both("x\tnil\n", "x", "print(io.read('*l', '*n', 'l'))")
        both("3\tx\n", "1\n2\n3x",
            "local n, s = 0 for l in io.lines() do n, s = n + 1, l end print(n, s:sub(2))")
        both("a,b;c,nil;", "abc", [[
            for x, y in io.stdin:lines(1, 1) do io.write(x, ',', tostring(y), ';') end
        ]])
    end)

    it("has no longest line", function()
        both("3000000\n", ("x"):rep(3000000), "print(#io.read())")
    end)

    it("names a bad format by its place", function()
        both("bad argument #1 to 'read' (invalid format)\n", "",
            "print(select(2, pcall(function() io.read('x') end)):match('bad.*'))")
        both("bad argument #1 to 'read' (invalid format)\n", "",
            "print(select(2, pcall(function() io.stdin:read('x') end)):match('bad.*'))")
    end)

    it("blocks only its own tasklet", function()
        flagged(function(path, await)
            same({ 0, "late\ttrue\n", "" }, shell("{ " .. await .. "; echo late; } | "
                .. neap_e(COUNT .. ([[
                    count(function() touch(%q) end)
                    print(io.read(), ran())
                ]]):format(path))))
        end)
    end)

    it("a killed reader takes no input with it, nor one that is out of time", function()
        flagged(function(path, await)
            same({ 0, "false\tTaskletExit\nhello\nworld\n", "" }, shell(
                "{ printf hel; " .. await .. "; echo lo; echo world; } | " .. neap_e(([[
                    local t = spawn(io.read)
                    sleep(0.05)
                    t:kill()
                    io.open(%q, "w"):close()
                    print(t:join())
                    print(io.read())
                    print(io.read())
                ]]):format(path))))
        end)
    end)

    it("serves several readers in order", function()
        same({ 0, "1a2b3c", "" }, shell("{ sleep 0.1; printf 'a\\nb\\nc\\n'; } | " .. neap_e [[
            for i = 1, 3 do spawn(function() io.write(i, io.read()) end) end
        ]]))
    end)

    it("leaves the rest of a file to who reads it next", function()
        same({ 0, "one\ntwo\nthree\n", "" },
            shell("{ " .. neap_e "print(io.read())" .. "; cat; }", "one\ntwo\nthree\n"))
    end)

    it("sees io.stdin:seek", function()
        same({ 0, "ab\t2\t1\nbcd\n", "" }, child.run({ "-e", [[
            io.write(io.read(2), "\t", io.stdin:seek("cur"), "\t", io.stdin:seek("set", 1), "\n")
            print(io.read())
        ]] }, "abcd"))
    end)

    it("works inside C that calls back, as in lua", function()
        same({ 0, "<a><b>\n", "" }, shell("{ sleep 0.1; printf 'a\\nb\\n'; } | "
            .. neap_e "print((('xx'):gsub('x', function() return '<' .. io.read() .. '>' end)))"))
    end)

    it("is refused in reactor code", function()
        same({ 0, "false\ttrue\n", "" }, shell("sleep 0.1 | " .. neap_e [[
            local d = deferred()
            d:add_callback(function() return pcall(io.read) end)
            d:add_callback(function(ok, err)
                print(ok, tostring(err):find("Cannot block in reactor task", 1, true) ~= nil)
            end)
            d:callback()
        ]]))
    end)
end)

describe("standard streams", function()
    it("neap.stdin shares its input with io.read", function()
        both("a\tb\tc\n", "a\nb\nc\n", "print(io.read(), neap.stdin:read(), io.read())")
    end)

    it("print, io.write and neap.stdout keep one order", function()
        for _, to in ipairs { "", " | cat" } do
            same({ 0, "1\n2\n3\n4\n5\n6\n", "" }, shell(neap_e [[
                print(1)
                assert(neap.stdout:write(2, "\n") == neap.stdout)
                io.write("3\n")
                neap.stdout:write({ "4", "\n" })
                print(5)
                io.stdout:write("6\n")
            ]] .. to))
        end
    end)

    it("neap.stderr is one too", function()
        same({ 0, "", "said" }, child.run { "-e", "neap.stderr:write('said')" })
    end)

    it("a full pipe holds up only the tasklet that writes", function()
        flagged(function(path, await)
            same({ 0, "300000\n", "true\n" }, shell(neap_e(COUNT .. ([[
                count(function() touch(%q) end)
                neap.stdout:write(("x"):rep(300000))
                io.stderr:write(tostring(ran()), "\n")
            ]]):format(path)) .. " | { " .. await .. "; wc -c; }"))
        end)
    end)

    it("end the program quietly when nobody reads them", function()
        for _, write in ipairs {
            "print(i)", "io.write(i, '\\n')", "neap.stdout:write(i, '\\n')",
        } do
            same({ 0, "1\n", "" }, shell(neap_e("for i = 1, 100000 do " .. write .. " end")
                .. " | head -1"))
        end
    end)

    it("stay in blocking mode for those who share them", function()
        local status, out = shell("echo x | { " .. neap_e "io.read() neap.stdout:write('')"
            .. "; grep flags /proc/self/fdinfo/0 /proc/self/fdinfo/1; } | cat")
        assert.equal(0, status)
        for flags in out:gmatch("flags:%s*(%d+)") do
            assert.equal(0, tonumber(flags, 8) & tonumber("4000", 8))
        end
        assert.equal(2, select(2, out:gsub("flags:", "")))
    end)

    it("that were closed when the program began are nobody else's", function()
        same({ 0, "nil\n", "" }, shell(neap_e "print(io.read())" .. " <&-"))
        same({ 0, "", "" }, shell(neap_e [[
            local net = require "neap.net"
            local l = net.listen("127.0.0.1", 0)
            l:start(function(stream) assert(stream:read("a") == "") end)
            net.connect("127.0.0.1", l.port):close()
            print "into the socket?"
            sleep(0.02)
            l:close()
        ]] .. " <&- >&- 2>&-"))
    end)

    it("are a script's where it is read from", function()
        same({ 0, "script\ta\n", "" }, child.run({ "-", "a" }, "print('script', ...)"))
        same({ 0, "nil\n", "" }, shell(neap_e "print(io.read())" .. " </dev/null"))
    end)
end)

describe("a terminal", function()
    it("shows a prompt before its answer is read, and goes on behind its end", function()
        local status, out = terminal(
            { "name? ", "neap\n", "again? ", "\4", "more? ", "yes\n" }, [[
            io.write("name? ")
            print("<" .. io.read() .. ">")
            io.write("again? ")
            print(io.read())
            io.write("more? ")
            print(io.read())
        ]])
        assert.equal(0, status)
        assert.is_truthy(out:find("name? neap\n<neap>\nagain? nil\nmore? yes\nyes\n", 1, true), out)
    end)

    it("interrupts a read by Ctrl-C, and takes no input with it", function()
        local status, out = terminal({ "ready", "\3", "caught", "line\n" }, [[
            local ok, err = pcall(function() print "ready" io.read() end)
            print("caught", ok, neap.is(err, neap.Interrupted))
            print(io.read())
        ]])
        assert.equal(0, status)
        assert.is_truthy(out:find("caught\tfalse\ttrue\nline\nline\n", 1, true), out)
        status = terminal({ "ready", "\3" }, "print 'ready' io.read()")
        assert.equal(130, status)
    end)

    it("lets the others run while it is read", function()
        local status, out = terminal({ "ready", "x\n" }, COUNT .. [[
            count(function() print "ready" end)
            print(io.read(), ran())
        ]])
        assert.equal(0, status)
        assert.is_truthy(out:find("x\ttrue\n", 1, true), out)
    end)
end)

describe("io.popen", function()
    it("reads what a command prints, and tells how it ended", function()
        local f <close> = io.popen("echo one; echo two; printf three; exit 3")
        same({ "file", "one", "two\n" }, io.type(f), f:read(), f:read("L"))
        same({ "three", "", nil }, f:read("a"), f:read("a"), f:read("l"))
        same({ nil, "exit", 3 }, f:close())
        same({ "closed file", "file (closed)" }, io.type(f), tostring(f))
        assert.is_false(pcall(f.read, f))
        assert.is_false(pcall(f.close, f))
        same({ nil, "signal", 9 }, io.popen("kill -9 $$"):close())
        same({ true, "exit", 0 }, io.popen("true"):close())
    end)

    it("writes what a command reads", function()
        local path = os.tmpname()
        local f = io.popen("cat >" .. path .. "; exit 2", "w")
        assert.equal(f, f:write("a", 1, 2.5, 3.0, "\n"))
        assert.is_true(f:flush())
        same({ nil, "exit", 2 }, f:close())
        local file <close> = io.open(path)
        assert.equal("a12.53\n", file:read("a"):gsub("3%.0", "3"))
        os.remove(path)
    end)

    it("blocks only the caller, at each of its steps", function()
        flagged(function(path, await)
            same({ 0, "x\ttrue\ntrue\ttrue\n0\ttrue\n", "" }, child.run { "-e", COUNT .. ([[
                local path, await = %q, %q
                local function counted()
                    os.remove(path)
                    count(function() touch(path) end)
                end
                counted()
                local f = io.popen(await .. "; echo x")
                print(f:read(), ran())
                f:close()
                counted()
                f = io.popen("exec >/dev/null; " .. await)
                print(f:close(), ran())
                counted()
                local w = io.popen(await .. "; cat >/dev/null", "w")
                for _ = 1, 20 do w:write(("x"):rep(20000)) end
                print(select(3, w:close()), ran())
            ]]):format(path, await) })
        end)
    end)

    it("gives all that was written to a command that reads late", function()
        local f = io.popen("sleep 0.1; wc -c | { read n; exit $((n / 1000)); }", "w")
        f:write(("x"):rep(99000))
        same({ nil, "exit", 99 }, f:close())
    end)

    it("tells a write that nobody reads, and lives on", function()
        same({ 0, "nil\tBroken pipe\t32\ntrue\texit\t0\n", "" }, shell(neap_e [[
            local f = io.popen("exec <&-; sleep 0.05", "w")
            local r, err, code
            repeat r, err, code = f:write("x") sleep(0.001) until not r
            print(r, err, code)
            print(f:close())
        ]]))
    end)

    it("is what lines, io.input, io.output and io.close take", function()
        local all = {}
        for line in io.popen("printf 'a\\nb\\nc'"):lines() do all[#all + 1] = line end
        same({ "a", "b", "c" }, table.unpack(all))
        same({ 0, "q\nr\ns\ntrue\texit\t0\na11.5true\texit\t0\n", "" }, child.run { "-e", [[
            io.input(io.popen("printf 'q\nr\ns\n'"))
            print(io.read())
            for line in io.lines() do print(line) end
            print(io.close(io.input()))
            io.stdout:flush()
            io.output(io.popen("cat", "w"))
            assert(io.write("a", 1, 1.5) == io.output())
            print(io.close())
        ]] })
    end)

    it("refuses a bad mode", function()
        local ok, err = pcall(io.popen, "true", "rw")
        same({ false, true }, ok, err:find("invalid mode", 1, true) ~= nil)
    end)

    it("a killed reader takes nothing with it, and the child is reaped", function()
        flagged(function(path, await)
            local f = io.popen("printf he; " .. await .. "; echo llo")
            local t = spawn(f.read, f)
            sleep(0.03)
            t:kill()
            touch(path)
            same({ false, neap.TaskletExit }, t:join())
            same({ "hello", nil }, f:read(), f:read())
            f:close()
        end)
    end)

    it("a killed close leaves the child to be reaped", function()
        killed_waiting(function(command) io.popen(command):close() end)
    end)

    it("forgotten handles leave nothing behind", function()
        for _ = 1, 20 do io.popen("true") end
        collectgarbage()
    end)

    it("fails when there is no descriptor left", function()
        same({ 0, "nil\ttrue: Too many open files\t24\nnil\tToo many open files\t24\n"
            .. "true\texit\t0\n", "" }, shell("ulimit -n 20; " .. neap_e [[
            local held = {}
            for i = 1, 30 do held[i] = io.open("/dev/null") end
            print(io.popen("true"))
            print(os.execute("true"))
            for _, file in ipairs(held) do file:close() end
            print(io.popen("true"):close())
        ]]))
    end)
end)

describe("os.execute", function()
    it("tells how a command ended, as in Lua", function()
        same({ true, "exit", 0 }, os.execute("true"))
        same({ nil, "exit", 5 }, os.execute("exit 5"))
        same({ nil, "signal", 15 }, os.execute("kill -15 $$"))
        same({ true }, os.execute())
    end)

    it("blocks only the caller", function()
        flagged(function(path, await)
            same({ 0, "true\texit\t0\ntrue\n", "" }, child.run { "-e", COUNT .. ([[
                count(function() touch(%q) end)
                print(os.execute(%q))
                print(ran())
            ]]):format(path, await) })
        end)
    end)

    it("gives the child a clean start", function()
        local text = [[
            f = io.open("/dev/null")
            g = require("neap.net").listen("127.0.0.1", 0)
            s = neap.stdin
            require("neap.signal").channel("SIGTERM"):close()
            os.execute("for i in 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$i ] || echo open: $i; done;"
                .. " kill -PIPE $$; echo not this")
            os.execute("exec grep SigBlk /proc/self/status")
            os.execute("kill -HUP $$; echo not this")
        ]]
        local status, out = shell("trap '' PIPE HUP; " .. neap_e(text))
        same({ 0, nil, nil }, status, out:find("open:"), out:find("not this"))
        assert.is_truthy(out:find("SigBlk:\t0+\n"))
    end)

    it("a killed waiter leaves nothing behind", function()
        killed_waiting(os.execute)
    end)

    it("leaves the children of others alone", function()
        local list = {}
        for i = 1, 20 do list[i] = spawn(os.execute, "exit " .. i) end
        for i, outcome in ipairs(neap.join_all(list)) do
            same({ true, nil, "exit", i }, table.unpack(outcome, 1, 4))
        end
    end)
end)
