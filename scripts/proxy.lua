-- A reverse proxy: passes requests on to another server and its answers back, both as they
-- come, however long they are.
--
--   neap scripts/proxy.lua PORT URL    serves: http://127.0.0.1:PORT/a is then URL/a
--   neap scripts/proxy.lua             a server, the proxy and a client of its own, then ends

local http = require "neap.http"

-- What is about one connection alone; the host is that of the URL.
local kept = {}
for name in ([[connection expect host keep-alive proxy-authenticate proxy-authorization
    proxy-connection te trailer transfer-encoding upgrade]]):gmatch("%S+") do kept[name] = true end

local function passed_on(headers)
    local fields = {}
    for name in pairs(headers) do
        if not kept[name] then fields[name] = headers:all(name) end
    end
    for name in (headers.connection or ""):gmatch("[^%s,]+") do fields[name:lower()] = nil end
    return fields
end

local function pass(req, origin)
    if req.target:sub(1, 1) ~= "/" then return 400 end
    local has_body = req.headers["transfer-encoding"] or req.headers["content-length"]
    local headers, before = passed_on(req.headers), req.headers["x-forwarded-for"]
    headers["x-forwarded-for"] = (before and before .. ", " or "") .. req.peer.host
    headers["x-forwarded-host"] = req.host
    local response, err, code = http.request {
        method = req.method, url = origin .. req.target, headers = headers,
        body = has_body and function() return req:read_some() end,
        stream = true, redirects = 0, decompress = false,
    }
    if not response then return code == "ETIMEDOUT" and 504 or 502, err .. "\n" end
    return response.status, passed_on(response.headers), function() return response:read_some() end
end

local function proxy(port, origin)
    return neap.must(http.serve({ host = "127.0.0.1", port = port },
        function(req) return pass(req, origin) end))
end

if arg[2] then
    local server = proxy(tonumber(arg[1]), arg[2]:gsub("/+$", ""))
    print("http://127.0.0.1:" .. server.port .. "/ is " .. arg[2])
    return server:wait()
end

-- the server behind: repeats what it is sent, knows its clients' client, sends others away
local behind = neap.must(http.serve({ host = "127.0.0.1" }, function(req)
    if req.path == "/moved" then return http.redirect("/elsewhere") end
    if req.method == "GET" then return "hello, " .. req.headers["x-forwarded-for"] end
    return function() return req:read_some() end
end))
local front = proxy(0, "http://127.0.0.1:" .. behind.port)
local url = "http://127.0.0.1:" .. front.port
print(http.get(url .. "/").body)
print(http.get(url .. "/moved", { redirects = 0 }).headers.location)
local text = ("long "):rep(200000)
print(#text .. " bytes there and back", http.post(url, text).body == text)
behind:close()
print(http.get(url .. "/").status)
front:close()
