---A value that calls f when the block that holds it in a `<close>` variable ends, however that is.
---@param f function
return function(f) return setmetatable({}, { __close = f }) end
