-- neap.select: the first of several, and nothing else has happened.

local record = require "spec.support.record"

local error_of = record.error_of

-- The results of neap.select(...) in a tasklet that waits there, once something is served.
local function selecting(...)
    local got = record.log()
    got.tasklet = spawn(function(...)
        for _, v in ipairs(table.pack("got", neap.select(...))) do got(tostring(v)) end
    end, ...)
    schedule()
    return got
end

describe("select at once", function()
    it("receives: the index, then the values", function()
        local a, b = channel(1), channel(2)
        b:send(1, nil, 3)
        assert.same({ 2, 1, nil, 3, n = 4 }, table.pack(neap.select { a, b }))
        assert.equal(0, #b)
    end)

    it("the lowest index wins, and the others stay", function()
        local a, b = channel(1), channel(1)
        a:send "a"
        b:send "b"
        for _ = 1, 3 do
            assert.same({ 2, "b" }, { neap.select { channel(), b, a } })
            b:send "b"
        end
        assert.same({ 1, 1 }, { #a, #b })
    end)

    it("sends, with all values; table.pack keeps nils", function()
        local ch = channel(3)
        assert.same({ 1 }, { neap.select { { ch, 1, 2 } } })
        assert.same({ 1 }, { neap.select { table.pack(ch, nil, 2, nil) } })
        assert.same({ 1 }, { neap.select { { ch } } })
        assert.same({ 1, 2, n = 2 }, table.pack(ch:receive()))
        assert.same({ nil, 2, nil, n = 3 }, table.pack(ch:receive()))
        assert.equal(0, select("#", ch:receive()))
    end)

    it("serves who waits, and does not switch", function()
        local ch, got, log = channel(), nil, record.log()
        local r = spawn(function()
            got = ch:receive()
            log "receiver"
        end)
        schedule()
        assert.equal(1, neap.select { { ch, "v" } })
        log "selector"
        assert.equal(0, ch.balance)
        r:join()
        assert.same({ "v", "selector receiver" }, { got, tostring(log) })
        local s = spawn(ch.send, ch, "w")
        schedule()
        assert.same({ 1, "w" }, { neap.select { ch } })
        assert.is_true(s.alive)
        s:join()
    end)

    it("joins a dead tasklet", function()
        local t, bad = spawn(function() return 1, nil end), spawn(error, "bad", 0)
        bad:join()
        schedule()
        assert.same({ 2, true, 1, nil, n = 4 }, table.pack(neap.select { channel(), t }))
        assert.same({ 1, false, "bad" }, { neap.select { bad } })
    end)

    it("takes what a deferred has", function()
        local d, failed = deferred(), deferred()
        d:callback(1, 2)
        failed:errback "bad"
        assert.same({ 1, 1, 2 }, { neap.select { d } })
        assert.same({ 1, 1, 2 }, { neap.select { d } })
        assert.equal("bad", error_of(neap.select, { failed }))
    end)

    it("timeout 0 polls", function()
        local ch = channel()
        assert.same({ nil, "timeout", n = 2 }, table.pack(neap.select({ ch, { ch, 1 } }, 0)))
        assert.same({ nil, "timeout", n = 2 }, table.pack(neap.select({}, 0)))
        assert.equal(0, ch.balance)
    end)

    it("works where nothing may wait, if nothing need wait", function()
        local ch, got = channel(1), nil
        ch:send "v"
        table.sort({ 2, 1 }, function(a, b)
            got = got or table.pack(neap.select { ch })
            return a < b
        end)
        assert.same({ 1, "v", n = 2 }, got)
        local err
        table.sort({ 2, 1 }, function(a, b)
            err = err or error_of(neap.select, { ch })
            return a < b
        end)
        assert.equal("cannot wait inside table.sort (a C function)", err)
        assert.equal(0, ch.balance)
    end)

    it("a closed channel is ready: nil, closed, or ClosedError", function()
        local ch = channel(1)
        ch:send "left"
        ch:close()
        assert.same({ 1, "left" }, { neap.select { ch } })
        assert.same({ 1, nil, "closed", n = 3 }, table.pack(neap.select { ch }))
        assert.equal("Send/receive operation on a closed channel",
            error_of(neap.select, { { ch, 1 } }))
    end)

    it("raises an error that was sent", function()
        local ch = channel()
        local s = spawn(ch.send_exception, ch, "sent")
        schedule()
        assert.equal("sent", error_of(neap.select, { ch }))
        assert.is_true((s:join()))
    end)

    it("refuses what is nothing to wait for, before it does anything", function()
        local ch = channel(1)
        ch:send(1)
        for _, wrong in ipairs { 1, "x", print, { 1 }, {}, { {} }, io.stdout } do
            assert.equal("select: case 2 is nothing to wait for",
                error_of(neap.select, { ch, wrong }))
        end
        assert.equal(1, #ch)
        assert.has_error(function() neap.select() end)
        assert.has_error(function() neap.select(1) end)
        assert.has_error(function() neap.select({}, 0 / 0) end)
        assert.has_error(function() neap.select({}, "x") end)
    end)
end)

describe("select waits", function()
    it("for the first; the others are left as they were", function()
        local a, b, c = channel(), channel(), channel()
        local got = selecting { a, b, { c, 1 } }
        assert.same({ -1, -1, 1 }, { a.balance, b.balance, c.balance })
        assert.equal(got.tasklet, a.queue[1])
        b:send "v"
        assert.same({ 0, 0, 0 }, { a.balance, b.balance, c.balance })
        got.tasklet:join()
        assert.equal("got 2 v", tostring(got))
        assert.same({}, a.queue)
    end)

    it("a value that comes later is the next one's", function()
        local a, b = channel(), channel()
        local got = selecting { a, b }
        assert.is_true(a:try_send(1))
        assert.is_false(b:try_send(2))
        assert.is_false(a:try_send(3))
        got.tasklet:join()
        assert.equal("got 1 1", tostring(got))
    end)

    it("in the middle of a queue keeps its place, and leaves it", function()
        local ch, other, log = channel(), channel(), record.log()
        local function receive(name) log(name .. ch:receive()) end
        local first = spawn(receive, "first")
        schedule()
        local got = selecting { ch, other }
        local last = spawn(receive, "last")
        schedule()
        assert.same({ first, got.tasklet, last }, ch.queue)
        other:send "x"
        assert.same({ first, last }, ch.queue)
        assert.equal(-2, ch.balance)
        ch:send(1)
        ch:send(2)
        last:join()
        assert.equal("first1 last2", tostring(log))
    end)

    it("sends when a receiver comes", function()
        local ch, other = channel(), channel()
        local got = selecting { other, table.pack(ch, nil, 2) }
        assert.same({ nil, 2, n = 2 }, table.pack(ch:receive()))
        assert.same({ 0, 0 }, { ch.balance, other.balance })
        got.tasklet:join()
        assert.equal("got 2", tostring(got))
    end)

    it("sends into a buffer when there is room", function()
        local ch = channel(1)
        ch:send "first"
        local got = selecting { { ch, "a", "b" } }
        assert.equal("first", ch:receive())
        assert.equal(1, #ch)
        got.tasklet:join()
        assert.same({ "a", "b" }, { ch:receive() })
    end)

    it("two selects meet", function()
        local a, b = channel(), channel()
        local got = selecting { a, { b, "sent" } }
        assert.same({ 2, "sent" }, { neap.select { { channel(), 1 }, b } })
        got.tasklet:join()
        assert.equal("got 2", tostring(got))
        assert.same({ 0, 0 }, { a.balance, b.balance })
    end)

    it("for a tasklet; its error counts as handled", function()
        record.unhandled(function(errors)
            local t = spawn(function()
                schedule()
                error("bad", 0)
            end)
            local got = selecting { channel(), t }
            got.tasklet:join()
            assert.equal("got 2 false bad", tostring(got))
            assert.same({}, errors)
        end)
    end)

    it("for a deferred", function()
        local d, e = deferred(), deferred()
        local got = selecting { e, d }
        d:callback("a", "b")
        got.tasklet:join()
        assert.equal("got 2 a b", tostring(got))
        e:callback()
    end)

    it("out of time: nil, timeout, and nothing is left", function()
        local a, b = channel(), channel()
        assert.same({ nil, "timeout", n = 2 },
            table.pack(neap.select({ a, { b, 1 }, neap.getmain() }, 0.01)))
        assert.same({ 0, 0 }, { a.balance, b.balance })
        assert.same({ nil, "timeout", n = 2 }, table.pack(neap.select({}, 0.001)))
    end)

    it("served, no timer is left", function()
        local ch = channel()
        local got = selecting({ ch }, 60)
        ch:send(1)
        got.tasklet:join()
        assert.equal("got 1 1", tostring(got))
    end)

    it("killed, thrown at, cut: nothing is left", function()
        local a, b = channel(), channel()
        for _, finish in ipairs {
            function(t) t:kill() end, function(t) t:kill(true) end,
            function(t) t:kill { hard = true } end,
            function(t)
                spawn(t.join, t):run()
                t:throw "x"
            end,
        } do
            local got = selecting({ a, { b, 1 }, a, neap.getmain() }, 60)
            assert.same({ -2, 1 }, { a.balance, b.balance })
            finish(got.tasklet)
            assert.same({ 0, 0 }, { a.balance, b.balance })
            schedule()
            assert.is_false(got.tasklet.alive)
        end
    end)

    it("killed after it was served: the transfer stands for the partner", function()
        local a, b = channel(), channel()
        local got = selecting { a, b }
        assert.is_true(a:try_send "lost")
        got.tasklet:kill()
        assert.is_false(got.tasklet.alive)
        assert.same({ 0, 0 }, { a.balance, b.balance })
    end)

    it("served with an error, or killed then: a deferred that lost is left as it was", function()
        for _, serve in ipairs {
            function(one) one.deferred:errback "an error" end,
            function(one) one.channel:send_exception "an error" end,
            function(one)
                one.deferred:callback()
                one.tasklet:kill(true)
            end,
        } do
            local cancelled = false
            local loser = deferred(function() cancelled = true end)
            local one = { deferred = deferred(), channel = channel() }
            one.tasklet = spawn(pcall, neap.select, { loser, one.deferred, one.channel })
            schedule()
            serve(one)
            one.tasklet:join()
            assert.same({ false, false }, { cancelled, loser.called })
        end
    end)

    it("out of time or killed: a deferred that nobody else waits for is left as it was", function()
        local cancelled = false
        local d = deferred(function() cancelled = true end)
        assert.same({ nil, "timeout" }, { neap.select({ channel(), d }, 0.001) })
        local got = selecting { d }
        got.tasklet:kill()
        assert.same({ false, false, false }, { cancelled, d.called, got.tasklet.alive })
        d:callback "late"
        assert.same({ 1, "late" }, { neap.select { d } })
    end)

    it("the same channel twice counts twice, and is served once", function()
        local ch = channel()
        local got = selecting { ch, ch }
        assert.equal(-2, ch.balance)
        ch:send "v"
        assert.equal(0, ch.balance)
        got.tasklet:join()
        assert.equal("got 1 v", tostring(got))
    end)

    it("not for both directions of one channel", function()
        local ch, other = channel(), channel()
        assert.equal("select: both directions of one channel",
            error_of(neap.select, { other, ch, { ch, 1 } }))
        assert.same({ 0, 0 }, { ch.balance, other.balance })
    end)

    it("a close wakes it", function()
        local a, b = channel(), channel()
        local got = selecting { a, b }
        b:close()
        got.tasklet:join()
        assert.equal("got 2", tostring(got))
        assert.equal(0, a.balance)
        local sender = selecting { a, { channel(), 1 }, { b:open() or b, 1 } }
        b:close()
        local ok, err = sender.tasklet:join()
        assert.is_false(ok)
        assert.equal("Send/receive operation on a closed channel", tostring(err))
        assert.equal(0, a.balance)
    end)

    it("raises what is sent to it as an error", function()
        local a, b = channel(), channel()
        local got = selecting { a, b }
        local joined
        spawn(function() joined = table.pack(got.tasklet:join()) end):run()
        b:send_exception "sent"
        schedule()
        assert.same({ false, "sent", n = 2 }, joined)
        assert.equal(0, a.balance)
    end)

    it("takes 200 values", function()
        local a, b, n = channel(), channel(), nil
        local t = spawn(function() n = select("#", neap.select { a, b }) end)
        schedule()
        b:send(table.unpack({}, 1, 200))
        t:join()
        assert.equal(201, n)
    end)

    it("says so", function()
        local got = selecting { channel() }
        assert.equal("select", got.tasklet.waiting_on)
        got.tasklet:kill()
    end)

    it("with 1,000 cases, 1,000 times", function()
        local cases = {}
        for i = 1, 1000 do cases[i] = channel() end
        local n = 0
        local t = spawn(function() for _ = 1, 1000 do n = n + neap.select(cases) end end)
        local sum = 0
        schedule()
        for i = 1, 1000 do
            sum = sum + i
            cases[i]:send(i)
            schedule()
        end
        t:join()
        assert.equal(sum, n)
        for _, ch in ipairs(cases) do assert.equal(0, ch.balance) end
    end)

    it("1,000 selects on the same two channels", function()
        local a, b, n = channel(), channel(), 0
        for _ = 1, 1000 do
            spawn(function()
                neap.select { a, b }
                n = n + 1
            end)
        end
        schedule()
        assert.same({ -1000, -1000 }, { a.balance, b.balance })
        for i = 1, 1000 do (i % 2 == 0 and a or b):send(i) end
        schedule()
        assert.same({ 1000, 0, 0 }, { n, a.balance, b.balance })
    end)

    it("inside pcall and a coroutine", function()
        local ch = channel()
        local got = record.log()
        local t = spawn(function()
            coroutine.wrap(function() got(table.concat({ neap.select { ch } }, ",")) end)()
            local _, i, v = pcall(neap.select, { ch })
            got(i .. "," .. v)
        end)
        schedule()
        ch:send "a"
        schedule()
        ch:send "b"
        t:join()
        assert.equal("1,a 1,b", tostring(got))
    end)
end)

describe("neap.map", function()
    it("gives the results in order", function()
        local got = neap.map({ 3, 1, 2 }, function(v, i)
            for _ = 1, v do schedule() end
            return v * 10 + i
        end)
        assert.same({ 31, 12, 23, n = 3 }, got)
        assert.same({ n = 0 }, neap.map({}, print))
        assert.same({ 1, nil, 3, n = 3 }, neap.map({ 1, nil, 3, n = 3 }, function(v) return v end))
    end)

    it("at most `limit` at a time", function()
        local now, most = 0, 0
        neap.map({ 1, 2, 3, 4, 5, 6, 7 }, function()
            now = now + 1
            most = math.max(most, now)
            sleep(0)
            now = now - 1
        end, 3)
        assert.equal(3, most)
    end)

    it("the first error ends the others and is raised", function()
        local err, cleaned, started = { "the very one" }, 0, 0
        local ok, got = pcall(neap.map, { 1, 2, 3, 4 }, function(v)
            started = started + 1
            local _ <close> = setmetatable({}, { __close = function() cleaned = cleaned + 1 end })
            if v == 2 then
                schedule()
                error(err)
            end
            sleep(60)
        end, 3)
        assert.is_false(ok)
        assert.equal(err, got)
        schedule()
        assert.same({ 3, 3 }, { started, cleaned })
    end)

    it("killed takes its tasklets with it", function()
        local t = spawn(neap.map, { 1, 2, 3 }, function() sleep(60) end)
        schedule()
        schedule()
        t:kill()
        schedule()
        assert.is_false(t.alive)
    end)

    it("wants a limit from 1 on", function()
        for _, limit in ipairs { 0, -1, 1.5, "x" } do
            assert.has_error(function() neap.map({ 1 }, print, limit) end)
        end
    end)
end)

describe("neap.join_all", function()
    it("waits for all, errors counted as handled", function()
        record.unhandled(function(errors)
            local list = {
                spawn(function() return 1, nil end), spawn(error, "bad", 0),
                spawn(function()
                    sleep(0.01)
                    return 3
                end),
            }
            local got = neap.join_all(list)
            assert.same({ { true, 1, nil, n = 3 }, { false, "bad", n = 2 }, { true, 3, n = 2 } },
                got)
            assert.same({}, errors)
            assert.same({}, neap.join_all {})
        end)
    end)

    it("refuses what cannot be joined before it waits for any", function()
        local other = spawn(sleep, 60)
        schedule()
        local function refused(list)
            local ok, err = pcall(neap.join_all, list)
            return not ok and err
        end
        assert.matches("a list of tasklets; its number 2 is a number", refused { other, 5 })
        assert.matches("a list of tasklets; its number 1 is a table", refused { { current = 1 } })
        assert.matches("a tasklet cannot join itself", refused { other, neap.getcurrent() })
        other:kill()
    end)

    it("one time for all", function()
        local slow, quick = spawn(sleep, 60), spawn(function() return 1 end)
        local got = neap.join_all({ slow, quick }, 0.02)
        assert.same({ nil, "timeout", n = 2 }, got[1])
        assert.same({ true, 1, n = 2 }, got[2])
        assert.is_true(slow.alive)
        slow:kill()
    end)
end)

describe("a selecting sender that a finalizer ends while its values are taken", function()
    -- Runs f while the next allocation collects, and a finalizer calls `act`.
    local function beside(act, f)
        collectgarbage("stop")
        setmetatable({}, { __gc = act })
        collectgarbage("incremental", 1, 1000, 40)
        collectgarbage("restart")
        local got = table.pack(f())
        collectgarbage("incremental", 200, 100, 13)
        return got
    end

    local ends = {
        kill = function(t) t:kill() end,
        kill_hard = function(t) t:kill { hard = true } end,
        close = function(_, ch) ch:close() end,
        receive = function(_, ch) ch:try_receive() end,
    }
    for capacity = 0, 1 do
        for name, act in pairs(ends) do
            it(("capacity %d, %s"):format(capacity, name), function()
                for _ = 1, 5 do
                    local ch, other = channel(capacity), channel()
                    if capacity == 1 then ch:send("first", 1) end
                    local t = spawn(function()
                        neap.pcall(neap.select, { other, { ch, "second", 2 } })
                    end)
                    schedule()
                    local acted
                    local got = beside(function()
                        acted = true
                        act(t, ch)
                    end, function() return ch:try_receive() end)
                    collectgarbage()
                    assert.is_true(acted)
                    assert.is_false(t.blocked)
                    if got[1] then
                        assert.same({ n = 3, true, got[2], got[2] == "first" and 1 or 2 }, got)
                    else
                        assert.equal(0, capacity)
                    end
                    schedule()
                    assert.is_false(t.alive)
                    assert.same({ 0, 0 }, { ch.balance, other.balance })
                end
            end)
        end
    end
end)
