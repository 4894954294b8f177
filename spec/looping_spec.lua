-- looping_call, defer_later and add_timeout, on virtual clocks.

local clock

before_each(function()
    clock = neap.clock()
    neap.use_clock(clock)
end)

after_each(function() neap.use_clock(nil) end)

local function fate(d)
    local got
    d:add_callbacks(function(...)
        got = table.pack(...)
        return ...
    end, function(failure) got = { error = failure.value, failure = failure } end)
    return function() return got end
end

describe("looping_call", function()
    it("calls f now, and then at every multiple of the interval", function()
        local at = {}
        local loop = neap.looping_call(function(...)
            assert.same({ "x", nil, n = 2 }, table.pack(...))
            at[#at + 1] = clock:now()
        end, "x", nil)
        assert.is_false(loop.running)
        local d = loop:start(2)
        assert.is_true(loop.running)
        assert.is_false(d.called)
        for _ = 1, 5 do clock:advance(1) end
        assert.same({ 0, 2, 4 }, at)
        local got = fate(d)
        loop:stop()
        assert.is_false(loop.running)
        assert.equal(loop, got()[1])
        clock:advance(10)
        assert.same({ 0, 2, 4 }, at)
    end)

    it("waits for the first multiple if it is told so", function()
        local at = {}
        local loop = neap.looping_call(function() at[#at + 1] = clock:now() end)
        loop:start(2, false)
        assert.same({}, at)
        clock:advance(2)
        assert.same({ 2 }, at)
        loop:stop()
    end)

    it("skips what it missed, and does not drift", function()
        local at = {}
        local loop = neap.looping_call(function() at[#at + 1] = clock:now() end)
        loop:start(1)
        clock:advance(0.5)
        clock:advance(3) -- 3.5: one call for 1, 2 and 3
        clock:advance(0.5)
        clock:advance(1.25)
        clock:advance(0.75)
        assert.same({ 0, 3.5, 4, 5.25, 6 }, at)
        loop:stop()
    end)

    it("never makes two calls for one interval, whatever floats add up to", function()
        local n = 0
        local loop = neap.looping_call(function() n = n + 1 end)
        clock:advance(0.7)
        loop:start(0.1)
        for _ = 1, 1000 do clock:advance(0.1) end
        loop:stop()
        assert.is_true(n > 900 and n <= 1001, n) -- one that fell short is skipped
    end)

    it("skips while f itself takes long", function()
        local at = {}
        local loop = neap.looping_call(function()
            at[#at + 1] = clock:now()
            if #at == 2 then clock:advance(3.5) end
        end)
        loop:start(1)
        clock:advance(1)
        clock:advance(0.5)
        assert.same({ 0, 1, 5 }, at)
        loop:stop()
    end)

    it("waits for a deferred that f returns", function()
        local at, d = {}, nil
        local loop = neap.looping_call(function()
            at[#at + 1] = clock:now()
            d = deferred()
            return d
        end)
        loop:start(1)
        clock:advance(2.5)
        assert.same({ 0 }, at)
        d:callback()
        clock:advance(0.25)
        assert.same({ 0 }, at)
        clock:advance(0.25)
        assert.same({ 0, 3 }, at)
        loop:stop()
        d:callback()
        clock:advance(5)
        assert.same({ 0, 3 }, at)
    end)

    it("ends with an error of f, and fails", function()
        local n = 0
        local loop = neap.looping_call(function()
            n = n + 1
            if n == 2 then error("boom") end
        end)
        local got = fate(loop:start(1))
        clock:advance(1)
        assert.matches("looping_spec.lua:%d+: boom$", got().error)
        assert.matches("looping_spec.lua", got().failure.traceback)
        assert.is_false(loop.running)
        clock:advance(5)
        assert.equal(2, n)
    end)

    it("ends with an error of the first call, or of a deferred", function()
        local got = fate(neap.looping_call(error, "at once", 0):start(1))
        assert.equal("at once", got().error)
        local loop = neap.looping_call(function() return neap.fail("later") end)
        got = fate(loop:start(1))
        assert.equal("later", got().error)
        assert.is_false(loop.running)
        loop = neap.looping_call(function() end)
        loop:start(1) -- and can be started again
        loop:stop()
    end)

    it("stopped by f, or while f's deferred is out, answers after that", function()
        local loop, got
        loop = neap.looping_call(function()
            loop:stop()
            assert.is_nil(got)
        end)
        got = fate(loop:start(1))
        assert.equal(loop, got()[1])

        local d = deferred()
        loop = neap.looping_call(function() return d end)
        got = fate(loop:start(1))
        loop:stop()
        assert.is_nil(got())
        assert.error(function() loop:start(1) end, "the looping call is running")
        d:callback()
        assert.equal(loop, got()[1])
    end)

    it("refuses what makes no sense", function()
        local loop = neap.looping_call(function() end)
        assert.error(function() loop:stop() end, "the looping call is not running")
        assert.error(function() loop:reset() end, "the looping call is not running")
        for _, wrong in ipairs { -1, 0 / 0, math.huge, "x" } do
            assert.error(function() loop:start(wrong) end)
        end
        loop:start(1)
        assert.error(function() loop:start(1) end, "the looping call is running")
        loop:stop()
        assert.error(function() neap.looping_call() end)
        assert.error(function() neap.looping_call({}) end)
    end)

    it("with an interval of 0 goes on as fast as it can", function()
        local n, loop = 0, nil
        loop = neap.looping_call(function()
            n = n + 1
            if n == 7 then loop:stop() end
        end)
        loop:start(0)
        clock:advance(0)
        assert.equal(7, n)
    end)

    it("with an interval of 0 lets the others run on the real clock", function()
        neap.use_clock(nil)
        local n = 0
        local loop = neap.looping_call(function() n = n + 1 end)
        loop:start(0)
        for _ = 1, 10 do sleep(0) end
        loop:stop()
        assert.is_true(n >= 5 and n < 100, n)
    end)

    it("tells how many intervals have gone by", function()
        local counts = {}
        local loop = neap.looping_call(function(n, x) counts[#counts + 1] = n .. x end, "x")
        loop:with_count():start(1)
        clock:advance(1)
        clock:advance(3.5)
        clock:advance(0.5)
        clock:advance(0.25)
        assert.same({ "1x", "1x", "3x", "1x" }, counts)
        loop:stop()
        counts = {}
        loop:start(1, false)
        clock:advance(2)
        loop:stop()
        assert.same({ "2x" }, counts)
    end)

    it("counts every interval once, whatever floats add up to", function()
        local sum, least = 0, math.huge
        local loop = neap.looping_call(function(n)
            sum, least = sum + n, math.min(n, least)
        end)
        loop:with_count():start(0.1, false)
        for _ = 1, 100 do clock:advance(0.3) end
        loop:stop()
        assert.is_true(sum >= 299 and sum <= 300, sum)
        assert.is_true(least >= 1)
    end)

    it("can be reset: the next call comes one interval from now", function()
        local at = {}
        local loop = neap.looping_call(function() at[#at + 1] = clock:now() end)
        loop:start(2)
        clock:advance(1.5)
        loop:reset()
        clock:advance(1.5)
        clock:advance(0.5)
        clock:advance(2)
        assert.same({ 0, 3.5, 5.5 }, at)
        loop:stop()
    end)

    it("stays on its clock", function()
        local n, other = 0, neap.clock()
        local loop = neap.looping_call(function() n = n + 1 end)
        loop:start(1)
        neap.use_clock(nil)
        clock:advance(1)
        clock:advance(1)
        assert.equal(3, n)
        loop:stop()
        loop:on_clock(other):start(1)
        other:advance(1)
        assert.equal(5, n)
        assert.equal(other, loop.clock)
        loop:stop()
    end)

    it("is stopped by a cancel of its deferred", function()
        local n = 0
        local loop = neap.looping_call(function() n = n + 1 end)
        local d = loop:start(1)
        local got = fate(d)
        d:cancel()
        assert.is_true(neap.is(got().error, neap.CancelledError))
        assert.is_false(loop.running)
        clock:advance(5)
        assert.equal(1, n)
    end)

    it("goes on though nobody keeps it", function()
        local n = 0
        neap.looping_call(function()
            n = n + 1
            return n == 3 and neap.fail("enough") or nil
        end):start(1):add_errback(function() end)
        for _ = 1, 5 do
            collectgarbage()
            clock:advance(1)
        end
        assert.equal(3, n)
    end)
end)

describe("defer_later", function()
    it("gives the results of f, called when the time has come", function()
        local got = fate(neap.defer_later(2, function(...)
            assert.is_true(neap.in_reactor())
            return clock:now(), ...
        end, "a", nil))
        clock:advance(1)
        assert.is_nil(got())
        clock:advance(1)
        assert.same({ 2, "a", nil, n = 3 }, got())
    end)

    it("fails as f does, waits for its deferred, and does without f", function()
        local got = fate(neap.defer_later(1, error, "boom", 0))
        local inner = deferred()
        local waits = fate(neap.defer_later(1, function() return inner end))
        local bare = fate(neap.defer_later(1))
        clock:advance(1)
        assert.equal("boom", got().error)
        assert.same({ n = 0 }, bare())
        assert.is_nil(waits())
        inner:callback(5)
        assert.same({ 5, n = 1 }, waits())
    end)

    it("cancelled takes its timer with it", function()
        local host = require "neap.host"
        local before, called = host.stats().timers, false
        local d = neap.defer_later(1, function() called = true end)
        local got = fate(d)
        assert.equal(before + 1, host.stats().timers)
        d:cancel()
        assert.equal(before, host.stats().timers)
        assert.is_true(neap.is(got().error, neap.CancelledError))
        clock:advance(1)
        assert.is_false(called)
    end)

    it("refuses what is no function", function()
        assert.error(function() neap.defer_later(1, 2) end)
        assert.error(function() neap.defer_later("x", print) end)
    end)
end)

describe("add_timeout", function()
    it("cancels, and makes the CancelledError a TimeoutError", function()
        local cancelled = 0
        local d = deferred(function() cancelled = cancelled + 1 end)
        assert.equal(d, d:add_timeout(2))
        local got = fate(d)
        clock:advance(1)
        assert.is_nil(got())
        clock:advance(1)
        assert.equal(1, cancelled)
        assert.is_true(neap.is(got().error, neap.TimeoutError))
        assert.equal("no result after 2 s", tostring(got().error))
    end)

    it("covers the callbacks added before it, and none after", function()
        local before, after = deferred(), deferred()
        local d = deferred():add_callback(function() return before end)
        local got = fate(d:add_timeout(1))
        d:callback()
        clock:advance(1)
        assert.is_true(neap.is(got().error, neap.TimeoutError))

        d = deferred():add_timeout(1):add_callback(function() return after end)
        got = fate(d)
        d:callback()
        clock:advance(5)
        assert.is_nil(got())
        after:callback("late")
        assert.same({ "late", n = 1 }, got())
    end)

    it("gives its timer back when the result is there", function()
        local host = require "neap.host"
        local before = host.stats().timers
        local d = deferred():add_timeout(1)
        local got = fate(d)
        assert.equal(before + 1, host.stats().timers)
        d:callback(1, nil, 3)
        assert.equal(before, host.stats().timers)
        assert.same({ 1, nil, 3, n = 3 }, got())
        neap.succeed():add_timeout(1)
        assert.equal(before, host.stats().timers)
        d = deferred():add_timeout(1)
        got = fate(d)
        d:errback("failed")
        assert.equal("failed", got().error)
        assert.equal(before, host.stats().timers)
    end)

    it("leaves a cancel by hand what it is", function()
        local d = deferred():add_timeout(1)
        local got = fate(d)
        d:cancel()
        assert.is_true(neap.is(got().error, neap.CancelledError))
        clock:advance(1)
    end)

    it("lets on_timeout decide, also when a canceller has answered", function()
        local seen
        local function on_timeout(result, seconds)
            seen = { result, seconds }
            return "custom"
        end
        local got = fate(deferred():add_timeout(2, on_timeout))
        clock:advance(2)
        assert.same({ "custom", n = 1 }, got())
        assert.is_true(neap.is(seen[1].value, neap.CancelledError))
        assert.equal(2, seen[2])

        got = fate(deferred(function(d) d:callback("answer") end):add_timeout(3, on_timeout))
        clock:advance(3)
        assert.same({ "answer", 3 }, seen)
        assert.same({ "custom", n = 1 }, got())

        got = fate(deferred():add_timeout(1, error))
        clock:advance(1)
        assert.is_truthy(got().error)
    end)

    it("is a success if an earlier errback takes the cancellation", function()
        local got = fate(deferred():add_errback(function() return "taken" end):add_timeout(1))
        clock:advance(1)
        assert.same({ "taken", n = 1 }, got())
    end)

    it("can stand twice: the nearer one counts", function()
        local d = deferred():add_timeout(2):add_timeout(1)
        local got = fate(d)
        clock:advance(1)
        assert.equal("no result after 1 s", tostring(got().error))
        clock:advance(5)
    end)

    it("reaches a tasklet that waits", function()
        local d = deferred():add_timeout(1)
        local t = spawn(function() return pcall(block_on, d) end)
        schedule()
        clock:advance(1)
        local _, ok, err = t:join()
        assert.is_false(ok)
        assert.is_true(neap.is(err, neap.TimeoutError))
    end)

    it("refuses what makes no sense", function()
        local d = deferred()
        assert.error(function() d:add_timeout() end)
        assert.error(function() d:add_timeout(0 / 0) end)
        assert.error(function() d:add_timeout(1, 2) end)
    end)
end)
