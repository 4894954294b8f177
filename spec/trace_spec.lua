-- --trace FILE: what is in the file is JSON, its slices nest, and each end of a program
-- leaves it whole.

local child = require "spec.support.child"
local json = require "spec.support.json"

local quote, shell = child.quote, child.shell

-- The events of a file.
local function read(path)
    local file <close> = assert(io.open(path, "rb"))
    return json.decode(file:read("a"))
end

-- Runs a script traced: status, events, what it said.
local function traced(script, expected)
    local path = os.tmpname()
    local status, out, err = child.run { "--trace", path, "-e", script }
    local events = read(path)
    os.remove(path)
    assert.equal(expected or 0, status, err)
    return events, out, err
end

-- Checks that slices nest and time does not go back on any track; gives the names of the
-- tracks, and for each the names of its slices in their order.
local function tracks(events)
    local open, last, named, slices = {}, {}, {}, {}
    for _, e in ipairs(events) do
        local track = e.tid
        assert.equal("number", type(track))
        assert.equal(1, e.pid)
        if e.ph == "M" then
            if e.name == "thread_name" then named[track] = e.args.name end
        else
            assert.is_true(e.ts >= (last[track] or 0))
            last[track] = e.ts
            open[track] = open[track] or {}
            if e.ph == "B" then
                table.insert(open[track], e.name)
                slices[track] = slices[track] or {}
                table.insert(slices[track], e.name)
            else
                assert.equal("E", e.ph)
                assert.is_truthy(table.remove(open[track]), "an end without a beginning")
            end
        end
    end
    for track, names in pairs(open) do
        assert.same({}, names, "left open on track " .. track)
        assert.is_truthy(named[track])
    end
    return named, slices
end

local function find(named, part)
    for track, name in pairs(named) do
        if name:find(part, 1, true) then return track end
    end
    error("no track " .. part)
end

describe("the reader of these specs", function()
    it("refuses what is no JSON", function()
        for _, bad in ipairs {
            "", "[", "[1,]", "[1 2]", "{\"a\":}", "[1]x", "\"a", "\"\\x\"", "[01]", "\"\n\"",
            "{a:1}", "\"\xff\"",
        } do
            assert.is_false((pcall(json.decode, bad)), bad)
        end
        assert.same({ 1, -2.5, "a\"\\\nä", { b = true } },
            json.decode '[1, -2.5e0, "a\\"\\\\\\n\\u00e4", {"b": true}]')
    end)
end)

describe("a trace", function()
    it("has a track for each tasklet, with its turns and its waits", function()
        local named, slices = tracks((traced [[
            local ch = channel()
            local t = spawn(function()
                sleep(0.001)
                ch:receive()
                schedule()
                block_on(deferred_tasklet(sleep)(0.001))
            end)
            t.name = "worker"
            sleep(0.01)
            ch:send(1)
            t:join()
        ]]))
        assert.equal("reactor", named[0])
        assert.matches("^tasklet 1 %(main%)$", named[1])
        assert.same({ "run", "sleep", "run", "receive on a channel", "run", "ready", "run",
            "deferred", "run" }, slices[find(named, "(worker)")])
        assert.same({ "run", "sleep", "run", "ready", "run", "join", "run" },
            slices[find(named, "(main)")])
        assert.equal("poll", slices[0][1])
    end)

    it("tells where a tasklet waits and where it was spawned", function()
        local events = traced "spawn(function()\n sleep(0)\n end)"
        local wait, site
        for _, e in ipairs(events) do
            if e.ph == "B" and e.name == "sleep" then wait = e.args.at end
            if e.ph == "M" and e.tid == 2 then site = e.args.site end
        end
        assert.equal("(command line):2", wait)
        assert.equal("spawned at (command line):1", site)
    end)

    it("shows a name that came late, and any name as text", function()
        local named = tracks((traced [[
            local t = spawn(sleep, 0.001)
            schedule()
            t.name = "late \"quoted\" \\ \n \0 ä \xff\xed\xa0\x80 end"
            spawn(sleep, 0).name = ("x"):rep(100000)
            spawn(sleep, 0).name = ("\1"):rep(1000)
        ]]))
        assert.matches('%(late "quoted" \\ \n %)$', named[2])
        assert.is_true(#named[3] < 400)
        named = tracks((traced [[
            spawn(sleep, 0).name = "ä \xff\xed\xa0\x80 \127 end"
        ]]))
        assert.equal("tasklet 2 (ä ???? ? end)", named[2])
    end)

    it("shows a kill, a pause, a held group, and what never ran", function()
        local named, slices = tracks((traced [[
            local t = spawn(function() channel():receive() end)
            local u = spawn(function() neap.schedule_remove() end)
            local v = spawn(function() while true do schedule() end end)
            v.group = "g"
            schedule()
            neap.pause_group("g", true)
            t:kill() u:kill() v:kill{ hard = true }
            spawn(print):kill()
        ]]))
        assert.same({ "run", "receive on a channel", "run" }, slices[2])
        assert.same({ "run", "paused", "run" }, slices[3])
        assert.equal("run", slices[4][1])
        assert.is_truthy(named[4])
    end)

    it("is whole however the program ends", function()
        for script, status in pairs {
            ["error 'main'"] = 1,
            ["channel():receive()"] = 1,
            ["spawn(function() channel():receive() end)"] = 1,
            ["spawn(sleep, 1000) schedule() error 'main'"] = 1,
            ["spawn(sleep, 1000) schedule() os.exit(3)"] = 3,
            ["spawn(sleep, 1000) schedule() os.exit(3, true)"] = 3,
            ["spawn(os.exit, 4) sleep(1000)"] = 4,
            ["coroutine.wrap(os.exit)(5)"] = 5,
            ["table.sort({ 1, 2 }, function() os.exit(6, true) end)"] = 6,
            ["setmetatable({}, { __gc = function() os.exit(7, true) end }) collectgarbage()"] = 7,
            ["spawn(function() while true do sleep(0.001) end end).daemon = true sleep(0)"] = 0,
            ["x="] = 1,
            ["os.setlocale(os.getenv 'LC_ALL' or '') sleep(0.001)"] = 0,
        } do
            tracks((traced(script, status)))
        end
    end)

    it("is whole up to lately when it is killed", function()
        local path = os.tmpname()
        local running = child.start { child.neap, "--trace", path, "-e", [[
            for i = 1, 3 do sleep(0.25) end print "ready" io.stdout:flush() sleep(1000)
        ]] }
        running:printed()
        sleep(0.05)
        running:kill("KILL")
        local events = read(path)
        assert.is_true(#events > 5)
        os.remove(path)
    end)

    it("may go to a pipe", function()
        local status, out = shell([["$NEAP" --trace /dev/stderr -e 'sleep(0.001)' 2>&1 | cat]])
        assert.equal(0, status)
        tracks(json.decode(out))
    end)

    it("of very many events keeps its memory", function()
        local path = os.tmpname()
        local script = [[
            local mem = require "neap.host".stats
            for _ = 1, 10 do spawn(function() for _ = 1, 2000 do schedule() end end) end
            schedule()
            collectgarbage() collectgarbage()
            local before = mem().mem
            for _ = 1, 1900 do schedule() end
            collectgarbage() collectgarbage()
            print(mem().mem - before < 100000)
        ]]
        local status, out, err = child.run { "--trace", path, "-e", script }
        local file <close> = io.open(path)
        local size = file:seek("end")
        os.remove(path)
        assert.same({ 0, "true\n", "" }, { status, out, err })
        assert.is_true(size > 1000000)
    end)

    it("into a file that cannot be made, or no file, is refused", function()
        local status, out, err = child.run { "--trace", "/no/such/file", "-e", "print(1)" }
        assert.same({ 1, "", "neap: cannot open /no/such/file: No such file or directory\n" },
            { status, out, err })
        status, out, err = child.run { "--trace" }
        assert.same({ 1, "" }, { status, out })
        assert.matches("^neap: '%-%-trace' needs argument\nusage: ", err)
    end)

    it("onto a full disk is told once, and the program goes on", function()
        if not io.open("/dev/full") then return end
        local status, out, err = child.run { "--trace", "/dev/full", "-e",
            "for _ = 1, 5000 do schedule() end print 'on'" }
        assert.same({ 0, "on\n", "neap: /dev/full: No space left on device\n" },
            { status, out, err })
    end)

    it("does not take the place of the schedule callback", function()
        local events, out = traced [[
            local n = 0
            neap.set_schedule_callback(function() n = n + 1 end)
            spawn(function() end)
            schedule()
            neap.set_schedule_callback(nil)
            print(n)
        ]]
        assert.equal("2\n", out)
        tracks(events)
    end)

    it("leaves the script's words alone", function()
        local path = os.tmpname()
        local script = child.file("print(arg[0] == name, ...)")
        local status, out, err = child.run { "--trace", path, "-e",
            ("name = %q"):format(script), script, "a", "b" }
        assert.same({ 0, "true\ta\tb\n", "" }, { status, out, err })
        status, out = shell(([["$NEAP" --trace %s -]]):format(quote(path)), "print 'in'")
        assert.same({ 0, "in\n" }, { status, out })
        os.remove(script)
        os.remove(path)
    end)
end)
