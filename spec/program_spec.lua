-- The neap program from outside: what `lua` does with the same words, and what it does not.

local child = require "spec.support.child"

local run, shell, quote = child.run, child.shell, child.quote

-- Runs a script's text from a file, with arguments: status, output, errors, its name.
local function script(text, ...)
    local path = child.file(text)
    local status, out, err = run { path, ... }
    os.remove(path)
    return status, out, err, path
end

local function same(want, ...)
    assert.same(want, { ... })
end

describe("the program's options", function()
    it("-e runs a text, as often as given, in order", function()
        same({ 0, "1\n2\n", "" }, run { "-e", "x = 1 print(x)", "-eprint(x + 1)" })
    end)

    it("-l requires a module into a global", function()
        same({ 0, "table\ttrue\n", "" },
            run { "-l", "neap.net", "-e", "print(type(_G['neap.net']), net == nil)" })
        same({ 0, "function\n", "" }, run { "-l", "n=neap.net", "-e", "print(type(n.listen))" })
        same({ 0, "function\n", "" }, run { "-ln=neap.net", "-e", "print(type(n.listen))" })
        local status, _, err = run { "-l", "no.such.module", "-e", "print(1)" }
        assert.equal(1, status)
        assert.is_truthy(err:find("^neap: module 'no.such.module' not found:"))
    end)

    it("-v and --version tell the version, and go on if there is more to do", function()
        for _, option in ipairs { "-v", "--version" } do
            local status, out, err = run { option }
            assert.equal(0, status)
            assert.is_truthy(out:find("^neap %d+%.%d+%.%d+  Lua 5%.4"))
            assert.equal("", err)
        end
        local status, out = run { "-v", "-e", "print 'more'" }
        assert.equal(0, status)
        assert.is_truthy(out:find("^neap [^\n]+\nmore\n$"))
        status, out = script("print 'more'")
        assert.same({ 0, "more\n" }, { status, out })
    end)

    it("--help tells the options", function()
        local status, out, err = run { "--help" }
        same({ 0, "" }, status, err)
        assert.is_truthy(out:find("^usage: neap %[options%] %[script %[args%]%]\n"))
        for option in ("-e -i -l -v -E -W -- - --help --version"):gmatch("%S+") do
            assert.is_truthy(out:find("\n  " .. option .. " ", 1, true), option)
        end
    end)

    it("-W turns warnings on", function()
        same({ 0, "", "" }, run { "-e", "warn('careful')" })
        local status, out, err = run { "-W", "-e", "warn('care', 'ful')" }
        same({ 0, "" }, status, out)
        assert.is_truthy(err:find("careful", 1, true))
        assert.equal(1, select(2, err:gsub("\n", "")))
    end)

    it("-E leaves the environment alone", function()
        local command = [[LUA_INIT='print(1)' LUA_PATH='here;;' "$NEAP" %s -e \
            "print(package.path:find('^here') ~= nil)"]]
        same({ 0, "1\ntrue\n", "" }, shell(command:format("")))
        same({ 0, "false\n", "" }, shell(command:format("-E")))
    end)

    it("-- ends the options", function()
        local path = child.file("print('file', ...)")
        same({ 0, "file\t-v\n", "" }, run { "--", path, "-v" })
        os.remove(path)
        local status, _, err = run { "--", "-" }
        assert.equal(1, status)
        assert.is_truthy(err:find("^neap: cannot open %-"))
    end)

    it("- reads the script from standard input", function()
        same({ 0, "in\ta\n", "" }, run({ "-", "a" }, "print('in', ...)"))
    end)

    it("that do not exist are refused", function()
        for _, bad in ipairs { "-x", "-vv", "--what", "-Ex" } do
            local status, out, err = run { bad }
            same({ 1, "" }, status, out)
            assert.is_truthy(err:find("^neap: unrecognized option '" .. bad:gsub("%-", "%%-")
                .. "'\nusage: neap "))
        end
        for _, bad in ipairs { "-e", "-l" } do
            local status, _, err = run { bad }
            assert.equal(1, status)
            assert.is_truthy(err:find("^neap: '" .. bad:gsub("%-", "%%-") .. "' needs argument\n"))
        end
    end)
end)

-- What `lua` does with these words, neap does too; both call themselves what they are.
describe("side by side with lua", function()
    local lua
    local function is(name) -- a Lua 5.4 that looks for modules where ours does
        return select(2, shell(name .. " -e 'print(_VERSION, package.path, package.cpath)'"))
    end
    for _, name in ipairs { "lua", "lua5.4" } do
        if is(name) == is('"$NEAP"') then lua = name end
    end

    -- How a program ends and what it says: its name, the version line, the addresses and the
    -- list of options apart.
    local function result(name, words, before, stdin)
        local status, out, err = shell(("%s %s %s"):format(before or "", name, words), stdin)
        err = err:gsub("^[%w./_-]+: ", "NAME: "):gsub("\nusage: .*", "\nusage")
        out = out:gsub("^[^\n]*Lua 5%.4[^\n]*", "VERSION"):gsub("0x%x+", "ADDRESS")
        return { words, status, out, err }
    end

    local function alike(words, before, stdin)
        assert.same(result(lua, words, before, stdin), result('"$NEAP"', words, before, stdin))
    end

    local cases = {
        options = {
            "-e", "-e -x", "-l", "-l -e x", "-x", "-vv", "-iv", "-Ex", "-Wx", "--x",
            "-e 'print(1)'", "'-e print(1)'", "-e 'x = 1' -e 'print(x)' -",
            "-v", "-v -e 'print(1)'", "-v -", "-W", "--",
            "-", "- a b", "-E -e 'print(1)'", "-e '' -", "-l m=string -e 'print(m == string)'",
            "-l =string -e 'print(1)'", "-l m= -e 'print(1)'", "-lstring -e 'print(string ~= nil)'",
            "-e 'print(#arg, arg[#arg], arg[-1], arg[-2])' -", "-e 'print(...)' -- /no/such",
        },
        warnings = {
            "-W -e 'warn(1)'", [[-e 'warn("a")' -W -e 'warn("b", "c")']],
            [[-e 'warn("@on") warn("a") warn("@off") warn("b") warn("@x") warn("@on", "a")']],
        },
        ["errors of main"] = {
            "-e 'error()'", "-e 'error({})'", "-e 'error(12)'", "-e 'error(\"a\", 0)'", "-e 'x='",
            "/no/such", "-- /no/such", "/", "''", "-e 'string.rep()'", "-e 'coroutine.yield()'",
            "-e 'local function f() error(\"x\") end f()'", "-e 'local t = nil + 1'",
            "-e 'setmetatable({}, { __index = error })[\"a\"] = nil; error(\"x\", 2)'",
        },
        ["os.exit"] = {
            "-e 'os.exit(true, true)'", "-e 'os.exit(false)'", "-e 'os.exit(300)'",
            "-e 'os.exit(3, true)'",
            "-e 'os.exit(2.0, true)'", "-e 'pcall(os.exit, 5, true)'",
            [[-e 'local c <close> = setmetatable({}, { __close = print }) os.exit(2, true)']],
            [[-e 'local c <close> = setmetatable({}, { __close = print }) os.exit(2)']],
            [[-e 'setmetatable({}, { __gc = print }) os.exit(0, true)']],
            [[-e 'setmetatable({}, { __gc = print }) os.exit(0)']],
            [[-e 'pcall(os.exit, {}, true) print "on"']],
        },
    }
    for what, list in pairs(cases) do
        it(what, function()
            if not lua then return end
            for _, words in ipairs(list) do alike(words) end
        end)
    end

    it("the environment", function()
        if not lua then return end
        for _, before in ipairs {
            "LUA_INIT='print(1)'", "LUA_INIT='print(1)' LUA_INIT_5_4='print(2)'",
            "LUA_INIT=@/no/such", "LUA_INIT='x='", "LUA_INIT='error(1, 0)'", "LUA_PATH='a;;b'",
            "LUA_PATH='a' LUA_PATH_5_4='b'", "LUA_CPATH='c;;'", "LUA_CPATH_5_4='d'",
        } do
            for _, option in ipairs { "", "-E " } do
                alike(option .. "-e 'print(package.path, package.cpath, os.getenv \"LUA_PATH\")'",
                    before)
            end
        end
    end)

    it("a script from standard input", function()
        if not lua then return end
        alike("", nil, "#!/a line for the kernel\nprint(...)")
        alike("- a b", nil, "print(...) print(#arg, arg[0], arg[1])")
        alike("-e 'arg[1], arg[3] = 100, true' - a b", nil, "print(...)")
        local _, _, why = run({ "-e", "arg = 1", "-" }, "")
        assert.matches("^neap: 'arg' is not a table\n", why)
        local status, _, err = run({}, "error 'there'")
        assert.equal(1, status) -- not so in lua, where it is 0
        assert.matches("^neap: stdin:1: there\n", err)
    end)
end)

describe("a script", function()
    it("finds its arguments in `...` and `arg`, as in `lua`", function()
        local text = [[
            print(select("#", ...), ...)
            print(#arg, arg[1], arg[2], arg[0] == name, arg[-1], arg[-2], arg[-3] ~= nil, arg[-4])
        ]]
        local path = child.file(text)
        local status, out, err = run { "-e", ("name = %q"):format(path), path, "a", "b c" }
        same({ 0, "" }, status, err)
        assert.equal("2\ta\tb c\n2\ta\tb c\ttrue\t" .. ("name = %q"):format(path)
            .. "\t-e\ttrue\tnil\n", out)
        os.remove(path)
        same({ 0, "2\t-e\ttrue\n", "" }, run { "-e", "print(#arg, arg[1], arg[0] ~= nil)" })
    end)

    it("may take many arguments", function()
        local many = {}
        for i = 1, 2000 do many[i] = i end
        local path = child.file("print(select('#', ...), (select(2000, ...)))")
        same({ 0, "2000\t2000\n", "" }, run { path, table.unpack(many) })
        os.remove(path)
    end)

    it("comes from standard input when none is named", function()
        same({ 0, "here\n", "" }, run({}, "print 'here'"))
        same({ 0, "", "" }, run({}, ""))
        local status, _, err = run({}, "error 'there'")
        assert.equal(1, status)
        assert.is_truthy(err:find("^neap: stdin:1: there\nstack traceback:"))
    end)

    it("may begin with a line for the kernel", function()
        local path = child.file("#!/usr/bin/env neap\nprint('line', 2) error('x')")
        local status, out, err = run { path }
        same({ 1, "line\t2\n" }, status, out)
        assert.is_truthy(err:find(path .. ":2: x", 1, true))
        os.remove(path)
        path = child.file("#!" .. child.neap .. "\nprint(...)")
        same({ 0, "a\tb\n", "" }, shell(("chmod +x %s; %s a b"):format(path, path)))
        os.remove(path)
    end)

    it("is preceded by LUA_INIT", function()
        same({ 0, "1\n2\n", "" }, shell([[LUA_INIT="print(1)" "$NEAP" -e "print(2)"]]))
        same({ 0, "54\n2\n", "" },
            shell([[LUA_INIT="print(1)" LUA_INIT_5_4="print(54)" "$NEAP" -e "print(2)"]]))
        local path = child.file("print 'a file'")
        same({ 0, "a file\n", "" }, shell(("LUA_INIT=@%s \"$NEAP\" -e ''"):format(path)))
        os.remove(path)
        local status, _, err = shell([[LUA_INIT="error('early')" "$NEAP" -e "print(2)"]])
        assert.equal(1, status)
        assert.is_truthy(err:find("^neap: LUA_INIT:1: early\n"))
    end)

    it("may wait at any place: in LUA_INIT, -e, -l and itself", function()
        same({ 0, "1\n2\n3\n", "" }, shell(
            [[LUA_INIT="sleep(0.001) print(1)" "$NEAP" -e "sleep(0.001) print(2)" -]],
            "sleep(0.001) print(3)"))
    end)

    it("that is not there or does not compile is an error, printed as by `lua`", function()
        local status, out, err = run { "/no/such/file" }
        same({ 1, "" }, status, out)
        assert.is_truthy(err:find("^neap: cannot open /no/such/file"))
        local path
        status, out, err, path = script("local = 1")
        same({ 1, "" }, status, out)
        assert.is_truthy(err:find(("neap: %s:1: <name> expected near '='"):format(path), 1, true))
    end)

    it("is text: a precompiled one is refused", function()
        local status, _, err = script(string.dump(function() end))
        assert.equal(1, status)
        assert.is_truthy(err:find("attempt to load a binary chunk", 1, true))
    end)
end)

describe("an error of main", function()
    it("is printed with its traceback, and the status is 1", function()
        local status, out, err, path = script(
            "print 'before'\nlocal function f() error('boom') end\nf()")
        same({ 1, "before\n" }, status, out)
        assert.is_truthy(err:find(("neap: %s:2: boom\nstack traceback:\n\t[C]: in function 'error'")
            :format(path), 1, true))
        assert.equal(1, select(2, err:gsub("boom", "")))
    end)

    it("need not be a string", function()
        local function said(text)
            local status, _, err = run { "-e", text }
            assert.equal(1, status)
            return err:match("^[^\n]*")
        end
        assert.equal("neap: (error object is a table value)", said "error({})")
        assert.equal("neap: (error object is a nil value)", said "error(nil)")
        assert.equal("neap: shown",
            said "error(setmetatable({}, { __tostring = function() return 'shown' end }))")
        assert.equal("neap: 12", said "error(12)")
    end)

    it("ends the others at once, their <close> variables run", function()
        local status, out, err = run { "-e", [[
            spawn(function()
                local c <close> = setmetatable({}, { __close = function() print("closed") end })
                sleep(1000)
                print "not this"
            end)
            spawn(function() while true do schedule() end end)
            sleep(0.01)
            error("the end", 0)
        ]] }
        same({ 1, "closed\n" }, status, out)
        assert.is_truthy(err:find("^neap: the end\n"))
    end)

    it("is not what another tasklet's error is: that one alone ends", function()
        local status, out, err = run { "-e", [[
            spawn(function() error("one", 0) end)
            sleep(0.01)
            print "main goes on"
        ]] }
        same({ 1, "main goes on\n" }, status, out)
        assert.is_truthy(err:find("^neap: one\nstack traceback:"))
        assert.is_truthy(err:find("spawned at (command line):1", 1, true))
    end)

    it("does not come from an error that on_error has taken", function()
        same({ 0, "handled\n", "" }, run { "-e", [[
            neap.on_error(function(_, err) print(err) end)
            spawn(function() error("handled", 0) end)
        ]] })
    end)
end)

describe("the program ends", function()
    it("when main has returned and the others are done", function()
        same({ 0, "main\nlast\n", "" }, run { "-e", [[
            spawn(function() sleep(0.02) print "last" end)
            print "main"
        ]] })
    end)

    it("by os.exit, as in Lua", function()
        same({ 3, "", "" }, run { "-e", "os.exit(3)" })
        same({ 0, "", "" }, run { "-e", "os.exit(true)" })
        same({ 1, "", "" }, run { "-e", "os.exit(false)" })
        same({ 0, "printed\n", "" }, run { "-e", "print 'printed' os.exit()" })
        same({ 4, "", "" }, run { "-e", "spawn(function() os.exit(4) end) sleep(100)" })
    end)

    for _, close in ipairs { "true", "false" } do
        it("by os.exit(3, " .. close .. ") with sockets and tasklets alive", function()
            local text = [[
                local net = require "neap.net"
                local listener = net.listen("127.0.0.1", 0)
                listener:start(function(stream)
                    stream:write("hello")
                    stream:read()
                end)
                local streams = {}
                for i = 1, 5 do
                    streams[i] = net.connect("127.0.0.1", listener.port)
                    streams[i]:read(5)
                    spawn(function() streams[i]:read() end)
                end
                streams[1]:write(("x"):rep(1000000))
                local ch = channel()
                spawn(function() ch:receive() end)
                spawn(function() local c <close> = streams[2] sleep(100) end)
                spawn(function() coroutine.wrap(function() sleep(100) end)() end)
                local d = deferred()
                spawn(function() block_on(d) end)
                setmetatable({}, { __gc = function() streams[3]:close() end })
                sleep(0.01)
                print "now"
                WHERE
            ]]
            for _, where in ipairs {
                "os.exit(3, %s)",
                "coroutine.wrap(function() os.exit(3, %s) end)()",
                "coroutine.wrap(function() coroutine.wrap(function() os.exit(3, %s) end)() end)()",
                "spawn(function() os.exit(3, %s) end) sleep(100)",
                "pcall(function() os.exit(3, %s) end)",
                "local c <close> = setmetatable({}, { __close = function() os.exit(3, %s) end })",
            } do
                local status, out, err = run { "-e",
                    (text:gsub("WHERE", (where:format(close):gsub("%%", "%%%%")))) }
                assert.same({ where, 3, "now\n", "" }, { where, status, out, err })
            end
        end)
    end

    it("quietly when nobody reads what it prints", function()
        local status, out, err = shell(
            [[{ "$NEAP" -e 'for i = 1, 100000 do print(i) end'; } | head -1]])
        same({ 0, "1\n", "" }, status, out, err)
    end)

    it("with an error when what it printed cannot be written", function()
        if not io.open("/dev/full") then return end
        local status = shell([["$NEAP" -e 'print(1)' >/dev/full]])
        assert.equal(1, status)
    end)

    it("as it should without standard descriptors", function()
        assert.equal(0, (shell([["$NEAP" -e 'sleep(0.001)' <&-]])))
        assert.equal(0, (shell([["$NEAP" -e 'sleep(0.001)' 2>&-]])))
        assert.equal(7, (shell([["$NEAP" -e 'sleep(0.001) os.exit(7)' <&- >&- 2>&-]])))
    end)
end)

describe("a deadlock", function()
    local DEADLOCK = "Deadlock: the last runnable tasklet cannot be blocked."

    it("of main raises DeadlockError in it, which it may catch", function()
        same({ 0, "true\t" .. DEADLOCK .. "\nfine\n", "" },
            run { "-e", [[
                local ok, err = pcall(function() channel():receive() end)
                print(neap.is(err, neap.DeadlockError), err)
                print "fine"
            ]] })
    end)

    it("of main that is not caught ends the program with a report", function()
        local status, out, err = run { "-e", [[
            local ch = channel()
            local t = spawn(function() ch:receive() end)
            t.name = "worker"
            print "before"
            ch:receive()
        ]] }
        same({ 1, "before\n" }, status, out)
        assert.is_truthy(err:find(DEADLOCK, 1, true))
        assert.is_truthy(err:find(
            "tasklet %d+ %(worker%) waits: receive on a channel, at %(command line%):2\nstack "))
        assert.equal(1, select(2, err:gsub("Deadlock:", "")))
    end)

    it("of others, once main has returned, names each", function()
        local status, out, err = run { "-e", [[
            local ch = channel()
            for i = 1, 3 do
                local t = spawn(function() ch:receive() end)
                t.name = "blocked " .. i
            end
            print "main ends"
        ]] }
        same({ 1, "main ends\n" }, status, out)
        assert.equal(1, err:find("neap: " .. DEADLOCK .. "\n", 1, true))
        for i = 1, 3 do assert.is_truthy(err:find("(blocked " .. i .. ") waits:", 1, true)) end
    end)

    it("is not a server that waits for clients", function()
        local server = child.script [[
            local net = require "neap.net"
            local listener = net.listen("127.0.0.1", 0)
            spawn(function() listener:accept() print "accepted" end)
            print(listener.port)
            io.stdout:flush()
        ]]
        local port = tonumber(server:printed())
        sleep(0.05)
        local stream <close> = neap.must(require "neap.net".connect("127.0.0.1", port))
        local status, out, err = server:wait()
        same({ 0, port .. "\naccepted\n", "" }, status, out, err)
        assert.equal("", stream:read("a"))
    end)

    it("is not a listener on which nobody accepts: the program just ends", function()
        same({ 0, "", "" }, run { "-e", "l = require 'neap.net'.listen('127.0.0.1', 0)" })
    end)
end)

describe("print and io.write", function()
    it("keep one order, with io.stdout too", function()
        same({ 0, "1\n2\n3\n4\t5\n6", "" }, run { "-e", [[
            io.write("1\n") print(2) io.stdout:write("3\n") print(4, 5)
            spawn(function() io.write(6) end)
        ]] })
    end)

    it("come before an error that follows them, in one file", function()
        local status, out = shell([["$NEAP" -e 'io.write("a") print("b") error("c", 0)' 2>&1]])
        assert.equal(1, status)
        assert.is_truthy(out:find("^ab\nneap: c\n"))
    end)

    it("show what tostring shows, and take what io.write takes", function()
        same({ 0, "nil\ttrue\t1\t1.5\tx\tshown\n12.5a", "" }, run { "-e", [[
            local shown = setmetatable({}, { __tostring = function() return "shown" end })
            print(nil, true, 1, 1.5, "x", shown)
            assert(io.write(1, 2.5, "a") == io.stdout)
            assert(not pcall(io.write, {}))
        ]] })
        local path = os.tmpname()
        same({ 0, "out\n", "" }, run { "-e", ([[
            io.output(%s) io.write("file") io.close() io.output(io.stdout) io.write("out\n")
        ]]):format(quote(path)) })
        local file <close> = io.open(path)
        assert.equal("file", file:read("a"))
        os.remove(path)
    end)
end)
