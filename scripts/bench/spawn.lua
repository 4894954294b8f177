-- What a tasklet costs from spawn to end: a thousand at a time, each counts itself.

local batches, batch = 1000, 1000
local count = 0

local function work() count = count + 1 end

local start = os.clock()
for _ = 1, batches do
    for _ = 1, batch do spawn(work) end
    schedule()
end
assert(count == batches * batch)
print(("spawn %.1f ns"):format((os.clock() - start) / count * 1e9))
