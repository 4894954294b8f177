-- The HTTP client over TLS, HTTP/2 and proxies.

local authority = require "spec.support.authority"
local child = require "spec.support.child"
local http = require "neap.http"
local net = require "neap.net"

local realtime = neap.realtime

local GOOD = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"

local ca, good

local function closing(f) return setmetatable({}, { __close = f }) end

-- Answers each request on a stream with that of answer(head).
local function answering(answer)
    return function(stream)
        for request in function() return stream:read_until("\r\n\r\n") end do
            stream:write(answer(request))
        end
    end
end

-- Runs f(port, connections, listener) beside a TLS server with these options.
local function listening(tls, handler, f)
    local listener = assert(net.listen("127.0.0.1", 0, { tls = tls or good }))
    local n = 0
    listener:start(function(stream)
        n = n + 1
        handler(stream)
    end)
    local _ <close> = closing(function() listener:shutdown(0) end)
    f(listener.port, function() return n end, listener)
end

-- What a client with these options gets of a server with that certificate.
local function asked(identity, opts, host)
    local r, err, code
    listening({ cert = identity.cert, key = identity.key }, answering(function() return GOOD end),
        function(port)
            local session <close> = http.session(opts)
            r, err, code = session:get(("https://%s:%d/"):format(host or "localhost", port))
        end)
    return r and r.body, err, code
end

setup(function()
    ca = authority.new()
    good = ca:issue()
    good = { cert = good.cert, key = good.key }
end)

teardown(function() ca:remove() end)

describe("a request over TLS", function()
    it("trusts whom it is told to trust", function()
        assert.equal("good", asked(good, { ca = ca.cert }))
        assert.equal("good", asked(good, { ca = ca.cert }, "127.0.0.1"))
        local body, err, code = asked(good)
        assert.same({ nil, "ECERT" }, { body, code })
        assert.truthy(err:find("^GET https://localhost:%d+/: "))
        assert.equal("good", (asked(good, { verify = false })))
    end)

    it("asks for the right name, and time", function()
        local function refused(issued, host)
            local body, _, code = asked(ca:issue(issued), { ca = ca.cert }, host)
            assert.same({ nil, "ECERT" }, { body, code })
        end
        refused({ names = "DNS:elsewhere" })
        refused({ names = "DNS:localhost" }, "127.0.0.1")
        refused({ from = -3, to = -1 })
        refused({ from = 1, to = 3 })
    end)

    it("says what is wrong with its own options", function()
        local body, _, code = asked(good, { ca = "/nowhere/ca.pem" })
        assert.same({ nil, "EINVAL" }, { body, code })
        body, _, code = asked(good, { ca = ca.cert, cert = "/nowhere/cert.pem" })
        assert.same({ nil, "EINVAL" }, { body, code })
    end)

    it("shows a certificate of its own", function()
        local own = ca:issue { cn = "me" }
        local seen
        listening({ cert = good.cert, key = good.key, ca = ca.cert }, function(stream)
            seen = stream:tls() and stream:tls().peer
            answering(function() return GOOD end)(stream)
        end, function(port)
            local url = "https://localhost:" .. port
            local session <close> = http.session { ca = ca.cert }
            assert.equal("good", assert(session:get(url, { cert = own.cert, key = own.key })).body)
            assert.truthy(seen.subject:find "me")
            assert.is_nil((session:get(url)))
        end)
    end)

    it("uses a connection again", function()
        listening(nil, answering(function() return GOOD end), function(port, connections)
            local session <close> = http.session { ca = ca.cert }
            for _ = 1, 5 do
                assert.equal("good", assert(session:get("https://localhost:" .. port)).body)
            end
            assert.equal(1, connections())
        end)
    end)

    it("does not hold up the others while HTTP/1 is all the server has", function()
        for _, alpn in ipairs { {}, { "http/1.1" } } do
            listening({ cert = good.cert, key = good.key, alpn = alpn[1] and alpn },
                function(stream)
                    local request = stream:read_until("\r\n\r\n")
                    if request and request:find "/good" then stream:write(GOOD) end
                    stream:read("a")
                end, function(port, connections)
                    local url = "https://localhost:" .. port
                    local session <close> = http.session { ca = ca.cert }
                    local hangs = spawn(session.get, session, url .. "/hang")
                    repeat realtime.sleep(0.01) until connections() == 1
                    assert.equal("good", assert(session:get(url .. "/good")).body)
                    hangs:kill()
                end)
        end
    end)

    it("goes on when the one that was connecting is killed", function()
        listening(nil, answering(function() return GOOD end), function(port)
            local n = 0
            local front = assert(net.listen("127.0.0.1", 0))
            front:start(function(stream)
                n = n + 1
                if n == 1 then return stream:read("a") end
                local there <close> = assert(net.connect("127.0.0.1", port))
                net.relay(stream, there)
            end)
            local _ <close> = closing(function() front:shutdown(0) end)
            local session <close> = http.session { ca = ca.cert }
            local url = "https://localhost:" .. front.port
            local hangs = spawn(session.get, session, url)
            repeat realtime.sleep(0.01) until n == 1
            local waits = spawn(session.get, session, url)
            realtime.sleep(0.02)
            assert.equal(1, n)
            hangs:kill()
            local ok, r = waits:join()
            assert.same({ true, "good" }, { ok, r and r.body })
        end)
    end)

    it("is not led to plain HTTP", function() -- 227
        listening(nil, answering(function(request)
            if request:find "^GET / " then return GOOD end
            local to = request:match "^GET /(%S+)"
            return ("HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"):format(to)
        end), function(port)
            local session <close> = http.session { ca = ca.cert }
            local base = "https://localhost:" .. port .. "/"
            local r, err, code = session:get(base .. "http://127.0.0.1:1/")
            assert.same({ nil, "EPERM" }, { r, code })
            assert.truthy(err:find "https to http refused$")
            assert.equal("good", assert(session:get(base .. base)).body)
        end)
    end)

    it("notices a body that was cut off", function()
        listening(nil, function(stream)
            stream:read_until("\r\n\r\n")
            stream:write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        end, function(port)
            local session <close> = http.session { ca = ca.cert }
            local r, _, code = session:get("https://localhost:" .. port)
            assert.same({ nil, "ECONNRESET" }, { r, code })
        end)
    end)

    it("notices a server that has no TLS", function()
        local server = assert(http.serve({ host = "127.0.0.1" }, function() return "x" end))
        local session <close> = http.session { ca = ca.cert }
        local r, _, code = session:get("https://localhost:" .. server.port)
        assert.same({ nil, "EPROTO" }, { r, code })
        server:close()
        server:wait()
    end)
end)

describe("HTTP/2", function()
    local function with_server(f, streams)
        return function()
            local server = child.start { "/usr/bin/python3", "spec/support/http2.py", good.cert,
                good.key, streams or 200 }
            local _ <close> = closing(function() server:kill() end)
            local session <close> = http.session { ca = ca.cert }
            f(session, "https://localhost:" .. server:printed())
        end
    end

    it("is spoken where the server has it", with_server(function(session, base)
        local r = assert(session:get(base))
        assert.same({ 200, "2.0 GET 0", "1, 2" }, { r.status, r.body, r.headers["X-A"] })
        assert.equal("2.0 POST 500000", assert(session:post(base, ("x"):rep(500000))).body)
        local n = 0
        r = assert(session:post(base, function()
            n = n + 1
            sleep(0)
            return n <= 20 and ("x"):rep(30000) or nil
        end))
        assert.equal("2.0 POST 600000", r.body)
        assert.equal(3000000, #assert(session:get(base .. "/big")).body)
        r = assert(session:get(base .. "/big", { stream = true }))
        local total = 0
        for data in function() return r:read_some() end do total = total + #data end
        assert.equal(3000000, total)
        assert.equal(200, assert(session:request { method = "HEAD", url = base }).status)
    end))

    it("has many streams on a connection", with_server(function(session, base)
        local clients, list = {}, {}
        for i = 1, 80 do list[i] = i end
        neap.map(list, function()
            local r = assert(session:get(base))
            assert.equal("2.0 GET 0", r.body)
            clients[r.headers["x-client"]] = true
        end)
        local only = next(clients)
        assert.is_nil(next(clients, only))
        assert.equal(only, assert(session:get(base)).headers["x-client"])
    end))

    it("has a few connections for more streams than one takes", with_server(function(session, base)
        local clients, n = {}, 0
        for _ = 1, 2 do -- the first time not knowing that it is HTTP/2
            local list = {}
            for i = 1, 60 do list[i] = i end
            neap.map(list, function()
                clients[assert(session:get(base)).headers["x-client"]] = true
            end)
        end
        for _ in pairs(clients) do n = n + 1 end
        assert.truthy(n <= 15, n)
    end, 10))

    it("loses only the stream that fails", with_server(function(session, base)
        local client = assert(session:get(base)).headers["x-client"]
        local hangs = spawn(session.get, session, base .. "/hang")
        local half = assert(session:get(base .. "/half", { stream = true }))
        assert.truthy(half:read_some())
        local r, _, code = session:get(base .. "/reset")
        assert.same({ nil, "EPROTO" }, { r, code })
        assert.same({ nil, "timeout", "ETIMEDOUT" },
            { session:get(base .. "/hang", { timeout = 0.05 }) })
        hangs:kill()
        half:close()
        assert.equal(client, assert(session:get(base)).headers["x-client"])
    end))

    it("goes another way when the server goes away", with_server(function(session, base)
        assert(session:get(base))
        local r = session:post(base .. "/away", "x")
        assert.is_nil(r)
        assert.equal("2.0 GET 0", assert(session:get(base)).body)
    end))
end)

-- Runs f(port, seen) beside a proxy's server, which tells in `seen` what it was asked for.
local function proxying(handler, f)
    local seen = { connections = 0 }
    local listener = assert(net.listen("127.0.0.1", 0))
    listener:start(function(stream)
        seen.connections = seen.connections + 1
        handler(stream, seen)
    end)
    local _ <close> = closing(function() listener:shutdown(0) end)
    f(listener.port, seen)
end

local function go_on(stream, port, answer)
    local there <close> = assert(net.connect("127.0.0.1", port))
    stream:write(answer)
    net.relay(stream, there)
end

-- Plain requests it answers itself, CONNECT it serves, but for port 1.
local function http_proxy(stream, seen)
    for request in function() return stream:read_until("\r\n\r\n") end do
        seen[#seen + 1] = request
        local port = tonumber(request:match "^CONNECT [^:]+:(%d+)")
        if port == 1 then
            stream:write("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
            stream:read("a")
        elseif port then
            return go_on(stream, port, "HTTP/1.1 200 Established\r\n\r\n")
        else
            stream:write((GOOD:gsub("good", "prox")))
        end
    end
end

local function socks_proxy(stream, seen)
    local methods = stream:read(2)
    stream:read(methods:byte(2))
    stream:write("\5\0")
    local kind = stream:read(4):byte(4)
    local host = kind == 3 and stream:read(stream:read(1):byte())
        or table.concat({ stream:read(4):byte(1, 4) }, ".")
    seen[#seen + 1] = host
    go_on(stream, (">I2"):unpack(stream:read(2)), "\5\0\0\1\0\0\0\0\0\0")
end

describe("a proxy", function()
    it("is asked for the whole URL", function()
        proxying(http_proxy, function(proxy, seen)
            local session <close> = http.session { proxy = "127.0.0.1:" .. proxy }
            assert.equal("prox", assert(session:get("http://name.invalid/path")).body)
            assert.truthy(seen[1]:find "^GET http://name.invalid/path HTTP/1.1\r\n")
            assert.equal("prox", assert(session:get("http://other.invalid/")).body)
            assert.truthy(seen[2]:find "^GET http://other.invalid/ HTTP/1.1\r\n")
            assert.equal(1, seen.connections)
        end)
    end)

    it("is gone through with TLS", function()
        listening(nil, answering(function() return GOOD end), function(port)
            proxying(http_proxy, function(proxy, seen)
                local session <close> = http.session { ca = ca.cert,
                    proxy = "http://localhost:" .. proxy }
                local url = ("https://localhost:%d/"):format(port)
                local r = assert(session:get(url, { headers = { Authorization = "secret" } }))
                assert.same({ "good", "4" }, { r.body, r.headers["content-length"] })
                assert.truthy(seen[1]:find("^CONNECT localhost:" .. port))
                assert.is_nil(seen[1]:find "secret")
                local refused, _, code = session:get("https://name.invalid:1/")
                assert.same({ nil, "ECONNREFUSED" }, { refused, code })
            end)
        end)
    end)

    it("may be one of SOCKS, and look up the name or not", function()
        local server = assert(http.serve({ host = "127.0.0.1" }, function(req) return req.host end))
        proxying(socks_proxy, function(port, seen)
            local function ask(kind, host)
                local session <close> = http.session { proxy = kind .. "://127.0.0.1:" .. port }
                local r = assert(session:get(("http://%s:%d/"):format(host, server.port)))
                assert.equal(host .. ":" .. server.port, r.body)
            end
            ask("socks5h", "name.invalid")
            ask("socks5", "127.0.0.1")
            ask("socks5", "localhost")
            assert.equal("name.invalid", seen[1])
            assert.equal("127.0.0.1", seen[2])
        end)
        server:close()
        server:wait()
    end)

    it("that cannot be reached is an error", function()
        local session <close> = http.session { proxy = "http://127.0.0.1:1" }
        local url = "http://name.invalid/"
        assert.same({ nil, "GET http://name.invalid/: the proxy: Connection refused",
            "ECONNREFUSED" }, { session:get(url) })
        for proxy, code in pairs { ["http://"] = "EINVAL",
            ["gopher://127.0.0.1:1"] = "EPROTONOSUPPORT" } do
            local r, _, got = session:get(url, { proxy = proxy })
            assert.same({ nil, code }, { r, got })
        end
    end)

    it("comes from no environment variable", function()
        local server = assert(http.serve({ host = "127.0.0.1" }, function() return "direct" end))
        local status, out, err = child.shell(([[http_proxy=http://127.0.0.1:1 "$NEAP" -e '
            io.write(require("neap.http").get("http://127.0.0.1:%d/").body)']]):format(server.port))
        assert.same({ 0, "direct", "" }, { status, out, err })
        server:close()
        server:wait()
    end)

    it("is not gone around for an environment variable", function()
        proxying(http_proxy, function(proxy)
            local script = ([[
                local opts = { proxy = "http://127.0.0.1:%d" }
                io.write(require("neap.http").get("http://127.0.0.1:1/", opts).body)
            ]]):format(proxy)
            local status, out, err = child.shell('no_proxy="*" NO_PROXY="*" "$NEAP" -e ' ..
                child.quote(script))
            assert.same({ 0, "prox", "" }, { status, out, err })
        end)
    end)
end)
