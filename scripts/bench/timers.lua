-- What a sleep costs: `timers.lua N` tasklets, each asleep for a random time below a second.

local count = tonumber((...)) or 10000
local awake = 0

local function nap()
    sleep(math.random())
    awake = awake + 1
end

math.randomseed(42)
local start = os.clock()
for _ = 1, count do spawn(nap) end
while awake < count do sleep(0.05) end
print(("timers %.0f ns"):format((os.clock() - start) / count * 1e9))
