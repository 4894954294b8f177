-- A virtual clock for a spec.

local finally = require "spec.support.finally"

---The body of an `it` that is given a virtual clock, which is in use until it ends.
---@param body fun(clock)
return function(body)
    return function()
        local clock = neap.clock()
        local old = neap.use_clock(clock)
        local _ <close> = finally(function() neap.use_clock(old) end)
        body(clock)
    end
end
