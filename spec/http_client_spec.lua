local child = require "spec.support.child"
local dns = require "spec.support.dns"
local http = require "neap.http"
local net = require "neap.net"
local blocked = require "system" -- its sleep blocks the thread

local realtime = neap.realtime

local GOOD = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"

local function closing(f) return setmetatable({}, { __close = f }) end

-- Runs f(session, base) beside an HTTP server with this handler.
local function serving(handler, f, opts)
    local server = assert(http.serve({ host = "127.0.0.1" }, handler))
    local _ <close> = closing(function()
        server:close()
        server:wait()
    end)
    local session <close> = http.session(opts)
    f(session, "http://127.0.0.1:" .. server.port, server)
end

-- Runs f(session, base) beside a server that does handler(stream, n) with its n-th connection.
local function lying(handler, f, opts)
    local listener = assert(net.listen("127.0.0.1", 0))
    local n = 0
    listener:start(function(stream)
        n = n + 1
        handler(stream, n)
    end)
    local _ <close> = closing(function() listener:shutdown(0) end)
    local session <close> = http.session(opts)
    f(session, "http://127.0.0.1:" .. listener.port, function() return n end)
end

-- So many bytes of a streamed answer.
local function exactly(r, n)
    local data = ""
    while #data < n do data = data .. assert(r:read_some(n - #data)) end
    return data
end

local function head(stream) return stream:read_until("\r\n\r\n") end

-- A server whose first connection answers so, and poisons whatever else comes on it; the
-- others are good. In `dropped` it says that the client has closed the first.
local function first(answer, f, dropped)
    lying(function(stream, n)
        local request = head(stream)
        if n > 1 then
            stream:write(GOOD)
            return stream:read("a")
        end
        if type(answer) == "function" then
            answer(stream, request)
        else
            stream:write(answer)
        end
        stream:flush()
        if head(stream) then
            stream:write((GOOD:gsub("good", "evil")))
        elseif dropped then
            dropped:try_send(true)
        end
        stream:read("a")
    end, f)
end

-- What the first request gets, and what the second on the same session.
local function twice(answer, opts)
    opts = opts or {}
    local got, body
    first(answer, function(session, base)
        opts.url, opts.timeout = base .. "/", 60
        got = table.pack(session:request(opts))
        body = assert(session:get(base .. "/")).body
    end)
    return got, body
end

-- The same behind an answer with more bytes than it has a right to. What comes of them before
-- the next request is sent must not be its answer; so that it has come, the next one waits.
local function poisoned(answer, opts)
    local dropped, got = channel(1), nil
    first(answer, function(session, base)
        opts = opts or {}
        opts.url, opts.timeout = base .. "/", 60
        got = assert(session:request(opts))
        assert.is_true(dropped:receive(30))
        assert.equal("good", assert(session:get(base .. "/")).body)
    end, dropped)
    return got
end

local function refused(answer, code, text, opts)
    local got, second = twice(answer, opts)
    assert.is_nil(got[1])
    assert.equal(code, got[3])
    assert.truthy(got[2]:find(text, 1, true), got[2])
    assert.equal("good", second)
end

describe("a request", function()
    it("gets an answer", function()
        serving(function(req)
            return 201, { ["X-Method"] = req.method, ["X-A"] = { "1", "2" } }, req.path
        end, function(session, base)
            local r = assert(session:get(base .. "/some/path?x=y#z"))
            assert.same({ 201, "/some/path", "GET", base .. "/some/path?x=y" },
                { r.status, r.body, r.headers["X-Method"], r.url })
            assert.equal("1, 2", r.headers["x-a"])
            assert.same({ "1", "2" }, r.headers:all("X-A"))
            local names = {}
            for name, value in pairs(r.headers) do names[name] = value end
            assert.equal("1, 2", names["x-a"])
            assert.is_nil(r.headers.nothing)
        end)
    end)

    it("needs no session", function()
        local server = assert(http.serve({ host = "127.0.0.1" }, function(req)
            return req.method .. (req:body() or "")
        end))
        local base = "http://127.0.0.1:" .. server.port
        assert.equal("GET", assert(http.get(base)).body)
        assert.equal("POSTx", assert(http.post(base, "x")).body)
        assert.equal("PUTy", assert(http.request { method = "put", url = base, body = "y" }).body)
        server:close() -- and with it goes the last connection of the pool
        server:wait()
    end)

    it("has headers", function()
        serving(function(req)
            local h = req.headers
            return ("%s|%s|%s|%s|%s"):format(h.a, h.b, h["user-agent"], h["content-type"], h.accept)
        end, function(session, base)
            local r = assert(session:get(base, { headers = { A = "1", b = { "2", 3 } } }))
            assert.equal("1|2, 3|neap|nil|*/*", r.body)
            r = assert(session:get(base, { headers = { A = "", ["User-Agent"] = "me" } }))
            assert.equal("|nil|me|nil|*/*", r.body)
        end)
    end)

    it("has headers as they are written", function()
        lying(function(stream)
            for request in function() return head(stream) end do
                stream:write("HTTP/1.1 200 OK\r\nContent-Length: ", #request, "\r\n\r\n", request)
            end
        end, function(session, base)
            local r = assert(session:get(base, { headers = { ["X-ABC-d"] = "1" } }))
            assert.truthy(r.body:find("\r\nX-ABC-d: 1\r\n", 1, true), r.body)
        end)
    end)

    it("goes to a unix socket", function()
        local path = os.tmpname()
        os.remove(path)
        local server = assert(http.serve({ path = path }, function(req)
            if req.path == "/away" then return 302, { Location = "http://127.0.0.1:1/" }, "" end
            if req.path == "/stay" then return 302, { Location = "/there" }, "" end
            return req.host .. req.path .. req:body()
        end))
        local opts = { unix = path, proxy = "http://127.0.0.1:1" }
        for _ = 1, 2 do -- the name is looked up nowhere
            assert.equal("name.invalid/x", assert(http.get("http://name.invalid/x", opts)).body)
        end
        assert.equal("a/xbody", assert(http.post("http://a/x", "body", opts)).body)
        assert.equal("a/there", assert(http.get("http://a/stay", opts)).body)
        local r, _, code = http.get("http://a/away", { unix = path })
        assert.same({ nil, "ECONNREFUSED" }, { r, code })
        server:close()
        server:wait()
        r, _, code = http.get("http://a/", opts)
        assert.same({ nil, "ENOENT" }, { r, code })
    end)

    it("may have a body of any form", function()
        serving(function(req)
            return ("%s %s %s %s"):format(req.method, req.headers["content-length"],
                req.headers["content-type"], req:body())
        end, function(session, base)
            local function sent(method, body, headers)
                return assert(session:request { url = base, method = method, body = body,
                    headers = headers }).body
            end
            assert.equal("POST 3 nil abc", sent(nil, "abc"))
            assert.equal("PUT 3 nil a1c", sent("PUT", { "a", 1, "c" }))
            assert.equal("POST 0 nil ", sent("POST"))
            assert.equal("GET nil nil ", sent("GET"))
            assert.equal("DELETE 1 a/b x", sent("DELETE", "x", { ["Content-Type"] = "a/b" }))
            local function pieces(n)
                return function()
                    n = n - 1
                    sleep(0)
                    return n >= 0 and n .. ";" or nil
                end
            end
            assert.equal("POST nil nil 2;1;0;", sent(nil, pieces(3)))
            assert.equal("POST 6 nil 2;1;0;", sent(nil, pieces(3), { ["Content-Length"] = 6 }))
            local d = deferred()
            neap.call_later(0, function() d:callback("late") end)
            assert.equal("POST 4 nil late", sent(nil, d))
            assert.equal("POST 3 application/x-www-form-urlencoded a=b",
                assert(session:post(base, "a=b")).body)
            assert.equal("POST 2 application/json {}", assert(session:post(base, "{}",
                { headers = { ["content-type"] = "application/json" } })).body)
        end)
    end)

    it("sends and gets long bodies", function()
        local long = ("0123456789abcdef"):rep(200000)
        serving(function(req) return req:body() or "" end, function(session, base)
            assert.is_true(long == assert(session:post(base, long)).body)
            local n = 0
            local r = assert(session:post(base, function()
                n = n + 1
                return n <= 50 and long:sub(1, 64000) or nil
            end))
            assert.equal(50 * 64000, #r.body)
        end)
    end)

    it("is HEAD, and has no body", function()
        serving(function() return "four" end, function(session, base)
            local r = assert(session:request { method = "HEAD", url = base })
            assert.same({ 200, "", "4" }, { r.status, r.body, r.headers["content-length"] })
            assert.equal("four", assert(session:get(base)).body)
        end)
    end)

    it("uses a connection again", function()
        serving(function(req) return req.peer.port .. "" end, function(session, base)
            local port = assert(session:get(base)).body
            for _ = 1, 5 do assert.equal(port, assert(session:get(base)).body) end
            assert.equal(port, assert(session:post(base, "x")).body)
        end)
    end)

    -- libcurl's handles serve one request after the other.
    it("leaves nothing of its own to the next", function()
        lying(function(stream)
            for request in function() return head(stream) end do
                local method, path = request:match "^(%u+) (%S+)"
                local length = tonumber(request:match "Content%-Length: (%d+)")
                if length then stream:read(length) end
                if path == "/empty" then
                    stream:write("HTTP/1.1 204 No Content\r\n\r\n")
                else
                    stream:write("HTTP/1.1 200 OK\r\nContent-Length: ", #request, "\r\n\r\n")
                    if method ~= "HEAD" then stream:write(request) end
                end
            end
        end, function(session, base)
            local fresh <close> = http.session()
            local expected = assert(fresh:get(base)).body
            local signed = base:gsub("//", "//user:password@")
            for i, opts in ipairs {
                { headers = { Accept = "a/b", ["User-Agent"] = "other", X = { "1", "2" } } },
                { method = "PUT", body = "four" }, { method = "POST" }, { method = "HEAD" },
                { method = "DELETE" }, { method = "ODD", body = "b" }, { decompress = false },
                { url = base .. "/empty" }, { url = signed }, { max_head = 500 },
                { max_body = 500 }, { max_head = 10 }, { connect_timeout = 60 }, { timeout = 0 },
                { cert = "/nowhere", url = base:gsub("http", "https") },
                { method = "PUT", body = "xy", headers = { Expect = "", ["Content-Type"] = "a" } },
            } do
                opts.url = opts.url or base
                session:request(opts)
                assert.equal(expected, assert(session:get(base)).body, i)
                local r <close> = assert(session:get(base, { stream = true }))
                assert.equal(expected, exactly(r, #expected))
            end
        end)
    end)

    it("looks up names", function()
        serving(function(req) return req.host end, function(session, base)
            local r = assert(session:get((base:gsub("127.0.0.1", "localhost"))))
            assert.truthy(r.body:find "^localhost")
            local got = table.pack(session:get("http://nobody.invalid/"))
            assert.is_nil(got[1])
            assert.truthy(got[2]:find "^resolve nobody.invalid: ")
        end)
    end)

    it("tries one address after the other", function()
        local resolve = net.resolve
        local _ <close> = closing(function() net.resolve = resolve end)
        serving(function() return "here" end, function(_, base)
            for i = 1, 4 do -- each time with connections of its own
                local third = i % 2 == 0 and "::1" or "127.0.0.4"
                net.resolve = function()
                    return { "127.0.0.3", "127.0.0.2", third, "127.0.0.1" }
                end
                local session <close> = http.session { connect_timeout = 1000, timeout = 10 }
                assert.equal("here", assert(session:get((base:gsub("127.0.0.1", "name")))).body)
            end
        end)
        net.resolve = function() return { "127.0.0.3", "127.0.0.2" } end
        local r, _, code = http.get("http://name:1/")
        assert.same({ nil, "ECONNREFUSED" }, { r, code })
    end)

    it("inflates what came deflated, unless told not to", function()
        local _, zipped = child.shell("printf %s hello | gzip -c")
        local function answer(stream, request)
            local accepts = request:find "Accept%-Encoding:.*gzip"
            stream:write("HTTP/1.1 200 OK\r\nX-Accepts: ", accepts and "yes" or "no",
                "\r\nContent-Encoding: gzip\r\nContent-Length: ", #zipped, "\r\n\r\n", zipped)
        end
        for _, raw in ipairs { false, true } do
            first(answer, function(session, base)
                local r = assert(session:get(base, { decompress = not raw }))
                assert.equal(raw and zipped or "hello", r.body)
                assert.equal(raw and "no" or "yes", r.headers["x-accepts"])
            end)
        end
    end)

    it("does many at once", function()
        local limit = tonumber(io.open("/proc/self/limits"):read("a"):match "open files%s+(%d+)")
        local n = math.min(1000, (limit - 200) // 2)
        serving(function(req)
            sleep(0.01)
            return req.args.n
        end, function(session, base)
            local right = 0
            local tasks = {}
            for i = 1, n do
                tasks[i] = spawn(function()
                    local r = assert(session:get(base .. "/?n=" .. i))
                    if r.body == tostring(i) then right = right + 1 end
                end)
            end
            neap.join_all(tasks)
            assert.equal(n, right)
        end)
    end)

    it("does not block in reactor code", function()
        local ok, err
        local done = channel(1)
        neap.call_later(0, function()
            ok, err = pcall(http.get, "http://127.0.0.1:1/")
            done:send(true)
        end)
        done:receive()
        assert.is_false(ok)
        assert.truthy(tostring(err):find "Cannot block in reactor task")
    end)
end)

describe("misuse", function()
    local function raises(pattern, opts)
        local ok, err = pcall(function() http.request(opts) end)
        assert.is_false(ok)
        assert.truthy(tostring(err):find(pattern), tostring(err))
        assert.truthy(tostring(err):find("http_client_spec.lua:%d"), tostring(err))
    end

    it("raises", function() -- 232
        local url = "http://127.0.0.1:1/"
        raises("CR, LF or NUL", { url = "http://a/\r\nX: y" })
        raises("CR, LF or NUL", { url = "http://a/\0" })
        raises("CR, LF or NUL", { url = url, method = "GET / HTTP/1.1\r\nX:" })
        raises("no token", { url = url, method = "GE T" })
        for _, bad in ipairs { "a\rb", "a\nb", "a\0b" } do
            raises("CR, LF or NUL", { url = url, headers = { X = bad } })
            raises("bad header name", { url = url, headers = { [bad] = "x" } })
        end
        raises("bad header name", { url = url, headers = { ["a b"] = "x" } })
        raises("bad header name", { url = url, headers = { [1] = "x" } })
        raises("bad value of header", { url = url, headers = { a = true } })
        raises("'tiemout'", { url = url, tiemout = 1 })
        raises("'timeout'", { url = url, timeout = "1" })
        raises("'timeout'", { url = url, timeout = 0 / 0 })
        raises("'redirects'", { url = url, redirects = -1 })
        raises("'url'", {})
        raises("table")
    end)

    it("is a bad body too", function()
        for _, body in ipairs { true, { {} } } do
            local ok, err = pcall(http.post, "http://127.0.0.1:1/", body)
            assert.is_false(ok)
            assert.truthy(tostring(err):find "bad body", tostring(err))
        end
    end)

    it("is no URL that makes no sense", function()
        for _, url in ipairs { "", "nonsense", "http://", "http://a:99999/", "http://[::1/" } do
            local r, err, code = http.get(url)
            assert.same({ "nil", "string", "EINVAL" }, { type(r), type(err), code }, url)
        end
        local _, err = http.get("http://user:secret@a:99999/")
        assert.is_nil(err:find "secret")
        local _, _, code = http.get("ftp://127.0.0.1/")
        assert.equal("EPROTONOSUPPORT", code)
        _, _, code = http.get("file:///etc/passwd")
        assert.equal("EPROTONOSUPPORT", code)
    end)
end)

describe("a streamed answer", function()
    it("is read as it comes", function()
        local go = channel(1)
        serving(function(req)
            local w = req:respond(200)
            for i = 1, 3 do
                w:write("piece " .. i)
                w:write("\n")
                go:receive()
            end
            w:close()
        end, function(session, base)
            local r = assert(session:get(base, { stream = true }))
            assert.equal(200, r.status)
            local n = 0
            for line in r:lines() do
                n = n + 1
                assert.equal("piece " .. n, line)
                go:send(true)
            end
            assert.equal(3, n)
            assert.is_nil(r:read_some())
        end)
    end)

    it("holds back a server that is faster than its reader", function()
        local sent, all = 0, 64
        local piece = ("x"):rep(1 << 20)
        serving(function(req)
            local w = req:respond(200)
            for _ = 1, all do
                if not w:write(piece) then return end
                sent = sent + 1
            end
            w:close()
        end, function(session, base)
            local r = assert(session:get(base, { stream = true }))
            local total = #exactly(r, 10)
            local before
            repeat -- until nothing moves any more
                before = sent
                realtime.sleep(0.1)
            until sent == before
            assert.truthy(sent < all, sent)
            for data in function() return r:read_some() end do total = total + #data end
            assert.equal(all << 20, total)
        end)
    end)

    it("may be longer than max_body unless that is given", function()
        serving(function() return ("x"):rep(100000) end, function(session, base)
            local r = assert(session:get(base, { stream = true, max_body = 1000 }))
            local got, err, code
            repeat got, err, code = r:read_some() until not got
            assert.same({ "EMSGSIZE", true }, { code, err:find "too long" ~= nil })
        end, { max_body = 10 })
        serving(function() return ("x"):rep(100000) end, function(session, base)
            local r, total = assert(session:get(base, { stream = true })), 0
            for data in function() return r:read_some(999) end do
                assert.truthy(#data <= 999)
                total = total + #data
            end
            assert.equal(100000, total)
        end)
    end)

    it("takes the request's body on while it is read", function()
        serving(function(req)
            local w = req:respond(200)
            while true do
                local data = req:read_some()
                if not data then break end
                w:write(data)
            end
            w:close()
        end, function(session, base)
            local n = 0
            local r = assert(session:post(base, function()
                n = n + 1
                return n <= 100 and ("y"):rep(50000) or nil
            end, { stream = true }))
            local total = 0
            for data in function() return r:read_some() end do total = total + #data end
            assert.equal(100 * 50000, total)
        end)
    end)

    it("ends when it is closed, or collected", function()
        lying(function(stream)
            head(stream)
            stream:write("HTTP/1.1 200 OK\r\n\r\nabc")
            stream:read("a")
        end, function(session, base)
            local r = assert(session:get(base, { stream = true }))
            assert.equal("abc", exactly(r, 3))
            local reader = spawn(function() return r:read_some() end)
            sleep(0)
            r:close()
            assert.same({ true, nil, "closed", "ECLOSED" }, { reader:join() })
            assert.same({ nil, "closed", "ECLOSED" }, { r:read_some() })
            r:close()
            do
                local scoped <close> = assert(session:get(base, { stream = true }))
                assert.equal("abc", exactly(scoped, 3))
            end
            assert(session:get(base, { stream = true }))
            collectgarbage()
        end)
    end)

    it("has lines, the last with or without an end", function()
        local text = "a\n\nb\r\n" .. ("c"):rep(60000) .. "\nend"
        serving(function() return text end, function(session, base)
            local function lines(format)
                local list = {}
                for line in assert(session:get(base, { stream = true })):lines(format) do
                    list[#list + 1] = line
                end
                return list
            end
            assert.same({ "a", "", "b\r", ("c"):rep(60000), "end" }, lines())
            assert.equal(text, table.concat(lines "L"))
        end)
        serving(function() return ("x"):rep(200000) end, function(session, base)
            local ok, err = pcall(assert(session:get(base, { stream = true })):lines())
            assert.same({ false, "EMSGSIZE" }, { ok, err.code })
        end)
    end)

    it("raises from lines when it breaks off", function()
        first("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na\nb", function(session, base)
            local r = assert(session:get(base, { stream = true, idle_timeout = 0.5 }))
            local lines = r:lines("L")
            assert.equal("a\n", lines()) -- and of the next there is only a part
            local ok, err = pcall(lines)
            assert.same({ false, "ETIMEDOUT" }, { ok, err.code })
        end)
    end)
end)

describe("timeouts", function()
    local function times_out(handler, opts)
        lying(handler, function(session, base)
            opts.url = opts.url or base
            assert.same({ nil, "timeout", "ETIMEDOUT" }, { session:request(opts) })
        end)
    end

    it("end a silent server", function() -- 231
        times_out(function(s) s:read("a") end, { timeout = 0.1 })
        times_out(function(s) s:read("a") end, { idle_timeout = 0.1 })
        times_out(function(s)
            s:write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
            s:read("a")
        end, { idle_timeout = 0.1 })
    end)

    it("end one that connects and no more", function() -- a TLS handshake belongs to that
        lying(function(s) s:read("a") end, function(session, base)
            local url = base:gsub("^http", "https")
            assert.same({ nil, "timeout", "ETIMEDOUT" },
                { session:get(url, { connect_timeout = 0.1 }) })
        end)
    end)

    it("end a lookup", function()
        local silent = dns.start(function() end)
        local resolve = net.resolve
        local _ <close> = closing(function()
            net.resolve = resolve
            silent:close()
        end)
        net.resolve = function(name, opts)
            opts.servers = silent.servers
            return resolve(name, opts)
        end
        for _, name in ipairs { "timeout", "connect_timeout" } do
            assert.same({ nil, "timeout", "ETIMEDOUT" },
                { http.get("http://slow.test/", { [name] = 0.1 }) })
        end
        assert.truthy(silent:count("slow.test") > 0)
    end)

    it("end one that drips", function()
        times_out(function(s)
            head(s)
            s:write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while s:write("x") do realtime.sleep(0.02) end
        end, { timeout = 0.3, idle_timeout = 5 })
    end)

    it("end with the head of a streamed answer", function()
        lying(function(s)
            head(s)
            s:write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
            realtime.sleep(0.8)
            s:write("b")
        end, function(session, base)
            local r = assert(session:get(base, { timeout = 0.5, stream = true }))
            assert.same({ "a", "b" }, { r:read_some(), r:read_some() })
            assert.is_nil(r:read_some())
        end)
    end)

    it("do not count the script's own time as silence", function()
        serving(function(req) return req:body() or "" end, function(session, base)
            local n = 0
            local r = assert(session:post(base, function()
                n = n + 1
                realtime.sleep(0.6)
                return n < 2 and "x" or nil
            end, { idle_timeout = 0.5 }))
            assert.equal("x", r.body)
        end)
    end)

    it("end a body that is late", function()
        assert.same({ nil, "timeout", "ETIMEDOUT" },
            { http.post("http://127.0.0.1:1/", deferred(), { timeout = 0.05 }) })
    end)

    it("end a body that the script does not give", function()
        serving(function(req) return req:body() or "" end, function(session, base)
            assert.same({ nil, "timeout", "ETIMEDOUT" }, { session:post(base, function()
                realtime.sleep(60)
            end, { timeout = 0.1 }) })
        end)
    end)
end)

describe("the request's body", function()
    it("raises what its function raises", function()
        serving(function(req) return req:body() or "" end, function(session, base)
            local ok, err = pcall(session.post, session, base, function() error("oops", 0) end)
            assert.same({ false, "oops" }, { ok, err })
            ok, err = pcall(session.post, session, base, function() return {} end)
            assert.is_false(ok)
            assert.truthy(tostring(err):find "bad body")
        end)
    end)

    it("is broken off by nil, err", function()
        serving(function(req) return req:body() or "" end, function(session, base)
            local n = 0
            local r, err, code = session:post(base, function()
                n = n + 1
                if n == 1 then return "x" end
                return nil, "no more", "EIO"
            end)
            assert.same({ "nil", "EIO" }, { type(r), code })
            assert.truthy(err:find "no more$")
        end)
    end)

    it("may be left unread", function()
        lying(function(s)
            head(s)
            s:write("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
            s:shutdown()
            while s:read_some() do end
        end, function(session, base)
            local r = assert(session:post(base, function() return ("x"):rep(10000) end))
            assert.same({ 413, "big" }, { r.status, r.body })
        end)
    end)
end)

describe("redirects", function()
    it("are followed", function()
        serving(function(req)
            local n = tonumber(req.path:match "%d+")
            if n and n > 0 then return 302, { Location = "/" .. n - 1 .. "?x" }, "go on" end
            return req.method .. " " .. req.target
        end, function(session, base)
            local r = assert(session:get(base .. "/10"))
            assert.same({ 200, "GET /0?x", base .. "/0?x" }, { r.status, r.body, r.url })
            local _, err, code = session:get(base .. "/11")
            assert.equal("ELOOP", code)
            assert.truthy(err:find "too many redirects$")
            r = assert(session:get(base .. "/10", { redirects = 0 }))
            assert.same({ 302, "go on" }, { r.status, r.body })
            _, _, code = session:get(base .. "/3", { redirects = 2 })
            assert.equal("ELOOP", code)
        end)
    end)

    it("make a GET of a POST, but 307 and 308 send it again", function()
        serving(function(req)
            local status = tonumber(req.path:match "%d+")
            if status then
                req:body()
                return status, { Location = "/" }, ""
            end
            return req.method .. " " .. (req.headers["content-type"] or "") .. " " .. req:body()
        end, function(session, base)
            for _, status in ipairs { 301, 302, 303 } do
                assert.equal("GET  ", assert(session:post(base .. "/" .. status, "a=b")).body)
            end
            for _, status in ipairs { 307, 308 } do
                assert.equal("POST application/x-www-form-urlencoded a=b",
                    assert(session:post(base .. "/" .. status, "a=b")).body)
            end
            local n = 0
            local _, _, code = session:post(base .. "/307", function()
                n = n + 1
                return n == 1 and "x" or nil
            end)
            assert.equal("ENOTSUP", code)
            assert.equal("PUT  x", assert(session:request { method = "PUT", body = "x",
                url = base .. "/302" }).body)
        end)
    end)

    it("take no credentials to another host", function() -- 227
        local function credentials(req)
            return ("%s|%s"):format(req.headers.authorization, req.headers.cookie)
        end
        serving(credentials, function(_, other)
            serving(function(req)
                if req.path == "/" then return credentials(req) end
                return 302, { Location = req.path == "/away" and other .. "/" or "/" }, ""
            end, function(session, base)
                local opts = { headers = { Authorization = "secret", Cookie = "a=b" } }
                assert.equal("secret|a=b", assert(session:get(base .. "/stay", opts)).body)
                assert.equal("nil|nil", assert(session:get(base .. "/away", opts)).body)
                local url = base:gsub("//", "//user:pass%%20word@")
                local r = assert(session:get(url .. "/stay"))
                assert.equal("Basic dXNlcjpwYXNzIHdvcmQ=|nil", r.body)
                assert.equal(base .. "/", r.url)
                assert.equal("nil|nil", assert(session:get(url .. "/away")).body)
            end)
        end)
    end)

    it("lead nowhere but to HTTP", function()
        for _, location in ipairs { "file:///etc/passwd", "ftp://127.0.0.1/" } do
            serving(function() return 302, { Location = location }, "" end,
                function(session, base)
                    local _, _, code = session:get(base)
                    assert.equal("EPROTONOSUPPORT", code)
                end)
        end
    end)

    it("without a place to go to are answers", function()
        serving(function(req)
            return 302, { Location = req.path == "/empty" and "" or nil }, "body"
        end, function(session, base)
            for _, path in ipairs { "/empty", "/none" } do
                local r = assert(session:get(base .. path))
                assert.same({ 302, "body" }, { r.status, r.body })
            end
        end)
    end)

    it("drop a long body on the way", function()
        serving(function(req)
            if req.path == "/" then return "here" end
            return 302, { Location = "/" }, ("x"):rep(1000000)
        end, function(session, base)
            assert.equal("here", assert(session:get(base .. "/a", { max_body = 100 })).body)
        end)
    end)
end)

-- Cookies that are set on host/path, and what host/path is then sent.
local rules = {
    -- domains, of which one that is a public suffix is nobody's
    { "a.example.com", "/", "x=1", "a.example.com", "/", "x=1" },
    { "example.com", "/", "x=1", "a.example.com", "/" },
    { "a.example.com", "/", "x=1; Domain=example.com", "b.example.com", "/", "x=1" },
    { "a.example.com", "/", "x=1; Domain=.example.com", "example.com", "/", "x=1" },
    { "a.example.com", "/", "x=1; Domain=example.com", "badexample.com", "/" },
    { "a.example.com", "/", "x=1; Domain=other.com", "other.com", "/" },
    { "a.example.com", "/", "x=1; Domain=com", "b.com", "/" },
    { "a.example.co.uk", "/", "x=1; Domain=co.uk", "b.co.uk", "/" },
    { "127.0.0.1", "/", "x=1; Domain=0.0.1", "127.0.0.1", "/" },
    -- paths
    { "a.example.com", "/p/q", "x=1", "a.example.com", "/p/z", "x=1" },
    { "a.example.com", "/p/q", "x=1", "a.example.com", "/z" },
    { "a.example.com", "/", "x=1; Path=/p", "a.example.com", "/pq" },
    { "a.example.com", "/", "x=1; Path=/p", "a.example.com", "/p/q", "x=1" },
    -- over plain HTTP none is secure
    { "a.example.com", "/", "x=1; Secure", "a.example.com", "/" },
    { "a.example.com", "/", "__Host-x=1; Path=/", "a.example.com", "/" },
    { "a.example.com", "/", "__Secure-x=1", "a.example.com", "/" },
    -- ends
    { "a.example.com", "/", "x=1; Max-Age=0", "a.example.com", "/" },
    { "a.example.com", "/", "x=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "a.example.com", "/" },
    { "a.example.com", "/", "x=1; Max-Age=100", "a.example.com", "/", "x=1" },
}

describe("cookies", function()
    it("are kept by a session, for their host", function()
        serving(function(req) return req.headers.cookie or "none" end, function(_, other)
            serving(function(req)
                if req.path == "/set" then
                    local both = { "a=1; Path=/", "b=2; Path=/x" }
                    return 302, { Location = "/", ["Set-Cookie"] = both }, ""
                end
                return req.headers.cookie or "none"
            end, function(session, base)
                assert.equal("a=1", assert(session:get(base .. "/set")).body)
                assert.equal("a=1", assert(session:get(base .. "/")).body)
                assert.equal("b=2; a=1", assert(session:get(base .. "/x")).body)
                local host = other:gsub("127.0.0.1", "localhost")
                assert.equal("none", assert(session:get(host)).body)
                local another <close> = http.session()
                assert.equal("none", assert(another:get(base)).body)
                local server = http.get(base .. "/set")
                assert.equal("none", server.body)
            end)
        end)
    end)

    -- Beside a server that sets the cookie that it is told to and says which it was sent.
    local function baking(f)
        local resolve = net.resolve
        local _ <close> = closing(function() net.resolve = resolve end)
        net.resolve = function() return { "127.0.0.1" } end
        serving(function(req)
            return 200, { ["Set-Cookie"] = req.headers["x-set"] },
                table.concat(req.headers:all "cookie", " and ")
        end, function(_, base)
            local port = base:match ":%d+$"
            f(function(session, host, path, headers)
                local url = "http://" .. host .. port .. path
                return assert(session:get(url, { headers = headers })).body
            end)
        end)
    end

    it("go by the rules", function()
        baking(function(ask)
            for i, rule in ipairs(rules) do
                local session <close> = http.session()
                ask(session, rule[1], rule[2], { ["X-Set"] = rule[3] })
                assert.equal(rule[6] or "", ask(session, rule[4], rule[5]), i)
            end
        end)
    end)

    it("of a session and of a request go in one line", function()
        baking(function(ask)
            local session <close> = http.session()
            ask(session, "a.example.com", "/", { ["X-Set"] = "x=1" })
            assert.equal("x=1; y=2; z=3",
                ask(session, "a.example.com", "/", { Cookie = { "y=2", "z=3" } }))
            assert.equal("y=2", ask(session, "example.com", "/", { Cookie = "y=2" }))
            assert.equal("", ask(session, "example.com", "/"))
        end)
    end)
end)

describe("a lying server", function()
    it("may not say two lengths", function() -- 216, 217
        local body = "5\r\nhello\r\n0\r\n\r\n"
        local length, coding = "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"
        for _, both in ipairs { length .. coding, coding .. length } do
            refused("HTTP/1.1 200 OK\r\n" .. both .. "\r\n" .. body, "EPROTO",
                "both a length and a coding")
        end
        for _, lengths in ipairs { "5\r\nContent-Length: 6", "5, 6", "-5", "+5", "0x5", "5 5", "",
            "99999999999999999999", "5;" } do
            refused("HTTP/1.1 200 OK\r\nContent-Length: " .. lengths .. "\r\n\r\nhello",
                "EPROTO", "Content-Length")
        end
        for _, other in ipairs { "gzip", "chunked, gzip", "chunked\r\n" .. coding:sub(1, -3) } do
            refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: " .. other .. "\r\n\r\n" .. body,
                "EPROTO", "a coding that nobody asked for")
        end
        local got = twice("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello")
        assert.equal("hello", got[1].body)
    end)

    it("must begin with a status line", function() -- 218, 219
        for _, line in ipairs { "HTTP/1.1 abc", "HTTP/1.1 99", "HTTP/1.1 1000 OK", "HTTP/1.1 20",
            "HTTP/1.1 200OK", "HTTP/1.1", "HTTP/1.1  200 OK", "ICY 200 OK", "HTTP/9.9 200 OK",
            "hello", "HTTP/1.1 000 OK" } do
            refused(line .. "\r\nContent-Length: 5\r\n\r\nhello", "EPROTO", "GET http://")
        end
        for _, line in ipairs { "HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.0 200 OK" } do
            local got = twice(line .. "\r\nContent-Length: 5\r\n\r\nhello")
            assert.equal("hello", got[1] and got[1].body, line)
        end
    end)

    it("cannot put its next answer in a body that has none", function() -- 220
        local evil = GOOD:gsub("good", "evil")
        for _, status in ipairs { "204 No Content", "304 Not Modified" } do
            local answer = "HTTP/1.1 " .. status .. "\r\nContent-Length: " .. #evil .. "\r\n\r\n"
            local got = poisoned(answer .. evil)
            assert.same({ tonumber(status:sub(1, 3)), "" }, { got.status, got.body })
        end
        poisoned("HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n") -- they are still to come
        local got = poisoned(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#evil,
            evil), { method = "HEAD" })
        assert.equal("", got.body)
    end)

    it("cannot say 100 for ever", function() -- 221
        for _, status in ipairs { 100, 103, 199 } do
            refused(function(s)
                while s:write("HTTP/1.1 " .. status .. " Wait\r\n\r\n") do sleep(0) end
            end, "EPROTO", "too many answers of status 1xx")
        end
        local got = twice("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" ..
            GOOD)
        assert.equal("good", got[1].body)
        assert.is_nil(got[1].headers.link)
    end)

    it("may end its body by closing", function() -- 222
        local got, second = twice(function(s)
            s:write("HTTP/1.1 200 OK\r\n\r\nto the end")
            s:close()
        end)
        assert.equal("to the end", got[1].body)
        assert.equal("good", second)
    end)

    it("may not close inside its body", function() -- 223
        for _, answer in ipairs {
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        } do
            refused(function(s)
                s:write(answer)
                s:close()
            end, "ECONNRESET", "incomplete")
        end
        refused(function(s) s:close() end, "ECONNRESET", "GET http://")
        refused(function(s)
            s:write("HTTP/1.1 200 OK\r\nContent-Le")
            s:close()
        end, "ECONNRESET", "GET http://")
    end)

    it("may not have chunks that make no sense", function()
        for _, chunks in ipairs { "x\r\nhello\r\n0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n",
            "fffffffffffffffff\r\nhello" } do
            refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" .. chunks, "EBADMSG",
                "chunked")
        end
    end)

    it("may not have an endless head", function() -- 224
        refused("HTTP/1.1 200 OK\r\nX: " .. ("x"):rep(1 << 20) .. "\r\n\r\n", "EMSGSIZE", "head")
        refused("HTTP/1.1 200 OK\r\n" .. ("X: y\r\n"):rep(10000) .. "\r\n", "EMSGSIZE", "head")
        local fields = ("X: " .. ("y"):rep(300) .. "\r\n"):rep(300)
        refused("HTTP/1.1 200 OK\r\n" .. fields .. "\r\n", "EMSGSIZE", "head is too long")
        local got = twice("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" .. fields .. "\r\n",
            { max_head = 100000 })
        assert.equal(300, #got[1].headers:all "x")
        refused(function(s)
            s:write("HTTP/1.1 200 OK\r\n")
            while s:write("a: b\r\n") do sleep(0) end
        end, "EMSGSIZE", "head")
    end)

    it("may end its lines by LF alone", function() -- 225
        local got = twice("HTTP/1.1 200 OK\nContent-Length: 5\nA: b\n\nhello")
        assert.same({ "hello", "b" }, { got[1].body, got[1].headers.a })
    end)

    it("may not have headers that make no sense", function()
        for _, line in ipairs { "no colon", "A : b", " folded: x", ": x", "a b: c",
            "A: b\r\n folded", "A: b\rc" } do
            refused("HTTP/1.1 200 OK\r\n" .. line .. "\r\nContent-Length: 5\r\n\r\nhello", "EPROTO",
                "GET http://")
        end
    end)

    it("may not change the protocol", function() -- 226
        refused("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            "EPROTO", "changes the protocol")
    end)

    it("cannot fill the memory with a small body", function() -- 228
        for size, max in pairs { [20000000] = 1 << 20, [68000000] = false } do -- false: 64 MiB
            local _, bomb = child.shell(("head -c %d /dev/zero | gzip -c"):format(size))
            assert.truthy(#bomb < 100000)
            refused("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: " .. #bomb ..
                "\r\n\r\n" .. bomb, "EMSGSIZE", "too long", { max_body = max or nil })
        end
        refused("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
            "EBADMSG", "GET http://")
    end)

    it("cannot leave an answer behind for the next request", function() -- 229
        assert.equal("good", poisoned(GOOD .. GOOD:gsub("good", "evil")).body)
        local dropped = channel(1)
        first(function(s)
            s:write(GOOD)
            s:flush()
            realtime.sleep(0.02)
            s:write((GOOD:gsub("good", "evil")))
        end, function(session, base, connections)
            assert.equal("good", assert(session:get(base)).body)
            assert.is_true(dropped:receive(30)) -- it has come while nobody used the connection
            assert.equal("good", assert(session:get(base)).body)
            assert.equal(2, connections())
        end, dropped)
    end)
end)

describe("a connection that rests", function()
    it("is not used when something has just come on it", function()
        local peer
        lying(function(stream)
            for _ in function() return head(stream) end do
                peer = stream
                stream:write(GOOD)
            end
        end, function(session, base, connections)
            for n = 1, 3 do
                assert.equal("good", assert(session:post(base, "")).body)
                assert.equal(n, connections())
                peer:write((GOOD:gsub("good", "evil")))
                peer:flush()
                blocked.sleep(0.1) -- it has come, and the reactor has had no turn
            end
        end)
    end)

    it("is not waited for", function()
        lying(function(stream, n)
            head(stream)
            if n > 1 then stream:write(GOOD) end
            stream:read("a")
        end, function(session, base, connections)
            local hangs = spawn(session.get, session, base)
            repeat realtime.sleep(0.005) until connections() == 1
            assert.equal("good", assert(session:get(base)).body)
            hangs:kill()
        end)
    end)
end)

describe("a connection that the server has closed", function()
    it("is not used again", function() -- 230
        lying(function(stream)
            head(stream)
            stream:write(GOOD)
        end, function(session, base, connections)
            for n = 1, 3 do
                assert.equal("good", assert(session:post(base, "x")).body)
                realtime.sleep(0.5)
                assert.equal(n, connections())
            end
        end)
    end)

    -- The second request on a connection is read, and not answered.
    local function leaves(opts, f)
        local seen = {}
        lying(function(stream)
            seen[#seen + 1] = head(stream):match "^%u+ %S+"
            stream:write(GOOD)
            stream:flush()
            local request = head(stream)
            if request then seen[#seen + 1] = request:match "^%u+ %S+" end
        end, function(session, base)
            assert(session:get(base .. "/1"))
            opts.url = base .. "/2"
            f(seen, session:request(opts))
        end)
    end

    it("between two requests is tried once more", function()
        for _, method in ipairs { "GET", "HEAD", "PUT", "DELETE" } do
            leaves({ method = method, body = method == "PUT" and "x" or nil }, function(seen, r)
                assert.equal(200, r and r.status)
                assert.same({ "GET /1", method .. " /2", method .. " /2" }, seen)
            end)
        end
    end)

    it("is not when that may do it twice", function()
        local n = 0
        for _, opts in ipairs { { method = "POST", body = "x" }, { method = "POST" },
            { method = "PATCH", body = "x" }, { method = "PUT", body = function()
                n = n + 1
                return n % 2 == 1 and "x" or nil
            end } } do
            leaves(opts, function(seen, r, _, code)
                assert.is_nil(r)
                assert.equal("ECONNRESET", code)
                assert.same({ "GET /1", opts.method .. " /2" }, seen)
            end)
        end
    end)
end)

-- Every phase of a request, in which it waits for ever: what the server does, and what is asked.
local function hang(stream) stream:read("a") end

local phases = {
    ["a lookup"] = { lookup = true },
    ["a handshake"] = { server = hang, https = true },
    ["the wait for a head"] = { server = function(s)
        head(s)
        hang(s)
    end },
    ["half a head"] = { server = function(s)
        head(s)
        s:write("HTTP/1.1 200 OK\r\nContent-")
        hang(s)
    end },
    ["half a body"] = { server = function(s)
        head(s)
        s:write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        hang(s)
    end },
    ["half a streamed body"] = { stream = true, server = function(s)
        head(s)
        s:write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        hang(s)
    end },
    ["sending a long body"] = { server = function(s)
        head(s)
        realtime.sleep(1000)
    end, body = ("x"):rep(50 << 20) },
    ["sending many pieces"] = { server = function(s)
        head(s)
        realtime.sleep(1000)
    end, body = function() return ("x"):rep(65536) end },
    ["making a piece"] = { server = hang, body = function() realtime.sleep(1000) end },
    ["a second hop"] = { server = function(s)
        if (head(s) or ""):find "^GET / " then
            s:write("HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n")
            head(s)
        end
        hang(s)
    end },
    ["the rest of a hop's body"] = { server = function(s)
        head(s)
        s:write("HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 10\r\n\r\nhello")
        hang(s)
    end },
}

describe("a request that is left in", function()
    -- What it ends with, in a tasklet; `started` is called when it waits.
    local function ask(session, base, phase)
        local url = phase.https and base:gsub("^http", "https") or base .. "/"
        local r, err, code = session:request { url = url, body = phase.body, stream = phase.stream,
            timeout = math.huge, idle_timeout = math.huge, connect_timeout = math.huge }
        if not r or not phase.stream then return r, err, code end
        local data
        repeat data, err, code = r:read_some() until not data
        return data, err, code
    end

    local function beside(phase, f)
        local resolve = net.resolve
        local _ <close> = closing(function() net.resolve = resolve end)
        if phase.lookup then net.resolve = function() realtime.sleep(1000) end end
        lying(phase.server or hang, function(session, base)
            if phase.lookup then base = "http://name" end
            f(session, base)
            if not phase.lookup and not phase.https then -- the session is as good as new
                local server = assert(http.serve({ host = "127.0.0.1" },
                    function() return "ok" end))
                local r = assert(session:get("http://127.0.0.1:" .. server.port))
                assert.equal("ok", r.body)
                server:close()
                server:wait()
            end
        end)
    end

    local names = {}
    for name in pairs(phases) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do
        local phase = phases[name]

        it(name .. " can be killed", function()
            for _, turns in ipairs { 0, 1, 2, 5, 50 } do
                beside(phase, function(session, base)
                    local t = spawn(ask, session, base, phase)
                    for _ = 1, turns do sleep(0) end
                    if turns == 50 then realtime.sleep(0.05) end
                    t:kill()
                    local ok, err = t:join()
                    assert.same({ false, true }, { ok, err == neap.TaskletExit })
                end)
            end
        end)

        it(name .. " can be killed for good", function()
            beside(phase, function(session, base)
                local t = spawn(ask, session, base, phase)
                realtime.sleep(0.02)
                t:kill { hard = true }
                assert.is_false(t.alive)
            end)
        end)

        it(name .. " can be timed out", function()
            beside(phase, function(session, base)
                assert.same({ nil, "timeout" },
                    { realtime.with_timeout(0.03, ask, session, base, phase) })
            end)
        end)

        it(name .. " can be thrown into", function()
            beside(phase, function(session, base)
                local t = spawn(function() return pcall(ask, session, base, phase) end)
                realtime.sleep(0.03)
                t:throw("thrown")
                assert.same({ true, false, "thrown" }, { t:join() })
            end)
        end)

        it(name .. " ends with its session", function()
            if name == "a lookup" or name == "making a piece" then return end -- they end first
            lying(phase.server, function(session, base)
                local t = spawn(ask, session, base, phase)
                realtime.sleep(0.03)
                session:close()
                assert.same({ true, nil, "closed", "ECLOSED" }, { t:join() })
            end)
        end)
    end
end)

it("a request that is killed closes its connection at once", function()
    local gone = channel(1)
    lying(function(stream)
        head(stream)
        stream:write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        stream:read("a")
        gone:send(true)
    end, function(session, base)
        local _ <close> = closing(function() collectgarbage("restart") end)
        collectgarbage("stop")
        local t = spawn(session.get, session, base)
        realtime.sleep(0.05)
        t:kill()
        assert.is_true(gone:receive(10))
    end)
end)

describe("a session", function()
    it("that is closed has no more requests", function()
        local session <close> = http.session()
        session:close()
        session:close()
        local ok, err = pcall(session.get, session, "http://127.0.0.1:1/")
        assert.is_false(ok)
        assert.truthy(tostring(err):find "the session is closed")
    end)

    it("has options of its own", function()
        serving(function(req) return req.headers.a .. req.headers.b end, function(session, base)
            assert.equal("12", assert(session:get(base, { headers = { B = "2" } })).body)
            assert.equal("32", assert(session:get(base, { headers = { A = "3", B = "2" } })).body)
        end, { headers = { a = "1" } })
        local ok, err = pcall(http.session, { tiemout = 1 })
        assert.is_false(ok)
        assert.truthy(tostring(err):find "'tiemout'")
    end)

    it("that is collected lets go of its connections", function()
        local server = assert(http.serve({ host = "127.0.0.1" }, function() return "ok" end))
        do
            local session = http.session()
            assert(session:get("http://127.0.0.1:" .. server.port))
        end
        collectgarbage()
        collectgarbage()
        server:close()
        server:wait()
    end)
end)

it("a request out of descriptors says so", function()
    local script = [[
        local net, open = require "neap.net", {}
        local http = require "neap.http"
        http.get("http://127.0.0.1:1/") -- loads what it needs
        local ok, held = true, {}
        while ok do ok = io.open("/dev/null") held[#held + 1] = ok or nil end
        for _ = 1, 2 do held[#held]:close() held[#held] = nil end -- what libcurl needs itself
        local r, err, code = http.get("http://127.0.0.1:1/")
        print(r, code)
        for _, f in ipairs(held) do f:close() end
        print(select(3, http.get("http://127.0.0.1:1/")))
    ]]
    local status, out, err = child.shell("ulimit -n 40; timeout 25 \"$NEAP\" -e " ..
        child.quote(script))
    assert.same({ 0, "nil\tEMFILE\nECONNREFUSED\n", "" }, { status, out, err })
end)

describe("a connection that rests", function()
    it("does not keep the program alive, nor hide a deadlock", function()
        serving(function() return "ok" end, function(_, base)
            local script = ([[io.write(require("neap.http").get("%s").body)]]):format(base)
            assert.same({ 0, "ok", "" }, { child.shell(([[timeout 25 "$NEAP" -e %s]]):format(
                child.quote(script))) })
            local status, out, err = child.shell(([[timeout 25 "$NEAP" -e %s]]):format(
                child.quote(script .. " channel():receive()")))
            assert.same({ 1, "ok" }, { status, out })
            assert.truthy(err:lower():find "deadlock", err)
        end)
    end)
end)
