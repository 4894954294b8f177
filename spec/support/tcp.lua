-- A TCP connection for a spec.

local net = require "neap.net"

---Both ends of a connection on loopback.
---@return stream client
---@return stream server
return function()
    local listener <close> = neap.must(net.listen("127.0.0.1", 0))
    local client = neap.must(net.connect("127.0.0.1", listener.port))
    return client, (neap.must(listener:accept()))
end
