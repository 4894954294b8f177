-- call_later, and the clocks that calls and sleeps stand on.

local finally = require "spec.support.finally"
local program = require "spec.support.program"
local with_clock = require "spec.support.with_clock"

local function errors_to(list)
    neap.on_error(function(t, err, trace)
        list[#list + 1] = { tasklet = t, err = tostring(err), trace = trace }
    end)
    return finally(function() neap.on_error(nil) end)
end

describe("call_later", function()
    it("calls f with its arguments, once, when the time has come", function()
        local began, got, at = neap.now(), nil, nil
        local call = neap.call_later(0.01, function(...)
            got, at = table.pack(...), neap.now()
        end, 1, nil, "three", nil)
        assert.is_true(call.time >= began + 0.01 and call.time <= neap.now() + 0.01)
        assert.is_true(call:active())
        sleep(0.03)
        assert.same({ 1, nil, "three", nil, n = 4 }, got)
        assert.is_true(at >= call.time)
        assert.is_false(call:active())
    end)

    it("keeps the order of deadlines together with sleeps", function()
        local log = {}
        local function add(name) log[#log + 1] = name end
        local function sleeper(s, name)
            spawn(function() sleep(s) add(name) end)
            schedule()
        end
        neap.scale(0) -- one moment for all, however slow this is
        neap.call_later(0.004, add, "call 4")
        sleeper(0.002, "sleep 2")
        neap.call_later(0.001, add, "call 1")
        sleeper(0.003, "sleep 3")
        neap.call_later(0.0025, add, "call 2.5")
        neap.scale(1)
        local late = os.clock() + 0.02
        while os.clock() < late do end -- all of them are due at one look
        sleep(0.005)
        assert.same({ "call 1", "sleep 2", "call 2.5", "sleep 3", "call 4" }, log)
    end)

    it("makes calls of one moment in the order in which they were asked for", function()
        local log = {}
        for i = 1, 100 do neap.call_later(0, function() log[i] = #log + 1 end) end
        sleep(0.01)
        for i = 1, 100 do assert.equal(i, log[i]) end
    end)

    it("runs f as reactor code: it cannot block, switch, nor kill at once", function()
        local seen = {}
        local victim = spawn(function() sleep(10) end)
        neap.call_later(0, function()
            seen.current, seen.reactor = neap.getcurrent(), neap.in_reactor()
            seen.sleep = select(2, pcall(sleep, 0))
            seen.schedule = select(2, pcall(schedule))
            victim:kill()
            seen.alive = victim.alive
        end)
        sleep(0.01)
        assert.is_nil(seen.current)
        assert.is_true(seen.reactor)
        assert.equal("Cannot block in reactor task", seen.sleep)
        assert.equal("Cannot block in reactor task", seen.schedule)
        assert.is_true(seen.alive)
        assert.is_false(victim.alive)
    end)

    it("reports an error of f once, with its traceback and no tasklet, and goes on", function()
        local errors, went_on = {}, false
        local _ <close> = errors_to(errors)
        neap.call_later(0, function() error("boom") end)
        neap.call_later(0, function() went_on = true end)
        sleep(0.01)
        assert.is_true(went_on)
        assert.equal(1, #errors)
        assert.is_nil(errors[1].tasklet)
        assert.matches("time_spec.lua:%d+: boom$", errors[1].err)
        assert.matches("time_spec.lua:%d+: in function", errors[1].trace)
    end)

    it("prints an error of f that nobody handles; the status is 1", function()
        local status, output = program.run [[
            neap.call_later(0, function() error("boom", 0) end)
            neap.call_later(0.01, print, "went on")
        ]]
        assert.equal(1, status)
        assert.matches("went on\n", output)
        assert.equal(1, program.count(output, "neap: boom\nstack traceback:"))
    end)

    it("keeps the program alive until it is made, or cancelled", function()
        local function ends(script, output)
            local status, printed = program.run(script)
            assert.same({ 0, output }, { status, printed })
        end
        ends('neap.call_later(0.02, print, "made") collectgarbage()', "made\n")
        ends('neap.call_later(100, print, "made"):cancel()', "")
        ends('neap.call_later(math.huge, print, "made")', "")
    end)

    it("is made though its handle was collected", function()
        local made = false
        neap.call_later(0.01, function() made = true end)
        collectgarbage() collectgarbage()
        sleep(0.03)
        assert.is_true(made)
    end)

    it("lets go of f once it is made or cancelled, also when the handle is kept", function()
        local seen = setmetatable({}, { __mode = "k" })
        local function watched()
            local f = setmetatable({}, { __call = function() end })
            seen[f] = true
            return f
        end
        local made, cancelled = neap.call_later(0, watched()), neap.call_later(9, watched())
        cancelled:cancel()
        sleep(0.01)
        collectgarbage() collectgarbage()
        assert.is_nil(next(seen))
        assert.is_false(made:active() or cancelled:active())
    end)

    it("cannot be changed once it is made, not even from inside", function()
        local call
        local inside = {}
        call = neap.call_later(0, function()
            inside.active = call:active()
            inside.ok, inside.err = pcall(call.cancel, call)
        end)
        sleep(0.01)
        assert.is_false(inside.active)
        assert.is_true(neap.is(inside.err, neap.AlreadyCalledError))
        for _, change in ipairs { "cancel", "reset", "delay" } do
            local ok, err = pcall(call[change], call, 1)
            assert.is_false(ok)
            assert.is_true(neap.is(err, neap.AlreadyCalledError), change)
        end
    end)

    it("can be cancelled twice; then nothing else", function()
        local call = neap.call_later(0, error, "made")
        call:cancel()
        call:cancel()
        assert.is_false(call:active())
        assert.error(function() call:reset(1) end, "the call has been cancelled")
        assert.error(function() call:delay(1) end, "the call has been cancelled")
        sleep(0.01)
    end)

    it("refuses what is no time and no function", function()
        assert.error(function() neap.call_later("soon", print) end)
        assert.error(function() neap.call_later(0 / 0, print) end)
        assert.error(function() neap.call_later(1) end)
        assert.error(function() neap.call_later(1, 2) end)
        assert.error(function() neap.call_later(1, print):reset(0 / 0) end)
    end)

    it("starts no tasklet of its own, but may spawn, send and fire", function()
        local ch, d, spawned = channel(1), deferred(), false
        neap.call_later(0, function()
            ch:send("sent")
            d:callback("fired")
            spawn(function() spawned = true end)
        end)
        assert.equal("sent", ch:receive())
        assert.equal("fired", block_on(d))
        sleep(0)
        assert.is_true(spawned)
    end)
end)

describe("a call can be moved:", function()
    it("reset counts from now, delay from the old time", function()
        local clock, log = neap.clock(), {}
        local a = clock:call_later(2, function() log[#log + 1] = "a" end)
        local b = clock:call_later(2, function() log[#log + 1] = "b" end)
        clock:advance(1)
        a:reset(3)
        b:delay(1)
        assert.same({ 4, 3 }, { a.time, b.time })
        b:delay(-0.5)
        clock:advance(1.5)
        assert.same({ "b" }, log)
        clock:advance(1.5)
        assert.same({ "b", "a" }, log)
    end)

    it("order is kept, also when another call moves it", function()
        local clock, log = neap.clock(), {}
        local function add(name) log[#log + 1] = name end
        local later = clock:call_later(1.5, add, "moved")
        clock:call_later(1, function() later:reset(1) end)
        clock:call_later(1.7, add, "between")
        clock:advance(1)
        clock:advance(1)
        assert.same({ "between", "moved" }, log)
    end)

    it("on the real clock too", function()
        local log = {}
        neap.scale(0)
        local a = neap.call_later(10, function() log[#log + 1] = "a" end)
        local b = neap.call_later(0.001, function() log[#log + 1] = "b" end)
        b:delay(0.03)
        a:reset(0.01)
        neap.scale(1)
        sleep(0.06)
        assert.same({ "a", "b" }, log)
        local never = neap.call_later(math.huge, function() log[#log + 1] = "never" end)
        assert.is_true(never:active())
        never:reset(0)
        sleep(0.01)
        assert.equal("never", log[3])
    end)
end)

describe("the real clock", function()
    it("stays real whatever clock is in use", with_clock(function()
        local began, made = neap.realtime.now(), false
        neap.realtime.call_later(0.005, function() made = true end)
        neap.realtime.sleep(0.02)
        assert.is_true(neap.realtime.now() - began >= 0.02)
        assert.is_true(made)
        assert.equal(0, neap.now())
    end))

    it("is not what neap.scale changes, nor is a virtual one", function()
        local clock = neap.clock()
        neap.scale(0)
        local _ <close> = finally(function() neap.scale(1) end)
        local stands = neap.now()
        neap.realtime.sleep(0.01)
        assert.equal(stands, neap.now())
        clock:advance(2)
        assert.equal(2, clock:now())
        sleep(0) -- goes on though the clock stands
    end)
end)
