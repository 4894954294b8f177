-- What specs of the HTTP server share: a server while a function runs, a client that reads
-- answers by hand.

local finally = require "spec.support.finally"
local http = require "neap.http"
local net = require "neap.net"

local support = {}

-- A server with this handler, on loopback or opts.path, and what it is told of errors, while
-- f(server, log) runs.
function support.serving(handler, opts, f)
    if not f then opts, f = {}, opts end
    opts.host = not opts.path and "127.0.0.1" or nil
    local log = {}
    neap.on_error(function(_, err, trace) log[#log + 1] = tostring(err) .. "\n" .. trace end)
    local server = assert(http.serve(opts, handler))
    local _ <close> = finally(function()
        neap.on_error(nil)
        server:close()
        server:wait()
    end)
    f(server, log)
end

function support.connect(server)
    return assert(net.connect("127.0.0.1", server.port))
end

-- Leaves with a reset.
function support.leave(s)
    s:setoption("linger", 0)
    s:close()
end

-- One answer: status, headers by lower-case name, body; with `bodiless` none is read.
function support.answer(s, bodiless)
    local line = s:read("l")
    if not line then return nil end
    local headers = {}
    for text in s:lines() do
        text = text:gsub("\r$", "")
        if text == "" then break end
        local name, value = text:match("^(.-): (.*)$")
        name = name:lower()
        headers[name] = headers[name] and headers[name] .. "|" .. value or value
    end
    local body = ""
    if bodiless then
        body = nil
    elseif headers["content-length"] then
        body = s:read(tonumber(headers["content-length"]))
    elseif headers["transfer-encoding"] == "chunked" then
        repeat
            local size = tonumber((s:read("l") or ""):match("^%x+") or "", 16)
            if not size then return tonumber(line:match(" (%d+)")), headers, body, "cut" end
            body = body .. s:read(size)
            s:read(2)
        until size == 0
    else
        body = s:read("a")
    end
    return tonumber(line:match(" (%d+)")), headers, body
end

function support.get(path, fields)
    return "GET " .. path .. " HTTP/1.1\r\nHost: a\r\n" .. (fields or "") .. "\r\n"
end

-- What one request is answered with by this handler.
function support.ask(handler, request, opts)
    local got
    support.serving(handler, opts or {}, function(server, log)
        local s <close> = support.connect(server)
        s:write(request or support.get("/"))
        got = { support.answer(s, (request or ""):find("^HEAD")) }
        got.log = log
    end)
    return got[1], got[2], got[3], got
end

return support
