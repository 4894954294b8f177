-- What a switch costs: 1,000 tasklets that give way to one another with schedule().

local tasklets, rounds = 1000, 1000
local done = channel()

local function give_way()
    for _ = 1, rounds do schedule() end
    done:send(true)
end

local start = os.clock()
for _ = 1, tasklets do spawn(give_way) end
for _ = 1, tasklets do done:receive() end
print(("switch %.1f ns"):format((os.clock() - start) / (tasklets * rounds) * 1e9))
