-- The blocking call of 2008 as it was meant: an ordinary function waits for a deferred,
-- with no polling, no lost errors and no silent stop.
--
--   neap scripts/blocking_call.lua

local function lookup(name) -- the asynchronous side: a deferred that fires later
    local d = deferred()
    spawn(function()
        sleep(0.01)
        if name == "nobody" then
            d:errback("no such name: " .. name)
        else
            d:callback("address of " .. name)
        end
    end)
    return d
end

-- block_on makes a blocking call of it, at any depth of calls.
local function address(name) return block_on(lookup(name)) end

print(address "ann")
print(pcall(address, "nobody")) -- the failure is raised, where the text returned it

-- deferred_tasklet: sequential code behind a deferred. blocking_tasklet: the caller waits.
local both = deferred_tasklet(function(a, b) return address(a) .. ", " .. address(b) end)
local sum = blocking_tasklet(function(...)
    local n = 0
    for _, v in ipairs { ... } do
        sleep(0.01)
        n = n + v
    end
    return n
end)

local d = both("bob", "eve")
print("the sum is " .. sum(1, 2, 3) .. ", meanwhile others run")
print(d:wait())
print(block_on(d) .. ", again: a result stays")

-- In a callback nothing may block: an error says so, before anything is started.
neap.succeed():add_callback(sum, 1):add_errback(function(failure) print(failure.value) end)

-- A killed worker is a CancelledError, not a waiter that hangs.
local killed = both("x", "y")
killed.tasklet:kill()
print(pcall(block_on, killed))
