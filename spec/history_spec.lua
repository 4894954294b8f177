-- What the texts of 2008 got wrong, bug by bug: the same scenario goes wrong with their code
-- and right with neap's. docs/history.md tells the story.

local deferreds = require "spec.support.deferreds"
local host = require "neap.host"
local naive = require "spec.support.naive_bridge"
local record = require "spec.support.record"
local drop, value_of = deferreds.drop, deferreds.value_of
local error_of, unhandled = record.error_of, record.unhandled

-- All that can run now has run.
local function settle()
    for _ = 1, 10 do schedule() end
end

-- f(...) in a tasklet of its own, as far as it gets: "done", its results; or "raised", the
-- error; or "hangs".
local function outcome(f, ...)
    local got
    local t = spawn(function(...)
        got = table.pack(pcall(f, ...))
    end, ...)
    settle()
    if t.alive then
        t:kill()
        return "hangs"
    end
    return got[1] and "done" or "raised", table.unpack(got, 2, got.n)
end

-- What has happened to a deferred by now.
local function state(d)
    settle()
    if not d.called then return "unfired" end
    local got
    d:add_callbacks(function(v)
        got = { "success", v }
    end, function(f)
        got = { "failure", f.value }
    end)
    return table.unpack(got)
end

-- Kills, at the end of a scenario, what the naive form has left.
local function cleared(f)
    local known = {}
    for _, t in ipairs(neap.tasklets()) do known[t] = true end
    local _ <close> = setmetatable({}, { __close = function()
        for _, t in ipairs(neap.tasklets()) do
            if not known[t] then t:kill() end
        end
        settle()
    end })
    return f()
end

local function goes_wrong(scenario, way)
    unhandled(function()
        assert.is_false(cleared(function() return scenario(way) end))
        neap.flush_unhandled()
    end)
end

-- scenario(bridge) gives whether all went right: with ours (neap's functions), not with the
-- others.
local function differs(title, scenario, ours)
    it(title, function()
        assert.is_true(cleared(function() return scenario(ours or neap) end))
    end)
    it(title .. " (2008: not)", function()
        goes_wrong(scenario, naive)
    end)
end

describe("the reactor", function()
    differs("4.1 is known to the runtime: a callback knows that it may not block", function(b)
        local seen
        neap.succeed():add_callback(function() seen = b.in_reactor() end)
        return seen and not b.in_reactor()
    end)

    it("4.2 does not poll: an idle program resumes nobody", function()
        local before = host.stats().resumes
        sleep(0.02)
        assert.equal(before + 1, host.stats().resumes)
    end)

    it("4.2 does not poll (2008: it did)", function()
        local stop = naive.pump()
        local before, own = host.stats().resumes, 0
        repeat
            sleep(0.005)
            own = own + 1
        until host.stats().resumes > before + 2 * own + 5
        stop()
        sleep(0.001)
    end)

    it("4.3 a tasklet without arguments is not started: the text of Stackless", function()
        local t = tasklet(function() end)
        assert.equal("You cannot run an unbound(dead) tasklet", error_of(t.run, t))
        assert.equal(t, t())
        assert.is_true(t.scheduled)
        settle()
    end)

    it("4.4 goes on while main, or anybody, blocks", function()
        local log = record.log()
        local t = spawn(function()
            sleep(0.001)
            log "other"
        end)
        t:join()
        log "waiter"
        assert.equal("other waiter", tostring(log))
    end)
end)

describe("deferred_tasklet", function()
    differs("4.5 a killed worker fails its deferred", function(b)
        local worker
        local d = b.deferred_tasklet(function()
            worker = neap.getcurrent()
            channel():receive()
        end)()
        settle()
        worker:kill()
        local what, err = state(d)
        return what == "failure" and neap.is(err, neap.CancelledError)
    end)

    it("4.5 and that failure alone is not reported", function()
        unhandled(function(errors)
            drop(function()
                local d = deferred_tasklet(function() channel():receive() end)()
                settle()
                d.tasklet:kill()
            end)
            settle()
            assert.equal(0, #neap.flush_unhandled())
            assert.equal(0, #errors)
        end)
    end)

    differs("4.6 a worker that fails fires its deferred", function(b)
        local what, err = state(b.deferred_tasklet(error)("x"))
        return what == "failure" and err == "x"
    end)

    differs("4.6 so does one that returns a deferred which fails", function(b)
        local what, err = state(b.deferred_tasklet(function() return neap.fail("x") end)())
        return what == "failure" and err == "x"
    end)

    differs("4.7 is not fired before the caller has it", function(b)
        return not b.deferred_tasklet(function() end)().called
    end)

    differs("4.7 a cancel ends the tasklet", function(b)
        local worker
        local d = b.deferred_tasklet(function()
            worker = neap.getcurrent()
            channel():receive()
        end)()
        settle()
        d:cancel()
        settle()
        return not worker.alive and state(d) == "failure"
    end)

    differs("4.7 a cancel before the start: the function never runs", function(b)
        local ran = false
        b.deferred_tasklet(function() ran = true end)():cancel()
        settle()
        return not ran
    end)

    it("4.7 names the tasklet", function()
        local d = deferred_tasklet(function() end)()
        assert.is_true(d.tasklet.scheduled)
        d:wait()
    end)
end)

describe("blocking_tasklet", function()
    differs("4.8 where nothing may block nothing is started", function(b)
        local started, text = false, nil
        local f = b.blocking_tasklet(function() started = true end)
        neap.succeed():add_callback(function() text = error_of(f) end)
        settle()
        return text == "Cannot block in reactor task" and not started
    end)
end)

describe("block_on", function()
    differs("4.9a of one that has fired gives its result", function(b)
        local how, v = outcome(b.block_on, b.succeed("v"))
        return how == "done" and v == "v"
    end)

    differs("4.9b of a failure raises its error", function(b)
        local d = b.deferred()
        spawn(d.errback, d, "x")
        local how, err = outcome(b.block_on, d)
        return how == "raised" and err == "x"
    end)

    differs("4.9c a killed waiter does not block who fires", function(b)
        local d = b.deferred()
        local t = spawn(b.block_on, d)
        settle()
        t:kill()
        return outcome(d.callback, d, "v") == "done"
    end)

    differs("4.9d the chain runs whole, then the firing code, then the waiter", function(b)
        local d, log = b.deferred(), record.log()
        spawn(function()
            b.block_on(d)
            log "waiter"
        end)
        settle()
        d:add_callback(function() log "callback" end)
        d:callback()
        log "firing code"
        settle()
        return tostring(log) == "callback firing code waiter"
    end)

    differs("4.9e every waiter, and the chain, sees the value", function(b)
        local d, got = b.deferred(), {}
        for i = 1, 2 do
            spawn(function() got[i] = b.block_on(d) end)
        end
        settle()
        d:callback("v")
        settle()
        return got[1] == "v" and got[2] == "v" and d.result == "v"
    end)

    differs("4.9f a waiter that is killed cancels", function(b)
        local cancelled = false
        local d = deferred(function() cancelled = true end)
        local t = spawn(function() b.block_on(d) end)
        settle()
        t:kill()
        return cancelled
    end)

    differs("4.9f a waiter may have a timeout", function(b)
        local err
        spawn(function()
            err = select(2, pcall(b.block_on, deferred(), 0))
        end)
        settle()
        sleep(0)
        settle()
        return neap.is(err, neap.TimeoutError)
    end)

    differs("4.10 who fires goes on, whatever the waiter then does", function(b)
        local first, second, log = b.deferred(), b.deferred(), record.log()
        spawn(function()
            b.block_on(first)
            log "first"
            b.block_on(second)
            log "second"
        end)
        settle()
        spawn(function()
            first:callback()
            log "fired"
            schedule()
            log "goes on"
            second:callback()
        end)
        settle()
        return tostring(log) == "fired first goes on second"
    end)

    it("4.11 at any depth of ordinary functions, pcall and iterators", function()
        local d = deferred()
        spawn(d.callback, d, "v")
        local function each()
            return function(_, i) return not i and block_on(d) or nil end
        end
        local function deep(n)
            if n > 0 then return (select(2, pcall(deep, n - 1))) end
            local got
            for v in each() do got = v end
            return got
        end
        assert.equal("v", deep(20))
    end)
end)

describe("an error in one tasklet", function()
    it("4.12 is reported, and the others go on", function()
        unhandled(function(errors)
            local log = record.log()
            spawn(error, "x")
            spawn(log, "other")
            settle()
            assert.equal("other", tostring(log))
            assert.equal(1, #errors)
            assert.equal("x", errors[1].value)
        end)
    end)
end)

describe("a protocol and its worker", function()
    -- The old way with neap's own functions: the worker's work is a deferred_tasklet.
    local ours = {}

    function ours.serve(requests, f)
        return spawn(function()
            for request in requests do
                local answer = neap.maybe_deferred(f, table.unpack(request, 2))
                answer:chain_deferred(request[1])
            end
        end)
    end

    function ours.ask(requests, ...)
        local d = deferred()
        requests:send { d, ... }
        return block_on(d)
    end

    function ours.process(ask, reply)
        local d = deferred()
        d:add_both(reply)
        ask(d)
    end

    local function both(title, scenario) differs(title, scenario, ours) end

    both("4.14 a worker that fails does not leave the client blocked", function(way)
        local requests = channel()
        way.serve(requests, error)
        local how, err = outcome(way.ask, requests, "x")
        return how == "raised" and err == "x"
    end)

    both("4.14 a client that leaves does not leave the worker blocked", function(way)
        local requests, working = channel(), channel()
        way.serve(requests, function(v)
            if v == 1 then working:receive() end
            return v
        end)
        local client = spawn(way.ask, requests, 1)
        settle()
        client:kill()
        working:send(true)
        local how, v = outcome(way.ask, requests, 2)
        return how == "done" and v == 2
    end)

    both("4.15 a failed answer is an answer", function(way)
        local answered = false
        way.process(function(d) d:errback("x") end, function() answered = true end)
        return answered
    end)

    it("4.15 a callback that would block its worker is refused", function()
        local text
        neap.succeed():add_callback(function() text = error_of(sleep, 0) end)
        assert.equal("Cannot block in reactor task", text)
    end)

    -- 4.16: what a server does with a handler.
    local function handle(handler, reply)
        local d = neap.maybe_deferred(handler)
        d:add_callbacks(reply, function(f)
            if not f:check(neap.CancelledError) then reply("error: " .. tostring(f.value)) end
        end)
        return d
    end

    it("4.16 a handler may return a deferred, block, fail, or raise", function()
        local log = record.log()
        local late = deferred()
        handle(function() return late end, log)
        handle(function() return (block_on(neap.succeed("blocked"))) end, log)
        handle(function() return neap.fail("failed") end, log)
        handle(function() error("raised", 0) end, log)
        late:callback("late")
        assert.equal("blocked error: failed error: raised late", tostring(log))
    end)

    it("4.16 a client that leaves cancels; a late reply is dropped", function()
        local log, cancelled = record.log(), 0
        local work = deferred(function() cancelled = cancelled + 1 end)
        handle(function() return work end, log):cancel()
        local unheard = deferred()
        handle(function() return unheard end, log):cancel()
        unheard:callback("too late")
        assert.equal("", tostring(log))
        assert.equal(1, cancelled)
    end)

    it("4.16 the death of the worker fails it", function()
        local d = deferred_tasklet(function() channel():receive() end)()
        local got
        neap.maybe_deferred(function() return d end):add_errback(function(f) got = f.value end)
        settle()
        d.tasklet:kill()
        settle()
        assert.is_true(neap.is(got, neap.CancelledError))
        assert.is_nil(d:add_errback(value_of):wait())
    end)
end)
