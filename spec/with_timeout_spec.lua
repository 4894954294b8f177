-- with_timeout: whatever a function waits for ends at the deadline, once, and nothing else.

local host = require "neap.host"
local inside = require "neap.inside"
local program = require "spec.support.program"
local with_clock = require "spec.support.with_clock"

-- A tasklet with f's results, which has begun.
local function start(f, ...)
    local t = spawn(f, ...)
    schedule()
    return t
end

-- Timers armed beside the deadline of the spec itself.
local function timers() return host.stats().timers - 1 end

local function result(t) return select(2, t:join()) end

describe("with_timeout", function()
    it("gives f's results if it is done in time", with_clock(function()
        assert.same({ 1, nil, 3, nil, n = 4 }, table.pack(neap.with_timeout(1, function(...)
            sleep(0)
            return ...
        end, 1, nil, 3, nil)))
        assert.equal(0, select("#", neap.with_timeout(1, function() end)))
        assert.equal(0, timers())
    end))

    it("gives nil, timeout at the deadline", with_clock(function(clock)
        local t = start(neap.with_timeout, 2, sleep, 5)
        clock:advance(1)
        schedule()
        assert.is_true(t.alive)
        clock:advance(1)
        assert.same({ true, nil, "timeout", n = 3 }, table.pack(t:join()))
        assert.equal(0, clock:now() - 2)
    end))

    it("ends whatever f waits for, cleanly", with_clock(function(clock)
        local ch, buffered, d = channel(), channel(1), deferred()
        local forever = spawn(function() channel():receive() end)
        buffered:send(1)
        local waits = {
            receive = function() ch:receive() end,
            send = function() buffered:send(2) end,
            deferred = function() block_on(d) end,
            join = function() forever:join() end,
            select = function() neap.select { ch, forever } end,
            sleep = function() sleep(9) end,
            paused = function() neap.schedule_remove() end,
            worker = function() blocking_tasklet(function() sleep(9) end)() end,
            iterator = function() for _ in ch do end end,
        }
        for name, wait in pairs(waits) do
            local t = start(neap.with_timeout, 1, wait)
            clock:advance(1)
            schedule()
            local ok, value, why = t:join()
            assert.same({ name, true, nil, "timeout" }, { name, ok, value, why })
        end
        assert.equal(0, ch.balance)
        assert.equal(1, buffered:receive())
        assert.is_true(d.called) -- nobody else waited for it: cancelled
        d:add_errback(function() end)
        forever:kill()
    end))

    it("reaches a wait in pcall, coroutines, metamethods and iterators", with_clock(function(clock)
        local function nested()
            local mt = { __index = function() sleep(9) end }
            local step = coroutine.wrap(function()
                for _ in coroutine.wrap(function() return setmetatable({}, mt).x end) do end
            end)
            step()
        end
        local t = start(neap.with_timeout, 1, function() neap.pcall(nested) end)
        clock:advance(1)
        assert.same({ true, nil, "timeout", n = 3 }, table.pack(t:join()))
    end))

    it("works inside a script's own coroutine", with_clock(function(clock)
        local t = start(coroutine.wrap(function()
            return neap.with_timeout(1, function()
                return neap.with_timeout(5, sleep, 9)
            end)
        end))
        clock:advance(1)
        assert.same({ true, nil, "timeout", n = 3 }, table.pack(t:join()))
    end))

    it("raises a private error once: pcall sees it, neap.pcall does not", with_clock(function(clock)
        local seen = {}
        local t = start(neap.with_timeout, 1, function()
            seen[1] = neap.pcall(function()
                local ok, err = pcall(sleep, 9)
                seen.ok, seen.err = ok, err
                sleep(1)
                error(err, 0)
            end)
            return "not here"
        end)
        clock:advance(1)
        schedule()
        assert.is_true(t.blocked) -- swallowed: the next wait is not ended
        clock:advance(1)
        assert.is_nil(result(t))
        assert.is_false(seen.ok)
        assert.equal("timeout", tostring(seen.err))
        assert.is_nil(seen[1])
    end))

    it("leaves its own results to an f that swallows the error", with_clock(function(clock)
        local t = start(neap.with_timeout, 1, function()
            pcall(sleep, 9)
            sleep(9)
            return "own"
        end)
        clock:advance(1)
        schedule()
        clock:advance(9)
        assert.equal("own", result(t))
    end))

    it("lets cleanup wait", with_clock(function(clock)
        local cleaned
        local t = start(neap.with_timeout, 1, function()
            local _ <close> = setmetatable({}, { __close = function()
                sleep(5)
                cleaned = true
            end })
            sleep(9)
        end)
        clock:advance(1)
        schedule()
        assert.is_nil(cleaned)
        clock:advance(5)
        assert.same({ true, nil, "timeout", n = 3 }, table.pack(t:join()))
        assert.is_true(cleaned)
    end))

    it("passes on an error of f with its traceback", function()
        assert.error(function() neap.with_timeout(1, error, "boom", 0) end, "boom")
        local mark = {}
        local ok, err = pcall(neap.with_timeout, 1, error, mark)
        assert.is_false(ok)
        assert.equal(mark, err)
        local status, output = program.run [[
            spawn(function()
                neap.with_timeout(1, function() error "boom" end)
            end)
        ]]
        assert.equal(1, status)
        assert.matches("in function 'error'\n[^\n]*:2: in function .* 'neap.with_timeout'", output)
        assert.not_matches("raised first", output)
    end)

    it("shows a <close> variable, and load's caller, the error itself", function()
        local mark = {}
        local function raises(seen)
            return function()
                local _ <close> = setmetatable({}, { __close = function(_, err)
                    seen.err = err
                    pcall(neap.with_timeout, 1, error, "another")
                end })
                seen.loaded = select(2, load(function() error(mark) end))
                error(mark)
            end
        end
        for name, around in pairs {
            with_timeout = function(f) neap.with_timeout(1, f) end, scope = neap.scope,
            callback = function(f)
                block_on(neap.succeed():add_callback(f):add_errback(function(failure)
                    assert.matches("with_timeout_spec", failure.traceback)
                    return failure
                end))
            end,
            maybe = function(f) block_on(neap.maybe_deferred(f)) end,
            in_coroutine = function(f)
                coroutine.wrap(function() neap.with_timeout(1, neap.scope, f) end)()
            end,
        } do
            local seen = {}
            local ok, err = pcall(around, raises(seen))
            assert.is_false(ok)
            assert.equal(mark, err, name)
            assert.equal(mark, seen.err, name)
            assert.equal(mark, seen.loaded, name)
        end
    end)

    it("an equal error, raised again and again, does not tell its whole past", function()
        local lengths = {}
        for i = 1, 200 do
            local _, failure = xpcall(neap.with_timeout, inside.failure, 1, function()
                neap.with_timeout(1, error, "boom", 0)
            end)
            lengths[i] = #failure.traceback
        end
        assert.equal(lengths[3], lengths[200])
        assert.is_true(lengths[1] > 0)
    end)

    it("an equal error of many places does not either", function()
        local longest = 0
        for i = 1, 500 do
            local raise = load(("\n"):rep(i) .. 'error("boom", 0)', "=chunk")
            local _, failure = xpcall(neap.with_timeout, inside.failure, 1, raise)
            longest = math.max(longest, #failure.traceback)
        end
        assert.is_true(longest < 25000, longest)
    end)

    it("leaves no table that has grown with what waits for a collection", function()
        local function nothing() end
        neap.with_timeout(60, nothing)
        collectgarbage()
        collectgarbage()
        local before = collectgarbage("count")
        collectgarbage("stop")
        for _ = 1, 20000 do neap.with_timeout(60, nothing) end
        collectgarbage("restart")
        collectgarbage()
        collectgarbage()
        assert.is_true(collectgarbage("count") - before < 200)
    end)

    it("raises at the next wait in an f that computes past it", with_clock(function(clock)
        local t = start(neap.with_timeout, 1, function()
            clock:advance(2)
            schedule()
        end)
        assert.same({ true, nil, "timeout", n = 3 }, table.pack(t:join()))
        t = start(neap.with_timeout, 1, function()
            clock:advance(2)
            return "computed"
        end)
        assert.equal("computed", result(t))
    end))

    it("ends a loop that only gives way", function()
        assert.same({ nil, "timeout" }, { neap.with_timeout(0.01, function()
            while true do schedule() end
        end) })
    end)

    it("knows a time of 0, and no time at all", with_clock(function()
        local ch = channel()
        assert.same({ nil, "timeout" }, { neap.with_timeout(0, ch.receive, ch) })
        assert.equal("done", neap.with_timeout(-1, function() return "done" end))
        assert.equal(5, neap.with_timeout(math.huge, function(n)
            sleep(0)
            return n
        end, 5))
    end))

    it("refuses what makes no sense", function()
        assert.error(function() neap.with_timeout(1) end)
        assert.error(function() neap.with_timeout("x", print) end)
        assert.error(function() neap.with_timeout(0 / 0, print) end)
    end)

    it("is real with realtime, whatever clock is in use", with_clock(function()
        assert.same({ nil, "timeout" }, { neap.realtime.with_timeout(0.01, sleep, 1) })
        assert.equal(1, neap.realtime.with_timeout(1, function() return 1 end))
    end))
end)

describe("with_timeout at the deadline", function()
    it("exactly one of value, deadline and kill wins, in every order", function()
        local orders = {
            { "value", "deadline" }, { "deadline", "value" }, { "kill", "deadline" },
            { "deadline", "kill" }, { "kill", "value" }, { "kill", "deadline", "value" },
            { "deadline", "kill", "value" }, { "value", "deadline", "kill" },
        }
        local wins = {
            "value", "timeout", "kill", "kill", "kill", "kill", "kill", "kill",
        }
        for i, order in ipairs(orders) do
            local ch, clock, got = channel(), neap.clock(), "kill"
            local old = neap.use_clock(clock)
            local t = start(function()
                local value, why = neap.with_timeout(1, function() return ch:receive() end)
                got = value or why
            end)
            local taken
            for _, what in ipairs(order) do
                if what == "deadline" then clock:advance(1) end
                if what == "kill" then t:kill(true) end
                if what == "value" then taken = ch:try_send("value") end
            end
            schedule()
            neap.use_clock(old)
            assert.equal(wins[i] .. i, got .. i)
            assert.is_false(t.alive)
            if order[1] ~= "value" then assert.is_not_true(taken) end
            assert.equal(0, ch.balance)
        end
    end)

    it("is not lost when f was served in time and waits again", with_clock(function(clock)
        local ch, first = channel(), nil
        local t = start(neap.with_timeout, 1, function()
            first = ch:receive()
            ch:receive()
        end)
        ch:try_send("served")
        clock:advance(1) -- it is ready, and has not run yet
        assert.same({ true, nil, "timeout", n = 3 }, table.pack(t:join()))
        assert.equal("served", first)
        assert.equal(0, ch.balance)
    end))

    it("does not hit a wait behind the function", with_clock(function(clock)
        local ch = channel()
        local t = start(function()
            local got = neap.with_timeout(1, function() return ch:receive() end)
            sleep(1)
            return got
        end)
        ch:try_send("served")
        clock:advance(1)
        schedule()
        clock:advance(1)
        assert.same({ true, "served", n = 2 }, table.pack(t:join()))
    end))

    it("does not hit who resumes a generator with a deadline", with_clock(function(clock)
        local outcome
        local t = start(function()
            local step = coroutine.wrap(function()
                outcome = table.pack(neap.with_timeout(1, function()
                    coroutine.yield()
                    sleep(9)
                end))
            end)
            step()
            sleep(2)
            step()
            return "unhurt"
        end)
        clock:advance(2)
        assert.equal("unhurt", result(t))
        assert.same({ nil, "timeout", n = 2 }, outcome)
    end))

    it("goes with a generator that is closed, collected, or moves", with_clock(function(clock)
        local function generator()
            return coroutine.create(function()
                return neap.with_timeout(1, function()
                    coroutine.yield()
                    sleep(9)
                end)
            end)
        end
        local co = generator()
        coroutine.resume(co)
        assert.equal(1, timers())
        coroutine.close(co)
        assert.equal(0, timers())
        start(function() coroutine.resume(generator()) end)
        collectgarbage()
        collectgarbage()
        assert.equal(0, timers())
        co = generator()
        start(function() coroutine.resume(co) end)
        local t = start(function() return select(3, coroutine.resume(co)) end)
        clock:advance(1)
        assert.equal("timeout", result(t))
    end))

    it("leaves no timer on any exit", with_clock(function()
        neap.with_timeout(1, function() end)
        pcall(neap.with_timeout, 1, error)
        local t = start(neap.with_timeout, 1, sleep, 9)
        t:kill()
        t = start(neap.with_timeout, 1, sleep, 9)
        t:kill { hard = true }
        assert.equal(0, timers())
    end))
end)

describe("with_timeout in another", function()
    it("lets the nearer one win, each with its own error", with_clock(function(clock)
        local log = {}
        local function nest(outer, inner)
            return start(neap.with_timeout, outer, function()
                local _, why = neap.with_timeout(inner, sleep, 9)
                log[#log + 1] = "inner " .. tostring(why)
                sleep(9)
                log[#log + 1] = "unreachable"
            end)
        end
        local t = nest(2, 1)
        clock:advance(1)
        schedule()
        assert.same({ "inner timeout" }, log)
        clock:advance(1)
        assert.same({ true, nil, "timeout", n = 3 }, table.pack(t:join()))
        t = nest(1, 2)
        clock:advance(1)
        assert.same({ true, nil, "timeout", n = 3 }, table.pack(t:join()))
        assert.same({ "inner timeout" }, log)
    end))

    it("keeps both when they are due at once", with_clock(function(clock)
        for _, s in ipairs { 1, 0.5 } do
            local inner
            local t = start(neap.with_timeout, 1, function()
                inner = table.pack(neap.with_timeout(s, sleep, 9))
                channel():receive()
            end)
            clock:advance(2)
            assert.same({ true, nil, "timeout", n = 3 }, table.pack(t:join()))
            if s < 1 then assert.same({ nil, "timeout", n = 2 }, inner) end
        end
    end))

    it("does not lose the outer one, nor a kill, in a cleanup of the inner", with_clock(
        function(clock)
            local function cleanup_waits()
                local _ <close> = setmetatable({}, { __close = function() sleep(9) end })
                sleep(20)
            end
            local went_on
            local t = start(neap.with_timeout, 1, function()
                neap.with_timeout(2, cleanup_waits)
                went_on = true
                sleep(20)
            end)
            clock:advance(1) -- the outer one, whose error meets the cleanup
            schedule()
            clock:advance(1) -- the inner one, in the cleanup
            assert.same({ true, nil, "timeout", n = 3 }, table.pack(t:join()))
            assert.is_nil(went_on)

            t = start(function()
                neap.with_timeout(2, cleanup_waits)
                went_on = true
            end)
            t:kill()
            clock:advance(2)
            schedule()
            assert.same({ false, neap.TaskletExit }, { t:join() })
            assert.is_nil(went_on)
        end))

    it("a cleanup may have a deadline of its own", with_clock(function(clock)
        local cleaned
        local t = start(neap.with_timeout, 1, function()
            local _ <close> = setmetatable({}, { __close = function()
                cleaned = table.pack(neap.with_timeout(1, sleep, 9))
            end })
            sleep(9)
        end)
        clock:advance(1)
        schedule()
        clock:advance(1)
        assert.same({ true, nil, "timeout", n = 3 }, table.pack(t:join()))
        assert.same({ nil, "timeout", n = 2 }, cleaned)
    end))

    it("ends a scope, with its children", with_clock(function(clock)
        local child
        local t = start(neap.with_timeout, 1, function()
            return neap.scope(function(s)
                child = s:spawn(sleep, 9)
                sleep(9)
            end)
        end)
        clock:advance(1)
        assert.same({ true, nil, "timeout", n = 3 }, table.pack(t:join()))
        assert.is_false(child.alive)
    end))

    it("many of them, with values, deadlines and kills at random", function()
        local clock, ch = neap.clock(), channel()
        local old = neap.use_clock(clock)
        local sent, got, list = 0, 0, {}
        for i = 1, 200 do
            list[i] = spawn(function()
                for _ = 1, 5 do
                    local v = neap.with_timeout(math.random(1, 9), function()
                        return (neap.with_timeout(math.random(1, 9), function()
                            return ch:receive()
                        end))
                    end)
                    if v then got = got + 1 end
                end
            end)
        end
        for _ = 1, 60 do
            schedule()
            if math.random() < 0.5 then clock:advance(1) end
            for _ = 1, math.random(0, 5) do
                if ch:try_send(true) then sent = sent + 1 end
            end
            schedule()
            clock:advance(1)
            list[math.random(#list)]:kill(math.random() < 0.5)
        end
        neap.use_clock(old)
        for _, t in ipairs(list) do t:join() end
        assert.is_true(sent > 0)
        assert.is_true(got <= sent)
        assert.equal(0, ch.balance)
    end)
end)

describe("a daemon's deadline", function()
    it("does not keep the program alive", function()
        local status, output = program.run [[
            local t = spawn(function()
                while true do neap.with_timeout(100, sleep, 200) end
            end)
            t.daemon = true
            schedule()
        ]]
        assert.same({ 0, "" }, { status, output })
    end)
end)
