-- Clients over time: those that leave in the middle, that are slow or late, that crowd, and a
-- server that is told to stop while they ask.

local child = require "spec.support.child"
local net = require "neap.net"
local support = require "spec.support.http"

local serving, connect, answer, get = support.serving, support.connect, support.answer, support.get
local leave = support.leave

local function post(length)
    return "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: " .. length .. "\r\n\r\n"
end

-- Until f() holds; the deadline of the `it` is the end of patience.
local function await(f)
    while not f() do sleep(0.001) end
end

local function ended(server)
    await(function() return server.connections == 0 end)
end

describe("a client that resets", function()
    it("in the middle of a head is forgotten", function()
        local called = false
        serving(function() called = true end, function(server, log)
            for cut = 1, 25, 6 do
                local s = connect(server)
                s:write(get("/"):sub(1, cut))
                await(function() return server.connections == 1 end)
                leave(s)
                ended(server)
            end
            assert.same({}, log)
            assert.is_false(called)
        end)
    end)

    it("in the middle of a body is told to its handler alone", function()
        for _, mode in ipairs { "tasklet", "reactor" } do
            local got, calls = channel(1), 0
            serving(function(req)
                calls = calls + 1
                got:send(table.pack(req:body()))
            end, { mode = mode }, function(server, log)
                local s = connect(server)
                assert(s:write(post(10), "abc")):flush()
                await(function()
                    return server.connections == 1 and (mode == "reactor" or calls == 1)
                end)
                sleep(0.01)
                leave(s)
                if mode == "tasklet" then
                    local result = got:receive()
                    assert.is_nil(result[1])
                    assert.equal("ECONNRESET", result[3])
                end
                ended(server)
                assert.equal(mode == "tasklet" and 1 or 0, calls)
                assert.same({}, log)
            end)
        end
    end)
end)

describe("a body that ends early", function()
    it("is never a whole one", function()
        for _, mode in ipairs { "tasklet", "reactor" } do
            for _, request in ipairs { post(10) .. "abcde",
                "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n" } do
                local got, calls
                serving(function(req)
                    got, calls = table.pack(req:body()), (calls or 0) + 1
                    return "late"
                end, { mode = mode }, function(server)
                    local s <close> = connect(server)
                    s:write(request)
                    s:shutdown()
                    assert.equal(400, (answer(s)))
                    assert.is_nil(s:read("l"))
                    if mode == "tasklet" then
                        assert.is_nil(got[1])
                        assert.equal("ECONNRESET", got[3])
                    else
                        assert.is_nil(calls)
                    end
                end)
            end
        end
    end)
end)

describe("a slow client", function()
    -- Sends the text byte by byte for as long as the server takes it.
    local function trickle(s, text)
        return spawn(function()
            for c in text:gmatch "." do
                if not s:write(c) then return end
                sleep(0.02)
            end
        end)
    end

    it("has so long for a whole head, however it keeps sending", function()
        serving(function() return "" end, { head_timeout = 0.2 }, function(server)
            local s <close> = connect(server)
            local t = trickle(s, "GET / HTTP/1.1\r\nX: " .. ("x"):rep(10000))
            assert.equal(408, (answer(s)))
            s:close()
            t:join()
        end)
    end)

    it("has so long for a whole body", function()
        local code
        serving(function(req) code = select(3, req:body()) end, { body_timeout = 0.2 },
            function(server)
                local s <close> = connect(server)
                s:write(post(10000))
                local t = trickle(s, ("x"):rep(10000))
                assert.equal(408, (answer(s)))
                assert.equal("ETIMEDOUT", code)
                s:close()
                t:join()
            end)
    end)

    it("that reads a byte now and then is cut", function()
        serving(function() return ("x"):rep(2e7) end, { write_timeout = 0.2 }, function(server)
            local s <close> = connect(server)
            s:write(get("/"))
            await(function() return server.connections == 1 end)
            local t = spawn(function()
                while s:read(1) do sleep(0.02) end
            end)
            ended(server)
            s:close()
            t:join()
        end)
    end)

    it("that takes too little is cut, and nothing is kept for it", function()
        child.make("build/static/support/sip")
        local text = ("x"):rep(3e6)
        for name, handler in pairs {
            text = function() return text end,
            list = function() return { text, text } end,
            pieces = function() return function() return text end end,
            writer = function(req) req:respond(200):write(text) end,
        } do
            serving(handler, { write_timeout = 0.3 }, function(server)
                local _, out = child.shell( -- 20 KB a second, in pieces of which each is room
                    ("build/static/support/sip %d 2000 100"):format(server.port))
                local came = tonumber(out:match("^(%d+) bytes"))
                assert.is_true(came > 0 and came < 150000, name .. ": " .. out)
                assert.equal(0, server.connections)
            end)
        end
    end)

    it("that takes enough is not, though the kernel seldom has room", function()
        serving(function() return ("x"):rep(6e6) end, { write_timeout = 3 }, function(server)
            local s <close> = connect(server)
            s:write(get("/"))
            local came = #assert(s:read_until("\r\n\r\n"))
            local head = came
            for _ = 1, 16 do
                sleep(0.25)
                came = came + #s:read(65536)
            end
            assert.equal(6e6, came - head + #s:read(6e6 - (came - head)))
        end)
    end)

    it("holds up nobody else", function()
        serving(function(req) return req:body() or "" end,
            { head_timeout = 20, body_timeout = 20, write_timeout = 20 }, function(server)
                local slow = {}
                for i = 1, 100 do
                    slow[i] = connect(server)
                    slow[i]:write(i % 2 == 0 and "GET / HT" or post(100) .. "x")
                end
                for _ = 1, 100 do
                    local s <close> = connect(server)
                    s:write(get("/"))
                    assert.equal(200, (answer(s)))
                end
                assert.is_true(server.connections >= 100)
                for _, s in ipairs(slow) do s:close() end
            end)
    end)
end)

describe("an answer in many pieces", function()
    it("lets others be served in between", function()
        local n, between = 0, 0
        serving(function(req)
            if req.path == "/other" then return "x" end
            return function()
                n = n + 1
                return n <= 20000 and ("x"):rep(10) or nil
            end
        end, function(server)
            local s <close>, other = connect(server), connect(server)
            other:write(get("/other"))
            answer(other) -- it is there, and the next answers need no accept
            s:write(get("/"))
            local whole = spawn(function() return #select(3, answer(s)) end)
            while whole.alive and n <= 20000 do
                if n > 0 then between = between + 1 end
                other:write(get("/other"))
                assert.equal(200, (answer(other)))
            end
            assert.same({ true, 200000 }, { whole:join() })
            assert.is_true(between > 0, between)
            other:close()
        end)
    end)
end)

describe("the end of an idle connection", function()
    it("loses no request that has come by then", function()
        serving(function() return "x" end, { idle_timeout = 1 }, function(server)
            local s <close> = connect(server)
            s:write(get("/"))
            answer(s)
            sleep(0) -- it is idle now
            assert(s:write(get("/")):flush())
            local late = os.clock() + 1.2
            while os.clock() < late do end -- nobody looks while its time ends
            assert.equal(200, (answer(s)))
        end)
    end)

    it("is not put off by a handler that was busy", function()
        serving(function() sleep(1.5) return "x" end, { idle_timeout = 1 }, function(server)
            local s <close> = connect(server)
            for _ = 1, 2 do
                s:write(get("/"))
                assert.equal(200, (answer(s)))
            end
            assert.equal("", s:read("a"))
        end)
    end)
end)

describe("an answer while the client still sends", function()
    it("can be read, whoever gave it", function()
        serving(function() return 401, "who?" end, function(server)
            local s <close> = connect(server)
            s:write(post(3000))
            local t = spawn(function() s:write(("a"):rep(3000000)) end)
            local status, headers, body = answer(s)
            assert.same({ 401, "who?" }, { status, body })
            assert.is_nil(headers.connection) -- so little is read away
            s:close()
            t:join()
        end)
        serving(function() return 401, "who?" end, function(server)
            local s <close> = connect(server)
            s:write(post(3000000))
            for _ = 1, 6 do -- slower than a close waits for a silent peer
                assert(s:write(("a"):rep(1000)))
                sleep(0.5)
            end
            local status, headers, body = answer(s)
            assert.same({ 401, "close", "who?" }, { status, headers.connection, body })
        end)
    end)
end)

describe("a client that goes on sending behind its last answer", function()
    -- Sends until it is told to stop.
    local function flood(server, request)
        local s = connect(server)
        s:write(request)
        return s, spawn(function()
            while s:write(("a"):rep(1000)) do sleep(0.001) end
        end)
    end

    local head = "PUT / HTTP/1.1\r\nHost: a\r\n"

    for wanted, request in pairs { [413] = post(1 << 50), [417] = head .. "Expect: more\r\n\r\n",
        [400] = head .. "Transfer-Encoding: nonsense\r\n\r\n" } do
        it("counts as one, and for a limited time: " .. wanted, function()
            local opts = { max_connections = 1, body_timeout = 3 }
            serving(function(req) return req.method == "PUT" and 413 or "x" end, opts,
                function(server)
                    local s, t = flood(server, request)
                    local status, headers = answer(s)
                    assert.same({ wanted, "close" }, { status, headers.connection })
                    assert.equal(1, server.connections)
                    local other <close> = connect(server)
                    other:write(get("/"))
                    assert.equal(200, (answer(other))) -- when the first one's time is over
                    s:close()
                    t:join()
                end)
        end)
    end

    it("is not waited for once it is silent", function()
        serving(function() return 413 end, function(server)
            local s <close> = connect(server)
            s:write(post(1 << 50))
            assert.equal(413, (answer(s)))
            ended(server)
            assert.equal("", s:read("a"))
        end)
    end)

    it("does not hold up a shutdown, which lets it read the answer", function()
        serving(function() return 413 end, function(server)
            local s, t = flood(server, post(1 << 50))
            await(function() return server.connections == 1 end)
            assert.equal(0, server:shutdown(60))
            assert.equal(413, (answer(s)))
            s:close()
            t:join()
        end)
    end)
end)

describe("pipelined requests whose answers nobody reads", function()
    it("are parsed no further, and take little memory", function()
        local n = 0
        serving(function() n = n + 1 return ("x"):rep(10000) end, function(server)
            local s <close> = connect(server)
            local t = spawn(function() s:write(get("/"):rep(100000)) end)
            local before = -1
            while before ~= n do
                before = n
                sleep(0.1)
            end
            assert.is_true(n < 2000, n) -- what the kernel's buffers hold
            s:close()
            t:join()
        end)
    end)
end)

describe("idle connections", function()
    it("cost little, and nothing while they are idle", function()
        serving(function() return "x" end, function(server)
            local all = {}
            local function crowd(n)
                for i = #all + 1, #all + n do
                    all[i] = connect(server)
                    all[i]:write(get("/"))
                    assert.equal(200, (answer(all[i])))
                end
                collectgarbage()
                collectgarbage()
                return collectgarbage("count")
            end
            local before = crowd(100)
            local each = (crowd(200) - before) / 200 -- of both ends
            assert.is_true(each < 8, each)
            assert.equal(300, server.connections)
            for _, s in ipairs(all) do s:close() end
        end)
    end)
end)

describe("a program that is told to stop", function()
    it("answers all that it was asked, and ends well", function()
        local server = child.script [[
            local http = require "neap.http"
            local server = assert(http.serve({ host = "127.0.0.1" }, function(req)
                local body = req:body()
                sleep(0.002)
                return body
            end))
            print(server.port)
            io.stdout:flush()
            require "neap.signal".wait("SIGTERM")
            print("cut " .. server:shutdown(10))
        ]]
        local port, asked, answered = tonumber(server:printed()), 0, 0
        local tasks = {}
        for i = 1, 20 do
            tasks[i] = spawn(function()
                while true do
                    local s <close> = net.connect("127.0.0.1", port)
                    if not s then return end
                    s:write("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n",
                        "Content-Length: 5\r\n\r\n")
                    if s:read("l") ~= "HTTP/1.1 100 Continue\r" then return end
                    s:read("l")
                    asked = asked + 1 -- the server has it
                    s:write("ab")
                    sleep(0)
                    s:write("cde")
                    local status, _, body = answer(s)
                    if status == 200 and body == "abcde" then answered = answered + 1 end
                end
            end)
        end
        await(function() return answered >= 100 end)
        os.execute("kill -TERM " .. server.pid)
        for _, t in ipairs(tasks) do t:join() end
        assert.equal(asked, answered)
        local status, out, err = server:wait()
        assert.same({ 0, "" }, { status, err })
        assert.truthy(out:find("cut 0", 1, true))
    end)
end)
