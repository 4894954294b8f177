-- Tasklets: how they begin, run and end, and what a script can ask of them.

local program = require "spec.support.program"
local record = require "spec.support.record"
local error_of, unhandled = record.error_of, record.unhandled

local UNBOUND = "You cannot run an unbound(dead) tasklet"

local function nothing() end

-- The flags of the life cycle table that are set.
local function state(t)
    local set = {}
    for _, flag in ipairs { "alive", "paused", "scheduled", "blocked", "current" } do
        if t[flag] then set[#set + 1] = flag end
    end
    return table.concat(set, " ")
end

-- Waits on a channel of its own.
local function blocked(f)
    local ch = channel()
    local t = spawn(f or function() return ch:receive() end, ch)
    schedule()
    return t, ch
end

describe("tasklet states", function()
    it("not alive without arguments", function()
        assert.equal("", state(tasklet()))
        assert.equal("", state(tasklet(nothing)))
        assert.equal("", state(tasklet():bind(nothing)))
        assert.equal("", state(tasklet(nothing):bind(nil)))
    end)

    it("paused when bound with arguments", function()
        local t = tasklet():bind(nothing, 1)
        assert.equal("alive paused", state(t))
        t:kill()
    end)

    it("scheduled by a call, setup and insert", function()
        local t = tasklet(nothing)()
        assert.equal("alive scheduled", state(t))
        local u = tasklet(nothing):setup(1)
        assert.equal("alive scheduled", state(u))
        local v = tasklet():bind(nothing, 1):insert()
        assert.equal("alive scheduled", state(v))
    end)

    it("current is scheduled too", function()
        assert.equal("alive scheduled current", state(neap.getcurrent()))
    end)

    it("blocked counts as scheduled", function()
        local t = blocked()
        assert.equal("alive scheduled blocked", state(t))
        t:kill()
        local sleeper = spawn(sleep, 60)
        schedule()
        assert.equal("alive scheduled blocked", state(sleeper))
        sleeper:kill()
    end)

    it("a completed transfer leaves it scheduled", function()
        local t, ch = blocked()
        ch:try_send(1)
        assert.equal("alive scheduled", state(t))
    end)

    it("a pending kill or throw leaves it scheduled", function()
        for _, how in ipairs { "kill", "throw" } do
            local t, ch = blocked(function(ch) pcall(ch.receive, ch) end)
            if how == "kill" then t:kill(true) else t:throw("x", true) end
            assert.equal("alive scheduled", state(t))
            assert.equal(0, ch.balance)
        end
    end)

    it("removed is paused", function()
        local t = spawn(nothing):remove()
        assert.equal("alive paused", state(t))
        t:kill()
        local u = spawn(neap.schedule_remove)
        schedule()
        assert.equal("alive paused", state(u))
        u:kill()
    end)

    it("the caller of switch is paused", function()
        local me, seen = neap.getcurrent(), nil
        spawn(function()
            seen = state(me)
            me:insert()
        end):switch()
        assert.equal("alive paused", seen)
    end)

    it("dead after a return, an error and a kill", function()
        unhandled(function(errors)
            local returned, raised, killed = spawn(nothing), spawn(error, "x"), blocked()
            killed:kill()
            schedule()
            assert.same({ "", "", "" }, { state(returned), state(raised), state(killed) })
            assert.equal(1, #errors)
        end)
    end)
end)

describe("bind", function()
    it("takes what can be called, or nil", function()
        local text = "tasklet function must be a callable or None"
        assert.equal(text, error_of(tasklet, 1))
        assert.equal(text, error_of(tasklet().bind, tasklet(), {}))
        local callable = setmetatable({}, { __call = function(_, v) return v end })
        assert.same({ true, 7 }, { tasklet(callable)(7):join() })
        assert.same({ true, 8 }, { tasklet():bind(callable)(8):join() })
    end)

    it("a function given with arguments is for one life: no older one comes back", function()
        local ran = {}
        local function old() ran[#ran + 1] = "old" end
        local function new() ran[#ran + 1] = "new" end
        for _, f in ipairs { new, false } do
            local t = tasklet(old):bind(f or nil, 1)
            t:run()
            assert.is_false(t.alive)
            assert.equal("You cannot run an unbound(dead) tasklet", error_of(t, 2))
            assert.equal("the tasklet was not bound to a function", error_of(t.bind, t, nil, 2))
        end
        assert.same({ "new", "old" }, ran)
    end)

    it("returns the tasklet", function()
        local t = tasklet()
        assert.equal(t, t:bind(nothing))
        assert.equal(t, t:bind(nil))
    end)

    it("refuses the current one, a scheduled and a blocked one", function()
        local me = neap.getcurrent()
        assert.equal("can't (re)bind the current tasklet", error_of(me.bind, me, nothing))
        local t = spawn(nothing)
        assert.equal("tasklet is scheduled", error_of(t.bind, t, nothing))
        local b = blocked()
        assert.equal("tasklet is scheduled", error_of(b.bind, b, nil))
        b:kill()
    end)

    it("refuses a paused main tasklet", function()
        local status, output = program.run [[
            local main = neap.getmain()
            spawn(function()
                print(pcall(main.bind, main, nil))
                main:insert()
            end)
            neap.schedule_remove()
            print("main goes on")
        ]]
        assert.equal("false\tcan't (re)bind the main tasklet\nmain goes on\n", output)
        assert.equal(0, status)
    end)

    it("keeps the function when only arguments are given", function()
        local t = tasklet(function(...) return ... end)
        assert.equal(t, t:bind(nil, 3, nil))
        assert.equal("alive paused", state(t))
        assert.same({ true, 3, nil }, { t:insert():join() })
        assert.equal(3, select("#", t:join()))
    end)

    it("refuses arguments for no function", function()
        local t = tasklet()
        assert.equal("the tasklet was not bound to a function", error_of(t.bind, t, nil, 1))
        assert.equal("", state(t))
    end)

    it("drops a half-run tasklet without running its cleanup", function()
        local cleaned = false
        local t = spawn(function()
            local _ <close> = setmetatable({}, { __close = function() cleaned = true end })
            neap.schedule_remove()
        end)
        schedule()
        t:bind(nil)
        collectgarbage()
        assert.is_false(cleaned)
        assert.equal("", state(t))
        assert.equal(UNBOUND, error_of(t.run, t))
    end)

    it("gives a dead tasklet a second life", function()
        local t = tasklet(function(v) return v end)(1)
        assert.same({ true, 1 }, { t:join() })
        t:bind(function(v) return v * 2 end)
        assert.equal("", state(t))
        assert.same({ true, 10 }, { t(5):join() })
    end)

    it("forgets how the former life ended", function()
        unhandled(function(errors)
            local t = spawn(error, "first")
            schedule()
            assert.same({ false, "first" }, { t:join() })
            t:bind(nothing)()
            schedule()
            assert.same({ true }, { t:join() })
            assert.equal(1, #errors)
        end)
    end)
end)

describe("setup", function()
    it("queues at the end and returns the tasklet", function()
        local log = record.log()
        spawn(log, "first")
        local t = tasklet(log)
        assert.equal(t, t:setup("second"))
        schedule()
        assert.equal("first second", tostring(log))
    end)

    it("hands all arguments over", function()
        local got
        tasklet(function(...) got = table.pack(...) end)(nil, 2, nil)
        schedule()
        assert.same({ nil, 2, nil, n = 3 }, got)
    end)

    it("needs no reference kept", function()
        local ran = false
        do tasklet(function() ran = true end)() end
        collectgarbage()
        collectgarbage()
        schedule()
        assert.is_true(ran)
    end)

    it("refuses a live one", function()
        local t = spawn(nothing)
        assert.equal("tasklet is alive", error_of(t.setup, t))
        assert.equal("tasklet is alive", error_of(t))
        local b = blocked()
        assert.equal("tasklet is alive", error_of(b))
        b:kill()
    end)

    it("refuses one without a function and a dead one", function()
        assert.equal(UNBOUND, error_of(tasklet()))
        assert.equal(UNBOUND, error_of(tasklet(nothing):bind(nil)))
        local t = spawn(nothing)
        schedule()
        assert.equal(UNBOUND, error_of(t))
        assert.equal(UNBOUND, error_of(t.setup, t))
    end)

    it("a wrong argument shows only when it runs", function()
        unhandled(function(errors)
            local t = tasklet(function(x) return x.field end)()
            assert.equal(0, #errors)
            schedule()
            assert.equal(1, #errors)
            assert.equal(t, errors[1].tasklet)
            assert.matches("attempt to index a nil value", errors[1].value)
        end)
    end)
end)

describe("spawn", function()
    it("is tasklet(f)(...)", function()
        local t = spawn(function(...) return ... end, 1, nil, 3)
        assert.equal("alive scheduled", state(t))
        assert.same({ true, 1, nil, 3 }, { t:join() })
    end)

    it("wants a function", function()
        assert.matches("function expected", error_of(spawn))
        assert.matches("function expected", error_of(spawn, 1))
    end)

    it("keeps a live tasklet that nobody refers to", function()
        local ran = false
        local ch = setmetatable({}, { __mode = "v" })
        do
            local own = channel()
            ch[1] = own
            spawn(function()
                own:receive()
                ran = true
            end)
        end
        schedule()
        collectgarbage()
        collectgarbage()
        assert.equal(-1, ch[1].balance)
        ch[1]:send()
        assert.is_true(ran)
    end)
end)

describe("insert and remove", function()
    it("insert puts at the end, once", function()
        local log = record.log()
        local t = tasklet():bind(log, "t")
        assert.equal(t, t:insert())
        spawn(log, "u")
        assert.equal(t, t:insert())
        schedule()
        assert.equal("t u", tostring(log))
    end)

    it("insert refuses a blocked, an unbound and a dead one", function()
        local b = blocked()
        assert.equal("You cannot run a blocked tasklet", error_of(b.insert, b))
        b:kill()
        assert.equal(UNBOUND, error_of(b.insert, b))
        local t = tasklet(nothing)
        assert.equal(UNBOUND, error_of(t.insert, t))
    end)

    it("insert of the current one does nothing", function()
        local me, n = neap.getcurrent(), neap.getruncount()
        assert.equal(me, me:insert())
        assert.equal(n, neap.getruncount())
    end)

    it("remove takes it out; run still works", function()
        local log = record.log()
        local t = spawn(log, "t")
        assert.equal(t, t:remove())
        assert.equal(t, t:remove())
        schedule()
        assert.equal("", tostring(log))
        t:run()
        assert.equal("t", tostring(log))
        assert.equal(t, t:remove())
    end)

    it("remove refuses a blocked and the current one", function()
        local b, me = blocked(), neap.getcurrent()
        assert.equal("You cannot remove a blocked tasklet.", error_of(b.remove, b))
        assert.equal("The current tasklet cannot be removed.", error_of(me.remove, me))
        b:kill()
    end)
end)

describe("run and switch", function()
    it("refuse a blocked, an unbound and a dead one", function()
        local b, unbound = blocked(), tasklet()
        for _, method in ipairs { "run", "switch" } do
            assert.equal("You cannot run a blocked tasklet", error_of(b[method], b))
            assert.equal(UNBOUND, error_of(unbound[method], unbound))
        end
        b:kill()
        assert.equal(UNBOUND, error_of(b.run, b))
        assert.equal(UNBOUND, error_of(b.switch, b))
    end)

    it("run discards the results", function()
        assert.equal(0, select("#", spawn(function() return 1, 2 end):run()))
    end)

    it("run of the current one does nothing", function()
        local me = neap.getcurrent()
        spawn(nothing):remove():kill()
        assert.equal(0, select("#", me:run()))
        assert.equal(0, select("#", me:switch()))
        assert.equal("alive scheduled current", state(me))
    end)

    it("an error of the one that was run is not the caller's", function()
        unhandled(function(errors)
            spawn(error, "its own"):run()
            assert.equal("its own", errors[1].value)
        end)
    end)

    it("switch pauses the caller until somebody inserts it", function()
        local log, me = record.log(), neap.getcurrent()
        local t = spawn(function()
            log "t"
            schedule()
            log "t again"
            me:insert()
        end)
        t:switch()
        log "back"
        assert.equal("t t again back", tostring(log))
    end)
end)

describe("kill", function()
    it("runs the cleanup before the caller goes on", function()
        local log = record.log()
        local t = blocked(function(ch)
            local _ <close> = setmetatable({}, { __close = function(_, err)
                log(err == neap.TaskletExit and "exit" or "?")
            end })
            ch:receive()
        end)
        spawn(log, "other")
        t:kill()
        log "killer"
        assert.equal("exit killer", tostring(log))
        assert.is_false(t.alive)
    end)

    it("of a dead, an unbound or a killed one does nothing", function()
        local t = spawn(nothing)
        t:kill()
        t:kill()
        tasklet():kill()
        tasklet(nothing):kill(true)
        assert.is_false(t.alive)
    end)

    it("of one that never ran: its function never runs", function()
        local ran = false
        local function f() ran = true end
        local t, u, v = spawn(f), tasklet():bind(f, 1), spawn(f)
        t:kill()
        u:kill()
        assert.is_false(t.alive or u.alive)
        v:kill { pending = true }
        assert.is_true(v.alive)
        schedule()
        assert.is_false(v.alive)
        assert.is_false(ran)
    end)

    it("pending leaves the channel at once and dies in its turn", function()
        local log = record.log()
        local t, ch = blocked(function(ch)
            log(select(2, pcall(ch.receive, ch)) == neap.TaskletExit and "exit")
        end)
        spawn(log, "before")
        t:kill(true)
        spawn(log, "after")
        assert.equal(0, ch.balance)
        assert.is_true(t.alive)
        assert.equal("", tostring(log))
        schedule()
        assert.equal("before exit after", tostring(log))
    end)

    it("of the current one raises at once, pending or not", function()
        local me = neap.getcurrent()
        for _, pending in ipairs { false, true } do
            local ok, err = pcall(me.kill, me, pending)
            assert.is_false(ok)
            assert.equal(neap.TaskletExit, err)
        end
    end)

    it("may be caught, and is gone then", function()
        local log = record.log()
        local t, ch = blocked(function(ch)
            log(pcall(ch.receive, ch) and "?" or "caught")
            log(ch:receive())
        end)
        t:kill()
        assert.equal("alive scheduled blocked", state(t))
        ch:send("alive")
        assert.equal("caught alive", tostring(log))
    end)

    it("cleanup may wait: kill returns and it goes on later", function()
        local log, gate = record.log(), channel()
        local t = blocked(function(ch)
            local _ <close> = setmetatable({}, { __close = function()
                log "cleanup"
                log(gate:receive())
                schedule()
                log "done"
            end })
            ch:receive()
        end)
        t:kill()
        log "killer"
        assert.is_true(t.alive)
        gate:send("gate")
        assert.equal("cleanup killer gate", tostring(log))
        assert.same({ false, neap.TaskletExit }, { t:join() })
        assert.equal("cleanup killer gate done", tostring(log))
    end)

    it("an error of the cleanup is not the killer's", function()
        unhandled(function(errors)
            local t = blocked(function(ch)
                local _ <close> = setmetatable({}, { __close = function() error("x", 0) end })
                ch:receive()
            end)
            t:kill()
            assert.equal(1, #errors)
            assert.equal("x", errors[1].value)
            assert.equal(t, errors[1].tasklet)
        end)
    end)

    it("ends silently", function()
        unhandled(function(errors)
            local t = blocked()
            t:kill()
            assert.same({ false, neap.TaskletExit }, { t:join() })
            assert.equal(0, #errors)
        end)
    end)

    it("reaches into a coroutine that waits", function()
        local log = record.log()
        local t = blocked(function(ch)
            coroutine.wrap(function()
                local _ <close> = setmetatable({}, { __close = function() log "inner" end })
                coroutine.wrap(function()
                    local _ <close> = setmetatable({}, { __close = function() log "innermost" end })
                    ch:receive()
                end)()
            end)()
        end)
        t:kill()
        assert.equal("innermost inner", tostring(log))
        assert.is_false(t.alive)
    end)

    it("is pending where the caller cannot wait", function()
        local log = record.log()
        local t = blocked(function(ch)
            pcall(ch.receive, ch)
            log "killed"
        end)
        table.sort({ 2, 1 }, function(a, b)
            t:kill()
            log(t.alive and "queued" or "dead")
            return a < b
        end)
        schedule()
        assert.equal("queued", log[1])
        assert.equal("killed", log[#log])
    end)

    it("of each of 1,000 in random order", function()
        local ch, all = channel(), {}
        for i = 1, 1000 do all[i] = spawn(ch.receive, ch) end
        schedule()
        for i = 1000, 2, -1 do
            local j = (i * 7919) % i + 1
            all[i], all[j] = all[j], all[i]
        end
        for i, t in ipairs(all) do
            t:kill()
            assert(ch.balance == i - 1000)
        end
        assert.same({}, ch.queue)
    end)
end)

describe("throw", function()
    it("raises where the tasklet waits, and the very value", function()
        local err, got = {}, nil
        local t, ch = blocked(function(ch) got = table.pack(pcall(ch.receive, ch)) end)
        t:throw(err)
        assert.same({ false, err, n = 2 }, got)
        assert.equal(err, got[2])
        assert.equal(0, ch.balance)
    end)

    it("whatever it waits for", function()
        local d, other = deferred(), spawn(neap.schedule_remove)
        local waits = {
            function() channel():receive() end,
            function() channel():send(1) end,
            function() sleep(60) end,
            function() d:wait() end,
            function() other:join() end,
            function() schedule() end,
            function() neap.schedule_remove() end,
        }
        for _, wait in ipairs(waits) do
            local got
            local t = spawn(function() got = table.pack(pcall(wait)) end)
            t:run()
            t:throw("thrown")
            assert.same({ false, "thrown", n = 2 }, got)
            assert.is_false(t.alive)
        end
        other:kill()
    end)

    it("needs a live one, unless it is TaskletExit", function()
        local dead = spawn(nothing)
        schedule()
        for _, t in ipairs { dead, tasklet(), tasklet(nothing) } do
            assert.equal("You cannot throw to a dead tasklet", error_of(t.throw, t, "x"))
            t:throw(neap.TaskletExit)
        end
    end)

    it("wants a value, which may be nil", function()
        local got
        local t = blocked(function(ch) got = table.pack(pcall(ch.receive, ch)) end)
        assert.matches("value expected", error_of(t.throw, t))
        t:throw(nil)
        assert.same({ false, nil, n = 2 }, got)
    end)

    it("into one that never ran is its own uncaught error", function()
        unhandled(function(errors)
            local ran = false
            local t = spawn(function() ran = true end)
            t:throw("early")
            assert.equal("early", errors[1].value)
            assert.equal(t, errors[1].tasklet)
            assert.is_false(t.alive or ran)
            spawn(function() ran = true end):throw("later", true)
            assert.equal(1, #errors)
            schedule()
            assert.equal("later", errors[2].value)
            assert.is_false(ran)
        end)
    end)

    it("twice pending: the last wins", function()
        local got
        local t = blocked(function(ch) got = table.pack(pcall(ch.receive, ch)) end)
        t:throw("one", true)
        t:throw("two", true)
        schedule()
        assert.same({ false, "two", n = 2 }, got)
        unhandled(function(errors)
            local new = spawn(nothing)
            new:throw("one", true)
            new:throw("two", true)
            schedule()
            assert.equal(1, #errors)
            assert.equal("two", errors[1].value)
        end)
    end)

    it("beats a value that was delivered and not yet taken", function()
        local got
        local t, ch = blocked(function(ch) got = table.pack(pcall(ch.receive, ch)) end)
        ch:try_send("value")
        t:throw("error", true)
        schedule()
        assert.same({ false, "error", n = 2 }, got)
    end)

    it("at the current one is an error here", function()
        local me = neap.getcurrent()
        assert.equal("x", error_of(me.throw, me, "x"))
        assert.equal("x", error_of(me.throw, me, "x", true))
    end)
end)

describe("join", function()
    it("gives the results, nils included", function()
        local t = spawn(function() return 1, nil, 3, nil end)
        assert.same(table.pack(true, 1, nil, 3, nil), table.pack(t:join()))
        assert.same(table.pack(true, 1, nil, 3, nil), table.pack(t:join()))
        assert.same(table.pack(true), table.pack(spawn(nothing):join()))
    end)

    it("gives the error, which counts as handled", function()
        unhandled(function(errors)
            local err = {}
            local ok, got = spawn(error, err):join()
            assert.is_false(ok)
            assert.equal(err, got)
            assert.same({ false, neap.TaskletExit }, { spawn(error, neap.TaskletExit):join() })
            assert.equal(0, #errors)
        end)
    end)

    it("answers all who wait", function()
        local t, ch = blocked()
        local got = {}
        for i = 1, 3 do spawn(function() got[i] = { t:join() } end) end
        schedule()
        ch:send("x")
        schedule()
        assert.same({ { true, "x" }, { true, "x" }, { true, "x" } }, got)
    end)

    it("runs out of time and leaves the tasklet alone", function()
        local t, ch = blocked()
        assert.same(table.pack(nil, "timeout"), table.pack(t:join(0)))
        assert.same({ nil, "timeout" }, { t:join(0.001) })
        ch:send("x")
        assert.same({ true, "x" }, { t:join(0) })
    end)

    it("refuses oneself", function()
        local me = neap.getcurrent()
        assert.equal("a tasklet cannot join itself", error_of(me.join, me))
    end)

    it("an error is unhandled when the joiner has gone", function()
        unhandled(function(errors)
            local t, ch = blocked(function(ch) error(ch:receive(), 0) end)
            local joiner = spawn(t.join, t)
            schedule()
            joiner:kill()
            ch:send("x")
            schedule()
            assert.equal("x", errors[1].value)
        end)
    end)
end)

describe("schedule_remove", function()
    it("pauses until somebody inserts it; gives tempval", function()
        local got
        local t = spawn(function() got = table.pack(neap.schedule_remove("own")) end)
        schedule()
        assert.equal("own", t.tempval)
        schedule()
        assert.is_nil(got)
        t:insert()
        schedule()
        assert.same({ "own", n = 1 }, got)
        t = spawn(function() got = table.pack(neap.schedule_remove("own")) end)
        schedule()
        t.tempval = "other"
        t:run()
        assert.same({ "other", n = 1 }, got)
    end)
end)

describe("schedule", function()
    it("returns its arguments", function()
        assert.same(table.pack(1, nil, 3, nil), table.pack(schedule(1, nil, 3, nil)))
        assert.equal(0, select("#", schedule()))
    end)
end)

describe("a tasklet's properties", function()
    it("unknown ones raise, and so does writing a read-only one", function()
        local t = tasklet()
        assert.has_error(function() return t.no_such_thing end)
        assert.has_error(function() t.no_such_thing = 1 end)
        assert.has_error(function() t.alive = true end)
        assert.has_error(function() t.id = 1 end)
    end)

    it("name is text or nil", function()
        local t = tasklet()
        assert.is_nil(t.name)
        t.name = "worker"
        assert.equal("worker", t.name)
        assert.equal(("tasklet %d (worker)"):format(t.id), tostring(t))
        t.name = nil
        assert.equal("tasklet " .. t.id, tostring(t))
        assert.has_error(function() t.name = {} end)
    end)

    it("ids are never used twice", function()
        local a, b = tasklet(), tasklet()
        assert.equal("integer", math.type(a.id))
        assert.is_true(b.id > a.id)
    end)

    it("locals is its own table", function()
        local a, b = tasklet(), tasklet()
        a.locals.x = 1
        collectgarbage()
        assert.equal(1, a.locals.x)
        assert.is_nil(b.locals.x)
        assert.equal(a.locals, a.locals)
    end)

    it("waiting_on says what it waits for", function()
        local d, other = deferred(), spawn(neap.schedule_remove)
        local waits = {
            receive = function() channel():receive() end,
            send = function() channel():send(1) end,
            sleep = function() sleep(60) end,
            deferred = function() d:wait() end,
            join = function() other:join() end,
        }
        for word, wait in pairs(waits) do
            local t = spawn(wait)
            assert.is_nil(t.waiting_on)
            t:run()
            assert.matches(word, t.waiting_on)
            t:kill()
            assert.is_nil(t.waiting_on)
        end
        assert.is_nil(other.waiting_on)
        assert.is_nil(neap.getcurrent().waiting_on)
        other:kill()
    end)

    it("is_main is the main tasklet's alone", function()
        assert.is_false(neap.getcurrent().is_main)
        assert.is_true(neap.getmain().is_main)
    end)
end)

describe("looking around", function()
    it("getcurrent is the running one", function()
        local seen
        local t = spawn(function() seen = neap.getcurrent() end)
        schedule()
        assert.equal(t, seen)
        local inner = coroutine.wrap(function() return neap.getcurrent() end)()
        assert.equal(neap.getcurrent(), inner)
    end)

    it("tasklets lists the live ones, oldest first", function()
        local before = #neap.tasklets()
        local made = { spawn(nothing), (blocked()), spawn(neap.schedule_remove), tasklet(nothing) }
        schedule()
        local now = neap.tasklets()
        assert.equal(before + 2, #now)
        assert.equal(made[2], now[#now - 1])
        assert.equal(made[3], now[#now])
        made[2]:kill()
        made[3]:kill()
        assert.equal(before, #neap.tasklets())
    end)

    it("a traceback shows the stack through coroutines, and the spawn site", function()
        local function innermost(ch) return (ch:receive()) end
        local function outermost(ch)
            return (coroutine.wrap(function() return (innermost(ch)) end)())
        end
        local t = blocked(function(ch) return (outermost(ch)) end)
        local text = t:traceback()
        local inner, outer = text:find("innermost", 1, true), text:find("outermost", 1, true)
        assert.is_truthy(inner and outer and inner < outer)
        assert.matches("spawned at .*tasklet_spec%.lua:%d+", text)
        t:kill()
        assert.is_string(t:traceback())
        local new = spawn(nothing)
        assert.matches("not started yet\nspawned at .*tasklet_spec%.lua:%d+", new:traceback())
    end)

    it("a kill of the running one by a callback or a finalizer is pending", function()
        local ways = {
            kill = function(t) t:kill() end,
            throw = function(t) t:throw(neap.TaskletExit) end,
            group = function(t) neap.kill_group(t.group) end,
        }
        for name, way in pairs(ways) do
            for where, call in pairs {
                callback = function(f)
                    local d = deferred()
                    d:add_callback(f)
                    d:callback()
                    return d.result
                end,
                finalizer = function(f)
                    setmetatable({}, { __gc = f })
                    collectgarbage()
                end,
            } do
                local went_on, in_there, waited = false, false, false
                local t = spawn(function()
                    local me = neap.getcurrent()
                    me.group = {}
                    call(function()
                        way(me)
                        in_there = true
                    end)
                    went_on = true
                    coroutine.wrap(schedule)()
                    waited = true
                end)
                assert.same({ false, neap.TaskletExit }, { t:join(5) }, name .. where)
                assert.same({ true, true, false }, { in_there, went_on, waited }, name .. where)
            end
        end
    end)

    it("a finalizer that kills the one that is about to wait", function()
        local ch = channel()
        local t = spawn(function()
            local me = neap.getcurrent()
            collectgarbage("stop")
            setmetatable({}, { __gc = function() me:kill() end })
            collectgarbage("incremental", 1, 1000, 40)
            collectgarbage("restart")
            for _ = 1, 3 do neap.select({ ch, { ch, 1 }, tasklet() }, 0) end
            return neap.select({ ch, tasklet() }, 60)
        end)
        local got = table.pack(t:join(5))
        collectgarbage("incremental", 200, 100, 13)
        assert.same({ false, neap.TaskletExit, n = 2 }, got)
        assert.equal(0, ch.balance)
    end)
end)
