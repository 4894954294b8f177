-- Twisted's networks over neap's: listenTCP, connectTCP, protocols, factories, receivers.

local net = require "neap.net"
local record = require "spec.support.record"
local twisted = require "neap.twisted"
local basic, protocol, reactor = twisted.basic, twisted.protocol, twisted.reactor
local errors = twisted.error

local function serve(factory)
    local port = reactor.listenTCP(0, factory, 50, "127.0.0.1")
    return port, port:getHost().port
end

-- A factory of one protocol class, and the deferred of its connection's end.
local function client(P)
    local factory = protocol.ClientFactory:forProtocol(P)
    factory.log, factory.done = record.log(), deferred()
    function factory.startedConnecting(f) f.log("started") end
    function factory.clientConnectionFailed(f, _, why)
        f.log("failed")
        f.done:callback { why }
    end
    function factory.clientConnectionLost(f, _, why)
        f.log("lost")
        f.done:callback { why }
    end
    function factory.stopFactory(f) f.log("stop") end
    return factory
end

local Echo = protocol.Protocol:extend {
    dataReceived = function(self, data) self.transport:write(data) end,
}

describe("twisted.protocol's classes", function()
    it("are derived from and called", function()
        local Base = protocol.Protocol:extend({ init = function(self, n) self.n = n end }, "Base")
        local Derived = Base:extend { more = function(self) return self.n + 1 end }
        assert.equal(6, Derived(5):more())
        assert.equal("Base", tostring(Base))
        local factory = protocol.Factory:forProtocol(Derived)
        local p = factory:buildProtocol {}
        assert.equal(factory, p.factory)
        assert.is_nil(rawget(Base, "more"))
    end)
end)

describe("listenTCP and connectTCP", function()
    it("make protocols of both sides, and tell of their ends", function()
        local log = record.log()
        local Server = Echo:extend {
            connectionMade = function(self) log(self.transport:getPeer().type) end,
            connectionLost = function(_, why) log(why:check(errors.ConnectionDone) and "done") end,
        }
        local served = protocol.Factory:forProtocol(Server)
        function served.startFactory() log("start") end
        function served.stopFactory() log("stop") end
        local port, number = serve(served)

        local Client = protocol.Protocol:extend {
            heard = "",
            connectionMade = function(self) self.transport:writeSequence { "he", "llo" } end,
            dataReceived = function(self, data)
                self.heard = self.heard .. data
                if self.heard == "hello" then self.transport:loseConnection() end
            end,
        }
        local factory = client(Client)
        local connector = reactor.connectTCP("127.0.0.1", number, factory)
        assert.same({ type = "TCP", host = "127.0.0.1", port = number },
            connector:getDestination())
        local why = block_on(factory.done)[1]
        assert.equal(errors.ConnectionDone, why:check(errors.ConnectionLost,
            errors.ConnectionDone))
        assert.equal("Connection was closed cleanly.", why:getErrorMessage())
        sleep(0)
        assert.equal("started lost stop", tostring(factory.log))
        port:stopListening():wait()
        port:stopListening():wait()
        local until_ = neap.now() + 5
        repeat sleep(0.001) until tostring(log):find "done" or neap.now() > until_
        assert.equal("start TCP", tostring(log):sub(1, 9))
        assert.matches("done", tostring(log))
        assert.matches("stop", tostring(log))
    end)

    it("tell why there is no connection", function()
        local listener = neap.must(net.listen("127.0.0.1", 0))
        local number = listener.port
        listener:close()
        local factory = client(Echo)
        reactor.connectTCP("127.0.0.1", number, factory)
        local why = block_on(factory.done)[1]
        assert.equal(errors.ConnectionRefusedError, why:check(errors.ConnectionRefusedError))
        assert.equal(errors.ConnectError, why:trap(errors.ConnectError))
        assert.equal("ECONNREFUSED", why.value.code)
        assert.equal("started failed stop", tostring(factory.log))

        factory = client(Echo)
        reactor.connectTCP("no..name", 1, factory)
        assert.is_truthy(block_on(factory.done)[1]:check(errors.DNSLookupError))

        factory = client(Echo)
        local connector = reactor.connectTCP("127.0.0.1", number, factory)
        connector:stopConnecting()
        assert.is_truthy(block_on(factory.done)[1]:check(errors.UserError))
        assert.is_false((pcall(connector.stopConnecting, connector)))

        factory = client(Echo)
        function factory.startedConnecting(_, c) c:stopConnecting() end
        reactor.connectTCP("127.0.0.1", number, factory)
        assert.is_truthy(block_on(factory.done)[1]:check(errors.UserError))
    end)

    it("tell of a connection that breaks, and of an error in a protocol", function()
        local listener <close> = neap.must(net.listen("127.0.0.1", 0))
        local factory = client(Echo)
        reactor.connectTCP("127.0.0.1", listener.port, factory)
        local stream = neap.must(listener:accept())
        stream:setoption("linger", 0)
        stream:close()
        local why = block_on(factory.done)[1]
        assert.equal(errors.ConnectionLost, why:check(errors.ConnectionDone,
            errors.ConnectionLost))

        local reported = 0
        neap.on_error(function() reported = reported + 1 end)
        for _, method in ipairs { "connectionMade", "connectionLost" } do
            factory = client(Echo:extend { [method] = function() error("in " .. method, 0) end })
            reactor.connectTCP("127.0.0.1", listener.port, factory)
            neap.must(listener:accept()):close()
            block_on(factory.done)
            sleep(0)
            assert.matches("^started %a+ stop$", tostring(factory.log), method)
        end
        neap.on_error(nil)
        assert.equal(2, reported)
    end)

    it("close a connection for which there is no protocol", function()
        local listener <close> = neap.must(net.listen("127.0.0.1", 0))
        local factory = client(Echo)
        function factory.buildProtocol() return nil end
        reactor.connectTCP("127.0.0.1", listener.port, factory)
        local stream <close> = neap.must(listener:accept())
        assert.is_nil(stream:read())
        assert.is_truthy(block_on(factory.done)[1]:check(errors.ConnectionDone))
    end)

    it("refuse a port that is taken", function()
        local listener <close> = neap.must(net.listen("127.0.0.1", 0))
        local ok, err = pcall(reactor.listenTCP, listener.port, client(Echo), 5, "127.0.0.1")
        assert.is_false(ok)
        assert.equal("EADDRINUSE", err.code)
        assert.matches("^Couldn't listen: ", tostring(err))
    end)

    it("take a plain table for a protocol", function()
        local factory = protocol.Factory()
        function factory.buildProtocol()
            return { dataReceived = function(self, data) self.transport:write(data:upper()) end }
        end
        local port, number = serve(factory)
        local stream <close> = neap.must(net.connect("127.0.0.1", number))
        stream:write("x")
        assert.equal("X", stream:read(1))
        stream:close()
        port:stopListening()
    end)
end)

describe("a ReconnectingClientFactory", function()
    it("connects again, later each time, until it is told to stop", function()
        local clock = neap.clock()
        local listener <close> = neap.must(net.listen("127.0.0.1", 0))
        local factory = protocol.ReconnectingClientFactory:forProtocol(Echo)
        local log = record.log()
        factory.clock, factory.jitter, factory.factor = clock, 0, 2
        function factory.stopFactory() log("stop") end
        local connector = reactor.connectTCP("127.0.0.1", listener.port, factory)
        for n = 1, 3 do
            local stream = neap.must(listener:accept())
            stream:write("x")
            assert.equal("x", stream:read(1))
            stream:close()
            repeat sleep(0) until factory.call
            assert.same({ n, 2 ^ n }, { factory.retries, factory.delay })
            clock:advance(2 ^ n - 0.5)
            assert.equal("ended", connector.state)
            clock:advance(1)
            assert.equal("connecting", connector.state)
        end
        local stream = neap.must(listener:accept())
        stream:write("x")
        assert.equal("x", stream:read(1))
        factory:resetDelay()
        stream:close()
        repeat sleep(0) until factory.call
        assert.equal(2, factory.delay)
        factory:stopTrying()
        assert.equal("stop", tostring(log))
        assert.equal("disconnected", connector.state)
    end)
end)

-- ---- receivers, fed by hand ----

-- A receiver with a transport that notes what it is told.
local function fed(P)
    local p = P()
    p.log = {}
    local transport = { closing = false }
    function transport.write(_, ...) p.log[#p.log + 1] = "> " .. table.concat { ... } end
    function transport.lose_connection(t)
        t.closing = true
        p.log[#p.log + 1] = "lose"
    end
    function transport.pause() end
    function transport.resume() end
    p:makeConnection(transport)
    return p
end

-- Feeds a text in pieces of each size; the log must be the same.
local function in_pieces(P, text, expected)
    for size = 1, #text do
        local p = fed(P)
        for i = 1, #text, size do
            if not p.transport.closing then p:dataReceived(text:sub(i, i + size - 1)) end
        end
        assert.same(expected, p.log, "in pieces of " .. size)
    end
end

describe("a LineReceiver", function()
    local Lines = basic.LineReceiver:extend {
        MAX_LENGTH = 10,
        lineReceived = function(self, line)
            self.log[#self.log + 1] = line
            if line == "raw" then self:setRawMode() end
            if line == "bye" then self.transport:lose_connection() end
        end,
        rawDataReceived = function(self, data)
            self.raw = (self.raw or "") .. data
            if #self.raw < 5 then return end
            self.log[#self.log + 1] = "raw " .. self.raw:sub(1, 5)
            self:setLineMode(self.raw:sub(6))
        end,
    }

    it("gets lines, however they come", function()
        in_pieces(Lines, "one\r\n\r\nt\rw\no\r\n1234567890\r\nrest",
            { "one", "", "t\rw\no", "1234567890" })
    end)

    it("takes raw data in between", function()
        in_pieces(Lines, "raw\r\n12345six\r\n", { "raw", "raw 12345", "six" })
    end)

    it("is cut off at a line that is too long, ended or not", function()
        in_pieces(Lines, "ok\r\n12345678901\r\nno\r\n", { "ok", "lose" })
        in_pieces(Lines, "1234567890123", { "lose" })
    end)

    it("gets no more once it closes", function()
        in_pieces(Lines, "a\r\nbye\r\nb\r\n", { "a", "bye", "lose" })
    end)

    it("holds its lines while it pauses", function()
        local p = fed(Lines)
        p:pauseProducing()
        p:dataReceived("a\r\nb\r\n")
        assert.same({}, p.log)
        p:resumeProducing()
        assert.same({ "a", "b" }, p.log)
        p:dataReceived("c")
        assert.equal("c", p:clearLineBuffer())
        p:sendLine("d")
        assert.equal("> d\r\n", p.log[3])
    end)

    it("serves over a socket", function()
        local Upper = basic.LineReceiver:extend {
            delimiter = "\n",
            lineReceived = function(self, line)
                if line == "quit" then return self.transport:loseConnection() end
                self:sendLine(line:upper())
            end,
        }
        local port, number = serve(protocol.Factory:forProtocol(Upper))
        local stream <close> = neap.must(net.connect("127.0.0.1", number))
        stream:write("one\ntwo\nquit\nthree\n")
        assert.equal("ONE\nTWO\n", stream:read("a"))
        port:stopListening()
    end)
end)

describe("an IntNStringReceiver", function()
    local function strings(P)
        return P:extend {
            MAX_LENGTH = 300,
            stringReceived = function(self, s) self.log[#self.log + 1] = s end,
        }
    end

    it("gets strings after their lengths, and sends them so", function()
        in_pieces(strings(basic.Int8StringReceiver), "\3abc\0\1x\5yz", { "abc", "", "x" })
        in_pieces(strings(basic.Int16StringReceiver), "\0\3abc\0\0\0\1x\0", { "abc", "", "x" })
        in_pieces(strings(basic.Int32StringReceiver), "\0\0\0\3abc", { "abc" })
        local p = fed(strings(basic.Int16StringReceiver))
        p:sendString("ab")
        assert.same({ "> \0\2ab" }, p.log)
        p = fed(strings(basic.Int8StringReceiver))
        assert.has_error(function() p:sendString(("x"):rep(256)) end)
    end)

    it("is cut off at one that is too long", function()
        in_pieces(strings(basic.Int16StringReceiver), "\0\1a\xff\xffbc", { "a", "lose" })
    end)
end)
