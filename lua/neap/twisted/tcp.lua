-- reactor.listenTCP and connectTCP over listener:protocol and net.connect_protocol, and the
-- errors of connections.

local inside = require "neap.inside"
local neap = require "neap"
local net = require "neap.net"
local class = require "neap.twisted.class".class
local protocol = require "neap.twisted.protocol"

local M = { error = {} }

-- ---- errors ----

local ConnectionError = class("ConnectionError", nil, {
    init = function(self, text, code) self.text, self.code = text, code end,
    __tostring = function(self) return self.text end,
})

local function define(name, base)
    M.error[name] = (base or ConnectionError):extend({}, name)
    return M.error[name]
end

M.error.ConnectionError = ConnectionError
define "ConnectionDone"
define "ConnectionLost"
define "ConnectionAborted"
define "CannotListenError"
define "NotConnectingError"
local ConnectError = define "ConnectError"
define("ConnectionRefusedError", ConnectError)
define("DNSLookupError", ConnectError)
define("NoRouteError", ConnectError)
define("TimeoutError", ConnectError)
define("UserError", ConnectError)

local FAILED = {
    ECONNREFUSED = "ConnectionRefusedError", ETIMEDOUT = "TimeoutError",
    ENOTFOUND = "DNSLookupError", ESERVFAIL = "DNSLookupError", EBADRESP = "DNSLookupError",
    ENETUNREACH = "NoRouteError", EHOSTUNREACH = "NoRouteError",
}

local function failure(name, text, code)
    return inside.new_failure(M.error[name](text, code))
end

local function why_lost(reason, code)
    if not code then return failure("ConnectionDone", "Connection was closed cleanly.") end
    if code == "ECONNABORTED" then return failure("ConnectionAborted", reason, code) end
    return failure("ConnectionLost", reason, code)
end

local function why_not_made(f)
    if neap.is(f.value, neap.CancelledError) then
        return failure("UserError", "User aborted connection.")
    end
    local ok, code = pcall(function() return f.value.code end)
    if not ok or code == nil then return f end -- an error in the factory or the protocol
    return failure(FAILED[code] or "ConnectError", tostring(f.value), code)
end

-- ---- transports ----

local function address(host, port) return { type = "TCP", host = host, port = port } end

-- Adds Twisted's names to the methods that all transports of neap share.
local function add_names(transport)
    local methods = inside.methods(transport)
    if methods.loseConnection then return end
    methods.loseConnection, methods.abortConnection = methods.lose_connection, methods.abort
    methods.writeSequence = methods.write
    methods.pauseProducing, methods.resumeProducing = methods.pause, methods.resume
    methods.stopProducing = methods.lose_connection
    function methods.getPeer(t) return address(t:peername()) end
    function methods.getHost(t) return address(t:sockname()) end
    function methods.setTcpNoDelay(t, on) neap.must(t:setoption("nodelay", not not on)) end
    function methods.setTcpKeepAlive(t, on) neap.must(t:setoption("keepalive", not not on)) end
end

-- What neap calls, for a protocol of Twisted's kind.
local function adapt(p, on_lost)
    return {
        protocol = p,
        connection_made = function(self, transport)
            add_names(transport)
            self.transport = transport
            if p.makeConnection then return p:makeConnection(transport) end
            p.transport = transport
            if p.connectionMade then p:connectionMade() end
        end,
        data_received = function(_, data)
            if p.dataReceived then p:dataReceived(data) end
        end,
        connection_lost = function(_, reason, code)
            local why = why_lost(reason, code)
            p.connected = false
            local _ <close> = setmetatable({}, { __close = function() -- also after an error
                if on_lost then on_lost(why) end
            end })
            if p.connectionLost then p:connectionLost(why) end
        end,
    }
end

-- ---- listenTCP ----

local Port = class "Port"

function Port:getHost() return address(self.listener.host, self.listener.port) end

---Stops to listen; the connections that there are go on.
---@return deferred # fires once it has stopped
function Port:stopListening()
    if not self.listening then return neap.succeed() end
    self.listening = false
    self.listener:close()
    self.factory:doStop()
    return neap.succeed()
end
Port.loseConnection = Port.stopListening

---reactor.listenTCP(port, factory[, backlog[, interface]])
---@param interface? string an address; "": any
---@return table port getHost(), stopListening()
function M.listenTCP(port, factory, backlog, interface)
    local host = interface and interface ~= "" and interface or "*"
    local listener, err, code = net.listen(host, port, { backlog = backlog or 50 })
    if not listener then
        error(M.error.CannotListenError(("Couldn't listen: %s"):format(err), code), 0)
    end
    factory:doStart()
    listener:protocol(function(peer)
        local p = factory:buildProtocol(address(peer.host, peer.port))
        return p and adapt(p)
    end)
    return setmetatable({ listener = listener, factory = factory, listening = true }, Port)
end

-- ---- connectTCP ----

local Connector = class "Connector"

---Connects; after the connection was lost, or has failed, again.
function Connector:connect()
    if self.state == "connecting" or self.state == "connected" then
        error("can't connect, as it is not disconnected", 2)
    end
    if self.state == "disconnected" then self.factory:doStart() end
    local attempt = {}
    self.state, self.attempt = "connecting", attempt
    self.factory:startedConnecting(self)
    if self.state ~= "connecting" then return end -- it was stopped from in there
    attempt.making = net.connect_protocol(function(peer)
        local p = self.factory:buildProtocol(address(peer.host, peer.port))
        if not p then -- as Twisted: it is connected, and closed
            p = protocol.Protocol()
            p.connectionMade = function(idle) idle.transport:lose_connection() end
        end
        self.state = "connected"
        attempt.adapter = adapt(p, function(why)
            self:ended(attempt, "clientConnectionLost", why)
        end)
        return attempt.adapter
    end, self.host, self.port, { timeout = self.timeout, bind = self.bind })
    attempt.making:add_errback(function(f)
        self:ended(attempt, "clientConnectionFailed", why_not_made(f))
    end)
end

-- Tells the factory, once, of an attempt's end; it may connect anew.
function Connector:ended(attempt, method, why)
    if self.attempt ~= attempt then return end
    self.state, self.attempt, self.waiting = "ended", nil, false
    self.factory[method](self.factory, self, why)
    if self.state == "ended" and not self.waiting then self:gives_up() end
end

-- The factory will connect it later on.
function Connector:waits() self.waiting = true end

-- It will not.
function Connector:gives_up()
    self.state, self.waiting = "disconnected", false
    self.factory:doStop()
end

---Gives up a connection that is being made.
function Connector:stopConnecting()
    if self.state ~= "connecting" then
        error(M.error.NotConnectingError("we're not trying to connect"), 2)
    end
    local attempt = self.attempt
    if attempt.making then return attempt.making:cancel() end
    self:ended(attempt, "clientConnectionFailed",
        failure("UserError", "User aborted connection."))
end

---Ends the connection, or gives it up while it is being made.
function Connector:disconnect()
    if self.state == "connecting" then return self:stopConnecting() end
    local adapter = self.attempt and self.attempt.adapter
    if adapter and adapter.transport then adapter.transport:lose_connection() end
end

function Connector:getDestination() return address(self.host, self.port) end

---reactor.connectTCP(host, port, factory[, timeout[, bindAddress]])
---@param timeout? number seconds, 30
---@param bindAddress? { host: string, port?: integer } or a list of the two
---@return table connector connect(), disconnect(), stopConnecting(), getDestination()
function M.connectTCP(host, port, factory, timeout, bindAddress)
    local bind = bindAddress and
        { host = bindAddress.host or bindAddress[1], port = bindAddress.port or bindAddress[2] }
    local connector = setmetatable({ host = host, port = port, factory = factory, bind = bind,
        timeout = timeout or 30, state = "disconnected" }, Connector)
    connector:connect()
    return connector
end

return M
