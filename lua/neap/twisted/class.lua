-- Classes as Twisted's are used: derived from, called to make an object.

---A class. Called, it makes an object and calls its `init(self, ...)`.
---@param name string what its objects are called by tostring
---@param base? table
---@param members? table
---@return table class with a method extend(members[, name])
local function class(name, base, members)
    local c = { __name = name, base = base }
    for key, value in pairs(members or {}) do c[key] = value end
    c.__index = c
    c.__tostring = c.__tostring or base and base.__tostring
    function c.extend(self, more, own_name) return class(own_name or name, self, more) end
    return setmetatable(c, {
        __index = base,
        __call = function(self, ...)
            local object = setmetatable({}, self)
            if self.init then object:init(...) end
            return object
        end,
        __tostring = function(self) return self.__name end,
    })
end

---Whether an object is of the class or of one derived from it.
local function is_instance(object, wanted)
    local c = type(object) == "table" and getmetatable(object)
    while c do
        if c == wanted then return true end
        c = rawget(c, "base")
    end
    return false
end

return { class = class, is_instance = is_instance }
