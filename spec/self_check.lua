-- Says whether this Lua has a known defect that reaches scripts: with Debian's
-- 5.4.4 a __concat metamethod that makes the stack grow may lose its result.

local function deep(n)
    if n > 0 then return 1 + deep(n - 1) end
    return 0
end

local depths, lost = 400, 0
for depth = 1, depths do
    local t = setmetatable({}, { __concat = function() deep(depth) return "z" end })
    if coroutine.wrap(function() return "a" .. t end)() ~= "z" then lost = lost + 1 end
end

if lost == 0 then
    print("self-check: this Lua keeps what __concat returns")
else
    print(("self-check: this Lua loses what __concat returns at %d of %d stack depths; "
        .. "define no __concat that calls deep"):format(lost, depths))
end
