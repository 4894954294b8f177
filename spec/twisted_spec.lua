-- require "neap.twisted": Twisted's names over neap's own objects.

local twisted = require "neap.twisted"
local record = require "spec.support.record"
local defer, task, reactor = twisted.defer, twisted.task, twisted.reactor

describe("neap.twisted", function()
    it("gives deferreds both kinds of names, whoever made them", function()
        for _, make in ipairs { defer.Deferred, deferred } do
            local d, log = make(), record.log()
            assert.equal(d, d:addCallback(function(v, w) return v + w end, 10))
            d:add_callback(function(v) error(v, 0) end)
            d:addCallbacks(log, function(f) return f.value * 2 end)
            d:addBoth(log)
            d:addErrback(log)
            d:callback(1)
            assert.equal("22", tostring(log))
        end
        local a, b = defer.Deferred(), defer.Deferred()
        a:chainDeferred(b)
        a:callback "v"
        assert.equal("v", b:wait())
    end)

    it("defer's helpers", function()
        local f = defer.inlineCallbacks(function(v)
            local got = coroutine.yield(defer.succeed(v))
            return defer.returnValue(got, 2)
        end)
        assert.same({ 1, 2 }, { f(1):wait() })
        assert.same({ 1, 2, n = 2 }, defer.gatherResults({ defer.succeed(1), defer.succeed(2) })
            :wait())
        local d = defer.DeferredList({ defer.Deferred(), defer.succeed "x" }, true)
        assert.same({ "x", 2 }, { d:wait() })
        d = defer.DeferredList({ defer.fail "x" },
            { fireOnOneErrback = true, consumeErrors = true })
        assert.is_true(neap.is(select(2, pcall(block_on, d)), defer.FirstError))
        assert.equal("x", record.error_of(block_on, defer.maybeDeferred(error, "x", 0)))
        assert.equal("v", defer.DeferredLock():run(function() return "v" end):wait())
        for name, class in pairs(defer) do assert.truthy(class, name) end
    end)

    it("addTimeout on a Clock", function()
        local clock, d = task.Clock(), defer.Deferred()
        d:addTimeout(5, clock)
        clock:advance(4)
        assert.is_false(d.called)
        clock:advance(1)
        assert.is_true(neap.is(select(2, pcall(block_on, d)), defer.TimeoutError))
    end)

    it("Clock, callLater, deferLater", function()
        local clock, log = task.Clock(), record.log()
        local call = clock:callLater(1, log, "late")
        assert.same({ 1, true }, { call:getTime() - clock:seconds(), call:active() })
        local d = task.deferLater(clock, 2, function(v) return v end, "value")
        clock:advance(1)
        assert.equal("late", tostring(log))
        clock:advance(1)
        assert.equal("value", d:wait())
        task.deferLater(reactor, 0, log, "real"):wait()
        reactor.callLater(10, log, "never"):cancel()
        assert.equal("late real", tostring(log))
    end)

    it("LoopingCall on a Clock", function()
        local clock, n = task.Clock(), 0
        local loop = task.LoopingCall(function() n = n + 1 end)
        loop.clock = clock
        local d = loop:start(1, false)
        clock:advance(1)
        clock:advance(1)
        assert.same({ 2, true }, { n, loop.running })
        loop:stop()
        assert.equal(loop, d:wait())
        assert.is_false(loop.running)
    end)

    it("the reactor runs until it is stopped, by dot or colon", function()
        local log = record.log()
        assert.has_error(function() reactor.stop() end)
        reactor.callWhenRunning(log, "running")
        reactor:callLater(0, function() reactor.stop() end)
        reactor.run()
        assert.equal("running", tostring(log))
        assert.equal("number", type(reactor.seconds()))
        assert.has_error(function() reactor.stop() end)
        assert.equal(3, task.react(function(r, v)
            return task.deferLater(r, 0, function() return v + 1 end)
        end, 2))
    end)

    it("a Failure, and what is not there", function()
        local f = twisted.failure.Failure("x")
        assert.equal("x", f:getErrorMessage())
        assert.matches("twisted_spec", f:getTraceback())
        assert.equal("x", record.error_of(f.raiseException, f))
        for _, name in ipairs { "callFromThread", "callInThread" } do
            assert.matches(name .. " is not in neap", record.error_of(reactor[name]))
        end
        assert.matches("deferred_tasklet", record.error_of(twisted.threads.deferToThread))
    end)
end)
