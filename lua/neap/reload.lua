-- neap.reload: new code for a module that is loaded.

local neap = require "neap"

local reload = {}

local searchers = package.searchers

-- What require would load it with, and where that was found.
local function find(name)
    local message = {}
    for _, searcher in ipairs(searchers) do
        local loader, where = searcher(name)
        if type(loader) == "function" then return loader, where end
        if type(loader) == "string" then message[#message + 1] = loader end
    end
    error(("module '%s' not found:%s"):format(name, table.concat(message)), 3)
end

-- What can fail, in want of memory or where a metatable is protected: takes up the fields
-- named, which the old table has not had, and its metatable.
local function begin(old, new, names)
    for i = 1, #names do rawset(old, names[i], rawget(new, names[i])) end
    if getmetatable(old) ~= getmetatable(new) then setmetatable(old, getmetatable(new)) end
end

-- Makes one table what another is, or raises an error and changes nothing.
local function fill(old, new)
    local names = {}
    for key in next, new do
        if rawget(old, key) == nil then names[#names + 1] = key end
    end
    local ok, err = pcall(begin, old, new, names)
    if not ok then
        for i = 1, #names do rawset(old, names[i], nil) end
        error(err, 0)
    end
    for key in next, old do
        if rawget(new, key) == nil then rawset(old, key, nil) end
    end
    for key, value in next, new do rawset(old, key, value) end
end

---Loads a module again, the way require finds it, and fills the table that everybody holds
---with what the new code returns: fields that it has no more are gone. Functions that run
---finish in the old code; who has kept a function in a local of his own keeps the old one.
---A module that is no table is replaced in `package.loaded`. A load that fails raises its
---error and changes nothing. While it loads, `require` still gives the module as it was.
---@param name string as for require
---@return any module
function reload.reload(name)
    if type(name) ~= "string" then
        error(("bad argument #1 to 'reload' (string expected, got %s)"):format(type(name)), 2)
    end
    local loaded = package.loaded
    local old = loaded[name]
    if old == nil then error(("module '%s' is not loaded"):format(name), 2) end
    local loader, where = find(name)
    local _ <close> = setmetatable({}, { __close = function(_, err)
        if err ~= nil then loaded[name] = old end
    end })
    local new = loader(name, where)
    if new == nil then new = loaded[name] end -- the chunk may have set it itself
    if type(old) == "table" and type(new) == "table" then
        if new ~= old then fill(old, new) end
        new = old
    end
    loaded[name] = new
    return new
end

neap.reload = reload.reload
return reload
