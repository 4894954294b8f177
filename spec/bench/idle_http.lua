-- Idle keep-alive connections of HTTP, for spec/bench/idle_http.sh:
--
--     neap spec/bench/idle_http.lua serve PORT       answers "hello", and /memory, /resident, /cpu
--     neap spec/bench/idle_http.lua hold PORT N      N clients that have asked once and stay
--     neap spec/bench/idle_http.lua ask PORT PATH    what one path says

local net = require "neap.net"
local host = require "neap.host"
local http = require "neap.http"

local function contents(path)
    local file <close> = assert(io.open(path))
    return file:read("a")
end

local pages = {}

function pages.memory()
    collectgarbage()
    collectgarbage()
    return tostring(host.stats().mem)
end

function pages.resident() return contents("/proc/self/status"):match("VmRSS:%s+(%d+)") end

function pages.cpu() return tostring(os.clock()) end

local function serve(port)
    local opts = { host = "0.0.0.0", port = port, backlog = 4096, idle_timeout = 3600 }
    neap.must(http.serve(opts, function(req)
        local page = pages[req.path:sub(2)]
        return page and page() or "hello\n"
    end)):wait()
end

local function ask(stream, path)
    stream:write("GET /", path, " HTTP/1.1\r\nHost: a\r\n\r\n")
    local head = neap.must(stream:read_until("\r\n\r\n"))
    return stream:read(tonumber(head:match("Content%-Length: (%d+)")))
end

local function hold(port, n)
    local held = {}
    for i = 1, n do -- to several addresses, for ports are few
        held[i] = neap.must(net.connect("127.0.0." .. 1 + i % 20, port))
        ask(held[i], "")
    end
    print("held " .. #held)
    io.stdout:flush()
    sleep(86400) -- until it is killed
    return held
end

local what, port = arg[1], tonumber(arg[2])
if what == "serve" then
    serve(port)
elseif what == "hold" then
    hold(port, tonumber(arg[3]))
else
    print(ask(neap.must(net.connect("127.0.0.1", port)), arg[3]))
end
