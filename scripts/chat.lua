-- A chat room over TCP: each client is a tasklet of plain sequential code, and a channel
-- of its own brings it what the others say.
--
--   neap scripts/chat.lua PORT      serves; in as many terminals as you like: nc 127.0.0.1 PORT
--   neap scripts/chat.lua           a room with three guests of its own, then ends

local net = require "neap.net"

local listener = neap.must(net.listen("127.0.0.1", tonumber(arg[1]) or 0))
local outboxes = {}

local function tell_everybody(text)
    print(text)
    for outbox in pairs(outboxes) do
        if not outbox.closing and not outbox:try_send(text) then
            outbox:close() -- 100 lines behind: it does not read, and must not hold up the others
        end
    end
end

local function deliver(outbox, stream)
    for text in outbox do
        if not stream:write(text, "\n") then break end
    end
    stream:close()
end

local function serve(stream, peer)
    stream:write("Welcome. Your name? ")
    local name = (stream:read() or ""):gsub("%c", ""):sub(1, 20)
    if name == "" then return end
    neap.getcurrent().name = name
    local outbox = channel(100)
    outboxes[outbox] = name
    local _ <close> = setmetatable({}, { __close = function()
        outboxes[outbox] = nil
        outbox:close()
        tell_everybody("* " .. name .. " leaves")
    end })
    spawn(deliver, outbox, stream)
    tell_everybody(("* %s joins from %s"):format(name, tostring(peer)))
    for line in stream:lines() do
        line = line:gsub("%c", "")
        if line == "/quit" then return end
        if line == "/boom" then error("a bug: this client is cut off, the others go on") end
        tell_everybody(name .. ": " .. line)
    end
end

if arg[1] then
    print(("chat: connect with `nc %s %d`, as often as you like; /quit leaves"):format(
        listener.host, listener.port))
    listener:serve(serve)
    return
end

listener:start(serve)
local guests = {}
for i, name in ipairs { "ann", "bob", "eve" } do
    guests[i] = spawn(function()
        local stream = neap.must(net.connect("127.0.0.1", listener.port))
        stream:write(name, "\n")
        sleep(0.1 * i)
        stream:write("hello, I am number ", i, "\n/quit\n")
        stream:read("a")
    end)
end
for _, guest in ipairs(guests) do guest:join() end
listener:close()
