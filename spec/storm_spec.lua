-- Very many at once, and what never stops: that it comes to an end, in order, with nothing
-- left and no stack grown.

local child = require "spec.support.child"
local net = require "neap.net"
local record = require "spec.support.record"

-- The stress build collects so often that time grows with the square.
local STRESS = child.neap:find("/stress/", 1, true)
local N, TIMERS = STRESS and 3000 or 100000, STRESS and 30000 or 1000000

-- The numbers 1..n in an order that is the same each time.
local function shuffled(n)
    math.randomseed(7)
    local list = {}
    for i = 1, n do list[i] = i end
    for i = n, 2, -1 do
        local j = math.random(i)
        list[i], list[j] = list[j], list[i]
    end
    return list
end

describe(N .. " tasklets", function()
    it("each running the next", function()
        local all, ended = {}, 0
        for i = 1, N do
            all[i] = tasklet(function()
                if all[i + 1] then all[i + 1]:run() end
                ended = ended + 1
            end)
            all[i]:bind(nil, i)
        end
        all[1]:run()
        assert.equal(N, ended)
    end)

    it("on one channel, killed in random order", function()
        local ch, all = channel(), {}
        for i = 1, N do all[i] = spawn(ch.receive, ch) end
        schedule()
        assert.equal(-N, ch.balance)
        for n, i in ipairs(shuffled(N)) do
            all[i]:kill(n % 2 == 0)
        end
        assert.equal(0, ch.balance)
        schedule()
    end)

    it("joining one", function()
        local n, one = 0, spawn(sleep, 60)
        for _ = 1, N do
            spawn(function()
                one:join()
                n = n + 1
            end)
        end
        schedule()
        one:kill()
        schedule()
        assert.equal(N, n)
    end)

    it("in one select each, the timer taken with it", function()
        local a, b, n = channel(), channel(), 0
        for _ = 1, N do
            spawn(function()
                neap.select({ a, b }, 60)
                n = n + 1
            end)
        end
        schedule()
        for _ = 1, N do b:try_send(1) end
        assert.same({ 0, 0 }, { a.balance, b.balance })
        schedule()
        assert.equal(N, n)
    end)

    it("of one group", function()
        local g = {}
        for _ = 1, N do
            local t = tasklet(sleep)
            t.group = g
            t(60)
        end
        schedule()
        assert.equal(N, neap.pause_group(g, true))
        assert.equal(N, neap.pause_group(g, false))
        assert.equal(N, neap.kill_group(g))
        schedule()
        assert.equal(0, neap.kill_group(g))
    end)

    it("sleeping until the same moment, woken in order", function()
        neap.scale(0)
        local last, inversions = 0, 0
        for i = 1, N do
            spawn(function()
                sleep(0.001)
                if i < last then inversions = inversions + 1 end
                last = i
            end)
        end
        schedule()
        neap.scale(1)
        while last < N do sleep(0.001) end
        assert.equal(0, inversions)
    end)
end)

describe(TIMERS .. " timers", function()
    it("set and cancelled", function()
        local ch, served = channel(), 0
        local t = spawn(function()
            for _ = 1, TIMERS do
                ch:receive(60)
                served = served + 1
            end
        end)
        schedule()
        for _ = 1, TIMERS do ch:send(1) end
        t:join()
        assert.equal(TIMERS, served)
    end)

    it("no time, less than none and very much", function()
        for _, s in ipairs { 0, -1, -math.huge, 5e-324 } do
            assert.is_nil((neap.select({}, s)))
            sleep(s)
        end
        local ch, log = channel(), record.log()
        for _, s in ipairs { 1e308, math.huge, 1e18 } do
            spawn(function() log(tostring(ch:receive(s))) end)
        end
        schedule()
        for i = 1, 3 do ch:send(i) end
        schedule()
        assert.equal("1 2 3", tostring(log))
        assert.has_error(function() sleep(0 / 0) end)
    end)
end)

-- Ten round trips over a socket, for each of which the reactor must be asked.
local function talk_over_a_socket()
    local a <close>, b = net.pair()
    local _ <close> = b
    for i = 1, 10 do
        local reader = spawn(b.read, b)
        sleep(0)
        a:write(i, "\n")
        assert.same({ true, tostring(i) }, { reader:join(60) })
    end
end

-- f works in several tasklets for ever; timers and sockets are served in time and the queue stays
-- short.
local function beside(f)
    local going, n = true, 0
    local all = {}
    for i = 1, 4 do
        all[i] = spawn(function()
            while going do
                f(i)
                n = n + 1
            end
        end)
    end
    for _ = 1, 5 do sleep(0.005) end
    talk_over_a_socket()
    while n <= 4 do sleep(0.005) end
    going = false
    assert.is_true(neap.getruncount() <= 6)
    return all
end

describe("timers and sockets are served beside", function()
    it("tasklets that always give way", function()
        for _, t in ipairs(beside(schedule)) do t:join() end
    end)

    it("sleeps of no length", function()
        for _, t in ipairs(beside(function() sleep(0) end)) do t:join() end
    end)

    it("talk over channels", function()
        local ch = channel()
        local all = beside(function(i)
            if i % 2 == 0 then ch:send(i) else ch:receive() end
        end)
        ch:close()
        for _, t in ipairs(all) do
            spawn(t.join, t):run() -- the last ones may find it closed
        end
        schedule()
        for _, t in ipairs(all) do assert.is_false(t.alive) end
    end)

    it("tasklets that start the next", function()
        local going, n = true, 0
        local function again()
            n = n + 1
            if going then spawn(again) end
        end
        spawn(again)
        for _ = 1, 5 do sleep(0.005) end
        while n <= 5 do sleep(0.005) end
        going = false
        schedule()
    end)

    it("runs of one another", function()
        for _, t in ipairs(beside(function()
            spawn(function() end):run()
            schedule()
        end)) do t:join() end
    end)

    it("deferreds that fire at once", function()
        for _, t in ipairs(beside(function()
            local d = deferred()
            spawn(d.callback, d, 1)
            d:wait()
        end)) do t:join() end
    end)
end)
