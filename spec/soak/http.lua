-- http.lua [SECONDS [SEED]]: misbehaving clients at random, while good ones lose no request.
-- By hand: `./neap spec/soak/http.lua 600`; it fails if a good client was not answered well.

local http = require "neap.http"
local net = require "neap.net"
local rows = require "spec.support.http_rows"

local seconds = tonumber(arg[1]) or 60
local seed = tonumber(arg[2]) or os.time()
math.randomseed(seed)
local random = math.random

local GOOD, BAD = 20, 30
local good, bad, logged = 0, 0, 0
local over = false

-- ---- the server: handlers of all kinds, which look at all that a request has ----
local pages = {}

function pages.echo(req) return req:body() or "none" end

function pages.pieces(req)
    local w = req:respond(200, { ["X-Query"] = req.query })
    for piece in function() return req:read_some(100) end do w:write(piece) end
end

function pages.later(req)
    local d, body = deferred(), req:body() or "none"
    neap.call_later(random() * 0.01, function() d:callback(body) end)
    return d
end

function pages.list(req)
    local body = req:body() or "none"
    return { body:sub(1, #body // 2), body:sub(#body // 2 + 1) }
end

function pages.big()
    local n = 0
    return function()
        n = n + 1
        return n <= 100 and ("x"):rep(10000) or nil
    end
end

function pages.raw(req)
    local s = req:upgrade()
    if s then s:write(s:read_some(100) or "") end
end

function pages.fails() error("on purpose") end

local function look_at(req)
    local n = 0
    for name, value in pairs(req.headers) do n = n + #name + #value end
    for name, value in pairs(req.args) do n = n + #name + #value end
    return n, req.args.x, req.args:all("x"), req.headers.host, req.headers:all("cookie"),
        req.peer, req.host, req.version, tostring(req)
end

local server = assert(http.serve({ host = "127.0.0.1", max_body = 1e6, head_timeout = 5,
    body_timeout = 5, write_timeout = 1, idle_timeout = 5, max_connections = 200,
    on_request = function() logged = logged + 1 end }, function(req)
        look_at(req)
        return (pages[req.path:match("^/(%a+)")] or pages.echo)(req)
    end))

-- ---- good clients ----
local kinds = { "echo", "pieces", "later", "list" }

local function body_of(s)
    local head = neap.must(s:read_until("\r\n\r\n"))
    assert(head:find("^HTTP/1.1 200 "), head)
    local length = head:match("Content%-Length: (%d+)")
    if length then return s:read(tonumber(length)) end
    local list = {}
    repeat
        local size = tonumber(assert(s:read("l")):match("^%x+"), 16)
        list[#list + 1] = s:read(size)
        s:read(2)
    until size == 0
    return table.concat(list)
end

local function ask_well(s)
    local body = ("%d "):format(random(1e9)):rep(random(1, 500))
    local framed = random(2) == 1
    assert(s:write("POST /", kinds[random(#kinds)], "?x=", random(9),
        " HTTP/1.1\r\nHost: a\r\n",
        framed and "Transfer-Encoding: chunked\r\n\r\n"
            or "Content-Length: " .. #body .. "\r\n\r\n",
        framed and ("%x\r\n%s\r\n0\r\n\r\n"):format(#body, body) or body))
    local got = body_of(s)
    if got ~= body then error(("asked %q\ngot %q"):format(body, tostring(got))) end
    good = good + 1
end

local function good_client()
    while not over do
        local s <close> = assert(net.connect("127.0.0.1", server.port))
        for _ = 1, random(20) do
            ask_well(s)
            if random(3) == 1 then sleep(random() * 0.05) end
        end
    end
end

-- ---- bad ones ----
local function mutate(text)
    local bytes = { text:byte(1, 2000) }
    for _ = 1, random(0, 4) do bytes[random(#bytes)] = random(0, 255) end
    return string.char(table.unpack(bytes))
end

local function leave(s)
    if random(2) == 1 then s:setoption("linger", 0) end
    s:close()
end

local head = "POST /%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
local bad_ones = {
    function(s) s:write(mutate(rows[random(#rows)][2])) s:settimeout(0.2) s:read("a") end,
    function(s) s:write(head:format("pieces", 1000):sub(1, random(60))) end,
    function(s) s:write(head:format("echo", 1000), "half") sleep(random() * 0.1) end,
    function(s) s:write(("GET /big HTTP/1.1\r\nHost: a\r\n\r\n"):rep(random(50))) sleep(0.3) end,
    function(s) for c in head:format("list", 5):gmatch(".") do s:write(c) sleep(0.15) end end,
    function(s) s:write(head:format("echo", 5e6)) s:write(("x"):rep(200000)) end,
    function(s) s:write("GET /raw HTTP/1.1\r\nHost: a\r\n\r\nraw") s:read(random(5)) end,
    function(s) s:write("GET /fails HTTP/1.1\r\nHost: a\r\n\r\n") s:read("l") end,
    function(s) s:write(head:format("later", 3), "abc") end,
    function() sleep(random() * 7) end,
    function() end,
}

local function bad_client()
    while not over do
        local s = net.connect("127.0.0.1", server.port)
        if s then
            bad_ones[random(#bad_ones)](s)
            leave(s)
            bad = bad + 1
        end
        sleep(random() * 0.05)
    end
end

local function resident()
    local file <close> = assert(io.open("/proc/self/status"))
    return tonumber(file:read("a"):match("VmRSS:%s*(%d+)"))
end

neap.on_error(function(_, err, trace)
    if tostring(err):find("on purpose", 1, true) then return end
    io.stderr:write(tostring(err), "\n", trace, "\nseed ", seed, "\n")
    os.exit(1)
end)

print("seed " .. seed)
local tasks = {}
for _ = 1, GOOD do tasks[#tasks + 1] = spawn(good_client) end
for _ = 1, BAD do tasks[#tasks + 1] = spawn(bad_client) end
local ends = os.time() + seconds
while os.time() < ends do
    sleep(math.min(10, seconds))
    print(("%d good, %d bad, %d told, %d connections, %d KiB, Lua %d KiB"):format(good, bad,
        logged, server.connections, resident(), collectgarbage("count") // 1))
end
over = true
for _, t in ipairs(tasks) do t:join() end
print(("%d connections had to be cut; %d good requests, all answered"):format(
    server:shutdown(5), good))
