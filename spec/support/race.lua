-- For specs of connections that are raced: listeners that do not answer, and what is armed.

local assert = require "luassert"
local host = require "neap.host"
local net = require "neap.net"

local race = {}

-- What is armed, once the servers of the spec have come to rest.
function race.armed()
    sleep(0.01)
    local s = host.stats()
    return { s.watches, s.timers, s.outside }
end

-- Waits until nothing more is armed than that, for less than c-ares takes to give up.
function race.assert_armed(expected)
    local until_ = neap.now() + 1.5
    local now
    repeat
        now = race.armed()
    until neap.now() > until_ or (now[1] == expected[1] and now[2] == expected[2] and
        now[3] == expected[3])
    assert.same(expected, now)
end

-- One that answers no more: its backlog is full.
function race.mute(address)
    local listener = neap.must(net.listen(address, 0, { backlog = 0 }))
    local streams = {}
    repeat
        local stream, err = net.connect(address, listener.port, { timeout = 0.05 })
        streams[#streams + 1] = stream
    until err == "timeout"
    return setmetatable({ port = listener.port }, { __close = function()
        listener:close()
        for _, stream in ipairs(streams) do stream:close() end
    end })
end

-- One of those, and a listener at another address, on one port.
function race.mute_and_heard(address, other)
    for _ = 1, 20 do
        local silent = race.mute(address)
        local heard = net.listen(other, silent.port)
        if heard then return silent, heard end
        local _ <close> = silent
    end
    error("no port that is free at both")
end

-- A listener at each of two addresses, on one port.
function race.both(address, other)
    for _ = 1, 20 do
        local one = neap.must(net.listen(address, 0))
        local two = net.listen(other, one.port)
        if two then return one, two end
        one:close()
    end
    error("no port that is free at both")
end

return race
