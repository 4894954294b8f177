-- Cutting in on what does not give way: time slices, the watchdog, the end of loops.
-- Wall time is the subject here; no spec depends on how little of it passes.

local child = require "spec.support.child"
local finally = require "spec.support.finally"
local record = require "spec.support.record"

local SLICE = 0.001

-- Slices of that length until the value goes out of scope.
local function preempting(seconds)
    neap.preempt(seconds or SLICE)
    return finally(function() neap.preempt(nil) end)
end

local function loop() while true do end end

-- Runs the hog beside one who must get a turn several times, then ends it for good.
local function shares(hog)
    local slices <close> = preempting()
    local t, turns = spawn(hog), 0
    while turns < 5 and t.alive do
        turns = turns + 1
        schedule()
    end
    assert.equal(5, turns)
    assert.is_true(t.alive)
    t:kill { hard = true }
    assert.is_false(t.alive)
    assert.is_not_nil(slices)
end

describe("a slice ends", function()
    local hogs = {
        ["a loop"] = loop,
        ["a loop that calls"] = function()
            local function f(x) return x + 1 end
            local n = 0
            while true do n = f(n) end
        end,
        ["a loop that makes tables"] = function() while true do local _ = { {} } end end,
        ["a loop under pcall"] = function() while true do pcall(loop) end end,
        ["a loop under pcall in pcall"] = function()
            while true do pcall(pcall, pcall, loop) end
        end,
        ["a loop under xpcall"] = function() while true do xpcall(loop, print) end end,
        ["a loop in a coroutine"] = function() coroutine.wrap(loop)() end,
        ["a loop in a coroutine in a coroutine"] = function()
            coroutine.wrap(function() coroutine.wrap(function() pcall(loop) end)() end)()
        end,
        ["a loop around a generator"] = function()
            local next_one = coroutine.wrap(function() while true do coroutine.yield(1) end end)
            while true do next_one() end
        end,
        ["a loop around coroutines"] = function()
            while true do coroutine.wrap(function() end)() end
        end,
        ["a loop of sorts"] = function()
            while true do
                table.sort({ 3, 1, 2, 5, 4 }, function(a, b) return a < b end)
            end
        end,
        ["a metamethod's loop"] = function()
            return setmetatable({}, { __index = loop }).x
        end,
        ["recursion"] = function()
            local function f(n) return n == 0 and 0 or f(n - 1) + 1 end
            while true do f(100) end
        end,
        ["a goto"] = function() ::again:: goto again end,
    }
    for name, f in pairs(hogs) do
        it("in " .. name, function() shares(f) end)
    end

    it("for one alone in the queue, when a timer is due", function()
        local slices <close> = preempting()
        local t = spawn(function()
            sleep(0.05) -- by then nobody is at work
            loop()
        end)
        sleep(0.1)
        t:kill { hard = true }
        assert.is_not_nil(slices)
    end)
end)

describe("neap.preempt and neap.watchdog", function()
    it("refuse a time that is none", function()
        for _, set in ipairs { neap.preempt, neap.watchdog } do
            for _, seconds in ipairs { 0, -1, 0 / 0 } do
                assert.error_matches(function() set(seconds) end, "bad argument #1")
            end
        end
    end)
end)

describe("no slice ends", function()
    it("in a sort comparator; it does at the first chance after", function()
        local slices <close> = preempting()
        local list, log = {}, record.log()
        local t = spawn(function()
            for i = 1, 200 do list[i] = (i * 7919) % 211 end
            table.sort(list, function(a, b)
                for _ = 1, 5000 do end
                log "c"
                return a < b
            end)
            log "sorted"
            loop()
        end)
        local _ <close> = finally(function() t:kill { hard = true } end)
        spawn(function() while t.alive do log "other" schedule() end end)
        local text
        repeat
            schedule()
            text = tostring(log)
        until text:find("sorted", 1, true) and log[#log] == "other"
        assert.is_nil(text:match("c.*c"):find("other", 1, true)) -- the slice may end before it
        for i = 2, #list do assert.is_true(list[i - 1] <= list[i]) end
        t:kill { hard = true }
        schedule()
        assert.is_not_nil(slices)
    end)

    -- f works for some slices with the others kept out, then lets them in.
    local function keeps_out(enter, leave)
        local slices <close> = preempting()
        local inside, met, turns = false, 0, 0
        local t = spawn(function()
            for _ = 1, 5 do
                enter()
                inside = true
                local stop = os.clock() + 5 * SLICE
                repeat until os.clock() > stop
                inside = false
                leave()
                local before = turns
                stop = os.clock() + 10
                repeat until turns > before or os.clock() > stop
                assert(turns > before)
            end
        end)
        while t.alive do
            turns = turns + 1
            if inside then met = met + 1 end
            schedule()
        end
        assert.equal(0, met)
        assert.is_true(t:join())
        assert.is_not_nil(slices)
    end

    it("in an atomic tasklet", function()
        keeps_out(function() neap.getcurrent():set_atomic(true) end,
            function() neap.getcurrent():set_atomic(false) end)
    end)

    it("under switch_trap", function()
        keeps_out(function() neap.switch_trap(1) end, function() neap.switch_trap(-1) end)
    end)

    it("set_atomic gives the old flag, and a new tasklet has none", function()
        local t = neap.getcurrent()
        assert.is_false(t:set_atomic(true))
        assert.is_true(t:set_atomic(true))
        local inner
        spawn(function() inner = neap.getcurrent():set_atomic(false) end):run()
        assert.is_false(inner)
        assert.is_true(t:set_atomic(false))
    end)

    it("what an atomic tasklet gives way by itself it does", function()
        local ran = false
        local t = neap.getcurrent()
        t:set_atomic(true)
        spawn(function() ran = true end)
        schedule()
        t:set_atomic(false)
        assert.is_true(ran)
    end)

    it("unless asked; nor is there a thread for it", function()
        local status, out, err = child.shell([["$NEAP" -e '
            neap.watchdog(nil)
            local other
            spawn(function() other = true end)
            for _ = 1, 3000000 do end
            print(other)
            schedule()
            for l in io.lines("/proc/self/status") do
                if l:match("^Threads") then print(l:match("%d+")) end
            end']])
        assert.same({ 0, "nil\n1\n", "" }, { status, out, err })
    end)
end)

describe("a cut tasklet", function()
    -- A tasklet that a slice has cut, behind where f calls its argument, and that waits in the
    -- run queue.
    local function cut(f)
        local there = false
        local t = spawn(f, function() there = true end)
        repeat schedule() until there
        assert(t.alive and t.scheduled and not t.blocked)
        return t
    end

    local function loop_at(here)
        here()
        loop()
    end

    -- Kills it under slices, in which its cleanup may be cut, too.
    local function kill(t)
        t:kill()
        while t.alive do schedule() end
    end

    it("dies of a kill where it was cut, its cleanup run", function()
        local slices <close> = preempting()
        local log = record.log()
        local t = cut(function(here)
            local _ <close> = setmetatable({}, { __close = function() log "closed" end })
            loop_at(here)
        end)
        kill(t)
        assert.equal("closed", tostring(log))
        assert.same({ false, neap.TaskletExit }, { t:join() })
        assert.is_not_nil(slices)
    end)

    it("gets what is thrown, pending or not; the last of two wins", function()
        local slices <close> = preempting()
        local got = record.log()
        local function hog(here)
            local _, err = pcall(loop_at, here)
            got(err)
        end
        cut(hog):throw("now")
        local t = cut(hog)
        t:throw("first", true)
        t:throw("last", true)
        assert.is_true(t.alive)
        t:join()
        assert.equal("now last", tostring(got))
        assert.is_not_nil(slices)
    end)

    it("killed is killed once", function()
        local slices <close> = preempting()
        local caught, round = 0, 0
        local t = spawn(function()
            for i = 1, 3 do
                local ok, err = pcall(loop_at, function() round = i end)
                assert(not ok and err == neap.TaskletExit)
                caught = caught + 1
            end
        end)
        for i = 1, 3 do
            repeat schedule() until round == i
            t:kill()
            repeat schedule() until round == i + 1 or not t.alive
            assert.equal(i, caught)
        end
        assert.is_false(t.alive)
        assert.is_not_nil(slices)
    end)

    it("removed stays away until it is inserted", function()
        local slices <close> = preempting()
        local n = 0
        local t = cut(function(here)
            here()
            while true do n = n + 1 end
        end)
        t:remove()
        assert.is_true(t.paused)
        local before = n
        schedule()
        assert.equal(before, n)
        t:insert()
        repeat schedule() until n > before
        t:kill()
        assert.is_not_nil(slices)
    end)

    it("shows where it is", function()
        local slices <close> = preempting()
        local t = cut(loop_at)
        assert.matches("slice_spec.lua", t:traceback(), 1, true)
        t:kill()
        assert.is_not_nil(slices)
    end)

    -- Loops in which the place of the cut can be before any of several calls.
    local ch, d, other, generator = channel(), nil, nil, nil
    local busy = {
        send = function() ch:send(1) end,
        receive = function() ch:receive() end,
        schedule = function() schedule() end,
        sleep = function() sleep(0) end,
        join = function() other:join() end,
        wait = function() d:wait() end,
        select = function() neap.select { ch } end,
        run = function() neap.run() end,
        ["a coroutine"] = function() coroutine.wrap(function() end)() end,
        ["a yield"] = function() generator() end,
        ["a pcall"] = function() pcall(function() end) end,
    }
    for name, call in pairs(busy) do
        it("is killed before " .. name, function()
            local slices <close> = preempting(0.0005)
            other = spawn(sleep, 60)
            local left, entered = 0, 0
            for round = 1, 12 do
                d = deferred()
                generator = coroutine.wrap(function() while true do coroutine.yield() end end)
                local t = spawn(function()
                    local _ <close> = setmetatable({}, { __close = function()
                        left = left + 1
                    end })
                    entered = round
                    local f = call
                    for n = 1, math.huge do -- mostly outside of the call
                        if n % 1000 < round then f() end
                    end
                end)
                repeat schedule() until entered == round
                if round % 2 == 0 then schedule() end
                kill(t)
                assert.equal(round, left)
                assert.equal(0, ch.balance)
            end
            other:kill()
            assert.is_not_nil(slices)
        end)
    end

    -- A count of neap.run cuts at each instruction in turn.
    it("is killed before each of its instructions, in time", function()
        local closed, steps, inner = 0, 0, 0
        local setmetatable, coroutine, math = setmetatable, coroutine, math -- no look-ups
        local function hog()
            local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
            local numbers = coroutine.wrap(function()
                for i = 1, math.huge do
                    for _ = 1, inner do steps = steps + 0 end
                    coroutine.yield(i)
                end
            end)
            while true do
                numbers()
                for _ = 1, 3 do steps = steps + 1 end
                coroutine.wrap(function() return math.abs(1) end)()
                for _ = 1, 3 do steps = steps + 1 end
                coroutine.resume(coroutine.create(function() coroutine.yield() end))
                for _ = 1, 3 do steps = steps + 1 end
            end
        end
        for n = 1, 300 do
            inner = n % 2 * 30 -- most of the work is here, or there
            local t = spawn(hog)
            assert.equal(t, neap.run(n))
            local begun, before = closed, steps
            t:kill()
            assert.is_true(steps <= before + 1)
            assert.is_false(t.alive)
            assert.is_true(n < 20 or closed == begun + 1)
        end
    end)

    it("is killed wherever it is in a coroutine", function()
        local slices <close> = preempting(0.0005)
        for _ = 1, 40 do
            local t = spawn(function()
                local numbers = coroutine.wrap(function()
                    for i = 1, math.huge do coroutine.yield(i) end
                end)
                while true do
                    numbers()
                    coroutine.wrap(function() return 1 end)()
                end
            end)
            schedule()
            kill(t)
        end
        assert.is_not_nil(slices)
    end)

    it("keeps the hook of the script", function()
        local slices <close> = preempting()
        local lines, hooked = 0, nil
        local t = spawn(function()
            local function hook() lines = lines + 1 end
            debug.sethook(hook, "l")
            local stop = os.clock() + 20 * SLICE
            local n = 0
            repeat n = n + 1
            until os.clock() > stop
            local f, mask
            repeat f, mask = debug.gethook() -- one that cuts in just now shows its own
            until f == hook or os.clock() > stop + 1
            hooked = f == hook and mask == "l" and lines > n / 10
            debug.sethook()
        end)
        local turns = 0
        while t.alive do
            turns = turns + 1
            schedule()
        end
        assert.is_true(hooked)
        assert.is_true(turns > 2)
        assert.is_not_nil(slices)
    end)
end)

describe("a hard kill", function()
    it("cannot be caught; closes what is to be closed", function()
        local log, ch = record.log(), channel()
        local t = spawn(function()
            local _ <close> = setmetatable({}, { __close = function() log "outer" end })
            coroutine.wrap(function()
                local _ <close> = setmetatable({}, { __close = function() log "inner" end })
                while true do pcall(ch.receive, ch) end
            end)()
        end)
        schedule()
        t:kill { hard = true }
        assert.is_false(t.alive)
        assert.equal("inner outer", tostring(log))
        assert.equal(0, ch.balance)
        assert.same({ false, neap.TaskletExit }, { t:join() })
    end)

    it("cleanup that waits is told that it cannot", function()
        local err
        local t = spawn(function()
            local _ <close> = setmetatable({}, { __close = function()
                err = record.error_of(schedule)
            end })
            sleep(60)
        end)
        schedule()
        t:kill { hard = true }
        assert.equal("Cannot block in reactor task", err)
    end)

    it("of the running one cannot be caught either, wherever it is", function()
        local log
        local function closes(what)
            return setmetatable({}, { __close = function() log(what) end })
        end
        local function suicide() neap.getcurrent():kill { hard = true } end
        local function caught(f)
            local _ <close> = closes("inner")
            while true do pcall(f) end
        end
        local where = {
            plain = function() caught(suicide) end,
            coroutine = function() coroutine.wrap(caught)(suicide) end,
            sort = function() caught(function() table.sort({ 2, 1 }, suicide) end) end,
            within_sort = function() table.sort({ 2, 1 }, function() pcall(suicide) end) end,
            coroutine_in_sort = function()
                caught(function() table.sort({ 2, 1 }, coroutine.wrap(suicide)) end)
            end,
            own_group_held = function()
                local t = neap.getcurrent()
                t.group = t
                neap.pause_group(t, true)
                caught(suicide)
            end,
        }
        for name, f in pairs(where) do
            local went_on
            log = record.log()
            local t = spawn(function()
                local _ <close> = closes("outer")
                pcall(f)
                went_on = true
            end)
            assert.same({ false, neap.TaskletExit }, { t:join(5) }, name)
            assert.is_nil(went_on, name)
            assert.equal(name == "within_sort" and "outer" or "inner outer", tostring(log))
        end
    end)

    it("of the running one by a callback or a finalizer: once that is left", function()
        for name, call in pairs {
            callback = function(f)
                local d = deferred()
                d:add_callback(f)
                d:callback()
            end,
            finalizer = function(f)
                setmetatable({}, { __gc = f })
                collectgarbage()
            end,
        } do
            local steps = 1
            local t = spawn(function()
                local me = neap.getcurrent()
                pcall(call, function()
                    me:kill { hard = true }
                    steps = 2
                end)
                steps = 3
            end)
            assert.same({ false, neap.TaskletExit }, { t:join(5) }, name)
            assert.equal(2, steps, name)
        end
    end)

    it("of one that never ran, a paused and a dead one", function()
        local ran = false
        local t = spawn(function() ran = true end)
        t:kill { hard = true }
        t:kill { hard = true }
        local paused = tasklet(function() ran = true end)
        paused:bind(nil, 1)
        paused:kill { hard = true }
        schedule()
        assert.same({ false, false, false }, { ran, t.alive, paused.alive })
    end)
end)

describe("the watchdog", function()
    local function reports(script)
        local status, _, err = child.shell(
            ('"$NEAP" -e %s'):format(child.quote("neap.watchdog(0.05)" .. script)))
        assert.equal(0, status)
        return err
    end

    local hog = [[
        local function hog()
            local stop = os.clock() + 0.3
            repeat until os.clock() > stop
        end
    ]]

    it("reports once who holds the reactor while another is due", function()
        local err = reports(hog .. [[
            local t = spawn(hog)
            t.name = "crawl"
            spawn(function() end)
        ]])
        assert.matches("tasklet 2 %(crawl%) has held the reactor for %d+%.%d s\nstack traceback:",
            err)
        local _, n = err:gsub("has held", "")
        assert.equal(1, n)
    end)

    it("sees one that holds on in a coroutine, a sort or an atomic stretch", function()
        for _, f in ipairs {
            "coroutine.wrap(hog)()", "table.sort({ 2, 1 }, hog)",
            "neap.getcurrent():set_atomic(true) hog()",
        } do
            local err = reports(hog .. "spawn(function() " .. f .. " end) spawn(sleep, 0)")
            assert.matches("has held the reactor", err, f)
        end
    end)

    it("reports one alone for a timer that is due", function()
        assert.matches("has held", reports(hog .. [[
            spawn(function() sleep(0.2) hog() end)
            sleep(0.25)
        ]]))
    end)

    it("is silent while nobody else is due, or when it is off", function()
        assert.equal("", reports(hog .. "hog()"))
        assert.equal("", reports(hog .. "neap.watchdog(nil) spawn(hog) spawn(hog)"))
    end)
end)

describe("under slices", function()
    it("recursion and collection give exact results", function()
        local slices <close> = preempting(0.0005)
        local function depth(n) return n == 0 and 0 or 1 + depth(n - 1) end
        local function fib(n) return n < 2 and n or fib(n - 1) + fib(n - 2) end
        local function tree(n) return n == 0 and {} or { tree(n - 1), tree(n - 1) } end
        local function leaves(t) return t[1] and leaves(t[1]) + leaves(t[2]) or 1 end
        local works = {
            function() assert(depth(5000) == 5000) end,
            function() assert(fib(16) == 987) end,
            function() assert(leaves(tree(9)) == 512) end,
            function()
                local n = 0
                for i in coroutine.wrap(function()
                    for i = 1, 200 do coroutine.yield(i) end
                end) do n = n + i end
                assert(n == 20100)
            end,
            function()
                local n = 0
                for _ = 1, 50 do
                    local co = coroutine.wrap(function(a) return coroutine.yield(depth(a)) + 1 end)
                    n = n + co(100) + co(n)
                end
                assert(n > 0)
            end,
            function()
                local list = {}
                for i = 1, 300 do list[i] = (i * 7919) % 1009 end
                table.sort(list, function(a, b) return a < b end)
                for i = 2, #list do assert(list[i - 1] <= list[i]) end
            end,
            function()
                local s = {}
                for i = 1, 300 do s[#s + 1] = tostring(i) .. ";" end
                assert(#table.concat(s) == 1092)
                assert(select(2, pcall(error, "x", 0)) == "x")
            end,
            function() collectgarbage "step" end,
        }
        local stop, all = os.clock() + 1.5, {}
        for i, work in ipairs(works) do
            all[i] = spawn(function()
                local n = 0
                while os.clock() < stop do
                    work()
                    n = n + 1
                end
                return n
            end)
        end
        for _, t in ipairs(all) do
            local ok, n = t:join()
            assert(ok, n)
            assert.is_true(n > 0)
        end
        assert.is_not_nil(slices)
    end)
end)
