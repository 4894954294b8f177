-- UDP echo: a server that answers each datagram, and a client that asks again until it hears.
--
--   neap scripts/udp_echo.lua PORT            serves
--   neap scripts/udp_echo.lua                 a server and a client, then ends

local net = require "neap.net"

local function serve(socket)
    while true do
        local data, host, port = socket:receive()
        if not data then return print("server:", host) end
        socket:send(data, host, port)
    end
end

-- Datagrams may be lost: says the text up to `tries` times, and waits a little longer each time.
local function ask(host, port, text, tries)
    local socket <close> = neap.must(net.udp())
    neap.must(socket:connect(host, port)) -- hears from nobody else, and of a refusal
    for try = 1, tries do
        socket:send(text)
        local answer, err = socket:receive(0.1 * try)
        if answer == text then return answer end
        if not answer and err ~= "timeout" then return nil, err end
    end
    return nil, "no answer"
end

if arg[1] then
    local socket = neap.must(net.udp("*", tonumber(arg[1])))
    print("udp_echo: port " .. socket.port)
    return serve(socket)
end

local socket = neap.must(net.udp("127.0.0.1", 0))
local server = spawn(serve, socket)
for _, text in ipairs { "one", "two", "" } do
    print("client:", ("%q"):format(neap.must(ask("127.0.0.1", socket.port, text, 5))))
end
socket:close()
server:join()
