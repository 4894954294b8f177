-- neap.http.form: what a form has sent, as application/x-www-form-urlencoded.

local http = {}

-- Text without its escapes; nil: one of them is none.
local function decode(text)
    text = text:gsub("+", " ")
    if text:gsub("%%%x%x", ""):find("%", 1, true) then return nil end
    return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- The fields in order, { name, value } each; or nil, err, code.
local function parse(text, most)
    local list = {}
    for pair in text:gmatch("[^&]+") do
        if #list >= most then return nil, "a form of too many fields", "EMSGSIZE" end
        local name, value = pair:match("^([^=]*)=?(.*)$")
        name, value = decode(name), decode(value)
        if not (name and value) then return nil, "a form with a bad escape", "EBADMSG" end
        list[#list + 1] = { name, value }
    end
    return list
end

-- The view of a handler, like req.args: a name's last value, :all(name), pairs.
local function view(list)
    local last = {}
    for _, field in ipairs(list) do last[field[1]] = field[2] end
    local function all(_, name)
        local found = {}
        for _, field in ipairs(list) do
            if field[1] == name then found[#found + 1] = field[2] end
        end
        return found
    end
    return setmetatable({}, {
        __index = function(_, name)
            if name == "all" then return all end
            return last[name]
        end,
        __pairs = function() return next, last end,
    })
end

---Reads the fields of a form out of a request's body, which may block (mode "reactor" has it).
---@param req table
---@param opts? table max: bytes of the body, the server's max_body unless given; max_fields (1000)
---@return table? fields by name, a repeated name's last value; fields:all(name) lists
---@return string? err
---@return string? code EMEDIUMTYPE: the body is no such form (415); EBADMSG, EMSGSIZE: answer
---400, 413; or what req:body gave
function http.form(req, opts)
    opts = opts or {}
    local kind = (req.headers["content-type"] or "none"):match("^[^;%s]*"):lower()
    if kind ~= "application/x-www-form-urlencoded" then
        return nil, "the body is no form (" .. kind .. ")", "EMEDIUMTYPE"
    end
    local text, err, code = req:body(opts.max)
    if not text then return nil, err, code end
    local list
    list, err, code = parse(text, opts.max_fields or 1000)
    if not list then return nil, err, code end
    return view(list)
end

return http
