-- What a rendezvous costs: two tasklets pass a number to and fro over two channels. With the
-- argument `hoisted` the methods are looked up once.

local rounds = 1000000
local ping, pong = channel(), channel()

local function methods()
    spawn(function()
        for _ = 1, rounds do pong:send(ping:receive()) end
    end)
    for i = 1, rounds do
        ping:send(i)
        pong:receive()
    end
end

local function hoisted()
    local send, receive = ping.send, ping.receive
    spawn(function()
        for _ = 1, rounds do send(pong, receive(ping)) end
    end)
    for i = 1, rounds do
        send(ping, i)
        receive(pong)
    end
end

local start = os.clock()
if (...) == "hoisted" then hoisted() else methods() end
print(("rendezvous %.1f ns"):format((os.clock() - start) / rounds * 1e9))
