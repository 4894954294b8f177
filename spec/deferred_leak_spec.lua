-- What deferreds leave behind: nothing, on every way a wait or a chain can end.

local deferreds = require "spec.support.deferreds"
local host = require "neap.host"
local record = require "spec.support.record"
local waiter = deferreds.waiter

local function pass(v) return v end

local SLACK = 10000 -- bytes; 200 deferreds that are left behind are five times that

local function memory()
    collectgarbage()
    collectgarbage()
    return host.stats().mem
end

-- Runs make(keep) many times; what it gives to keep must be collected, and the memory in use
-- is that of the first rounds.
local function leaves_nothing(title, make)
    it(title, function()
        local weak = setmetatable({}, { __mode = "k" })
        local function keep(...)
            for _, object in ipairs { ... } do weak[object] = true end
            return ...
        end
        local function round(n)
            for _ = 1, n do make(keep) end
            schedule()
        end
        record.unhandled(function()
            round(200)
            local before = memory()
            round(200)
            local after = memory()
            assert.is_nil(next(weak))
            assert(after <= before + SLACK, ("%d bytes before, %d after"):format(before, after))
            assert.equal(0, #neap.flush_unhandled())
        end)
    end)
end

local function quiet(d)
    return d:add_errback(pass):add_errback(function() end)
end

describe("a deferred that is cancelled", function()
    leaves_nothing("without a canceller", function(keep)
        quiet(keep(deferred())):cancel()
    end)

    leaves_nothing("whose canceller fires it", function(keep)
        keep(deferred(function(d) d:callback("v") end)):add_callback(pass):cancel()
    end)

    leaves_nothing("whose canceller raises", function(keep)
        local d = keep(deferred(function(d) error(d) end))
        pcall(d.cancel, d)
    end)

    leaves_nothing("whose canceller knows it", function(keep)
        local d
        d = keep(deferred(function() return d end))
        quiet(d):cancel()
    end)

    leaves_nothing("while it waits for another", function(keep)
        local inner = keep(deferred())
        local outer = keep(deferred()):add_callback(function() return inner end)
        outer:callback()
        quiet(outer):cancel()
    end)

    leaves_nothing("while it is paused", function(keep)
        local d = keep(deferred())
        d:pause()
        quiet(d):cancel()
    end)

    leaves_nothing("and is a fork", function(keep)
        local d = keep(deferred())
        quiet(keep(d:fork())):cancel()
    end)

    leaves_nothing("and is chained to", function(keep)
        local d, other = keep(deferred(), deferred())
        d:chain_deferred(other)
        quiet(other):cancel()
        d:callback(1)
    end)

    leaves_nothing("while tasklets wait for it", function(keep)
        local d = keep(deferred())
        local a, b = waiter(d), waiter(d, 1000)
        quiet(d):cancel()
        a.tasklet:join()
        b.tasklet:join()
    end)

    leaves_nothing("and stands for a tasklet", function(keep)
        local d = keep(deferred_tasklet(function() channel():receive() end)())
        schedule()
        quiet(d):cancel()
        d.tasklet:join()
    end)
end)

describe("a deferred that nobody fires", function()
    leaves_nothing("and is dropped", function(keep)
        keep(deferred(pass)):add_callback(pass):fork()
    end)

    leaves_nothing("whose waiter is killed", function(keep)
        waiter(keep(deferred())).tasklet:kill()
    end)

    leaves_nothing("whose waiter is out of time", function(keep)
        pcall(block_on, keep(deferred()), 0)
    end)

    leaves_nothing("whose waiter selected another", function(keep)
        local d = keep(deferred())
        neap.select { d, neap.succeed() }
    end)

    leaves_nothing("paused, with a failure", function(keep)
        local d = keep(deferred())
        d:errback(neap.CancelledError())
        d:pause()
    end)

    leaves_nothing("in a ring", function(keep)
        local a, b = keep(deferred(), deferred())
        a:add_callback(function() return b end):callback()
        b:add_callback(function() return a end):callback()
        a:cancel()
    end)

    it("which outlives its waiters: they do not pile up", function()
        local d = deferred(function() error "not cancelled" end)
        local kept = waiter(d)
        local function round()
            for _ = 1, 1000 do waiter(d).tasklet:kill() end
        end
        round()
        local before = memory()
        round()
        assert(memory() <= before + SLACK)
        d:callback()
        kept.tasklet:join()
    end)
end)

describe("memory", function()
    it("100,000 made and fired: flat", function()
        local function round(n)
            for i = 1, n do deferred():add_callback(pass):add_errback(pass):callback(i) end
        end
        round(1000)
        local before = memory()
        round(100000)
        assert(memory() <= before + SLACK)
    end)

    it("a chain that never gets empty does not grow", function()
        local d, n, before, after = deferred(), 0, nil, nil
        local function again()
            n = n + 1
            if n == 1000 then before = memory() end
            if n >= 100000 then
                after = after or memory()
                return
            end
            d:add_callback(again)
        end
        d:add_callback(again)
        d:add_callback(again)
        d:callback()
        d:wait()
        assert(after <= before + SLACK, ("%d bytes before, %d after"):format(before, after))
    end)
end)

describe("a wait", function()
    -- How many tasklets were resumed while f ran.
    local function resumed(f)
        local before = host.stats().resumes
        f()
        return host.stats().resumes - before
    end

    it("for a fired deferred resumes nobody", function()
        local other = spawn(function() end)
        assert.equal(0, resumed(function()
            block_on(neap.succeed(1))
            neap.succeed(1):wait(0)
            pcall(block_on, neap.fail("x"))
        end))
        other:join()
    end)

    it("for an unfired one costs two switches: away and back", function()
        local d, switches = deferred(), 0
        local firing = spawn(function() d:callback() end)
        neap.set_schedule_callback(function() switches = switches + 1 end)
        local n = resumed(function() block_on(d) end)
        neap.set_schedule_callback(nil)
        assert.is_false(firing.alive)
        assert.equal(2, n)
        assert.equal(2, switches)
    end)
end)
