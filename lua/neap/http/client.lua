-- neap.http.client: http.request, get, post, session. Requests by libcurl (the part neap.curl),
-- which has the connections; names, redirects and timeouts are done here, so that each hop is
-- looked up, checked and stripped of credentials like the first.

local curl = require "neap.curl"
local fields = require "neap.http.fields"
local inside = require "neap.inside"
local neap = require "neap"
local net = require "neap.net"

local client = {}

local now = neap.realtime.now

local MAX_HEAD = 65536
local MAX_LINE = 65536
local MAX_TARGETS = 64
local SKIPPED = 65536 -- bytes of a redirect's body that are read to keep the connection

-- ---- options ----

-- Numbers, with what they are when they are absent.
local numbers = {
    timeout = 30, connect_timeout = 10, idle_timeout = 60, redirects = 10,
    max_body = 64 * 1024 * 1024, max_head = MAX_HEAD,
}
local others = {
    method = "string", url = "string", headers = "table", body = "any", stream = "boolean",
    verify = "boolean", decompress = "boolean", ca = "string", cert = "string", key = "string",
    proxy = "string", unix = "string",
}

local function bad(name, why)
    error(("bad option '%s' (%s)"):format(name, why), 0)
end

local function breaks(s)
    return s:find("\r", 1, true) or s:find("\n", 1, true) or s:find("\0", 1, true)
end

local function check_option(name, value)
    if numbers[name] then
        if type(value) ~= "number" or value ~= value or value < 0 then
            bad(name, "a number from 0 on expected")
        end
    elseif not others[name] then
        bad(name, "there is none")
    elseif others[name] ~= "any" and type(value) ~= others[name] then
        bad(name, others[name] .. " expected, got " .. type(value))
    elseif type(value) == "string" and name ~= "body" and breaks(value) then
        if name ~= "ca" or value:find("\0", 1, true) then bad(name, "it has a CR, LF or NUL") end
    end
end

-- What a session's requests are when they say nothing else.
local function base_of(opts)
    if type(opts) ~= "table" then error("a table of options expected", 0) end
    local base = {}
    for name, default in pairs(numbers) do base[name] = default end
    for name, value in pairs(opts) do
        check_option(name, value)
        base[name] = value
    end
    base.headers = fields.check(opts.headers or {})
    base.limited = opts.max_body ~= nil
    return base
end

-- A request that has only the session's options.
local function request_of(base)
    local r = {
        method = base.method, url = base.url, body = base.body, stream = base.stream,
        timeout = base.timeout, connect_timeout = base.connect_timeout,
        idle_timeout = base.idle_timeout, redirects = base.redirects, max_body = base.max_body,
        max_head = base.max_head, decompress = base.decompress, verify = base.verify,
        ca = base.ca, cert = base.cert, key = base.key, proxy = base.proxy, unix = base.unix,
        headers = {}, limited = base.limited, deadline = 0, target = false,
    }
    for name, list in pairs(base.headers) do r.headers[name] = list end
    return r
end

local function take_options(r, opts)
    for name, value in pairs(opts) do
        check_option(name, value)
        if name ~= "headers" then r[name] = value end
    end
    if opts.headers then
        for name, list in pairs(fields.check(opts.headers)) do r.headers[name] = list end
    end
    if opts.max_body then r.limited = true end
end

local METHODS = { GET = true, HEAD = true, POST = true, PUT = true, PATCH = true, DELETE = true,
    OPTIONS = true }

local function method_of(r)
    local method = r.method or (r.body ~= nil and "POST" or "GET")
    if METHODS[method] then return method end
    if not method:find("^[%w!#$%%&'*+%-.^_`|~]+$") then bad("method", "it is no token") end
    return method:upper()
end

-- The request that the options say; with a method, those of get and post count more.
local function check_request(session, opts, method, url, body)
    local r = request_of(session.base)
    if opts ~= nil or not method then
        if type(opts) ~= "table" then error("a table of options expected", 0) end
        take_options(r, opts)
    end
    if method then
        r.method = method
        if url ~= nil then
            check_option("url", url)
            r.url = url
        end
        if body ~= nil then r.body = body end
        if method == "POST" and not r.headers["content-type"] then
            r.headers["content-type"] = { "application/x-www-form-urlencoded",
                name = "Content-Type" }
        end
    end
    if not r.url then bad("url", "string expected, got nil") end
    r.method = method_of(r)
    if r.body ~= nil and r.method == "HEAD" then bad("body", "HEAD has none") end
    if not r.stream then r.limited = true end
    return r
end

-- ---- the request's body ----

local function check_piece(piece)
    if type(piece) ~= "string" and type(piece) ~= "number" then
        error(("bad body (a %s)"):format(type(piece)), 0)
    end
    return tostring(piece)
end

-- Makes r.out, a string, or r.pieces, a function, of the body.
local function take_body(r, body)
    local meta = getmetatable(body)
    if body == nil then
        local due = r.method == "POST" or r.method == "PUT" or r.method == "PATCH"
        r.out = due and "" or nil
    elseif type(body) == "function" or type(meta) == "table" and meta.__call then
        r.pieces = body
    elseif type(body) == "table" then
        local list = {}
        for i, piece in ipairs(body) do list[i] = check_piece(piece) end
        if #list == 0 and next(body) ~= nil then
            error("bad body (a list of strings expected)", 0)
        end
        r.out = table.concat(list)
    else
        r.out = check_piece(body)
    end
    local length = r.headers["content-length"]
    r.size = r.pieces and length and tonumber(length[1]) or nil
    r.headers["content-length"], r.headers["transfer-encoding"] = nil, nil
end

local function left(r) return math.max(r.deadline - now(), 0) end

-- The next piece; nil: the end; nil, err, code
local function next_piece(r)
    local piece, err, code
    repeat
        if r.deadline < math.huge then
            piece, err, code = neap.realtime.with_timeout(left(r), r.pieces)
        else
            piece, err, code = r.pieces()
        end
        if piece == nil then
            return nil, err, err == "timeout" and "ETIMEDOUT" or code or "ECANCELED"
        end
        piece = check_piece(piece)
    until piece ~= ""
    return piece
end

-- ---- waiting ----

-- Waits until the transfer has "head", "data" or "end", or is over, and feeds it meanwhile: the
-- script's own time is no silence. True; or nil, err, code
local function await(r, t, what)
    while true do
        local state = t:wait(what, r.idle_timeout, r.deadline)
        if state == "ready" then return true end
        if state == "timeout" then return nil, "timeout", "ETIMEDOUT" end
        local piece, err, code = next_piece(r)
        if piece == nil and err ~= nil then return nil, tostring(err), code end
        t:feed(piece)
    end
end

-- ---- one hop ----

-- Adds the addresses of a host to the list that libcurl is given. True; or nil, err, code
local function look_up(r, list, target)
    if target.in_figures then
        r.in_figures = true
        return true
    end
    local host, patience = target.host, math.min(left(r), r.connect_timeout)
    local found, err, code = net.resolve(host, { timeout = patience })
    if not found then return nil, err, code end
    for i, address in ipairs(found) do
        found[i] = address:find(":") and "[" .. address .. "]" or address
    end
    list[#list + 1] = ("+%s:%s:%s"):format(host, target.port, table.concat(found, ","))
    return true
end

local PROXIES = { http = true, https = true, socks4 = true, socks4a = true, socks5 = true,
    socks5h = true }

-- Adds a proxy's addresses. Whether it looks up names itself; or nil, err, code
local function look_up_proxy(r, list)
    local text = r.proxy:find("://", 1, true) and r.proxy or "http://" .. r.proxy
    local proxy, err = curl.url(text)
    if not proxy then return nil, "proxy: " .. err, "EINVAL" end
    if not PROXIES[proxy.scheme] then
        return nil, "proxy: " .. proxy.scheme .. " is none", "EPROTONOSUPPORT"
    end
    proxy.port = text:match("^[^/]*//[^/]*:(%d+)/*$") -- as libcurl has it, where none is given
        or (proxy.scheme == "https" and "443" or "1080")
    local ok, why, code = look_up(r, list, proxy)
    if not ok then return nil, why, code end
    return proxy.scheme ~= "socks4" and proxy.scheme ~= "socks5"
end

-- The addresses of what is to be connected to: a list; or nil, err, code
local function addresses(r, target)
    local list = {}
    r.in_figures = false
    if r.proxy and r.proxy ~= "" then
        local looks, why, code = look_up_proxy(r, list)
        if looks == nil then return nil, why, code end
        if looks then return list end
    end
    local ok, err, code = look_up(r, list, target)
    if not ok then return nil, err, code end
    return list
end

local function parse(text, base)
    local target, err = curl.url(text, base)
    if not target then
        return nil, ("%s: %s"):format(text:gsub("//[^/?#]*@", "//"), err), "EINVAL"
    end
    target.secure = target.scheme == "https"
    if not target.secure and target.scheme ~= "http" then
        return nil, ("%s: not HTTP"):format(target.url), "EPROTONOSUPPORT"
    end
    return target
end

local IDEMPOTENT = { GET = true, HEAD = true, OPTIONS = true, TRACE = true, PUT = true,
    DELETE = true }

-- The lines of the head that libcurl does not know itself; nil: none.
local function lines(r)
    if not (next(r.headers) or r.out or r.pieces) then return nil end
    local list = fields.lines(r.headers, "cookie")
    if (r.out or r.pieces) and not r.headers.expect then list[#list + 1] = "Expect:" end
    return list
end

local function origin(target)
    return ("%s://%s:%s"):format(target.scheme, target.host:lower(), target.port)
end

-- What lets one request after the other find its connection, for a server that may speak HTTP/2:
-- libcurl would make one for each of those that do not fit on the first. nil: it does not.
local function gate_of(session, target)
    if not target.secure then return nil end
    local key = origin(target)
    if session.gates[key] == nil then
        session.gate_count = session.gate_count + 1
        if session.gate_count > MAX_TARGETS then session.gates, session.gate_count = {}, 1 end
        session.gates[key] = neap.sync.mutex()
    end
    return session.gates[key] or nil
end

-- Starts the transfer, in its turn. True; or nil, err, code
local function start(session, r, hold, known, patience)
    local gate = gate_of(session, r.target)
    local turn <close> = gate and gate:acquire(math.min(left(r), patience)) or nil
    if gate and not turn then return nil, "timeout", "ETIMEDOUT" end
    if session.closed then return nil, "closed", "ECLOSED" end
    hold.transfer = session.pool:start(r, r.target, lines(r), known, patience)
    if turn and gate_of(session, r.target) == gate
        and hold.transfer:wait("sent", r.idle_timeout, r.deadline) == "timeout" then
        return nil, "timeout", "ETIMEDOUT"
    end
    return true
end

-- Begins the request: true; or nil, err, code
local function begin(session, r, hold)
    local target, patience = r.target, r.connect_timeout
    local known
    if r.unix or target.in_figures and not r.proxy then
        r.in_figures = true
    else
        local began = now()
        local err, code
        known, err, code = addresses(r, target)
        if not known then return nil, err, code end
        patience = math.max(patience - (now() - began), 0)
    end
    local cookies = r.headers.cookie
    r.cookies = cookies and table.concat(cookies, "; ") -- libcurl adds the session's
    r.idempotent = IDEMPOTENT[r.method] and not r.pieces
    return start(session, r, hold, known, patience)
end

-- What a URL says, of the last ones remembered: never what holds a user's name.
local function target_of(session, url)
    if session.targets[url] then return session.targets[url] end
    local target, err, code = parse(url)
    if not target or target.user then return target, err, code end
    session.target_count = session.target_count + 1
    if session.target_count > MAX_TARGETS then session.targets, session.target_count = {}, 1 end
    session.targets[url] = target
    return target
end

-- ---- redirects ----

local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

-- Turns the request to where the answer sends it. True; or nil, err, code
local function redirect(r, response)
    local from, status = r.target, response.status
    local to, err, code = parse(response.headers:all("location")[1], from.url)
    if not to then return nil, err, code end
    if from.scheme == "https" and to.scheme == "http" then
        return nil, "redirect from https to http refused", "EPERM"
    end
    local post = r.method == "POST" and (status == 301 or status == 302)
    if post or (status == 303 and r.method ~= "HEAD" and r.method ~= "GET") then
        r.method, r.out, r.pieces = "GET", nil, nil
        r.headers["content-type"] = nil
    elseif r.pieces then
        return nil, ("redirect %d: the body cannot be sent again"):format(status), "ENOTSUP"
    end
    if origin(from) ~= origin(to) then
        for _, name in ipairs { "authorization", "cookie", "proxy-authorization" } do
            r.headers[name] = nil
        end
        r.cert, r.key, r.unix = false, false, false
    elseif not to.user then
        to.user, to.password = from.user, from.password
    end
    r.target = to
    return true
end

-- ---- the answer ----

---An answer.
---@class http_response
---@field status integer
---@field headers table as req.headers of a server
---@field body string? unless it is streamed
---@field url string where it came from, after redirects
---@field package transfer any
---@field package request table
local Response = {}
Response.__index = Response
Response.__name = "http response"

local function describe(r, err, code)
    if err ~= "timeout" and err ~= "closed" then
        err = ("%s %s: %s"):format(r.method, r.target.url, err)
    end
    return nil, err, code
end

---What has come of a streamed body; waits for it.
---@param max? integer bytes at most
---@return string? data nil at the end; or nil, err, code
---@return string? err
---@return string? code
function Response:read_some(max)
    local t, r = self.transfer, self.request
    if max ~= nil and (type(max) ~= "number" or max < 1) then
        error("bad argument #1 (a number from 1 on expected)", 2)
    end
    if not t then error("the answer is not streamed", 2) end
    while true do
        local data = t:read(max)
        if data then return data end
        local ok, err, code = t:result()
        if ok then return nil end
        if ok == false then
            ok, err, code = await(r, t, "data")
        end
        if not ok then
            t:abort()
            return describe(r, err, code)
        end
    end
end

---The lines of a streamed body, without their ends ("L": with them). Raises if it breaks off, or
---for a line of more than 64 KiB.
---@param format? "l"|"L"
---@return fun(): string?
function Response:lines(format)
    local buffer, at, ended = "", 1, false
    local function take(last)
        local line = buffer:sub(at, last)
        at = last + 1
        return format == "L" and line or (line:gsub("\n$", ""))
    end
    return function()
        while true do
            local last = buffer:find("\n", at, true)
            if last then return take(last) end
            if ended then return at <= #buffer and take(#buffer) or nil end
            if #buffer - at >= MAX_LINE then return neap.must(nil, "line too long", "EMSGSIZE") end
            local data, err, code = self:read_some()
            if err then return neap.must(nil, err, code) end
            buffer, at, ended = buffer:sub(at) .. (data or ""), 1, not data
        end
    end
end

---Drops the rest of a streamed body, and its connection with it.
function Response:close()
    if self.transfer then self.transfer:abort() end
end

Response.__close = Response.close

-- What aborts the transfer at hand when the request is left in any way.
local Hold = { __close = function(hold) if hold.transfer then hold.transfer:abort() end end }

local function finish(r, hold, response)
    local t = hold.transfer
    if r.stream then
        hold.transfer = nil
        response.transfer, response.request = t, r
        r.deadline = math.huge
        return response
    end
    local ok, err, code = await(r, t, "end")
    if ok then ok, err, code = t:result() end
    if not ok then return describe(r, err, code) end
    response.body = t:read() or ""
    return response
end

-- One request and its answer; or nil, err, code
local function hop(session, r, hold)
    local ok, err, code = begin(session, r, hold)
    if ok then ok, err, code = await(r, hold.transfer, "head") end
    if not ok and not hold.transfer then return nil, err, code end
    if not ok then return describe(r, err, code) end
    local status, text, shared = hold.transfer:head()
    if not status then
        local _, why, failure = hold.transfer:result()
        return describe(r, why, failure)
    end
    if r.target.secure and not shared then session.gates[origin(r.target)] = false end
    return setmetatable({ status = status, headers = fields.parse(text), url = r.target.url },
        Response)
end

local function perform(session, r)
    local hold <close> = setmetatable({}, Hold)
    local err, code
    r.target, err, code = target_of(session, r.url)
    if not r.target then return nil, err, code end
    for n = 0, r.redirects do
        local response
        response, err, code = hop(session, r, hold)
        if not response then return nil, err, code end
        if n == r.redirects and n > 0 and REDIRECTS[response.status] then break end
        if r.redirects == 0 or not REDIRECTS[response.status]
            or (response.headers.location or "") == "" then
            return finish(r, hold, response)
        end
        hold.transfer:skip(SKIPPED)
        await(r, hold.transfer, "end")
        hold.transfer:abort()
        hold.transfer = nil
        local ok
        ok, err, code = redirect(r, response)
        if not ok then return describe(r, err, code) end
    end
    return describe(r, "too many redirects", "ELOOP")
end

-- ---- sessions ----

---Requests that share cookies, connections and options.
---@class http_session
---@field package base table its options, and the defaults
---@field package pool any
---@field package targets table
---@field package target_count integer
---@field package gates table<string, any> false: HTTP/1 is spoken there
---@field package gate_count integer
---@field closed boolean?
local Session = {}
Session.__index = Session
Session.__name = "http session"

local function request(session, opts, method, url, body)
    if session.closed then error("the session is closed", 2) end
    local ok, r = neap.pcall(check_request, session, opts, method, url, body)
    if not ok then error(r, 2) end
    inside.check_wait()
    r.deadline = now() + r.timeout
    local late
    body = r.body
    if getmetatable(body) == "deferred" then
        body, late = neap.realtime.with_timeout(r.timeout, neap.block_on, body)
        if body == nil and late == "timeout" then return nil, "timeout", "ETIMEDOUT" end
    end
    local fine, why = neap.pcall(take_body, r, body)
    if not fine then error(why, 2) end
    return perform(session, r)
end

---Sends a request and waits for the answer. Redirects are followed. Killing the tasklet, a
---timeout around the call, aborts it.
---@param opts table method ("GET", with a body "POST"), url, headers, body (a string, a list of
---strings, a function that gives the next piece, a deferred of one), stream; timeout (30) of the
---whole, with `stream` until the head; connect_timeout (10), idle_timeout (60), redirects (10),
---max_body (64 MiB, unless streamed), max_head (64 KiB), decompress, verify, ca, cert, key, proxy,
---unix (the path of a socket to connect to)
---@return http_response? response nil, err, code: there is none
---@return string? err
---@return string? code
function Session:request(opts)
    return request(self, opts)
end

---@param url string
---@param opts? table as of `request`
function Session:get(url, opts)
    return request(self, opts, "GET", url)
end

---@param url string
---@param body any as in `request`; a form, unless a header says otherwise
---@param opts? table as of `request`
function Session:post(url, body, opts)
    return request(self, opts, "POST", url, body)
end

---Closes its connections, aborts what is at work, forgets the cookies.
function Session:close()
    self.closed = true
    self.pool:close()
end

Session.__close = Session.close

local function new(base, cookies)
    return setmetatable({ base = base, pool = curl.pool(cookies), targets = {}, target_count = 0,
        gates = {}, gate_count = 0 }, Session)
end

---@param opts? table what each of its requests is done with, unless that says otherwise
---@return http_session
function client.session(opts)
    local ok, base = neap.pcall(base_of, opts or {})
    if not ok then error(base, 2) end
    return new(base, true)
end

local own = new(base_of {}, false)

---As session:request, without cookies.
function client.request(opts) return request(own, opts) end

---As session:get.
function client.get(url, opts) return Session.get(own, url, opts) end

---As session:post.
function client.post(url, body, opts) return Session.post(own, url, body, opts) end

return client
