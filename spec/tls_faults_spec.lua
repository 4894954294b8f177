-- TLS under fire: peers that stall, dribble, flood or vanish, and operations that are cut.

local authority = require "spec.support.authority"
local child = require "spec.support.child"
local http = require "neap.http"
local net = require "neap.net"
local tls = require "neap.tls"

local ca, good

local function listen(options)
    options = options or {}
    options.cert, options.key = good.cert, good.key
    return neap.must(net.listen("127.0.0.1", 0, { tls = options }))
end

local function dial(port, options)
    options = options or {}
    options.ca = ca.cert
    return net.connect("localhost", port, { tls = options })
end

-- Both ends, with the handshake done: the client's, the server's.
local function pair()
    local listener <close> = listen()
    local dialling = spawn(function() return neap.must(dial(listener.port)) end)
    local server = neap.must(listener:accept())
    neap.must(server:tls())
    return select(2, dialling:join()), server
end

-- Plain proxy to the port: change(data, "up" or "down", send) passes on what goes through it.
-- Its port; a function that ends it.
local function proxy(port, change)
    local listener = neap.must(net.listen("127.0.0.1", 0))
    local a, b
    local running = spawn(function()
        a = neap.must(listener:accept())
        b = neap.must(net.connect("127.0.0.1", port))
        local function copy(from, to, way)
            local function send(text) return to:write(text) end
            for data in function() return from:read_some() end do change(data, way, send) end
            to:shutdown()
        end
        local back = spawn(copy, b, a, "down")
        copy(a, b, "up")
        back:join()
    end)
    return listener.port, function()
        listener:close()
        if a then a:close() end
        if b then b:close() end
        running:join()
    end
end

-- For proxy: handle(record, way, send) gets whole records.
local function by_record(handle)
    local rest = { up = "", down = "" }
    return function(data, way, send)
        local text = rest[way] .. data
        while #text >= 5 and #text >= 5 + string.unpack(">I2", text, 4) do
            local n = 5 + string.unpack(">I2", text, 4)
            handle(text:sub(1, n), way, send)
            text = text:sub(n + 1)
        end
        rest[way] = text
    end
end

local function echo(stream)
    for data in function() return stream:read_some() end do
        if not stream:write(data) then return end
    end
end

describe("tls withstands", function()
    setup(function()
        ca = authority.new()
        good = ca:issue()
        child.make("build/static/support/tls_peer")
    end)

    teardown(function() ca:remove() end)

    it("a network that hands over a byte at a time, while others' options fail", function()
        local listener <close> = listen()
        listener:start(echo)
        local port, done = proxy(listener.port, function(data, _, send)
            for i = 1, #data do
                send(data:sub(i, i))
                if i % 50 == 0 then
                    assert.is_nil((net.listen("127.0.0.1", 0, { tls = { cert = ca.key } })))
                    schedule()
                end
            end
        end)
        local client = neap.must(dial(port))
        client:write(("x"):rep(3000), "\n")
        assert.equal(("x"):rep(3000), client:read())
        client:close()
        done()
    end)

    it("a network that stalls anywhere in the handshake", function()
        local told = channel(100)
        local listener <close> = listen { handshake_timeout = 0.03 }
        listener:start(function(stream) told:send(select(2, stream:tls())) end)
        for way, last in pairs { up = 300, down = 600 } do
            for at = 0, last, 60 do
                local left = at
                local port, done = proxy(listener.port, function(data, direction, send)
                    if direction ~= way then return send(data) end
                    send(data:sub(1, left))
                    left = math.max(left - #data, 0)
                end)
                local client, err, code = dial(port, { handshake_timeout = 0.03 })
                if client then client:close() end
                if way == "down" then assert.is_nil(client) end
                done()
                if not client then
                    assert.is_truthy(({ ETIMEDOUT = true, EPROTO = true })[code], err)
                    assert.match("^tls: ", err == "truncated" and "tls: " or err)
                end
                assert.is_string((told:receive()))
            end
        end
    end)

    it("a client that dribbles: its deadline does not move", function()
        local listener <close> = listen { handshake_timeout = 0.1 }
        local told = channel(1)
        listener:start(function(stream) told:send(select(2, stream:tls())) end)
        local client <close> = neap.must(net.connect("127.0.0.1", listener.port))
        client:write("\x16\3\1\x40\0\1\0\x3f\xfc") -- a record of 16 KiB, a hello that fills it
        local err
        repeat
            client:write("\0")
            local reason, late = told:receive(0.001)
            err = reason or late
        until err ~= "timeout"
        assert.equal("tls: handshake timed out", err)
    end)

    it("hundreds of handshakes that stall, and serves others", function()
        local listener <close> = listen()
        listener:start(echo)
        local silent = {}
        for i = 1, 300 do
            silent[i] = neap.must(net.connect("127.0.0.1", listener.port))
            if i % 2 == 0 then silent[i]:write("\x16\3\1\2") end
        end
        for _ = 1, 3 do
            local client <close> = neap.must(dial(listener.port))
            client:write("x\n")
            assert.equal("x", client:read())
        end
        for _, stream in ipairs(silent) do stream:close() end
    end)

    it("what comes after the end, which cuts off no answer", function()
        local listener <close> = listen()
        local told, answer = channel(1), ("answer\n"):rep(100000)
        listener:start(function(stream)
            local line, rest = stream:read(), table.pack(stream:read())
            stream:write(answer)
            stream:flush()
            told:send(line, rest)
        end)
        local peer = child.start { "build/static/support/tls_peer", "ended", listener.port, "3000" }
        assert.same({ "hello", { n = 1 } }, { told:receive() })
        assert.same({ 0, answer, "" }, { peer:wait() })
    end)

    -- For proxy: changes that byte of what goes this way.
    local function changing(way, at)
        local seen = 0
        return function(data, direction, send)
            if direction ~= way then return send(data) end
            local i = at - seen
            seen = seen + #data
            if 1 <= i and i <= #data then
                data = data:sub(1, i - 1) .. string.char(data:byte(i) ~ 1) .. data:sub(i + 1)
            end
            send(data)
        end
    end

    it("a byte that is changed on its way from it: never wrong text", function()
        local listener <close> = listen()
        listener:start(echo)
        for at = 50, 4000, 397 do
            local port, done = proxy(listener.port, changing("down", at))
            local client, err, code = dial(port)
            if client then
                client:write(("y"):rep(5000))
                local data
                data, err, code = client:read(5000)
                assert.is_nil(data)
                client:close()
            end
            assert.is_string(err)
            assert.is_truthy(({ EPROTO = true, ECERT = true })[code], err)
            done()
        end
    end)

    it("a byte that is changed on its way to it", function()
        local listener <close> = listen()
        local told = channel()
        listener:start(function(stream) told:send(stream:read(5000)) end)
        for at = 50, 4000, 397 do
            local port, done = proxy(listener.port, changing("up", at))
            local dialling = spawn(function()
                local client <close> = dial(port)
                if client then
                    client:write(("y"):rep(5000))
                    client:read()
                end
            end)
            local text, err, code = told:receive()
            assert.is_nil(text)
            assert.equal("EPROTO", code, err)
            neap.must(dialling:join())
            done()
        end
    end)

    it("a client that asks for new keys again and again", function()
        local listener <close> = listen()
        listener:start(function(stream) stream:write(stream:read(), "\n") end)
        local peer = child.start { "build/static/support/tls_peer", "updates", listener.port,
            "1000" }
        assert.same({ 0, "done\n", "" }, { peer:wait() })
    end)

    it("one that does, and does not read the answers: they are bounded", function()
        local path, told = ca:path("socket"), channel()
        local listener <close> = neap.must(net.listen_unix(path, -- the kernel holds less there
            { tls = { cert = good.cert, key = good.key } }))
        listener:start(function(stream)
            local line = stream:read()
            told:send(line, select(3, stream:write("x")))
        end)
        local peer = child.start { "build/static/support/tls_peer", "deaf", path, "20000" }
        assert.equal("20000", peer:printed())
        assert.same({ "done", "ENOBUFS" }, { told:receive() })
        peer:kill()
    end)

    -- Of a ticket in two records, the client gets one: then nothing can be sent before the other.
    describe("half a message of TLS's own:", function()
        -- A server holds back half a ticket of what connect(port, options) gives: body(that, go,
        -- leave); go() lets the other half come, leave() ends the connection.
        local function held_back(connect, body)
            local server = child.start { "openssl", "s_server", "-accept", "127.0.0.1:0", "-rev",
                "-cert", good.cert, "-key", good.key, "-Verify", "1", "-CAfile", ca.cert,
                "-max_send_frag", "512", "-num_tickets", "1" }
            local finished, parts, rest = false, 0, channel()
            local port, done = proxy(tonumber(server:printed("ACCEPT [%d.]+:(%d+)")),
                by_record(function(record, way, send)
                    local secret = record:byte() == 23
                    if way == "up" and secret then finished = true end
                    if way == "down" and secret and finished then
                        parts = parts + 1
                        if parts == 2 and not rest:receive() then return end
                    end
                    send(record)
                end))
            local function leave()
                rest:close()
                done()
            end
            body(connect(port, { tls = { ca = ca.cert, cert = good.cert, key = good.key } }),
                function() rest:send(true) end, leave)
            leave()
            server:kill()
        end

        -- The same of a stream, when a write waits: body(client, reading, writing, go, leave).
        local function stuck(body)
            held_back(function(port, options)
                return neap.must(net.connect("localhost", port, options))
            end, function(client, go, leave)
                local reading = spawn(function() return client:read() end)
                local writing
                repeat
                    writing = spawn(function() return client:write("hello\n") end)
                    sleep(0.01)
                until writing.alive
                body(client, reading, writing, go, leave)
                client:close()
            end)
        end

        it("a transport keeps what it cannot send yet", function()
            local told, lost = channel(10), channel(1)
            held_back(function(port, options)
                return block_on(net.connect_protocol(function()
                    return { data_received = function(_, data) told:try_send(data) end,
                        connection_made = function(self, transport) self.transport = transport end,
                        connection_lost = function() lost:try_send(true) end }
                end, "localhost", port, options))
            end, function(protocol, go)
                local transport = protocol.transport
                repeat
                    transport:write("hello\n")
                    sleep(0.01)
                until transport.buffered > 0
                go()
                assert.match("^o", told:receive())
                repeat sleep(0.005) until transport.buffered == 0
                transport:lose_connection()
                lost:receive()
            end)
        end)

        it("a write waits for the rest, which comes to the one who reads", function()
            stuck(function(client, reading, writing, go)
                go()
                assert.same({ true, client }, { writing:join() })
                assert.same({ true, "olleh" }, { reading:join() })
            end)
        end)

        it("a write waits for the rest, though nobody reads", function()
            stuck(function(client, reading, writing, go)
                reading:kill()
                sleep(0.01)
                assert.is_true(writing.alive)
                go()
                assert.same({ true, client }, { writing:join() })
                assert.equal("olleh", client:read())
            end)
        end)

        it("a write hears that the connection ends", function()
            stuck(function(_, reading, writing, _, leave)
                reading:kill()
                leave()
                assert.same({ true, nil, "truncated", "EPROTO" }, { writing:join() })
            end)
        end)

        it("a write that is killed leaves it to the next", function()
            stuck(function(client, reading, writing, go)
                writing:kill()
                local next_writing = spawn(function() return client:write("again\n") end)
                schedule()
                go()
                assert.same({ true, client }, { next_writing:join() })
                reading:join()
            end)
        end)

        it("a write hears that its stream is closed", function()
            stuck(function(client, reading, writing)
                reading:kill()
                client:close()
                assert.same({ true, nil, "closed", "ECLOSED" }, { writing:join() })
            end)
        end)
    end)

    -- A server closes its stream in the middle of a write, to s_client behind a network that holds
    -- all back until then: how s_client ends, what it gets and complains of.
    local function closed_in_a_write(linger)
        local begun, held, holding, told = channel(1), channel(), false, channel()
        local listener <close> = listen()
        listener:start(function(stream)
            stream:read()
            stream:setoption("linger", linger)
            holding = true
            local writing = spawn(function() return stream:write(("x"):rep(20 << 20)) end)
            begun:receive()
            stream:close()
            held:close()
            told:send(select(2, writing:join()))
        end)
        local port, done = proxy(listener.port, function(data, way, send)
            if way == "down" and holding then
                begun:try_send(true)
                held:receive()
            end
            send(data)
        end)
        local reading = spawn(child.shell, ("timeout 60 openssl s_client -quiet -CAfile %s " ..
            "-verify_return_error -connect 127.0.0.1:%d"):format(ca.cert, port), "go\n")
        assert.same({ nil, "closed", "ECLOSED" }, { told:receive() })
        local _, status, out, complained = reading:join()
        done()
        return status, out, complained
    end

    it("a close in the middle of a write: what is sealed comes whole, then the end", function()
        local status, out, complained = closed_in_a_write(30)
        assert.equal(0, status, complained)
        assert.match("^x+$", out)
        assert.is_true(#out < 20 << 20)
        assert.is_nil(complained:find("eof", 1, true), complained)
    end)

    it("the same with linger 0: no end, and s_client does not take it for one", function()
        local status, _, complained = closed_in_a_write(0)
        assert.equal(1, status, complained)
    end)

    it("records without content", function()
        local listener <close> = listen()
        local told = channel()
        listener:start(function(stream) told:send(select(2, stream:read())) end)
        local peer = child.start { "build/static/support/tls_peer", "empty", listener.port,
            "100000" }
        assert.match("^tls: ", told:receive())
        peer:wait()
    end)

    it("keys that change in the middle of everybody's handshakes", function()
        local identities = { ca:issue { cn = "one" }, ca:issue { cn = "two" } }
        local failed, shown, changes = {}, {}, 0
        local listener <close> = neap.must(net.listen("127.0.0.1", 0,
            { tls = { cert = identities[1].cert, key = identities[1].key } }))
        listener:start(function(stream)
            failed[#failed + 1] = select(2, stream:tls())
            echo(stream)
        end)
        local function visit(session)
            local client <close> = neap.must(dial(listener.port, { session = session }))
            client:write("x\n")
            assert.equal("x", client:read())
            shown[client:tls().peer.subject] = true
            changes = changes + 1
            local new = identities[changes % 2 + 1]
            neap.must(listener:set_tls { cert = new.cert, key = new.key })
        end
        neap.map({ n = 20 }, function()
            local session = tls.session()
            for _ = 1, 15 do visit(session) end
        end)
        assert.same({}, failed)
        assert.same({ ["CN=one"] = true, ["CN=two"] = true }, shown)
    end)

    it("a network that keeps back the end of a response which has no length", function()
        local listener <close> = listen()
        listener:start(function(stream)
            stream:read_until("\r\n\r\n")
            stream:write("HTTP/1.1 200 OK\r\n\r\nhalf of it")
        end)
        local function answered(keeps)
            local port, done = proxy(listener.port, by_record(function(record, way, send)
                if not (keeps and way == "down" and #record == 24) then send(record) end
            end))
            local session <close> = http.session { ca = ca.cert }
            local r, err = session:get(("https://localhost:%d/"):format(port))
            done()
            return r and r.body, err
        end
        assert.equal("half of it", (answered(false)))
        local body, err = answered(true) -- an alert, of two bytes, is a record of 24
        assert.is_nil(body)
        assert.is_string(err)
        assert.match("unexpected eof", err)
    end)

    it("a reset", function()
        local listener <close> = listen()
        listener:start(function(stream) stream:read() end)
        local port, done = proxy(listener.port, function(data, _, send) send(data) end)
        local client = neap.must(dial(port))
        done()
        local data, _, code = client:read()
        assert.is_nil(data)
        assert.is_truthy(({ EPROTO = true, ECONNRESET = true })[code])
        client:close()
    end)

    describe("being cut:", function()
        local function silent(body)
            local listener <close> = neap.must(net.listen("127.0.0.1", 0))
            body(listener.port)
        end

        -- waits(client, server): what waits; both ends are given.
        local operations = {
            read = function(client) return client:read() end,
            read_all = function(client) return client:read("a") end,
            write = function(client)
                for _ = 1, 64 do
                    local ok, err, code = client:write(("."):rep(1 << 20))
                    if not ok then return ok, err, code end
                end
            end,
            flush = function(client)
                local ok, err, code = client:write(("."):rep(50000))
                while ok do
                    ok, err, code = client:flush()
                    if ok then ok, err, code = client:write(("."):rep(60000)) end
                end
                return ok, err, code
            end,
        }

        for name, operation in pairs(operations) do
            it("a " .. name .. " by a kill, a timeout, a close", function()
                for _ = 1, 5 do
                    for _, how in ipairs { "kill", "timeout", "close" } do
                        local client, server = pair()
                        client:setoption("sndbuf", 4096)
                        if how == "timeout" then client:settimeout(0.01) end
                        local waiting = spawn(operation, client)
                        schedule()
                        if how ~= "timeout" then sleep(0.002) end
                        if how == "kill" then waiting:kill() end
                        if how == "close" then client:close() end
                        local ended = table.pack(waiting:join())
                        if how == "timeout" then
                            assert.same({ true, nil, "timeout", "ETIMEDOUT", n = 4 }, ended)
                        elseif how == "close" then
                            assert.same({ true, nil, "closed", "ECLOSED", n = 4 }, ended)
                        end
                        client:close()
                        server:close()
                    end
                end
            end)
        end

        it("a client's handshake", function()
            silent(function(port)
                for _ = 1, 20 do
                    local dialling = spawn(dial, port)
                    sleep(0.001)
                    dialling:kill()
                    dialling:join()
                end
            end)
        end)

        it("a server's handshake, which others wait for", function()
            for _ = 1, 10 do
                for _, how in ipairs { "kill", "timeout", "close" } do
                    local listener <close> =
                        listen { handshake_timeout = how == "kill" and 0.05 or 60 }
                    local client = neap.must(net.connect("127.0.0.1", listener.port))
                    local server = neap.must(listener:accept())
                    if how == "timeout" then server:settimeout(0.005) end
                    local reading = spawn(function() return server:read() end)
                    local writing = spawn(function() return server:write("x") end)
                    sleep(0.001)
                    if how == "kill" then reading:kill() end
                    if how == "close" then server:close() end
                    local expected = ({ kill = "tls: handshake timed out", timeout = "timeout",
                        close = "closed" })[how]
                    assert.equal(expected, (select(3, writing:join())))
                    if how ~= "kill" then
                        assert.equal(expected, (select(3, reading:join())))
                    end
                    client:close()
                    server:close()
                end
            end
        end)
    end)

    it("two tasklets that read and write one stream", function()
        local client, server = pair()
        local writers = {}
        for i = 1, 4 do
            writers[i] = spawn(function()
                for _ = 1, 20 do client:write((tostring(i)):rep(30000), "\n") end
            end)
        end
        spawn(function()
            for _, writer in ipairs(writers) do writer:join() end
            client:close()
        end)
        local lines, readers = 0, {}
        for i = 1, 2 do
            readers[i] = spawn(function()
                for line in server:lines() do
                    assert.equal(line:sub(1, 1):rep(30000), line)
                    lines = lines + 1
                end
            end)
        end
        for _, reader in ipairs(readers) do neap.must(reader:join()) end
        assert.equal(80, lines)
        server:close()
    end)
end)
