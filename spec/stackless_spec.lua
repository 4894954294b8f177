-- Stackless's names over neap: what people who port code rely on, and where neap differs.

local record = require "spec.support.record"
local stackless = require "neap.stackless"
local unhandled = record.unhandled

-- The text of the error that f(...) raises, without the place.
local function error_of(f, ...)
    return (record.error_of(f, ...):gsub("^%[string .-%]:%d+: ", ""))
end

local function nop() end

-- alive, paused, scheduled, blocked, as in the tables of Stackless's own documentation.
local function state(t)
    return ("%d%d%d%d"):format(t.alive and 1 or 0, t.paused and 1 or 0, t.scheduled and 1 or 0,
        t.blocked and 1 or 0)
end

-- Calls f while `handler` gets the errors, then puts the old handler back.
local function handling(handler, f)
    local old = stackless.set_error_handler(handler)
    local _ <close> = setmetatable({}, { __close = function()
        stackless.set_error_handler(old)
    end })
    return f()
end

-- Starts a tasklet for each name in `order`, in that order, and runs them all.
local function events(order, bodies)
    local log = record.log()
    for name in order:gmatch("%S+") do stackless.tasklet(bodies[name])(log, name) end
    stackless.run()
    return tostring(log)
end

describe("the names of Stackless", function()
    it("are neap's own things", function()
        for _, name in ipairs { "TaskletExit", "channel", "getcurrent", "getmain",
            "getruncount", "set_schedule_callback", "set_channel_callback", "switch_trap" } do
            assert.equal(neap[name], stackless[name])
        end
        assert.equal(neap.getcurrent(), stackless.current())
        assert.equal(neap.getmain(), stackless.main())
        assert.equal(getmetatable(neap.tasklet()), getmetatable(stackless.tasklet(nop)))
    end)

    it("is_current, is_main, get_thread_info", function()
        local t, main = stackless.getcurrent(), stackless.getmain()
        assert.same({ true, false }, { stackless.is_current(t), stackless.is_main(t) })
        assert.same({ false, true }, { stackless.is_current(main), stackless.is_main(main) })
        assert.same({ main, t, 1 }, { stackless.get_thread_info() })
    end)

    it("those without a meaning here do nothing", function()
        assert.is_true(stackless.enable_softswitch(false))
        assert.is_false(stackless.enable_softswitch(nil))
        assert.is_false(stackless.enable_softswitch(true))
        assert.is_true(stackless.enable_softswitch())
        assert.is_false(stackless.set_ignore_nesting(stackless.getcurrent(), true))
    end)
end)

describe("the life of a tasklet", function()
    it("unbound, bound, bound with arguments", function()
        local t = stackless.tasklet()
        assert.equal("0000", state(t))
        assert.equal(t, t:bind(nop))
        assert.equal("0000", state(t))
        assert.equal("0000", state(stackless.tasklet(nop)))
        assert.equal(t, stackless.bind(t, nop, 1))
        assert.equal("1100", state(t))
        assert.equal(t, stackless.bind(t, nil))
        assert.equal("0000", state(t))
    end)

    it("scheduled, current, dead", function()
        local during
        local t = stackless.tasklet(function() during = state(stackless.getcurrent()) end)()
        assert.equal("1010", state(t))
        stackless.run()
        assert.equal("1010", during)
        assert.equal("0000", state(t))
    end)

    it("blocked counts as scheduled", function()
        local ch = stackless.channel()
        local t = stackless.tasklet(ch.receive)(ch)
        stackless.run()
        assert.equal("1011", state(t))
        ch:send(1)
        stackless.run()
        assert.equal("0000", state(t))
    end)

    it("removed, then run", function()
        local ran
        local t = stackless.tasklet(function() ran = true end)()
        t:remove()
        assert.equal("1100", state(t))
        t:run()
        assert.is_true(ran)
    end)

    it("bind keeps the function when it gets arguments only", function()
        local got
        local t = stackless.bind(stackless.tasklet(function(v) got = v end), nil, 7)
        t:run()
        assert.equal(7, got)
    end)

    it("refuses what Stackless refuses, in its words", function()
        assert.equal("tasklet function must be a callable or None", error_of(stackless.tasklet, 1))
        assert.equal("tasklet function must be a callable or None",
            error_of(stackless.bind, stackless.tasklet(), {}))
        assert.equal("You cannot run an unbound(dead) tasklet",
            error_of(function() stackless.tasklet(nop):run() end))
        local t = stackless.tasklet(nop)()
        assert.equal("tasklet is alive", error_of(t.setup, t))
        assert.equal("tasklet is scheduled", error_of(stackless.bind, t, nop))
        stackless.run()
    end)

    it("a callable object is a function", function()
        local got
        local f = setmetatable({}, { __call = function(_, v) got = v end })
        stackless.tasklet(f)(3)
        stackless.run()
        assert.equal(3, got)
    end)
end)

describe("the queue", function()
    local function thrice(log, name)
        log(name .. "0")
        stackless.schedule()
        log(name .. "1")
        stackless.schedule()
        log(name .. "end")
    end

    it("is first in, first out", function()
        assert.equal("a0 b0 c0 a1 b1 c1 aend bend cend",
            events("a b c", { a = thrice, b = thrice, c = thrice }))
    end)

    it("run returns when the caller is next, not when the target ends", function()
        local log = record.log()
        local t = stackless.tasklet(thrice)(log, "t")
        t:run()
        log "caller"
        stackless.run()
        assert.equal("t0 caller t1 tend", tostring(log))
    end)

    it("is flat: Rabbit Dog End Donkey Cat Monkey", function()
        local function say(log, name) log(name) end
        assert.equal("Rabbit Dog End Donkey Cat Monkey", events("Rabbit Donkey", {
            Rabbit = function(log)
                log "Rabbit"
                local dog = stackless.tasklet(log)("Dog")
                stackless.tasklet(log)("Cat")
                stackless.tasklet(log)("Monkey")
                dog:run()
                log "End"
            end,
            Donkey = say,
        }))
    end)

    it("schedule gives its argument, or the tasklet", function()
        assert.equal(stackless.getcurrent(), stackless.schedule())
        assert.equal("v", stackless.schedule("v"))
        assert.is_nil(stackless.schedule(nil))
    end)

    it("schedule_remove gives tempval, which others may set", function()
        local got = {}
        local function wait(i, ...) got[i] = stackless.schedule_remove(...) end
        local t = stackless.tasklet(wait)(1)
        local u = stackless.tasklet(wait)(2, "given")
        local v = stackless.tasklet(wait)(3)
        stackless.run()
        assert.equal("1100", state(t))
        v.tempval = "set"
        for _, each in ipairs { t, u, v } do each:insert() end
        stackless.run()
        assert.same({ t, "given", "set" }, got)
    end)
end)

describe("the order on a channel", function()
    local function twice(log, name)
        log(name .. "0")
        stackless.schedule()
        log(name .. "1")
    end

    -- R S X Y with R and S on a channel; Stackless's own orders.
    local function meeting(order, preference, schedule_all)
        local ch = stackless.channel()
        ch.preference = preference
        ch.schedule_all = schedule_all
        local function on_channel(operation)
            return function(log, name)
                log(name .. "<")
                operation(ch, 1)
                log(name .. ">")
                stackless.schedule()
                log(name .. "end")
            end
        end
        return events(order, {
            R = on_channel(function() ch:receive() end),
            S = on_channel(ch.send),
            X = twice,
            Y = twice,
        })
    end

    it("with the receiver first", function()
        local neither = "R< S< S> X0 Y0 R> Send X1 Y1 Rend"
        assert.equal("R< S< R> X0 Y0 S> Rend X1 Y1 Send", meeting("R S X Y", -1))
        assert.equal(neither, meeting("R S X Y", 0))
        assert.equal(neither, meeting("R S X Y", 1))
        assert.equal("R< S< X0 Y0 R> S> X1 Y1 Rend Send", meeting("R S X Y", -1, true))
    end)

    it("with the sender first", function()
        local neither = "S< R< R> X0 Y0 S> Rend X1 Y1 Send"
        assert.equal(neither, meeting("S R X Y", -1))
        assert.equal(neither, meeting("S R X Y", 0))
        assert.equal("S< R< S> X0 Y0 R> Send X1 Y1 Rend", meeting("S R X Y", 1))
        assert.equal("S< R< X0 Y0 S> R> X1 Y1 Send Rend", meeting("S R X Y", -1, true))
    end)

    it("of a producer and a consumer", function()
        local function order(preference)
            local ch = stackless.channel()
            ch.preference = preference
            return events("p c", {
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
            })
        end
        assert.equal("p0 c0 p1 c1 p2 c2 cend pend", order(-1))
        assert.equal("p0 c0 p1 p2 c1 c2 cend pend", order(0))
        assert.equal("p0 p1 c0 p2 c1 pend c2 cend", order(1))
    end)
end)

describe("a channel", function()
    it("send_exception makes the error of its class and arguments", function()
        local ch, got = stackless.channel(), {}
        local function take()
            local _, err = pcall(ch.receive, ch)
            got[#got + 1] = err
        end
        local classes = { neap.TimeoutError, function(a, b) return a .. b end }
        stackless.tasklet(take)()
        stackless.tasklet(take)()
        stackless.tasklet(take)()
        stackless.run()
        stackless.send_exception(ch, classes[1], "late")
        stackless.send_exception(ch, classes[2], "a", "b")
        stackless.send_exception(ch, "just this")
        stackless.run()
        assert.is_true(neap.is(got[1], neap.TimeoutError))
        assert.same({ "late", "ab", "just this" }, { tostring(got[1]), got[2], got[3] })
    end)

    it("send_throw takes a class, a class with a value, or an error", function()
        local ch, got = stackless.channel(), {}
        local late = neap.TimeoutError("late")
        for _ = 1, 5 do
            stackless.tasklet(function()
                local _, err = pcall(ch.receive, ch)
                got[#got + 1] = err
            end)()
        end
        stackless.run()
        stackless.send_throw(ch, neap.TimeoutError)
        stackless.send_throw(ch, neap.TimeoutError, "text")
        stackless.send_throw(ch, neap.TimeoutError, late)
        stackless.send_throw(ch, late)
        stackless.send_throw(ch, "text")
        stackless.run()
        assert.is_true(neap.is(got[1], neap.TimeoutError))
        assert.equal("text", tostring(got[2]))
        assert.equal(late, got[3])
        assert.equal(late, got[4])
        assert.equal("text", got[5])
        assert.equal("instance exception may not have a separate value",
            error_of(stackless.send_throw, ch, late, "text"))
        assert.equal("instance exception may not have a separate value",
            error_of(stackless.send_exception, ch, late, "text"))
        assert.equal(0, ch.balance)
    end)

    it("TaskletExit ends the receiver silently, and the sender goes on", function()
        local ch = stackless.channel()
        local t = stackless.tasklet(ch.receive)(ch)
        stackless.run()
        stackless.send_exception(ch, stackless.TaskletExit)
        stackless.run()
        assert.is_false(t.alive)
    end)

    it("an error that is sent as a value arrives as one", function()
        local ch, err, got = stackless.channel(), neap.TimeoutError("x"), nil
        stackless.tasklet(function() got = ch:receive() end)()
        stackless.run()
        ch:send(err)
        assert.equal(err, got)
    end)

    it("queue is the first that waits", function()
        local ch = stackless.channel()
        assert.is_nil(stackless.queue(ch))
        local t, u = stackless.tasklet(ch.receive)(ch), stackless.tasklet(ch.receive)(ch)
        stackless.run()
        assert.equal(t, stackless.queue(ch))
        t:kill()
        assert.equal(u, stackless.queue(ch))
        assert.equal(-1, ch.balance)
        while stackless.queue(ch) do stackless.queue(ch):kill() end
        assert.equal(0, ch.balance)
    end)

    it("close is Stackless's own: who waits stays, and is still served", function()
        local ch, got = stackless.channel(), nil
        stackless.tasklet(function() got = ch:receive() end)()
        stackless.run()
        stackless.close(ch)
        assert.same({ true, false, -1 }, { ch.closing, ch.closed, ch.balance })
        ch:send(5)
        stackless.run()
        assert.equal(5, got)
        assert.is_true(ch.closed)
        assert.equal("Send/receive operation on a closed channel", error_of(ch.send, ch, 1))
        ch:open()
        assert.is_false(ch.closing)
    end)

    it("the method close wakes them", function()
        local ch, got = stackless.channel(), nil
        stackless.tasklet(function() got = table.pack(ch:receive()) end)()
        stackless.run()
        ch:close()
        stackless.run()
        assert.same({ nil, "closed", n = 2 }, got)
    end)

    it("an iteration ends by close, and raises at nil unless it counts", function()
        local ch, got, err = stackless.channel(), record.log(), nil
        stackless.tasklet(function()
            for v in ch do got(v) end
            got "end"
        end)()
        stackless.tasklet(function()
            assert(ch:send_sequence { 1, 2 } == 2)
            ch:close()
        end)()
        stackless.run()
        assert.equal("1 2 end", tostring(got))

        ch:open()
        stackless.tasklet(function()
            for i, v in ch:iter() do
                got(("%d:%s"):format(i, v))
                if i == 2 then break end
            end
            err = error_of(function() for _ in ch do got "never" end end)
        end)()
        stackless.tasklet(function()
            ch:send(nil)
            ch:send("x")
            ch:send(nil)
        end)()
        stackless.run()
        assert.equal("1 2 end 1:nil 2:x", tostring(got))
        assert.truthy(err:find("nil was sent", 1, true))
    end)
end)

describe("raise_exception and throw", function()
    local function waiting()
        local ch, got = stackless.channel(), {}
        local t = stackless.tasklet(function() got.err = select(2, pcall(ch.receive, ch)) end)()
        stackless.run()
        return t, got
    end

    it("raise where the tasklet waits, now", function()
        local t, got = waiting()
        stackless.raise_exception(t, neap.TimeoutError, "late")
        assert.equal("late", tostring(got.err))
        assert.is_false(t.alive)

        t, got = waiting()
        stackless.throw(t, neap.TimeoutError, "late")
        assert.equal("late", tostring(got.err))

        t, got = waiting()
        stackless.raise_exception(t, stackless.TaskletExit, "why")
        assert.equal(stackless.TaskletExit, got.err)
    end)

    it("pending, when its turn comes", function()
        local t, got = waiting()
        stackless.throw(t, "late", nil, nil, true)
        assert.is_nil(got.err)
        assert.equal("1010", state(t))
        stackless.run()
        assert.equal("late", got.err)
    end)

    it("of a dead one: an error, unless it is TaskletExit", function()
        local t = stackless.tasklet(nop)
        assert.equal("You cannot throw to a dead tasklet",
            error_of(stackless.throw, t, neap.TimeoutError))
        stackless.throw(t, stackless.TaskletExit)
        stackless.raise_exception(t, stackless.TaskletExit)
        assert.equal("instance exception may not have a separate value",
            error_of(stackless.raise_exception, t, "text", 1))
    end)
end)

describe("run", function()
    it("returns nothing when the queue is empty; blocked tasklets do not count", function()
        local ch, n = stackless.channel(), 0
        local t = stackless.tasklet(ch.receive)(ch)
        for _ = 1, 3 do stackless.tasklet(function() n = n + 1 end)() end
        assert.equal(0, select("#", stackless.run()))
        assert.equal(3, n)
        assert.is_true(t.blocked)
        t:kill()
    end)

    it("returns wherever in a turn of the scheduler the queue gets empty", function()
        for n = 240, 270 do
            sleep(0)
            stackless.tasklet(function() for _ = 1, n do stackless.schedule() end end)()
            stackless.run()
        end
    end)

    it("with a count returns the tasklet that uses more", function()
        local go = true
        local greedy = stackless.tasklet(function() while go do end end)()
        local modest = stackless.tasklet(nop)()
        assert.equal(greedy, stackless.run(10000))
        assert.equal("1100", state(greedy))
        assert.is_nil(stackless.run { timeout = 10000, threadblock = true })
        assert.is_false(modest.alive)
        greedy:insert()
        assert.equal(greedy, stackless.run { timeout = 10000 })
        go = false
        greedy:insert()
        assert.is_nil(stackless.run(10000))
        assert.is_false(greedy.alive)
    end)

    it("one that gives way in time is not cut", function()
        local n = 0
        local function work()
            for _ = 1, 20 do
                for _ = 1, 100 do n = n + 1 end
                stackless.schedule()
            end
        end
        stackless.tasklet(work)()
        stackless.tasklet(work)()
        assert.is_nil(stackless.run(5000))
        assert.equal(4000, n)
    end)

    it("atomic holds the cut off", function()
        local n = 0
        local t = stackless.tasklet(function()
            do
                local _ <close> = stackless.atomic()
                for _ = 1, 20000 do n = n + 1 end
            end
            while true do n = n + 1 end
        end)()
        assert.equal(t, stackless.run(1000))
        assert.is_true(n >= 20000)
        t:kill()
    end)

    it("raises an error that nobody handles; the others stay queued", function()
        local ran = false
        stackless.tasklet(error)("a bug", 0)
        stackless.tasklet(function() ran = true end)()
        assert.equal("a bug", error_of(stackless.run))
        stackless.run()
        assert.is_true(ran)
    end)

    it("says which option it does not have", function()
        assert.equal("stackless.run has no option 'soft' in neap",
            error_of(function() stackless.run { timeout = 100, soft = true } end))
        stackless.run { soft = false, totaltimeout = false }
    end)
end)

describe("the error handler", function()
    it("is set and given back", function()
        assert.is_nil(stackless.set_error_handler(nop))
        assert.equal(nop, stackless.set_error_handler(nil))
        assert.is_nil(stackless.set_error_handler(nil))
        assert.truthy(error_of(stackless.set_error_handler, 1):find("bad argument", 1, true))
    end)

    it("gets the errors; the others go on", function()
        local got, who, ran = nil, nil, false
        local err = neap.TimeoutError("late")
        local t
        handling(function(...)
            got, who = table.pack(...), stackless.getcurrent()
        end, function()
            t = stackless.tasklet(function() error(err) end)()
            stackless.tasklet(function() ran = true end)()
            stackless.run()
        end)
        assert.equal(3, got.n)
        assert.equal(neap.TimeoutError, got[1])
        assert.equal(err, got[2])
        assert.truthy(got[3]:find("stackless_spec.lua", 1, true))
        assert.equal(t, who)
        assert.is_true(ran)
        assert.is_false(t.alive)
    end)

    it("gets those of bind, and of tasklets that nobody runs by run", function()
        local kinds = record.log()
        unhandled(function(errors)
            handling(function(kind, err) kinds(kind .. ":" .. err) end, function()
                local t = stackless.bind(stackless.tasklet(), function(v) error(v, 0) end, "x")
                t:run()
                stackless.tasklet(error)(5, 0)
                stackless.schedule()
            end)
            assert.same({}, errors)
        end)
        assert.equal("string:x number:5", tostring(kinds))
    end)

    it("may raise: that error goes on, to run or to neap.on_error", function()
        handling(function(_, err) error("worse than " .. err, 0) end, function()
            stackless.tasklet(error)("bad", 0)
            assert.equal("worse than bad", error_of(stackless.run))
            unhandled(function(errors)
                stackless.tasklet(error)("bad", 0)
                stackless.schedule()
                assert.equal("worse than bad", errors[1].value)
            end)
        end)
    end)

    it("may wait", function()
        local ch, got = stackless.channel(), nil
        handling(function() got = ch:receive() end, function()
            local t = stackless.tasklet(error)("bad", 0)
            stackless.run()
            assert.is_true(t.blocked)
            ch:send(1)
            assert.equal(1, got)
        end)
    end)

    it("does not see TaskletExit", function()
        local called = false
        handling(function() called = true end, function()
            local ch = stackless.channel()
            local t = stackless.tasklet(ch.receive)(ch)
            stackless.run()
            t:kill()
            assert.is_false(t.alive)
            stackless.tasklet(error)(stackless.TaskletExit)
            stackless.run()
        end)
        assert.is_false(called)
    end)

    it("leaves results and waits alone", function()
        handling(nop, function()
            local t = stackless.tasklet(function(...)
                stackless.schedule()
                return ...
            end)(1, nil, 3, nil)
            assert.same({ true, 1, nil, 3, nil, n = 5 }, table.pack(t:join()))
        end)
    end)

    it("taken away in the middle, the error goes where it would have gone", function()
        stackless.set_error_handler(nop)
        stackless.tasklet(function()
            stackless.schedule()
            error("a bug", 0)
        end)()
        stackless.schedule()
        stackless.set_error_handler(nil)
        assert.equal("a bug", error_of(stackless.run))
    end)

    it("without one the traceback is whole", function()
        unhandled(function(errors)
            local function deep() error("a bug") end
            stackless.tasklet(function() deep() end)()
            stackless.schedule()
            assert.truthy(errors[1].traceback:find("'deep'", 1, true))
            assert.truthy(errors[1].traceback:find("spawned at spec/stackless_spec.lua", 1, true))
        end)
    end)
end)

describe("callbacks and traps", function()
    it("the schedule callback sees the switches, and can be asked for", function()
        local seen = record.log()
        local me = stackless.getcurrent()
        me.name = "me"
        assert.is_nil(stackless.get_schedule_callback())
        local function callback(from, to)
            seen((from and from.name or "-") .. ">" .. (to and to.name or "-"))
        end
        assert.is_nil(stackless.set_schedule_callback(callback))
        assert.equal(callback, stackless.get_schedule_callback())
        stackless.tasklet(nop)().name = "t"
        stackless.schedule()
        assert.equal(callback, stackless.set_schedule_callback(nil))
        me.name = "it"
        assert.equal("me>t t>me", tostring(seen))
    end)

    it("the channel callback sees the operations, and can be asked for", function()
        local seen = record.log()
        assert.is_nil(stackless.get_channel_callback())
        local function callback(_, _, sending, will_block)
            seen((sending and "send" or "receive") .. (will_block and " blocks" or ""))
        end
        stackless.set_channel_callback(callback)
        assert.equal(callback, stackless.get_channel_callback())
        local ch = stackless.channel()
        stackless.tasklet(ch.receive)(ch)
        stackless.schedule()
        ch:send(1)
        assert.equal(callback, stackless.set_channel_callback(nil))
        assert.equal("receive blocks send", tostring(seen))
    end)

    it("switch_trap nests and refuses a switch", function()
        assert.equal(0, stackless.switch_trap(1))
        assert.equal(1, stackless.switch_trap(1))
        local t = stackless.tasklet(nop)()
        local err = error_of(t.run, t)
        local other = error_of(stackless.schedule)
        stackless.switch_trap(-2)
        assert.equal(0, stackless.switch_trap(0))
        assert.same({ "switch_trap", "switch_trap" }, { err, other })
        stackless.run()
        assert.is_false(t.alive)
    end)

    it("block_trap", function()
        local ch, me = stackless.channel(), stackless.getcurrent()
        me.block_trap = true
        local err = error_of(ch.receive, ch)
        me.block_trap = false
        assert.equal("this tasklet does not like to be blocked.", err)
        assert.equal(0, ch.balance)
    end)
end)

describe("QueueChannel", function()
    it("never blocks nor switches its sender", function()
        local q, ran = stackless.QueueChannel(), false
        stackless.tasklet(function() ran = true end)()
        for i = 1, 3 do q:send(i, nil) end
        assert.is_false(ran)
        assert.same({ 3, 3 }, { q.balance, #q })
        for i = 1, 3 do assert.same({ i, nil, n = 2 }, table.pack(q:receive())) end
        assert.equal(0, q.balance)
        stackless.run()
    end)

    it("queues a receiver that waits, does not run it", function()
        local q, got = stackless.QueueChannel(), {}
        for i = 1, 2 do
            stackless.tasklet(function() got[i] = q:receive() end)()
        end
        stackless.run()
        assert.same({ -2, 2 }, { q.balance, #q.queue })
        q:send "a"
        q:send "b"
        assert.same({}, got)
        assert.equal(0, q.balance)
        stackless.run()
        assert.same({ "a", "b" }, got)
    end)

    it("keeps errors in their order", function()
        local q = stackless.QueueChannel()
        q:send(1)
        q:send_exception(neap.TimeoutError, "late")
        q:send(2)
        assert.equal(1, q:receive())
        assert.equal("late", error_of(q.receive, q))
        assert.equal(2, q:receive())
        local err
        stackless.tasklet(function() err = error_of(q.receive, q) end)()
        stackless.run()
        q:send_exception "now"
        stackless.run()
        assert.equal("now", err)
    end)

    it("is iterated until it is closed and drained", function()
        local q, got = stackless.QueueChannel(), record.log()
        assert.equal(3, q:send_sequence { 1, 2, 3 })
        q:close()
        assert.same({ true, false }, { q.closing, q.closed })
        for v in q do got(v) end
        assert.equal("1 2 3", tostring(got))
        assert.is_true(q.closed)
        assert.same({ nil, "closed", n = 2 }, table.pack(q:receive()))
        local _, err = pcall(q.send, q, 1)
        assert.is_true(neap.is(err, neap.ClosedError))
        q:open()
        q:send(nil)
        assert.truthy(error_of(function() for _ in q do got "x" end end):find("nil was sent"))
    end)

    it("an iteration that waits ends by close", function()
        local q, got = stackless.QueueChannel(), record.log()
        local t = stackless.tasklet(function() for v in q do got(v) end end)()
        stackless.run()
        q:send(1)
        stackless.run()
        q:close()
        stackless.run()
        assert.is_false(t.alive)
        assert.equal("1", tostring(got))
    end)

    it("with a length raises beyond it", function()
        local q = stackless.QueueChannel(2)
        q:send(1)
        q:send(2)
        assert.equal("the queue is full", error_of(q.send, q, 3))
        q:receive()
        q:send(3)
        assert.equal(2, #q)
    end)

    it("lets go of what was received", function()
        local q, seen = stackless.QueueChannel(), setmetatable({}, { __mode = "k" })
        for _ = 1, 3 do
            local v = {}
            seen[v] = true
            q:send(v)
            q:send(0)
            q:receive()
            q:receive()
        end
        collectgarbage()
        collectgarbage()
        assert.is_nil(next(seen))
    end)

    it("receive takes a timeout", function()
        local q = stackless.QueueChannel()
        assert.same({ nil, "timeout" }, { q:receive(0.001) })
        q:send(1)
        assert.equal(1, q:receive(0.001))
    end)

    it("a deferred's callback may send", function()
        local q, d, got = stackless.QueueChannel(), deferred(), {}
        stackless.tasklet(function() for i = 1, 2 do got[i] = q:receive() end end)()
        stackless.run()
        d:add_callback(function(v)
            q:send(v)
            q:send(v + 1)
        end)
        d:callback(1)
        assert.same({}, got)
        stackless.run()
        assert.same({ 1, 2 }, got)
    end)
end)
