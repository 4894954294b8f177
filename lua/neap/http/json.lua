-- neap.http.json: JSON as answers and in requests, by lua-cjson, which is loaded at the first use.

local neap = require "neap"

local http = {}

local codec

-- An instance of our own, whose settings are nobody else's.
local function load_codec()
    if codec then return codec end
    local found, cjson = neap.pcall(require, "cjson")
    if not found then
        error("JSON needs lua-cjson (Debian's package lua-cjson): " .. tostring(cjson), 3)
    end
    codec = cjson.new()
    codec.encode_invalid_numbers(false)
    codec.decode_invalid_numbers(false)
    return codec
end

---An answer to return from a handler. A value that JSON cannot say raises.
---@param value any
---@param status? integer 200 unless given
---@param headers? table further ones
---@return integer status
---@return table headers
---@return string body
function http.json(value, status, headers)
    local text = load_codec().encode(value)
    local fields = { ["Content-Type"] = "application/json" }
    for name, field in pairs(headers or {}) do fields[name] = field end
    return status or 200, fields, text
end

---Reads a value out of a request's body, which may block. A null is cjson.null.
---@param req table
---@param max? integer bytes of the body; the server's max_body unless given
---@return any value nil: it failed
---@return string? err
---@return string? code EMEDIUMTYPE: the body is no JSON by its type (415); EBADMSG: it is none by
---its text (400); or what req:body gave
function http.json_body(req, max)
    local decoder = load_codec()
    local kind = (req.headers["content-type"] or "none"):match("^[^;%s]*"):lower()
    if kind ~= "application/json" and not kind:find("^application/[^/]+%+json$") then
        return nil, "the body is no JSON (" .. kind .. ")", "EMEDIUMTYPE"
    end
    local text, err, code = req:body(max)
    if not text then return nil, err, code end
    local decoded, value = pcall(decoder.decode, text)
    if not decoded then return nil, tostring(value), "EBADMSG" end
    return value
end

return http
