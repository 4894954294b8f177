-- What spec/bench/stream.sh measures of neap, one mode a run:
--
--     stream.lua relay PORT TO              net.relay between a client and port TO
--     stream.lua copy PORT TO               the same by read_some and write, one way
--     stream.lua pieces PORT MIB SIZE       writes a head and three pieces at a time, as a table
--     stream.lua joined PORT MIB SIZE       the same, made one string before
--
-- Prints `MODE CPU-seconds elapsed-seconds` of this process.

local net = require "neap.net"
local mode, port, other, size = arg[1], tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4])

local function dial(to)
    for _ = 1, 500 do
        local stream = net.connect("127.0.0.1", to)
        if stream then return stream end
        sleep(0.01)
    end
    error("nobody listens")
end

local began

local function between(move)
    local to = dial(other)
    local listener <close> = neap.must(net.listen("127.0.0.1", port))
    local from = neap.must(listener:accept())
    began = neap.now()
    move(from, to)
end

local function copy(from, to)
    local data = from:read_some()
    while data do
        neap.must(to:write(data))
        data = from:read_some()
    end
    to:shutdown()
    to:flush()
end

local function write(join)
    local to = dial(port)
    local piece = ("x"):rep(size)
    local message = { ("h"):rep(100), { piece, piece }, piece }
    began = neap.now()
    for _ = 1, other * 1024 * 1024 // (100 + 3 * size) do
        neap.must(to:write(join and table.concat { message[1], piece, piece, piece } or message))
    end
    neap.must(to:flush())
end

local modes = {
    relay = function() between(net.relay) end,
    copy = function() between(copy) end,
    pieces = function() write(false) end,
    joined = function() write(true) end,
}

modes[mode]()
print(("%s %.3f %.3f"):format(mode, os.clock(), neap.now() - began))
