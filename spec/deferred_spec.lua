-- Deferreds: chains of callbacks, chaining, pauses, cancels.

local deferreds = require "spec.support.deferreds"
local many = require "spec.support.many"
local program = require "spec.support.program"
local record = require "spec.support.record"
local with_clock = require "spec.support.with_clock"
local collect, drop = record.collect, deferreds.drop
local value_of, waiter = deferreds.value_of, deferreds.waiter
local error_of, unhandled = record.error_of, record.unhandled

local N = many(100000)

local function call(f, ...)
    return f(...)
end

describe("a deferred", function()
    it("runs its callbacks in order, each with the result of the one before", function()
        local d, log = deferred(), record.log()
        d:add_callback(function(v)
            log("a" .. v)
            return v + 1
        end):add_callback(function(v)
            log("b" .. v)
            return v * 10
        end)
        assert.equal("", tostring(log))
        d:callback(1)
        assert.equal("a1 b2", tostring(log))
        assert.equal(20, d.result)
    end)

    it("passes all values, nils included", function()
        local d, got = deferred(), nil
        d:add_callback(function(...)
            got = table.pack(...)
            return nil, 2, nil
        end)
        d:callback(nil, nil, 3, nil)
        assert.same({ nil, nil, 3, nil, n = 4 }, got)
        assert.same({ nil, 2, nil, n = 3 }, table.pack(d:wait()))
        d = deferred()
        d:callback()
        assert.equal(0, select("#", d:wait()))
        assert.is_true(d.called)
    end)

    it("extra arguments follow one value, whatever the result", function()
        for _, result in ipairs { {}, { 1 }, { 1, 2, 3 } } do
            local d, got = deferred(), nil
            d:add_callback(function(...) got = table.pack(...) end, "x", nil, "z")
            d:callback(table.unpack(result))
            assert.same({ result[1], "x", nil, "z", n = 4 }, got)
        end
    end)

    it("add_ functions give the deferred", function()
        local d = deferred()
        assert.equal(d, d:add_callback(print))
        assert.equal(d, d:add_errback(print))
        assert.equal(d, d:add_both(call, print))
        assert.equal(d, d:add_callbacks(print, print))
        assert.equal(d, d:add_callbacks(nil, print))
        assert.equal(d, d:add_callbacks(print))
    end)

    it("add_ functions want functions", function()
        local d = deferred()
        assert.has_error(function() d:add_callback() end)
        assert.has_error(function() d:add_errback(1) end)
        assert.has_error(function() d:add_both({}) end)
        assert.has_error(function() d:add_callbacks(1) end)
        assert.has_error(function() deferred(1) end)
    end)

    it("success passes errbacks, failure passes callbacks, both get either", function()
        local log = record.log()
        local function chain(d)
            d:add_errback(function() log "errback" end)
            d:add_callbacks(nil, function() log "only failure" end)
            d:add_callback(function() log "callback" end)
            d:add_both(function() log "both" end)
            return d
        end
        chain(deferred()):callback()
        assert.equal("callback both", tostring(log))
        log = record.log()
        local d = deferred()
        d:add_callback(function() log "callback" end)
        d:add_callbacks(function() log "only success" end, nil)
        d:add_both(function(f)
            log("both " .. f.value)
        end)
        d:errback("x")
        assert.equal("both x", tostring(log))
    end)

    it("a callback that raises sends the chain to the errbacks", function()
        local d, log = deferred(), record.log()
        d:add_callback(error)
        d:add_callback(function() log "skipped" end)
        d:add_errback(function(f)
            log("handled " .. f.value)
            return "good"
        end)
        d:add_callback(log)
        d:callback("x")
        assert.equal("handled x good", tostring(log))
    end)

    it("an errback that raises or returns a failure stays on the errbacks", function()
        local d, log = deferred(), record.log()
        d:add_errback(function(f) return f end)
        d:add_errback(function(f) f:raise() end)
        d:add_errback(function() error("y", 0) end)
        d:add_callback(function() log "skipped" end)
        d:add_errback(function(f) log(f.value) end)
        d:errback("x")
        assert.equal("y", tostring(log))
    end)

    it("callback of a failure is an errback", function()
        local f
        neap.fail("x"):add_errback(function(failure) f = failure end)
        local d = deferred()
        d:callback(f)
        assert.equal("x", d:add_errback(value_of):wait())
    end)

    it("what is added after the firing runs at once", function()
        local d, got = neap.succeed(1, 2), nil
        d:add_callback(function(...) got = { ... } end)
        assert.same({ 1, 2 }, got)
    end)

    it("what is added in a callback runs after it", function()
        local d, log = deferred(), record.log()
        d:add_callback(function()
            log "a<"
            d:add_callback(function() log "c" end)
            log "a>"
        end)
        d:add_callback(function() log "b" end)
        d:callback()
        assert.equal("a< a> b c", tostring(log))
        log = record.log()
        d = neap.succeed()
        d:add_callback(function()
            log "a<"
            d:add_callback(function()
                log "b<"
                d:add_callback(function() log "c" end)
                log "b>"
            end)
            log "a>"
        end)
        assert.equal("a< a> b< b> c", tostring(log))
    end)

    it("fires once: AlreadyCalledError, and nothing changes", function()
        for _, first in ipairs { "callback", "errback" } do
            for _, second in ipairs { "callback", "errback" } do
                local d = deferred()
                d[first](d, "first")
                local ok, err = pcall(d[second], d, "second")
                assert.is_false(ok)
                assert.is_true(neap.is(err, neap.AlreadyCalledError))
                local got = d:add_errback(value_of):wait()
                assert.equal("first", got)
            end
        end
    end)

    it("cannot be fired with a deferred", function()
        local d = deferred()
        assert.has_error(function() d:callback(deferred()) end)
        assert.has_error(function() d:callback(neap.succeed(1)) end)
        assert.is_false(d.called)
        assert.has_error(function() d:errback() end)
        assert.is_false(d.called)
    end)

    it("firing another in a callback runs that one's callbacks now", function()
        local d1, d2, log = deferred(), deferred(), record.log()
        d2:add_callback(function() log "d2" end)
        d1:add_callback(function()
            log "d1a"
            d2:callback()
            log "d1b"
        end)
        d1:callback()
        assert.equal("d1a d2 d1b", tostring(log))
    end)

    it("says in text how it is", function()
        local d = deferred()
        assert.matches("^deferred.*unfired", tostring(d))
        assert.is_false(d.called)
        assert.is_nil(d.result)
        d:callback("x")
        assert.matches("fired", tostring(d))
        assert.is_true(d.called)
        assert.equal("x", d.result)
        d:pause()
        assert.matches("paused", tostring(d))
        d:unpause()
        d:add_callback(function() return deferred() end)
        assert.matches("waiting on another", tostring(d))
        assert.has_error(function() return d.no_such_thing end)
        assert.has_error(function() d.called = true end)
    end)

    it("callbacks are reactor code", function()
        local seen, current
        assert.is_false(neap.in_reactor())
        neap.succeed():add_callback(function()
            seen, current = neap.in_reactor(), neap.getcurrent()
        end)
        assert.is_true(seen)
        assert.is_nil(current)
        assert.is_false(neap.in_reactor())
        neap.succeed():add_callback(error):add_errback(function() seen = neap.in_reactor() end)
        assert.is_true(seen)
        assert.is_false(neap.in_reactor())
    end)

    it("a callback may spawn", function()
        local log = record.log()
        neap.succeed():add_callback(function()
            spawn(log, "spawned")
            log "callback"
        end)
        log "here"
        schedule()
        assert.equal("callback here spawned", tostring(log))
    end)

    it("1,000 firings inside one another", function()
        local d, fired = {}, {}
        for i = 1, 1000 do
            d[i] = deferred()
            d[i]:add_callback(function(v)
                fired[#fired + 1] = i
                if d[i + 1] then d[i + 1]:callback(v + 1) end
                return v
            end)
        end
        d[1]:callback(1)
        assert.equal(1000, #fired)
        for i = 1, 1000 do
            assert(fired[i] == i)
            assert(d[i]:wait() == i)
        end
    end)

    it("firings inside one another, started from deep inside C", function()
        local n = 0
        local function down(depth, f)
            if depth == 0 then return f() end
            assert(pcall(down, depth - 1, f))
        end
        down(60, function()
            local d = {}
            for i = 1, 300 do
                d[i] = deferred()
                d[i]:add_callback(function()
                    n = n + 1
                    if d[i + 1] then d[i + 1]:callback() end
                end)
            end
            d[1]:callback()
            d[300]:wait()
        end)
        assert.equal(300, n)
    end)

    it("100,000 callbacks, before and after the firing", function()
        local d = deferred()
        local function count(n) return n + 1 end
        for _ = 1, 50000 do d:add_callback(count) end
        d:callback(0)
        for _ = 1, 50000 do d:add_callback(count) end
        assert.equal(100000, d:wait())
    end)

    it("5,000 pairs that pass the result on", function()
        local d = deferred()
        for _ = 1, 5000 do d:add_callbacks(nil, error) end
        d:callback("v")
        assert.equal("v", d:wait())
    end)

    it("does not keep what has run", function()
        local d, weak = deferred(), setmetatable({}, { __mode = "k" })
        for _ = 1, 10 do
            local f = function() return weak end
            weak[f] = true
            d:add_callback(f)
        end
        d:callback()
        collectgarbage()
        collectgarbage()
        assert.is_nil(next(weak))
    end)
end)

describe("a callback that returns a deferred", function()
    it("makes the chain wait for it", function()
        local outer, inner, log = deferred(), deferred(), record.log()
        outer:add_callback(function() return inner end)
        outer:add_callback(function(...) log(table.concat({ ... }, "+")) end)
        outer:callback("ignored")
        assert.equal("", tostring(log))
        assert.is_true(outer.called)
        assert.is_true(outer.paused)
        inner:callback("a", "b")
        assert.equal("a+b", tostring(log))
        assert.is_false(outer.paused)
    end)

    it("takes the result of one that has fired", function()
        local inner = neap.succeed(nil, 2)
        local outer = neap.succeed():add_callback(function() return inner end)
        assert.same({ nil, 2, n = 2 }, table.pack(outer:wait()))
        assert.is_nil(inner.result)
        assert.equal(0, select("#", inner:wait()))
    end)

    it("takes a failure over, which is then not the inner one's", function()
        unhandled(function(errors)
            local inner = neap.fail("x")
            local outer = neap.succeed():add_callback(function() return inner end)
            assert.equal("x", outer:add_errback(value_of):wait())
            local late = deferred()
            outer = neap.succeed():add_callback(function() return late end)
            late:errback("y")
            assert.equal("y", outer:add_errback(value_of):wait())
            inner, late, outer = nil, nil, nil -- luacheck: ignore
            collect()
            assert.equal(0, #errors)
        end)
    end)

    it("order: the inner one's earlier callbacks, the outer's rest, the later ones", function()
        local outer, inner, log = deferred(), deferred(), record.log()
        inner:add_callback(function(v)
            log("inner early " .. v)
            return v
        end)
        outer:add_callback(function() return inner end)
        outer:add_callback(function(v) log("outer " .. v) end)
        outer:callback()
        inner:add_callback(function(v) log("inner late " .. tostring(v)) end)
        inner:callback("v")
        assert.equal("inner early v outer v inner late nil", tostring(log))
    end)

    it("a second outer one gets nil", function()
        local inner, got = deferred(), {}
        for i = 1, 2 do
            neap.succeed():add_callback(function() return inner end)
                :add_callback(function(v) got[i] = tostring(v) end)
        end
        inner:callback("v")
        assert.same({ "v", "nil" }, got)
    end)

    it("an errback may return one too", function()
        local inner = deferred()
        local d = neap.fail("x"):add_errback(function() return inner end)
        inner:callback("good")
        assert.equal("good", d:wait())
    end)

    it("its own deferred: an error, not a hang", function()
        local d
        d = deferred()
        d:add_callback(function() return d end)
        d:callback()
        assert.matches("itself", tostring(d:add_errback(value_of):wait()))
    end)

    -- n deferreds, each waiting for the next; `order` fires all but the last.
    local function linked(n, first, last, step)
        local d = {}
        for i = 1, n do
            d[i] = deferred()
            if i > 1 then
                local this = d[i]
                d[i - 1]:add_callback(function() return this end)
            end
        end
        for i = first, last, step do d[i]:callback(i) end
        return d
    end

    it(N .. " links, fired from the outer end", function()
        local d = linked(N, 1, N - 1, 1)
        d[N]:callback("v")
        assert.equal("v", d[1]:wait())
    end)

    it(N .. " links, fired from the inner end", function()
        local d = linked(N, N, 1, -1)
        assert.equal(N, d[1]:wait())
    end)

    it(N .. " links, a failure", function()
        local d = linked(N, 1, N - 1, 1)
        d[N]:errback("x")
        assert.equal("x", d[1]:add_errback(value_of):wait())
    end)
end)

describe("cancel", function()
    it("without a canceller fails it now; one later firing is swallowed", function()
        for _, firing in ipairs { "callback", "errback" } do
            local d, got = deferred(), nil
            d:add_errback(function(f) got = f end)
            d:cancel()
            assert.equal(neap.CancelledError, got:check(neap.CancelledError))
            d[firing](d, "late")
            assert.is_true(neap.is(select(2, pcall(d[firing], d, "later")),
                neap.AlreadyCalledError))
        end
    end)

    it("calls the canceller once, with the deferred", function()
        local calls, got = {}, nil
        local d = deferred(function(...) calls[#calls + 1] = table.pack(...) end)
        d:add_errback(function(f) got = f.value end)
        d:cancel()
        d:cancel()
        assert.equal(1, #calls)
        assert.equal(1, calls[1].n)
        assert.equal(d, calls[1][1])
        assert.is_true(neap.is(got, neap.CancelledError))
        assert.is_true(neap.is(select(2, pcall(d.callback, d)), neap.AlreadyCalledError))
    end)

    it("the canceller may fire it itself", function()
        local d = deferred(function(this) this:callback("answer") end)
        d:cancel()
        assert.equal("answer", d:wait())
        assert.is_true(neap.is(select(2, pcall(d.callback, d)), neap.AlreadyCalledError))
        d = deferred(function(this) this:errback("own") end)
        d:cancel()
        assert.equal("own", d:add_errback(value_of):wait())
    end)

    it("again, or after the firing, does nothing", function()
        local d = neap.succeed("v")
        d:cancel()
        assert.equal("v", d:wait())
        local n = 0
        d = deferred()
        d:add_errback(function() n = n + 1 end)
        d:cancel()
        d:cancel()
        assert.equal(1, n)
    end)

    it("of one that waits for another cancels that one", function()
        local log = record.log()
        local outer = deferred(function() log "outer's" end)
        local inner = deferred(function(d)
            log "inner's"
            d:callback("answer")
        end)
        outer:add_callback(function() return inner end)
        outer:callback()
        outer:cancel()
        assert.equal("inner's", tostring(log))
        assert.equal("answer", outer:wait())
        inner, outer = deferred(), deferred()
        outer:add_callback(function() return inner end)
        outer:callback()
        outer:cancel()
        assert.is_true(neap.is(outer:add_errback(value_of):wait(), neap.CancelledError))
    end)

    it("an error of the canceller is the caller's; it may be tried again", function()
        local n = 0
        local d = deferred(function()
            n = n + 1
            if n == 1 then error("x", 0) end
        end)
        assert.equal("x", error_of(d.cancel, d))
        assert.is_false(d.called)
        d:cancel()
        assert.equal(2, n)
        assert.is_true(neap.is(d:add_errback(value_of):wait(), neap.CancelledError))
    end)

    it("the canceller is dropped at the firing", function()
        local weak = setmetatable({}, { __mode = "k" })
        local function canceller() return weak end
        weak[canceller] = true
        local d = deferred(canceller)
        d:callback()
        canceller = nil -- luacheck: ignore
        collectgarbage()
        collectgarbage()
        assert.is_nil(next(weak))
        assert.is_true(d.called)
    end)

    it("by a waiter out of time that is killed for good before it wakes", with_clock(function(clock)
        local cancelled = 0
        local d = deferred(function() cancelled = cancelled + 1 end)
        local late
        local killer = spawn(function()
            sleep(1)
            assert.is_nil(late.waiting_on)
            late:kill { hard = true }
            assert.equal(1, cancelled)
        end)
        late = spawn(function() d:wait(1) end)
        schedule()
        clock:advance(1)
        assert.is_true(killer:join())
        assert.same({ false, 1 }, { late.alive, cancelled })
    end))

    it("nobody takes CancelledError: not reported", function()
        unhandled(function(errors)
            deferred():cancel()
            collect()
            assert.equal(0, #errors)
        end)
    end)
end)

describe("pause", function()
    it("is counted: two need two unpauses", function()
        local d, n = deferred(), 0
        d:add_callback(function() n = n + 1 end)
        d:pause()
        d:pause()
        assert.is_true(d.paused)
        d:callback()
        assert.is_true(d.called)
        d:unpause()
        assert.same({ 0, true }, { n, d.paused })
        d:unpause()
        assert.same({ 1, false }, { n, d.paused })
    end)

    it("before the firing: an unpause runs nothing", function()
        local d, n = deferred(), 0
        d:add_callback(function() n = n + 1 end)
        d:pause()
        d:unpause()
        assert.equal(0, n)
        d:callback()
        assert.equal(1, n)
    end)

    it("holds what is added after the firing", function()
        local d, log = neap.succeed("v"), record.log()
        d:pause()
        d:add_callback(log)
        assert.equal("", tostring(log))
        d:unpause()
        assert.equal("v", tostring(log))
    end)

    it("in a callback stops the chain after it", function()
        local d, log = deferred(), record.log()
        d:add_callback(function()
            d:pause()
            log "a"
        end)
        d:add_callback(function() log "b" end)
        d:callback()
        assert.equal("a", tostring(log))
        d:unpause()
        assert.equal("a b", tostring(log))
    end)

    it("and unpause in one callback: the chain goes on, after it", function()
        local d, log = deferred(), record.log()
        d:add_callback(function()
            log "a<"
            d:pause()
            d:unpause()
            log "a>"
        end)
        d:add_callback(function() log "b" end)
        d:callback()
        assert.equal("a< a> b", tostring(log))
    end)

    it("an unpause too many raises and changes nothing", function()
        local d, n = deferred(), 0
        d:add_callback(function() n = n + 1 end)
        assert.equal("the deferred is not paused", error_of(d.unpause, d))
        d:callback()
        assert.equal(1, n)
        local inner = deferred()
        d:add_callback(function() return inner end)
        assert.is_true(d.paused)
        assert.equal("the deferred is not paused", error_of(d.unpause, d))
        d:add_callback(function(v) n = v end)
        inner:callback("v")
        assert.equal("v", n)
    end)

    it("a failure is kept, and is not reported while it waits", function()
        unhandled(function(errors)
            local d, got = deferred(), nil
            d:pause()
            d:add_errback(function(f) got = f.value end)
            d:errback("x")
            collect()
            assert.same({ 0 }, { #errors, got })
            d:unpause()
            assert.equal("x", got)
        end)
    end)

    it("a failure in one that is collected while it is paused is reported", function()
        unhandled(function(errors)
            drop(function()
                local d = deferred()
                d:pause()
                d:errback("x")
            end)
            collect()
            assert.equal(1, #errors)
            assert.equal("x", errors[1].value)
        end)
    end)

    it("a waiter waits for the unpause", function()
        local d = neap.succeed("v")
        d:pause()
        local w = waiter(d)
        assert.is_nil(w.got)
        d:unpause()
        w.tasklet:join()
        assert.same({ true, "v", n = 2 }, w.got)
    end)

    it("a returned deferred that is fired but paused is waited for", function()
        local inner = neap.succeed("v")
        inner:pause()
        local outer = neap.succeed():add_callback(function() return inner end)
        assert.is_true(outer.paused)
        inner:unpause()
        assert.equal("v", outer:wait())
    end)

    it("an outer one that is paused too holds only itself", function()
        local outer, inner, log = deferred(), deferred(), record.log()
        outer:add_callback(function() return inner end)
        outer:add_callback(function(v) log("outer " .. v) end)
        outer:callback()
        outer:pause()
        inner:add_callback(function(v)
            log("inner " .. tostring(v))
            return v
        end)
        inner:callback("v")
        inner:add_callback(function() log "late" end)
        assert.equal("inner nil late", tostring(log))
        outer:unpause()
        assert.equal("inner nil late outer v", tostring(log))
    end)
end)

describe("chain_deferred", function()
    it("fires the other with the result, which becomes nil", function()
        local d, other, log = deferred(), deferred(), record.log()
        other:add_callback(function(a, b) log(("other %s %s"):format(a, b)) end)
        d:add_callback(function(v) return v, 2 end)
        assert.equal(d, d:chain_deferred(other))
        d:add_callback(function(v) log("own " .. tostring(v)) end)
        d:callback(1)
        assert.equal("other 1 2 own nil", tostring(log))
    end)

    it("of a failure: the other has it, and it is not this one's any more", function()
        unhandled(function(errors)
            local d, other = neap.fail("x"), deferred()
            d:chain_deferred(other)
            assert.is_nil(d.result)
            assert.equal("x", other:add_errback(value_of):wait())
            d = nil -- luacheck: ignore
            collect()
            assert.equal(0, #errors)
        end)
    end)

    it("a cancel of the other is not one of this; this may fire, once", function()
        local d, other = deferred(), deferred()
        d:chain_deferred(other)
        other:cancel()
        assert.is_false(d.called)
        d:callback("v")
        assert.is_true(neap.is(other:add_errback(value_of):wait(), neap.CancelledError))
        d = neap.succeed("v")
        d:chain_deferred(other)
        assert.is_true(neap.is(d:add_errback(value_of):wait(), neap.AlreadyCalledError))
    end)

    it("an other that has fired: AlreadyCalledError is this one's failure", function()
        local d, other = deferred(), neap.succeed("first")
        d:chain_deferred(other)
        d:callback("v")
        assert.is_true(neap.is(d:add_errback(value_of):wait(), neap.AlreadyCalledError))
        assert.equal("first", other:wait())
    end)

    it("to itself: AlreadyCalledError too", function()
        local d = deferred()
        d:chain_deferred(d)
        d:callback("v")
        assert.is_true(neap.is(d:add_errback(value_of):wait(), neap.AlreadyCalledError))
    end)

    it("a failure that finds the other fired is named in the error's traceback", function()
        local function the_culprit() error("lost", 0) end
        local d = deferred():add_callback(function() the_culprit() end)
        d:chain_deferred(neap.succeed())
        d:callback()
        local f = d:add_errback(function(f) return { f } end):wait()[1]
        assert.is_true(neap.is(f.value, neap.AlreadyCalledError))
        assert.matches("lost", f.traceback)
        assert.matches("the_culprit", f.traceback)
    end)

    it("a paused other runs when it is unpaused", function()
        local d, other, log = deferred(), deferred(), record.log()
        d:chain_deferred(other)
        other:add_callback(log)
        other:pause()
        d:callback("v")
        assert.equal("", tostring(log))
        assert.is_true(other.called)
        other:unpause()
        assert.equal("v", tostring(log))
    end)

    it("wants a deferred", function()
        assert.has_error(function() deferred():chain_deferred(1) end)
        assert.has_error(function() deferred():chain_deferred() end)
    end)

    -- n deferreds, each chained to the next.
    local function chain(n)
        local d = { deferred() }
        for i = 2, n do
            d[i] = deferred()
            d[i - 1]:chain_deferred(d[i])
        end
        return d
    end

    it(N .. " deep, fired from the outer end", function()
        local d = chain(N)
        d[1]:callback("v")
        assert.equal("v", d[N]:wait())
        assert.is_nil(d[N - 1].result)
        d = chain(N)
        d[1]:errback("x")
        assert.equal("x", d[N]:add_errback(value_of):wait())
    end)

    it(N .. " deep, chained from the inner end, after the firing", function()
        local d = {}
        for i = 1, N do d[i] = deferred() end
        for i = N - 1, 1, -1 do d[i]:chain_deferred(d[i + 1]) end
        d[1]:callback("v")
        assert.equal("v", d[N]:wait())
        d = neap.succeed("v")
        for _ = 1, N do
            local other = deferred()
            d:chain_deferred(other)
            d = other
        end
        assert.equal("v", d:wait())
    end)
end)

describe("fork", function()
    it("gives the result of its place in the chain, which stays", function()
        local d = deferred():add_callback(function(v) return v, "more" end)
        local a, b = d:fork(), d:fork()
        d:add_callback(function(v) return v .. "2" end)
        d:callback("v")
        local expected = { "v", "more", n = 2 }
        assert.same(expected, table.pack(a:wait()))
        assert.same(expected, table.pack(b:wait()))
        assert.equal("v2", d:wait())
        assert.equal("v2", d:fork():wait())
    end)

    it("a failure reaches both; the fork has handled it for the other", function()
        unhandled(function(errors)
            local d = neap.fail("x")
            local e = d:fork()
            assert.equal("x", e:add_errback(value_of):wait())
            d = nil -- luacheck: ignore
            collect()
            assert.equal(0, #errors)
            d = neap.fail("y")
            drop(function() d:fork() end)
            collect()
            assert.equal(1, #errors)
            assert.equal("y", errors[1].value)
            assert.equal("y", d:add_errback(value_of):wait())
        end)
    end)

    it("a cancel of it leaves the other alone", function()
        local cancelled = 0
        local d = deferred(function() cancelled = cancelled + 1 end)
        local e = d:fork()
        e:cancel()
        assert.is_true(neap.is(e:add_errback(value_of):wait(), neap.CancelledError))
        assert.same({ 0, false }, { cancelled, d.called })
        d:callback("v")
        assert.equal("v", d:wait())
    end)

    it("a failure is not handled by one that was cancelled", function()
        unhandled(function(errors)
            drop(function()
                local d = deferred()
                d:fork():cancel()
                d:errback("x")
            end)
            collect()
            assert.equal(1, #errors)
        end)
    end)

    it("a cancel of the other reaches it", function()
        local d = deferred()
        local e = d:fork()
        d:cancel()
        assert.is_true(neap.is(e:add_errback(value_of):wait(), neap.CancelledError))
    end)

    it("of one that waits for another", function()
        local inner = deferred()
        local d = neap.succeed():add_callback(function() return inner end)
        local e = d:fork()
        e:cancel()
        assert.is_false(inner.called)
        e = d:fork()
        inner:callback("v")
        assert.equal("v", e:wait())
        assert.equal("v", d:wait())
    end)

    it("forks of forks, 10,000 deep", function()
        local d = deferred()
        local e = d
        for _ = 1, 10000 do e = e:fork() end
        d:callback("v")
        assert.equal("v", e:wait())
    end)

    it("a waiter of it that leaves cancels the fork only", function()
        local cancelled = 0
        local d = deferred(function() cancelled = cancelled + 1 end)
        local e = d:fork()
        waiter(e).tasklet:kill()
        assert.same({ true, 0 }, { e.called, cancelled })
    end)

    it("counts as one who waits while it is not fired", function()
        local cancelled = 0
        local d = deferred(function() cancelled = cancelled + 1 end)
        local e = d:fork()
        waiter(d).tasklet:kill()
        assert.equal(0, cancelled)
        e:cancel()
        waiter(d).tasklet:kill()
        assert.equal(1, cancelled)
    end)

    it("those that were cancelled do not pile up", function()
        local d, weak = deferred(), setmetatable({}, { __mode = "k" })
        local kept = { d:fork() }
        for i = 1, 1000 do
            local e = d:fork()
            weak[e] = true
            e:cancel()
            if i % 100 == 0 then kept[#kept + 1] = d:fork() end
        end
        collectgarbage()
        collectgarbage()
        local n = 0
        for _ in pairs(weak) do n = n + 1 end
        assert(n < 100, n)
        d:callback("v")
        for _, e in ipairs(kept) do assert.equal("v", e:wait()) end
    end)
end)

describe("maybe_deferred", function()
    it("a result", function()
        local d = neap.maybe_deferred(function(...) return ... end, 1, nil, 3)
        assert.same(table.pack(1, nil, 3), table.pack(d:wait()))
        assert.equal(0, select("#", neap.maybe_deferred(function() end):wait()))
    end)

    it("a deferred is that one", function()
        local d = deferred()
        assert.equal(d, neap.maybe_deferred(function() return d end))
    end)

    it("an error is a failure with its traceback", function()
        local function the_culprit() error("x") end
        local d = neap.maybe_deferred(function() the_culprit() end)
        local f = d:add_errback(function(f) return { f } end):wait()[1]
        assert.matches("x$", f.value)
        assert.matches("the_culprit", f.traceback)
        d = neap.maybe_deferred(1)
        assert.matches("attempt to call a number", d:add_errback(value_of):wait())
    end)

    it("a failure fails it", function()
        local failure
        neap.fail("x"):add_errback(function(f) failure = f end)
        local d = neap.maybe_deferred(function() return failure end)
        assert.equal("x", d:add_errback(value_of):wait())
    end)

    it("the function may wait", function()
        local ch, d = channel(), nil
        local t = spawn(function()
            d = neap.maybe_deferred(function() return (ch:receive()) end)
        end)
        t:run()
        ch:send("v")
        t:join()
        assert.equal("v", d:wait())
    end)

    it("a kill passes through", function()
        local d
        local t = spawn(function()
            d = neap.maybe_deferred(function() channel():receive() end)
        end)
        t:run()
        t:kill()
        assert.is_false(t.alive)
        assert.is_nil(d)
    end)
end)

describe("in a finalizer", function()
    -- Runs f(...) in a finalizer, now.
    local function finalize(f, ...)
        local args = table.pack(...)
        setmetatable({}, { __gc = function() f(table.unpack(args, 1, args.n)) end })
        collectgarbage()
    end

    it("nothing may block", function()
        local seen
        finalize(function() seen = neap.in_reactor() end)
        assert.is_true(seen)
        assert.is_false(neap.in_reactor())
    end)

    it("a firing runs the callbacks in the next turn", function()
        local d, log = deferred(), record.log()
        d:add_callback(log)
        local w = waiter(d)
        finalize(function()
            d:callback("v")
            log "finalizer ends"
        end)
        assert.is_true(d.called)
        assert.equal("finalizer ends", tostring(log))
        w.tasklet:join()
        assert.equal("finalizer ends v", tostring(log))
        assert.is_true(w.got[1])
    end)

    it("a callback that is added to a fired one runs then too", function()
        local d, log = neap.succeed("v"), record.log()
        finalize(d.add_callback, d, log)
        assert.equal("", tostring(log))
        sleep(0)
        assert.equal("v", tostring(log))
    end)

    it("a failure that nobody takes is reported all the same", function()
        unhandled(function(errors)
            finalize(function() neap.fail("x") end)
            collect()
            assert.equal(1, #errors)
            assert.equal("x", errors[1].value)
        end)
    end)

    it("a cancel calls the canceller; the errbacks run in the next turn", function()
        local log = record.log()
        local d = deferred(function() log "canceller" end)
        d:add_errback(function() log "errback" end)
        finalize(d.cancel, d)
        assert.equal("canceller", tostring(log))
        sleep(0)
        assert.equal("canceller errback", tostring(log))
    end)

    it("a firing is the last that happens: the program does not end before", function()
        local status, output = program.run([[
            local d = deferred()
            d:add_callback(function() print "callback" end)
            setmetatable({}, { __gc = function() d:callback() end })
            collectgarbage()
            print "main ends"
        ]])
        assert.equal("main ends\ncallback\n", output)
        assert.equal(0, status)
    end)
end)
