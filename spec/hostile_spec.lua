-- What a careless or hostile script tries: each of these crashed or hung once.
local net = require "neap.net"
local run = require("spec.support.program").run
describe("a careless or hostile script:", function()
    it("a tasklet that wakes alone is cut all the same", function()
        neap.preempt(0.01)
        local stop
        local t = spawn(function() sleep(0.1) while not stop do end end)
        sleep(0.2)
        stop = true
        neap.preempt()
        assert.is_true((t:join(20)))
    end)
    it("__index of what is no object", function()
        local meta = debug.getmetatable(channel())
        assert.is_false((pcall(meta.__index, nil, "balance")))
        assert.is_false((pcall(meta.__newindex, io.stdout, "preference", 1)))
    end)
    it("select with a huge n", function()
        assert.is_false((pcall(neap.select, { { channel(), n = (1 << 32) + 2 } }, 0)))
    end)
    it("a schedule callback that kills the next", function()
        local v = spawn(error, "ran")
        local old = neap.set_schedule_callback(function(_, n)
            if n == v then n:kill { hard = true } end
        end)
        schedule()
        schedule()
        neap.set_schedule_callback(old)
        assert.is_false(v.alive)
    end)
    it("cancel of a long chain, and of a ring", function()
        local d = {}
        for i = 1, 1000 do d[i] = deferred() end
        for i = 1, 999 do d[i]:add_callback(function() return d[i + 1] end) end
        for i = 1, 999 do d[i]:callback() end
        d[1]:add_errback(function() end)
        d[1]:cancel()
        assert.is_true(d[1].called)
        local a, b = deferred(), deferred()
        a:add_callback(function() return b end)
        b:add_callback(function() return a end)
        a:callback()
        b:callback()
        a:cancel()
    end)
    it("unread wakes a reader; 08 a hard kill gives the turn", function()
        local l <close> = neap.must(net.listen("127.0.0.1", 0))
        local s; local a = spawn(function() s = l:accept() end)
        local c <close> = neap.must(net.connect("127.0.0.1", l.port))
        a:join()
        c:settimeout(20)
        local r = spawn(function() return c:read() end)
        schedule()
        c:unread("pushed\n")
        assert.same({ true, "pushed" }, { r:join() })
        r = spawn(function() c:read() end)
        schedule()
        s:write("one\ntwo\n")
        while r.blocked do schedule() end
        r:kill { hard = true }
        assert.equal("one", (c:read()))
        s:close()
    end)
    it("a hard kill of main is an error of main", function()
        local status, output = run [[
            local main = neap.getcurrent()
            spawn(function() main:kill { hard = true } end)
            sleep(1)
        ]]
        assert.equal(1, status)
        assert.equal("neap: TaskletExit\n", output)
    end)
    it("finalizers that spawn, send, fire and kill in the middle of the same", function()
        local ran, spawned, sent, received = 0, 0, 0, 0
        local ch, stop = channel(3), false
        local function count() ran = ran + 1 end
        local function arm()
            setmetatable({}, { __gc = function()
                if stop then return end
                spawn(count)
                spawned = spawned + 1
                if ch:try_send(1, 2) then sent = sent + 1 end
                arm()
            end })
        end
        collectgarbage("incremental", 1, 1000, 1) -- every allocation may run finalizers
        for _ = 1, 10 do arm() end
        for i = 1, 3000 do
            for _ = 1, 3 do spawn(count) end
            spawned = spawned + 3
            local d = deferred()
            setmetatable({}, { __gc = function() d:callback(i) end })
            if i % 2 == 0 and ch:try_send(i, nil) then sent = sent + 1 end
            if (ch:try_receive()) then received = received + 1 end
            if i % 1000 == 0 then -- seldom: there are more tasklets at once than ever before
                collectgarbage()
                assert.equal(i, (block_on(d, 100)))
            end
        end
        stop = true
        collectgarbage("incremental", 200, 100, 13)
        schedule()
        schedule()
        received = received + #ch
        assert.equal(sent, received)
        assert.equal(spawned, ran)
    end)
end)
