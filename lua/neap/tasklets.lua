-- What is said of many tasklets at once: neap.map and neap.join_all.

local check = require "neap.check"
local inside = require "neap.inside"
local neap = require "neap"

local tasklets = {}

local function check_joinable(t, i)
    if not inside.is_tasklet(t) then
        error(("bad argument #1 to 'join_all' (a list of tasklets; its number %d is a %s)")
            :format(i, type(t)), 3)
    end
    if t.current then error("a tasklet cannot join itself", 3) end
end

-- Ends all of them when the variable that holds it goes out of scope.
local function killing(list)
    return setmetatable({}, { __close = function()
        for _, t in ipairs(list) do t:kill(true) end
    end })
end

---Calls `f(v, i)` for each element of a list, each in a tasklet of its own.
---The first error ends the others and is raised.
---@param list any[] its length is `list.n`, or `#list`
---@param f fun(v: any, i: integer): any
---@param limit? integer at most so many at a time; all at once by default
---@return any[] results the first result of each, in order; its length is `n`
function tasklets.map(list, f, limit)
    check.type("table", list, 1, "map")
    check.callable(f, 2, "map")
    local n = list.n or #list
    if limit and (math.type(limit) ~= "integer" or limit < 1) then
        error("bad argument #3 to 'map' (a count from 1 on)", 2)
    end
    local results, workers, next_index, failed = { n = n }, {}, 1, neap.channel(1)
    local function take()
        while next_index <= n do
            local i = next_index
            next_index = i + 1
            results[i] = f(list[i], i)
        end
    end
    local function work()
        local ok, err = neap.pcall(take)
        if not ok then failed:try_send(err) end
    end
    local _ <close> = killing(workers)
    for i = 1, math.min(limit or n, n) do workers[i] = neap.spawn(work) end
    for _, worker in ipairs(workers) do
        local which, err = neap.select { failed, worker }
        if which == 1 then error(err, 0) end
    end
    local some, err = failed:try_receive()
    if some then error(err, 0) end
    return results
end

---Waits for all of a list of tasklets, from the start: an error of any counts as handled.
---@param list tasklet[]
---@param timeout? number seconds, for all together
---@return table[] outcomes for each `{ true, results... }`, `{ false, err }` or
---`{ nil, "timeout" }`, with `n`
function tasklets.join_all(list, timeout)
    check.type("table", list, 1, "join_all")
    for i, t in ipairs(list) do check_joinable(t, i) end
    local outcomes, joiners = {}, {}
    local deadline = timeout and neap.now() + timeout
    local _ <close> = killing(joiners)
    for i, t in ipairs(list) do
        joiners[i] = neap.spawn(function()
            outcomes[i] = table.pack(t:join(deadline and math.max(0, deadline - neap.now())))
        end)
        joiners[i]:run() -- it waits from here on, before any of the others goes on
    end
    for _, joiner in ipairs(joiners) do joiner:join() end
    return outcomes
end

return tasklets
