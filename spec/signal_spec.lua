-- Signals of the program, from outside: each is sent to a neap of its own.

local child = require "spec.support.child"
local signal = require "neap.signal"

-- A neap in which Ctrl-C is not ignored, as it is for a shell's background jobs.
local function start(text, default)
    return child.start { "env", default or "--default-signal=INT,QUIT", child.neap, "-e",
        "io.stdout:setvbuf('no') " .. text }
end

local function send(to, ...)
    for _, name in ipairs { ... } do
        os.execute(("kill -%s %d"):format(name, to.pid))
    end
end

-- Starts it, and sends the signals when it has printed "ready".
local function signalled(text, ...)
    local p = start(text)
    p:printed("ready\n()")
    send(p, ...)
    return p
end

local function same(want, ...) assert.same(want, { ... }) end

describe("Ctrl-C", function()
    for what, text in pairs {
        ["a sleep"] = "sleep(100)",
        ["a receive"] = "spawn(function() sleep(100) end) channel():receive()",
        ["a computation"] = "while true do end",
        ["a computation in a coroutine"] =
            "coroutine.wrap(function() while true do end end)()",
        ["a computation in a C function"] =
            "table.sort({ 1, 2 }, function() while true do end end)",
        ["a computation under neap.pcall"] = "neap.pcall(function() while true do end end)",
        ["neap.run"] = "spawn(function() while true do schedule() end end) neap.run()",
        ["schedule"] = "while true do schedule() end",
    } do
        it("raises Interrupted in " .. what .. ", which ends the program with 130", function()
            local p = signalled("print 'ready' " .. text .. " print 'not this'", "INT")
            local status, out, err = p:wait()
            same({ 130, "ready\n" }, status, out)
            assert.is_truthy(err:find("^neap: interrupted\nstack traceback:\n"))
            assert.equal(1, select(2, err:gsub("interrupted", "")))
        end)

        it("is caught by a pcall around " .. what, function()
            local p = signalled(([[
                local ok, err = pcall(function() print "ready" %s end)
                print(ok, neap.is(err, neap.Interrupted))
                os.exit(3)
            ]]):format(text), "INT")
            same({ 3, "ready\nfalse\ttrue\n", "" }, p:wait())
        end)
    end

    it("passes neap.pcall, and cleanup runs", function()
        local p = signalled([[
            local c <close> = setmetatable({}, { __close = function() print "closed" end })
            print "ready"
            neap.pcall(sleep, 100)
            print "not this"
        ]], "INT")
        local status, out = p:wait()
        same({ 130, "ready\nclosed\n" }, status, out)
    end)

    it("reaches a main that waits, past a tasklet that computes", function()
        local p = signalled([[
            local steps = 0
            spawn(function()
                print "ready"
                while true do steps = steps + 1 end
            end)
            print(pcall(sleep, 100))
            local before = steps
            schedule()
        ]], "INT")
        p:printed("false\tinterrupted\n()")
        send(p, "INT") -- the one that computes has gone on in the meantime
        local status, out = p:wait()
        same({ 130, "ready\nfalse\tinterrupted\n" }, status, out)
    end)

    it("comes again to a main that has caught the first", function()
        for _, catch in ipairs {
            "pcall(wait, i)",
            "xpcall(wait, function() return 'x' end, i)",
            "coroutine.resume(coroutine.create(wait), i)",
            "pcall(coroutine.wrap(wait), i)",
        } do
            local p = start(([[
                local function wait(i) print(i) sleep(100) end
                for i = 1, 3 do local ok = %s print(ok) end
            ]]):format(catch))
            for i = 1, 3 do
                p:printed(i .. "\n()")
                send(p, "INT")
                p:printed(("%d\nfalse\n()"):format(i))
            end
            same({ 0, "1\nfalse\n2\nfalse\n3\nfalse\n", "" }, p:wait())
        end
    end)

    it("a second time before main has caught the first ends the program at once", function()
        for _, cleanup in ipairs {
            "sleep(100)", "while true do end", "pcall(error, 1) sleep(100)",
        } do
            local p = signalled(([[
                local c <close> = setmetatable({}, { __close = function() print "closing" %s end })
                print "ready"
                sleep(100)
            ]]):format(cleanup), "INT")
            p:printed("closing\n()")
            send(p, "INT")
            same({ 130, "ready\nclosing\n", "" }, p:wait())
        end
    end)

    it("that main has caught and raised again ends the program with 130, too", function()
        for _, script in ipairs {
            "local ok, err = pcall(sleep, 100) error(err, 0)",
            "neap.scope(function(s) s:spawn(sleep, 100) sleep(100) end)",
            "coroutine.wrap(function() neap.scope(function() sleep(100) end) end)()",
        } do
            local p = signalled("print 'ready' " .. script, "INT")
            local status, out, err = p:wait()
            same({ 130, "ready\n" }, status, out)
            assert.matches("neap: interrupted", err)
        end
    end)

    it("ends the program when main has returned", function()
        for _, text in ipairs {
            "sleep(100)", "while true do end", "while true do schedule() end",
        } do
            local p = signalled(("spawn(function() print 'ready' %s end)"):format(text), "INT")
            same({ 130, "ready\n", "" }, p:wait())
        end
    end)

    it("that was ignored when the program began stays so", function()
        local p = start("print 'ready' print(require('neap.signal').wait('SIGTERM'))",
            "--ignore-signal=INT,QUIT")
        p:printed("ready\n()")
        send(p, "INT", "QUIT", "TERM")
        same({ 0, "ready\nSIGTERM\n", "" }, p:wait())
    end)

    it("does not stop reactor code, but what called it", function()
        local p = signalled([[
            print "ready"
            while true do
                local d = deferred()
                d:add_callback(function() for _ = 1, 1000 do end return 1 end)
                d:add_errback(function() print "not this" end)
                d:callback()
            end
        ]], "INT")
        local status, out = p:wait()
        same({ 130, "ready\n" }, status, out)
    end)
end)

describe("SIGQUIT", function()
    it("shows every tasklet, and the program goes on", function()
        for _, text in ipairs { "while not done do end", "while not done do sleep(0.001) end" } do
            local p = signalled(([[
                spawn(function() sleep(100) end).name = "sleeper"
                spawn(function() require("neap.signal").wait("SIGUSR1") done = true end)
                neap.preempt(0.001)
                schedule()
                print "ready"
                %s
                os.exit(4)
            ]]):format(text), "QUIT")
            p:complained("neap: 3 tasklets\n.*spawned at.*spawned at.*\n()")
            send(p, "USR1")
            local status, out, err = p:wait()
            same({ 4, "ready\n" }, status, out)
            assert.is_truthy(err:find("tasklet %d+ %(sleeper%) waits: sleep\nstack traceback:\n"))
            assert.is_truthy(err:find("waits: signal\nstack traceback:\n"))
        end
    end)
end)

describe("neap.signal", function()
    it("waits for a signal and gives its name", function()
        local p = signalled([[
            local signal = require "neap.signal"
            spawn(function() print "ready" end)
            print(signal.wait("SIGUSR1", "SIGTERM"))
            print(signal.wait("SIGUSR1", "SIGHUP"))
        ]], "TERM")
        p:printed("SIGTERM\n()")
        send(p, "HUP")
        same({ 0, "ready\nSIGTERM\nSIGHUP\n", "" }, p:wait())
    end)

    it("remembers one that comes between two waits", function()
        local p = signalled([[
            local signal = require "neap.signal"
            spawn(function() print "ready" end)
            print(signal.wait("SIGUSR1", "SIGUSR2"))
            signal.wait("SIGHUP") -- all of them have come by then
            print(signal.wait("SIGUSR2"))
            print(signal.wait("SIGUSR1"))
        ]], "USR1")
        p:printed("SIGUSR1\n()")
        send(p, "USR2", "USR1", "USR1", "HUP")
        same({ 0, "ready\nSIGUSR1\nSIGUSR2\nSIGUSR1\n", "" }, p:wait())
    end)

    it("lets the program end after a wait", function()
        local p = signalled([[
            spawn(function() print "ready" end)
            print(require("neap.signal").wait("SIGTERM"))
        ]], "TERM")
        same({ 0, "ready\nSIGTERM\n", "" }, p:wait())
    end)

    it("does not lose one to a waiter that is killed", function()
        local p = signalled([[
            local signal = require "neap.signal"
            local first = spawn(signal.wait, "SIGTERM")
            local second = spawn(function() print(signal.wait("SIGTERM")) end)
            schedule()
            print "ready"
            repeat until not first.blocked -- it is served, and has not run yet
            first:kill()
        ]], "TERM")
        local status, out = p:wait()
        same({ 0, "ready\nSIGTERM\n" }, status, out)
    end)

    it("SIGINT once taken raises nothing until the channel closes", function()
        local p = signalled([[
            local ch = require("neap.signal").channel("SIGINT", "SIGUSR1")
            print "ready"
            print(ch:receive())
            print(ch:receive())
            ch:close()
            sleep(0)
            print(pcall(function() print "closed" sleep(100) end))
        ]], "INT")
        p:printed("SIGINT\n()")
        send(p, "USR1")
        p:printed("closed\n()")
        send(p, "INT")
        same({ 0, "ready\nSIGINT\nSIGUSR1\nclosed\nfalse\tinterrupted\n", "" }, p:wait())
    end)

    it("keeps the program alive while a channel is open", function()
        local p = signalled([[
            local ch = require("neap.signal").channel("SIGTERM")
            spawn(function() print(ch:receive()) ch:close() end)
            print "ready"
        ]])
        collectgarbage()
        sleep(0.05)
        assert.is_false(p:ended())
        send(p, "TERM")
        same({ 0, "ready\nSIGTERM\n", "" }, p:wait())
    end)

    it("gives one that is not taken any more its default back", function()
        local p = signalled([[
            local ch = require("neap.signal").channel("SIGTERM", "SIGHUP")
            ch:close()
            sleep(0)
            print "ready"
            sleep(100)
        ]], "TERM")
        assert.equal(128 + 15, (p:wait()))
    end)

    it("storms coalesce, and of each that came one at least arrives", function()
        local path = os.tmpname()
        local p = start(([[
            local ch = require("neap.signal").channel("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGTERM")
            print "ready"
            local got, n = { [ch:receive()] = true }, 1
            while io.open(%q) do sleep(0.01) end -- the storm is over by then
            repeat
                local name = ch:receive()
                got[name], n = true, n + 1
            until name == "SIGTERM"
            for name in function() return (ch:receive(0.1)) end do got[name], n = true, n + 1 end
            print(got.SIGUSR1, got.SIGUSR2, got.SIGHUP, n <= 1 + 4 + 4)
            ch:close()
        ]]):format(path))
        p:printed("ready\n()")
        os.execute(([[for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            kill -USR1 %d; kill -USR2 %d; kill -HUP %d; done]]):format(p.pid, p.pid, p.pid))
        os.remove(path)
        send(p, "TERM")
        same({ 0, "ready\ntrue\ttrue\ttrue\ttrue\n", "" }, p:wait())
    end)

    it("refuses what cannot be taken", function()
        for _, name in ipairs { "SIGKILL", "SIGSTOP", "SIGSEGV", "SIGURG", "TERM", "" } do
            assert.has_error(function() signal.wait(name) end,
                ("bad argument #1 to 'wait' (no signal '%s' that can be taken)"):format(name))
        end
        assert.is_false(pcall(signal.wait))
        assert.is_false(pcall(signal.channel))
        assert.is_false(pcall(signal.channel, "SIGTERM", 1))
    end)

    it("raises where nothing may wait, and takes nothing", function()
        local ok, err = pcall(string.gsub, "x", "x", function() signal.wait("SIGALRM") end)
        assert.is_false(ok)
        assert.is_truthy(err:find("cannot wait inside string.gsub (a C function)", 1, true))
    end)
end)
