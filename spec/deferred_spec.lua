-- Deferreds, failures and the bridge to tasklets. The texts of 2008 from which neap comes
-- had a hang for nearly every line of the bridge: each has a spec here.

local host = require "neap.host"
local record = require "spec.support.record"
local error_of, unhandled = record.error_of, record.unhandled

local function call(f, ...)
    return f(...)
end

-- An errback that handles the failure and gives its error.
local function value_of(failure)
    return failure.value
end

-- Collects what nobody holds, and lets the reports come.
local function collect()
    for _ = 1, 3 do
        collectgarbage()
        sleep(0)
    end
end

local function waiter(d, timeout)
    local w = {}
    w.tasklet = spawn(function()
        w.got = table.pack(pcall(block_on, d, timeout))
    end)
    w.tasklet:run()
    return w
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

    it("100,000 links, fired from the outer end", function()
        local d = linked(100000, 1, 99999, 1)
        d[100000]:callback("v")
        assert.equal("v", d[1]:wait())
    end)

    it("100,000 links, fired from the inner end", function()
        local d = linked(100000, 100000, 1, -1)
        assert.equal(100000, d[1]:wait())
    end)

    it("100,000 links, a failure", function()
        local d = linked(100000, 1, 99999, 1)
        d[100000]:errback("x")
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

    it("nobody takes CancelledError: not reported", function()
        unhandled(function(errors)
            deferred():cancel()
            collect()
            assert.equal(0, #errors)
        end)
    end)
end)

describe("a failure", function()
    local function failure(err)
        local got
        neap.fail(err):add_errback(function(f) got = f end)
        return got
    end

    it("carries any error value", function()
        for _, err in ipairs { "text", 1, true, {}, print } do
            assert.equal(err, failure(err).value)
        end
        local d = deferred()
        d:errback(nil)
        assert.is_nil(d:add_errback(function(f) return f.value, "handled" end):wait())
        assert.equal("handled", d:add_callback(function(_, v) return v end):wait())
    end)

    it("of a failure is the same", function()
        local f = failure("x")
        assert.equal(f, failure(f))
        local d = deferred()
        d:errback(f)
        assert.equal(f, d:add_errback(function(g) return { g } end):wait()[1])
    end)

    it("check gives the kind that matches, or nil", function()
        local class = setmetatable({}, { __index = {} })
        class.__index = class
        local derived = setmetatable({}, class)
        derived.__index = derived
        local value = setmetatable({ code = "ENOENT" }, derived)
        local f = failure(value)
        for _, kind in ipairs { value, "ENOENT", derived, class } do
            assert.equal(kind, f:check("other", kind))
        end
        local function predicate(v) return v == value end
        assert.equal(predicate, f:check(predicate))
        assert.is_nil(f:check("other", {}, function() return false end))
        assert.is_nil(f:check())
        assert.equal(neap.TimeoutError,
            failure(neap.TimeoutError("x")):check(neap.ClosedError, neap.TimeoutError))
    end)

    it("check of a text looks behind its position", function()
        assert.equal("boom", failure("boom"):check("boom"))
        assert.equal("boom", failure("file.lua:3: boom"):check("boom"))
        assert.is_nil(failure("file.lua:3: kaboom"):check("boom"))
    end)

    it("trap gives the kind, or raises the error itself", function()
        local err = {}
        local f = failure(err)
        assert.equal(err, f:trap("x", err))
        local ok, raised = pcall(f.trap, f, "x")
        assert.is_false(ok)
        assert.equal(err, raised)
        assert.equal("x", error_of(function() failure("x"):raise() end))
    end)

    it("has the traceback of where it was raised", function()
        local function the_culprit() error("x") end
        local d = neap.succeed():add_callback(function() the_culprit() end)
        local f = d:add_errback(function(f) return { f } end):wait()[1]
        assert.matches("the_culprit", f.traceback)
        assert.matches("deferred_spec%.lua:%d+: x$", f.value)
        assert.matches("x$", tostring(f))
    end)

    it("a table that looks like one is a value", function()
        local fake = { value = "x", traceback = "t" }
        assert.equal(fake, neap.succeed(fake):wait())
        assert.equal(fake, neap.succeed():add_callback(function() return fake end):wait())
    end)
end)

describe("an unhandled failure", function()
    -- in a function of its own, so that no stack slot keeps the deferred
    local function drop(make)
        make()
    end

    it("is reported once, when the deferred is collected", function()
        unhandled(function(errors)
            drop(function() neap.fail("x") end)
            collect()
            assert.equal(1, #errors)
            assert.equal("x", errors[1].value)
            assert.is_nil(errors[1].tasklet)
            collect()
            assert.equal(1, #errors)
        end)
    end)

    it("never while somebody holds the deferred", function()
        unhandled(function(errors)
            local d = neap.fail("x")
            collect()
            assert.equal(0, #errors)
            assert.equal("x", d:add_errback(value_of):wait())
            d = nil -- luacheck: ignore
            collect()
            assert.equal(0, #errors)
        end)
    end)

    it("counts as handled by an errback and by a waiter", function()
        unhandled(function(errors)
            drop(function()
                neap.fail("a"):add_errback(function() end)
                pcall(block_on, neap.fail("b"))
                local d = deferred()
                local w = waiter(d)
                d:errback("c")
                w.tasklet:join()
            end)
            collect()
            assert.equal(0, #errors)
        end)
    end)

    it("is unhandled again when an errback returns or raises it", function()
        unhandled(function(errors)
            drop(function()
                neap.fail("a"):add_errback(function(f) return f end)
                neap.fail("b"):add_errback(function() error("c", 0) end)
            end)
            collect()
            local got = {}
            for i, e in ipairs(errors) do got[i] = e.value end
            table.sort(got)
            assert.same({ "a", "c" }, got)
        end)
    end)

    it("has the traceback", function()
        unhandled(function(errors)
            local function the_culprit() error("x") end
            drop(function() neap.succeed():add_callback(function() the_culprit() end) end)
            collect()
            assert.matches("the_culprit", errors[1].traceback)
        end)
    end)

    pending("says where the deferred was made", function()
        unhandled(function(errors)
            local line = debug.getinfo(1, "l").currentline + 1
            drop(function() neap.fail("x") end)
            collect()
            assert.matches("deferred_spec%.lua:" .. line, errors[1].traceback)
        end)
    end)
end)

describe("block_on", function()
    it("of a fired one: at once, without a switch", function()
        local other = false
        spawn(function() other = true end)
        local resumes = host.stats().resumes
        assert.same(table.pack(1, nil, 3), table.pack(block_on(neap.succeed(1, nil, 3))))
        assert.equal("x", error_of(block_on, neap.fail("x")))
        assert.equal(resumes, host.stats().resumes)
        assert.is_false(other)
        schedule()
    end)

    it("raises the error itself, not a failure", function()
        local err, d = {}, deferred()
        local w = waiter(d)
        d:errback(err)
        w.tasklet:join()
        assert.is_false(w.got[1])
        assert.equal(err, w.got[2])
        local ok, got = pcall(block_on, neap.fail(err))
        assert.is_false(ok)
        assert.equal(err, got)
    end)

    it("gives back what is no deferred", function()
        assert.equal(1, block_on(1))
        assert.is_nil(block_on(nil))
        local t = {}
        assert.equal(t, block_on(t, 1))
        assert.has_error(function() deferred().wait(1) end)
    end)

    it("firing queues the waiter and never switches", function()
        local d, log = deferred(), record.log()
        spawn(function()
            log("waiter " .. block_on(d))
        end):run()
        spawn(log, "queued before")
        d:add_callback(function() log "callback" end)
        d:callback("v")
        log "firing code"
        schedule()
        assert.equal("callback firing code queued before waiter v", tostring(log))
    end)

    it("every waiter gets the value, which stays", function()
        local d = deferred()
        local a, b = waiter(d), waiter(d)
        d:callback("v", nil)
        a.tasklet:join()
        b.tasklet:join()
        local expected = { true, "v", nil, n = 3 }
        assert.same(expected, a.got)
        assert.same(expected, b.got)
        assert.same({ "v", nil, n = 2 }, table.pack(d:wait()))
    end)

    it("every waiter gets the failure, which is then handled", function()
        unhandled(function(errors)
            local d = deferred()
            local a, b = waiter(d), waiter(d)
            d:errback("x")
            a.tasklet:join()
            b.tasklet:join()
            assert.same({ false, "x", n = 2 }, a.got)
            assert.same({ false, "x", n = 2 }, b.got)
            assert.equal("x", error_of(block_on, d))
            d = nil -- luacheck: ignore
            collect()
            assert.equal(0, #errors)
        end)
    end)

    it("gives the result of its place in the chain", function()
        local d = deferred()
        d:add_callback(function(v) return v .. "1" end)
        local a = waiter(d)
        d:add_callback(function(v) return v .. "2" end)
        local b = waiter(d)
        d:callback("v")
        a.tasklet:join()
        b.tasklet:join()
        assert.same({ "v1", "v12" }, { a.got[2], b.got[2] })
        assert.equal("v12", d:wait())
    end)

    it("waits for an inner one", function()
        local d, inner = deferred(), deferred()
        d:add_callback(function() return inner end)
        d:callback()
        local w = waiter(d)
        assert.is_nil(w.got)
        inner:callback("v")
        w.tasklet:join()
        assert.same({ true, "v", n = 2 }, w.got)
    end)

    it("out of time raises TimeoutError and cancels", function()
        local cancelled = 0
        local d = deferred(function() cancelled = cancelled + 1 end)
        local ok, err = pcall(block_on, d, 0.001)
        assert.is_false(ok)
        assert.is_true(neap.is(err, neap.TimeoutError))
        assert.equal(1, cancelled)
        d = deferred()
        assert.is_true(neap.is(select(2, pcall(d.wait, d, 0)), neap.TimeoutError))
        assert.is_true(d.called)
        d:callback("late") -- finds nobody, and is swallowed
    end)

    it("of a fired one has no time to run out", function()
        assert.equal("v", block_on(neap.succeed("v"), 0))
        assert.equal("v", neap.succeed("v"):wait(0))
    end)

    it("a killed waiter cancels it; a later firing finds nobody", function()
        local cancelled = 0
        local d = deferred(function(d)
            cancelled = cancelled + 1
            d:callback("by the canceller")
        end)
        local w = spawn(block_on, d)
        schedule()
        w:kill()
        assert.equal(1, cancelled)
        assert.is_false(w.alive)
        d = deferred()
        w = spawn(block_on, d)
        schedule()
        w:kill()
        d:callback("v")
        d = deferred()
        w = waiter(d)
        w.tasklet:kill(true)
        d:callback("v")
        w.tasklet:join()
        assert.equal(neap.TaskletExit, w.got[2])
    end)

    it("a waiter that leaves does not cancel while others wait", function()
        local cancelled = 0
        local d = deferred(function() cancelled = cancelled + 1 end)
        local a, b, c = waiter(d), waiter(d, 0.001), waiter(d)
        a.tasklet:kill()
        b.tasklet:join()
        assert.is_true(neap.is(b.got[2], neap.TimeoutError))
        assert.equal(0, cancelled)
        d:callback("v")
        c.tasklet:join()
        assert.same({ true, "v", n = 2 }, c.got)
    end)

    it("the last waiter to leave cancels", function()
        local cancelled = 0
        local d = deferred(function() cancelled = cancelled + 1 end)
        local a, b = waiter(d), waiter(d)
        a.tasklet:kill()
        assert.equal(0, cancelled)
        b.tasklet:kill()
        assert.equal(1, cancelled)
    end)

    it("a waiter that leaves one that waits for another cancels that one", function()
        local cancelled = 0
        local inner = deferred(function() cancelled = cancelled + 1 end)
        local d = neap.succeed():add_callback(function() return inner end)
        local w = waiter(d)
        w.tasklet:kill()
        assert.equal(1, cancelled)
        assert.is_true(inner.called)
    end)

    it("an outer deferred counts as a waiter", function()
        local cancelled = 0
        local inner = deferred(function() cancelled = cancelled + 1 end)
        local outer = neap.succeed():add_callback(function() return inner end)
        waiter(inner).tasklet:kill()
        assert.equal(0, cancelled)
        inner:callback("v")
        assert.equal("v", outer:wait())
    end)

    it("an error of the canceller is reported, not the waiter's", function()
        unhandled(function(errors)
            local d = deferred(function() error("x", 0) end)
            local ok, err = pcall(block_on, d, 0)
            assert.is_false(ok)
            assert.is_true(neap.is(err, neap.TimeoutError))
            assert.equal(1, #errors)
            assert.equal("x", errors[1].value)
        end)
    end)

    it("one killed client does not stop the others", function()
        local d = {}
        local waiters = {}
        for i = 1, 3 do
            d[i] = deferred()
            waiters[i] = waiter(d[i])
        end
        waiters[2].tasklet:kill()
        for i = 1, 3 do d[i]:callback(i) end
        schedule()
        assert.same({ true, 1, n = 2 }, waiters[1].got)
        assert.same({ true, 3, n = 2 }, waiters[3].got)
    end)

    it("1,000 waiters in the order in which they came", function()
        local d, got = deferred(), {}
        for i = 1, 1000 do
            spawn(function()
                block_on(d)
                got[#got + 1] = i
            end)
        end
        schedule()
        d:callback()
        schedule()
        assert.equal(1000, #got)
        for i = 1, 1000 do assert(got[i] == i) end
    end)

    it("the wait of a waiter killed in a callback is ended in its turn", function()
        local d, log, ch = deferred(), record.log(), channel()
        local t = spawn(function()
            local ok = pcall(ch.receive, ch)
            log(ok and "?" or "killed")
        end)
        t:run()
        d:add_callback(function()
            t:kill()
            log(t.alive and "pending" or "dead")
        end)
        d:callback()
        schedule()
        assert.equal("pending killed", tostring(log))
    end)

    pending("a callback that kills the tasklet it runs in: in its turn", function()
        local d, log = deferred(), record.log()
        local t
        t = spawn(function()
            d:add_callback(function()
                t:kill()
                log "callback ends"
                return "v"
            end)
            d:callback()
            log "firing ends"
            schedule()
            log "not reached"
        end)
        assert.same({ false, neap.TaskletExit }, { t:join() })
        assert.equal("callback ends firing ends", tostring(log))
        assert.equal("v", d:wait())
    end)
end)

describe("deferred_tasklet", function()
    it("gives a deferred of the results", function()
        local d = deferred_tasklet(function(...) return ... end)(1, nil, 3)
        assert.same(table.pack(1, nil, 3), table.pack(d:wait()))
        assert.equal(0, select("#", deferred_tasklet(function() end)():wait()))
    end)

    it("queues the tasklet, and names it", function()
        local ran = false
        local d = deferred_tasklet(function() ran = true end)()
        assert.is_false(ran or d.called)
        assert.is_true(d.tasklet.scheduled)
        d:wait()
        assert.is_true(ran)
        assert.is_false(d.tasklet.alive)
        assert.is_nil(deferred().tasklet)
    end)

    it("an error becomes the failure, with its traceback; it is not reported twice", function()
        unhandled(function(errors)
            local function the_culprit() error("x", 0) end
            local d = deferred_tasklet(function() the_culprit() end)()
            local f = d:add_errback(function(f) return { f } end):wait()[1]
            assert.equal("x", f.value)
            assert.matches("the_culprit", f.traceback)
            collect()
            assert.equal(0, #errors)
        end)
    end)

    it("an error that nobody takes is reported, once", function()
        unhandled(function(errors)
            call(function() deferred_tasklet(error)("x") end)
            schedule()
            collect()
            assert.equal(1, #errors)
            assert.equal("x", errors[1].value)
        end)
    end)

    it("waits for a deferred that the function returns", function()
        local inner = deferred()
        local d = deferred_tasklet(function() return inner end)()
        schedule()
        local w = waiter(d)
        assert.is_nil(w.got)
        inner:callback("v", 2)
        w.tasklet:join()
        assert.same({ true, "v", 2, n = 3 }, w.got)
        assert.equal("x", error_of(block_on,
            deferred_tasklet(function() return neap.fail("x") end)()))
    end)

    it("a killed tasklet fails it with CancelledError, which is not reported", function()
        unhandled(function(errors)
            local d = deferred_tasklet(function() channel():receive() end)()
            schedule()
            d.tasklet:kill()
            assert.is_true(neap.is(d:add_errback(value_of):wait(), neap.CancelledError))
            call(function()
                local lost = deferred_tasklet(function() channel():receive() end)()
                schedule()
                lost.tasklet:kill()
            end)
            collect()
            assert.equal(0, #errors)
        end)
    end)

    it("cancel kills the tasklet", function()
        local cleaned = false
        local d = deferred_tasklet(function()
            local _ <close> = setmetatable({}, { __close = function() cleaned = true end })
            channel():receive()
        end)()
        schedule()
        d:cancel()
        assert.is_true(neap.is(d:add_errback(value_of):wait(), neap.CancelledError))
        assert.is_true(cleaned)
        assert.is_false(d.tasklet.alive)
    end)

    it("cancel before the start: the function never runs", function()
        local ran = false
        local d = deferred_tasklet(function() ran = true end)()
        d:cancel()
        assert.is_true(neap.is(d:add_errback(value_of):wait(), neap.CancelledError))
        assert.is_false(ran)
    end)

    it("a tasklet that survives the cancel goes on, and its result counts", function()
        local ch = channel()
        local d = deferred_tasklet(function()
            pcall(ch.receive, ch)
            return (ch:receive())
        end)()
        schedule()
        d:cancel()
        schedule()
        assert.is_false(d.called)
        assert.is_true(d.tasklet.alive)
        ch:send("v")
        assert.equal("v", d:wait())
    end)

    it("the error of a second life is not lost", function()
        unhandled(function(errors)
            local d = deferred_tasklet(function() return "v" end)()
            assert.equal("v", d:wait())
            d.tasklet:bind(error)("x")
            schedule()
            assert.equal(1, #errors)
            assert.equal("x", errors[1].value)
            assert.equal("v", d:wait())
        end)
    end)

    it("wants a function", function()
        assert.has_error(function() deferred_tasklet() end)
        assert.has_error(function() blocking_tasklet(1) end)
    end)
end)

describe("blocking_tasklet", function()
    it("gives the results", function()
        local f = blocking_tasklet(function(...)
            schedule()
            return ...
        end)
        assert.same(table.pack(1, nil, 3), table.pack(f(1, nil, 3)))
        assert.same(table.pack(2), table.pack(f(2)))
    end)

    it("raises the error, with both tracebacks where it ends", function()
        unhandled(function(errors)
            local function worker_side() error("x", 0) end
            local f = blocking_tasklet(function() worker_side() end)
            assert.equal("x", error_of(f))
            local function caller_side() f() end
            spawn(function() caller_side() end)
            schedule()
            schedule()
            schedule()
            assert.equal(1, #errors)
            assert.matches("caller_side", errors[1].traceback)
            assert.matches("worker_side", errors[1].traceback)
        end)
    end)

    it("CancelledError when the worker was killed, never its TaskletExit", function()
        local worker
        local f = blocking_tasklet(function()
            worker = neap.getcurrent()
            channel():receive()
        end)
        local got
        local t = spawn(function() got = select(2, pcall(f)) end)
        schedule()
        schedule()
        worker:kill()
        t:join()
        assert.is_true(neap.is(got, neap.CancelledError))
    end)

    it("a killed caller kills the worker", function()
        local worker
        local t = spawn(blocking_tasklet(function()
            worker = neap.getcurrent()
            channel():receive()
        end))
        schedule()
        schedule()
        t:kill()
        schedule()
        assert.is_false(worker.alive)
    end)

    it("where nothing may block: refused, and never started", function()
        local started = false
        local f = blocking_tasklet(function() started = true end)
        local text
        neap.succeed():add_callback(function() text = error_of(f) end)
        assert.equal("Cannot block in reactor task", text)
        schedule()
        schedule()
        assert.is_false(started)
    end)

    it("waits for a deferred that the function returns", function()
        local d = deferred()
        spawn(d.callback, d, "v")
        assert.equal("v", blocking_tasklet(function() return d end)())
    end)
end)
