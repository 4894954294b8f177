-- neap.sync: first come, first served, and nothing goes with a tasklet that ends.

local record = require "spec.support.record"

local sync = neap.sync

local function parked() sleep(math.huge) end

-- Ends a tasklet after it was handed something and before it could go on, in each way.
local ENDS = {
    kill = function(t) t:kill(true) end,
    ["kill now"] = function(t) t:kill() end,
    ["hard kill"] = function(t) t:kill { hard = true } end,
    throw = function(t) t:throw(neap.TaskletExit, true) end,
}

describe("a mutex", function()
    it("is held by one at a time, in the order of asking", function()
        local log, m = record.log(), sync.mutex()
        for i = 1, 4 do
            spawn(function()
                assert(m:acquire())
                log(i .. "+")
                schedule()
                log(i .. "-")
                m:release()
            end)
        end
        for _ = 1, 20 do schedule() end
        assert.equal("1+ 1- 2+ 2- 3+ 3- 4+ 4-", tostring(log))
        assert.is_true(m:try_acquire())
    end)

    it("goes from hand to hand: nobody gets in between", function()
        local log, m = record.log(), sync.mutex()
        m:acquire()
        local t = spawn(function() m:acquire() log "waiter" m:release() end)
        schedule()
        m:release()
        assert.is_false(m:try_acquire())
        t:join()
        assert.is_true(m:try_acquire())
        assert.equal("waiter", tostring(log))
    end)

    it("times out, and can still be had", function()
        local m = sync.mutex()
        m:acquire()
        assert.same({ nil, "timeout" }, { m:acquire(0) })
        assert.same({ nil, "timeout" }, { m:acquire(-1) })
        m:release()
        assert.equal(m, m:acquire(0))
    end)

    it("is released by a <close> variable, whatever ends it", function()
        local m = sync.mutex()
        do
            local _ <close> = m:acquire()
            assert.is_false(m:try_acquire())
        end
        pcall(function()
            local _ <close> = m:acquire()
            error "it"
        end)
        local t = spawn(function()
            local _ <close> = m:acquire()
            parked()
        end)
        schedule()
        assert.is_false(m:try_acquire())
        t:kill()
        do
            local _ <close> = m:acquire()
            local late <close> = m:acquire(0)
            assert.is_nil(late)
        end
        assert.is_true(m:try_acquire())
    end)

    it("run gives arguments and results, and releases", function()
        local m = sync.mutex()
        assert.same({ n = 3, 1, nil, false }, table.pack(m:run(function(...)
            assert.is_false(m:try_acquire())
            return ...
        end, 1, nil, false)))
        assert.same({ false, "it" }, { pcall(m.run, m, error, "it", 0) })
        local t = spawn(m.run, m, parked)
        schedule()
        t:kill()
        t = spawn(m.run, m, parked)
        schedule()
        t:kill { hard = true }
        assert.is_true(m:try_acquire())
    end)

    it("raises at a release too many", function()
        local m = sync.mutex()
        assert.truthy(record.error_of(m.release, m):find("a release too many", 1, true))
        m:acquire()
        m:release()
        assert.is_false(pcall(m.release, m))
    end)

    it("that is free, or given to another, needs no wait: reactor code may", function()
        local m, said = sync.mutex(), nil
        local t
        local d = deferred()
        d:add_callback(function()
            assert(m:acquire())
            said = record.error_of(m.acquire, m)
        end)
        d:callback()
        assert.equal("Cannot block in reactor task", said)
        t = spawn(m.acquire, m)
        schedule()
        d = deferred()
        d:add_callback(function() m:release() end)
        d:callback()
        assert.is_true(t:join())
    end)

    for name, end_ in pairs(ENDS) do
        it("is not lost with a waiter that was handed it: " .. name, function()
            local m, got = sync.mutex(), nil
            m:acquire()
            local first = spawn(function() m:acquire() got = "first" end)
            local second = spawn(function() m:acquire() got = "second" end)
            schedule()
            m:release()
            end_(first)
            second:join()
            assert.equal("second", got)
            m:release()
            first = spawn(m.run, m, schedule)
            assert.is_true(first:join())
            assert.is_true(m:try_acquire())
        end)

        it("is not taken by a waiter that ends: " .. name, function()
            local m = sync.mutex()
            m:acquire()
            local t = spawn(m.acquire, m)
            schedule()
            end_(t)
            m:release() -- before the pending ones have gone
            schedule()
            assert.is_true(m:try_acquire())
        end)
    end
end)

describe("a semaphore", function()
    it("lets in so many", function()
        local s, inside, most = sync.semaphore(3), 0, 0
        local list = {}
        for i = 1, 10 do
            list[i] = spawn(s.run, s, function()
                inside = inside + 1
                most = math.max(most, inside)
                schedule()
                inside = inside - 1
            end)
        end
        neap.join_all(list)
        assert.same({ 0, 3 }, { inside, most })
        for _ = 1, 3 do assert.is_true(s:try_acquire()) end
        assert.is_false(s:try_acquire())
        assert.same({ nil, "timeout" }, { s:acquire(0) })
        for _ = 1, 3 do s:release() end
        assert.truthy(record.error_of(s.release, s):find("a release too many", 1, true))
        assert.equal(s, s:acquire())
    end)

    it("needs a count", function()
        for _, n in ipairs { 0, -1, 1.5, "x" } do assert.is_false(pcall(sync.semaphore, n)) end
        assert.is_false(pcall(sync.semaphore))
        assert.is_false(pcall(sync.barrier, 0))
        assert.is_false(pcall(sync.queue, 0))
    end)

    it("gives what a killed one was handed to the next", function()
        local s = sync.semaphore(1)
        s:acquire()
        local first, second = spawn(s.acquire, s), spawn(s.acquire, s)
        schedule()
        s:release()
        first:kill(true)
        assert.same({ true, s }, { second:join() })
        s:release()
        do
            local _ <close> = s:acquire()
        end
        assert.is_true(s:try_acquire())
    end)
end)

describe("a condition", function()
    it("wakes one, or all, and keeps nothing", function()
        local log, c = record.log(), sync.condition()
        assert.is_false(c:notify())
        for i = 1, 4 do spawn(function() log(tostring(c:wait()) .. i) end) end
        schedule()
        assert.is_true(c:notify())
        schedule()
        assert.equal("true1", tostring(log))
        c:notify_all()
        schedule()
        assert.equal("true1 true2 true3 true4", tostring(log))
        assert.same({ nil, "timeout" }, { c:wait(0) })
    end)

    it("gives a killed one's notice to the next; that of all to nobody", function()
        local log, c = record.log(), sync.condition()
        local function waiter(name) return spawn(function() c:wait() log(name) end) end
        local a, b = waiter "a", waiter "b"
        schedule()
        c:notify()
        a:kill(true)
        b:join()
        a, b = waiter "a", waiter "with a"
        schedule()
        c:notify_all()
        a:kill(true)
        local later = waiter "later"
        later:run()
        b:join()
        schedule()
        assert.is_true(later.alive)
        later:kill()
        assert.equal("b with a", tostring(log))
    end)
end)

describe("a line", function()
    it("keeps nothing of those who have left it", function()
        local c = sync.condition()
        for _ = 1, 10 do
            local t = spawn(c.wait, c)
            spawn(c.wait, c, 0)
            schedule()
            t:kill()
        end
        sleep(0.01)
        assert.equal(0, c.line.n)
    end)
end)

describe("a barrier", function()
    it("lets all go when the last comes, again and again", function()
        local log, b = record.log(), sync.barrier(3)
        local list = {}
        for i = 1, 3 do
            list[i] = spawn(function()
                for round = 1, 2 do
                    for _ = 1, i do schedule() end
                    assert(b:wait() == true)
                    log(round)
                end
            end)
        end
        neap.join_all(list)
        assert.equal("1 1 1 2 2 2", tostring(log))
        assert.is_true(sync.barrier(1):wait())
    end)

    it("does not count who was killed or ran out of time", function()
        local b = sync.barrier(2)
        local t = spawn(b.wait, b)
        schedule()
        t:kill(true)
        assert.same({ nil, "timeout" }, { b:wait(0) })
        t = spawn(b.wait, b)
        schedule()
        assert.is_true(b:wait())
        assert.same({ true, true }, { t:join() })
    end)
end)

describe("an event", function()
    it("lets all go while it is set", function()
        local e, log = sync.event(), record.log()
        assert.same({ nil, "timeout" }, { e:wait(0) })
        for i = 1, 2 do spawn(function() log(tostring(e:wait()) .. i) end) end
        schedule()
        e:set()
        e:clear()
        schedule()
        assert.equal("true1 true2", tostring(log))
        assert.same({ nil, "timeout" }, { e:wait(0) })
        e:set()
        e:set()
        assert.is_true(e:wait())
        assert.is_true(e:wait(0))
    end)
end)

describe("a queue", function()
    it("gives values in their order, nils and false among them", function()
        local q = sync.queue()
        for _, v in ipairs { 1, false, "x" } do assert.is_true(q:put(v)) end
        q:put(nil)
        assert.equal(4, #q)
        assert.equal(1, q:get())
        assert.is_false(q:get())
        assert.equal("x", q:get())
        assert.same({ n = 1 }, table.pack(q:get()))
        assert.same({ nil, "timeout" }, { q:get(0) })
        assert.equal(0, #q)
    end)

    it("blocks putters at its limit, in order", function()
        local q, log = sync.queue(2), record.log()
        for i = 1, 5 do spawn(function() log(tostring(q:put(i)) .. i) end) end
        schedule()
        assert.equal("true1 true2", tostring(log))
        assert.same({ nil, "timeout" }, { q:put(6, 0) })
        for i = 1, 5 do assert.equal(i, q:get()) end
        schedule()
        assert.equal("true1 true2 true3 true4 true5", tostring(log))
    end)

    it("blocks getters, in order, for so long", function()
        local q, log = sync.queue(), record.log()
        for i = 1, 3 do spawn(function() log(i .. q:get()) end) end
        schedule()
        for _, v in ipairs { "a", "b", "c" } do q:put(v) end
        schedule()
        assert.equal("1a 2b 3c", tostring(log))
    end)

    it("closes: what is in it drains, who waits is told", function()
        local q = sync.queue(1)
        q:put "last"
        local putter = spawn(pcall, q.put, q, "never")
        schedule()
        q:close()
        q:close()
        assert.is_true(q.closed)
        local _, ok, err = putter:join()
        assert.same({ false, true }, { ok, neap.is(err, neap.ClosedError) })
        ok, err = pcall(q.put, q, 1)
        assert.same({ false, true }, { ok, neap.is(err, neap.ClosedError) })
        assert.equal("last", q:get())
        assert.same({ nil, "closed" }, { q:get() })
        q = sync.queue()
        local getter = spawn(q.get, q)
        schedule()
        q:close()
        assert.same({ true, nil, "closed" }, { getter:join() })
    end)

    for name, end_ in pairs(ENDS) do
        it("loses no value with a getter: " .. name, function()
            local q = sync.queue(1)
            local first, second = spawn(q.get, q), spawn(q.get, q)
            schedule()
            q:put "a"
            q:put "b"
            end_(first)
            schedule()
            assert.same({ true, "b" }, { second:join() })
            assert.equal(1, #q)
            q:close()
            assert.equal("a", q:get())
        end)

        it("has the value of a putter or not at all: " .. name, function()
            local q = sync.queue(1)
            q:put "a"
            local first, second = spawn(q.put, q, "b"), spawn(q.put, q, "c")
            schedule()
            end_(first)
            assert.equal("a", q:get())
            assert.equal("c", q:get())
            second:join()
            q:put "d"
            first = spawn(q.put, q, "e")
            schedule()
            assert.equal("d", q:get()) -- e is in it from now on
            end_(first)
            assert.equal("e", q:get())
            assert.equal(0, #q)
        end)
    end
end)

-- Runs all that is queued, and whatever uses more than n instructions goes to the back.
local function in_slices(n)
    local cut = neap.run(n)
    while cut do
        cut:insert()
        cut = neap.run(n)
    end
end

describe("time slices of any length", function()
    it("let nobody else into a mutex, and lose nothing in a queue", function()
        for n = 1, 60 do
            local m, q, inside, most, got = sync.mutex(), sync.queue(2), 0, 0, {}
            local function locker()
                for _ = 1, 5 do
                    local _ <close> = m:acquire()
                    inside = inside + 1
                    most = math.max(most, inside)
                    inside = inside - 1
                end
            end
            local function getter() for _ = 1, 5 do got[q:get()] = true end end
            local function putter(i) for v = 5 * i + 1, 5 * i + 5 do q:put(v) end end
            for i = 0, 2 do
                spawn(locker)
                spawn(getter)
                spawn(putter, i)
            end
            in_slices(n)
            assert.same({ 1, 15 }, { most, #got }, n)
        end
    end)
end)

-- Many tasklets that use all of it at random, are killed and run out of time at random.
local function storm(seed)
    math.randomseed(seed)
    local random = math.random
    local m, s, q = sync.mutex(), sync.semaphore(3), sync.queue(4)
    local c, e = sync.condition(), sync.event()
    local in_m, in_s = 0, 0
    local put, got = {}, {} -- values that are in the queue or were, and that came out

    local function timeout() return ({ nil, 0, 0.0005 })[random(3)] end
    local function turns() for _ = 1, random(0, 3) do schedule() end end
    local function count(n, by, limit)
        assert(n + by <= limit)
        return n + by
    end
    local acts = {
        function()
            local held <close> = m:acquire(timeout())
            if not held then return end
            in_m = count(in_m, 1, 1)
            local _ <close> = setmetatable({}, { __close = function() in_m = in_m - 1 end })
            turns()
        end,
        function()
            s:run(function()
                in_s = count(in_s, 1, 3)
                local _ <close> = setmetatable({}, { __close = function() in_s = in_s - 1 end })
                turns()
            end)
        end,
        function()
            local v = {}
            put[v] = true
            if not q:put(v, timeout()) then put[v] = nil end
        end,
        function()
            local v = q:get(timeout())
            if v then
                assert(put[v] and not got[v])
                got[v] = true
            end
        end,
        function() c:wait(timeout()) end,
        function() c:notify() end,
        function() if random(4) == 1 then e:clear() else e:set() end end,
        function() e:wait(timeout()) end,
    }
    local function work() for _ = 1, 30 do acts[random(#acts)]() turns() end end

    local list = {}
    for i = 1, 40 do list[i] = spawn(work) end
    for _ = 1, 120 do
        schedule()
        local t = list[random(#list)]
        local how = random(8)
        if how <= 4 then t:kill(true) elseif how <= 6 then t:kill() end
        if how == 7 then t:kill { hard = true } end
    end
    e:set()
    local feeder = spawn(function()
        while true do
            q:get(0)
            local v = {}
            put[v] = true
            q:put(v, 0)
            c:notify_all()
            e:set()
            schedule()
        end
    end)
    for _, t in ipairs(list) do
        local ok, err = t:join(20)
        assert(ok or err == neap.TaskletExit, err)
    end
    feeder:kill()
    return m, s, q, in_m, in_s, c
end

describe("a storm", function()
    local seeds = tonumber(os.getenv "SYNC_SEEDS") or 25
    it("of " .. seeds .. " seeds loses nothing and leaves nothing held", function()
        for seed = 1, seeds do
            local m, s, q, in_m, in_s, c = storm(seed)
            local at = "seed " .. seed
            assert.equal(0, in_m, at)
            assert.equal(0, in_s, at)
            assert.is_true(m:try_acquire(), at)
            for _ = 1, 3 do assert.is_true(s:try_acquire(), at) end
            assert.is_false(s:try_acquire(), at)
            assert.is_true(#q <= 4, at)
            assert.is_false(c:notify(), at)
        end
    end)

    it("of puts and gets delivers each value once, and none is lost", function()
        for seed = 1, seeds do
            math.randomseed(seed)
            local q, seen, kept, total = sync.queue(3), {}, 0, 400
            local producers, consumers = {}, {}
            local next_value = 0
            for i = 1, 4 do
                producers[i] = spawn(function()
                    while next_value < total do
                        next_value = next_value + 1
                        local v = next_value
                        repeat until q:put(v, math.random() < 0.5 and 0 or nil)
                    end
                end)
            end
            local function consume()
                while true do
                    local v, err = q:get(math.random() < 0.3 and 0 or nil)
                    if err == "closed" then return end
                    if v then
                        assert(not seen[v])
                        seen[v] = true
                        kept = kept + 1
                    end
                    if math.random() < 0.2 then schedule() end
                end
            end
            for i = 1, 6 do consumers[i] = spawn(consume) end
            for _ = 1, 200 do
                schedule()
                local i = math.random(6)
                consumers[i]:kill(math.random() < 0.5)
                if not consumers[i].alive then consumers[i] = spawn(consume) end
            end
            for i = 1, 6 do
                if not consumers[i].alive then consumers[i] = spawn(consume) end
            end
            neap.join_all(producers)
            local last = spawn(consume)
            q:close()
            last:join()
            neap.join_all(consumers)
            assert.equal(total, kept, "seed " .. seed)
        end
    end)
end)
