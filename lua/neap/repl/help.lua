-- :help NAME: what the annotations say of it.

local annotations = require "neap.repl.annotations"

local help = {}

local function is_error(value, name)
    return value and value.name == name and value.text == ""
end

local function lead(name, kind)
    return (name .. (kind ~= "" and " (" .. kind .. ")" or "")):gsub("^ ", "")
end

local function indented(text)
    return text ~= "" and ": " .. text:gsub("\n", "\n    ") or ""
end

-- `nil, err, code` of the world's failures takes no lines of its own.
local function returned(list)
    local n, lines = #list, {}
    local fails = is_error(list[n - 1], "err") and is_error(list[n], "code")
    for i = 1, fails and n - 2 or n do
        local r = list[i]
        lines[i] = "  returns " .. lead(r.name ~= "#" and r.name or "", r.type) .. indented(r.text)
    end
    if fails then lines[#lines] = lines[#lines] .. ", or nil, err, code" end
    return lines
end

local function described(entry)
    local lines = { entry.name .. (entry.args or "") }
    if entry.type then lines[1] = lead(lines[1], entry.type) end
    if entry.text ~= "" then lines[2] = entry.text end
    for _, p in ipairs(entry.params) do
        if p.text ~= "" then
            lines[#lines + 1] = "  " .. lead(p.name, p.type) .. indented(p.text)
        end
    end
    table.move(returned(entry.returns), 1, #entry.returns, #lines + 1, lines)
    return table.concat(lines, "\n")
end

local function wrapped(words, width)
    local lines, line = {}, " "
    for _, word in ipairs(words) do
        if #line + #word + 1 > width then
            lines[#lines + 1] = line
            line = " "
        end
        line = line .. " " .. word
    end
    lines[#lines + 1] = line
    return table.concat(lines, "\n")
end

-- The names in a class or a module.
local function members(owner, width)
    local names = {}
    for name, entry in pairs(annotations.members(owner)) do
        names[#names + 1] = name .. (entry.args and "()" or "")
    end
    if #names == 0 then return nil end
    table.sort(names)
    return ("in %s:\n%s"):format(owner, wrapped(names, width))
end

---What the annotations say of a name, and what there is in the class or module of that name.
---@param wanted string `spawn`, `neap.select`, `channel:send`
---@param width integer columns
---@return string
function help.of(wanted, width)
    local parts = {}
    local entry = annotations.find(wanted)
    if entry then parts[1] = described(entry) end
    for _, owner in ipairs { wanted, "neap." .. wanted } do
        local class = annotations.all()[owner]
        if class and class.class and entry.name ~= owner then
            parts[#parts + 1] = described(class)
        end
        parts[#parts + 1] = members(owner, width)
    end
    if #parts == 0 then return "nothing is known of " .. wanted end
    return table.concat(parts, "\n")
end

return help
