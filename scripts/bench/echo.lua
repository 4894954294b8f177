-- A TCP echo server: `echo.lua PORT` serves until it is stopped; without a port it
-- tries itself with one client and ends.

local net = require "neap.net"

local function echo(stream)
    while true do
        local data = stream:read_some()
        if not data or not stream:write(data) then return end
    end
end

local port = tonumber((...))
local listener = assert(net.listen("127.0.0.1", port or 0))
if port then return listener:serve(echo) end

spawn(function() listener:serve(echo) end)
local rounds = 10000
local stream = assert(net.connect("127.0.0.1", listener.port))
local start = os.clock()
for i = 1, rounds do
    local line = ("%063d\n"):format(i)
    assert(stream:write(line))
    assert(stream:read("L") == line)
end
print(("echo %.2f us, both ends"):format((os.clock() - start) / rounds * 1e6))
stream:close()
listener:close()
