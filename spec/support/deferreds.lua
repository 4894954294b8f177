-- What specs about deferreds share.

local deferreds = {}

---An errback that handles the failure and gives its error.
function deferreds.value_of(failure)
    return failure.value
end

---Calls a function, so that no stack slot of the caller keeps what it makes.
function deferreds.drop(f, ...)
    f(...)
end

---A tasklet that has begun to wait for d.
---@return table w { tasklet =, got = table.pack(pcall(block_on, d, timeout)) once it is done }
function deferreds.waiter(d, timeout)
    local w = {}
    w.tasklet = spawn(function()
        w.got = table.pack(pcall(block_on, d, timeout))
    end)
    w.tasklet:run()
    return w
end

return deferreds
