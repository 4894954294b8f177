-- neap.http.cookie: cookies, read and made.

local date = require "neap.http.date"

local http = {}

-- The values of SameSite, by how they may be written.
local same_site = { strict = "Strict", lax = "Lax", none = "None" }

local known = { path = true, domain = true, max_age = true, expires = true, secure = true,
    http_only = true, same_site = true }

-- What a request has brought; of a name that comes twice the first, whose path is the longer.
local function read(req)
    local cookies = {}
    for _, line in ipairs(req.headers:all("cookie")) do
        for name, value in line:gmatch("([^=;%s]+)%s*=%s*([^;]*)") do
            value = value:gsub("%s+$", ""):gsub('^"(.*)"$', "%1")
            if cookies[name] == nil then cookies[name] = value end
        end
    end
    return cookies
end

-- An attribute's text: printable, and no semicolon, which would begin another.
local function check_text(what, value)
    if type(value) ~= "string" or value:find("[^ -~]") or value:find(";", 1, true) then
        error(("bad option '%s' (printable text without a semicolon expected)"):format(what), 3)
    end
    return value
end

local function check_options(name, opts)
    for option in pairs(opts) do
        if not known[option] then error(("bad option '%s' (there is none)"):format(option), 3) end
    end
    local site = same_site[tostring(opts.same_site or "lax"):lower()]
    if not site then error("bad option 'same_site' (strict, lax or none)", 3) end
    if opts.max_age and math.type(opts.max_age) ~= "integer" then
        error("bad option 'max_age' (whole seconds expected)", 3)
    end
    if opts.expires and type(opts.expires) ~= "number" then
        error("bad option 'expires' (seconds since 1970 expected)", 3)
    end
    local secure, must = opts.secure ~= false, site == "None" or name:lower():find("^__secure%-")
    if not secure and (must or name:lower():find("^__host%-")) then
        error("such a cookie must be secure", 3)
    end
    if name:lower():find("^__host%-") and (opts.domain or (opts.path or "/") ~= "/") then
        error("such a cookie has no domain, and path \"/\"", 3)
    end
    return site, secure
end

local function make(name, value, opts)
    if name == "" or name:find("[^!#$%%&'*+%-.^_`|~%w]") then error("bad name of a cookie", 2) end
    local gone = not value
    value = value and tostring(value) or ""
    if value:find("[^!-~]") or value:find('[",;\\]') then
        error("bad value of a cookie (encode it: no blanks, quotes, commas, semicolons)", 2)
    end
    local site, secure = check_options(name, opts)
    local parts = { name .. "=" .. value, "Path=" .. check_text("path", opts.path or "/") }
    local function add(text) parts[#parts + 1] = text end
    if opts.domain then add("Domain=" .. check_text("domain", opts.domain)) end
    if gone or opts.max_age then add(("Max-Age=%d"):format(gone and 0 or opts.max_age)) end
    if opts.expires and not gone then add("Expires=" .. date.format(math.floor(opts.expires))) end
    if secure then add("Secure") end
    if opts.http_only ~= false then add("HttpOnly") end
    add("SameSite=" .. site)
    return table.concat(parts, "; ")
end

---http.cookie(req): a table of the cookies that came with a request.
---http.cookie(name, value[, opts]): the text of a Set-Cookie header. Unless told otherwise it is
---for the whole site, for TLS only (browsers take localhost for safe), out of reach of scripts,
---and not sent along from other sites (Lax); it lasts as long as the browser.
---@param name any a request, or the name
---@param value? string|number|false false: a header that takes the cookie away (path and domain as
---when it was made)
---@param opts? table path ("/"), domain, max_age (s), expires (seconds since 1970), secure (true),
---http_only (true), same_site ("lax", "strict", "none")
---@return table|string
function http.cookie(name, value, opts)
    if type(name) ~= "string" then return read(name) end
    if value == nil then error("bad argument #2 (a text, or false to take it away)", 2) end
    return make(name, value, opts or {})
end

return http
