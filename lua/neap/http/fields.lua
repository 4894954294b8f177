-- neap.http.fields: the headers of an answer, and those of a request as they are sent.

local fields = {}

-- name in lower case -> the list of its values
local function all(self, name)
    return self.lists[name:lower()] or {}
end

local methods = {}

---All values of a header, in the order in which they came.
---@param name string in any case
---@return string[]
function methods:all(name)
    return { table.unpack(all(getmetatable(self), name)) }
end

local function get(meta, name)
    if type(name) ~= "string" then return nil end
    local list = all(meta, name)
    if name:lower() == "set-cookie" or #list == 0 then return list[1] end
    return table.concat(list, ", ")
end

---The fields of a head: a table that is asked by name in any case; `pairs` gives lower-case
---names, in the order in which they came; repeats are joined by ", ", of set-cookie it is the
---first; `:all(name)` lists.
---@param text string the lines between the status and the blank line
---@return table
function fields.parse(text)
    local meta = { lists = {}, names = {} }
    for name, value in text:gmatch("([^:\r\n]+):[ \t]*([^\r\n]*)") do
        name = name:lower()
        if not meta.lists[name] then
            meta.lists[name] = {}
            meta.names[#meta.names + 1] = name
        end
        table.insert(meta.lists[name], (value:gsub("[ \t]+$", "")))
    end
    function meta.__index(_, name) return methods[name] or get(meta, name) end
    function meta.__pairs()
        local i = 0
        return function()
            i = i + 1
            if meta.names[i] then return meta.names[i], get(meta, meta.names[i]) end
        end
    end
    return setmetatable({}, meta)
end

local function check(name, value)
    if type(name) ~= "string" or not name:find("^[%w!#$%%&'*+%-.^_`|~]+$") then
        error(("bad header name '%s'"):format(tostring(name)), 0)
    end
    local kind = type(value)
    if kind ~= "string" and kind ~= "number" then
        error(("bad value of header '%s' (a %s)"):format(name, kind), 0)
    end
    if kind == "string" and value:find("[\r\n\0]") then
        error(("the value of header '%s' has a CR, LF or NUL"):format(name), 0)
    end
    return tostring(value)
end

---Checks the headers that a script gives; raises for a bad one.
---@param headers table<string, string|number|(string|number)[]>
---@return table<string, string[]> by lower-case name
function fields.check(headers)
    local checked = {}
    for name, value in pairs(headers) do
        local list = {}
        for i, each in ipairs(type(value) == "table" and value or { value }) do
            list[i] = check(name, each)
        end
        checked[name:lower()] = list
    end
    return checked
end

---The lines of such headers, by name.
---@param headers table<string, string[]>
---@return string[]
function fields.lines(headers)
    local names, lines = {}, {}
    for name in pairs(headers) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do
        for _, value in ipairs(headers[name]) do
            lines[#lines + 1] = value == "" and name .. ";" or name .. ": " .. value
        end
    end
    return lines
end

return fields
