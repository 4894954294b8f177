-- neap spec/bench/cut.lua [N]: N conversations, each killed, timed out, closed or reset at another
-- of its waits. Prints where and how often, and what is left afterwards.

local conversation = require "spec.support.conversation"
local host = require "neap.host"
local lfs = require "lfs"

local function left()
    local n = 0
    for _ in lfs.dir("/proc/self/fd") do n = n + 1 end
    collectgarbage()
    collectgarbage()
    local s = host.stats()
    return ("%d descriptors, %d watches, %d timers, %d tasklets"):format(n, s.watches, s.timers,
        s.tasks)
end

conversation.run(10)
sleep(3)
local before = left()
local counts, cut, rounds = conversation.run(tonumber(arg[1]) or 10000)
sleep(3) -- what closes have left behind
local keys = {}
for key in pairs(counts) do keys[#keys + 1] = key end
table.sort(keys)
for _, key in ipairs(keys) do print(("%6d  %s"):format(counts[key], key)) end
print(("%6d  cut: each side at each of its waits in each way, %d times"):format(cut, rounds))
print("before: " .. before)
print("after:  " .. left())
