-- neap.http: an HTTP/1.1 server, and what handlers are made of; the rest is loaded on use.

local inside = require "neap.inside"
local net = require "neap.net"
local server = require "neap.http.server"

local http = {}

-- Options of http.serve that are numbers, with what they are when they are absent, and the
-- least they may be. A limit of math.huge is none.
local limits = {
    max_head = { 16384, 64 }, max_headers = { 100, 1 }, max_body = { 8 * 1024 * 1024, 0 },
    max_stream = { math.huge, 0 }, max_connections = { 0, 1 }, head_timeout = { 10, 0 },
    idle_timeout = { 60, 0 }, body_timeout = { 30, 0 }, write_timeout = { 30, 0 },
}
local others = { host = "string", port = "number", path = "string", mode = "string",
    reuseport = "boolean", backlog = "number", unix_mode = true, tls = true, on_request = true }

local function bad(name, why)
    error(("bad option '%s' (%s)"):format(name, why), 4)
end

local function check_limits(opts)
    local set = {}
    for name, value in pairs(opts) do
        local kind = others[name]
        if not limits[name] and not kind then bad(name, "there is none") end
        if kind == "number" then value = tonumber(value) end
        if kind and kind ~= true and type(value) ~= kind then bad(name, kind .. " expected") end
    end
    for name, limit in pairs(limits) do
        local value = opts[name]
        if value == nil then
            value = limit[1]
        elseif type(value) ~= "number" or value ~= value or value < limit[2] then
            bad(name, "a number from " .. limit[2] .. " on expected")
        end
        set[name] = value
    end
    if set.max_head > 65535 then bad("max_head", "at most 65535") end
    return set
end

local function listen(opts)
    local tls = opts.tls and server.tls_options(opts.tls) or nil
    if opts.path then
        return net.listen_unix(opts.path,
            { backlog = opts.backlog, mode = opts.unix_mode, tls = tls })
    end
    return net.listen(opts.host or "*", opts.port or 0,
        { backlog = opts.backlog, reuseport = opts.reuseport, tls = tls })
end

---Serves HTTP. Returns at once.
---@param opts table host ("*"), port (0: any), or path of a unix socket; mode: "tasklet", in
---which the handler may block, or "reactor", in which it answers at once or gives a deferred;
---tls: the table of neap.tls, with cert and key; on_request: told of each request that is over;
---limits in bytes, counts and seconds, as docs/http.md lists them
---@param handler fun(req): ... gives the answer: body; status; status, body; status, headers, body
---@return table? server with wait, close, shutdown, port; nil, err, code if it cannot listen
---@return string? err
---@return string? code
function http.serve(opts, handler)
    if type(opts) ~= "table" then error("bad argument #1 to 'serve' (table expected)", 2) end
    local mode = opts.mode or "tasklet"
    if mode ~= "tasklet" and mode ~= "reactor" then
        error("bad option 'mode' (\"tasklet\" or \"reactor\" expected)", 2)
    end
    local set = check_limits(opts)
    if opts.tls ~= nil and type(opts.tls) ~= "table" then
        error("bad option 'tls' (a table with cert and key expected)", 2)
    end
    if not inside.callable(handler) then
        error("bad argument #2 to 'serve' (function expected)", 2)
    end
    if opts.on_request ~= nil and not inside.callable(opts.on_request) then
        error("bad option 'on_request' (function expected)", 2)
    end
    local listener, err, code = listen(opts)
    if not listener then return nil, err, code end
    local it = server.serve(listener, set, handler, mode == "reactor", opts.on_request)
    return it -- no tail call: the server looks for the caller of this function
end

-- The helpers, each in a module of its own, are loaded on use.
local helpers = { router = "router", redirect = "redirect", static = "static", form = "form",
    multipart = "multipart", json = "json", json_body = "json", events = "events",
    cookie = "cookie", request = "client", get = "client", post = "client", session = "client" }

return setmetatable(http, { __index = function(_, name)
    if not helpers[name] then return nil end
    http[name] = require("neap.http." .. helpers[name])[name]
    return http[name]
end })
