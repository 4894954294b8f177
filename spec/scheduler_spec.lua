-- Who runs when: the run queue is strictly first in, first out, and run and kill are flat:
-- the target runs, the caller goes on right after it, nobody else moves.

local record = require "spec.support.record"

-- Starts f(log) in a tasklet for each name in `order`, in that order, and waits for all.
local function events(order, bodies)
    local log, started = record.log(), {}
    for name in order:gmatch("%S+") do
        started[#started + 1] = spawn(bodies[name], log, name)
    end
    for _, t in ipairs(started) do assert(t:join()) end
    return tostring(log)
end

local function thrice(log, name)
    log(name .. "0")
    schedule()
    log(name .. "1")
    schedule()
    log(name .. "end")
end

local function twice(log, name)
    log(name .. "0")
    schedule()
    log(name .. "1")
end

describe("the run queue", function()
    it("is first in, first out", function()
        assert.equal("a0 b0 c0 a1 b1 c1 aend bend cend",
            events("a b c", { a = thrice, b = thrice, c = thrice }))
    end)

    it("a new tasklet goes behind all that are queued", function()
        local child
        assert.equal("par sib child", events("par sib", {
            par = function(log)
                child = spawn(log, "child")
                log "par"
                child:join()
            end,
            sib = function(log, name) log(name) end,
        }))
    end)

    it("one that is inserted goes to the end", function()
        local log = record.log()
        local t = spawn(log, "t")
        spawn(log, "u")
        t:remove():insert()
        schedule()
        assert.equal("u t", tostring(log))
    end)

    it("alone, schedule returns at once", function()
        local n = require("neap.host").stats().resumes
        schedule()
        assert.equal(n + 1, require("neap.host").stats().resumes)
    end)

    it("sleep(0) lets the others run first", function()
        assert.equal("a0 b a1", events("a b", {
            a = function(log)
                log "a0"
                sleep(0)
                log "a1"
            end,
            b = function(log, name) log(name) end,
        }))
    end)

    it("sleepers wake in the order of their times, equal ones in that of their sleeps", function()
        local log, all = record.log(), {}
        neap.scale(0) -- all sleep from the same instant on
        for i, s in ipairs { 0.006, 0.002, 0.004, 0.002, 0.006 } do
            all[i] = spawn(function()
                sleep(s)
                log(i)
            end)
        end
        schedule()
        neap.scale(1)
        for _, t in ipairs(all) do t:join() end
        assert.equal("2 4 3 1 5", tostring(log))
    end)

    it("a busy tasklet does not hold up the timers", function()
        local ticks, busy = 0, true
        local t = spawn(function() while busy do schedule() end end)
        for _ = 1, 3 do
            sleep(0.001)
            ticks = ticks + 1
        end
        busy = false
        t:join()
        assert.equal(3, ticks)
    end)

    it("getruncount counts the runnable, the caller included", function()
        assert.equal(1, neap.getruncount())
        local t, u = spawn(schedule), spawn(schedule)
        assert.equal(3, neap.getruncount())
        t:remove()
        assert.equal(2, neap.getruncount())
        t:kill()
        u:kill()
        local ch = channel()
        local r = spawn(ch.receive, ch)
        schedule()
        assert.equal(1, neap.getruncount())
        ch:try_send(1)
        assert.equal(2, neap.getruncount())
        r:join()
        local inside
        spawn(function() inside = neap.getruncount() end):run()
        assert.equal(2, inside) -- the caller of run is next
    end)
end)

describe("run", function()
    it("goes to the target alone", function()
        local log, t = record.log(), {}
        for i = 1, 3 do t[i] = spawn(log, "t" .. i) end
        t[2]:run()
        log "main"
        assert.equal(3, neap.getruncount())
        schedule()
        assert.equal("t2 main t1 t3", tostring(log))
    end)

    it("in a queue A X B Y gives A0 B0 A1 X Y", function()
        local b
        local log = record.log()
        local all = {
            spawn(function()
                log "A0"
                b:run()
                log "A1"
            end),
            spawn(log, "X"),
        }
        b = spawn(function()
            log "B0"
            schedule()
            log "B1"
        end)
        all[3], all[4] = b, spawn(log, "Y")
        for _, t in ipairs(all) do t:join() end
        assert.equal("A0 B0 A1 X Y B1", tostring(log))
    end)

    it("inside a tasklet moves nobody else", function()
        local log = record.log()
        local function t(n) log("t" .. n) end
        spawn(t, 1)
        spawn(function()
            local t2 = spawn(t, 2)
            spawn(t, 3)
            spawn(t, 4)
            t2:run()
        end)
        spawn(t, 5)
        schedule()
        schedule()
        assert.equal("t1 t2 t5 t3 t4", tostring(log))
    end)

    it("nested: Rabbit Dog End Donkey Cat Monkey", function()
        local log = record.log()
        spawn(function()
            log "Rabbit"
            local dog = spawn(log, "Dog")
            spawn(log, "Cat")
            spawn(log, "Monkey")
            dog:run()
            log "End"
        end)
        spawn(log, "Donkey")
        schedule()
        schedule()
        assert.equal("Rabbit Dog End Donkey Cat Monkey", tostring(log))
    end)

    it("of a paused target: it, then the caller, before all queued earlier", function()
        local log = record.log()
        local target = tasklet():bind(log, "target")
        spawn(log, "X")
        target:run()
        log "caller"
        schedule()
        assert.equal("target caller X", tostring(log))
    end)

    it("returns when the caller is next, not when the target ends", function()
        local log = record.log()
        local t = spawn(function()
            log "first"
            schedule()
            log "second"
        end)
        t:run()
        log "caller"
        t:join()
        assert.equal("first caller second", tostring(log))
    end)

    it("returns when the target blocks", function()
        local log, ch = record.log(), channel()
        local t = spawn(function() log(ch:receive()) end)
        t:run()
        log "caller"
        ch:send "value"
        assert.equal("caller value", tostring(log))
    end)

    it("of one that runs another comes back through both", function()
        local log, c = record.log(), nil
        local a = spawn(function()
            log "a<"
            c:run()
            log "a>"
        end)
        c = spawn(function()
            log "c<"
            schedule()
            log "c>"
        end)
        spawn(log, "X")
        a:run()
        log "main"
        assert.equal("a< c< a> main", tostring(log))
        c:join()
        assert.equal("a< c< a> main X c>", tostring(log))
    end)

    it("10,000 tasklets, each running the next", function()
        local n, ran = 10000, 0
        local t = {}
        for i = 1, n do
            t[i] = tasklet():bind(function()
                ran = ran + 1
                if t[i + 1] then t[i + 1]:run() end
            end, i)
        end
        t[1]:run()
        for i = 1, n do assert(t[i]:join()) end
        assert.equal(n, ran)
    end)
end)

describe("kill and throw", function()
    it("of a blocked target: it, then the caller, before all queued earlier", function()
        for _, how in ipairs { "kill", "throw" } do
            local log, ch = record.log(), channel()
            spawn(function()
                log "A0"
                local b = spawn(function()
                    pcall(ch.receive, ch)
                    log "Bexit"
                end)
                b:run()
                spawn(log, "X")
                b[how](b, how == "throw" and "x" or nil)
                log "A1"
            end):run()
            schedule()
            assert.equal("A0 Bexit A1 X", tostring(log))
        end
    end)

    it("of a scheduled target moves nobody else", function()
        local log = record.log()
        local target
        local function body()
            log "B0"
            pcall(schedule)
            log "Bexit"
        end
        target = spawn(body)
        target:run()
        spawn(log, "X")
        target:kill()
        log "caller"
        spawn(log, "Y")
        schedule()
        assert.equal("B0 Bexit caller X Y", tostring(log))
    end)
end)

-- What the channel's preference makes of a sender and a receiver, measured on Stackless.
describe("channel order", function()
    local function cast(ch)
        local senders = 0
        return {
            R = function(log)
                log "R<"
                ch:receive()
                log "R>"
                schedule()
                log "Rend"
            end,
            S = function(log)
                log "S<"
                ch:send(1)
                log "S>"
                schedule()
                log "Send"
            end,
            X = twice,
            Y = twice,
            p = function(log)
                for i = 0, 2 do
                    log("p" .. i)
                    ch:send(i)
                end
                log "pend"
            end,
            c = function(log)
                for _ = 0, 2 do log("c" .. ch:receive()) end
                log "cend"
            end,
            s = function(log)
                local n = senders
                senders = n + 1
                ch:send(n)
                log("s" .. n)
            end,
            r = function(log) log("r" .. ch:receive()) end,
        }
    end

    local function preferring(preference)
        local ch = channel()
        if preference == "all" then
            ch.schedule_all = true
        else
            ch.preference = preference
        end
        return ch
    end

    local table_of_orders = {
        { "R S X Y", -1, "R< S< R> X0 Y0 S> Rend X1 Y1 Send" },
        { "R S X Y", 0, "R< S< S> X0 Y0 R> Send X1 Y1 Rend" },
        { "R S X Y", 1, "R< S< S> X0 Y0 R> Send X1 Y1 Rend" },
        { "R S X Y", "all", "R< S< X0 Y0 R> S> X1 Y1 Rend Send" },
        { "S R X Y", -1, "S< R< R> X0 Y0 S> Rend X1 Y1 Send" },
        { "S R X Y", 0, "S< R< R> X0 Y0 S> Rend X1 Y1 Send" },
        { "S R X Y", 1, "S< R< S> X0 Y0 R> Send X1 Y1 Rend" },
        { "S R X Y", "all", "S< R< X0 Y0 S> R> X1 Y1 Send Rend" },
        { "p c", -1, "p0 c0 p1 c1 p2 c2 cend pend" },
        { "p c", 0, "p0 c0 p1 p2 c1 c2 cend pend" },
        { "p c", 1, "p0 p1 c0 p2 c1 pend c2 cend" },
        { "s s s r r r", -1, "r0 r1 r2 s0 s1 s2" },
        { "s s s r r r", 0, "r0 r1 r2 s0 s1 s2" },
        { "s s s r r r", 1, "s0 s1 s2 r0 r1 r2" },
        { "r r r s s s", -1, "r0 r1 r2 s0 s1 s2" },
        { "r r r s s s", 0, "s0 s1 s2 r0 r1 r2" },
        { "r r r s s s", 1, "s0 s1 s2 r0 r1 r2" },
    }
    for _, row in ipairs(table_of_orders) do
        local order, preference, expected = table.unpack(row)
        it(("%s, preference %s"):format(order, preference), function()
            assert.equal(expected, events(order, cast(preferring(preference))))
        end)
    end

    it("schedule_all overrides any preference", function()
        for preference = -1, 1 do
            local ch = preferring("all")
            ch.preference = preference
            assert.equal("S< R< X0 Y0 S> R> X1 Y1 Send Rend", events("S R X Y", cast(ch)))
        end
    end)

    it("send with X queued: who runs before it returns", function()
        for preference, expected in pairs {
            [-1] = "R X sent", [0] = "sent X R", [1] = "sent X R",
        } do
            local log, ch = record.log(), preferring(preference)
            local r = spawn(function()
                ch:receive()
                log "R"
            end)
            schedule()
            local x = spawn(log, "X")
            ch:send()
            log "sent"
            x:join()
            r:join()
            assert.equal(expected, tostring(log))
        end
    end)

    it("try_send and a send into a buffer never switch", function()
        for preference = -1, 1 do
            local log = record.log()
            local ch, buffered = preferring(preference), channel(2)
            buffered.preference = preference
            local function take(c) log(c:receive()) end
            local r, b = spawn(take, ch), spawn(take, buffered)
            schedule()
            assert.is_true(ch:try_send "r")
            log "main"
            schedule()
            b:kill()
            buffered:send "b"
            log "still main"
            assert.equal("main r still main", tostring(log))
            r:join()
        end
    end)
end)
