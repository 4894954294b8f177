-- What a rendezvous costs: two tasklets pass a number to and fro over two channels.

local rounds = 1000000
local ping, pong = channel(), channel()

spawn(function()
    for _ = 1, rounds do pong:send(ping:receive()) end
end)

local start = os.clock()
for i = 1, rounds do
    ping:send(i)
    pong:receive()
end
print(("rendezvous %.1f ns"):format((os.clock() - start) / rounds * 1e9))
