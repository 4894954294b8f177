-- A conversation over a stream, with a kill, a timeout or a close at whatever wait it is in.

local net = require "neap.net"

local conversation = {}

local BIG = ("0123456789abcdef"):rep(20000) -- more than is under way at once

-- The other side; it ends quietly when the conversation does.
local function answer(stream)
    stream:setoption("sndbuf", 65536)
    local line = stream:read()
    if not line or not stream:write(line:upper(), "\n") then return end
    for _ = 1, 3 do sleep(0) end
    local big = stream:read(#BIG)
    if not big or #big < #BIG then return end
    if not stream:write({ "length ", #big, "\r\n\r\n", { big } }) or not stream:flush() then
        return
    end
    stream:read("a")
    stream:write("bye")
end

-- The whole of it; `hold` gets the stream, for others to close. Raises where it fails.
local function talk(port, hold, timeout)
    local stream <close> = neap.must(net.connect("127.0.0.1", port, { timeout = 20 }))
    hold(stream)
    stream:setoption("sndbuf", 65536)
    stream:settimeout(timeout)
    neap.must(stream:write("hello\n"))
    assert(neap.must(stream:read()) == "HELLO")
    neap.must(stream:write({ BIG:sub(1, 100000), BIG:sub(100001) }))
    assert(neap.must(stream:read_until("\r\n\r\n")) == "length 320000\r\n\r\n")
    assert(neap.must(stream:read(#BIG)) == BIG)
    neap.must(stream:flush())
    neap.must(stream:shutdown())
    assert(neap.must(stream:read("a")) == "bye")
    return "whole"
end

local cuts = {
    kill = function(t) t:kill() end,
    ["hard kill"] = function(t) t:kill { hard = true } end,
    throw = function(t) t:throw("cut") end,
    close = function(_, stream) if stream then stream:close() end end,
    timeout = function(_, stream) if stream then stream:settimeout(0) end end,
    nothing = function() end,
}
local names = { "kill", "hard kill", "throw", "close", "timeout", "nothing" }

-- Has one conversation, cut after so many turns; what it was waiting for then.
local function one(port, name, turns)
    local stream
    local timeout = name == "timeout" and turns * 1e-5 or nil
    local t = spawn(neap.pcall, talk, port, function(s) stream = s end, timeout)
    schedule() -- it is at its connect
    for _ = 1, turns do
        if not t.alive then break end
        sleep(0)
    end
    local waited = t.alive and (t.waiting_on or "its turn") or nil
    if t.alive then cuts[name](t, stream) end
    t:join()
    return waited
end

---Has n conversations, each cut somewhere.
---@return table counts by what was cut how: { ["read on a stream: kill"] = 12, ... }
---@return integer cut how many were cut while they waited
---@return integer late how many handlers did not end by themselves
function conversation.run(n)
    local listener = neap.must(net.listen("127.0.0.1", 0))
    listener:start(answer)
    local counts, cut = {}, 0
    for i = 1, n do
        local name = names[i % #names + 1]
        local waited = one(listener.port, name, math.random(0, 30))
        if waited and name ~= "nothing" then
            cut = cut + 1
            local key = waited .. ": " .. name
            counts[key] = (counts[key] or 0) + 1
        end
    end
    return counts, cut, listener:shutdown(10)
end

return conversation
