-- Values as text for people: what the prompt prints.

local inside = require "neap.inside"

local pretty = {}

---The metatable of any value, whatever its `__metatable` says, unless the host denies `debug`.
pretty.metatable = debug and debug.getmetatable or getmetatable

---@class neap.pretty.options
---@field depth? integer tables deeper than this are `{...}`; 4
---@field width? integer columns; a table that takes more is spread over lines; 80
---@field items? integer of each table; 100
---@field values? integer in all; 2000
---@field text? integer bytes of a string inside a table; 500
---@field colour? boolean with ANSI colours; false

local COLOURS = {
    number = "\27[33m", string = "\27[32m", boolean = "\27[35m", ["nil"] = "\27[35m",
    object = "\27[36m", key = "\27[34m",
}

---The words that Lua has taken for itself.
---@type table<string, true>
pretty.keywords = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or
    repeat return then true until while]]):gmatch "%a+" do pretty.keywords[word] = true end

local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ['"'] = '\\"',
    ["\\"] = "\\\\" }

local function escape_byte(c)
    return ESCAPES[c] or ("\\x%02X"):format(c:byte())
end

-- UTF-8 stays readable; what is none, and control characters, are escaped.
local function escape(s)
    if utf8.len(s) then return (s:gsub('[%c"\\]', escape_byte)) end
    local parts, at = {}, 1
    while at <= #s do
        local _, bad = utf8.len(s, at)
        local last = (bad or #s + 1) - 1
        parts[#parts + 1] = s:sub(at, last):gsub('[%c"\\]', escape_byte)
        if bad then parts[#parts + 1] = escape_byte(s:sub(bad, bad)) end
        at = last + 2
    end
    return table.concat(parts)
end

local function quote(s, limit)
    if not limit or #s <= limit then return '"' .. escape(s) .. '"' end
    local cut = limit
    while cut > 0 and (s:byte(cut + 1) & 0xC0) == 0x80 do cut = cut - 1 end
    return ('"%s"... (%d bytes)'):format(escape(s:sub(1, cut)), #s)
end

---What `tostring` gives, whatever that does.
---@param v any
---@return string
function pretty.tostring(v)
    local ok, text = pcall(tostring, v)
    return ok and text or ("<%s: its __tostring fails>"):format(type(v))
end

local function seconds(n)
    return n < 10 and ("%.1f s"):format(n) or ("%.0f s"):format(n)
end

---What a tasklet does: `running`, `sleeping 1.2 s`, `receive on a channel`.
---@param t neap.tasklet
---@return string
function pretty.state(t)
    if not t.alive then return "dead" end
    if t.current then return "running" end
    if t.blocked then
        local left = inside.sleeps(t)
        return left and "sleeping " .. seconds(left) or t.waiting_on
    end
    return t.paused and "paused" or "ready"
end

local function count(n, what)
    return n > 0 and (", %d %s"):format(n, what) or ""
end

local objects = {}

function objects.tasklet(t)
    local name = t.name and (" %q"):format(t.name) or t.is_main and ' "main"' or ""
    return ("<tasklet %d%s %s>"):format(t.id, name, pretty.state(t))
end

function objects.channel(ch)
    local balance = ch.balance
    local state = ch.closed and ", closed" or ch.closing and ", closing" or ""
    local kind = ch.capacity > 0 and ("%d of %d buffered"):format(#ch, ch.capacity)
        or "rendezvous"
    return ("<channel %s%s%s%s>"):format(kind, count(balance, "to send"),
        count(-balance, "to receive"), state)
end

objects["deferred"] = function(d)
    if not d.called then return d.paused and "<deferred paused>" or "<deferred not fired>" end
    local result = d.result
    if type(result) == "table" and result.traceback and result.value ~= nil then
        return "<deferred failed: " .. pretty.tostring(result.value) .. ">"
    end
    local text = type(result) == "string" and quote(result, 60) or pretty.tostring(result)
    return "<deferred fired: " .. text .. ">"
end

function objects.stream(s)
    if not s.fd or s.fd < 0 then return "<stream closed>" end
    local ok, host, port = pcall(s.peername, s)
    local peer = ok and host and host ~= "" and " to " .. host .. (port and ":" .. port or "")
    return ("<stream%s, fd %d>"):format(peer or "", s.fd)
end

function objects.listener(l)
    local where = l.path or l.host and l.port and ("%s:%d"):format(l.host, l.port)
    return ("<listener %s>"):format(where or "closed")
end

local function userdata(v)
    local meta = pretty.metatable(v)
    local f = type(meta) == "table" and objects[rawget(meta, "__name")]
    if f then
        local ok, text = pcall(f, v)
        if ok then return text end
    end
    return "<" .. pretty.tostring(v) .. ">"
end

local function func(f)
    if not debug then return "<function>" end
    local info = debug.getinfo(f, "S")
    if info.what == "C" then return "<function, built in>" end
    return ("<function %s:%d>"):format(info.short_src, info.linedefined)
end

---What stands for one that is neither a table nor plain: `<tasklet 4 "crawl" ready>`.
---@param v any
---@return string
function pretty.object(v)
    local kind = type(v)
    if kind == "userdata" then return userdata(v) end
    if kind == "function" then return func(v) end
    if kind == "thread" then return ("<coroutine, %s>"):format(coroutine.status(v)) end
    return "<" .. pretty.tostring(v) .. ">"
end

local function paint(job, kind, text)
    if not job.colour then return text end
    return COLOURS[kind] .. text .. "\27[0m"
end

-- Characters of East Asian scripts, and pictures, take two columns; what joins the one before
-- it, none.
local function width_of(code)
    if code >= 0x300 and (code <= 0x36F or code >= 0x200B and code <= 0x200F
        or code >= 0xFE00 and code <= 0xFE0F) then
        return 0
    end
    local wide = code >= 0x1100 and (code <= 0x115F or code >= 0x2E80 and code <= 0xD7A3
        or code >= 0xF900 and code <= 0xFAFF or code >= 0xFE30 and code <= 0xFE6F
        or code >= 0xFF00 and code <= 0xFF60 or code >= 0x1F300 and code <= 0x1FAFF
        or code >= 0x20000 and code <= 0x3FFFD)
    return wide and 2 or 1
end

---How many columns of a terminal a line takes. Colours take none.
---@param text string
---@return integer
function pretty.columns(text)
    text = text:gsub("\27%[%d*m", "")
    if not utf8.len(text) then return #text end
    local n = 0
    for _, code in utf8.codes(text) do n = n + width_of(code) end
    return n
end

local columns = pretty.columns

---A line without what would take more columns; it has no colours.
---@param text string
---@param width integer
---@return string
function pretty.cut(text, width)
    if columns(text) <= width then return text end
    if not utf8.len(text) then return text:sub(1, width) end
    local n = 0
    for at, code in utf8.codes(text) do
        n = n + width_of(code)
        if n > width then return text:sub(1, at - 1) end
    end
end

---A text as one line that spoils no screen.
---@param text string
---@return string
function pretty.line(text) return (escape(text):gsub('\\(["\\])', "%1")) end

local function simple(job, v, limit)
    local kind = type(v)
    if kind == "string" then return paint(job, kind, quote(v, limit)) end
    if COLOURS[kind] then return paint(job, kind, tostring(v)) end
    return paint(job, "object", pretty.object(v))
end

local ORDER = { number = 1, string = 2 }

local function before(a, b)
    local x, y = ORDER[type(a)] or 3, ORDER[type(b)] or 3
    if x ~= y then return x < y end
    if x == 3 then return pretty.tostring(a) < pretty.tostring(b) end
    return a < b
end

-- The keys behind the sequence 1..n, sorted; of a very large table any of them.
local function sorted_keys(t, n)
    local keys, most = {}, 10000
    for k in next, t do
        if not (math.type(k) == "integer" and k >= 1 and k <= n) then
            keys[#keys + 1] = k
            if #keys == most then break end
        end
    end
    table.sort(keys, before)
    return keys
end

local function key_text(job, k)
    if type(k) == "string" and k:find "^[%a_][%w_]*$" and not pretty.keywords[k] then
        return paint(job, "key", k)
    end
    return "[" .. simple(job, k, 100) .. "]"
end

local render

local function entries(job, t, depth)
    local list, n, left = {}, rawlen(t), job.items
    for i = 1, math.min(n, left) do
        list[#list + 1] = render(job, rawget(t, i), depth + 1)
    end
    left = left - #list
    if n > job.items then list[#list + 1] = ("... %d more"):format(n - job.items) end
    local keys = sorted_keys(t, n)
    for i = 1, math.min(#keys, left) do
        list[#list + 1] = key_text(job, keys[i]) .. " = "
            .. render(job, rawget(t, keys[i]), depth + 1)
    end
    if #keys > left then list[#list + 1] = ("... %d more keys"):format(#keys - left) end
    return list
end

local function lay_out(job, list, depth)
    if #list == 0 then return "{}" end
    local width, whole = 4 + 2 * depth, true
    for _, text in ipairs(list) do
        width = width + columns(text) + 2
        whole = whole and not text:find("\n", 1, true)
    end
    if whole and width <= job.width then return "{ " .. table.concat(list, ", ") .. " }" end
    local indent = ("  "):rep(depth + 1)
    return "{\n" .. indent .. table.concat(list, ",\n" .. indent) .. "\n"
        .. ("  "):rep(depth) .. "}"
end

local function own_text(t)
    local meta = pretty.metatable(t)
    return type(meta) == "table" and rawget(meta, "__tostring") and pretty.tostring(t)
end

function render(job, v, depth)
    job.values = job.values - 1
    if type(v) ~= "table" then return simple(job, v, depth > 0 and job.text) end
    local text = own_text(v)
    if text then return paint(job, "object", "<" .. text .. ">") end
    if job.above[v] then return paint(job, "object", "<cycle>") end
    if next(v) == nil then return "{}" end
    if depth >= job.depth or job.values < 0 then return "{...}" end
    job.above[v] = true
    local list = entries(job, v, depth)
    job.above[v] = nil
    return lay_out(job, list, depth)
end

---A value as readable text: tables with sorted keys, strings quoted, cycles marked.
---@param v any
---@param options? neap.pretty.options
---@return string
function pretty.format(v, options)
    local o = options or {}
    return render({
        depth = o.depth or 4, width = o.width or 80, items = o.items or 100,
        values = o.values or 2000, text = o.text or 500, colour = o.colour, above = {},
    }, v, 0)
end

return pretty
