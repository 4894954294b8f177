-- What a spec works with, and does away with.

local finally = require "spec.support.finally"

---The body of an `it` that is given what `open` gives; all of it that can be closed is closed
---in the end.
---@param open fun(): ...
---@param body fun(...)
return function(open, body)
    return function()
        local things = table.pack(open())
        local _ <close> = finally(function()
            for i = 1, things.n do
                if type(things[i]) == "userdata" then things[i]:close() end
            end
        end)
        body(table.unpack(things, 1, things.n))
    end
end
