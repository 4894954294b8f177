-- The callback style: listener:protocol, net.connect_protocol and their transports.

local host = require "neap.host"
local net = require "neap.net"

-- A protocol that notes what it is called with; `more` overrides its methods.
local function recorder(more)
    local p = { log = {}, lost = deferred() }
    function p:connection_made(transport)
        self.transport = transport
        transport:setoption("sndbuf", 4096)
        self:note("made")
    end
    function p:data_received(data) -- noted as one piece, however it was cut
        local last = self.log[#self.log]
        if not last:find("^data ") then return self:note("data", data) end
        self.log[#self.log] = last .. data
    end
    function p:connection_lost(reason, code)
        self:note("lost", reason, code)
        if not self.lost.called then self.lost:callback() end
    end
    function p:note(...) self.log[#self.log + 1] = table.concat({ ... }, " ") end
    for name, f in pairs(more or {}) do p[name] = f end
    return p
end

-- A listener with a protocol for each client, and a stream of a client.
local function serving(protocol, options)
    local listener = neap.must(net.listen("127.0.0.1", 0, options))
    local accepting = listener:protocol(function() return protocol end)
    local client = neap.must(net.connect("127.0.0.1", listener.port))
    return client, setmetatable({}, { __close = function()
        client:close()
        listener:close()
        accepting:join()
    end }), listener
end

local function reports(f)
    local got = {}
    neap.on_error(function(t, err, trace) got[#got + 1] = { t, err, trace } end)
    f()
    neap.on_error(nil)
    return got
end

describe("a protocol", function()
    it("is called through its life: made, data, lost", function()
        local p = recorder()
        local client, tidy = serving(p)
        local _ <close> = tidy
        client:write("hello")
        repeat sleep(0) until p.log[2] == "data hello"
        client:shutdown()
        block_on(p.lost)
        assert.same({ "made", "data hello", "lost closed" }, p.log)
        assert.is_nil(client:read())
        p.transport:write("to nobody")
        p.transport:lose_connection()
        p.transport:abort()
        sleep(0.002)
        assert.equal(3, #p.log)
        assert.equal("transport: closed", tostring(p.transport))
    end)

    it("runs in the reactor: it is no tasklet, and must not wait", function()
        local seen
        local p = recorder { data_received = function(self)
            seen = { neap.in_reactor(), neap.getcurrent(), (pcall(sleep, 1)) }
            self.transport:write("seen\n")
        end }
        local client, tidy = serving(p)
        local _ <close> = tidy
        client:write("x")
        assert.equal("seen", client:read())
        assert.same({ true, nil, false }, seen)
    end)

    it("needs no method at all", function()
        local client, tidy = serving({})
        local _ <close> = tidy
        client:write("x")
        client:shutdown()
        assert.is_nil(client:read())
    end)

    it("writes, and ends the connection when all is written", function()
        local p = recorder { data_received = function(self)
            self.transport:write("one ", { "two", 3 })
            self.transport:write(("x"):rep(400000))
            assert(self.transport.buffered > 0)
            self.transport:lose_connection()
            self.transport:write("too late")
        end }
        local client, tidy = serving(p)
        local _ <close> = tidy
        client:write("!")
        local all = client:read("a")
        assert.equal(400008, #all)
        assert.equal("one two3x", all:sub(1, 9))
        block_on(p.lost)
        assert.equal("lost closed", p.log[#p.log])
        assert.equal(0, p.transport.buffered)
    end)

    it("hears when what had to wait is sent", function()
        local p = recorder {
            drained = function(self) self:note("drained", self.transport.buffered) end,
            data_received = function(self) self.transport:write(("x"):rep(400000)) end,
        }
        local client, tidy = serving(p)
        local _ <close> = tidy
        client:write("!")
        assert.equal(400000, #client:read(400000))
        repeat sleep(0) until p.log[2]
        assert.same({ "made", "drained 0" }, p.log)
    end)

    it("is paused and resumed", function()
        local p = recorder { data_received = function(self, data)
            self:note("data", data)
            self.transport:pause()
        end }
        local client, tidy = serving(p)
        local _ <close> = tidy
        client:write("1")
        repeat sleep(0) until p.log[2]
        client:write("2")
        sleep(0.005)
        assert.equal(2, #p.log)
        p.transport:resume()
        repeat sleep(0) until p.log[3]
        client:shutdown()
        sleep(0.005)
        assert.same({ "made", "data 1", "data 2" }, p.log)
        p.transport:resume()
        block_on(p.lost)
        assert.equal("lost closed", p.log[4])
    end)

    it("is aborted", function()
        local p = recorder { data_received = function(self)
            self.transport:write(("x"):rep(400000))
            self.transport:abort()
        end }
        local client, tidy = serving(p)
        local _ <close> = tidy
        client:write("!")
        block_on(p.lost)
        assert.same({ "made", "lost aborted ECONNABORTED" }, p.log)
        local got, _, code = client:read("a")
        assert.same({ nil, "ECONNRESET" }, { got, code })
    end)

    it("counts among the connections that a listener takes at once", function()
        local made, lost = {}, {}
        local listener <close> = neap.must(net.listen("127.0.0.1", 0, { max_connections = 1 }))
        local accepting = listener:protocol(function(peer)
            if #made == 1 and not lost.refused then -- the second one is refused
                lost.refused = true
                return nil
            end
            return {
                connection_made = function(_, transport)
                    made[#made + 1] = peer.port
                    transport:write("hello\n")
                end,
                connection_lost = function() lost[#lost + 1] = peer.port end,
            }
        end)
        local first = neap.must(net.connect("127.0.0.1", listener.port))
        assert.equal("hello", first:read())
        local second <close> = neap.must(net.connect("127.0.0.1", listener.port))
        local third <close> = neap.must(net.connect("127.0.0.1", listener.port))
        third:settimeout(0.02)
        assert.equal("timeout", select(2, third:read()))
        third:settimeout()
        assert.equal(1, #made)
        first:close()
        assert.is_nil(second:read())
        assert.equal("hello", third:read())
        assert.equal(1, #lost)
        listener:close()
        accepting:join()
    end)

    it("is waited for by its listener's shutdown, and ended at its time", function()
        local p = recorder()
        local client, tidy, listener = serving(p)
        local _ <close> = tidy
        client:write("x")
        repeat sleep(0) until p.log[2]
        local down = spawn(listener.shutdown, listener, 20)
        schedule()
        assert.is_true(down.blocked)
        client:close()
        assert.same({ true, 0 }, { down:join() })
        assert.equal("lost closed", p.log[3])

        p = recorder()
        client, tidy, listener = serving(p)
        local _ <close> = tidy
        client:write("x")
        repeat sleep(0) until p.log[2]
        assert.equal(1, listener:shutdown(0.02))
        assert.same({ "made", "data x", "lost the listener was shut down ECONNABORTED" }, p.log)
        assert.equal("ECONNRESET", (select(3, client:read())))
    end)

    it("outlives a listener that nobody holds any more", function()
        local p = recorder()
        local gone = setmetatable({}, { __mode = "k" })
        local _, client = spawn(function() -- which holds nothing once it has ended
            local client, _, listener = serving(p)
            client:write("x")
            repeat sleep(0) until p.log[2]
            listener:close()
            gone[listener] = true
            return client
        end):join()
        repeat
            sleep(0)
            collectgarbage()
        until not next(gone)
        client:write("y")
        repeat sleep(0) until p.log[2] == "data xy"
        client:close()
        block_on(p.lost)
    end)

    it("hears of a reset", function()
        local p = recorder()
        local client, tidy = serving(p)
        local _ <close> = tidy
        client:write("x")
        repeat sleep(0) until p.log[2]
        client:setoption("linger", 0)
        client:close()
        block_on(p.lost)
        assert.equal("lost Connection reset by peer ECONNRESET", p.log[3])
    end)

    it("that raises ends its connection, and no other; reported once", function()
        local methods = { "connection_made", "data_received", "drained", "connection_lost" }
        for _, method in ipairs(methods) do
            local p = recorder { data_received = function(self)
                self.transport:write(("x"):rep(400000))
            end }
            p[method] = function(self)
                self.lost:callback()
                error("broken " .. method)
            end
            local client, tidy = serving(p)
            local _ <close> = tidy
            local got = reports(function()
                client:write("x")
                if method == "drained" then client:read(400000) end
                if method == "connection_lost" then client:close() end
                block_on(p.lost)
                sleep(0.002)
            end)
            assert.equal(1, #got)
            assert.is_nil(got[1][1])
            assert.is_truthy(tostring(got[1][2]):find("broken " .. method, 1, true))
            assert.is_truthy(got[1][3]:find("protocol_spec", 1, true))
            if method ~= "connection_lost" then assert.is_nil((client:read())) end
        end
    end)

    it("hears its end once, after an error too", function()
        local lost = {}
        local p = { data_received = function() error("broken") end,
            connection_lost = function(_, ...) lost[#lost + 1] = { ... } end }
        local client, tidy = serving(p)
        local _ <close> = tidy
        reports(function()
            client:write("x")
            repeat sleep(0) until lost[1]
            sleep(0.002)
        end)
        assert.same({ { "an error in the protocol", "EPROTO" } }, lost)
    end)

    it("knows its addresses and options", function()
        local p = recorder()
        local client, tidy, listener = serving(p)
        local _ <close> = tidy
        client:write("x")
        repeat sleep(0) until p.log[2]
        assert.same({ client:sockname() }, { p.transport:peername() })
        assert.same({ "127.0.0.1", listener.port }, { p.transport:sockname() })
        assert.is_truthy(p.transport:setoption("nodelay", true))
        assert.has_error(function() return p.transport.colour end)
    end)

    it("lets the others run though its peer never stops", function()
        local p = recorder { data_received = function() end }
        local client, tidy = serving(p)
        local _ <close> = tidy
        local flood = spawn(function()
            while client:write(("x"):rep(65536)) do schedule() end
        end)
        for _ = 1, 50 do sleep(0) end
        client:close()
        flood:join()
        block_on(p.lost)
    end)

    it("is told what has come in order, byte by byte", function()
        local p = recorder()
        local client, tidy = serving(p)
        local _ <close> = tidy
        for i = 1, 20 do
            client:write(i % 10)
            sleep(0)
        end
        client:close()
        block_on(p.lost)
        local all = table.concat(p.log, "", 2, #p.log - 1):gsub("data ", "")
        assert.equal("12345678901234567890", all)
    end)
end)

describe("a factory", function()
    it("may be an object, is given the peer, and may refuse it", function()
        local peers = {}
        local factory = { build_protocol = function(_, peer)
            peers[#peers + 1] = tostring(peer)
            if #peers == 1 then return nil end
            return recorder { connection_made = function(_, t) t:write("in\n") end }
        end }
        local listener <close> = neap.must(net.listen("127.0.0.1", 0))
        listener:protocol(factory)
        local one <close> = neap.must(net.connect("127.0.0.1", listener.port))
        assert.is_nil(one:read())
        local two <close> = neap.must(net.connect("127.0.0.1", listener.port))
        assert.equal("in", two:read())
        assert.equal("127.0.0.1:" .. select(2, two:sockname()), peers[2])
    end)

    it("that fails loses that client alone", function()
        local fails = true
        local listener <close> = neap.must(net.listen("127.0.0.1", 0))
        listener:protocol(function()
            if fails then error("no protocol") end
            return { connection_made = function(_, t) t:lose_connection() end }
        end)
        local got = reports(function()
            local one <close> = neap.must(net.connect("127.0.0.1", listener.port))
            assert.is_nil(one:read())
        end)
        assert.equal(1, #got)
        fails = false
        local two <close> = neap.must(net.connect("127.0.0.1", listener.port))
        assert.is_nil(two:read())
    end)

    it("is a function or has build_protocol", function()
        local listener <close> = neap.must(net.listen("127.0.0.1", 0))
        for _, bad in ipairs { 1, {}, "x" } do
            assert.has_error(function() listener:protocol(bad) end)
            assert.has_error(function() net.connect_protocol(bad, "127.0.0.1", 1) end)
        end
    end)
end)

describe("connect_protocol", function()
    it("gives a deferred of the protocol, connected", function()
        local listener <close> = neap.must(net.listen("127.0.0.1", 0))
        local p = recorder()
        local d = net.connect_protocol(function() return p end, "127.0.0.1", listener.port)
        local server = listener:accept()
        assert.equal(p, block_on(d))
        assert.same({ "made" }, p.log)
        p.transport:write("hello\n")
        assert.equal("hello", server:read())
        server:close()
        block_on(p.lost)
        assert.same({ "made", "lost closed" }, p.log)
    end)

    it("fails with the error of the connection", function()
        local listener = neap.must(net.listen("127.0.0.1", 0))
        listener:close()
        local failed
        net.connect_protocol(recorder, "127.0.0.1", listener.port):add_errback(function(f)
            failed = f.value
        end)
        repeat sleep(0) until failed
        assert.equal("ECONNREFUSED", failed.code)
    end)

    it("fails when connection_made does, or the factory", function()
        local listener <close> = neap.must(net.listen("127.0.0.1", 0))
        local function bad() return { connection_made = function() error("not made") end } end
        local got = reports(function()
            local ok, err = pcall(block_on, net.connect_protocol(bad, "127.0.0.1", listener.port))
            assert.is_false(ok)
            assert.equal("EPROTO", err.code)
        end)
        assert.equal(1, #got)
        for _, f in ipairs { function() error("no factory") end, function() end } do
            assert.is_false((pcall(block_on, net.connect_protocol(f, "127.0.0.1", listener.port))))
        end
    end)

    it("is cancelled while it connects", function()
        local listener <close> = neap.must(net.listen("127.0.0.1", 0, { backlog = 0 }))
        local full = {}
        repeat
            local stream, err = net.connect("127.0.0.1", listener.port, { timeout = 0.05 })
            full[#full + 1] = stream
        until err
        local watches = host.stats().watches
        local d = net.connect_protocol(recorder, "127.0.0.1", listener.port)
        sleep(0)
        d:cancel()
        sleep(0)
        d:add_errback(function() end)
        assert.equal(watches, host.stats().watches)
        for _, stream in ipairs(full) do stream:close() end
    end)

    it("and a tasklet meet over a channel, and by a deferred", function()
        local listener <close> = neap.must(net.listen("127.0.0.1", 0))
        local lines = channel(100)
        listener:protocol(function()
            return {
                connection_made = function(self, transport) self.transport = transport end,
                data_received = function(self, data)
                    if data:find("!") then self.transport:lose_connection() end
                    for c in data:gmatch(".") do lines:send(c) end
                end,
            }
        end)
        local answered = deferred()
        local p = block_on(net.connect_protocol(function()
            return {
                connection_made = function(self, transport) self.transport = transport end,
                connection_lost = function(_, reason) answered:callback(reason) end,
            }
        end, "127.0.0.1", listener.port))
        p.transport:write("a")
        assert.equal("a", lines:receive())
        p.transport:write("b!")
        assert.equal("closed", block_on(answered))
        assert.same({ "b", "!" }, { lines:receive(), lines:receive() })
    end)
end)

describe("a live protocol", function()
    it("keeps the program alive, and is kept", function()
        local child = require "spec.support.child"
        local status, out, err = child.run { "-e", [[
            local net = require "neap.net"
            local listener = neap.must(net.listen("127.0.0.1", 0))
            listener:protocol(function()
                listener:close()
                return { connection_made = function(self, t)
                    collectgarbage()
                    neap.call_later(0.02, function() t:write("late") t:lose_connection() end)
                end }
            end)
            net.connect_protocol(function()
                return {
                    data_received = function(_, data) io.write(data) end,
                    connection_lost = function(_, why) print(why) end,
                }
            end, "127.0.0.1", listener.port)
        ]] }
        assert.same({ 0, "lateclosed\n", "" }, { status, out, err })
    end)
end)
