-- neap.inline_callbacks: functions that wait for deferreds by coroutine.yield.

local many = require "spec.support.many"
local record = require "spec.support.record"
local unhandled = record.unhandled
local yield = coroutine.yield

local failure_of, is_cancelled, collect =
    record.failure_of, record.is_cancelled, record.collect

local N = many(10000)

local function start(f, ...)
    return neap.inline_callbacks(f)(...)
end

describe("inline_callbacks", function()
    it("gives a deferred of the function's results", function()
        local f = neap.inline_callbacks(function(...) return select("#", ...), ... end)
        assert.same({ 3, nil, 2, nil, n = 4 }, table.pack(f(nil, 2, nil):wait()))
        assert.equal(0, select("#", start(function() end):wait()))
    end)

    it("wants a function", function()
        for _, f in ipairs { 1, "x", {}, false } do
            assert.has_error(function() neap.inline_callbacks(f) end)
        end
        local callable = setmetatable({}, { __call = function(_, v) return v end })
        assert.equal(1, start(callable, 1):wait())
    end)

    it("begins at once, waits at a yield, gets all values there", function()
        local d, log, got = deferred(), record.log(), nil
        local outer = start(function()
            log "begins"
            got = table.pack(yield(d))
            log "ends"
            return "result"
        end)
        log "caller"
        assert.is_false(outer.called)
        d:callback(nil, 2, nil)
        assert.equal("begins caller ends", tostring(log))
        assert.same({ nil, 2, nil, n = 3 }, got)
        assert.equal("result", outer:wait())
    end)

    it("what is no deferred is given back", function()
        assert.same({ 1, nil, 3, n = 3 }, table.pack(start(function()
            return yield(1, nil, 3)
        end):wait()))
        assert.equal(0, select("#", start(function() return yield() end):wait()))
    end)

    it("a failure is raised at the yield, the error itself, and counts as handled", function()
        unhandled(function(errors)
            local err, d = {}, deferred()
            local outer = start(function()
                local ok, first = pcall(yield, d)
                local ok2, second = pcall(yield, neap.fail(err))
                return ok == false and ok2 == false, first == err and second == err
            end)
            d:errback(err)
            assert.same({ true, true }, { outer:wait() })
            d = nil -- luacheck: ignore
            collect()
            assert.equal(0, #errors)
        end)
    end)

    it("an error of the function fails its deferred, with its traceback", function()
        local function the_culprit() error "boom" end
        local d = deferred()
        local outer = start(function()
            yield(d)
            the_culprit()
        end)
        d:callback()
        local err, failure = failure_of(outer)
        assert.matches("inline_callbacks_spec%.lua:%d+: boom$", err)
        assert.matches("the_culprit", failure.traceback)
        local _, index = failure_of(start(function() return ({}).x.y end))
        assert.matches("inline_callbacks_spec", index.traceback)
    end)

    it("tracebacks name the functions that wait", function()
        local d = deferred()
        local function the_culprit() error "boom" end
        local inner = neap.inline_callbacks(function()
            yield(d)
            the_culprit()
        end)
        local function the_waiter() return (yield(inner())) end
        local outer = start(function() return (the_waiter()) end)
        d:callback()
        local err, failure = failure_of(outer)
        assert.matches("boom$", err)
        assert.matches("the_waiter.*raised first:.*the_culprit", failure.traceback)
    end)

    it("an unhandled error is reported once", function()
        unhandled(function(errors)
            local d = deferred()
            start(function() yield(neap.fail "x") end)
            start(function()
                yield(d)
                error("y", 0)
            end)
            d:callback()
            collect()
            local got = { errors[1].value, errors[2].value }
            table.sort(got)
            assert.same({ "x", "y", 2 }, { got[1], got[2], #errors })
        end)
    end)

    it("a deferred keeps its value for others", function()
        local d = deferred()
        local both = neap.gather_results {
            start(function() return yield(d) end),
            start(function() return yield(d) end),
        }
        d:callback "v"
        assert.same({ "v", "v", n = 2 }, both:wait())
        assert.equal("v", d:wait())
    end)

    it("and its failure", function()
        unhandled(function(errors)
            local d = deferred()
            local function wait() return (select(2, pcall(yield, d))) end
            local both = neap.gather_results { start(wait), start(wait) }
            d:errback "x"
            assert.same({ "x", "x", n = 2 }, both:wait())
            assert.equal("x", record.error_of(block_on, d))
            assert.equal("x", start(wait):wait())
            d = nil -- luacheck: ignore
            collect()
            assert.equal(0, #errors)
        end)
    end)

    it("a deferred that is returned is waited for", function()
        local d = deferred()
        local outer = start(function() return d, "not this" end)
        assert.is_false(outer.called)
        d:callback(1, 2)
        assert.same({ 1, 2, n = 2 }, table.pack(outer:wait()))
        assert.equal("x", failure_of(start(function() return neap.fail "x" end)))
        local inner = deferred()
        outer = start(function() return inner end)
        outer:cancel()
        assert.is_true(is_cancelled(outer))
    end)

    it(5 * N .. " fired deferreds, with no growth", function()
        local sum, depth = start(function()
            local sum = 0
            for i = 1, 5 * N do sum = sum + yield(neap.succeed(i)) end
            local _, frames = debug.traceback():gsub("\n", "")
            return sum, frames
        end):wait()
        assert.equal(5 * N * (5 * N + 1) // 2, sum)
        assert.is_true(depth < 15)
    end)

    it("5,000 deferreds that fire later", function()
        local next_one
        local outer = start(function()
            for i = 1, 5000 do
                next_one = deferred()
                assert(yield(next_one) == i)
            end
            return "done"
        end)
        for i = 1, 5000 do next_one:callback(i) end
        assert.equal("done", outer:wait())
    end)

    it(N .. " calls inside one another", function()
        local down
        down = neap.inline_callbacks(function(n)
            if n == 0 then return 0 end
            return 1 + yield(down(n - 1))
        end)
        assert.equal(N, down(N):wait())
        local d = deferred()
        local wait_down
        wait_down = neap.inline_callbacks(function(n)
            if n == 0 then return yield(d) end
            return 1 + yield(wait_down(n - 1))
        end)
        local outer = wait_down(N)
        assert.is_false(outer.called)
        d:callback(0)
        assert.equal(N, outer:wait())
    end)

    it("a failure passes 1,000 calls", function()
        local down
        down = neap.inline_callbacks(function(n)
            if n == 0 then error("bottom", 0) end
            return yield(down(n - 1))
        end)
        assert.equal("bottom", failure_of(down(1000)))
    end)

    it("runs as reactor code: what would block raises, and may be caught", function()
        local d, seen = deferred(), {}
        local outer = start(function()
            for i = 1, 2 do
                seen[i] = { neap.in_reactor(), pcall(sleep, 0) }
                if i == 1 then yield(d) end
            end
        end)
        d:callback()
        outer:wait()
        for i = 1, 2 do
            assert.is_true(seen[i][1])
            assert.is_false(seen[i][2])
            assert.equal("Cannot block in reactor task", seen[i][3])
        end
        assert.is_false(neap.in_reactor())
    end)

    it("waits for tasklets by their deferreds", function()
        local work = deferred_tasklet(function(v)
            sleep(0)
            return v * 2
        end)
        assert.equal(12, start(function() return yield(work(2)) + yield(work(4)) end):wait())
    end)

    it("may be called from anywhere, in a coroutine too", function()
        local d, got = deferred(), nil
        local made = coroutine.wrap(function()
            coroutine.yield(start(function()
                got = yield(d)
                return got
            end))
        end)()
        neap.succeed():add_callback(function() d:callback "v" end)
        assert.equal("v", made:wait())
        assert.equal("v", got)
    end)

    it("a generator of the function's own is its own", function()
        assert.equal(3, start(function()
            local sum, d = 0, neap.succeed()
            for v in coroutine.wrap(function()
                coroutine.yield(1)
                coroutine.yield(2)
            end) do
                yield(d)
                sum = sum + v
            end
            return sum
        end):wait())
    end)

    it("closes variables before its deferred fires, and may wait in that", function()
        local d, log = deferred(), record.log()
        local outer = start(function()
            local _ <close> = setmetatable({}, { __close = function()
                log(yield(d))
            end })
            error("x", 0)
        end)
        assert.is_false(outer.called)
        d:callback "closed"
        assert.equal("x", failure_of(outer))
        assert.equal("closed", tostring(log))
    end)

    it("nil as an error", function()
        local d = deferred()
        local outer = start(function()
            local ok, err = pcall(yield, d)
            return ok, err, yield(neap.succeed "on")
        end)
        d:errback(nil)
        assert.same({ false, nil, "on", n = 3 }, table.pack(outer:wait()))
    end)
end)

describe("cancel of a call of inline_callbacks", function()
    it("cancels what it waits for", function()
        local asked = 0
        local d = deferred(function() asked = asked + 1 end)
        local outer = start(function() yield(d) end)
        outer:cancel()
        assert.equal(1, asked)
        assert.is_true(is_cancelled(outer))
        outer:cancel()
        assert.equal(1, asked)
    end)

    it("the function may catch it and answer", function()
        local outer = start(function()
            local ok, err = pcall(yield, deferred())
            return ok, neap.is(err, neap.CancelledError)
        end)
        outer:cancel()
        assert.same({ false, true }, { outer:wait() })
    end)

    it("or translate it", function()
        local outer = start(function()
            pcall(yield, deferred())
            error("mine", 0)
        end)
        outer:cancel()
        assert.equal("mine", failure_of(outer))
    end)

    it("or go on: the next cancel hits the next wait", function()
        local first, second, log = deferred(), deferred(), record.log()
        local outer = start(function()
            log(tostring(pcall(yield, first)))
            log(tostring(pcall(yield, second)))
            return "done"
        end)
        outer:cancel()
        assert.is_false(outer.called)
        assert.is_false(second.called)
        assert.equal("false", tostring(log))
        outer:cancel()
        assert.equal("false false", tostring(log))
        assert.equal("done", outer:wait())
    end)

    it("what it waits for may take its time", function()
        local d = deferred_tasklet(function()
            pcall(channel().receive, channel())
            sleep(0)
            return "late"
        end)()
        schedule()
        local outer = start(function() return yield(d) end)
        outer:cancel()
        assert.is_false(outer.called)
        assert.equal("late", outer:wait())
    end)

    it("while it runs hits the next wait that is one", function()
        local outer, log = nil, record.log()
        local go = deferred()
        outer = start(function()
            yield(go)
            outer:cancel()
            log(yield(neap.succeed "fired"))
            log(tostring(pcall(yield, deferred())))
            return yield(neap.succeed "end")
        end)
        go:callback()
        assert.equal("fired false", tostring(log))
        assert.equal("end", outer:wait())
    end)

    it("goes through calls inside one another", function()
        local d, log = deferred(), record.log()
        local function level(n)
            return start(function()
                if n == 0 then return yield(d) end
                local ok, err = pcall(yield, level(n - 1))
                log(n)
                if not ok then error(err, 0) end
            end)
        end
        local outer = level(3)
        outer:cancel()
        assert.equal("1 2 3", tostring(log))
        assert.is_true(is_cancelled(outer))
    end)

    it("before it has begun: it never runs", function()
        local calls, ran, down = {}, 0, nil
        down = neap.inline_callbacks(function(n)
            ran = ran + 1
            if n == 0 then return end
            calls[n] = down(n - 1)
            if n == 1 then calls[1]:cancel() end
            return (pcall(yield, calls[n]))
        end)
        assert.is_true(down(20):wait())
        assert.equal(20, ran)
    end)

    it("a waiter that leaves cancels it", function()
        local asked = 0
        local d = deferred(function() asked = asked + 1 end)
        local outer = start(function() yield(d) end)
        local ok, err = pcall(block_on, outer, 0)
        assert.is_false(ok)
        assert.is_true(neap.is(err, neap.TimeoutError))
        assert.equal(1, asked)
        assert.is_true(outer.called)
    end)

    it("an error of a canceller is the caller's; it may be tried again", function()
        local asked = 0
        local d = deferred(function()
            asked = asked + 1
            if asked == 1 then error("x", 0) end
        end)
        local outer = start(function() yield(d) end)
        assert.equal("x", record.error_of(outer.cancel, outer))
        assert.is_false(outer.called)
        outer:cancel()
        assert.is_true(is_cancelled(outer))
    end)

    it("somebody else fires its deferred: an error of it is reported, a value dropped", function()
        unhandled(function(errors)
            local a, b = deferred(), deferred()
            local first = start(function()
                yield(a)
                error("mine", 0)
            end)
            local second = start(function() return yield(b) end)
            first:callback "theirs"
            second:callback "theirs"
            a:callback()
            b:callback()
            assert.equal("theirs", first:wait())
            assert.equal("theirs", second:wait())
            assert.equal(1, #errors)
            assert.equal("mine", errors[1].value)
        end)
    end)
end)

describe("coroutine.yield", function()
    it("that throw resumes raises there; a coroutine that does not wait refuses", function()
        local throw = require("neap.inside").throw
        local co = coroutine.create(function(...)
            local ok, err = pcall(coroutine.yield, ...)
            return ok, err, coroutine.yield "again"
        end)
        assert.has_error(function() throw(co, "x") end)
        assert.same({ true, 1, 2 }, { coroutine.resume(co, 1, 2) })
        local err = {}
        assert.same({ true, "again" }, { throw(co, err) })
        assert.same({ true, false, err, 5, n = 4 }, table.pack(coroutine.resume(co, 5)))
        assert.has_error(function() throw(co, "x") end)
        assert.has_error(function() throw(coroutine.running(), "x") end)
        co = coroutine.create(function() coroutine.yield() end)
        coroutine.resume(co)
        assert.same({ false, "out" }, { throw(co, "out") })
        assert.equal("dead", coroutine.status(co))
    end)
end)
