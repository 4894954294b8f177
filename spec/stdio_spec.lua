-- Standard input and output, io.popen and os.execute, from outside: pipes, files, terminals.

local child = require "spec.support.child"

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

-- A tasklet that counts while something waits; at the end `ran()` tells whether it ran.
local COUNT = [[
    local n = 0
    local counter = spawn(function() while true do n = n + 1 sleep(0.01) end end)
    local function ran() counter:kill() return n > 3 end
]]

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
        same({ 0, "late\ttrue\n", "" }, shell("{ sleep 0.2; echo late; } | "
            .. neap_e(COUNT .. "print(io.read(), ran())")))
    end)

    it("a killed reader takes no input with it, nor one that is out of time", function()
        same({ 0, "false\tTaskletExit\nhello\nworld\n", "" }, shell(
            "{ printf hel; sleep 0.2; echo lo; echo world; } | " .. neap_e [[
                local t = spawn(io.read)
                sleep(0.1)
                t:kill()
                print(t:join())
                print(io.read())
                print(io.read())
            ]]))
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
        same({ 0, "300000\n", "true\n" }, shell(neap_e(COUNT .. [[
            neap.stdout:write(("x"):rep(300000))
            io.stderr:write(tostring(ran()), "\n")
        ]]) .. " | { sleep 0.2; wc -c; }"))
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
            spawn(function() sleep(0.1) print "ready" end)
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
        same({ 0, "x\ttrue\n0\ttrue\n", "" }, child.run { "-e", COUNT .. [[
            local f = io.popen("sleep 0.1; echo x; exec >/dev/null; sleep 0.1")
            local line = f:read()
            f:close()
            print(line, ran())
            n = 0
            counter = spawn(function() while true do n = n + 1 sleep(0.01) end end)
            local w = io.popen("sleep 0.2; cat >/dev/null", "w")
            for _ = 1, 20 do w:write(("x"):rep(20000)) end
            print(select(3, w:close()), ran())
        ]] })
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
        local f = io.popen("printf he; sleep 0.1; echo llo")
        local t = spawn(f.read, f)
        sleep(0.03)
        t:kill()
        same({ false, neap.TaskletExit }, t:join())
        same({ "hello", nil }, f:read(), f:read())
        f:close()
    end)

    it("a killed close leaves the child to be reaped", function()
        local f = io.popen("sleep 0.1")
        local t = spawn(f.close, f)
        schedule()
        t:kill()
        same({ false, neap.TaskletExit }, t:join())
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
        same({ 0, "true\texit\t0\ntrue\n", "" },
            child.run { "-e", COUNT .. "print(os.execute('sleep 0.2')) print(ran())" })
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
        local t = spawn(os.execute, "sleep 0.1")
        schedule()
        t:kill()
        same({ false, neap.TaskletExit }, t:join())
    end)

    it("leaves the children of others alone", function()
        local ok, lfs = pcall(require, "lfs")
        assert.is_true(ok and lfs ~= nil)
        local list = {}
        for i = 1, 20 do list[i] = spawn(os.execute, "exit " .. i) end
        for i, outcome in ipairs(neap.join_all(list)) do
            same({ true, nil, "exit", i }, table.unpack(outcome, 1, 4))
        end
    end)
end)
