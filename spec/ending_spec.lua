-- How a program ends: what keeps it alive, daemons, the report of a deadlock, and what
-- becomes of the tasklets that are left.

local host = require "neap.host"
local program = require "spec.support.program"
local record = require "spec.support.record"
local count, run = program.count, program.run

local DEADLOCK = "Deadlock: the last runnable tasklet cannot be blocked."

-- The script's status and output.
local function gives(status, output, script)
    local got, said = run(script)
    assert.same({ status, output }, { got, said }, script)
end

-- What a script of these specs may use: a variable that tells of its closing.
local TELL = [[
    local function tell(text)
        return setmetatable({}, { __close = function() print(text) end })
    end
]]

describe("a main tasklet that catches each deadlock", function()
    it("and does nothing about it ends all the same, with the report", function()
        local status, output = run [[
            local ch, n = channel(), 0
            spawn(function() ch:receive() end)
            local _ <close> = setmetatable({}, { __close = function() print("caught " .. n) end })
            while true do
                pcall(ch.receive, ch)
                n = n + 1
            end
        ]]
        assert.equal(1, status)
        assert.equal(1, count(output, DEADLOCK))
        assert.matches("tasklet 1 .- waits: receive on a channel", output)
        assert.matches("tasklet 2 waits: receive on a channel", output)
        assert.equal(0, count(output, "TaskletExit"))
        assert.is_true(tonumber(output:match("caught (%d+)")) >= 1000)
    end)

    it("goes on as long as others run in between", function()
        gives(0, "2500\n", [[
            local ch, n = channel(), 0
            for _ = 1, 2500 do
                pcall(ch.receive, ch)
                spawn(function() n = n + 1 end)
                schedule()
            end
            print(n)
        ]])
    end)
end)

describe("t.daemon", function()
    it("is false until set, and stays with a tasklet for its next life", function()
        local t = tasklet(function() end)
        assert.is_false(t.daemon)
        t.daemon = true
        assert.is_true(t.daemon)
        t()
        schedule()
        assert.is_false(t.alive)
        assert.is_true(t.daemon)
        t.daemon = nil
        assert.is_false(t.daemon)
    end)

    it("is not inherited", function()
        local child
        local t = spawn(function() child = spawn(function() end) end)
        t.daemon = true
        schedule()
        assert.is_false(child.daemon)
        child:join()
    end)
end)

describe("a daemon", function()
    it("does not keep the program alive, whatever it does", function()
        for _, script in ipairs {
            "while true do sleep(0.001) end",
            "sleep(1000)",
            "while true do schedule() end",
            "channel():receive()",
            "channel():receive(1000)",
            "deferred():wait()",
            "neap.schedule_remove()",
            "require 'neap.net'.listen('127.0.0.1', 0):accept()",
            "require 'neap.net'.listen('127.0.0.1', 0):serve(print)",
            "local l = require 'neap.net'.listen('127.0.0.1', 0) " ..
                "require 'neap.net'.connect('127.0.0.1', l.port):read(1)",
            "neap.select({ channel() }, 1000)",
            "coroutine.wrap(function() sleep(1000) end)()",
        } do
            gives(0, "main ends\nclosed\n", TELL .. ([[
                spawn(function()
                    local _ <close> = tell "closed"
                    %s
                end).daemon = true
                sleep(0.01)
                print "main ends"
            ]]):format(script))
        end
    end)

    it("lives as long as another does something", function()
        local status, output = run [[
            local n = 0
            spawn(function() while true do sleep(0.001) n = n + 1 end end).daemon = true
            spawn(function() sleep(0.05) print(n > 5) end)
        ]]
        assert.same({ 0, "true\n" }, { status, output })
    end)

    it("counts while main is there", function()
        gives(0, "from a daemon\n", [[
            local ch = channel()
            spawn(function() sleep(0.01) ch:send "from a daemon" end).daemon = true
            print(ch:receive())
        ]])
    end)

    it("that is about to serve another may do so", function()
        gives(0, "1\n4\n9\n", [[
            local ask, answer = channel(), channel()
            spawn(function()
                for n in ask do
                    for _ = 1, 20 do -- more than one turn
                        local busy = os.clock()
                        repeat until os.clock() - busy > 0.001
                        schedule()
                    end
                    answer:send(n * n)
                end
            end).daemon = true
            spawn(function()
                for n = 1, 3 do ask:send(n) print(answer:receive()) end
            end)
        ]])
    end)

    it("does not hold up the report of those that wait for it", function()
        for _, busy in ipairs { "schedule()", "sleep(0.001)" } do
            local status, output = run(([[
                spawn(function() while true do %s end end).daemon = true
                spawn(function() channel():receive() end).name = "worker"
            ]]):format(busy))
            assert.equal(1, status)
            assert.equal(1, count(output, "neap: " .. DEADLOCK .. "\n"))
            assert.equal(1, count(output, "waits:"))
            assert.matches("%(worker%) waits: receive on a channel", output)
        end
    end)

    it("is killed once: what it then waits for is dropped", function()
        gives(0, "TaskletExit\ninner\nouter\n", TELL .. [[
            spawn(function()
                local _ <close> = tell "outer"
                local _ <close> = setmetatable({}, { __close = function()
                    print "inner"
                    sleep(1000)
                    print "not this"
                end })
                print(select(2, pcall(sleep, 1000)))
                for _ = 1, 3 do pcall(sleep, 1000) print "nor this" end
            end).daemon = true
            schedule()
        ]])
    end)

    it("whose cleanup fails is reported", function()
        local status, output = run [[
            spawn(function()
                local _ <close> = setmetatable({}, { __close = function() error "no" end })
                sleep(1000)
            end).daemon = true
            schedule()
        ]]
        assert.equal(1, status)
        assert.matches("^neap: .*:2: no\nstack traceback:", output)
    end)

    it("counts again when it is one no more, and not in its next life", function()
        gives(0, "one\n", [[
            local t = spawn(function() sleep(0.01) print "one" end)
            t.daemon = true
            t.daemon = false
        ]])
        gives(0, "two\n", [[
            local t = tasklet(function() end)
            t.daemon = true
            t() schedule()
            t:bind(function() sleep(1000) end)()
            print "two"
        ]])
    end)
end)

describe("a program is kept alive by", function()
    for what, script in pairs {
        ["a runnable tasklet"] = "for _ = 1, 1000 do schedule() end",
        ["a timer"] = "sleep(0.02)",
        ["a timeout"] = "channel():receive(0.02)",
        ["a reader"] = [[
            local net = require "neap.net"
            local listener = net.listen("127.0.0.1", 0)
            listener:start(function(stream) sleep(0.02) stream:write "x" end)
            net.connect("127.0.0.1", listener.port):read(1)
            listener:close()
        ]],
    } do
        it(what, function()
            gives(0, "main\nlast\n", ([[
                spawn(function() %s print "last" end)
                print "main"
            ]]):format(script))
        end)
    end

    it("a paused tasklet not, which is named", function()
        local status, output, name = run [[
            spawn(function() neap.schedule_remove() end).name = "one"
            tasklet():bind(print, 1).name = "other"
        ]]
        assert.equal(1, status)
        assert.equal(1, count(output, "(one) waits: paused, at " .. name .. ":1\n"))
        assert.equal(1, count(output, "(other) waits: paused\nnot started yet\n"))
    end)

    it("a listener on which nobody accepts not: it is named beside what waits", function()
        gives(0, "", "l = require 'neap.net'.listen('127.0.0.1', 0)")
        local status, output = run [[
            l = require "neap.net".listen("127.0.0.1", 0)
            print(l.port)
            channel():receive()
        ]]
        assert.equal(1, status)
        local port = output:match("^%d+")
        assert.equal(1, count(output, "\nlistener 127.0.0.1:" .. port .. ": nobody accepts\n"))
    end)

    it("a held tasklet not, which is named", function()
        local status, output = run [[
            local t = spawn(function() sleep(0.01) print "not this" end)
            t.name = "held"
            t.group = "g"
            schedule()
            neap.pause_group("g", true)
        ]]
        assert.equal(1, status)
        assert.matches("%(held%) waits: sleep, its group held, at ", output)
        assert.equal(0, count(output, "not this\n"))
    end)
end)

describe("a deadlock of main", function()
    local WAITS = {
        ["join"] = "spawn(function() channel():receive() end):join()",
        ["receive on a channel"] = "channel():receive()",
        ["send on a channel"] = "channel():send(1)",
        ["select"] = "neap.select { channel(), deferred() }",
        ["deferred"] = "block_on(deferred())",
        ["paused"] = "neap.schedule_remove()",
    }

    for kind, wait in pairs(WAITS) do
        it("in " .. kind .. " is raised at its wait, as often as it is caught", function()
            gives(0, (DEADLOCK .. "\n"):rep(3) .. "fine\n", ([[
                for _ = 1, 2 do print(select(2, pcall(function() %s end))) end
                print(coroutine.wrap(function()
                    return select(2, pcall(function() %s end))
                end)())
                for _, t in ipairs(neap.tasklets()) do if not t.is_main then t:kill() end end
                print "fine"
            ]]):format(wait, wait))
        end)

        it("in " .. kind .. " tells where it waits", function()
            local status, output, name = run("local function stuck()\n" .. wait .. "\nend\nstuck()")
            assert.equal(1, status)
            assert.equal(1, output:find("neap: " .. DEADLOCK .. "\ntasklet 1 (main) waits: "
                .. kind .. ", at " .. name .. ":2\nstack traceback:\n", 1, true), output)
            assert.equal(1, count(output, "in local 'stuck'"))
            assert.equal(1, count(output, "Deadlock"))
        end)
    end

    it("is none in neap.run, whose queue just ends", function()
        gives(0, "0\n", [[
            local t = spawn(function() channel():receive() end)
            print(select("#", neap.run()))
            t:kill()
        ]])
    end)

    it("in a pcall in its own coroutine shows all of its stack", function()
        local status, output = run [[
            local function stuck() channel():receive() end
            local function outside() coroutine.wrap(function() pcall(stuck) stuck() end)() end
            outside()
        ]]
        assert.equal(1, status)
        assert.matches("'?stuck'?.*in the coroutine resumed by.*outside", output)
    end)

    it("lets it go on, and its <close> variables wait", function()
        gives(0, "closing\nclosed\n" .. DEADLOCK .. "\n", [[
            print(select(2, pcall(function()
                local _ <close> = setmetatable({}, { __close = function()
                    print "closing" sleep(0.001) print "closed"
                end })
                channel():receive()
            end)))
        ]])
    end)

    it("reaches it in a held group too", function()
        gives(0, "false\t" .. DEADLOCK .. "\n", [[
            local main = neap.getmain()
            main.group = "g"
            spawn(function() neap.pause_group("g", true) end)
            print(pcall(function() channel():receive() end))
        ]])
    end)

    it("names the others, daemons too", function()
        local status, output = run [[
            spawn(function() channel():receive() end).name = "one"
            local t = spawn(function() deferred():wait() end)
            t.name, t.daemon = "two", true
            channel():receive()
        ]]
        assert.equal(1, status)
        assert.matches("%(main%) waits: receive.*%(one%) waits: receive.*%(two%) waits: deferred",
            output)
    end)

    it("that was answered by another error is told as that one", function()
        local status, output = run [[
            pcall(function() channel():receive() end)
            error("other", 0)
        ]]
        assert.equal(1, status)
        assert.matches("^neap: other\n", output)
        assert.equal(0, count(output, "Deadlock"))
    end)

    it("never goes to on_error", function()
        local status, output = run [[
            neap.on_error(function() print "handler" end)
            channel():receive()
        ]]
        assert.equal(1, status)
        assert.equal(0, count(output, "handler"))
        assert.equal(1, count(output, "neap: " .. DEADLOCK))
    end)
end)

describe("a traceback", function()
    it("ends with who waits for the tasklet: by join, select, or for its deferred", function()
        local t, last = spawn(function() channel():receive() end), nil
        local function waits(name, f)
            last = spawn(f)
            last.name = name
        end
        waits("joiner", function() t:join() end)
        waits("chooser", function() neap.select { channel(), t } end)
        local inner
        waits("bridge", function()
            neap.pcall(blocking_tasklet(function()
                inner = neap.getcurrent()
                channel():receive()
            end))
        end)
        schedule() schedule()
        assert.matches("\nspawned at [^\n]+\nwaited for by tasklet %d+ %(joiner%)\n"
            .. "waited for by tasklet %d+ %(chooser%)$", t:traceback())
        assert.matches("\nspawned [^\n]+\nwaited for by tasklet %d+ %(bridge%)$",
            inner:traceback())
        assert.is_nil(last:traceback():find("waited for", 1, true))
        inner:kill()
        t:kill()
        schedule()
    end)

    it("names a few of many", function()
        local t = spawn(function() channel():receive() end)
        for _ = 1, 20 do spawn(function() t:join() end) end
        schedule()
        local text = t:traceback()
        assert.equal(5, count(text, "waited for by"))
        assert.matches(", and 15 more$", text)
        t:kill()
        schedule()
    end)
end)

describe("the report of a deadlock", function()
    it("shows the first twenty, a new place too, and counts the rest by place", function()
        local status, output, name = run [[
            local ch = channel()
            for i = 1, 5000 do
                local t = spawn(function() ch:receive() end)
                t.name = "worker " .. i
            end
            spawn(function() deferred():wait() end).name = "the odd one"
            for _ = 1, 500 do tasklet():bind(print, 1) end
        ]]
        assert.equal(1, status)
        assert.is_true(#output < 10000)
        assert.equal(20, count(output, "(worker "))
        assert.matches("%(the odd one%) waits: deferred", output)
        assert.equal(22, count(output, " waits: "))
        assert.equal(1,
            count(output, "\nand 4980 more: receive on a channel, at " .. name .. ":3\n"))
        assert.equal(1, count(output, "\nand 499 more: paused\n"))
    end)

    it("stays short when each waits elsewhere", function()
        local status, output = run [[
            for i = 1, 300 do
                spawn(assert(load("channel():receive()", "=place " .. i)))
            end
        ]]
        assert.equal(1, status)
        assert.equal(40, count(output, " waits: "))
        assert.equal(1, count(output, "\nand 260 more elsewhere\n"))
    end)
end)

describe("an error of main", function()
    it("kills the others at once, newest first; what they then wait for is dropped", function()
        local began = neap.now()
        local status, output = run(TELL .. [[
            for i = 1, 3 do
                spawn(function()
                    local _ <close> = tell("closed " .. i)
                    print(i, pcall(sleep, 1000))
                    sleep(1000)
                    print "not this"
                end)
            end
            schedule()
            error("the end", 0)
        ]])
        assert.equal(1, status)
        assert.matches("^neap: the end\nstack traceback:\n", output)
        assert.matches("in main chunk\n\t%[C%]: in %?\n3", output) -- one line below main, as in lua
        assert.matches("3\tfalse\tTaskletExit\nclosed 3\n2\tfalse\tTaskletExit\nclosed 2\n"
            .. "1\tfalse\tTaskletExit\nclosed 1\n$", output)
        assert.is_true(neap.now() - began < 100)
    end)

    it("is the only one told, though the others are blocked", function()
        local status, output = run [[
            spawn(function() channel():receive() end)
            schedule()
            error("the end", 0)
        ]]
        assert.equal(1, status)
        assert.equal(0, count(output, "waits"))
        assert.equal(1, count(output, "neap:"))
    end)

    it("lets nothing new begin", function()
        local status, output = run [[
            spawn(function()
                pcall(sleep, 1000)
                for _ = 1, 3 do spawn(print, "not this") end
            end)
            schedule()
            error("the end", 0)
        ]]
        assert.equal(1, status)
        assert.equal(0, count(output, "not this"))
    end)
end)

describe("os.exit with close", function()
    it("closes the variables of all tasklets, newest first; none can catch it", function()
        gives(3, "one\nmain\n", TELL .. [[
            spawn(function()
                local _ <close> = tell "one"
                while true do pcall(sleep, 1000) end
            end)
            schedule()
            local _ <close> = tell "main"
            spawn(function() pcall(os.exit, 3, true) print "not this" end)
            pcall(sleep, 1000)
            print "nor this"
        ]])
    end)

    it("wins over errors of the closing", function()
        local status, output = run [[
            local _ <close> = setmetatable({}, { __close = function() error "while closing" end })
            os.exit(4, true)
        ]]
        assert.equal(4, status)
        assert.equal(1, count(output, "while closing\n"))
    end)

    it("where nothing can step aside ends the program too", function()
        for _, form in ipairs {
            "table.sort({ 1, 2 }, function() os.exit(5, true) end)",
            "deferred():add_callback(function() os.exit(5, true) end):callback()",
            "setmetatable({}, { __gc = function() os.exit(5, true) end }) collectgarbage()",
        } do
            gives(5, "", form)
        end
    end)
end)

describe("the end", function()
    it("is told whatever the script has done to the library", function()
        local status, output = run [[
            require, package.loaded["neap.host"], package.preload["neap.host"] = nil
            string.format, table.concat, print, error, pcall, tostring = nil
            channel():receive()
        ]]
        assert.equal(1, status)
        assert.equal(1, count(output, DEADLOCK))
    end)
end)

describe("neap.host", function()
    it("ends the program for its host only", function()
        assert.equal("only the host can end the program", record.error_of(host.finish))
    end)
end)
