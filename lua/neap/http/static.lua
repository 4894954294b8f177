-- neap.http.static: files of a folder, as RFC 9110 wants them served: with validators, conditions
-- and ranges.

local date = require "neap.http.date"
local folder_page = require "neap.http.folder_page"
local redirect = require "neap.http.redirect"
local server = require "neap.http.server"

local http = {}

local WHOLE = 65536   -- a file of at most so many bytes is read at once
local MAX_RANGES = 8  -- of one request; who wants more gets the whole file

local types = {
    aac = "audio/aac", avif = "image/avif", bmp = "image/bmp", bz2 = "application/x-bzip2",
    css = "text/css", csv = "text/csv", epub = "application/epub+zip", flac = "audio/flac",
    gif = "image/gif", gz = "application/gzip", htm = "text/html", html = "text/html",
    ico = "image/x-icon", jpeg = "image/jpeg", jpg = "image/jpeg", js = "text/javascript",
    json = "application/json", lua = "text/plain", m4a = "audio/mp4", md = "text/markdown",
    mjs = "text/javascript", mp3 = "audio/mpeg", mp4 = "video/mp4", ogg = "audio/ogg",
    otf = "font/otf", pdf = "application/pdf", png = "image/png", svg = "image/svg+xml",
    tar = "application/x-tar", tif = "image/tiff", tiff = "image/tiff", ttf = "font/ttf",
    txt = "text/plain", wasm = "application/wasm", wav = "audio/wav", webm = "video/webm",
    webmanifest = "application/manifest+json", webp = "image/webp", woff = "font/woff",
    woff2 = "font/woff2", xml = "application/xml", zip = "application/zip",
}

-- What opening a file may fail of without being worth a line in the log.
local statuses = { ENOENT = 404, ENOTDIR = 404, EXDEV = 404, ELOOP = 404, ENAMETOOLONG = 404,
    EACCES = 403, EPERM = 403 }

-- ---- names ----

-- The path below the root; nil: it is none that is served.
local function relative(path, hidden)
    for part in path:gmatch("[^/]+") do
        if part == ".." or (part:sub(1, 1) == "." and not hidden) then return nil end
    end
    local below = path:gsub("^/+", "")
    return below == "" and "." or below
end

local function type_of(name, more)
    local ending = (name:match("%.([^./]+)$") or ""):lower()
    local found = more[ending] or types[ending] or "application/octet-stream"
    return found:find("^text/[%w]+$") and found .. "; charset=utf-8" or found
end

-- ---- conditions ----

-- Whether a list of entity tags has this one; strongly: a weak one is never the same.
local function has_tag(list, tag, strongly)
    if list == "*" then return true end
    for weak, found in list:gmatch('(W?/?)("[^"]*")') do
        if found == tag and not (strongly and weak == "W/") then return true end
    end
    return false
end

-- Whether the file has changed since a time that a header names; what is no date says nothing.
local function changed_since(text, time)
    local since = text and date.parse(text)
    return since and time > since
end

-- The status that the request's conditions lead to (RFC 9110, 13.2.2), or nil.
local function condition(headers, tag, time)
    local if_match, if_none_match = headers["if-match"], headers["if-none-match"]
    if if_match then
        if not has_tag(if_match, tag, true) then return 412 end
    elseif changed_since(headers["if-unmodified-since"], time) then
        return 412
    end
    if if_none_match then return has_tag(if_none_match, tag) and 304 or nil end
    return changed_since(headers["if-modified-since"], time) == false and 304 or nil
end

-- ---- ranges ----

-- Whether what the client has is of this very file; a date tells only if it is not just now.
local function same_file(if_range, tag, time)
    if if_range:sub(1, 1) == '"' then return if_range == tag end
    return date.parse(if_range) == time and os.time() > time + 1
end

-- First and last byte of one range of a file: "0-99", "100-", "-100". False: it has no such byte;
-- nil: that is no range.
local function one_range(text, size)
    local first, last = text:match("^[ \t]*(%d*)%-(%d*)[ \t]*$")
    if not first or (first == "" and last == "") then return nil end
    first, last = tonumber(first), tonumber(last)
    if not first then return last > 0 and size > 0 and math.max(size - last, 0), size - 1 end
    if last and last < first then return nil end
    return first < size and first, math.min(last or size - 1, size - 1)
end

-- The ranges to be sent, { first, last } each, none if there are no such bytes; nil: the whole
-- file. So many, or so much, that the whole is less: the whole.
local function ranges(header, size)
    local list = header:match("^[Bb][Yy][Tt][Ee][Ss]=(.*)$")
    local found, asked, bytes = {}, 0, 0
    for text in ((list or "") .. ","):gmatch("([^,]*),") do
        local first, last = one_range(text, size)
        asked = asked + 1
        if first == nil or asked > MAX_RANGES then return nil end
        if first then
            found[#found + 1] = { first, last }
            bytes = bytes + last - first + 1
        end
    end
    if bytes > size then return nil end
    return found
end

local function content_range(range, size)
    return ("bytes %d-%d/%d"):format(range[1], range[2], size)
end

-- The pieces of several ranges, and how many bytes they are.
local function parts(file, list, fields)
    local boundary = ("%016x%016x"):format(math.random(0), math.random(0))
    local heads, size, i = {}, 0, 0
    local ending = "\r\n--" .. boundary .. "--\r\n"
    for n, range in ipairs(list) do
        heads[n] = ("\r\n--%s\r\nContent-Type: %s\r\nContent-Range: %s\r\n\r\n"):format(boundary,
            fields["Content-Type"], content_range(range, file.size))
        size = size + #heads[n] + range[2] - range[1] + 1
    end
    fields["Content-Type"] = "multipart/byteranges; boundary=" .. boundary
    fields["Content-Length"] = size + #ending
    file:range(0, 0)
    return function()
        local data, err, code = file()
        if data or err then return data, err, code end
        i = i + 1
        if i <= #list then
            file:range(list[i][1], list[i][2] - list[i][1] + 1)
            return heads[i]
        end
        file:close()
        return i == #list + 1 and ending or nil
    end
end

-- ---- answers ----

-- A body of these bytes of the file; small ones are read at once, large ones the server sends.
local function body(file, first, size)
    file:range(first, size)
    if size > WHOLE then return file end
    local pieces = {}
    for piece in file do pieces[#pieces + 1] = piece end
    file:close()
    return pieces
end

local function send_ranges(file, list, fields)
    if #list == 0 then
        fields = { ["Content-Range"] = "bytes */" .. file.size }
        file:close()
        return 416, fields
    end
    if #list > 1 then return 206, fields, parts(file, list, fields) end
    fields["Content-Range"] = content_range(list[1], file.size)
    return 206, fields, body(file, list[1][1], list[1][2] - list[1][1] + 1)
end

local function send_file(self, req, file, name)
    local headers, tag, time, size = req.headers, '"' .. file.tag .. '"', file.time, file.size
    local fields = { ETag = tag, ["Last-Modified"] = date.format(time),
        ["Cache-Control"] = self.max_age and "max-age=" .. self.max_age or nil }
    local status = condition(headers, tag, time)
    if status then
        file:close()
        return status, fields
    end
    fields["Content-Type"] = type_of(name, self.types)
    fields["Accept-Ranges"] = "bytes"
    fields["X-Content-Type-Options"] = "nosniff"
    if req.method == "HEAD" then
        file:close()
        fields["Content-Length"] = size
        return 200, fields, ""
    end
    local range, if_range = headers.range, headers["if-range"]
    local list = range and (not if_range or same_file(if_range, tag, time)) and ranges(range, size)
    if list then return send_ranges(file, list, fields) end
    return 200, fields, body(file, 0, size)
end

local function send_folder(self, req, folder, path)
    if req.path:sub(-1) ~= "/" then
        folder:close()
        return redirect.into_folder(req)
    end
    local name = path == "." and self.index or path .. (self.index or "")
    local file = self.index and server.open_file(self.root, name)
    if file and not file.folder then
        folder:close()
        return send_file(self, req, file, name)
    end
    local page <close> = folder
    if not self.directory then return 404 end
    return folder_page.answer(page, (req.base or "") .. req.path, req.path == "/", self.hidden)
end

local function serve(self, req)
    if req.method ~= "GET" and req.method ~= "HEAD" then return 405, { Allow = "GET, HEAD" } end
    local path = relative(req.path, self.hidden)
    if not path then return 404 end
    local file, err, code = server.open_file(self.root, path)
    if not file then return statuses[code] or error(err, 0) end
    if file.folder then return send_folder(self, req, file, path) end
    return send_file(self, req, file, path)
end

local known = { index = "string", directory = "boolean", hidden = "boolean", max_age = "number",
    types = "table" }

---A handler that serves the files below a folder, which nothing leads out of: no "..", no symbolic
---link. Reads are from the disk: a slow one holds the reactor.
---@param root string
---@param opts? table index: what a folder is answered with ("index.html"; false: nothing);
---directory: true: a page that lists a folder without one; hidden: true: names that begin with a
---dot, too; max_age: seconds for which clients need not ask again; types: content types by ending
---@return function? handler
---@return string? err
---@return string? code
function http.static(root, opts)
    opts = opts or {}
    if type(root) ~= "string" then error("bad argument #1 to 'static' (string expected)", 2) end
    for name, value in pairs(opts) do
        if type(value) ~= known[name] and not (name == "index" and value == false) then
            local why = known[name] and known[name] .. " expected" or "there is none"
            error(("bad option '%s' (%s)"):format(name, why), 2)
        end
    end
    local folder, err, code = server.open_file(root, ".")
    if not folder then return nil, root .. err:sub(2), code end
    folder:close()
    local self = { root = root, index = opts.index == nil and "index.html" or opts.index,
        directory = opts.directory, hidden = opts.hidden, types = opts.types or {},
        max_age = opts.max_age and math.floor(opts.max_age) }
    return function(req) return serve(self, req) end
end

return http
