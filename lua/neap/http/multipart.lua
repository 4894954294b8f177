-- neap.http.multipart: forms with files, as multipart/form-data, part by part as they come.
--
-- A reader holds what has come and was not given out yet (`buffer`), and keeps back only what
-- may be the beginning of a delimiter. In front of the body it puts the line break that the
-- first delimiter may lack. What fails, fails for good: `err` and `code` are set.

local neap = require "neap"

local http = {}

local MAX_PADDING = 256 -- bytes of blanks behind a delimiter

local reader, part = {}, {}
reader.__index, part.__index = reader, part

-- The quoted text that begins at `at`, and where it has ended; nil: it has no end.
local function quoted(text, at)
    local from = at + 1
    local stop = text:find('["\\]', from)
    while stop and text:sub(stop, stop) == "\\" do stop = text:find('["\\]', stop + 2) end
    if not stop then return nil end
    return text:sub(from, stop - 1):gsub('\\(["\\])', "%1"), stop + 1
end

-- The parameters behind a header's first word, by lower-case name; nil: they are malformed.
local function parameters(text)
    local found, at = {}, text:find(";", 1, true) or #text + 1
    while not text:find("^[;%s]*$", at) do
        local name, from = text:match('^;%s*([^%s=;"]+)=()', at)
        if not name then return nil end
        local value
        if text:sub(from, from) == '"' then
            value, at = quoted(text, from)
        else
            value, at = text:match('^([^%s;"]+)()', from)
        end
        name = name:lower()
        if not value or found[name] then return nil end
        found[name], at = value, text:match("^%s*()", at)
    end
    return found
end

-- The last part of a path of any system; what is no name of a file becomes none.
local function file_name(path)
    local name = path:match("[^/\\]*$")
    return (name == "." or name == "..") and "" or name
end

-- ---- the reader ----

function reader:fail(err, code)
    self.err, self.code, self.part = err, code, nil
    return nil
end

function reader:malformed(what) return self:fail("multipart: " .. what, "EBADMSG") end

-- Reads more behind the buffer.
function reader:fill()
    local data, err, code = self.req:read_some()
    if err then return self:fail(err, code) end
    if not data then return self:malformed "the body ends within a part" end
    self.buffer = self.buffer .. data
    return true
end

-- The next bytes in front of the delimiter; nil: it comes first.
function reader:data()
    local keep = #self.delimiter - 1
    repeat
        local at = self.buffer:find(self.delimiter, 1, true)
        local n = at and at - 1 or #self.buffer - keep
        if n > 0 then
            local data = self.buffer:sub(1, n)
            self.buffer = self.buffer:sub(n + 1)
            return data
        end
    until at or not self:fill()
    return nil
end

-- Takes a text of at most so many bytes, and the mark behind it.
function reader:take(mark, most)
    repeat
        local at = self.buffer:find(mark, 1, true)
        if (at or #self.buffer - #mark) > most + 1 then
            return self:fail("multipart: a head is too long", "EMSGSIZE")
        end
        if at then
            local text = self.buffer:sub(1, at - 1)
            self.buffer = self.buffer:sub(at + #mark)
            return text
        end
    until not self:fill()
    return nil
end

-- Takes the delimiter, which comes first. False: it was the last one.
function reader:pass()
    while #self.buffer < #self.delimiter + 2 do
        if not self:fill() then return nil end
    end
    local behind = self.buffer:sub(#self.delimiter + 1, #self.delimiter + 2)
    self.buffer = self.buffer:sub(#self.delimiter + 1)
    if behind == "--" then return false end
    local blanks = self:take("\r\n", MAX_PADDING)
    if blanks and blanks:find("[^ \t]") then return self:malformed "a bad delimiter" end
    return blanks and true
end

-- The fields of a part's head, by lower-case name.
function reader:fields()
    self.buffer = "\r\n" .. self.buffer
    local text = self:take("\r\n\r\n", self.max_part_head)
    if not text then return nil end
    local found = {}
    for line in text:gmatch("\r\n([^\r]*)") do
        local name, value = line:match("^([!-9;-~]+):[ \t]*(.-)[ \t]*$")
        name = name and name:lower()
        if not name or found[name] or value:find("[%c\127]") then
            return self:malformed "a bad field"
        end
        found[name] = value
    end
    return found
end

-- The part whose delimiter was passed.
function reader:begin()
    self.count = self.count + 1
    if self.count > self.max_parts then
        return self:fail("multipart: too many parts", "EMSGSIZE")
    end
    local fields = self:fields()
    if not fields then return nil end
    local disposition = fields["content-disposition"] or ""
    local names = disposition:lower():find("^form%-data%s*;") and parameters(disposition)
    if not (names and names.name) then return self:malformed "a part without a name" end
    self.part = setmetatable({ reader = self, name = names.name, headers = fields,
        filename = names.filename and file_name(names.filename), type = fields["content-type"] },
        part)
    return self.part
end

-- Reads up to the next delimiter.
function reader:skip()
    repeat until not self:data()
    return not self.err
end

---The next part; what was not read of the one before is skipped.
---@return table? part name, filename (of a path its last part), type, headers; read_some, body
---@return string? err nil: there are no more
---@return string? code EBADMSG: it is malformed (400); EMSGSIZE: a limit (413); or what the
---request's read_some gave
function reader:next()
    self.part = nil
    local more = not self.done and not self.err and self:skip() and self:pass()
    self.done = more == false
    local found = more and self:begin()
    if found then return found end
    return nil, self.err, self.code
end

-- `for part in parts do`: as next, but raises.
function reader:__call()
    local found, err, code = self:next()
    if err then neap.must(nil, err, code) end
    return found
end

-- ---- a part ----

---What has come of it.
---@return string? data nil: it has ended, or is no more the one at hand
---@return string? err
---@return string? code as those of parts:next
function part:read_some()
    local data = self.reader.part == self and self.reader:data() or nil
    return data, self.reader.err, self.reader.code
end

---All of it.
---@param max? integer bytes, 1 MiB unless given
---@return string? text
---@return string? err
---@return string? code EMSGSIZE: it is longer
function part:body(max)
    local pieces, left = {}, max or 1024 * 1024
    repeat
        local data, err, code = self:read_some()
        if err then return nil, err, code end
        left = left - #(data or "")
        if left < 0 then return nil, "multipart: a part is too long", "EMSGSIZE" end
        pieces[#pieces + 1] = data
    until not data
    return table.concat(pieces)
end

---Reads the parts of a form out of a request's body as they come, which may block.
---@param req table
---@param opts? table max_parts (100), max_part_head (8192 bytes)
---@return table? parts parts:next() gives the next; so does `for part in parts`, which raises
---@return string? err
---@return string? code EMEDIUMTYPE: the body is no such form (415)
function http.multipart(req, opts)
    opts = opts or {}
    local kind = req.headers["content-type"] or "none"
    local named = kind:lower():find("^multipart/form%-data%s*;") and parameters(kind)
    local boundary = named and named.boundary
    if not boundary or boundary == "" or #boundary > 70 or boundary:find("[^ -~]") then
        return nil, "the body is no form of parts (" .. kind .. ")", "EMEDIUMTYPE"
    end
    return setmetatable({ req = req, delimiter = "\r\n--" .. boundary, buffer = "\r\n", count = 0,
        max_parts = opts.max_parts or 100, max_part_head = opts.max_part_head or 8192 }, reader)
end

return http
