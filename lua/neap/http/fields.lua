-- neap.http.fields: the headers of an answer, and those of a request as they are sent.

local fields = {}

local STATE = {} -- the key of what a table of fields knows: the text, or names and lists

-- The names in lower case, in their order, and by them the lists of values.
local function parsed(self)
    local state = self[STATE]
    if state.text then
        local text = state.text
        state.text, state.names, state.lists = nil, {}, {}
        for name, value in text:gmatch("([^:\r\n]+):[ \t]*([^\r\n]*)") do
            name = name:lower()
            if not state.lists[name] then
                state.lists[name] = {}
                state.names[#state.names + 1] = name
            end
            table.insert(state.lists[name], (value:gsub("[ \t]+$", "")))
        end
    end
    return state
end

local methods = {}

---All values of a header, in the order in which they came.
---@param name string in any case
---@return string[]
function methods:all(name)
    return { table.unpack(parsed(self).lists[name:lower()] or {}) }
end

local function get(self, name)
    local list = parsed(self).lists[name]
    if not list or #list == 1 or name == "set-cookie" then return list and list[1] end
    return table.concat(list, ", ")
end

local Fields = { __name = "fields" }

function Fields:__index(name)
    if methods[name] or type(name) ~= "string" then return methods[name] end
    return get(self, name:lower())
end

function Fields:__pairs()
    local names, i = parsed(self).names, 0
    return function()
        i = i + 1
        if names[i] then return names[i], get(self, names[i]) end
    end
end

---The fields of a head: a table that is asked by name in any case; `pairs` gives lower-case
---names, in the order in which they came; repeats are joined by ", ", of set-cookie it is the
---first; `:all(name)` lists.
---@param text string the lines between the status and the blank line
---@return table
function fields.parse(text)
    return setmetatable({ [STATE] = { text = text } }, Fields)
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
---@return table<string, string[]> by lower-case name; `name` of each list is as it was given
function fields.check(headers)
    local checked = {}
    for name, value in pairs(headers) do
        local list = { name = name }
        for i, each in ipairs(type(value) == "table" and value or { value }) do
            list[i] = check(name, each)
        end
        checked[name:lower()] = list
    end
    return checked
end

---The lines of such headers, in the order of their names.
---@param headers table<string, string[]>
---@param but string one that is left out
---@return string[]
function fields.lines(headers, but)
    local names, lines = {}, {}
    for name in pairs(headers) do names[#names + 1] = name ~= but and name or nil end
    table.sort(names)
    for _, name in ipairs(names) do
        local list = headers[name]
        for _, value in ipairs(list) do
            lines[#lines + 1] = list.name .. (value == "" and ";" or ": " .. value)
        end
    end
    return lines
end

return fields
