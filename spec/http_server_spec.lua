-- The server around the handlers: TLS, unix sockets, what is told of requests, streams that
-- outlive their handler, how many clients, and its end under load.

local authority = require "spec.support.authority"
local net = require "neap.net"
local http = require "neap.http"
local support = require "spec.support.http"

local serving, connect, answer, get = support.serving, support.connect, support.answer, support.get
local leave = support.leave

describe("TLS", function()
    local ca, good, other

    setup(function()
        ca = authority.new()
        good = ca:issue()
        other = ca:issue()
    end)
    teardown(function() ca:remove() end)

    local function options(identity, more)
        local set = { cert = identity.cert, key = identity.key }
        for k, v in pairs(more or {}) do set[k] = v end
        return set
    end

    local function dial(server, more)
        local set = { ca = ca.cert, alpn = { "h2", "http/1.1" } }
        for k, v in pairs(more or {}) do set[k] = v end
        return net.connect("localhost", server.port, { tls = set })
    end

    it("is an option, and speaks HTTP/1.1", function()
        local text = ("0123456789"):rep(20000)
        for _, mode in ipairs { "tasklet", "reactor" } do
            serving(function(req) return req:body() .. text end,
                { tls = options(good), mode = mode }, function(server)
                    local s <close> = assert(dial(server))
                    assert.equal("http/1.1", s:tls().alpn)
                    for _ = 1, 3 do
                        s:write("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: ", #text, "\r\n\r\n")
                        s:write(text)
                        local status, _, body = answer(s)
                        assert.equal(200, status)
                        assert.is_true(body == text .. text)
                    end
                end)
        end
    end)

    it("has keys that change without a restart", function()
        serving(function() return "x" end, { tls = options(good) }, function(server)
            local old <close> = assert(dial(server))
            local before = old:tls().peer.names
            assert.truthy(before)
            assert.equal(server, server:set_tls(options(other, { alpn = { "http/1.0" } })))
            local new <close> = assert(dial(server, { alpn = { "http/1.0" } }))
            assert.equal("http/1.0", new:tls().alpn)
            for _, s in ipairs { old, new } do
                s:write(get("/"))
                assert.equal(200, (answer(s)))
            end
            local ok, _, code = server:set_tls({ cert = "/nowhere", key = "/nowhere" })
            assert.is_nil(ok)
            assert.truthy(code)
            old:write(get("/"))
            assert.equal(200, (answer(old)))
        end)
    end)

    it("ends a client that says nothing, or something else, and nobody waits for it", function()
        serving(function() return "x" end,
            { tls = options(good, { handshake_timeout = 0.1 }) }, function(server, log)
                local silent <close> = connect(server)
                local plain <close> = connect(server)
                plain:write(get("/"))
                for _ = 1, 20 do sleep(0) end -- both are accepted
                server:set_tls(options(good)) -- who comes now has time
                local s <close> = assert(dial(server))
                s:write(get("/"))
                assert.equal(200, (answer(s)))
                assert.equal("", silent:read("a") or "")
                assert.is_nil((plain:read("a") or ""):find("HTTP"))
                assert.same({}, log)
            end)
    end)

    it("in the middle of a handshake holds up no shutdown", function()
        serving(function() return "x" end,
            { tls = options(good, { handshake_timeout = 1000 }) }, function(server)
                local silent <close> = connect(server)
                while server.connections == 0 do sleep(0.001) end
                sleep(0.01)
                assert.equal(0, server:shutdown()) -- it may last for ever
                assert.equal("", silent:read("a"))
            end)
    end)

    it("needs a certificate", function()
        assert.has_error(function() http.serve({ tls = true }, print) end)
        assert.has_error(function() http.serve({ tls = {} }, print) end)
        local bad = { cert = "/nowhere", key = "/nowhere" }
        local server, err, code = http.serve({ tls = bad }, print)
        assert.same({ nil, "string", "string" }, { server, type(err), type(code) })
    end)
end)

describe("on_request", function()
    local function told(handler, f, opts)
        local list, seen = {}, channel(100)
        opts = opts or {}
        opts.on_request = function(req, status, bytes, seconds)
            assert(seconds >= 0 and seconds < 60)
            list[#list + 1] = ("%s %s %d"):format(req and req.path, status, bytes)
            seen:try_send(true)
        end
        local log
        serving(handler, opts, function(server, errors)
            f(server, seen)
            log = errors
        end)
        return list, log
    end

    it("is told of each request, in order, once", function()
        for _, mode in ipairs { "tasklet", "reactor" } do
            local list = told(function(req)
                if req.path == "/fails" then error("no") end
                return tonumber(req.args.status) or 200, req.args.body or ""
            end, function(server, seen)
                local s <close> = connect(server)
                s:write(get("/a?body=12345"), get("/b?status=404&body=no"), get("/fails"),
                    "HEAD /head?body=x HTTP/1.1\r\nHost: a\r\n\r\n", "GET nonsense\r\n\r\n")
                s:read("a")
                for _ = 1, 5 do seen:receive() end
            end, { mode = mode })
            assert.same({ "/a 200 5", "/b 404 2", "/fails 500 22", "/head 200 0", "nil 400 12" },
                list)
        end
    end)

    it("is told of streams, of those that leave, and of other protocols", function()
        local called = channel(1)
        local list = told(function(req)
            if req.path == "/up" then
                req:upgrade():write("x")
            elseif req.path == "/stream" then
                local w = req:respond(200)
                w:write("abc")
                w:write("de")
            else
                called:send(true)
                req.gone:wait()
            end
        end, function(server, seen)
            local s <close> = connect(server)
            s:write(get("/stream"))
            answer(s)
            s:write(get("/up"))
            s:read("a")
            local gone = connect(server)
            gone:write(get("/gone"))
            called:receive()
            leave(gone)
            for _ = 1, 3 do seen:receive() end
        end)
        table.sort(list)
        assert.same({ "/gone nil 0", "/stream 200 5", "/up 101 0" }, list)
    end)

    it("may fail, and may not block", function()
        local failed
        serving(function() return "x" end, { on_request = function()
            failed = not pcall(sleep, 0)
            error("of the hook")
        end }, function(server, log)
            local s <close> = connect(server)
            for _ = 1, 2 do
                s:write(get("/"))
                assert.equal(200, (answer(s)))
            end
            assert.is_true(failed)
            assert.truthy(log[1]:find("of the hook", 1, true))
        end)
        assert.has_error(function() http.serve({ on_request = 5 }, print) end)
    end)
end)

describe("a stream that was taken over", function()
    it("may outlive its handler", function()
        local kept
        serving(function(req) kept = req:upgrade():detach() end, function(server)
            local s <close> = connect(server)
            s:write(get("/", "Connection: upgrade\r\nUpgrade: x\r\n") .. "behind\n")
            while not kept do sleep(0) end
            while server.connections > 0 do sleep(0) end
            assert.equal(0, server:shutdown(1))
            assert.equal("behind", kept:read("l"))
            kept:write("still here\n")
            assert.equal("still here", s:read("l"))
            kept:close()
            assert.is_nil(s:read("l"))
        end)
    end)
end)

describe("unix sockets", function()
    it("are served, and show a client that leaves", function()
        local path = os.tmpname()
        os.remove(path)
        local called, left = channel(1), channel(1)
        local _ <close> = assert(http.serve({ path = path, unix_mode = "600" },
            function(req)
                if req.path == "/" then return "unix" end
                called:send(true)
                req.gone:wait()
                left:send(true)
            end))
        local s <close> = assert(net.connect_unix(path))
        s:write(get("/"))
        assert.equal("unix", select(3, answer(s)))
        local other = assert(net.connect_unix(path))
        other:write(get("/wait"))
        called:receive()
        other:close()
        assert.is_true(left:receive())
    end)
end)

describe("max_connections", function()
    it("holds, and everybody is served in the end", function()
        local now, most = 0, 0
        serving(function()
            now = now + 1
            most = math.max(most, now)
            sleep(0.001)
            now = now - 1
            return 200, { Connection = "close" }, "x"
        end, { max_connections = 5 }, function(server)
            local clients = {}
            for i = 1, 50 do clients[i] = i end
            neap.map(clients, function()
                local s <close> = connect(server)
                s:write(get("/"))
                assert.equal(200, (answer(s)))
            end, 50)
            assert.is_true(most <= 5 and most > 0, most)
        end)
    end)
end)

describe("a close, and a shutdown that cuts,", function()
    for name, stop in pairs {
        close = function(server) server:close() end,
        shutdown = function(server) server:shutdown(0) end,
    } do
        it("are to handlers as if the client had left: " .. name, function()
            local cancelled, left, met = false, channel(1), channel(2)
            serving(function(req)
                if req.path == "/deferred" then
                    met:send(true)
                    return deferred(function() cancelled = true end)
                end
                local gone = req.gone
                spawn(function() left:send((neap.select({ gone }, 10))) end)
                met:send(true)
                gone:wait()
                return "late"
            end, function(server, log)
                for _, path in ipairs { "/deferred", "/select" } do
                    connect(server):write(get(path))
                    met:receive()
                end
                stop(server)
                server:wait()
                assert.equal(1, left:receive(10))
                assert.is_true(cancelled)
                assert.same({}, log)
            end)
        end)
    end
end)

describe("a shutdown under load", function()
    -- Clients that ask over and over until nobody listens any more.
    local function load_on(server, clients, kind)
        local state = { asked = 0, answered = 0, refused = 0, tasks = {} }
        -- A question counts once the server has begun to read it.
        local function ask(s)
            s:write("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n",
                "Content-Length: 2\r\n\r\n")
            if s:read("l") ~= "HTTP/1.1 100 Continue\r" then return false end
            s:read("l")
            state.asked = state.asked + 1
            s:write("ok")
            local status, headers, body = answer(s)
            if status ~= 200 or body ~= "whole" then return false end
            state.answered = state.answered + 1
            return headers.connection ~= "close"
        end
        for i = 1, clients do
            state.tasks[i] = spawn(function()
                while true do
                    local s <close> = net.connect("127.0.0.1", server.port)
                    if not s then
                        state.refused = state.refused + 1
                        return
                    end
                    while ask(s) and kind == "keep" do sleep(0) end
                end
            end)
        end
        return state
    end

    -- A server that is told to stop while 30 clients of a kind ask; then check(server, state).
    local function stopped(kind, check)
        serving(function(req)
            local body = req:body()
            sleep(0.002)
            return body == "ok" and "whole" or "a part"
        end, function(server)
            local state = load_on(server, 30, kind)
            while state.answered < 100 do sleep(0.001) end
            assert.equal(0, server:shutdown(10))
            for _, t in ipairs(state.tasks) do t:join() end
            assert.equal(state.asked, state.answered)
            check(server, state)
        end)
    end

    it("cuts no request", function()
        stopped("once", function(_, state) assert.equal(30, state.refused) end)
    end)

    it("tells clients that stay with it to go, and answers what has come", function()
        stopped("keep", function(server) assert.equal(0, server.connections) end)
    end)

    it("takes in who has connected and was not accepted yet", function()
        serving(function() return "whole" end, function(server)
            local clients = {}
            for i = 1, 5 do
                clients[i] = spawn(function()
                    local s <close> = connect(server)
                    s:write(get("/"))
                    return (answer(s))
                end)
            end
            schedule() -- they connect; who accepts has not run since
            assert.equal(0, server:shutdown(10))
            for _, t in ipairs(clients) do
                local connected, status = t:join()
                assert.is_true(connected, status)
                assert.is_true(status == 200 or not status) -- it may have been late
            end
        end)
    end)

    it("answers what lay in the kernel when it began", function()
        serving(function() return "whole" end, function(server)
            local used <close> = connect(server)
            local fresh <close> = connect(server)
            used:write(get("/"))
            answer(used)
            used:write(get("/")) -- and nobody else runs before the shutdown
            fresh:write(get("/"))
            assert.equal(0, server:shutdown(10))
            for _, s in ipairs { used, fresh } do
                local status, headers = answer(s)
                assert.same({ 200, "close" }, { status, headers.connection })
            end
        end)
    end)
end)
