-- Virtual clocks: time that moves by hand.

local program = require "spec.support.program"
local with_clock = require "spec.support.with_clock"

describe("a virtual clock", function()
    it("starts at 0 and moves only by advance", function()
        local clock = neap.clock()
        assert.equal(0, clock:now())
        clock:advance(1.5)
        clock:advance(0)
        assert.equal(1.5, clock:now())
        for _, wrong in ipairs { -1, math.huge, 0 / 0, "x" } do
            assert.error(function() clock:advance(wrong) end)
        end
        assert.equal(1.5, clock:now())
    end)

    it("moves once, then makes the due calls in the order of their times", function()
        local clock, log = neap.clock(), {}
        local function add(name) log[#log + 1] = name .. "@" .. clock:now() end
        clock:call_later(3, add, "c")
        clock:call_later(1, add, "a")
        clock:call_later(2, add, "b1")
        clock:call_later(2, add, "b2")
        clock:call_later(3.5, add, "later")
        clock:advance(3)
        assert.same({ "a@3.0", "b1@3.0", "b2@3.0", "c@3.0" }, log)
    end)

    it("makes calls that are added for now in the same advance", function()
        local clock, log = neap.clock(), {}
        clock:call_later(1, function()
            clock:call_later(0, function() log[#log + 1] = "added" end)
            log[#log + 1] = "first"
        end)
        clock:call_later(1, function() log[#log + 1] = "second" end)
        clock:advance(1)
        assert.same({ "first", "second", "added" }, log)
    end)

    it("shows a call that asks for another a second on only once, at the end", function()
        local clock, at = neap.clock(), {}
        local function again()
            at[#at + 1] = clock:now()
            clock:call_later(1, again)
        end
        clock:call_later(1, again)
        clock:advance(3)
        assert.same({ 3 }, at)
    end)

    it("lets an error of a call out of advance and leaves the rest due", function()
        local clock, log = neap.clock(), {}
        clock:call_later(1, function() error("boom") end)
        clock:call_later(1, function() log[#log + 1] = "rest" end)
        local ok, err = pcall(clock.advance, clock, 2)
        assert.is_false(ok)
        assert.matches("clock_spec.lua:%d+: boom$", err)
        assert.same({}, log)
        assert.is_false(neap.in_reactor())
        clock:advance(0)
        assert.same({ "rest" }, log)
    end)

    it("names the place of such an error when nobody handles it", function()
        local status, output = program.run [[
            local clock = neap.clock()
            clock:call_later(0, function() error "boom" end)
            spawn(function() clock:advance(0) end)
        ]]
        assert.equal(1, status)
        assert.matches("in function 'error'\n[^\n]*:2: in function .* in method 'advance'", output)
        assert.not_matches("raised first", output)
    end)

    it("runs its calls as reactor code, also when a tasklet advances it", function()
        local clock, seen = neap.clock(), nil
        clock:call_later(0, function()
            seen = { neap.in_reactor(), select(2, pcall(sleep, 0)) }
        end)
        clock:advance(0)
        assert.same({ true, "Cannot block in reactor task" }, seen)
    end)

    it("can be advanced in one of its calls", function()
        local clock, log = neap.clock(), {}
        clock:call_later(1, function()
            clock:advance(1)
            log[#log + 1] = "outer"
        end)
        clock:call_later(2, function() log[#log + 1] = "inner" end)
        clock:advance(1)
        assert.same({ "inner", "outer" }, log)
        assert.equal(2, clock:now())
    end)

    it("wakes sleeping tasklets, in the order of their deadlines", with_clock(function(clock)
        local log = {}
        for _, s in ipairs { 3, 1, 2, 1 } do
            spawn(function()
                sleep(s)
                log[#log + 1] = s
            end)
        end
        schedule()
        clock:advance(0.5)
        schedule()
        assert.same({}, log)
        clock:advance(5)
        assert.same({}, log) -- it does not switch
        schedule()
        assert.same({ 1, 1, 2, 3 }, log)
    end))

    it("has calls and timeouts on it", with_clock(function(clock)
        local got, made
        spawn(function() got = table.pack(channel():receive(5)) end)
        neap.call_later(4, function() made = neap.now() end)
        schedule()
        clock:advance(4)
        assert.equal(4, made)
        schedule()
        assert.is_nil(got)
        clock:advance(1)
        schedule()
        assert.same({ nil, "timeout", n = 2 }, got)
    end))

    it("is not needed by a wait of no time", with_clock(function()
        sleep(0)
        sleep(-1)
        assert.same({ nil, "timeout" }, { channel():receive(0) })
    end))

    it("leaves on the old clock what was armed there", function()
        local clock, made = neap.clock(), {}
        neap.call_later(0.01, function() made[1] = "real" end)
        assert.is_nil(neap.use_clock(clock))
        neap.call_later(0.01, function() made[2] = "virtual" end)
        assert.equal(clock, neap.use_clock(nil))
        sleep(0.03)
        assert.same({ "real" }, made)
        clock:advance(1)
        assert.same({ "real", "virtual" }, made)
    end)

    it("refuses what is no clock", function()
        assert.error(function() neap.use_clock(1) end)
        assert.error(function() neap.use_clock() end)
        assert.error(function() neap.use_clock(channel()) end)
    end)

    it("keeps its remainder for a paused group", with_clock(function(clock)
        local woke
        local t = spawn(function()
            sleep(2)
            woke = clock:now()
        end)
        t.group = "creatures"
        schedule()
        clock:advance(1)
        neap.pause_group("creatures", true)
        clock:advance(10)
        schedule()
        neap.use_clock(nil)
        neap.pause_group("creatures", false)
        clock:advance(0.5)
        schedule()
        assert.is_nil(woke)
        clock:advance(0.5)
        schedule()
        assert.equal(12, woke)
    end))

    it("does not keep the program alive", function()
        local status, output = program.run [[
            clock = neap.clock()
            clock:call_later(1, print, "made")
            neap.use_clock(clock)
            neap.call_later(1, print, "made")
        ]]
        assert.same({ 0, "" }, { status, output })
    end)

    it("is named in the report of a deadlock", function()
        local status, output = program.run [[
            neap.use_clock(neap.clock())
            local t = spawn(function() sleep(1) end)
            schedule()
            print(t.waiting_on)
            neap.use_clock(nil)
        ]]
        assert.equal(1, status)
        assert.matches("^sleep on a virtual clock\n", output)
        assert.matches("waits: sleep on a virtual clock, at ", output)
    end)
end)

describe("a virtual clock that nobody can advance any more", function()
    local function collect()
        collectgarbage()
        collectgarbage()
    end

    it("goes with its calls, even if they know it", function()
        local seen = setmetatable({}, { __mode = "k" })
        local handle
        do
            local clock = neap.clock()
            seen[clock] = true
            clock:call_later(1, function() return clock end)
            handle = neap.clock():call_later(1, print)
        end
        collect()
        assert.is_nil(next(seen))
        assert.is_true(handle:active()) -- it keeps its own
        handle:reset(2)
        handle:cancel()
    end)

    it("leaves its sleepers blocked; they can be killed", function()
        neap.use_clock(neap.clock())
        local t = spawn(function() sleep(1) end)
        local held = spawn(function() sleep(1) end)
        held.group = "held"
        schedule()
        neap.pause_group("held", true)
        neap.use_clock(nil)
        collect()
        local other = neap.clock() -- takes its place
        neap.pause_group("held", false)
        other:advance(9)
        sleep(0)
        assert.is_true(t.blocked and held.blocked)
        t:kill()
        held:kill()
        assert.is_false(t.alive or held.alive)
    end)
end)
