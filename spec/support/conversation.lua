-- A conversation over a stream of which one side is cut at its first wait, the next time at its
-- second, and so on until it comes to its end uncut; by a kill, an error, a time that is over, a
-- close or a reset.

local net = require "neap.net"

local conversation = {}

local BIG = ("0123456789abcdef"):rep(20000) -- more than is under way at once

-- What an operation gave; raises its failure, and the end of the stream.
local function must(value, ...)
    if value == nil and not ... then error(neap.ClosedError("ended"), 0) end
    return neap.must(value, ...)
end

local function must_be(expected, got, ...)
    must(got, ...)
    assert(expected:sub(1, #got) == got, "other bytes than were sent")
    if #got < #expected then error(neap.ClosedError("ended"), 0) end
end

-- The two sides. `hold` gets the stream, for others to close.

local sides = {}

function sides.client(listener, hold)
    local stream <close> = must(net.connect("127.0.0.1", listener.port, { timeout = 20 }))
    hold(stream)
    stream:setoption("sndbuf", 65536)
    must(stream:write("hello\n"))
    must_be("HELLO", stream:read())
    must(stream:write { BIG:sub(1, 100000), BIG:sub(100001) })
    must_be("length 320000\r\n\r\n", stream:read_until("\r\n\r\n"))
    must(neap.select { stream })
    must_be(BIG, stream:read(#BIG))
    must(stream:flush())
    must(stream:shutdown())
    must_be("bye", stream:read("a"))
    return "whole"
end

function sides.server(listener, hold)
    local stream <close> = must(listener:accept())
    hold(stream)
    stream:setoption("sndbuf", 65536)
    must(stream:write(must(stream:read()):upper(), "\n"))
    for _ = 1, 3 do neap.realtime.sleep(0) end
    must_be(BIG, stream:read(#BIG))
    must(stream:write { "length ", #BIG, "\r\n\r\n", { BIG } })
    must(stream:flush())
    must(neap.select { stream })
    must_be("", stream:read("a"))
    must(stream:write("bye"))
    return "whole"
end

local EXIT = neap.TaskletExit

-- How to cut t, whose stream is `own` and its peer's `other`, nil before they are connected; and
-- how t may end but whole: with one of these errors, or one that has such a code.
local cuts = {
    kill = { function(t) t:kill() end, EXIT },
    ["pending kill"] = { function(t) t:kill(true) end, EXIT },
    ["hard kill"] = { function(t) t:kill { hard = true } end, EXIT },
    throw = { function(t) t:throw("cut") end, "cut" },
    deadline = { function(_, _, _, clock) clock:advance(1) end, "timeout" },
    timeout = { function(_, own) if own then own:settimeout(0) end end, "ETIMEDOUT" },
    close = { function(_, own) if own then own:close() end end, "ECLOSED" },
    reset = { function(_, _, other)
        if not other then return end
        other:setoption("linger", 0)
        other:close()
    end, "ECONNRESET", "EPIPE", "ENOTCONN" },
}
local certain = { kill = true, ["pending kill"] = true, ["hard kill"] = true, throw = true }

conversation.cuts = { "kill", "pending kill", "hard kill", "throw", "deadline", "timeout", "close",
    "reset" }

local function check(cut, name, ok, value, message)
    if ok and value == "whole" then
        assert(not (cut and certain[name]), "it went on after: " .. name)
        return
    end
    local got = ok and message or type(value) == "table" and value.code or value
    for i = 2, #cuts[name] do
        if cut and got == cuts[name][i] then return end
    end
    error(("after %s: %s"):format(cut and name or "nothing", tostring(got)))
end

-- Lets all run until t is at its n-th wait; false if it ends before. Who calls this is always in
-- the run queue, and so comes between two runs of t: no wait passes unseen.
local function at_wait(t, n)
    local ran = false
    local old = neap.set_schedule_callback(function(from) ran = ran or from == t end)
    while t.alive and n > 0 do
        schedule()
        if ran then n, ran = n - 1, false end
    end
    neap.set_schedule_callback(old)
    return t.alive
end

local function under(clock, f, ...)
    if clock then return neap.with_timeout(1, f, ...) end
    return f(...)
end

-- One conversation, whose `side` is cut by cuts[name] at its n-th wait; what that was for, or nil
-- if there was none.
local function one(side, name, n)
    local other = side == "client" and "server" or "client"
    local listener <close> = neap.must(net.listen("127.0.0.1", 0))
    local clock, streams = name == "deadline" and neap.clock() or nil, {}
    local old = clock and neap.use_clock(clock)
    local t = spawn(neap.pcall, under, clock, sides[side], listener,
        function(s) streams[side] = s end)
    local peer = spawn(neap.pcall, sides[other], listener, function(s) streams[other] = s end)
    local waits = at_wait(t, n)
    local what = waits and (t.waiting_on or "its turn") or nil
    if waits then cuts[name][1](t, streams[side], streams[other], clock) end
    if clock then neap.use_clock(old) end
    local got = table.pack(t:join(20))
    if got[1] then table.remove(got, 1) end -- what neap.pcall has caught, or not
    check(waits, name, table.unpack(got, 1, 3))
    listener:close()
    assert(peer:join(20) ~= nil, "the peer has not ended")
    return what
end

---Has n conversations, each cut at another wait or in another way.
---@return table counts by what was cut how: { ["client, read on a stream: kill"] = 12, ... }
---@return integer cut how many were cut
---@return integer rounds how often each side had been cut in each way at each of its waits
function conversation.run(n)
    local counts, cut, rounds = {}, 0, 0
    while true do
        for _, side in ipairs { "client", "server" } do
            for _, name in ipairs(conversation.cuts) do
                local place = 0
                repeat
                    if n == 0 then return counts, cut, rounds end
                    n, place = n - 1, place + 1
                    local what = one(side, name, place)
                    if what then
                        cut = cut + 1
                        local key = ("%s, %s: %s"):format(side, what, name)
                        counts[key] = (counts[key] or 0) + 1
                    end
                until not what
            end
        end
        rounds = rounds + 1
    end
end

return conversation
