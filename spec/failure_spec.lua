-- Failures, and the reports of those that nobody handles.

local deferreds = require "spec.support.deferreds"
local program = require "spec.support.program"
local record = require "spec.support.record"
local collect, drop = record.collect, deferreds.drop
local value_of, waiter = deferreds.value_of, deferreds.waiter
local error_of, unhandled = record.error_of, record.unhandled

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

    it("that is raised again is the same, with the first traceback", function()
        local function the_culprit() error("x") end
        local first, second
        neap.succeed():add_callback(function() the_culprit() end):add_errback(function(f)
            first = f
            error(f.value, 0)
        end):add_errback(function(f) second = f end)
        assert.equal(first, second)
        assert.matches("the_culprit", second.traceback)
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
        assert.matches("failure_spec%.lua:%d+: x$", f.value)
        assert.matches("x$", tostring(f))
    end)

    it("a table that looks like one is a value", function()
        local fake = { value = "x", traceback = "t" }
        assert.equal(fake, neap.succeed(fake):wait())
        assert.equal(fake, neap.succeed():add_callback(function() return fake end):wait())
    end)
end)

describe("an unhandled failure", function()
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

    it("says where the deferred was made", function()
        unhandled(function(errors)
            local line = debug.getinfo(1, "l").currentline + 1
            drop(function() neap.fail("x") end)
            collect()
            assert.matches("failure_spec%.lua:" .. line, errors[1].traceback)
        end)
    end)

    it("once and not before, however often its chain has run on", function()
        unhandled(function(errors)
            local d = neap.fail("x")
            for _ = 1, 3 do
                d:add_callback(print)
                d:pause()
                d:unpause()
                collect()
            end
            assert.equal(0, #errors)
            d = nil -- luacheck: ignore
            collect()
            collect()
            assert.equal(1, #errors)
        end)
    end)

    it("counts as handled by an errback that returns a deferred, and by a chain", function()
        unhandled(function(errors)
            drop(function()
                neap.fail("a"):add_errback(function() return deferred() end)
                neap.fail("b"):add_errback(function() return neap.succeed() end)
                neap.fail("c"):chain_deferred(deferred():add_errback(function() end))
            end)
            collect()
            assert.equal(0, #errors)
        end)
    end)

    it("whose error holds the deferred is reported too", function()
        unhandled(function(errors)
            drop(function()
                local d = deferred()
                d:add_callback(function() error { d } end):callback()
            end)
            collect()
            assert.equal(1, #errors)
        end)
    end)

    it("says where it was made in whatever way it was", function()
        unhandled(function(errors)
            local line = debug.getinfo(1, "l").currentline
            drop(function()
                deferred():errback("x")
                neap.maybe_deferred(error, "x")
                deferred_tasklet(error)("x")
                neap.succeed():fork():add_callback(error)
            end)
            schedule()
            collect()
            local at = {}
            for i, e in ipairs(errors) do
                at[i] = tonumber(e.traceback:match("in a deferred made at .*_spec.lua:(%d+)"))
            end
            table.sort(at)
            assert.same({ line + 2, line + 3, line + 4, line + 5 }, at)
        end)
    end)
end)

describe("flush_unhandled", function()
    it("collects, and gives the failures, which are then not reported", function()
        unhandled(function(errors)
            drop(function()
                neap.fail("x")
                neap.fail("handled"):add_errback(function() end)
                deferred():cancel()
            end)
            local got = neap.flush_unhandled()
            assert.equal(1, #got)
            assert.equal("x", got[1].value)
            assert.same({}, neap.flush_unhandled())
            collect()
            assert.equal(0, #errors)
        end)
    end)

    it("leaves what somebody holds", function()
        local d = neap.fail("x")
        assert.same({}, neap.flush_unhandled())
        assert.equal("x", d:add_errback(value_of):wait())
    end)
end)

describe("a program with a failure that nobody handles", function()
    local ends = program.run

    it("reports it once at the end, where the deferred was made, and its status is 1", function()
        local status, output, name = ends 'kept = neap.fail("x")'
        assert.equal(1, status)
        assert.equal(("neap: Unhandled error in Deferred: x\n" ..
            "in a deferred made at %s:1\n"):format(name), output)
    end)

    it("reports one that is collected at once, with its traceback", function()
        local status, output = ends [[
            local function the_culprit() error("boom") end
            deferred():add_callback(function() the_culprit() end):callback()
            collectgarbage()
            sleep(0)
            print "goes on"
        ]]
        assert.equal(1, status)
        assert.matches("^neap: Unhandled error in Deferred: .*boom\n.*the_culprit.*goes on\n$",
            output)
        assert.equal(1, program.count(output, "Unhandled"))
    end)

    it("and flushes it: nothing is said, and the status is 0", function()
        local status, output = ends [[
            neap.fail("x")
            print(#neap.flush_unhandled())
        ]]
        assert.same({ 0, "1\n" }, { status, output })
    end)

    it("with a handler: the status is 0", function()
        local status, output = ends [[
            neap.on_error(function(t, err, trace) print(t, err, trace:match "made at") end)
            kept = neap.fail("x")
        ]]
        assert.same({ 0, "nil\tx\tmade at\n" }, { status, output })
    end)
end)
