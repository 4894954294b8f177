-- http.serve: what handlers see and return, and what then goes over the wire.

local net = require "neap.net"
local http = require "neap.http"
local child = require "spec.support.child"
local support = require "spec.support.http"

local serving, connect, answer = support.serving, support.connect, support.answer
local get, ask = support.get, support.ask

local SECRET = "a secret of the traceback"

describe("a handler's answer", function()
    it("may be a text", function()
        local status, headers, body = ask(function() return "hi" end)
        assert.equal(200, status)
        assert.equal("2", headers["content-length"])
        assert.equal("hi", body)
        assert.truthy(headers.date:match("^%a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT$"))
    end)

    it("may be a status, with or without the rest", function()
        local status, _, body = ask(function() return 404 end)
        assert.same({ 404, "Not Found" }, { status, body })
        status, _, body = ask(function() return 201, "made" end)
        assert.same({ 201, "made" }, { status, body })
        status, _, body = ask(function() return 400, "no", nil end)
        assert.same({ 400, "no" }, { status, body })
        status, _, body = ask(function() return 200, neap.succeed("late"), nil end)
        assert.same({ 200, "late" }, { status, body })
        status, _, body = ask(function() return 200, { "a", "b" }, nil, nil end)
        assert.same({ 200, "ab" }, { status, body })
        local headers
        status, headers, body = ask(function() return 201, { ["X-A"] = "b" }, nil end)
        assert.same({ 201, "b", "" }, { status, headers["x-a"], body })
        status, headers, body = ask(function() return 202, { ["X-A"] = "b" }, "c" end)
        assert.same({ 202, "b", "c" }, { status, headers["x-a"], body })
    end)

    it("may be a list", function()
        local _, headers, body = ask(function() return { "a", 1, ("b"):rep(100000), "" } end)
        assert.equal("100002", headers["content-length"])
        assert.equal("a1" .. ("b"):rep(100000), body)
        local status, _, second = ask(function() return 203, { "a", "b" } end)
        assert.same({ 203, "ab" }, { status, second })
    end)

    it("may be a table that can be called", function()
        local pieces = { "a", "b", "c" }
        local give = setmetatable({ at = 0 }, { __call = function(self)
            self.at = self.at + 1
            return pieces[self.at]
        end })
        local status, _, body = ask(function() return give end)
        assert.same({ 200, "abc" }, { status, body })
    end)

    it("may be written in what a stream takes", function()
        local status, _, body = ask(function(req)
            local w = req:respond(200)
            assert.equal(w, w:write("a", { "b", { 1, { "c" } } }, 2.5))
            w:write {}
            w:write("")
            local ok, err = pcall(w.write, w, "x", { "y", true })
            w:write("|", tostring(ok), err)
        end)
        assert.same({ 200, "ab1c2.5|falsebad argument #3 to '?' "
            .. "(string or table of strings expected, got boolean in it)" }, { status, body })
    end)

    it("may come in pieces", function()
        local _, headers, body = ask(function()
            local n = 0
            return function()
                n = n + 1
                sleep(0)
                return n <= 3 and ("%d"):rep(n):format(n, n, n) or nil
            end
        end)
        assert.equal("chunked", headers["transfer-encoding"])
        assert.equal("122333", body)
    end)

    it("in pieces that ends with an error is cut, and the log tells of it", function()
        local _, out, log = child.run { "-e", [[
            local http, net = require "neap.http", require "neap.net"
            local server <close> = http.serve({ host = "127.0.0.1" }, function(req)
                local n = 0
                return function()
                    n = n + 1
                    if n == 1 then return "begun" end
                    if req.path == "/body" then return req:read_some() end
                    return nil, "no more of it"
                end
            end)
            local s = net.connect("127.0.0.1", server.port)
            s:write "GET /broken HTTP/1.1\r\nHost: a\r\n\r\n"
            print((s:read("a"):match "\r\n\r\n(.*)"))
            s = net.connect("127.0.0.1", server.port)
            s:write "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
            s:shutdown()
            print((s:read("a"):match "\r\n\r\n(.*)")) ]] }
        assert.equal("5\r\nbegun\r\n\n5\r\nbegun\r\n\n", out)
        assert.truthy(log:find("neap: GET /broken: no more of it", 1, true))
        assert.is_nil(log:find("/body", 1, true)) -- that a client is gone is no error
    end)

    it("may be a deferred, or have one for a body", function()
        local function later(...)
            local d, results = deferred(), table.pack(...)
            neap.call_later(0, function() d:callback(table.unpack(results, 1, results.n)) end)
            return d
        end
        for _, mode in ipairs { "tasklet", "reactor" } do
            local status, _, body = ask(function() return later(201, "x") end, nil, { mode = mode })
            assert.same({ 201, "x" }, { status, body })
            local headers
            status, headers, body = ask(function() return 202, { a = "b" }, later("y") end, nil,
                { mode = mode })
            assert.same({ 202, "b", "y" }, { status, headers.a, body })
        end
    end)

    it("may be written", function()
        local _, headers, body = ask(function(req)
            local w = req:respond(200, { ["X-A"] = { "1", "2" } })
            assert(w:write("a", 1))
            assert(w:write(""))
            assert(w:write(("b"):rep(200000)))
            w:close()
        end)
        assert.equal("1|2", headers["x-a"])
        assert.equal("a1" .. ("b"):rep(200000), body)
    end)

    it("has no body for HEAD, 204 and 304", function()
        local _, headers = ask(function() return "four" end, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.equal("4", headers["content-length"])
        serving(function() return 204, "dropped" end, function(server)
            local s <close> = connect(server)
            s:write(get("/") .. get("/"))
            for _ = 1, 2 do
                local status, fields = answer(s, true)
                assert.equal(204, status)
                assert.is_nil(fields["content-length"])
            end
        end)
    end)

    it("is 500 when there is none, or a bad one; only the log says why", function()
        for _, handler in ipairs { function() end, function() return 99 end,
            function() error(SECRET) end, function() return 200, { ["a b"] = "c" }, "" end,
            function() return 200, { a = "b\r\nc: d" }, "" end,
            function() return 200, { a = "b\0" }, "" end, function() return true end,
            function() return 200, "a", "b" end, function() return { a = "b" } end,
            function() return 200, {}, { a = "b" } end } do
            local status, headers, body, got = ask(handler)
            assert.equal(500, status)
            assert.is_nil(headers.c)
            assert.equal("Internal Server Error\n", body)
            assert.equal(1, #got.log)
        end
    end)

    it("cannot have a bad header in respond", function()
        local status, _, body = ask(function(req)
            local ok, err = pcall(req.respond, req, 200, { a = "b\nc" })
            return 200, tostring(ok) .. err
        end)
        assert.equal(200, status)
        assert.truthy(body:find("false.*CR, LF or NUL"))
    end)

    it("is cut after an error behind the head", function()
        for _, handler in ipairs {
            function(req) req:respond(200):write("a") error("late") end,
            function() return function() error("late") end end,
            function() return function() return nil, "no more" end end,
        } do
            local _, _, _, got = ask(handler)
            assert.equal("cut", got[4])
        end
    end)

    it("has the length that it has, or is cut", function()
        local _, headers, body = ask(function() return 200, { ["Content-Length"] = 9 }, "abc" end)
        assert.same({ "3", "abc" }, { headers["content-length"], body })
        local _, _, _, got = ask(function(req)
            local w = req:respond(200, { ["Content-Length"] = "2" })
            w:write("abc")
        end)
        assert.equal(1, #got.log)
        serving(function(req) req:respond(200, { ["Content-Length"] = 5 }):write("abc") end,
            function(server)
                local s <close> = connect(server)
                s:write(get("/"))
                assert.truthy(s:read("a"):find("abc$")) -- and it closes
            end)
    end)

    it("has no hop-by-hop fields of the handler's", function()
        local _, headers = ask(function()
            return 200, { Upgrade = "x", TE = "x", ["Transfer-Encoding"] = "chunked" }, "a"
        end)
        assert.is_nil(headers.upgrade or headers.te or headers["transfer-encoding"])
    end)
end)

describe("a request", function()
    it("is what the client has sent", function()
        local seen = {}
        ask(function(req)
            for _, k in ipairs { "method", "target", "host", "path", "query", "version" } do
                seen[k] = req[k]
            end
            seen.arg, seen.all = req.args.a, req.args:all("a")
            seen.cookie, seen.cookies = req.headers["set-cookie"], req.headers:all("Set-Cookie")
            seen.x, seen.none = req.headers["x-A"], req.headers.none
            for k in pairs(req.headers) do assert.equal(k:lower(), k) end
            seen.peer = tostring(req.peer):match("^(.*):%d+$")
            req.params = 5
            seen.params = req.params
            return ""
        end, get("/a%20b?a=1&b=c+d&a=%41",
            "X-a: 1\r\nSet-Cookie: p\r\nset-cookie: q\r\nX-A: 2\r\n"))
        assert.same({ method = "GET", target = "/a%20b?a=1&b=c+d&a=%41", host = "a", path = "/a b",
            query = "a=1&b=c+d&a=%41", version = "1.1", arg = "A", all = { "1", "A" },
            cookie = "p", cookies = { "p", "q" }, x = "1, 2", peer = "127.0.0.1", params = 5 },
            seen)
    end)

    it("has a body, whole or in pieces", function()
        local text = ("0123456789"):rep(30000)
        local _, _, body = ask(function(req) return req:body() end,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " .. #text .. "\r\n\r\n" .. text)
        assert.equal(text, body)
        _, _, body = ask(function(req)
            local n, most = 0, 0
            for piece in function() return req:read_some(1000) end do
                n, most = n + #piece, math.max(most, #piece)
            end
            return n .. " " .. most
        end, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " .. #text .. "\r\n\r\n" .. text)
        assert.equal("300000 1000", body)
    end)

    it("is asked for its body when it waits for that", function()
        serving(function(req) return req:body() end, function(server)
            local s <close> = connect(server)
            s:write("PUT / HTTP/1.1\r\nHost: a\r\n")
            s:write("Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            assert.equal("HTTP/1.1 100 Continue\r", s:read("l"))
            assert.equal("\r", s:read("l"))
            s:write("ok")
            assert.same({ 200, "ok" }, { (function(a, _, b) return a, b end)(answer(s)) })
        end)
    end)

    it("may have a body that nobody reads", function()
        serving(function() return "x" end, function(server)
            local s <close> = connect(server)
            s:write("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n")
            s:write(("a"):rep(200000) .. get("/"))
            for _ = 1, 2 do assert.equal(200, (answer(s))) end
            s:write("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n")
            local _, headers = answer(s)
            assert.equal("close", headers.connection)
        end)
    end)

    it("of mode reactor has come before the handler, however it was cut", function()
        local text = "0123456789"
        serving(function(req)
            local pieces, d = {}, deferred()
            for piece in function() return req:read_some(4) end do pieces[#pieces + 1] = piece end
            neap.call_later(0, function() d:callback(table.concat(pieces, " ")) end)
            return d
        end, { mode = "reactor" }, function(server)
            local s <close> = connect(server)
            s:write("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
            for c in text:gmatch "." do
                s:write(c)
                sleep(0)
            end
            s:write("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n")
            s:write("5\r\n56789\r\n0\r\n\r\n")
            for _ = 1, 2 do assert.equal("0123 4567 89", select(3, answer(s))) end
        end)
    end)

    it("that grows over its limit is refused at the first byte too many", function()
        for _, mode in ipairs { "tasklet", "reactor" } do
            local got
            serving(function(req)
                got = { req:body() }
                return "late"
            end, { max_body = 10, mode = mode }, function(server)
                local s <close> = connect(server)
                s:write("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                s:write("8\r\n01234567\r\n100\r\n89")
                sleep(0.02)
                assert.is_nil(got)
                s:write("x") -- the rest of the chunk never comes
                assert.equal(413, (answer(s)))
                if mode == "tasklet" then assert.equal("EMSGSIZE", got[3]) end
            end)
        end
    end)

    it("in pieces has its own limit", function()
        local n, code = 0
        serving(function(req)
            local piece, _
            repeat
                piece, _, code = req:read_some()
                n = n + #(piece or "")
            until not piece
        end, { max_stream = 10, max_body = 5 }, function(server)
            local s <close> = connect(server)
            s:write("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            s:write("5\r\n01234\r\n6\r\n56789x\r\n")
            assert.equal(413, (answer(s)))
            assert.equal("EMSGSIZE", code)
            assert.is_true(n <= 10, n)
        end)
    end)

    it("refused can be sent to its end by a slow client, who then reads why", function()
        serving(function(req) return (req:body()) end, { max_body = 10 }, function(server)
            local s <close> = connect(server)
            s:write("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n")
            for _ = 1, 6 do -- longer than a close waits for a silent peer
                sleep(0.5)
                assert(s:write(("a"):rep(500)))
            end
            assert.equal(413, (answer(s)))
        end)
    end)

    it("has its arguments decoded once", function()
        serving(function(req)
            local args = req.args
            local before = collectgarbage("count")
            for _ = 1, 100 do assert(args.a == "1") end
            return ("%.0f"):format(collectgarbage("count") - before)
        end, function(server)
            local s <close> = connect(server)
            local long = "x=" .. ("%41"):rep(500)
            s:write(get("/?a=0&" .. long .. "&a=1"))
            local kib = tonumber((select(3, answer(s))))
            assert.is_true(kib < 20, kib)
        end)
    end)

    it("too large is refused while it still comes", function()
        serving(function(req) return (req:body()) end, { max_body = 10 }, function(server)
            local s <close> = connect(server)
            s:write("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n")
            spawn(function() s:write(("a"):rep(3000000)) end)
            assert.equal(413, (answer(s)))
        end)
    end)

    it("may take the stream over", function()
        serving(function(req)
            local s = req:upgrade()
            s:write("raw:" .. s:read("l") .. "\n")
        end, function(server)
            local s <close> = connect(server)
            s:write(get("/", "Connection: upgrade\r\nUpgrade: x\r\n") .. "behind\n")
            assert.equal("raw:behind", s:read("l"))
            assert.is_nil(s:read("l"))
        end)
    end)
end)

describe("time", function()
    it("is short for a head", function()
        serving(function() return "" end, { head_timeout = 0.05 }, function(server)
            local s <close> = connect(server)
            s:write("GET / HT")
            assert.equal(408, (answer(s)))
            assert.is_nil(s:read("l"))
        end)
    end)

    it("is short for a body", function()
        local code
        serving(function(req) code = select(3, req:body()) return "late" end,
            { body_timeout = 0.05 }, function(server)
                local s <close> = connect(server)
                s:write("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
                assert.equal(408, (answer(s)))
                assert.equal("ETIMEDOUT", code)
            end)
    end)

    it("ends an idle connection without a word", function()
        serving(function() return "" end, { idle_timeout = 0.05 }, function(server)
            local s <close> = connect(server)
            assert.equal("", s:read("a"))
        end)
    end)

    it("ends a client that does not read", function()
        local got
        serving(function(req)
            local w = req:respond(200)
            repeat
                local ok, err = w:write(("x"):rep(100000))
                got = err
            until not ok
        end, { write_timeout = 0.05 }, function(server)
            local s <close> = connect(server)
            s:write(get("/"))
            while not got do sleep(0.01) end
            assert.equal("timeout", got)
        end)
    end)
end)

describe("a client that leaves", function()
    local function leave(s)
        s:setoption("linger", 0)
        s:close()
    end

    it("cancels the deferred", function()
        for _, mode in ipairs { "tasklet", "reactor" } do
            local called, cancelled = channel(1), channel(1)
            serving(function()
                called:send(true)
                return deferred(function() cancelled:send(true) end)
            end, { mode = mode }, function(server, log)
                local s = connect(server)
                s:write(get("/"))
                called:receive()
                leave(s)
                cancelled:receive()
                sleep(0)
                assert.same({}, log, mode)
            end)
        end
    end)

    it("is told to who writes", function()
        local done = channel(1)
        serving(function(req)
            local w = req:respond(200)
            local ok, err
            repeat
                ok, err = w:write("x")
                sleep(0)
            until not ok
            done:send(err)
        end, function(server)
            local s = connect(server)
            s:write(get("/"))
            s:read("l")
            leave(s)
            assert.equal("closed", done:receive())
        end)
    end)

    it("fires req.gone, which no other end does", function()
        local fired, called = channel(2), channel(2)
        serving(function(req)
            assert.equal(req.gone, req.gone)
            req.gone:add_callback(function() fired:send(req.path) end)
            called:send(true)
            if req.path == "/stay" then return "x" end
            req.gone:wait()
        end, function(server)
            local s = connect(server)
            s:write(get("/stay"))
            assert.equal(200, (answer(s)))
            s:close()
            s = connect(server)
            s:write(get("/leave"))
            called:receive()
            called:receive()
            leave(s)
            assert.equal("/leave", fired:receive())
            assert.is_false((fired:try_receive()))
        end)
    end)

    it("half may still read", function()
        serving(function() sleep(0.01) return "late" end, function(server)
            local s <close> = connect(server)
            s:write(get("/"))
            s:shutdown()
            assert.equal("late", select(3, answer(s)))
        end)
    end)
end)

describe("a server", function()
    it("answers in order", function()
        serving(function(req)
            sleep(tonumber(req.args.s))
            return req.args.s
        end, function(server)
            local s <close> = connect(server)
            s:write(get("/?s=0.03") .. get("/?s=0") .. get("/?s=0.01"))
            for _, text in ipairs { "0.03", "0", "0.01" } do
                assert.equal(text, select(3, answer(s)))
            end
        end)
    end)

    it("waits with a client that does not read, and parses no further", function()
        local n = 0
        serving(function() n = n + 1 return ("x"):rep(1000000) end, function(server)
            local s <close> = connect(server)
            s:write(get("/"):rep(100))
            for _ = 1, 20 do sleep(0) end
            assert.is_true(n < 50, n)
        end)
    end)

    it("takes no more clients than it may have", function()
        serving(function() return "x" end, { max_connections = 1 }, function(server)
            local a, b = connect(server), connect(server)
            a:write(get("/"))
            b:write(get("/"))
            assert.equal(200, (answer(a)))
            assert.equal(1, server.connections)
            a:close()
            assert.equal(200, (answer(b)))
            b:close()
        end)
    end)

    it("ends gracefully", function()
        local called, go = channel(1), channel()
        serving(function()
            called:send(true)
            return go:receive()
        end, function(server)
            local idle <close> = connect(server)
            local busy <close> = connect(server)
            busy:write(get("/"))
            called:receive()
            local ended = spawn(function() return server:shutdown(5) end)
            assert.equal("", idle:read("a"))
            assert.is_true(server.draining)
            go:send("done")
            local _, headers, body = answer(busy)
            assert.same({ "close", "done" }, { headers.connection, body })
            assert.same({ true, 0 }, { ended:join() })
            server:wait()
        end)
    end)

    it("cuts what is left at the end of the grace", function()
        local called = channel(1)
        serving(function()
            called:send(true)
            channel():receive()
        end, function(server)
            local s <close> = connect(server)
            s:write(get("/"))
            called:receive()
            assert.equal(1, server:shutdown(0.01))
            assert.equal("", s:read("a"))
        end)
    end)

    it("serves on a unix socket", function()
        local path = os.tmpname()
        os.remove(path)
        local server <close> = assert(http.serve({ path = path }, function() return "unix" end))
        assert.is_nil(server.port)
        local s <close> = assert(net.connect_unix(path))
        s:write(get("/"))
        assert.equal("unix", select(3, answer(s)))
    end)

    it("takes no wrong options", function()
        assert.has_error(function() http.serve({ max_heads = 1 }, print) end)
        assert.has_error(function() http.serve({ max_head = "x" }, print) end)
        assert.has_error(function() http.serve({ mode = "x" }, print) end)
        assert.has_error(function() http.serve({}) end)
        local server <close> = assert(http.serve({ host = "127.0.0.1" }, print))
        assert.equal("EADDRINUSE",
            select(3, http.serve({ host = "127.0.0.1", port = server.port }, print)))
    end)
end)
