-- A port forwarder: each connection is relayed, without a copy in user space, to another host.
--
--   neap scripts/forward.lua PORT HOST PORT     serves: try it before any server you have
--   neap scripts/forward.lua                    forwards to an echo server of its own, then ends

local net = require "neap.net"

local IDLE = 300 -- seconds in which nothing is said end a connection

local function forward(listener, host, port)
    listener:serve(function(stream, peer)
        local onward, err = net.connect(host, port)
        if not onward then return print(peer, err) end
        local there, back = net.relay(stream, onward, { idle = IDLE })
        if not there then return print(peer, back) end
        print(("%s: %d bytes there, %d back"):format(arg[1] and peer or "guest", there, back))
    end)
end

if arg[3] then
    local listener = neap.must(net.listen("*", tonumber(arg[1])))
    print(("forward: port %d to %s:%s"):format(listener.port, arg[2], arg[3]))
    return forward(listener, arg[2], tonumber(arg[3]))
end

local echo = neap.must(net.listen("127.0.0.1", 0))
echo:start(function(stream)
    for line in stream:lines("L") do stream:write(line) end
end)
local listener = neap.must(net.listen("127.0.0.1", 0))
local server = spawn(forward, listener, "127.0.0.1", echo.port)

local guest = neap.must(net.connect("127.0.0.1", listener.port))
guest:write("through the forwarder\n")
print("guest heard:", guest:read())
guest:shutdown() -- the end passes through as well
assert(guest:read("a") == "")
guest:close()
listener:shutdown(5)
echo:shutdown(5)
server:join()
