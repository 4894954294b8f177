-- Loaded by busted before the specs. Every `it` runs in a tasklet of its own, with a
-- deadline at which all tracebacks are printed, and leaves nothing behind: no tasklet,
-- timer, watch or descriptor.

local busted = require "busted"
local host = require "neap.host"
local lfs = require "lfs"

local DEADLINE = tonumber(os.getenv("SPEC_DEADLINE")) or 120 -- seconds of one `it`
local SETTLE = 10 -- seconds in which what was closed may go

-- Under SPEC_MISCHIEF every spec runs beside an object whose finalizer, at each collection,
-- sends, receives, fires, kills, spawns, and tries to wait.
local function mischief()
    local ch, killed = channel(1), tasklet(function() end)
    local function arm()
        setmetatable({}, { __gc = function()
            ch:try_send(1)
            ch:try_receive()
            local d = deferred()
            d:add_callback(function() end)
            d:callback()
            killed:kill()
            killed = tasklet(function() end)
            if pcall(sleep, 0) then error("a finalizer waited") end
            arm()
        end })
    end
    arm()
end

if os.getenv("SPEC_MISCHIEF") then mischief() end

local function descriptors()
    local n = 0
    for _ in lfs.dir("/proc/self/fd") do n = n + 1 end
    return n
end

local function figures()
    local s = host.stats()
    return { tasklets = s.tasks, timers = s.timers, watches = s.watches, outside = s.outside,
        descriptors = descriptors() }
end

local function difference(before, now)
    local found = {}
    for name, n in pairs(now) do
        if n ~= before[name] then
            found[#found + 1] = ("%s: %d before, %d after"):format(name, before[name], n)
        end
    end
    table.sort(found)
    return #found > 0 and "left behind: " .. table.concat(found, "; ") or nil
end

local function collected()
    collectgarbage()
    return figures()
end

-- What an `it` starts with: without garbage that counts. So it is if nothing has come since
-- the last one ended.
local last

local function beginning()
    local now = figures()
    if last and not difference(last, now) then return now end
    collectgarbage()
    return collected()
end

local function leaks(before)
    local until_ = neap.realtime.now() + SETTLE
    last = collected()
    local left = difference(before, last)
    while left and neap.realtime.now() < until_ do
        neap.realtime.sleep(0.01)
        last = collected()
        left = difference(before, last)
    end
    return left
end

local function guarded(run)
    return function()
        local before = beginning()
        local known = {}
        for _, t in ipairs(neap.tasklets()) do known[t] = true end
        local clock = neap.use_clock(nil) -- the deadline is real, whatever the spec uses
        local body = spawn(function()
            neap.use_clock(clock)
            run()
        end)
        body.name = "it"
        local joined, ok, err = pcall(neap.realtime.with_timeout, DEADLINE, body.join, body)
        if not joined or ok == nil then -- a deadlock, or too slow
            err = ok and tostring(ok) or "the deadline of " .. DEADLINE .. " s has passed"
            ok = false
            for _, t in ipairs(neap.tasklets()) do
                io.stderr:write(tostring(t), " waits: ", t.waiting_on or "no", "\n")
                io.stderr:write(t:traceback(), "\n")
            end
        end
        clock = neap.use_clock(nil)
        local left = leaks(before)
        neap.use_clock(clock)
        for _, t in ipairs(neap.tasklets()) do
            if not known[t] and not t.current then t:kill() end
        end
        if not ok then error(err, 0) end
        if left then error(left, 0) end
    end
end

busted.subscribe({ "test", "start" }, function(element)
    element.run = guarded(element.run)
    return nil, true
end)
