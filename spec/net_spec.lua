-- Every wait in neap.net, cut short in every way: it ends as it should, once, and nothing
-- of it is left behind (spec/helper.lua looks).

local fill = require "spec.support.fill"
local net = require "neap.net"
local pair = require "spec.support.tcp"

-- A stream whose output is full.
local function full()
    local client, server = neap.must(net.pair()) -- of TCP the kernel may come to hold more
    fill(client)
    return client, server
end

local function on_stream(open, wait)
    return function()
        local stream, other = open()
        return wait, stream, function()
            stream:close()
            other:close()
        end
    end
end

local function busy(open, wait)
    return function()
        local stream, other = open()
        local first = spawn(wait, stream)
        schedule()
        return wait, stream, function()
            first:kill()
            stream:close()
            other:close()
        end
    end
end

local function read(s) return s:read() end
local function write(s) return s:write(("x"):rep(100000)) end

-- Each gives a function that waits, what it waits on, and what tidies up.
local waits = {
    ["read a line"] = on_stream(pair, read),
    ["read all"] = on_stream(pair, function(s) return s:read("a") end),
    ["read a count"] = on_stream(pair, function(s) return s:read(10) end),
    ["read several"] = on_stream(pair, function(s) return s:read(0, "l", "a") end),
    ["read_some"] = on_stream(pair, function(s) return s:read_some() end),
    ["read_until"] = on_stream(pair, function(s) return s:read_until("--") end),
    ["lines"] = on_stream(pair, function(s) return s:lines()() end),
    ["turn to read"] = busy(pair, read),
    ["write"] = on_stream(full, write),
    ["turn to write"] = busy(full, write),
    ["flush"] = on_stream(full, function(s) return s:flush() end),
    ["accept"] = function()
        local listener = neap.must(net.listen("127.0.0.1", 0))
        return listener.accept, listener, function() listener:close() end
    end,
    ["serve"] = function()
        local listener = neap.must(net.listen("127.0.0.1", 0))
        return function(l) l:serve(print) end, listener, function() listener:close() end
    end,
    ["connect"] = function()
        local listener = neap.must(net.listen("127.0.0.1", 0, { backlog = 0 }))
        local waiting = {}
        repeat
            local stream, err = net.connect("127.0.0.1", listener.port, { timeout = 0.05 })
            waiting[#waiting + 1] = stream
        until err
        return function(l) return net.connect("127.0.0.1", l.port) end, listener, function()
            listener:close()
            for _, stream in ipairs(waiting) do stream:close() end
        end
    end,
}

-- Each runs wait(on) in a tasklet, cuts it short, and sees what comes of it.
local cuts = {
    ["killed"] = function(wait, on)
        local closed = false
        local t = spawn(function()
            local _ <close> = setmetatable({}, { __close = function() closed = true end })
            return wait(on)
        end)
        schedule()
        assert.is_true(t.blocked)
        t:kill()
        assert.is_true(closed)
        assert.is_false(t.alive)
        assert.same({ false, neap.TaskletExit }, { t:join() })
    end,
    ["killed in its turn"] = function(wait, on)
        local t = spawn(wait, on)
        schedule()
        t:kill(true)
        assert.is_true(t.alive)
        t:kill(true)
        assert.same({ false, neap.TaskletExit }, { t:join() })
    end,
    ["killed before it starts"] = function(wait, on)
        local started = false
        local t = spawn(function()
            started = true
            return wait(on)
        end)
        t:kill()
        assert.is_false(started or t.alive)
    end,
    ["killed inside pcall, and lives"] = function(wait, on)
        local t = spawn(function()
            local ok, err = pcall(wait, on)
            sleep(0)
            return ok, err
        end)
        schedule()
        t:kill()
        assert.same({ true, false, neap.TaskletExit }, { t:join() })
    end,
    ["killed inside a coroutine of its own"] = function(wait, on)
        local order = {}
        local function noting(what)
            return setmetatable({}, { __close = function() order[#order + 1] = what end })
        end
        local t = spawn(function()
            local _ <close> = noting "outer"
            coroutine.wrap(function()
                local _ <close> = noting "inner"
                wait(on)
            end)()
        end)
        schedule()
        assert.is_true(t.blocked)
        t:kill()
        assert.same({ false, neap.TaskletExit }, { t:join() })
        assert.same({ "inner", "outer" }, order)
    end,
    ["killed by a timer"] = function(wait, on)
        local t = spawn(wait, on)
        spawn(function()
            sleep(0.005)
            t:kill()
        end)
        assert.same({ false, neap.TaskletExit }, { t:join() })
    end,
    ["thrown at"] = function(wait, on)
        local t = spawn(function() return select(2, pcall(wait, on)) end)
        schedule()
        t:throw("a message")
        assert.same({ true, "a message" }, { t:join() })
    end,
    ["killed, and waiting again while it closes"] = function(wait, on)
        local again
        local t = spawn(function()
            local _ <close> = setmetatable({}, { __close = function()
                sleep(0.005)
                again = true
            end })
            wait(on)
        end)
        schedule()
        t:kill()
        assert.same({ false, neap.TaskletExit }, { t:join() })
        assert.is_true(again)
    end,
    ["not joined in time"] = function(wait, on)
        local t = spawn(wait, on)
        assert.same({ nil, "timeout" }, { t:join(0.005) })
        assert.is_true(t.blocked)
        t:kill()
    end,
    ["closed"] = function(wait, on)
        local t = spawn(wait, on)
        schedule()
        on:close()
        t:join(0.05)
        t:kill()
    end,
}

-- Waits that a stream's timeout bounds.
local timed = { "read a line", "read all", "read a count", "read several", "read_some",
    "read_until", "turn to read", "write", "turn to write", "flush" }

local function each(list)
    local names = {}
    for name in pairs(list) do names[#names + 1] = name end
    table.sort(names)
    local i = 0
    return function()
        i = i + 1
        return names[i], list[names[i]]
    end
end

for name, prepare in each(waits) do
    describe("a tasklet that waits in " .. name, function()
        for how, cut in each(cuts) do
            it("and is " .. how, function()
                local wait, on, tidy = prepare()
                local _ <close> = setmetatable({}, { __close = tidy })
                cut(wait, on)
            end)
        end
    end)
end

describe("a stream's timeout", function()
    for _, name in ipairs(timed) do
        it("ends the wait in " .. name, function()
            local wait, stream, tidy = waits[name]()
            local _ <close> = setmetatable({}, { __close = tidy })
            stream:settimeout(0.01)
            local got = table.pack(wait(stream))
            assert.same({ nil, "timeout", "ETIMEDOUT" }, { table.unpack(got, got.n - 2) })
            stream:settimeout(0)
            got = table.pack(wait(stream))
            assert.same({ nil, "timeout", "ETIMEDOUT" }, { table.unpack(got, got.n - 2) })
        end)
    end
end)

describe("a wait in neap.net", function()
    it("where nothing can wait is an error, and leaves nothing armed", function()
        for name, prepare in each(waits) do
            local wait, on, tidy = prepare()
            local ok, err = pcall(table.sort, { 1, 2, 3 }, function() return wait(on) end)
            tidy()
            assert.is_false(ok)
            assert.is_truthy(err:find("cannot wait inside table.sort (a C function)", 1, true),
                name)
        end
    end)
end)
