-- Arguments of the library's functions. An error is that of the caller of the function that
-- checks, names that function and tells what came instead.

local inside = require "neap.inside"

local check = {}

local function fail(n, name, expected, v)
    error(("bad argument #%d to '%s' (%s expected, got %s)"):format(n, name, expected, type(v)), 4)
end

---@param v any
---@param n integer which argument it is
---@param name string of the function
function check.callable(v, n, name)
    if not inside.callable(v) then fail(n, name, "function", v) end
end

---The same for what is of a type of Lua's.
---@param expected string
function check.type(expected, v, n, name)
    if type(v) ~= expected then fail(n, name, expected, v) end
end

---The same for a table of options, or none; gives one.
---@param known table<string, true>
function check.options(opts, n, name, known)
    if opts == nil then return {} end
    if type(opts) ~= "table" then fail(n, name, "table", opts) end
    for option in pairs(opts) do
        if not known[option] then
            error(("bad option '%s' (there is none)"):format(tostring(option)), 3)
        end
    end
    return opts
end

return check
