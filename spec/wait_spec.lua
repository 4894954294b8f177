-- Waits: exactly one of value, timeout and kill wins, and nothing is left behind; where in
-- a script a wait is possible, and what it raises where it is not.

local host = require "neap.host"
local record = require "spec.support.record"
local error_of = record.error_of

-- Lets the clock pass without giving way.
local function spin(seconds)
    local til = neap.now() + seconds
    while neap.now() < til do end
end

local TIME = 0.02 -- seconds of the timeouts below: more than a busy machine loses

-- What can be waited for with a timeout, and how it is served. Each gives:
-- wait(seconds), serve(), what a served wait gives, what one out of time gives.
local function raced()
    local ch, d, gate, second = channel(), deferred(), channel(), channel()
    local t = spawn(function() return gate:receive() end)
    t:run()
    return {
        receive = {
            function(s) return ch:receive(s) end, function() ch:try_send("value") end,
            { "value" }, { nil, "timeout" },
        },
        block_on = {
            function(s) return pcall(block_on, d, s) end, function() d:callback("value") end,
            { true, "value" }, { false, "timeout" },
        },
        join = {
            function(s) return t:join(s) end, function() gate:try_send("value") end,
            { true, "value" }, { nil, "timeout" },
        },
        select = {
            function(s) return neap.select({ channel(), second }, s) end,
            function() second:try_send("value") end, { 2, "value" }, { nil, "timeout" },
        },
    }, function()
        t:kill()
        return ch, d
    end
end

local KINDS = { "receive", "block_on", "join", "select" }

-- Waits in a tasklet of its own; `got` becomes what the wait gave.
local function waiting(wait, seconds)
    local w = {}
    w.tasklet = spawn(function()
        w.got = table.pack(wait(seconds))
        w.got[2] = w.got[2] and tostring(w.got[2])
    end)
    w.tasklet:run()
    return w
end

describe("value and timeout", function()
    for _, kind in ipairs(KINDS) do
        -- what a join waits for needs a turn of its own to end
        local _ = kind ~= "join" and it(kind .. ": a value before its time is looked at", function()
            local all, done = raced()
            local wait, serve, served = table.unpack(all[kind])
            local w = waiting(wait, TIME)
            spin(TIME * 2) -- the timer is due, and has not been looked at
            serve()
            w.tasklet:join()
            assert.same(served, { table.unpack(w.got, 1, #served) })
            done()
        end)

        it(kind .. ": a value that comes after the timer, in the same turn", function()
            local all, done = raced()
            local wait, serve, _, late = table.unpack(all[kind])
            local first = spawn(function()
                sleep(TIME) -- due before the one below, so it runs before that one
                serve()
            end)
            first:run()
            local w = waiting(wait, TIME)
            spin(TIME * 2)
            w.tasklet:join()
            assert.same(late, { table.unpack(w.got, 1, 2) })
            first:join()
            local ch = done()
            assert.equal(0, ch.balance)
        end)

        it(kind .. ": the timer of a served wait does not end the next one", function()
            local all, done = raced()
            local wait, serve, served = table.unpack(all[kind])
            local ch, next_got = channel(), nil
            local t = spawn(function()
                local got = table.pack(wait(TIME))
                assert(got[#served] == "value")
                next_got = table.pack(ch:receive())
            end)
            t:run()
            local timers = host.stats().timers
            serve()
            schedule()
            assert.equal(timers - 1, host.stats().timers)
            sleep(TIME * 2)
            assert.is_nil(next_got)
            ch:send("next")
            assert.same({ true }, { t:join() })
            assert.same({ "next", n = 1 }, next_got)
            done()
        end)
    end
end)

describe("kill", function()
    for _, kind in ipairs(KINDS) do
        it(kind .. ": takes the timer with it", function()
            local all, done = raced()
            local timers = host.stats().timers
            local w = waiting(all[kind][1], 60)
            assert.equal(timers + 1, host.stats().timers)
            w.tasklet:kill()
            assert.is_nil(w.tasklet.waiting_on)
            assert.equal(timers, host.stats().timers)
            done()
        end)

        it(kind .. ": beats a value that was delivered", function()
            local all, done = raced()
            local wait, serve = table.unpack(all[kind])
            local caught
            local t = spawn(function() caught = select(2, neap.pcall(wait, 60)) end)
            t:run()
            serve()
            if kind == "join" then schedule() end
            if t.alive then t:kill() end
            assert.is_false(t.alive)
            assert.is_nil(kind == "receive" and caught or nil)
            done()
        end)

        it(kind .. ": after the timer, in the same turn", function()
            local all, done = raced()
            local w
            local killer = spawn(function()
                sleep(TIME)
                w.tasklet:kill()
            end)
            killer:run()
            w = waiting(all[kind][1], TIME)
            spin(TIME * 2)
            killer:join()
            if kind == "block_on" then -- pcall sees the kill
                assert.equal(tostring(neap.TaskletExit), w.got[2])
            else
                assert.is_nil(w.got)
            end
            assert.is_false(w.tasklet.alive)
            done()
        end)

        it(kind .. ": a survivor's next wait is its own", function()
            local all, done = raced()
            local wait = all[kind][1]
            local ch, got = channel(), nil
            local t = spawn(function()
                pcall(wait, TIME)
                got = table.pack(ch:receive())
            end)
            t:run()
            t:kill()
            sleep(TIME * 2)
            assert.is_nil(got)
            ch:send("next")
            assert.same({ "next", n = 1 }, got)
            assert.same({ true }, { t:join() })
            done()
        end)
    end

    it("a killed receiver takes no value with it", function()
        local ch = channel()
        local r = spawn(ch.receive, ch, 60)
        schedule()
        r:kill(true)
        assert.is_false(ch:try_send("x"))
        schedule()
        assert.is_false(r.alive)
    end)

    it("a killed sleeper is gone from the timers", function()
        local timers = host.stats().timers
        local all = {}
        for i = 1, 100 do all[i] = spawn(sleep, 60 + i % 7) end
        schedule()
        assert.equal(timers + 100, host.stats().timers)
        for i = 100, 1, -1 do all[i * 37 % 101]:kill() end
        assert.equal(timers, host.stats().timers)
    end)

    it("of two that wait for each other's end", function()
        local a, b
        a = spawn(function() b:join() end)
        b = spawn(function() a:join() end)
        schedule()
        a:kill()
        assert.is_false(a.alive)
        schedule()
        assert.is_false(b.alive)
    end)

    it("by the one it is about to wake", function()
        local ch, log = channel(), record.log()
        local sender
        local r = spawn(function()
            ch:receive()
            sender:kill()
            log "killed"
        end)
        schedule()
        sender = spawn(function()
            ch:send() -- the receiver runs now, this one is behind it
            log "not reached"
        end)
        schedule()
        assert.same({ false, neap.TaskletExit }, { sender:join() })
        r:join()
        assert.equal("killed", tostring(log))
    end)
end)

-- Every way to wait or to switch: each gives "waited".
local WAITS = {
    schedule = function() return schedule("waited") end,
    sleep = function()
        sleep(0)
        return "waited"
    end,
    receive = function()
        local ch = channel()
        spawn(ch.send, ch, "waited")
        return (ch:receive())
    end,
    send = function()
        local ch = channel()
        spawn(ch.receive, ch)
        ch:send(1)
        return "waited"
    end,
    hand_over = function() -- both sides are there: a switch only
        local ch, log = channel(), {}
        local r = spawn(function() log[1] = ch:receive() end)
        r:run()
        ch:send("waited")
        return log[1]
    end,
    block_on = function()
        local d = deferred()
        spawn(function() d:callback("waited") end)
        return (block_on(d))
    end,
    blocking_tasklet = function() return (blocking_tasklet(schedule)("waited")) end,
    join = function() return select(2, spawn(schedule, "waited"):join()) end,
    run = function()
        local got
        spawn(function() got = "waited" end):run()
        return got
    end,
    switch = function()
        local me = neap.getcurrent()
        spawn(function() me:insert() end):switch()
        return "waited"
    end,
    schedule_remove = function()
        local me = neap.getcurrent()
        spawn(me.insert, me)
        return neap.schedule_remove("waited")
    end,
}

local function meta(event, f, ...)
    return setmetatable({ ... }, { [event] = f })
end

-- Where a wait is possible: each calls `wait` and gives what it gave.
local POSSIBLE = {
    ["a function"] = function(wait) return (wait()) end,
    ["pcall"] = function(wait) return select(2, pcall(wait)) end,
    ["pcall that catches"] = function(wait)
        local v
        return pcall(function()
            v = wait()
            error("x")
        end) or v
    end,
    ["xpcall"] = function(wait) return select(2, xpcall(wait, debug.traceback)) end,
    ["neap.pcall"] = function(wait) return select(2, neap.pcall(wait)) end,
    ["coroutine.wrap"] = function(wait) return coroutine.wrap(wait)() end,
    ["coroutine.resume"] = function(wait)
        return select(2, coroutine.resume(coroutine.create(wait)))
    end,
    ["nested coroutines"] = function(wait)
        local f = wait
        for _ = 1, 10 do f = coroutine.wrap(f) end
        return (f())
    end,
    ["pcall in a coroutine in pcall"] = function(wait)
        return select(3, pcall(coroutine.wrap(function() return pcall(wait) end)))
    end,
    ["a coroutine between its yields"] = function(wait)
        local co = coroutine.wrap(function(a)
            local got = wait()
            local b = coroutine.yield(a .. got)
            wait()
            coroutine.yield(b)
            return got
        end)
        assert(co("first ") == "first waited")
        assert(co("second") == "second")
        return (co())
    end,
    ["an iterator"] = function(wait)
        local got
        for v in function(_, last) return not last and wait() or nil end do got = v end
        return got
    end,
    ["a generator"] = function(wait)
        local n, got = 0, nil
        for i, v in coroutine.wrap(function()
            for i = 1, 3 do coroutine.yield(i, wait()) end
        end) do
            n = n + i
            got = v
        end
        return n == 6 and got
    end,
    ["__index"] = function(wait) return meta("__index", function() return wait() end).x end,
    ["__newindex"] = function(wait)
        local got
        meta("__newindex", function() got = wait() end).x = 1
        return got
    end,
    ["__call"] = function(wait) return (meta("__call", function() return wait() end)()) end,
    ["__add"] = function(wait) return meta("__add", function() return wait() end) + 1 end,
    ["__unm"] = function(wait) return -meta("__unm", function() return wait() end) end,
    ["__len"] = function(wait) return #meta("__len", function() return wait() end) end,
    ["__concat"] = function(wait)
        return "a" .. meta("__concat", function() return wait() end)
    end,
    ["__eq"] = function(wait)
        local got
        local function eq()
            got = wait()
            return true
        end
        assert(meta("__eq", eq) == meta("__eq", eq))
        return got
    end,
    ["__lt"] = function(wait)
        local got
        assert(meta("__lt", function()
            got = wait()
            return true
        end) < 1)
        return got
    end,
    ["__le"] = function(wait)
        local got
        assert(meta("__le", function()
            got = wait()
            return true
        end) <= 1)
        return got
    end,
    ["__pairs"] = function(wait)
        local got
        for v in pairs(meta("__pairs", function() return next, { [wait()] = 1 } end)) do
            got = v
        end
        return got
    end,
    ["__close"] = function(wait)
        local got
        do
            local _ <close> = meta("__close", function() got = wait() end)
        end
        return got
    end,
    ["__close on a return"] = function(wait)
        local got
        local function f()
            local _ <close> = meta("__close", function() got = wait() end)
            return 1, 2, 3
        end
        local a, b, c = f()
        return a == 1 and b == 2 and c == 3 and got
    end,
    ["__close on a break"] = function(wait)
        local got
        for i in next, { 1, 2 }, nil, meta("__close", function() got = wait() end) do
            if i == 1 then break end
        end
        return got
    end,
    ["__close on an error"] = function(wait)
        local got
        local ok, err = pcall(function()
            local _ <close> = meta("__close", function() got = wait() end)
            error("x", 0)
        end)
        return not ok and err == "x" and got
    end,
    ["__close on an error in a coroutine"] = function(wait)
        local got
        coroutine.wrap(function()
            pcall(function()
                local _ <close> = meta("__close", function() got = wait() end)
                error("x", 0)
            end)
        end)()
        return got
    end,
    ["tostring"] = function(wait)
        return tostring(meta("__tostring", function() return (wait()) end))
    end,
    ["print"] = function(wait)
        local got
        print(meta("__tostring", function()
            got = wait()
            return ""
        end))
        return got
    end,
    ["require"] = function(wait)
        package.preload["spec.waits"] = function() return (wait()) end
        local got = require "spec.waits"
        package.preload["spec.waits"], package.loaded["spec.waits"] = nil, nil
        return got
    end,
    ["a searcher of require"] = function(wait)
        local got
        table.insert(package.searchers, 1, function() got = wait() end)
        pcall(require, "spec.nowhere")
        table.remove(package.searchers, 1)
        return got
    end,
    ["dofile"] = function(wait)
        local name <close> = setmetatable({ os.tmpname() }, {
            __close = function(n) os.remove(n[1]) end,
        })
        local file <close> = assert(io.open(name[1], "w"))
        file:write("return (spec_wait())")
        file:close()
        _G.spec_wait = wait -- luacheck: ignore
        local got = dofile(name[1])
        _G.spec_wait = nil -- luacheck: ignore
        return got
    end,
}

describe("a wait inside", function()
    for where, f in pairs(POSSIBLE) do
        it(where, function()
            for kind, wait in pairs(WAITS) do
                assert.equal("waited", f(wait), kind)
            end
        end)
    end

    it("two tasklets' coroutines do not mix", function()
        local got, all = {}, {}
        for name = 1, 5 do
            all[name] = spawn(function()
                for i, v in coroutine.wrap(function()
                    for i = 1, 5 do coroutine.yield(i, schedule(name)) end
                end) do
                    assert(v == name)
                    got[name] = i
                end
            end)
        end
        for _, t in ipairs(all) do assert.same({ true }, { t:join() }) end
        assert.same({ 5, 5, 5, 5, 5 }, got)
    end)

    it("a coroutine begun in one tasklet and finished in another", function()
        local co = coroutine.wrap(function()
            for i = 1, 4 do coroutine.yield(schedule(i)) end
        end)
        assert.equal(1, co())
        assert.same({ true, 2 }, { spawn(function() return (co()) end):join() })
        assert.equal(3, co())
        assert.same({ true, 4 }, { spawn(function() return (co()) end):join() })
    end)

end)

-- Where C makes it impossible: each calls `wait` there, protected by `try`, and gives the
-- name that the error has.
local function pair() return { 2, 1 } end

local IMPOSSIBLE = {
    ["string.gsub"] = function(try) return (("x"):gsub("x", try)) end,
    ["load"] = function(try) load(try) end,
    ["table.concat"] = function(try)
        pcall(table.concat, meta("__index", try), "", 1, 1)
    end,
    ["table.insert"] = function(try)
        table.insert(setmetatable({}, { __newindex = try }), 1)
    end,
    ["table.unpack"] = function(try) table.unpack(meta("__index", try), 1, 1) end,
    ["string.format"] = function(try)
        pcall(string.format, "%s", meta("__tostring", try))
    end,
    ["table.sort"] = function(try) table.sort(pair(), function() neap.pcall(try) end) end,
    ["coroutine.close"] = function(try)
        local co = coroutine.create(function()
            local _ <close> = meta("__close", try)
            coroutine.yield()
        end)
        coroutine.resume(co)
        coroutine.close(co)
    end,
}

-- Runs f(try); `try` waits, protected. The error's text.
local function refused(f, wait)
    local text
    f(function()
        text = error_of(wait)
        return nil
    end)
    return text
end

describe("a wait that is impossible", function()
    for name, f in pairs(IMPOSSIBLE) do
        local text = ("cannot wait inside %s (a C function)"):format(name)

        it("in " .. name, function()
            for kind, wait in pairs {
                schedule = schedule,
                sleep = function() sleep(0) end,
                receive = function() channel():receive() end,
                send = function() channel():send(1) end,
                block_on = function() deferred():wait() end,
                join = function()
                    local t <close> = setmetatable({ spawn(neap.schedule_remove) }, {
                        __close = function(t) t[1]:kill(true) end,
                    })
                    t[1]:join()
                end,
            } do
                assert.equal(text, refused(f, wait), kind)
                schedule()
                assert.equal("waited", WAITS.receive())
            end
        end)

        it("in a coroutine in " .. name, function()
            assert.equal(text, refused(function(try)
                f(coroutine.wrap(function()
                    try()
                    coroutine.yield()
                end))
            end, schedule))
            assert.equal("waited", WAITS.sleep())
        end)

        it("in " .. name .. " in a coroutine", function()
            assert.equal(text, refused(function(try)
                coroutine.wrap(function()
                    pcall(f, try)
                    coroutine.yield()
                end)()
            end, schedule))
            assert.equal("waited", WAITS.sleep())
        end)
    end

    it("leaves nothing armed", function()
        local ch, full, d = channel(), channel(1), deferred()
        local paused = spawn(neap.schedule_remove)
        full:send(1)
        schedule()
        local timers, count = host.stats().timers, neap.getruncount()
        local started = false
        local queued = spawn(function() started = true end)
        local waits = {
            function() ch:receive(60) end, function() ch:send(1) end,
            function() full:send(2) end, function() sleep(60) end,
            function() d:wait(60) end, function() paused:join(60) end,
            function() blocking_tasklet(function() started = true end)() end,
            function() queued:run() end, function() queued:switch() end,
            function() paused:run() end,
            function() neap.schedule_remove() end, function() schedule() end,
        }
        for i, wait in ipairs(waits) do
            assert.equal("cannot wait inside table.sort (a C function)",
                refused(IMPOSSIBLE["table.sort"], wait), i)
        end
        assert.equal(0, ch.balance)
        assert.equal(0, full.balance)
        assert.equal(timers, host.stats().timers)
        assert.equal(count + 1, neap.getruncount())
        assert.is_true(paused.paused and queued.scheduled)
        assert.is_false(d.called or started)
        paused:kill()
        schedule()
        assert.is_true(started)
    end)

    it("what need not wait works there", function()
        local ch, full, d = channel(), channel(1), neap.succeed("fired")
        local dead = spawn(function() return "dead" end)
        local got = {}
        local r = spawn(function() got[1] = ch:receive() end)
        schedule()
        table.sort(pair(), function(a, b)
            if got.done then return a < b end
            got.done = true
            ch:send("sent")
            full:send("buffered")
            got[2], got[3], got[4] = full:receive(), d:wait(), select(2, dead:join())
            spawn(function() got[5] = "spawned" end)
            return a < b
        end)
        assert.is_nil(got[1])
        schedule()
        assert.same({ "sent", "buffered", "fired", "dead", "spawned", done = true }, got)
        assert.is_false(r.alive)
    end)

    it("in a message handler", function()
        local text
        xpcall(error, function() text = error_of(schedule) end, "x")
        assert.matches("^cannot wait inside .+ %(a C function%)$", text)
        assert.equal("waited", WAITS.sleep())
        xpcall(function() local x = nil; return x.y end, function()
            text = error_of(sleep, 0)
        end)
        assert.matches("^cannot wait inside .+ %(a C function%)$", text)
        assert.equal("waited", WAITS.sleep())
    end)

    it("in a finalizer", function()
        local text
        setmetatable({}, { __gc = function() text = error_of(sleep, 0) end })
        collectgarbage()
        collectgarbage()
        assert.is_truthy(text == "cannot wait inside __gc (a C function)"
            or text == "Cannot block in reactor task", text)
        assert.equal("waited", WAITS.sleep())
    end)

    it("in a finalizer that an allocation runs", function()
        local text
        setmetatable({}, { __gc = function() text = error_of(sleep, 0) end })
        local big = ("x"):rep(0x100000)
        while not text do local _ = big .. "y" end
        assert.is_truthy(text == "cannot wait inside __gc (a C function)"
            or text == "Cannot block in reactor task", text)
        assert.equal("waited", WAITS.sleep())
    end)

    it("in a callback of a deferred", function()
        local ch, full, other = channel(), channel(1), deferred()
        local paused = spawn(neap.schedule_remove)
        full:send(1)
        schedule()
        local started = false
        for kind, wait in pairs {
            schedule = schedule,
            sleep = function() sleep(0) end,
            receive = function() ch:receive() end,
            send = function() ch:send(1) end,
            ["send to a full buffer"] = function() full:send(1) end,
            block_on = function() block_on(other) end,
            blocking_tasklet = blocking_tasklet(function() started = true end),
            join = function() paused:join() end,
            run = function() paused:run() end,
            switch = function() paused:switch() end,
            schedule_remove = neap.schedule_remove,
        } do
            local d = deferred()
            d:add_callback(function() return error_of(wait) end)
            d:callback()
            assert.equal("Cannot block in reactor task", d:wait(), kind)
        end
        schedule()
        assert.is_false(started or other.called)
        assert.same({ 0, 0 }, { ch.balance, full.balance })
        paused:kill()
    end)

    it("an uncaught one ends in the sort's caller", function()
        assert.equal("cannot wait inside table.sort (a C function)",
            error_of(table.sort, pair(), schedule))
    end)
end)

-- A tasklet whose coroutine is in the middle of a wait.
local function in_a_wait()
    local ch, got, log = channel(), {}, {}
    local co = coroutine.create(function()
        log[1] = ch:receive()
        log[2] = coroutine.yield("yielded")
        return "returned"
    end)
    local t = spawn(function()
        got[1] = table.pack(coroutine.resume(co))
        got[2] = table.pack(coroutine.resume(co, "again"))
    end)
    t:run()
    return co, ch, t, got, log
end

describe("a coroutine in the middle of a wait", function()
    it("is normal to others", function()
        local co, ch = in_a_wait()
        assert.equal("normal", coroutine.status(co))
        ch:send()
        assert.equal("dead", coroutine.status(co))
    end)

    it("cannot be resumed; the wait goes on", function()
        local co, ch, t, got, log = in_a_wait()
        assert.same({ false, "cannot resume non-suspended coroutine" },
            { coroutine.resume(co, "stray") })
        ch:send("value")
        assert.same({ "value", "again" }, log)
        assert.same({ true, "yielded", n = 2 }, got[1])
        assert.same({ true, "returned", n = 2 }, got[2])
        assert.is_false(t.alive)
    end)

    it("cannot be called by its wrap", function()
        local ch = channel()
        local co = coroutine.wrap(function() return ch:receive() end)
        local t = spawn(co)
        t:run()
        assert.equal("cannot resume non-suspended coroutine", error_of(co))
        ch:send("value")
        assert.same({ true, "value" }, { t:join() })
    end)

    it("cannot be closed; the wait goes on", function()
        local co, ch, _, got = in_a_wait()
        assert.equal("cannot close a normal coroutine", error_of(coroutine.close, co))
        ch:send("value")
        assert.same({ true, "yielded", n = 2 }, got[1])
    end)

    it("nor can those between it and the tasklet", function()
        local ch, inner = channel(), nil
        local outer = coroutine.create(function()
            inner = coroutine.create(function() return ch:receive() end)
            return select(2, coroutine.resume(inner))
        end)
        local t = spawn(coroutine.resume, outer)
        t:run()
        for _, co in ipairs { inner, outer } do
            assert.equal("normal", coroutine.status(co))
            assert.is_false(coroutine.resume(co))
            assert.is_false((pcall(coroutine.close, co)))
        end
        ch:send("value")
        assert.same({ true, true, "value" }, { t:join() })
        assert.same({ "dead", "dead" }, { coroutine.status(inner), coroutine.status(outer) })
    end)

    it("killed there is dead", function()
        local co, ch, t = in_a_wait()
        t:kill()
        assert.equal(0, ch.balance)
        assert.equal("dead", coroutine.status(co))
        assert.is_false(t.alive)
    end)
end)

describe("print and tostring", function()
    it("say what Lua's say", function()
        local program = require "spec.support.program"
        local _, output = program.run [[
            print()
            local seven = setmetatable({}, { __tostring = function() return 7 end })
            print(nil, true, 1, 1.5, "x", seven)
            print((tostring(setmetatable({}, { __name = "Named" })):gsub("0x%x+", "PLACE")))
            for _, wrong in ipairs { print, tostring } do
                print(pcall(wrong, setmetatable({}, { __tostring = function() return {} end })))
            end
            print(pcall(tostring))
            print(type(tostring(seven)))
        ]]
        assert.equal("\nnil\ttrue\t1\t1.5\tx\t7\nNamed: PLACE\n"
            .. ("false\t'__tostring' must return a string\n"):rep(2)
            .. "false\tbad argument #1 to 'tostring' (value expected)\nstring\n", output)
    end)

    it("a line is written when all of it is known", function()
        local program = require "spec.support.program"
        local _, output = program.run [[
            local slow = setmetatable({}, { __tostring = function()
                schedule()
                return "slow"
            end })
            spawn(print, "others")
            print("a", slow, slow, "b")
            print(select("#", table.unpack({}, 1, 250)), select(-1, table.unpack({}, 1, 249), slow))
        ]]
        assert.equal("others\na\tslow\tslow\tb\n250\tslow\n", output)
    end)
end)
