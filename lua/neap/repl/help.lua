-- :help: the annotations that editors read, found by name.

local inside = require "neap.inside"

local help = {}

-- The built-in modules that hold annotations; the names of globals come first.
local MODULES = {
    "neap.types", "neap.tasklets", "neap.time", "neap.scope", "neap.sync", "neap.deferreds",
    "neap.exchange", "neap.pretty", "neap.stackless", "neap.twisted",
    "neap.http", "neap.http.router", "neap.http.redirect", "neap.http.cookie", "neap.http.form",
    "neap.http.json",
}

-- The name and arguments that a line of source defines.
local function defined(line)
    local name, args = line:match "^function%s+([%w_.:]+)(%b())"
    if name then return name, args end
    name = line:match "^([%w_.]+)%s*=" or line:match "^%-%-%-@class%s+([%w_.]+)"
    return name, ""
end

local function last_part(name)
    return name:match "[%w_]+$"
end

local function matches(name, wanted)
    name, wanted = name:gsub(":", "."), wanted:gsub(":", ".")
    if name == wanted then return 2 end
    local plain = wanted:gsub("^neap%.", "")
    if last_part(name) == plain or name:gsub("^neap%.", "") == plain then return 1 end
    return 0
end

local function readable(comment)
    local out = {}
    for _, line in ipairs(comment) do
        line = line:gsub("^%-%-%-", "")
        line = line:gsub("^@param%s+(%S+)%s+(.*)$", "  %1: %2")
        line = line:gsub("^@return%s+(.*)$", "  returns %1")
        if not line:find "^@" then out[#out + 1] = line end
    end
    return table.concat(out, "\n")
end

-- Calls found(name, args, comment) for each definition in a source.
local function each(source, found)
    local comment = {}
    for line in source:gmatch "([^\n]*)\n" do
        local name, args = defined(line)
        if line:find "^%-%-%-" and not name then
            comment[#comment + 1] = line
        else
            if name then found(name, args, comment) end
            comment = {}
        end
    end
end

---What the annotations say of a name.
---@param wanted string `spawn`, `neap.select`, `channel:send`
---@return string
function help.of(wanted)
    local best, text = 0, nil
    for _, module in ipairs(MODULES) do
        each(inside.source(module) or "", function(name, args, comment)
            local match = #comment > 0 and matches(name, wanted) or 0
            if match > best then
                best, text = match, name .. args .. "\n" .. readable(comment)
            end
        end)
    end
    return text or "nothing is known of " .. wanted
end

return help
