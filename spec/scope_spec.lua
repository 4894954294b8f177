-- neap.scope: what is started in it has ended when it returns.

local program = require "spec.support.program"
local record = require "spec.support.record"

local function parked() sleep(math.huge) end

-- Waits for ever; at its end it logs, and before that it may wait for turns.
local function cleans_up(log, name, turns)
    local _ <close> = setmetatable({}, { __close = function()
        for _ = 1, turns or 0 do schedule() end
        log(name)
    end })
    parked()
end

describe("a scope", function()
    it("returns what its body returns, nils and all", function()
        assert.same({ n = 4, 1, nil, 3, nil }, table.pack(neap.scope(function()
            return 1, nil, 3, nil
        end)))
        assert.equal(0, select("#", neap.scope(function() end)))
    end)

    it("ends after its children, and theirs", function()
        local log = record.log()
        assert.equal("result", neap.scope(function(s)
            s:spawn(function()
                schedule()
                s:spawn(function() schedule() schedule() log "grandchild" end)
                log "child"
            end)
            log "body"
            return "result"
        end))
        log "after"
        assert.equal("body child grandchild after", tostring(log))
    end)

    it("gives its children their arguments, and the caller the tasklet", function()
        neap.scope(function(s)
            local t = s:spawn(function(...) return ... end, 1, nil, 2)
            assert.same({ n = 4, true, 1, nil, 2 }, table.pack(t:join()))
        end)
    end)

    it("refuses what is no function, and spawns nothing once it has ended", function()
        local kept
        neap.scope(function(s)
            assert.is_false(pcall(s.spawn, s, 1))
            kept = s
        end)
        assert.equal("the scope has ended", record.error_of(kept.spawn, kept, parked))
        kept:cancel()
        assert.is_false(pcall(neap.scope, 1))
    end)

    it("is not kept once it has ended", function()
        local weak = setmetatable({}, { __mode = "v" })
        neap.scope(function(s)
            weak.outer = s
            neap.scope(function(inner) weak.inner = inner end)
        end)
        collectgarbage()
        collectgarbage()
        assert.same({}, weak)
    end)

    it("is a wait: not for reactor code", function()
        local said
        local d = deferred()
        d:add_callback(function() said = record.error_of(neap.scope, function() end) end)
        d:callback()
        assert.equal("Cannot block in reactor task", said)
    end)

    it("names the place that spawned a child", function()
        neap.scope(function(s)
            local t = s:spawn(schedule)
            assert.truthy(t:traceback():find("spawned at spec/scope_spec.lua", 1, true))
        end)
    end)
end)

describe("an error", function()
    it("of a child cancels the others and the body, and is raised", function()
        local log = record.log()
        local ok, err = pcall(neap.scope, function(s)
            s:spawn(cleans_up, log, "sibling", 3)
            s:spawn(function() schedule() error({ "it" }) end)
            cleans_up(log, "body")
        end)
        assert.same({ false, { "it" } }, { ok, err })
        assert.equal("body sibling", tostring(log))
    end)

    it("of the body cancels the children and is raised", function()
        local log = record.log()
        local ok, err = pcall(neap.scope, function(s)
            s:spawn(cleans_up, log, "child", 3)
            schedule()
            error("it", 0)
        end)
        assert.same({ false, "it" }, { ok, err })
        assert.equal("child", tostring(log))
    end)

    it("while the scope waits for its children is raised", function()
        local ok, err = pcall(neap.scope, function(s)
            s:spawn(parked)
            s:spawn(function() schedule() error("it", 0) end)
            return "result"
        end)
        assert.same({ false, "it" }, { ok, err })
    end)

    it("after the first goes to on_error, each once", function()
        record.unhandled(function(errors)
            local ok, err = pcall(neap.scope, function(s)
                for i = 1, 3 do
                    s:spawn(function()
                        local _ <close> = setmetatable({}, { __close = function()
                            if i > 1 then error("later " .. i, 0) end
                        end })
                        schedule()
                        if i == 1 then error("first", 0) end
                        parked()
                    end)
                end
                local _ <close> = setmetatable({}, { __close = function()
                    error("of the body", 0)
                end })
                parked()
            end)
            assert.same({ false, "first" }, { ok, err })
            local said = {}
            for i, e in ipairs(errors) do said[i] = e.value end
            table.sort(said)
            assert.same({ "later 2", "later 3", "of the body" }, said)
            for _, e in ipairs(errors) do assert.truthy(e.traceback:find("scope_spec", 1, true)) end
        end)
    end)

    it("of the body is raised with its own traceback, once", function()
        local status, output = program.run [[
            sleep(0)
            neap.scope(function() error "boom" end)
        ]]
        assert.equal(1, status)
        assert.matches("^neap: [^\n]*:2: boom\nstack traceback:\n\t%[C%]: in function 'error'\n"
            .. "[^\n]*:2: in function [^\n]*\n\t%[C%]: in function 'xpcall'\n"
            .. "\tlua/neap/scope.lua:%d+: in function 'neap%.scope[^\n]*\n"
            .. "[^\n]*:2: in main chunk\n\t%[C%]: in %?", output)
    end)

    it("is raised with the traceback of the child and of the scope", function()
        record.unhandled(function(errors)
            local line = debug.getinfo(1, "l").currentline + 1
            local function broken_child() error "it" end
            local function the_scope()
                neap.scope(function(s) s:spawn(broken_child) end)
                return nil -- no tail call
            end
            local t = spawn(function() the_scope() end)
            t.name = "outer"
            while t.alive do schedule() end
            assert.equal(1, #errors)
            local trace = errors[1].traceback
            local first, second = trace:match("^(.*)\nraised first:\n(.*)$")
            assert.truthy(first:find("in upvalue 'the_scope'", 1, true))
            assert.truthy(second:find(":" .. line .. ": in function", 1, true))
            assert.truthy(trace:find("in tasklet %d+, spawned at spec/scope_spec.lua:%d+\n"))
        end)
    end)

    it("that the body got from a child's join is the same one", function()
        record.unhandled(function(errors)
            local ok, err = pcall(neap.scope, function(s)
                local t = s:spawn(function() error("it", 0) end)
                local _, why = pcall(t.join, t)
                assert(not rawequal(why, nil))
                error("it", 0)
            end)
            assert.same({ false, "it", 0 }, { ok, err, #errors })
        end)
    end)

    it("in a coroutine and under neap.pcall interrupts the body just as well", function()
        local ok, err = pcall(neap.scope, function(s)
            s:spawn(function() error("it", 0) end)
            while true do
                coroutine.wrap(function() neap.pcall(parked) end)()
            end
        end)
        assert.same({ false, "it" }, { ok, err })
    end)

    it("nil and false are errors, too", function()
        assert.same({ n = 2, false, nil }, table.pack(pcall(neap.scope, function(s)
            s:spawn(error)
            parked()
        end)))
        assert.same({ false, false }, { pcall(neap.scope, function() error(false) end) })
    end)
end)

describe("cancel", function()
    it("from a child ends all, the body at its wait", function()
        local log = record.log()
        local result = table.pack(neap.scope(function(s)
            s:spawn(cleans_up, log, "a", 2)
            s:spawn(function() schedule() s:cancel() log "goes on to its next wait" parked() end)
            cleans_up(log, "body", 1)
        end))
        assert.same({ n = 2, nil, "cancelled" }, result)
        assert.equal("goes on to its next wait body a", tostring(log))
    end)

    it("by the body itself interrupts it at its next wait", function()
        local log = record.log()
        assert.same({ n = 2, nil, "cancelled" }, table.pack(neap.scope(function(s)
            s:spawn(function() log "never starts" end)
            s:cancel()
            s:cancel()
            log "computes"
            local ok = neap.is(select(2, pcall(s.spawn, s, parked)), neap.Unwinding)
            log(tostring(ok))
            schedule()
            log "not reached"
        end)))
        assert.equal("computes true", tostring(log))
        schedule()
    end)

    it("kills the children in the order of their start", function()
        local log, expected = record.log(), {}
        neap.scope(function(s)
            for i = 1, 20 do
                expected[i] = i
                s:spawn(cleans_up, log, i)
            end
            schedule()
            s:cancel()
        end)
        assert.equal(table.concat(expected, " "), tostring(log))
    end)

    it("of others that comes while it waits is not lost: one now, one at the next wait", function()
        local first, second = neap.Unwinding "first", neap.Unwinding "second"
        local function seen(one, other)
            local now, later, last, _
            local t = spawn(function()
                _, now = pcall(neap.scope, function(s)
                    s:spawn(function() for _ = 1, 4 do pcall(schedule) end end)
                end)
                _, later = pcall(schedule)
                last = pcall(schedule)
            end)
            schedule()
            schedule()
            t:throw(one)
            t:throw(other)
            t:join()
            assert.is_true(last)
            return { now, later }
        end
        assert.same({ first, second }, seen(first, second))
        assert.same({ neap.TaskletExit }, seen(first, neap.TaskletExit)) -- a kill goes alone
        assert.same({ neap.TaskletExit }, seen(neap.TaskletExit, first))
    end)

    it("leaves nothing behind that would interrupt later", function()
        neap.scope(function(s) s:cancel() end)
        schedule()
        sleep(0)
    end)

    it("from outside, while the scope waits for its children", function()
        local kept, result
        local t = spawn(function()
            result = table.pack(neap.scope(function(s)
                kept = s
                s:spawn(parked)
                return "result"
            end))
        end)
        schedule()
        kept:cancel()
        t:join()
        assert.same({ n = 2, nil, "cancelled" }, result)
    end)

    it("is an error to plain pcall, and goes through neap.pcall", function()
        local seen
        neap.scope(function(s)
            s:cancel()
            local ok, err = pcall(schedule)
            seen = { ok, tostring(err), neap.is(err, neap.Unwinding) }
        end)
        assert.same({ false, "the scope was cancelled", true }, seen)
    end)

    it("waits for a child that goes on in spite of it", function()
        local log = record.log()
        assert.same({ nil, "cancelled" }, { neap.scope(function(s)
            s:spawn(function()
                pcall(parked)
                for _ = 1, 3 do schedule() end
                log "went on"
            end)
            schedule()
            s:cancel()
        end) })
        assert.equal("went on", tostring(log))
    end)

    it("with an error in a child's cleanup raises that", function()
        local ok, err = pcall(neap.scope, function(s)
            s:spawn(function()
                local _ <close> = setmetatable({}, { __close = function() error("it", 0) end })
                parked()
            end)
            schedule()
            s:cancel()
        end)
        assert.same({ false, "it" }, { ok, err })
    end)
end)

describe("a kill", function()
    it("of a child is no error", function()
        assert.equal("result", neap.scope(function(s)
            local a, b, c = s:spawn(parked), s:spawn(parked), s:spawn(parked)
            a:kill()
            schedule()
            b:kill()
            c:kill { hard = true }
            return "result"
        end))
    end)

    it("of the scope's tasklet ends the children first", function()
        local log = record.log()
        local t = spawn(function()
            local _ <close> = setmetatable({}, { __close = function() log "outside" end })
            neap.scope(function(s)
                s:spawn(cleans_up, log, "child", 3)
                cleans_up(log, "body", 1)
            end)
            log "not reached"
        end)
        schedule()
        t:kill(true)
        assert.same({ false, neap.TaskletExit }, { t:join() })
        assert.equal("body child outside", tostring(log))
    end)

    it("while it waits for the children reaches them, and a second one again", function()
        local log = record.log()
        local t = spawn(function()
            neap.scope(function(s)
                s:spawn(function()
                    pcall(parked)
                    log "goes on"
                    parked()
                end)
            end)
        end)
        schedule()
        schedule()
        t:kill()
        schedule()
        assert.is_true(t.alive)
        t:kill()
        assert.same({ false, neap.TaskletExit }, { t:join() })
        assert.equal("goes on", tostring(log))
    end)

    it("is not lost when a child fails at the same time, nor is the error", function()
        record.unhandled(function(errors)
            local t = spawn(function()
                pcall(error)
                neap.scope(function(s)
                    s:spawn(function()
                        local _ <close> = setmetatable({}, { __close = function()
                            error("cleanup", 0)
                        end })
                        parked()
                    end)
                    local _ <close> = setmetatable({}, { __close = function()
                        for _ = 1, 5 do schedule() end
                    end })
                    s:spawn(function() for _ = 1, 3 do schedule() end error("it", 0) end)
                    parked()
                end)
            end)
            schedule()
            schedule()
            t:kill()
            assert.same({ false, neap.TaskletExit }, { t:join() })
            assert.same({ "cleanup", "it" }, { errors[1].value, errors[2].value })
        end)
    end)

    it("hard ends the children, too", function()
        local log = record.log()
        local t = spawn(function()
            neap.scope(function(s)
                s:spawn(cleans_up, log, "child", 1)
                parked()
            end)
        end)
        schedule()
        schedule()
        t:kill { hard = true }
        schedule()
        schedule()
        assert.equal("child", tostring(log))
    end)

    it("goes before a cancellation, whichever comes first", function()
        for _, kill_first in ipairs { true, false } do
            local log, outer = record.log(), nil
            local t = spawn(function()
                neap.scope(function(s)
                    outer = s
                    neap.scope(function(inner)
                        inner:spawn(function() for _ = 1, 6 do pcall(parked) end end)
                    end)
                end)
                log "not reached"
            end)
            schedule()
            schedule()
            for i = 1, 2 do
                if (i == 1) == kill_first then t:kill() else outer:cancel() end
                for _ = 1, 3 do schedule() end
                assert.is_true(t.alive)
            end
            while t.alive do
                t:kill()
                schedule()
            end
            assert.same({ false, neap.TaskletExit }, { t:join() })
            assert.equal("", tostring(log))
        end
    end)

    it("by throw of another error is that error", function()
        record.unhandled(function(errors)
            local t = spawn(function() neap.scope(function(s) s:spawn(parked) end) end)
            schedule()
            schedule()
            t:throw "thrown"
            while t.alive do schedule() end
            assert.same({ 1, "thrown" }, { #errors, errors[1].value })
        end)
    end)
end)

describe("scopes in scopes", function()
    it("end from the inside out", function()
        local log = record.log()
        local ok, err = pcall(neap.scope, function(outer)
            outer:spawn(cleans_up, log, "outer", 6)
            neap.scope(function(s)
                s:spawn(cleans_up, log, "inner", 3)
                outer:spawn(function() schedule() error("it", 0) end)
                cleans_up(log, "body")
            end)
            log "not reached"
        end)
        assert.same({ false, "it" }, { ok, err })
        assert.equal("body inner outer", tostring(log))
    end)

    it("a cancellation of the outer one is seen at the end of the inner", function()
        local log = record.log()
        assert.same({ nil, "cancelled" }, { neap.scope(function(outer)
            neap.scope(function(s)
                s:spawn(function()
                    pcall(parked)
                    outer:cancel()
                end)
                local _ <close> = setmetatable({}, { __close = function()
                    for _ = 1, 5 do schedule() end
                    log "cleanup"
                end })
                schedule()
                s:cancel()
                schedule()
            end)
            log "not reached"
        end) })
        assert.equal("cleanup", tostring(log))
    end)

    it("an error of the inner is the outer's when that is cancelled", function()
        local reached
        local ok, err = pcall(neap.scope, function(outer)
            neap.pcall(neap.scope, function()
                outer:cancel()
                error("it", 0)
            end)
            reached = true
            parked()
        end)
        assert.same({ false, "it" }, { ok, err })
        assert.is_nil(reached)
    end)

    it("in children: a kill goes down, an error goes up", function()
        local log = record.log()
        local ok, err = pcall(neap.scope, function(a)
            a:spawn(neap.scope, function(b)
                b:spawn(neap.scope, function(c)
                    c:spawn(cleans_up, log, "deep", 2)
                    parked()
                end)
                parked()
            end)
            a:spawn(neap.scope, function(b)
                b:spawn(function() for _ = 1, 4 do schedule() end error("it", 0) end)
                parked()
            end)
            parked()
        end)
        assert.same({ false, "it" }, { ok, err })
        assert.equal("deep", tostring(log))
    end)

    it("two cancelled at once, and both are seen", function()
        local log = record.log()
        assert.same({ nil, "cancelled" }, { neap.scope(function(a)
            local got = table.pack(neap.scope(function(b)
                neap.scope(function(c)
                    c:spawn(function()
                        pcall(parked)
                        schedule()
                        b:cancel()
                        schedule()
                        a:cancel()
                    end)
                    schedule()
                    c:cancel()
                    schedule()
                end)
                log "not in b"
            end))
            log(tostring(got[2]))
        end) })
        assert.equal("", tostring(log))
    end)
end)

describe("many children", function()
    it("in one scope, half of them killed by the other half", function()
        local ended = 0
        neap.scope(function(s)
            for _ = 1, 500 do
                local victim = s:spawn(function()
                    local _ <close> = setmetatable({}, { __close = function()
                        schedule()
                        ended = ended + 1
                    end })
                    parked()
                end)
                s:spawn(function() schedule() victim:kill() end)
            end
        end)
        assert.equal(500, ended)
    end)

    it("do not make a deadlock of main's scope an endless one", function()
        local status, output = program.run [[
            neap.scope(function(s)
                s:spawn(function()
                    pcall(sleep, math.huge)
                    channel():receive()
                end)
            end)
        ]]
        assert.equal(1, status)
        assert.equal(1, program.count(output, "cannot be blocked"))
    end)

    it("of one that cannot wait are killed, and it says so", function()
        local killed
        local ok, err = pcall(table.sort, { 1, 2 }, function()
            neap.scope(function(s) s:spawn(function() killed = true end) end)
        end)
        assert.is_false(ok)
        assert.truthy(tostring(err):find("cannot wait inside table.sort", 1, true))
        ok, err = pcall(neap.scope, function(s)
            local t = s:spawn(parked)
            neap.getcurrent().block_trap = true
            return t
        end)
        neap.getcurrent().block_trap = false
        assert.is_false(ok)
        assert.truthy(tostring(err):find("does not like to be blocked", 1, true))
        schedule()
        assert.is_nil(killed)
    end)

    it("end also if a time slice ends anywhere, and the scope is killed there", function()
        for n = 1, 60 do
            local alive, early, at_end = {}, nil, false
            local function child()
                local t = neap.getcurrent()
                local _ <close> = setmetatable({}, { __close = function() alive[t] = nil end })
                alive[t] = true
                parked()
            end
            local t = spawn(function()
                local _ <close> = setmetatable({}, { __close = function() early = next(alive) end })
                neap.scope(function(s)
                    for _ = 1, 3 do s:spawn(child) end
                    schedule()
                    schedule()
                    at_end = true
                end)
            end)
            local cut = neap.run(n)
            while cut and not at_end do
                cut:insert()
                cut = neap.run(n)
            end
            t:kill()
            if cut and cut.paused then cut:insert() end
            neap.run()
            assert.same({ false }, { t.alive, early, next(alive) }, n)
        end
    end)
end)

-- Scopes in scopes in children, with errors, kills and cancellations at random. Returns the
-- errors that were raised and how often each of them was heard of.
local function storm(seed)
    math.randomseed(seed)
    local random, raised, heard, live = math.random, {}, {}, {}
    local function hear(err)
        if type(err) == "table" and err.made then heard[err] = (heard[err] or 0) + 1 end
    end
    local function fail()
        local err = { made = #raised + 1 }
        raised[#raised + 1] = err
        error(err)
    end
    local function idle()
        local turns = random(0, 3)
        local _ <close> = setmetatable({}, { __close = function()
            for _ = 1, turns do schedule() end
        end })
        for _ = 1, random(6) do schedule() end
    end
    local work
    local function child(mine, ...)
        local t = neap.getcurrent()
        mine[t], live[t] = true, true
        local _ <close> = setmetatable({}, { __close = function() mine[t], live[t] = nil, nil end })
        work(...)
    end
    local function nest(depth)
        local mine = {}
        local _ <close> = setmetatable({}, { __close = function() assert(not next(mine)) end })
        neap.scope(function(s)
            for _ = 1, random(0, 4) do s:spawn(child, mine, depth + 1, s) end
            work(depth + 1, s)
        end)
    end
    function work(depth, s)
        for _ = 1, random(3) do
            local act = random(12)
            if act <= 5 then idle()
            elseif act == 6 then fail()
            elseif act == 7 then s:cancel()
            elseif depth < 4 then nest(depth) end
        end
    end
    neap.on_error(function(_, err) hear(err) end)
    local _ <close> = setmetatable({}, { __close = function() neap.on_error(nil) end })
    local top = spawn(child, {}, 0, { cancel = schedule })
    repeat
        schedule()
        if random(4) == 1 then
            local list = {}
            for t in pairs(live) do list[#list + 1] = t end
            table.sort(list, function(a, b) return a.id < b.id end)
            if #list > 0 then list[random(#list)]:kill(random(2) == 1) end
        end
    until not top.alive
    assert(not next(live))
    return raised, heard
end

describe("a storm", function()
    local seeds = tonumber(os.getenv "SCOPE_SEEDS") or 300
    it("of " .. seeds .. " seeds leaves no child and loses no error", function()
        local errors = 0
        for seed = 1, seeds do
            local raised, heard = storm(seed)
            for _, err in ipairs(raised) do assert.equal(1, heard[err], "seed " .. seed) end
            errors = errors + #raised
        end
        assert.is_true(errors > seeds / 10)
    end)
end)
