-- An HTTP server that greets: `http.lua PORT` serves until it is stopped; without a port
-- it asks itself over one connection and ends.

local http = require "neap.http"
local net = require "neap.net"

local port = tonumber((...))
local server = assert(http.serve({ host = "127.0.0.1", port = port or 0 }, function()
    return 200, { ["Content-Type"] = "text/plain" }, "Hello, world!"
end))
if port then return server:wait() end

local rounds = 10000
local stream = assert(net.connect("127.0.0.1", server.port))
local start = os.clock()
for _ = 1, rounds do
    assert(stream:write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    local head = assert(stream:read_until("\r\n\r\n"))
    assert(stream:read(tonumber(head:match("Content%-Length: (%d+)"))) == "Hello, world!")
end
print(("http %.2f us, both ends"):format((os.clock() - start) / rounds * 1e6))
stream:close()
server:close()
