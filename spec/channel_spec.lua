-- Channels: values, queues, closing, iterating, the try_ forms. Orders: scheduler_spec.lua.

local record = require "spec.support.record"
local error_of, unhandled = record.error_of, record.unhandled

local CLOSED = "Send/receive operation on a closed channel"

-- n tasklets that wait in the channel, in order.
local function senders(ch, n)
    local all = {}
    for i = 1, n do all[i] = spawn(ch.send, ch, i) end
    schedule()
    return all
end

local function receivers(ch, n, got)
    local all = {}
    for i = 1, n do
        all[i] = spawn(function()
            local v = ch:receive()
            if got then got[i] = v end
        end)
    end
    schedule()
    return all
end

local function preferences()
    local i = -2
    return function()
        i = i + 1
        if i > 1 then return nil end
        local ch = channel()
        ch.preference = i
        return ch
    end
end

describe("channel", function()
    it("hands values over whole", function()
        for ch in preferences() do
            spawn(function() ch:send(1, nil, "x", nil) end)
            assert.same({ 1, nil, "x", nil, n = 4 }, table.pack(ch:receive()))
            local got
            local t = spawn(function() got = table.pack(ch:receive()) end)
            schedule()
            ch:send(nil, nil)
            t:join()
            assert.same({ n = 2 }, got)
            t = spawn(function() got = table.pack(ch:receive()) end)
            schedule()
            ch:send()
            t:join()
            assert.same({ n = 0 }, got)
        end
    end)

    it("hands 200 values over", function()
        local values = {}
        for i = 1, 200 do values[i] = i end
        for _, ch in ipairs { channel(), channel(1) } do
            spawn(function() ch:send(table.unpack(values)) end)
            schedule()
            assert.same(values, { ch:receive() })
        end
    end)

    it("returns nothing from a send", function()
        for ch in preferences() do
            local t = receivers(ch, 1)[1]
            assert.equal(0, select("#", ch:send(1, 2)))
            t:join()
            assert.same({ true }, { (function()
                local s = spawn(function() return ch:send(1) end)
                schedule()
                ch:receive()
                return s:join()
            end)() })
        end
    end)

    it("balance counts who waits, queue lists them in order", function()
        local ch = channel()
        assert.equal(0, ch.balance)
        assert.same({}, ch.queue)
        local all = senders(ch, 3)
        assert.equal(3, ch.balance)
        assert.same(all, ch.queue)
        for i = 1, 3 do assert.equal(i, ch:receive()) end
        assert.equal(0, ch.balance)
        all = receivers(ch, 2)
        assert.equal(-2, ch.balance)
        assert.same(all, ch.queue)
        ch:send()
        ch:send()
        assert.equal(0, ch.balance)
    end)

    it("is first in, first out both ways", function()
        for ch in preferences() do
            local got = {}
            local all = receivers(ch, 3, got)
            for i = 1, 3 do ch:send("s" .. i) end
            for _, t in ipairs(all) do t:join() end
            assert.same({ "s1", "s2", "s3" }, got)
            senders(ch, 3)
            for i = 1, 3 do assert.equal(i, ch:receive()) end
            schedule()
        end
    end)

    it("a late receiver does not overtake one that waits", function()
        local ch, got = channel(), record.log()
        ch.preference = 1
        spawn(function() got("early" .. ch:receive()) end)
        schedule()
        ch:send(1)
        spawn(function() got("late" .. ch:receive()) end)
        schedule()
        ch:send(2)
        schedule()
        assert.equal("early1 late2", tostring(got))
    end)

    it("the partner leaves the queue before anyone runs", function()
        for ch in preferences() do
            local r = receivers(ch, 1)[1]
            ch:try_send(1)
            assert.equal(0, ch.balance)
            assert.same({}, ch.queue)
            r:join()
            local s = senders(ch, 1)[1]
            assert.same({ true, 1 }, { ch:try_receive() })
            assert.equal(0, ch.balance)
            s:join()
        end
    end)

    it("an error value sent plainly is a value", function()
        local ch = channel()
        local err = neap.TimeoutError("x")
        spawn(ch.send, ch, err, neap.TaskletExit)
        assert.same({ err, neap.TaskletExit }, { ch:receive() })
    end)

    it("10,000 waiters", function()
        local ch, sum = channel(), 0
        local function take()
            local v = ch:receive()
            sum = sum + v
        end
        for _ = 1, 10000 do spawn(take) end
        schedule()
        assert.equal(-10000, ch.balance)
        for _ = 1, 10000 do ch:try_send(1) end
        schedule()
        assert.equal(10000, sum)
    end)

    it("raises on what it does not know", function()
        local ch = channel()
        assert.has_error(function() return ch.no_such_thing end)
        assert.has_error(function() ch.balance = 1 end)
        assert.has_error(function() ch.queue = {} end)
        assert.has_error(function() channel(-1) end)
        assert.has_error(function() channel(1.5) end)
        assert.has_error(function() channel.receive() end)
        assert.has_error(function() ch.receive({}) end)
        assert.has_error(function() ch:receive("soon") end)
        assert.has_error(function() ch:receive(0 / 0) end)
        assert.equal(0, ch.balance)
    end)

    it("a name means one channel, made at the first call", function()
        local ch = channel("spec.named", 3)
        assert.equal(ch, channel("spec.named"))
        assert.equal(3, channel("spec.named", 5).capacity)
        assert.not_equal(ch, channel("spec.other"))
    end)
end)

describe("preference", function()
    it("is -1, and takes the sign of what it is set to", function()
        local ch = channel()
        assert.equal(-1, ch.preference)
        for _, v in ipairs { { 2, 1 }, { -7, -1 }, { 0, 0 } } do
            ch.preference = v[1]
            assert.equal(v[2], ch.preference)
        end
        assert.has_error(function() ch.preference = 1.5 end)
        assert.has_error(function() ch.preference = "x" end)
    end)

    it("may change while tasklets wait; the new value counts", function()
        local ch, log = channel(), record.log()
        spawn(function()
            ch:receive()
            log "receiver"
        end)
        schedule()
        ch.preference = 1
        ch:send()
        log "sender"
        schedule()
        assert.equal("sender receiver", tostring(log))
    end)

    it("schedule_all is false", function()
        local ch = channel()
        assert.is_false(ch.schedule_all)
        ch.schedule_all = true
        assert.is_true(ch.schedule_all)
    end)
end)

describe("send_exception", function()
    it("raises in the receiver, the very value; the sender is not affected", function()
        for ch in preferences() do
            local err, got = {}, nil
            local r = spawn(function() got = table.pack(pcall(ch.receive, ch)) end)
            schedule()
            ch:send_exception(err)
            r:join()
            assert.equal(err, got[2])
            local s = spawn(ch.send_exception, ch, err)
            schedule()
            got = table.pack(pcall(ch.receive, ch))
            assert.is_false(got[1])
            assert.equal(err, got[2])
            assert.same({ true }, { s:join() })
        end
    end)

    it("of TaskletExit ends the receiver silently", function()
        unhandled(function(errors)
            local ch = channel()
            local r = receivers(ch, 1)[1]
            ch:send_exception(neap.TaskletExit)
            assert.same({ false, neap.TaskletExit }, { r:join() })
            assert.equal(0, #errors)
        end)
    end)

    it("ends an iteration with that error", function()
        local ch = channel()
        spawn(function()
            ch:send(1)
            ch:send_exception("stop")
        end)
        local got = {}
        assert.equal("stop", error_of(function()
            for v in ch do got[#got + 1] = v end
        end))
        assert.same({ 1 }, got)
    end)

    it("keeps its place among values in a buffer", function()
        local ch = channel(3)
        ch:send(1)
        ch:send_exception("x")
        ch:send(2)
        assert.equal(3, #ch)
        assert.equal(1, ch:receive())
        assert.equal("x", error_of(ch.receive, ch))
        assert.equal(2, ch:receive())
        ch:send_exception("y")
        assert.equal("y", error_of(ch.try_receive, ch))
    end)

    it("wants a value", function()
        local ch = channel()
        assert.has_error(function() ch:send_exception() end)
    end)
end)

describe("receive with a timeout", function()
    it("gives nil, timeout, and leaves the queue", function()
        local ch = channel()
        assert.same(table.pack(nil, "timeout"), table.pack(ch:receive(0.001)))
        assert.same({ nil, "timeout" }, { ch:receive(0) })
        assert.same({ nil, "timeout" }, { ch:receive(-1) })
        assert.equal(0, ch.balance)
        assert.is_false(ch:try_send(1))
    end)

    it("takes what is there", function()
        local ch = channel()
        senders(ch, 1)
        assert.equal(1, ch:receive(0))
        ch = channel(1)
        ch:send(2)
        assert.equal(2, ch:receive(0))
    end)

    it("that has passed swallows no later value", function()
        local ch, got = channel(), {}
        spawn(function() got.first = table.pack(ch:receive(0.001)) end)
        spawn(function() got.second = ch:receive(60) end)
        sleep(0.005)
        assert.equal(-1, ch.balance)
        ch:send("value")
        assert.same({ nil, "timeout", n = 2 }, got.first)
        assert.equal("value", got.second)
    end)

    it("math.huge waits for ever", function()
        local ch = channel()
        local timers = require("neap.host").stats().timers
        local r = spawn(ch.receive, ch, math.huge)
        schedule()
        assert.equal(timers, require("neap.host").stats().timers)
        ch:send(1)
        assert.same({ true, 1 }, { r:join() })
    end)
end)

describe("a killed waiter", function()
    it("leaves the middle of the queue; the order of the rest stays", function()
        local ch = channel()
        local all = senders(ch, 4)
        all[2]:kill()
        assert.equal(3, ch.balance)
        assert.same({ all[1], all[3], all[4] }, ch.queue)
        assert.same({ 1, 3, 4 }, { ch:receive(), ch:receive(), ch:receive() })
        local got = {}
        all = receivers(ch, 3, got)
        all[2]:kill()
        ch:send("a")
        ch:send("b")
        assert.same({ "a", nil, "b" }, got)
    end)

    it("after its partner came: the transfer stands for the partner", function()
        local ch = channel()
        local r = receivers(ch, 1)[1]
        assert.is_true(ch:try_send("lost"))
        r:kill()
        assert.equal(0, ch.balance)
        assert.is_false(r.alive)
        local s = senders(ch, 1)[1]
        assert.same({ true, 1 }, { ch:try_receive() })
        s:kill()
        assert.equal(0, ch.balance)
        assert.same({ false, neap.TaskletExit }, { s:join() })
    end)

    it("that waits again goes to the back", function()
        local ch, log = channel(), record.log()
        local function body(name)
            while true do
                local ok, v = pcall(ch.receive, ch)
                if ok then return log(name .. v) end
            end
        end
        local a, b = spawn(body, "a"), spawn(body, "b")
        schedule()
        a:throw("x")
        assert.same({ b, a }, ch.queue)
        ch:send(1)
        ch:send(2)
        assert.equal("b1 a2", tostring(log))
    end)

    it("one by one, the queue runs empty", function()
        local ch = channel()
        receivers(ch, 5)
        while ch.queue[1] do ch.queue[1]:kill() end
        assert.equal(0, ch.balance)
    end)
end)

describe("a buffered channel", function()
    it("holds as many as its capacity, then blocks", function()
        local ch, sent = channel(2), 0
        local t = spawn(function()
            for i = 1, 4 do
                ch:send(i, nil)
                sent = i
            end
        end)
        schedule()
        assert.equal(2, sent)
        assert.equal(2, #ch)
        assert.equal(1, ch.balance)
        assert.equal(2, ch.capacity)
        for i = 1, 4 do assert.same({ i, nil, n = 2 }, table.pack(ch:receive())) end
        t:join()
        assert.equal(0, #ch)
        assert.equal(0, ch.balance)
    end)

    it("takes the room of what it holds, not of what it may hold", function()
        local ch, put, got = channel(2 ^ 31 - 1 | 0), 0, 0
        local function send(n)
            for _ = 1, n do
                put = put + 1
                ch:send(put)
            end
        end
        local function receive(n)
            for _ = 1, n do
                got = got + 1
                if ch:receive() ~= got then error("out of order") end
            end
        end
        for n = 1, 40 do -- grows with the oldest in every place
            send(2 * n)
            receive(n)
        end
        collectgarbage()
        local before = collectgarbage("count")
        for _ = 1, 20000 do
            send(1)
            receive(1)
        end
        collectgarbage()
        assert.is_true(collectgarbage("count") < before + 100)
        receive(#ch)
        assert.equal(put, got)
    end)

    it("never makes who sends give way, whoever waits", function()
        local ch, order = channel(2), {}
        local function note(what) order[#order + 1] = what end
        for i = 1, 2 do
            spawn(function()
                for v in ch do note(i .. "<" .. v) end
            end)
        end
        schedule()
        assert.equal(-2, ch.balance)
        for i = 1, 4 do
            ch:send(i)
            note(">" .. i)
        end
        ch:close()
        schedule()
        assert.equal(">1 >2 >3 >4 1<1 1<3 1<4 2<2", table.concat(order, " "))
    end)

    it("balance counts waiting tasklets, not buffered values", function()
        local ch = channel(3)
        ch:send(1)
        assert.equal(0, ch.balance)
        assert.equal(1, #ch)
    end)

    it("lets the first blocked sender in when there is room", function()
        local ch = channel(1)
        ch:send("a")
        local all = senders(ch, 3)
        all[1]:kill()
        assert.equal("a", ch:receive())
        assert.equal(1, #ch)
        assert.equal(1, ch.balance)
        assert.same({ 2, 3 }, { ch:receive(), ch:receive() })
        for i = 2, 3 do assert.same({ true }, { all[i]:join() }) end
    end)

    it("hands over at once to one who waits", function()
        local ch, got = channel(1), {}
        receivers(ch, 1, got)
        ch:send("a")
        assert.equal(0, #ch)
        schedule()
        assert.same({ "a" }, got)
    end)

    it("goes round and round", function()
        local ch, next_in, next_out = channel(7), 1, 1
        for round = 1, 500 do
            for _ = 1, round % 7 + 1 do
                if ch:try_send(next_in, "x") then next_in = next_in + 1 end
            end
            for _ = 1, round % 5 + 1 do
                local ok, v, x = ch:try_receive()
                if ok then
                    assert(v == next_out and x == "x")
                    next_out = next_out + 1
                end
            end
        end
        assert.equal(next_in - next_out, #ch)
        assert.is_true(next_out > 1000)
    end)

    it("does not keep what was taken", function()
        local ch = channel(2)
        local weak = setmetatable({}, { __mode = "v" })
        do
            weak[1] = {}
            ch:send(weak[1])
            ch:receive()
        end
        collectgarbage()
        collectgarbage()
        assert.is_nil(weak[1])
    end)
end)

describe("try_send and try_receive", function()
    it("say whether it was done", function()
        local ch = channel()
        assert.is_false(ch:try_send(1))
        assert.same({ false, "empty" }, { ch:try_receive() })
        local got = {}
        local r = receivers(ch, 1, got)[1]
        assert.is_true(ch:try_send("x"))
        assert.same({}, got)
        r:join()
        assert.same({ "x" }, got)
        spawn(ch.send, ch, nil, 2, nil)
        schedule()
        assert.same(table.pack(true, nil, 2, nil), table.pack(ch:try_receive()))
    end)

    it("fill and drain a buffer", function()
        local ch = channel(1)
        assert.is_true(ch:try_send(nil))
        assert.is_false(ch:try_send(2))
        assert.same({ true, nil, n = 2 }, table.pack(ch:try_receive()))
        assert.same({ false, "empty" }, { ch:try_receive() })
    end)

    it("work where nothing may wait", function()
        local ch, d, got = channel(), deferred(), {}
        local r = receivers(ch, 1, got)[1]
        d:add_callback(function() return ch:try_send("x"), ch:try_send("y") end)
        d:callback()
        assert.same({ true, false }, { d:wait() })
        r:join()
        assert.same({ "x" }, got)
    end)

    it("a send to one who waits works there, and queues him", function()
        local ch, d, log = channel(), deferred(), record.log()
        local r = spawn(function() log(ch:receive()) end)
        schedule()
        d:add_callback(function()
            ch:send("value")
            log "callback"
        end)
        d:callback()
        r:join()
        assert.equal("callback value", tostring(log))
    end)
end)

describe("close", function()
    it("refuses sends, with ClosedError", function()
        local ch = channel()
        ch:close()
        assert.is_true(ch.closing and ch.closed)
        local ok, err = pcall(ch.send, ch, 1)
        assert.is_false(ok)
        assert.is_true(neap.is(err, neap.ClosedError))
        assert.equal(CLOSED, tostring(err))
        ok, err = pcall(ch.send_exception, ch, 1)
        assert.is_true(not ok and neap.is(err, neap.ClosedError))
    end)

    it("a receive then gives nil, closed", function()
        local ch = channel()
        ch:close()
        assert.same(table.pack(nil, "closed"), table.pack(ch:receive()))
        assert.same({ nil, "closed" }, { ch:receive(1) })
        assert.same({ false, "closed" }, { ch:try_receive() })
    end)

    it("wakes the receivers that wait", function()
        local ch, got = channel(), {}
        for i = 1, 3 do spawn(function() got[i] = table.pack(ch:receive(60)) end) end
        schedule()
        ch:close()
        assert.equal(0, ch.balance)
        schedule()
        local one = { nil, "closed", n = 2 }
        assert.same({ one, one, one }, got)
    end)

    it("wakes the senders that wait, with ClosedError", function()
        for _, ch in ipairs { channel(), channel(1) } do
            if ch.capacity > 0 then ch:send(0) end
            unhandled(function(errors)
                local all = senders(ch, 3)
                ch:close()
                assert.equal(0, ch.balance)
                schedule()
                for i, t in ipairs(all) do
                    assert.equal(t, errors[i].tasklet)
                    assert.is_true(neap.is(errors[i].value, neap.ClosedError))
                end
            end)
        end
    end)

    it("what is buffered can still be received", function()
        local ch = channel(2)
        ch:send(1)
        ch:send(nil)
        ch:close()
        assert.is_true(ch.closing)
        assert.is_false(ch.closed)
        assert.equal(1, ch:receive())
        assert.same({ true, nil, n = 2 }, table.pack(ch:try_receive()))
        assert.is_true(ch.closed)
        assert.same({ nil, "closed" }, { ch:receive() })
    end)

    it("twice is harmless; open undoes it", function()
        local ch = channel(1)
        ch:close()
        ch:close()
        ch:open()
        assert.is_false(ch.closing or ch.closed)
        ch:send(1)
        assert.equal(1, ch:receive())
    end)

    it("without waking: who waits stays and may be served", function()
        local ch, got = channel(), {}
        receivers(ch, 2, got)
        ch:close { wake = false }
        assert.equal(-2, ch.balance)
        assert.is_true(ch.closing)
        assert.is_false(ch.closed)
        ch:send("a")
        ch:send("b")
        assert.same({ "a", "b" }, got)
        assert.is_true(ch.closed)
        assert.equal(CLOSED, error_of(ch.send, ch, "c"))
    end)

    it("without waking: killing the last waiter closes it", function()
        local ch = channel()
        local s = senders(ch, 1)[1]
        ch:close { wake = false }
        assert.is_false(ch.closed)
        s:kill()
        assert.is_true(ch.closed)
    end)

    it("without waking: a waiting sender can still be received from", function()
        local ch = channel()
        local s = senders(ch, 1)[1]
        ch:close { wake = false }
        assert.equal(1, ch:receive())
        assert.same({ true }, { s:join() })
        assert.same({ nil, "closed" }, { ch:receive() })
    end)

    it("a second close wakes whom the first left", function()
        local ch = channel()
        local r = receivers(ch, 1)[1]
        ch:close { wake = false }
        ch:close()
        assert.equal(0, ch.balance)
        assert.same({ true }, { r:join() })
    end)
end)

describe("iteration", function()
    it("receives until the channel is closed and drained", function()
        for _, ch in ipairs { channel(), channel(2) } do
            local got = {}
            spawn(function()
                for i = 1, 5 do ch:send(i) end
                ch:close()
            end)
            for v in ch do got[#got + 1] = v end
            assert.same({ 1, 2, 3, 4, 5 }, got)
        end
    end)

    it("gives all values of a send", function()
        local ch = channel(2)
        ch:send(1, "a", nil)
        ch:send(2, "b")
        ch:close()
        local got = {}
        for v, w in ch do got[#got + 1] = v .. w end
        assert.same({ "1a", "2b" }, got)
    end)

    it("raises at a sent nil", function()
        local ch, got = channel(3), {}
        ch:send(1)
        ch:send(nil)
        ch:send(3)
        assert.matches("^nil was sent", error_of(function()
            for v in ch do got[#got + 1] = v end
        end))
        assert.same({ 1 }, got)
        spawn(function() ch:send() end)
        ch:receive()
    end)

    it("raises at a sent nil that it waited for", function()
        local ch = channel()
        spawn(function() ch:send(nil, "x") end)
        assert.matches("^nil was sent", error_of(function()
            for _ in ch do error("no value was sent") end
        end))
    end)

    it("iter counts first and passes nils", function()
        for _, ch in ipairs { channel(), channel(2) } do
            local got = {}
            spawn(function()
                ch:send(1)
                ch:send(nil)
                ch:send(3, 4)
                ch:close()
            end)
            for i, v, w in ch:iter() do got[#got + 1] = ("%d %s %s"):format(i, v, w) end
            assert.same({ "1 1 nil", "2 nil nil", "3 3 4" }, got)
        end
    end)

    it("two share one channel", function()
        local ch, got, all = channel(), {}, {}
        for i = 1, 2 do
            all[i] = spawn(function()
                for v in ch do
                    got[#got + 1] = v
                    schedule()
                end
            end)
        end
        for i = 1, 6 do ch:send(i) end
        ch:close()
        for _, t in ipairs(all) do assert.same({ true }, { t:join() }) end
        table.sort(got)
        assert.same({ 1, 2, 3, 4, 5, 6 }, got)
    end)
end)

describe("send_sequence", function()
    -- What comes out of the channel, and what send_sequence then gives.
    local function through(...)
        local ch, got = channel(), record.log()
        local t = spawn(ch.send_sequence, ch, ...)
        local result
        spawn(function()
            result = table.pack(t:join())
            ch:close()
        end):run()
        for v in ch do got(tostring(v)) end
        schedule()
        return tostring(got), result
    end

    it("sends each of a list, and gives how many", function()
        local got, result = through { 1, 2, "x" }
        assert.equal("1 2 x", got)
        assert.same({ true, 3, n = 2 }, result)
        assert.equal(0, channel():send_sequence {})
    end)

    it("takes an iterator, with its state", function()
        assert.equal("a b", (through(string.gmatch("a b", "%a"))))
        local got, result = through(next, { 5 })
        assert.equal("1", got)
        assert.same({ true, 1, n = 2 }, result)
        local n = 0
        assert.equal("1 2 3", (through(setmetatable({}, { __call = function()
            n = n + 1
            return n <= 3 and n or nil
        end }))))
    end)

    it("the iterator may wait, and be a channel", function()
        local from = channel()
        spawn(function()
            for i = 1, 3 do
                sleep(0)
                from:send(i)
            end
            from:close()
        end)
        assert.equal("1 2 3", (through(from)))
    end)

    it("an error of the iterator comes after what was sent", function()
        local n = 0
        local got, result = through(function()
            n = n + 1
            if n == 3 then error("of the iterator", 0) end
            return n
        end)
        assert.equal("1 2", got)
        assert.same({ false, "of the iterator", n = 2 }, result)
    end)

    it("killed in the middle leaves the queue", function()
        local ch = channel()
        local t = spawn(ch.send_sequence, ch, { 1, 2, 3 })
        schedule()
        assert.equal(1, ch:receive())
        schedule()
        assert.equal(1, ch.balance)
        t:kill()
        assert.equal(0, ch.balance)
    end)

    it("fills a buffer without waiting", function()
        local ch = channel(3)
        assert.equal(3, ch:send_sequence { 1, 2, 3 })
        assert.equal(3, #ch)
    end)

    it("wants a list or a function", function()
        for _, wrong in ipairs { 1, "x", false } do
            assert.has_error(function() channel():send_sequence(wrong) end)
        end
        assert.has_error(function() channel():send_sequence() end)
    end)

    it("100,000", function()
        local ch, sum = channel(), 0
        spawn(function()
            local i = 0
            ch:send_sequence(function()
                i = i + 1
                return i <= 100000 and i or nil
            end)
            ch:close()
        end)
        for v in ch do sum = sum + v end
        assert.equal(100000 * 100001 // 2, sum)
    end)
end)

describe("a channel that is used a lot", function()
    local function used(ch)
        for i = 1, 2000 do
            ch:try_send(i)
            ch:try_receive()
        end
        return ch
    end

    it("looks as it did", function()
        local ch = used(channel(3))
        ch:send("a")
        assert.same({ 3, 1, 0, -1, false },
            { ch.capacity, #ch, ch.balance, ch.preference, ch.closed })
        ch.preference = 1
        assert.equal(1, ch.preference)
        assert.equal("channel", getmetatable(ch))
        assert.truthy(tostring(ch):find("^channel: "))
        assert.has_error(function() return ch.foo end, "channel has no field 'foo'")
        assert.has_error(function() ch.balance = 1 end,
            "channel has no field 'balance' that can be set")
        assert.has_error(function() ch.send(1) end)
        ch:close()
        local got = {}
        for v in ch do got[#got + 1] = v end
        assert.same({ "a" }, got)
    end)

    it("has its own properties, not another's", function()
        local a, b = used(channel(1)), used(channel(2))
        assert.same({ 1, 2 }, { a.capacity, b.capacity })
    end)

    it("is collected like any other", function()
        local kept = setmetatable({ used(channel(1)) }, { __mode = "v" })
        collectgarbage()
        assert.is_nil(kept[1])
    end)
end)
