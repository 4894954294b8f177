-- Errors: the classes, neap.pcall and must, on_error, and what the program prints and
-- gives as its exit status when nobody handles one.

local program = require "spec.support.program"
local record = require "spec.support.record"
local count, run = program.count, program.run
local error_of, unhandled = record.error_of, record.unhandled

local CLASSES = {
    "Interrupted", "CancelledError", "TimeoutError", "AlreadyCalledError", "ClosedError",
    "DeadlockError", "FirstError",
}

describe("an error class", function()
    it("makes errors, which is() tells", function()
        for _, name in ipairs(CLASSES) do
            local class = neap[name]
            local err = class("some text")
            assert.is_true(neap.is(err, class))
            assert.equal("some text", tostring(err))
            assert.equal(name, tostring(class))
            assert.equal(name, tostring(class()))
            assert.equal(name, class.__name)
            for _, other in ipairs(CLASSES) do
                assert.equal(other == name, neap.is(err, neap[other]))
            end
            assert.is_false(neap.is(err, neap.TaskletExit))
        end
    end)

    it("is() takes anything", function()
        for _, v in ipairs { "TimeoutError", 1, true, {}, print, setmetatable({}, {}) } do
            assert.is_false(neap.is(v, neap.TimeoutError))
            assert.is_true(neap.is(v, v))
        end
        assert.is_false(neap.is(nil, neap.TimeoutError))
    end)

    it("TaskletExit is one value", function()
        assert.is_true(neap.is(neap.TaskletExit, neap.TaskletExit))
        assert.equal("TaskletExit", tostring(neap.TaskletExit))
        assert.is_false(neap.is(setmetatable({}, neap.TaskletExit), neap.TaskletExit))
    end)
end)

describe("neap.pcall", function()
    it("is pcall", function()
        assert.same(table.pack(true, 1, nil), table.pack(neap.pcall(function() return 1, nil end)))
        assert.same(table.pack(true), table.pack(neap.pcall(function() end)))
        assert.same({ false, "x" }, { neap.pcall(error, "x") })
        assert.same(table.pack(false, nil), table.pack(neap.pcall(error)))
        assert.is_false((neap.pcall(nil)))
        assert.has_error(function() neap.pcall() end)
        assert.same({ true, "a", "b" }, { neap.pcall(schedule, "a", "b") })
    end)

    it("lets the end of a tasklet through", function()
        for _, err in ipairs { neap.TaskletExit, neap.Interrupted("x") } do
            local ok, got = pcall(neap.pcall, error, err)
            assert.is_false(ok)
            assert.equal(err, got)
        end
        local ch, after = channel(), false
        local t = spawn(function()
            neap.pcall(ch.receive, ch)
            after = true
        end)
        schedule()
        t:kill()
        assert.is_false(t.alive or after)
    end)

    it("a loop around it can be killed, and survives other errors", function()
        local ch, caught = channel(), 0
        local t = spawn(function()
            while true do
                if not neap.pcall(ch.receive, ch) then caught = caught + 1 end
            end
        end)
        schedule()
        t:throw("x")
        ch:send_exception("y")
        assert.equal(2, caught)
        t:kill()
        assert.is_false(t.alive)
    end)
end)

describe("must", function()
    it("gives its arguments", function()
        assert.same(table.pack(1, nil, "x", nil), table.pack(neap.must(1, nil, "x", nil)))
        assert.is_true(neap.must(true))
    end)

    it("raises text and code", function()
        for _, falsy in ipairs { false, "nil" } do
            local ok, err = pcall(neap.must, falsy ~= "nil" and falsy or nil,
                "connect: refused", "ECONNREFUSED")
            assert.is_false(ok)
            assert.equal("connect: refused", tostring(err))
            assert.equal("ECONNREFUSED", err.code)
        end
        local err = select(2, pcall(neap.must, nil, "no code"))
        assert.equal("no code", tostring(err))
        assert.is_nil(err.code)
    end)

    it("a failure's check finds the code", function()
        local d = deferred_tasklet(neap.must)(nil, "text", "ENOENT")
        assert.equal("ENOENT",
            d:add_errback(function(f) return f:check("EPIPE", "ENOENT") end):wait())
    end)
end)

describe("on_error", function()
    it("gets the tasklet, the error itself and the traceback", function()
        unhandled(function(errors)
            local err = {}
            local function the_culprit() error(err) end
            local t = spawn(function() the_culprit() end)
            t.name = "worker"
            schedule()
            assert.equal(1, #errors)
            assert.equal(t, errors[1].tasklet)
            assert.equal(err, errors[1].value)
            assert.matches("the_culprit", errors[1].traceback)
            assert.matches("in tasklet " .. t.id .. " %(worker%), spawned at .*error_spec%.lua:%d+",
                errors[1].traceback)
        end)
    end)

    it("errors of any type, nil too", function()
        unhandled(function(errors)
            for _, v in ipairs { 1, true, print, {} } do spawn(error, v) end
            spawn(error)
            schedule()
            assert.equal(5, #errors)
            assert.equal(1, errors[1].value)
            assert.equal(print, errors[3].value)
            assert.is_nil(errors[5].value)
            assert.is_string(errors[5].traceback)
        end)
    end)

    it("the others go on", function()
        unhandled(function(errors)
            local log = record.log()
            for i = 1, 5 do
                spawn(function()
                    if i % 2 == 0 then error("x") end
                    schedule()
                    log(i)
                end)
            end
            schedule()
            schedule()
            assert.equal("1 3 5", tostring(log))
            assert.equal(2, #errors)
        end)
    end)

    it("not what a joiner waits for, nor TaskletExit", function()
        unhandled(function(errors)
            spawn(error, "x"):join()
            spawn(error, neap.TaskletExit)
            schedule()
            assert.equal(0, #errors)
        end)
    end)

    it("the traceback follows a failure to where it was raised first", function()
        unhandled(function(errors)
            local function first_place() error("x", 0) end
            local function second_place(d) block_on(d) end
            spawn(function() second_place(deferred_tasklet(function() first_place() end)()) end)
            for _ = 1, 4 do schedule() end
            assert.equal(1, #errors)
            local text = errors[1].traceback
            local second, first = text:find("second_place", 1, true),
                text:find("first_place", 1, true)
            assert.is_truthy(first and second and second < first)
        end)
    end)

    it("an error raised in a coroutine has its place in the message", function()
        unhandled(function(errors)
            spawn(function() coroutine.wrap(function() error("inner") end)() end)
            schedule()
            assert.matches("error_spec%.lua:%d+: inner$", errors[1].value)
            assert.matches("error_spec%.lua", errors[1].traceback)
        end)
    end)

    it("the traceback goes through nested coroutines, the innermost first", function()
        unhandled(function(errors)
            local function the_culprit()
                schedule()
                error("inner")
            end
            local function in_the_middle() coroutine.wrap(function() the_culprit() end)() end
            local function outside()
                for _ in coroutine.wrap(function() in_the_middle() end) do schedule() end
            end
            spawn(function() outside() end)
            schedule()
            schedule()
            local text, last = errors[1].traceback, 0
            for _, part in ipairs {
                "^stack traceback:\n\t%[C%]: in function 'error'\n\t[^\n]+ 'the_culprit'\n",
                "\nin the coroutine resumed by\nstack traceback:\n[^:]+: in [^\n]+"
                    .. "\n[^\n]+ 'in_the_middle'\n",
                "\nin the coroutine resumed by\nstack traceback:\n[^:]+: in [^\n]+"
                    .. "\n[^\n]+ 'outside'\n",
                "\nin tasklet %d+, spawned at ",
            } do
                local first, after = text:find(part, math.max(last - 1, 1))
                assert.is_truthy(first, part .. text)
                last = after
            end
        end)
    end)

    it("it is that of the error at hand, not of one that was caught before", function()
        unhandled(function(errors)
            local function caught() error("caught") end
            spawn(function()
                pcall(coroutine.wrap(function() caught() end))
                error("other", 0)
            end)
            spawn(function()
                local ok, err = pcall(coroutine.wrap(function() caught() end))
                assert(not ok)
                error(err, 0) -- the same again: it is
            end)
            spawn(function()
                coroutine.wrap(function()
                    local _ <close> = setmetatable({}, { __close = function()
                        error("closing", 0)
                    end })
                    caught()
                end)()
            end)
            schedule()
            assert.equal(3, #errors)
            assert.is_nil(errors[1].traceback:find("caught", 1, true))
            assert.matches("'caught'", errors[2].traceback)
            assert.equal("closing", errors[3].value:match("closing$"))
            assert.is_nil(errors[3].traceback:find("'caught'", 1, true))
        end)
    end)

    it("very deep in very many coroutines it is cut, not lost", function()
        unhandled(function(errors)
            local function deep(n) return n > 0 and 1 + deep(n - 1) or error("deep", 0) end
            local function nested(n)
                if n == 0 then deep(1000) end
                coroutine.wrap(nested)(n - 1)
            end
            spawn(nested, 100)
            schedule()
            assert.matches("deep$", errors[1].value)
            assert.matches("'deep'\n\t%.%.%.\n", errors[1].traceback)
            assert.is_true(#errors[1].traceback < 8192)
        end)
    end)

    it("load() gives a reader's error to the script as it is", function()
        local got = spawn(function()
            return { load(function() error("reader", 0) end) }
        end)
        assert.same({ true, { nil, "reader" } }, { got:join() })
        local err = {}
        got = spawn(function() return { load(function() error(err) end) } end)
        assert.equal(err, select(2, got:join())[2])
        got = spawn(function() return { load(("("):rep(500)) } end)
        assert.matches("overflow", select(2, got:join())[2])
    end)

    it("the handler is reactor code", function()
        local text, inside
        neap.on_error(function()
            inside = neap.in_reactor()
            text = error_of(schedule)
        end)
        spawn(error, "x")
        schedule()
        neap.on_error(nil)
        assert.is_true(inside)
        assert.equal("Cannot block in reactor task", text)
        assert.is_false(neap.in_reactor())
    end)

    it("the handler may spawn, and send to one who waits", function()
        local log, ch = record.log(), channel()
        spawn(function() log(ch:receive()) end)
        schedule()
        neap.on_error(function(_, err)
            spawn(log, "spawned")
            ch:send(err)
        end)
        spawn(error, "sent")
        schedule()
        schedule()
        neap.on_error(nil)
        table.sort(log)
        assert.equal("sent spawned", tostring(log))
    end)

    it("wants a function or nil", function()
        assert.has_error(function() neap.on_error(1) end)
        assert.has_error(function() neap.on_error({}) end)
    end)
end)

describe("the program, an error that nobody handles:", function()
    it("one report with traceback and spawn site; the others go on; status 1", function()
        local status, output, name = run [[
            local function the_culprit() error("boom") end
            spawn(function()
                the_culprit()
            end).name = "worker"
            spawn(function()
                schedule()
                print("still there")
            end)
        ]]
        assert.equal(1, status)
        assert.equal(1, count(output, "boom"))
        assert.equal(1, count(output, "neap: " .. name .. ":1: boom\nstack traceback:\n"))
        assert.matches("in upvalue 'the_culprit'", output)
        assert.equal(1, count(output, "(worker), spawned at " .. name .. ":2"))
        assert.equal(1, count(output, "still there\n"))
    end)

    it("with on_error: nothing is printed, status 0", function()
        local status, output = run [[
            neap.on_error(function(t, err) print("handled", t.name, err) end)
            spawn(error, "x").name = "w"
        ]]
        assert.equal("handled\tw\tx\n", output)
        assert.equal(0, status)
    end)

    it("errors in the handler are reported, with what it was called for", function()
        local status, output = run [[
            neap.on_error(function() error("the handler") end)
            spawn(error, "the original")
        ]]
        assert.equal(1, status)
        assert.equal(1, count(output, "the handler"))
        assert.equal(1, count(output, "the original"))
        status, output = run [[
            neap.on_error(function() sleep(0) end)
            spawn(error, "the original")
        ]]
        assert.equal(1, status)
        assert.equal(1, count(output, "Cannot block in reactor task"))
    end)

    it("on_error(nil) brings the report back", function()
        local status, output = run [[
            neap.on_error(print)
            neap.on_error(nil)
            spawn(error, "x")
        ]]
        assert.equal(1, status)
        assert.matches("^neap: x\n", output)
    end)

    it("values that are no strings", function()
        for value, expected in pairs {
            ["{}"] = "(error object is a table value)",
            ["nil"] = "(error object is a nil value)",
            ["42"] = "42",
            ["setmetatable({}, { __tostring = function() return 'own text' end })"] = "own text",
            ["neap.TimeoutError('late')"] = "late",
        } do
            for _, form in ipairs { "error(%s)", "spawn(error, %s)" } do
                local status, output = run(form:format(value))
                assert.equal(1, status)
                assert.equal(1, count(output, "neap: " .. expected .. "\n"), output)
            end
        end
    end)

    it("one whose text fails", function()
        local status, output = run [[
            spawn(error, setmetatable({}, { __tostring = function() error("no") end }))
            spawn(print, "still there")
        ]]
        assert.equal(1, status)
        assert.matches("^neap: %(error object whose __tostring fails: [^\n]+: no%)\n", output)
        assert.matches("still there\n", output)
        output = select(2, run [[
            spawn(error, setmetatable({}, { __tostring = function() sleep(0) end }))
        ]])
        assert.matches("^neap: [^\n]+ fails: [^\n]+: Cannot block in reactor task%)\n", output)
        output = select(2, run [[
            error(setmetatable({}, { __tostring = function() return 5 end }))
        ]])
        assert.matches("^neap: %(error object is a table value%)\n", output) -- as in lua
    end)

    it("overflows of the stack, an error in the handler: as in lua", function()
        for script, expected in pairs {
            ["local function f() return 1 + f() end f()"] = ":1: stack overflow\nstack traceback:",
            ["local t = setmetatable({}, { __index = function(t, k) return t[k] end }) t(t.x)"] =
                ":1: C stack overflow\nstack traceback:",
            ["string.rep('x', 1 << 40)"] = "resulting string too large\nstack traceback:",
            ["error((select(2, xpcall(error, error))), 0)"] = "neap: error in error handling\n",
        } do
            for _, form in ipairs { "%s", "spawn(function() %s end)" } do
                local status, output = run(form:format(script))
                assert.equal(1, status)
                assert.equal(1, count(output, expected), output)
            end
        end
    end)

    it("one raised in the cleanup of a kill", function()
        local status, output = run [[
            local t = spawn(function()
                local _ <close> = setmetatable({}, { __close = function() error("cleanup") end })
                channel():receive()
            end)
            schedule()
            t:kill()
            print("killer goes on")
        ]]
        assert.equal(1, status)
        assert.equal(1, count(output, "cleanup\n"))
        assert.equal(1, count(output, "killer goes on\n"))
    end)

    it("one that two joiners got is no report", function()
        local status, output = run [[
            local t = spawn(error, "x")
            for i = 1, 2 do spawn(function() print(t:join()) end) end
            t:remove()
            schedule()
            t:insert()
        ]]
        assert.equal("false\tx\nfalse\tx\n", output)
        assert.equal(0, status)
    end)
end)

describe("the program, an error of main:", function()
    it("ends it at once with status 1", function()
        local status, output, name = run [[
            spawn(function()
                sleep(60)
                print("not reached")
            end)
            schedule()
            error("main")
        ]]
        assert.equal(1, status)
        assert.equal(1, count(output, "neap: " .. name .. ":6: main\nstack traceback:\n"))
        assert.equal(0, count(output, "not reached"))
    end)

    it("never goes to on_error", function()
        local status, output = run [[
            neap.on_error(function() print("handler") end)
            error("main", 0)
        ]]
        assert.equal(1, status)
        assert.matches("^neap: main\n", output)
        assert.equal(0, count(output, "handler"))
    end)

    it("closes the variables of the others", function()
        local status, output = run [[
            spawn(function()
                local _ <close> = setmetatable({}, { __close = function() print("closed") end })
                channel():receive()
            end)
            schedule()
            error("main")
        ]]
        assert.equal(1, status)
        assert.equal(1, count(output, "closed\n"))
    end)

    it("TaskletExit is a real one there", function()
        for _, script in ipairs {
            "error(neap.TaskletExit)",
            "neap.getcurrent():kill()",
            "local main = neap.getmain() spawn(function() main:kill() end) sleep(60)",
        } do
            local status, output = run(script)
            assert.equal(1, status)
            assert.equal(1, count(output, "neap: TaskletExit"))
        end
    end)

    it("a syntax error, too", function()
        local status, output = run "spawn("
        assert.equal(1, status)
        assert.matches("^neap: .*unexpected symbol", output)
    end)

    it("lists no tasklets: it is no deadlock", function()
        local status, output = run [[
            spawn(sleep, 60)
            schedule()
            error("main")
        ]]
        assert.equal(1, status)
        assert.equal(0, count(output, "waits"))
    end)
end)

describe("the program, deferreds:", function()
    it("a failure that nobody took is reported when it is collected", function()
        local status, output, name = run [[
            do
                local function the_culprit() error("boom") end
                neap.succeed():add_callback(function() the_culprit() end)
            end
            collectgarbage()
            collectgarbage()
            sleep(0)
            print("main goes on")
        ]]
        assert.equal(1, status)
        assert.equal(1, count(output, "Unhandled error in Deferred: " .. name .. ":2: boom\n"))
        assert.matches("the_culprit", output)
        assert.is_true(output:find("Unhandled") < output:find("main goes on"))
    end)

    it("or else at the end, once", function()
        local status, output = run [[
            kept = neap.fail("boom")
            deferred_tasklet(error)("worker")
        ]]
        assert.equal(1, status)
        assert.equal(1, count(output, "Unhandled error in Deferred: boom"))
        assert.equal(1, count(output, "Unhandled error in Deferred: worker"))
    end)

    it("handled ones and CancelledError are not", function()
        local status, output = run [[
            neap.fail("a"):add_errback(function() end)
            pcall(block_on, neap.fail("b"))
            deferred():cancel()
            deferred_tasklet(function() end)():cancel()
            local d = deferred_tasklet(function() channel():receive() end)()
            schedule()
            d.tasklet:kill()
        ]]
        assert.equal("", output)
        assert.equal(0, status)
    end)
end)

describe("the program, everything waits:", function()
    it("DeadlockError in main, which may catch it", function()
        local status, output = run [[
            local ok, err = pcall(function() channel():receive() end)
            print(ok, neap.is(err, neap.DeadlockError), err)
        ]]
        assert.equal("false\ttrue\tDeadlock: the last runnable tasklet cannot be blocked.\n",
            output)
        assert.equal(0, status)
    end)

    it("uncaught it ends the program with status 1", function()
        local status, output = run [[
            print("before")
            channel():receive()
            print("not reached")
        ]]
        assert.equal(1, status)
        assert.matches("^before\n", output)
        assert.equal(1, count(output,
            "neap: Deadlock: the last runnable tasklet cannot be blocked.\n"))
        assert.matches("in method 'receive'", output)
        assert.equal(0, count(output, "not reached"))
    end)

    it("at every kind of wait, a pause too", function()
        for _, wait in ipairs {
            "channel():send(1)", "deferred():wait()", "neap.schedule_remove()",
            "local c = channel(1) c:send(1) c:send(2)",
        } do
            local status, output = run("print(pcall(function() " .. wait .. " end))")
            assert.equal("false\tDeadlock: the last runnable tasklet cannot be blocked.\n",
                output, wait)
            assert.equal(0, status, wait)
        end
        -- a paused tasklet keeps nothing alive, and is named
        local status, output = run [[
            local t = tasklet():bind(print, 1)
            print(pcall(t.join, t))
        ]]
        assert.equal(1, status)
        assert.matches("^false\tDeadlock: the last runnable", output)
        assert.matches("waits: paused\n", output)
    end)

    it("those who are left when main has returned are named", function()
        local status, output, name = run [[
            local ch = channel()
            local function stuck() ch:receive() end
            spawn(function() stuck() end).name = "reader"
            spawn(function() deferred():wait() end).name = "waiter"
            print("main returns")
        ]]
        assert.equal(1, status)
        assert.equal(1, count(output, "Deadlock: the last runnable tasklet cannot be blocked."))
        local place = ", at " .. name
        assert.equal(1, count(output, "(reader) waits: receive on a channel" .. place .. ":2\n"))
        assert.equal(1, count(output, "(waiter) waits: deferred" .. place .. ":4\n"))
        assert.matches("in upvalue 'stuck'", output)
        assert.equal(1, count(output, "spawned at " .. name .. ":3\n"))
    end)

    it("a timer is no deadlock", function()
        local status, output = run [[
            local ch = channel()
            spawn(function()
                sleep(0.01)
                ch:send("in time")
            end)
            print(ch:receive())
            spawn(function()
                sleep(0.01)
                print("after main")
            end)
        ]]
        assert.equal("in time\nafter main\n", output)
        assert.equal(0, status)
    end)
end)

describe("the program's exit status", function()
    it("is 0 when all is well, and os.exit's otherwise", function()
        for script, expected in pairs {
            [""] = 0,
            ["return 5"] = 0,
            ["spawn(function() schedule() end)"] = 0,
            ["os.exit(3)"] = 3,
            ["os.exit(3, true)"] = 3,
            ["os.exit(true)"] = 0,
            ["os.exit(false, true)"] = 1,
            ["spawn(os.exit, 4) sleep(60)"] = 4,
            ["spawn(os.exit, 4, true) sleep(60)"] = 4,
            ["neap.succeed():add_callback(function() os.exit(6, true) end)"] = 6,
            ["coroutine.wrap(function() spawn(error, 'x') schedule() os.exit(7) end)()"] = 7,
        } do
            local status, output = run(script)
            assert.equal(expected, status, script .. output)
        end
    end)
end)

describe("an error that was never raised elsewhere", function()
    it("is reported as it is", function()
        record.unhandled(function(errors)
            local d = deferred()
            local t = spawn(function() d:wait() end)
            schedule()
            t:kill() -- cancels it
            spawn(function() d:wait() end)
            schedule()
            assert.equal(1, #errors)
            assert.equal("cancelled", tostring(errors[1].value))
        end)
    end)
end)
