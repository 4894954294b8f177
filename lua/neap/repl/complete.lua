-- Completion: what may stand behind the text in front of the cursor. Nothing is called but
-- __index.

local annotations = require "neap.repl.annotations"
local inside = require "neap.inside"
local pretty = require "neap.pretty"

local complete = {}

local function is_name(key)
    return type(key) == "string" and key:find "^[%a_][%w_]*$"
end

-- The tables in which methods and fields of a value are found, nearest first.
local function tables_of(value)
    local list, seen = {}, {}
    local function add(t)
        if type(t) ~= "table" or seen[t] or #list > 20 then return end
        seen[t] = true
        list[#list + 1] = t
    end
    add(value)
    local meta = pretty.metatable(value)
    while type(meta) == "table" and #list < 20 do
        local index = rawget(meta, "__index")
        if type(index) == "function" then
            add(inside.methods(value))
            break
        end
        if type(index) ~= "table" or seen[index] then break end
        add(index)
        meta = pretty.metatable(index)
    end
    return list
end

local function field(value, name)
    local ok, result = pcall(function() return value[name] end)
    if ok then return result end
end

-- The value that a path of names leads to.
local function follow(path, env)
    local value = env
    for name in path:gmatch "[%w_]+" do
        value = field(value, name)
        if value == nil then return nil end
    end
    return value
end

-- What a value is called, if it is a module of ours.
local function module_of(value)
    for name, module in next, package.loaded do
        if module == value and type(name) == "string" and name:find "^neap" then return name end
    end
end

-- Adds what is no key of any table: properties, and what a module loads on use.
local function collect_hidden(found, value, start)
    for _, name in ipairs(inside.properties(value) or {}) do
        if name:sub(1, #start) == start then found[name] = true end
    end
    local module = type(value) == "table" and module_of(value)
    for name, entry in next, module and annotations.members(module) or {} do
        if name:sub(1, #start) == start and not entry.class then found[name] = true end
    end
end

local function collect(found, value, start, methods)
    for _, t in ipairs(tables_of(value)) do
        for key, v in next, t do
            if is_name(key) and key:sub(1, #start) == start
                and (not methods or type(v) == "function") then
                found[key] = true
            end
        end
    end
end

local function modules(start)
    local found = {}
    for _, t in ipairs { package.preload, package.loaded } do
        for name in next, t do
            if type(name) == "string" and name:sub(1, #start) == start then
                found[name] = true
            end
        end
    end
    return found
end

local function names(text, env)
    local path, separator, start = text:match "([%a_][%w_.:]*)([.:])([%w_]*)$"
    local found = {}
    if path then
        local value = follow(path, env)
        if value ~= nil then
            collect(found, value, start, separator == ":")
            if separator == "." then collect_hidden(found, value, start) end
        end
        return found, start
    end
    start = text:match "[%a_][%w_]*$"
    if not start then return found, "" end
    collect(found, env, start)
    collect(found, _G, start)
    for word in next, pretty.keywords do
        if word:sub(1, #start) == start then found[word] = true end
    end
    return found, start
end

local function common(list)
    local first, last = list[1], list[#list]
    local n = 0
    while n < #first and first:byte(n + 1) == last:byte(n + 1) do n = n + 1 end
    return first:sub(1, n)
end

local function in_columns(list, width)
    local widest = 0
    for _, name in ipairs(list) do widest = math.max(widest, #name) end
    local across = math.max(1, width // (widest + 2))
    local lines = {}
    for i = 1, #list, across do
        local cells = {}
        for j = i, math.min(i + across - 1, #list) do
            cells[#cells + 1] = list[j] .. (" "):rep(widest - #list[j])
        end
        lines[#lines + 1] = table.concat(cells, "  "):gsub("%s+$", "")
    end
    return table.concat(lines, "\n")
end

---What completes a line.
---@param text string the line up to the cursor
---@param env table the global variables
---@param width integer columns of the terminal
---@return string? added what is certain to follow, nil: nothing is
---@return string? shown else what could, as a text in columns
function complete.of(text, env, width)
    local start = text:match "require%s*%(?%s*[\"']([%w_.%-]*)$"
    local found
    if start then
        found = modules(start)
    else
        found, start = names(text, env)
    end
    local list = {}
    for name in next, found do list[#list + 1] = name end
    if #list == 0 then return nil end
    table.sort(list)
    local added = common(list):sub(#start + 1)
    if added ~= "" then return added end
    return nil, #list > 1 and in_columns(list, width) or nil
end

return complete
