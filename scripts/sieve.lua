-- The sieve of channels: each prime is a tasklet that passes on what it does not divide, so
-- that the pipeline grows by one tasklet with every prime it finds.
--
--   neap scripts/sieve.lua [COUNT]     the first COUNT primes, 20 without

local stackless = require "neap.stackless"

local function numbers(out)
    local n = 2
    while true do
        out:send(n)
        n = n + 1
    end
end

local function sift(prime, source, out)
    for n in source do
        if n % prime ~= 0 then out:send(n) end
    end
end

local function primes(count)
    local stages, source, found = {}, stackless.channel(), {}
    stages[1] = stackless.tasklet(numbers)(source)
    while #found < count do
        local prime = source:receive() -- the first that passed all stages
        found[#found + 1] = prime
        local out = stackless.channel()
        stages[#stages + 1] = stackless.tasklet(sift)(prime, source, out)
        source = out
    end
    for _, stage in ipairs(stages) do stage:kill() end
    return found, #stages
end

local found, stages = primes(tonumber(arg[1]) or 20)
print(table.concat(found, " "))
print(("%d primes, found by %d tasklets"):format(#found, stages))
