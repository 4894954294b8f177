-- A reader of JSON for specs: strict, so that what it takes other readers take too.

local json = {}

local ESCAPES = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n",
    r = "\r", t = "\t" }

local value

local function skip(text, at) return text:find("[^ \t\r\n]", at) or #text + 1 end

local function refuse(text, at)
    error(("no JSON at byte %d: %s"):format(at, text:sub(at, at + 40)), 0)
end

local function string_at(text, at)
    local pieces, from = {}, at + 1
    while true do
        local to = text:find('["\\%c]', from)
        if not to then refuse(text, at) end
        pieces[#pieces + 1] = text:sub(from, to - 1)
        local c = text:sub(to, to)
        if c == '"' then return table.concat(pieces), to + 1 end
        local code = text:match("^\\u(%x%x%x%x)", to)
        local escape = ESCAPES[text:match("^\\(.)", to)]
        if not (code or escape) then refuse(text, to) end
        pieces[#pieces + 1] = code and utf8.char(tonumber(code, 16)) or escape
        from = to + (code and 6 or 2)
    end
end

local function list_at(text, at)
    local list = {}
    at = skip(text, at + 1)
    if text:sub(at, at) == "]" then return list, at + 1 end
    while true do
        list[#list + 1], at = value(text, at)
        at = skip(text, at)
        local c = text:sub(at, at)
        at = skip(text, at + 1)
        if c == "]" then return list, at end
        if c ~= "," then refuse(text, at) end
    end
end

local function object_at(text, at)
    local object = {}
    at = skip(text, at + 1)
    if text:sub(at, at) == "}" then return object, at + 1 end
    while true do
        if text:sub(at, at) ~= '"' then refuse(text, at) end
        local key, colon = string_at(text, at)
        colon = skip(text, colon)
        if text:sub(colon, colon) ~= ":" then refuse(text, colon) end
        object[key], at = value(text, skip(text, colon + 1))
        at = skip(text, at)
        local c = text:sub(at, at)
        at = skip(text, at + 1)
        if c == "}" then return object, at end
        if c ~= "," then refuse(text, at) end
    end
end

local function number_at(text, at)
    local whole = text:match("^-?%d+", at)
    if not whole or whole:find("^-?0%d") then refuse(text, at) end
    local to = at + #whole
    to = to + #(text:match("^%.%d+", to) or "")
    to = to + #(text:match("^[eE][+-]?%d+", to) or "")
    return tonumber(text:sub(at, to - 1)), to
end

function value(text, at)
    at = skip(text, at)
    local c = text:sub(at, at)
    if c == "[" then return list_at(text, at) end
    if c == "{" then return object_at(text, at) end
    if c == '"' then return string_at(text, at) end
    for word, v in pairs { ["true"] = true, ["false"] = false } do
        if text:find("^" .. word, at) then return v, at + #word end
    end
    return number_at(text, at)
end

---@param text string
---@return any value what the text stands for; raises if it is no JSON
function json.decode(text)
    if not utf8.len(text) then error("no UTF-8", 0) end
    local v, at = value(text, 1)
    if skip(text, at) <= #text then refuse(text, at) end
    return v
end

return json
