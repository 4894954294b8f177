-- neap.run, the traps, the callbacks, and what bounds a run.

local finally = require "spec.support.finally"
local record = require "spec.support.record"

local error_of = record.error_of

local function count() return neap.getruncount() end

describe("neap.run", function()
    it("returns nothing at once when nobody else is to run", function()
        assert.equal(0, select("#", neap.run()))
    end)

    it("returns when the queue is empty; who is blocked does not count", function()
        local log, ch = record.log(), channel()
        local t = spawn(function()
            log "a"
            schedule()
            log "b"
            ch:receive()
        end)
        assert.equal(0, select("#", neap.run()))
        assert.equal("a b", tostring(log))
        assert.is_true(t.blocked)
        t:kill()
    end)

    it("returns when the last one steps out of the queue", function()
        local t = spawn(neap.schedule_remove)
        neap.run()
        assert.is_true(t.paused)
        t:kill()
    end)

    it("has nothing to do with an error that nobody receives", function()
        local ch = channel()
        local t = spawn(function() ch:send_exception "for the receiver" end)
        assert.equal(0, select("#", neap.run()))
        assert.same({ 1, true }, { ch.balance, t.blocked })
        t:kill()
    end)

    it("does not wait for the reactor", function()
        local t = spawn(sleep, 60)
        neap.run()
        assert.is_true(t.blocked)
        t:kill()
    end)

    it("pauses the caller and does not count it", function()
        local me, seen = neap.getcurrent(), nil
        spawn(function() seen = { me.paused, count() } end)
        neap.run()
        assert.same({ true, 1 }, seen)
    end)

    it("drains the whole queue, of whoever started it; nested, the inner one first", function()
        local log = record.log()
        spawn(function()
            log "o<"
            spawn(log, "in1")
            spawn(log, "in2")
            neap.run()
            log "o>"
        end)
        spawn(log, "x")
        neap.run()
        log "main"
        assert.equal("o< x in1 in2 o> main", tostring(log))
    end)

    it("10,000 nested", function()
        local n = 0
        local function inner()
            n = n + 1
            if n < 10000 then
                spawn(inner)
                neap.run()
            end
            n = n + 1
        end
        spawn(inner)
        neap.run()
        assert.equal(20000, n)
    end)

    it("returns whatever the moment at which the queue runs empty", function()
        local ch = channel()
        for _ = 1, 300 do
            local all = {}
            for i = 1, 40 do all[i] = spawn(ch.receive, ch) end
            neap.run()
            assert.equal(-40, ch.balance)
            for _, t in ipairs(all) do t:kill() end
        end
    end)

    it("woken by hand it returns early, and so do those inside it", function()
        local log = record.log()
        local outer = spawn(function()
            spawn(function()
                neap.run()
                log "inner"
            end)
            neap.run()
            log "outer"
        end)
        local function stay()
            while #log < 3 do schedule() end
        end
        local stayer = spawn(stay)
        for _ = 1, 3 do schedule() end
        assert.is_true(outer.paused)
        outer:insert()
        schedule()
        log "main"
        assert.equal("inner outer main", tostring(log))
        stayer:join()
    end)

    it("raises what nobody handles in there, and on_error does not get it", function()
        record.unhandled(function(errors)
            local log = record.log()
            spawn(function()
                log "a"
                error("of a", 0)
            end)
            spawn(log, "b")
            assert.equal("of a", error_of(neap.run))
            assert.equal("a", tostring(log)) -- the others stay queued
            assert.equal(2, count())
            neap.run()
            assert.equal("a b", tostring(log))
            assert.same({}, errors)
        end)
    end)

    it("the innermost one raises it, not whoever ran the tasklet", function()
        local log = record.log()
        spawn(function()
            local b = spawn(error, "of b", 0)
            local ok = pcall(b.run, b)
            log("A" .. tostring(ok))
        end)
        assert.equal("of b", error_of(neap.run))
        neap.run()
        assert.equal("Atrue", tostring(log))
    end)

    it("an error that a joiner waits for is handled", function()
        local ok, err
        local t = spawn(error, "joined", 0)
        spawn(function() ok, err = t:join() end):run()
        neap.run()
        assert.same({ false, "joined" }, { ok, err })
    end)

    it("TaskletExit is no error", function()
        spawn(function() error(neap.TaskletExit) end)
        neap.run()
    end)

    it("can be killed; the queue is as it was", function()
        local log = record.log()
        local t = spawn(function()
            local ok = pcall(neap.run)
            log(tostring(ok))
        end)
        local other = spawn(function() while #log == 0 do schedule() end end)
        schedule()
        t:kill()
        assert.equal("false", tostring(log))
        other:join()
    end)
end)

describe("neap.run with a count", function()
    local function loop() while true do end end

    local function under_pcall() while true do pcall(loop) end end

    local function in_coroutine()
        coroutine.wrap(loop)()
    end

    for name, f in pairs { ["a loop"] = loop, ["a loop under pcall"] = under_pcall,
        ["a loop in a coroutine"] = in_coroutine } do
        it("takes out " .. name, function()
            local t = spawn(f)
            assert.equal(t, neap.run(10000))
            assert.is_true(t.paused)
            assert.is_true(t.alive)
            assert.equal(1, count())
            t:kill { hard = true }
            assert.is_false(t.alive)
        end)
    end

    it("what is taken out can go on, with nothing lost", function()
        local n, rounds = 0, 0
        local t = spawn(function() for _ = 1, 100000 do n = n + 1 end end)
        repeat
            local cut = neap.run(1000)
            rounds = rounds + 1
            if cut then cut:insert() end
        until not cut
        assert.equal(100000, n)
        assert.is_true(rounds > 50)
        assert.is_false(t.alive)
    end)

    it("returns the one at once; the others stay queued", function()
        local log = record.log()
        local t = spawn(loop)
        spawn(log, "other")
        assert.equal(t, neap.run(1000))
        assert.equal("", tostring(log))
        t:kill()
        neap.run()
        assert.equal("other", tostring(log))
    end)

    it("counts anew at each switch", function()
        local t = spawn(function()
            for _ = 1, 100 do
                for _ = 1, 100 do end
                schedule()
            end
        end)
        assert.is_nil((neap.run(5000)))
        assert.is_false(t.alive)
    end)

    it("of nested ones only the outermost counts", function()
        local inner
        local t = spawn(function()
            spawn(function() for _ = 1, 10000 do end end)
            inner = neap.run(100) == nil
        end)
        assert.is_nil((neap.run(1000000)))
        assert.is_true(inner)
        assert.is_false(t.alive)
    end)

    it("spares the atomic", function()
        local was
        local t = spawn(function()
            was = neap.getcurrent():set_atomic(true)
            for _ = 1, 10000 do end
            assert(neap.getcurrent():set_atomic(false))
            loop()
        end)
        assert.equal(t, neap.run(1000))
        assert.is_false(was)
        t:kill()
    end)

    it("waits where nobody can be cut; it cuts at the first chance after", function()
        local function count_to(n) for _ = 1, n do end end
        for name, f in pairs {
            switch_trap = function(done)
                neap.switch_trap(1)
                count_to(10000)
                done()
                neap.switch_trap(-1)
            end,
            sort = function(done)
                table.sort({ 1, 2 }, function(a, b)
                    count_to(10000)
                    done()
                    return a < b
                end)
            end,
        } do
            local uncut, ended
            local t = spawn(function()
                f(function() uncut = true end)
                count_to(10000)
                ended = true
            end)
            assert.equal(t, neap.run(1000), name)
            assert.same({ true, nil }, { uncut, ended }, name)
            t:kill()
        end
    end)

    it("is over with the run", function()
        local t = spawn(loop)
        assert.equal(t, neap.run(1000))
        t:kill()
        local done
        spawn(function()
            for _ = 1, 100000 do end
            done = true
        end)
        schedule()
        assert.is_true(done)
    end)

    it("the run that counts being killed for good, the next one counts", function()
        local t = spawn(function() neap.run(1000) end)
        local other = spawn(function() while t.alive do schedule() end end)
        schedule()
        t:kill { hard = true }
        other:join()
        local looping = spawn(loop)
        assert.equal(looping, neap.run(2000))
        looping:kill()
    end)

    it("leaves a script's hook alone", function()
        local lines = 0
        local t = spawn(function()
            debug.sethook(function() lines = lines + 1 end, "l")
            schedule()
            local before = lines
            for _ = 1, 10 do
                lines = lines + 0
            end
            assert.is_true(lines > before + 5)
            debug.sethook()
        end)
        neap.run(100000)
        assert.is_true((t:join()))
    end)

    it("wants a count", function()
        assert.has_error(function() neap.run(-1) end)
        assert.has_error(function() neap.run("x") end)
    end)
end)

describe("block_trap", function()
    it("refuses what would block, with the queues as they were", function()
        local ch, t = channel(), neap.getcurrent()
        local d, other = deferred(), spawn(sleep, 60)
        assert.is_false(t.block_trap)
        t.block_trap = true
        local _ <close> = finally(function() t.block_trap = false end)
        for name, f in pairs {
            send = function() ch:send(1) end, receive = function() ch:receive() end,
            join = function() other:join() end, sleep = function() sleep(0) end,
            wait = function() d:wait() end,
            select = function() neap.select { ch } end,
        } do
            assert.equal("this tasklet does not like to be blocked.", error_of(f), name)
        end
        assert.equal(0, ch.balance)
        t.block_trap = false
        other:kill()
    end)

    it("lets pass what need not block, and switches", function()
        local ch, t = channel(), neap.getcurrent()
        local got
        spawn(function() got = ch:receive() end)
        schedule()
        t.block_trap = true
        local _ <close> = finally(function() t.block_trap = false end)
        ch:send(5)
        schedule()
        assert.equal(5, got)
    end)
end)

describe("switch_trap", function()
    it("refuses every switch and changes nothing", function()
        local ch, full = channel(), channel()
        local t, s = tasklet(function() end), tasklet(function() end)
        t:bind(nil, 1)
        s:bind(nil, 1)
        local sender = spawn(function() full:send(1) end)
        full.preference = 1
        schedule()
        assert.equal(0, neap.switch_trap(1))
        local untrap <close> = finally(function() neap.switch_trap(-neap.switch_trap()) end)
        for name, f in pairs {
            schedule = schedule, schedule_remove = neap.schedule_remove, run = neap.run,
            t_run = function() t:run() end, t_switch = function() t:switch() end,
            send = function() ch:send(1) end, receive = function() ch:receive() end,
            rendezvous = function() full:receive() end, sleep = function() sleep(0) end,
            kill = function() t:kill() end, throw = function() t:throw("x") end,
        } do
            assert.equal("switch_trap", error_of(f), name)
        end
        assert.is_true(t.paused and s.paused and sender.blocked)
        assert.same({ 0, 1 }, { ch.balance, full.balance })
        neap.switch_trap(-1)
        assert.equal(1, full:receive())
        t:kill()
        s:kill()
        schedule()
        assert.is_not_nil(untrap)
    end)

    it("nests", function()
        assert.equal(0, neap.switch_trap(1))
        assert.equal(1, neap.switch_trap(1))
        assert.equal(2, neap.switch_trap(-1))
        assert.equal("switch_trap", error_of(schedule))
        assert.equal(1, neap.switch_trap(-1))
        schedule()
        assert.equal(0, neap.switch_trap())
    end)

    it("lets pass what does not switch", function()
        local me, t = neap.getcurrent(), spawn(function() end)
        local ch = channel(1)
        neap.switch_trap(1)
        local _ <close> = finally(function() neap.switch_trap(-neap.switch_trap()) end)
        me:switch()
        me:run()
        ch:send(1)
        ch:receive()
        t:kill(true)
        neap.switch_trap(-1)
        schedule()
        assert.is_false(t.alive)
    end)
end)

describe("the schedule callback", function()
    it("sees every switch", function()
        local names = { [neap.getcurrent()] = "main" }
        local log = record.log()
        local function see(from, to) log((names[from] or "?") .. ">" .. (names[to] or "?")) end
        assert.is_nil(neap.set_schedule_callback(see))
        local _ <close> = finally(function() neap.set_schedule_callback(nil) end)
        names[spawn(function() end)] = "t1"
        names[spawn(function() end)] = "t2"
        neap.run()
        schedule()
        assert.equal("main>t1 t1>t2 t2>main", tostring(log))
        assert.equal(see, neap.set_schedule_callback(nil))
    end)

    it("an error in it is reported, not raised", function()
        record.unhandled(function(errors)
            neap.set_schedule_callback(function() error("of the callback", 0) end)
            spawn(function() end)
            neap.run()
            neap.set_schedule_callback(nil)
            assert.equal(2, #errors)
            assert.equal("of the callback", errors[1].value)
        end)
    end)

    it("cannot wait", function()
        local errors = {}
        neap.set_schedule_callback(function() errors[#errors + 1] = error_of(schedule) end)
        spawn(function() end)
        neap.run()
        neap.set_schedule_callback(nil)
        assert.equal("Cannot block in reactor task", errors[1])
    end)

    it("wants a function", function()
        assert.has_error(function() neap.set_schedule_callback(1) end)
        assert.has_error(function() neap.set_channel_callback(1) end)
    end)
end)

describe("the channel callback", function()
    it("is told before the transfer, and whether it will block", function()
        local ch, log, names = channel(), record.log(), { [neap.getcurrent()] = "main" }
        local function see(c, t, sending, will_block)
            assert(c == ch)
            log(("%s,%s,%s,%d"):format(names[t], sending, will_block, ch.balance))
        end
        assert.is_nil(neap.set_channel_callback(see))
        local _ <close> = finally(function() neap.set_channel_callback(nil) end)
        names[spawn(function() ch:receive() end)] = "r"
        schedule()
        ch:send(1)
        names[spawn(function() ch:send() end)] = "s"
        schedule()
        ch:receive()
        schedule()
        assert.equal(see, neap.set_channel_callback(nil))
        assert.equal("r,false,true,0 main,true,false,-1 s,true,true,0 main,false,false,1",
            tostring(log))
    end)

    it("refuses channel operations inside it", function()
        local ch, err = channel(1), nil
        neap.set_channel_callback(function() err = error_of(ch.send, ch, 2) end)
        local _ <close> = finally(function() neap.set_channel_callback(nil) end)
        ch:send(1)
        neap.set_channel_callback(nil)
        assert.equal("Recursive channel call due to callbacks!", err)
        assert.equal(1, #ch)
    end)

    it("an error in it is reported, not raised", function()
        record.unhandled(function(errors)
            local ch = channel(1)
            neap.set_channel_callback(function() error("of the callback", 0) end)
            ch:send(1)
            neap.set_channel_callback(nil)
            assert.equal("of the callback", errors[1].value)
            assert.equal(1, ch:receive())
        end)
    end)
end)

describe("recursion_depth", function()
    it("counts calls, those in coroutines too", function()
        local t = neap.getcurrent()
        local here = t.recursion_depth
        local function deeper(n) return n == 0 and t.recursion_depth or (deeper(n - 1)) end
        assert.equal(here + 6, deeper(5))
        assert.is_true(coroutine.wrap(function() return (deeper(5)) end)() > here + 6)
        assert.equal(0, tasklet(print).recursion_depth)
    end)
end)
