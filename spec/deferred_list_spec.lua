-- neap.deferred_list, neap.gather_results and neap.race.

local record = require "spec.support.record"
local unhandled = record.unhandled

local function three()
    return deferred(), deferred(), deferred()
end

local failure_of, is_cancelled, collect =
    record.failure_of, record.is_cancelled, record.collect

-- The values of the errors that nobody handled in f, sorted.
local function reported(f)
    return unhandled(function(errors)
        f()
        collect()
        local values = {}
        for i, e in ipairs(errors) do values[i] = tostring(e.value) end
        table.sort(values)
        return values
    end)
end

describe("deferred_list", function()
    it("fires when all are done, in the order of the list", function()
        local a, b, c = three()
        local all = neap.deferred_list { a, b, c }
        c:callback "c"
        a:callback "a"
        assert.is_false(all.called)
        b:errback "b"
        local list = all:wait()
        assert.equal(3, list.n)
        assert.same({ success = true, result = "a" }, list[1])
        assert.same({ success = true, result = "c" }, list[3])
        assert.is_false(list[2].success)
        assert.equal("b", list[2].result.value)
        assert.equal("b", failure_of(b))
    end)

    it("takes those that have fired, and one twice", function()
        local a, b = neap.succeed(1), deferred()
        local all = neap.deferred_list { a, b, a, b }
        b:callback(2)
        local got = {}
        for i, entry in ipairs(all:wait()) do got[i] = entry.result end
        assert.same({ 1, 2, 1, 2 }, got)
        assert.is_true(neap.deferred_list({ a }).called)
    end)

    it("an entry's result is the first value, nil included", function()
        local all = neap.deferred_list { neap.succeed(1, 2), neap.succeed(), neap.succeed(nil, 3) }
        local list = all:wait()
        assert.equal(3, list.n)
        assert.same({ { success = true, result = 1 }, { success = true }, { success = true } },
            { table.unpack(list) })
    end)

    it("of none fires at once, but waits for a first success for ever", function()
        assert.same({ n = 0 }, neap.deferred_list({}):wait())
        assert.is_false(neap.deferred_list({}, { fire_on_one_callback = true }).called)
        assert.same({ n = 0 }, neap.deferred_list({}, { fire_on_one_errback = true }):wait())
        assert.same({ n = 0 }, neap.gather_results({}):wait())
        assert.is_false(neap.race({}).called)
    end)

    it("goes by n, and wants deferreds", function()
        assert.equal(1, neap.deferred_list({ neap.succeed(), 2, n = 1 }):wait().n)
        for _, name in ipairs { "deferred_list", "gather_results", "race" } do
            for _, list in ipairs { { neap.succeed(), 1 }, { n = 1 }, { neap } } do
                assert.has_error(function() neap[name](list) end)
            end
            assert.has_error(function() neap[name]() end)
            assert.has_error(function() neap[name](deferred()) end)
        end
        local _, err = pcall(function() neap.race { neap.succeed(), "x" } end)
        assert.matches("^.-deferred_list_spec.lua:%d+: bad argument #1 to 'race'", err)
        assert.matches("number 2 is a string", err)
    end)

    it("does not mind what becomes of the list afterwards", function()
        local a, b, c = three()
        local list = { a, b }
        local all = neap.deferred_list(list)
        list[1], list[3] = nil, c
        all:cancel()
        assert.is_true(a.called)
        assert.is_true(b.called)
        assert.is_false(c.called)
        assert.equal(2, all:wait().n)
        is_cancelled(a)
    end)

    it("fire_on_one_callback: the first success and its index", function()
        local a, b, c = three()
        local first = neap.deferred_list({ a, b, c }, { fire_on_one_callback = true })
        a:errback "x"
        assert.is_false(first.called)
        c:callback("c", "more")
        assert.same({ "c", 3, n = 2 }, table.pack(first:wait()))
        b:callback "late"
        failure_of(a)
    end)

    it("fire_on_one_callback: all fail: the whole list", function()
        local a, b = three()
        local first = neap.deferred_list({ a, b },
            { fire_on_one_callback = true, consume_errors = true })
        b:errback "b"
        a:errback "a"
        local list = first:wait()
        assert.same({ "a", "b", 2 }, { list[1].result.value, list[2].result.value, list.n })
    end)

    it("fire_on_one_errback: FirstError, and the others go on", function()
        local a, b, c = three()
        local all = neap.deferred_list({ a, b, c }, { fire_on_one_errback = true })
        a:callback "a"
        b:errback "boom"
        local err = failure_of(all)
        assert.is_true(neap.is(err, neap.FirstError))
        assert.equal(2, err.index)
        assert.equal("boom", err.sub_failure.value)
        assert.matches("2.*boom", tostring(err))
        assert.is_false(c.called)
        c:callback "c"
        assert.equal("c", c:wait())
        failure_of(b)
    end)

    it("fire_on_one_errback without errors: the list", function()
        local list = neap.deferred_list({ neap.succeed(1) }, { fire_on_one_errback = true }):wait()
        assert.same({ { success = true, result = 1 }, n = 1 }, list)
    end)

    it("each keeps its result, whole", function()
        local a, b = three()
        neap.deferred_list { a, b }
        a:callback(1, nil, 3)
        b:errback "x"
        assert.same({ 1, nil, 3, n = 3 }, table.pack(a:wait()))
        assert.equal("x", failure_of(b))
    end)

    it("consume_errors makes nil of failures, not of values", function()
        local a, b = three()
        local all = neap.deferred_list({ a, b }, { consume_errors = true })
        a:callback(1, 2)
        b:errback "x"
        assert.same({ 1, 2 }, { a:wait() })
        assert.is_nil(b:wait())
        assert.equal("x", all:wait()[2].result.value)
    end)

    it("failures of its own are reported, unless they are consumed", function()
        assert.same({ "a", "b" }, reported(function()
            neap.deferred_list { neap.fail "a", neap.succeed(), neap.fail "b" }
        end))
        assert.same({}, reported(function()
            neap.deferred_list({ neap.fail "a", neap.fail "b" }, { consume_errors = true })
        end))
    end)

    it("cancel cancels all, and the list has what they make of it", function()
        local a = deferred(function(d) d:callback "answer" end)
        local b, c = deferred(), neap.succeed "c"
        local all = neap.deferred_list { a, b, c }
        all:cancel()
        local list = all:wait()
        assert.same({ "answer", "c" }, { list[1].result, list[3].result })
        assert.is_true(neap.is(list[2].result.value, neap.CancelledError))
        all:cancel()
        is_cancelled(b)
    end)

    it("cancel waits for one that takes its time", function()
        local go = channel()
        local slow = deferred_tasklet(function()
            pcall(channel().receive, channel())
            return go:receive()
        end)()
        schedule()
        local all = neap.deferred_list { slow }
        all:cancel()
        assert.is_false(all.called)
        go:send "late"
        assert.equal("late", all:wait()[1].result)
    end)

    it("an error of a canceller is reported, the others are cancelled", function()
        unhandled(function(errors)
            local bad = deferred(function() error("bad canceller", 0) end)
            local b = deferred()
            local all = neap.deferred_list { bad, b }
            all:cancel()
            assert.equal(1, #errors)
            assert.equal("bad canceller", errors[1].value)
            assert.matches("deferred_list_spec", errors[1].traceback)
            assert.is_true(is_cancelled(b))
            assert.is_false(all.called)
            bad:callback "good"
            assert.equal("good", all:wait()[1].result)
        end)
    end)

    it("cancel after it has fired does nothing", function()
        local a, b = three()
        local first = neap.deferred_list({ a, b }, { fire_on_one_callback = true })
        a:callback(1)
        first:cancel()
        assert.is_false(b.called)
    end)

    it("a waiter that leaves cancels all", function()
        local a, b = three()
        local all = neap.deferred_list { a, b }
        local t = spawn(block_on, all)
        schedule()
        t:kill()
        assert.is_true(is_cancelled(a))
        assert.is_true(is_cancelled(b))
    end)

    it("10,000, fired in turn", function()
        local list = {}
        for i = 1, 10000 do list[i] = deferred() end
        local all = neap.deferred_list(list)
        for i = 10000, 1, -1 do list[i]:callback(i) end
        for i, entry in ipairs(all:wait()) do assert(entry.result == i) end
    end)

    it("lists of lists of lists, 300 deep", function()
        local inner = deferred()
        local all = inner
        for _ = 1, 300 do all = neap.gather_results { all } end
        inner:callback "v"
        local v = all:wait()
        for _ = 1, 300 do v = v[1] end
        assert.equal("v", v)
    end)
end)

describe("gather_results", function()
    it("gives the plain values, in order", function()
        local a, b, c = three()
        local all = neap.gather_results { a, b, c }
        c:callback(3, "more")
        b:callback(nil)
        assert.is_false(all.called)
        a:callback(1)
        assert.same({ 1, nil, 3, n = 3 }, all:wait())
    end)

    it("fails with the first failure, which has the traceback of that", function()
        local function the_culprit() error("boom") end
        local a, b = neap.succeed():add_callback(function() the_culprit() end), deferred()
        local err, failure = failure_of(neap.gather_results({ b, a }, { consume_errors = true }))
        assert.is_true(neap.is(err, neap.FirstError))
        assert.equal(2, err.index)
        assert.matches("boom$", err.sub_failure.value)
        assert.matches("the_culprit", failure.traceback)
        assert.equal(neap.FirstError, failure:check(neap.FirstError))
        b:errback "later: consumed"
    end)

    it("block_on raises FirstError", function()
        local a, b = three()
        spawn(function() b:errback "x" end)
        local ok, err = pcall(block_on, neap.gather_results({ a, b }, { consume_errors = true }))
        assert.is_false(ok)
        assert.same({ 2, "x" }, { err.index, err.sub_failure.value })
    end)

    it("cancel cancels all", function()
        local a, b = three()
        local all = neap.gather_results { a, b }
        all:cancel()
        local err = failure_of(all)
        assert.is_true(neap.is(err, neap.FirstError))
        assert.is_true(neap.is(err.sub_failure.value, neap.CancelledError))
        assert.is_true(is_cancelled(a))
        assert.is_true(is_cancelled(b))
    end)

    it("reports of a failure: one's own, and FirstError if nobody takes it", function()
        assert.same({ "a", "number 1 failed: a" }, reported(function()
            neap.gather_results { neap.fail "a" }
        end))
        assert.same({ "number 1 failed: a" }, reported(function()
            neap.gather_results({ neap.fail "a", neap.fail "b" }, { consume_errors = true })
        end))
        assert.same({}, reported(function()
            failure_of(neap.gather_results({ neap.fail "a" }, { consume_errors = true }))
        end))
    end)

    it("one that is cancelled has nothing to report", function()
        assert.same({}, reported(function()
            neap.gather_results({ deferred(), deferred() }):cancel()
            pcall(block_on, neap.gather_results { deferred() }, 0)
        end))
    end)
end)

describe("race", function()
    it("gives the index and the value of the first success, and cancels the rest", function()
        local a, b, c = three()
        local first = neap.race { a, b, c }
        a:errback "x"
        assert.is_false(first.called)
        b:callback("b", nil)
        assert.same({ 2, "b", nil, n = 3 }, table.pack(first:wait()))
        assert.is_true(c.called)
        assert.is_nil(failure_of(neap.fail(c.result)))
        assert.same({ "b", nil, n = 2 }, table.pack(b:wait()))
    end)

    it("of those that have fired the first wins", function()
        assert.same({ 1, "a" }, { neap.race({ neap.succeed "a", neap.succeed "b" }):wait() })
        local later = deferred()
        assert.same({ 2, "b" }, { neap.race({ later, neap.succeed "b" }):wait() })
        assert.is_true(later.called)
    end)

    it("all fail: the list of failures, in order", function()
        local a, b = three()
        local first = neap.race { a, b }
        b:errback "b"
        a:errback(nil)
        local failures = failure_of(first)
        assert.equal(2, failures.n)
        assert.is_nil(failures[1].value)
        assert.equal("b", failures[2].value)
        assert.matches("all 2 failed.*nil.*b", tostring(failures))
    end)

    it("cancel cancels all", function()
        local a, b = three()
        local first = neap.race { a, b }
        first:cancel()
        assert.is_true(a.called)
        assert.is_true(b.called)
        assert.is_true(is_cancelled(first))
    end)

    it("cancel lets one answer", function()
        local a = deferred()
        local first = neap.race { a, deferred(function(d) d:callback "answer" end) }
        first:cancel()
        assert.same({ 2, "answer" }, { first:wait() })
    end)

    it("what comes late is not reported", function()
        assert.same({}, reported(function()
            local a, b = deferred(function(d) d:errback "late" end), deferred()
            neap.race { a, b }
            b:callback()
            neap.race({ deferred(), deferred() }):cancel()
        end))
        assert.same({ "all 2 failed: a; b" }, reported(function()
            neap.race { neap.fail "a", neap.fail "b" }
        end))
    end)

    it("of tasklets kills those that come late", function()
        local log = record.log()
        local runner = deferred_tasklet(function(name, rounds)
            local _ <close> = setmetatable({}, { __close = function() log(name) end })
            for _ = 1, rounds do schedule() end
            return name
        end)
        local first = neap.race { runner("slow", 9), runner("fast", 2) }
        assert.same({ 2, "fast" }, { block_on(first) })
        schedule()
        assert.equal("fast slow", tostring(log))
    end)
end)
