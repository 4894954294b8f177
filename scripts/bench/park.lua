-- What a tasklet that sleeps takes: bytes of memory each, with `park.lua N` of them.

local count = tonumber((...)) or 10000

local function resident()
    for line in io.lines("/proc/self/status") do
        local kib = line:match("^VmRSS:%s+(%d+)")
        if kib then return kib * 1024 end
    end
end

local function park() sleep(3600) end

collectgarbage()
local before = resident()
for _ = 1, count do spawn(park) end
schedule()
collectgarbage()
collectgarbage()
print(("park %.0f bytes"):format((resident() - before) / count))
for _, t in ipairs(neap.tasklets()) do
    if not t.current then t:kill(true) end
end
