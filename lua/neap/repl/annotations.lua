-- The annotations that editors read, which are all that is known of a name: those in the built-in
-- modules, and those of what is written in C in neap.types.*, which is there to be read only.

local inside = require "neap.inside"

local annotations = {}

---What is said of a function, a class, a field or a value.
---@class neap.annotation
---@field name string `neap.spawn`, `channel:send`, `tasklet.name`
---@field module string in which it stands
---@field args? string `(f, ...)`, of a function
---@field type? string of a field
---@field text string prose
---@field params { name: string, type: string, text: string }[]
---@field returns { name: string, type: string, text: string }[]
---@field class? string it describes a class of that name

-- ---- one block of comments ----

-- The type at the start of a text, and what is behind it.
local function take_type(text)
    local at = 1
    repeat
        local _, last = text:find("^fun%b():%s*", at)
        if last then at = last + 1 end
        _, last = text:find("^fun%b()", at)
        if not last then _, last = text:find("^%b{}[%[%]?]*", at) end
        if not last then _, last = text:find("^[^%s|]+", at) end
        at = (last or #text) + 1
        local _, bar = text:find("^|", at)
        at = bar and bar + 1 or at
    until not bar or at > #text
    return text:sub(1, at - 1), (text:sub(at):gsub("^%s+", ""))
end

local tags = {}

function tags.param(block, text)
    local name, rest = text:match "^(%S+)%s*(.*)$"
    local kind, about = take_type(rest)
    block.params[#block.params + 1] = { name = name, type = kind, text = about }
    return block.params[#block.params]
end

tags["return"] = function(block, text)
    local kind, rest = take_type(text)
    local name, about = rest:match "^(%S*)%s*(.*)$"
    block.returns[#block.returns + 1] = { name = name, type = kind, text = about }
    return block.returns[#block.returns]
end

function tags.class(block, text)
    local name, about = text:match "^([%w_.]+)[^%s]*%s*(.*)$"
    block.class = { name = name, text = about }
    return block.class
end

function tags.field(block, text)
    local name, rest = text:match "^(%S+)%s+(.*)$"
    if name == "package" or name == "private" or name == "protected" then return {} end
    local kind, about = take_type(rest)
    block.fields[#block.fields + 1] = { name = name, type = kind, text = about }
    return block.fields[#block.fields]
end

local function parse(comment)
    local block = { text = "", params = {}, returns = {}, fields = {} }
    local last = block
    for _, line in ipairs(comment) do
        local tag, rest = line:match "^@(%a+)%s*(.*)$"
        if tag then
            last = tags[tag] and tags[tag](block, rest) or {}
        elseif line ~= "" then
            last.text = (last.text or "") .. (last.text and last.text ~= "" and "\n" or "") .. line
        end
    end
    return block
end

-- ---- a source ----

-- The name that a line of source defines, its arguments or its value.
local function defined(line)
    local name, args = line:match "^function%s+([%w_.:]+)(%b())"
    if name then return { name = name, args = args } end
    local is_local, value
    is_local, name, value = line:match "^(l?o?c?a?l?) ?([%a_][%w_.]*)%s*=%s*(.*)$"
    return name and { name = name, value = value, is_local = is_local == "local" } or nil
end

-- What a value is another name of: `require("neap.time").defer_later`, `neap.spawn`.
local function target_of(value)
    local module, field = value:match '^require%s*%(?"([%w_.]+)"%)?(.*)$'
    if module then return module .. field end
    return value:match "^[%a_][%w_]*%.[%w_.]+$"
end

local Source = {}
Source.__index = Source

function Source:add(name, entry)
    local known = self.all[name]
    if known and (known.args or not entry.args) then return end
    entry.name, entry.module = name, self.module
    entry.params, entry.returns = entry.params or {}, entry.returns or {}
    self.all[name] = entry
end

-- A variable that stands for a class or the module is called by that name; any other is a
-- part of the module.
function Source:full_name(name)
    local variable, rest = name:match "^([%w_]+)(.*)$"
    local known = self.variables[variable]
    if known then return known .. rest end
    return self.public and self.public .. "." .. name or name
end

function Source:add_class(block, is_function)
    local class = block.class
    local text = class.text ~= "" and class.text or is_function and "" or block.text
    self:add(class.name, { text = text, class = class.name })
    for _, field in ipairs(block.fields) do
        self:add(class.name .. "." .. field.name:gsub("%?$", ""),
            { text = field.text, type = field.type })
    end
end

function Source:take(comment, definition)
    local block = parse(comment)
    local d = definition or { is_local = true }
    if block.class then
        self:add_class(block, d.args)
        if d.name and not d.args then self.variables[d.name] = block.class.name end
    end
    local module = d.is_local and self.is_types and (d.value or ""):match '^require "([%w_.]+)"$'
    if module then self.variables[d.name] = module end
    if d.is_local or block.class and not d.args then return end
    local target = d.value and self.is_types and target_of(d.value)
    if #comment == 0 and not target then return end
    self:add(self:full_name(d.name), { args = d.args, text = block.text, params = block.params,
        returns = block.returns, target = target })
end

-- Takes each definition that has a comment right above it, and in neap.types all of them.
function Source:read(text)
    local comment = {}
    for line in text:gmatch "([^\n]*)\n" do
        if line:sub(1, 3) == "---" then
            if line:sub(4, 8) ~= "@meta" then comment[#comment + 1] = line:match "^...%s?(.*)$" end
        elseif #comment > 0 or self.is_types then
            local definition = defined(line)
            if definition or #comment > 0 then self:take(comment, definition) end
            comment = {}
        end
    end
end

-- Adds what stands in a module. One that is to be read only says after @meta which it is about.
local function read(all, module, text)
    local public = module
    local is_types = module:find "^neap%.types%."
    if is_types then public = text:match "^%-%-%-@meta%s+([%w_.]+)" end
    if public == "_" then public = nil end
    local returned = text:match "^.*\nreturn ([^\n]*)" or ""
    local own = returned:match "^setmetatable%(([%w_]+)" or returned:match "^[%w_]+$" or ""
    -- `http` in neap.http.form stands for neap.http
    local above = module:match("^.*%." .. own .. "%f[.]")
    setmetatable({ all = all, module = module, is_types = is_types, public = public,
        variables = { [own] = above or public } }, Source):read(text)
end

-- ---- all of them ----

local index

---All that is annotated, by name.
---@return table<string, neap.annotation>
function annotations.all()
    if index then return index end
    index = {}
    for _, module in ipairs(inside.modules()) do
        if not module:find "^neap%.repl" then read(index, module, inside.source(module)) end
    end
    return index
end

-- By its full name; of a name of another one, what that is.
local function get(name)
    local entry = annotations.all()[name]
    local target = entry and entry.target and entry.target ~= name and get(entry.target)
    if not target then return entry end
    return setmetatable({ name = name }, { __index = target })
end

---What is said of a name. `spawn` is also `neap.spawn`, `net.connect` also `neap.net.connect`;
---a dot does for a colon.
---@param wanted string
---@return neap.annotation?
function annotations.find(wanted)
    local entry = get("neap." .. wanted) or get(wanted)
    if entry then return entry end
    local plain, best = wanted:gsub(":", "."), nil
    for name in pairs(annotations.all()) do
        local dotted = name:gsub(":", ".")
        if dotted == plain then return get(name) end
        if dotted:sub(-#plain - 1) == "." .. plain and (not best or name < best) then
            best = name
        end
    end
    return best and get(best)
end

---What belongs to a class or a module, by the name in it: `send`, `balance`.
---@param owner string
---@return table<string, neap.annotation>
function annotations.members(owner)
    local found = {}
    for name in pairs(annotations.all()) do
        local before, member = name:match "^(.*)[.:]([%w_]+)$"
        if before == owner then found[member] = get(name) end
    end
    return found
end

return annotations
