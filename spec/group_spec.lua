-- Groups of tasklets: inherited, ended and held all at once; the rate of the clock.

local finally = require "spec.support.finally"
local record = require "spec.support.record"

local function in_group(group, f, ...)
    local t = tasklet(f)
    t.group = group
    return t(...)
end

describe("a group", function()
    it("is nil, and any value", function()
        local t = tasklet(print)
        assert.is_nil(t.group)
        for _, g in ipairs { "g", 1, {}, false, print } do
            t.group = g
            assert.equal(g, t.group)
        end
        t.group = nil
        assert.is_nil(t.group)
    end)

    it("is inherited by what a member starts, unless that has its own", function()
        local seen = {}
        local own = tasklet(function() seen.own = neap.getcurrent().group end)
        own.group = "own"
        in_group("g", function()
            seen.member = neap.getcurrent().group
            spawn(function()
                seen.child = neap.getcurrent().group
                spawn(function() seen.grandchild = neap.getcurrent().group end)
            end)
            own()
            tasklet(function() seen.bound = neap.getcurrent().group end):bind(nil, 1):insert()
        end)
        spawn(function() seen.outside = neap.getcurrent().group end)
        neap.run()
        assert.same({ member = "g", child = "g", grandchild = "g", own = "own", bound = "g" }, seen)
    end)
end)

describe("kill_group", function()
    it("ends all of it, newest first, in their turns; cleanup runs", function()
        local log = record.log()
        local function stay(name)
            local _ <close> = setmetatable({}, { __close = function() log(name) end })
            sleep(60)
        end
        local g = {}
        for i = 1, 3 do in_group(g, stay, i) end
        local other = in_group("other", stay, "other")
        schedule()
        assert.equal(3, neap.kill_group(g))
        assert.equal("", tostring(log))
        schedule()
        assert.equal("3 2 1", tostring(log))
        assert.is_true(other.alive)
        assert.equal(0, neap.kill_group(g))
        assert.equal(1, neap.kill_group "other")
        schedule()
    end)

    it("ends the member that calls it, last", function()
        local log = record.log()
        local t = in_group("g", function()
            in_group("g", function()
                local _ <close> = setmetatable({}, { __close = function() log "child" end })
                sleep(60)
            end)
            schedule()
            local ok, err = pcall(neap.kill_group, "g")
            log(tostring(not ok and err == neap.TaskletExit))
        end)
        t:join()
        schedule()
        assert.equal("true child", tostring(log))
    end)

    it("one that never ran does not run; equal is what is rawequal", function()
        local ran = false
        local meta = { __eq = function() return true end }
        local g, h = setmetatable({}, meta), setmetatable({}, meta)
        local t = in_group(g, function() ran = true end)
        assert.equal(0, neap.kill_group(h))
        assert.equal(1, neap.kill_group(g))
        schedule()
        assert.same({ false, false }, { ran, t.alive })
    end)

    it("frees what they held: a channel's queue, timers", function()
        local ch = channel()
        for _ = 1, 100 do in_group("g", ch.receive, ch, 60) end
        schedule()
        assert.equal(-100, ch.balance)
        assert.equal(100, neap.kill_group "g")
        assert.equal(0, ch.balance)
        schedule()
    end)

    it("wants a group", function()
        assert.has_error(function() neap.kill_group() end)
        assert.equal(0, neap.kill_group(nil))
    end)
end)

-- The rate of the clock until the value goes out of scope; at 0 no timer is due, however slow
-- all is.
local function rate(x)
    neap.scale(x)
    return finally(function() neap.scale(1) end)
end

describe("pause_group", function()
    it("holds who is ready, in order, until it is released", function()
        local log = record.log()
        for i = 1, 3 do in_group("g", log, i) end
        assert.equal(3, neap.pause_group("g", true))
        spawn(log, "x")
        neap.run()
        assert.equal("x", tostring(log))
        assert.equal(3, neap.pause_group("g", false))
        neap.run()
        assert.equal("x 1 2 3", tostring(log))
    end)

    it("wakes wait", function()
        local log, ch = record.log(), channel()
        ch.preference = 0
        for i = 1, 2 do in_group("g", function() log(i .. "=" .. ch:receive()) end) end
        schedule()
        neap.pause_group("g", true)
        ch:send "a"
        assert.is_true(ch:try_send "b")
        assert.equal(0, ch.balance)
        neap.run()
        assert.equal("", tostring(log))
        neap.pause_group("g", false)
        neap.run()
        assert.equal("1=a 2=b", tostring(log))
    end)

    it("timers keep what was left", function()
        local woken
        local t = in_group("g", function()
            sleep(0.05)
            woken = true
        end)
        do
            local _ <close> = rate(0)
            schedule()
            neap.pause_group("g", true)
        end
        sleep(0.1)
        assert.is_nil(woken)
        local before = neap.now()
        neap.pause_group("g", false)
        t:join()
        assert.is_true(neap.now() - before >= 0.049)
    end)

    it("a wait served meanwhile has no timer left", function()
        local ch, got = channel(), nil
        local t = in_group("g", function()
            got = ch:receive(0.01)
            sleep(0)
        end)
        do
            local _ <close> = rate(0)
            schedule()
            neap.pause_group("g", true)
            ch:send "served"
        end
        sleep(0.02)
        neap.pause_group("g", false)
        t:join()
        assert.equal("served", got)
    end)

    it("holds what a member starts, and the member itself at its next wait", function()
        local log = record.log()
        in_group("g", function()
            neap.pause_group("g", true)
            spawn(log, "child")
            log "still"
            schedule()
            log "after"
        end)
        neap.run()
        assert.equal("still", tostring(log))
        neap.pause_group("g", false)
        neap.run()
        assert.equal("still child after", tostring(log))
    end)

    it("a held one in neap.run does not hold those whose run is outside of its own", function()
        local log = record.log()
        in_group("g", function()
            neap.pause_group("g", true)
            neap.run()
            log "inner"
        end)
        spawn(schedule)
        neap.run()
        log "outer"
        neap.pause_group("g", false)
        neap.run()
        assert.equal("outer inner", tostring(log))
    end)

    it("twice is once", function()
        local log = record.log()
        local again = in_group("g", log, "a")
        assert.equal(1, neap.pause_group("g", true))
        assert.equal(1, neap.pause_group("g", true))
        neap.run()
        neap.pause_group("g", false)
        neap.pause_group("g", false)
        neap.run()
        assert.equal("a", tostring(log))
        again:bind(log)
        again:setup "b"
        neap.pause_group("g", true)
        again:kill { hard = true }
        again:bind(log)
        again:setup "c"
        neap.run()
        assert.equal("a c", tostring(log))
    end)

    it("one that leaves the group is not held any more", function()
        local log, clock = record.log(), rate(0)
        local ready = in_group("g", log, "ready")
        local asleep = in_group("g", function()
            sleep(0.01)
            log "asleep"
        end)
        ready:remove():insert()
        schedule()
        local late = in_group("g", log, "late")
        neap.pause_group("g", true)
        neap.run()
        late.group, asleep.group = nil, nil
        schedule()
        do local _ <close> = clock end
        asleep:join()
        assert.equal("ready late asleep", tostring(log))
    end)

    it("held ones can be killed for good, and removed", function()
        local log, ch = record.log(), channel()
        local a, b = in_group("g", log, "a"), in_group("g", ch.receive, ch)
        schedule()
        local c = in_group("g", log, "c")
        neap.pause_group("g", true)
        c:remove()
        assert.is_true(c.paused)
        b:kill { hard = true }
        c:kill { hard = true }
        neap.pause_group("g", false)
        neap.run()
        assert.equal("a", tostring(log))
        assert.same({ false, false, false }, { a.alive, b.alive, c.alive })
    end)

    it("a kill waits for the release", function()
        local t = in_group("g", sleep, 60)
        schedule()
        neap.pause_group("g", true)
        t:kill()
        assert.is_true(t.alive)
        neap.pause_group("g", false)
        schedule()
        assert.is_false(t.alive)
    end)
end)

describe("scale", function()
    it("0 stands: no timer of the runtime's clock is due", function()
        local woken
        local t = spawn(function()
            sleep(0.001)
            woken = true
        end)
        schedule()
        do
            local standing <close> = rate(0)
            local before, stop = neap.now(), os.clock() + 0.02
            repeat schedule() until os.clock() > stop
            assert.equal(before, neap.now())
            assert.is_nil(woken)
            assert.is_not_nil(standing)
        end
        t:join()
        assert.is_true(woken)
    end)

    it("1000 makes seconds short", function()
        local fast <close> = rate(1000)
        local before, real = neap.now(), os.time()
        sleep(8)
        assert.is_true(neap.now() - before >= 8)
        assert.is_true(os.time() - real < 8)
        assert.is_not_nil(fast)
    end)

    it("changes what is left of a sleep, and never goes back", function()
        local began, before = neap.realtime.now(), neap.now()
        local t = spawn(sleep, 8)
        schedule()
        neap.scale(1000)
        t:join()
        neap.scale(1)
        local passed, real = neap.now() - before, neap.realtime.now() - began
        assert.is_true(passed >= 8)
        assert.is_true(real < 8)
        assert.is_true(passed <= 1000 * real)
    end)

    it("keeps the order of sleeps", function()
        local standing <close> = rate(0)
        local log, all = record.log(), {}
        for i, s in ipairs { 3, 1, 2, 1 } do
            all[i] = spawn(function()
                sleep(s)
                log(i)
            end)
        end
        schedule()
        neap.scale(1000)
        for _, t in ipairs(all) do t:join() end
        assert.equal("2 4 3 1", tostring(log))
        assert.is_not_nil(standing)
    end)

    it("wants a number from 0 on", function()
        for _, x in ipairs { -1, math.huge, 0 / 0, "x" } do
            assert.has_error(function() neap.scale(x) end)
        end
        neap.scale(1)
    end)
end)
