-- twisted.internet.protocol: classes to derive from, with `P = protocol.Protocol:extend { ... }`.

local neap = require "neap"
local class = require "neap.twisted.class".class

local M = {}

---A connection's protocol. `transport` is neap's, `factory` what made it.
M.Protocol = class("Protocol", nil, {
    connected = false,

    makeConnection = function(self, transport)
        self.connected, self.transport = true, transport
        self:connectionMade()
    end,
    connectionMade = function() end,
    dataReceived = function() end,
    connectionLost = function() end,
})

---Makes protocols: calls its field `protocol`, a class or a function.
M.Factory = class("Factory", nil, {
    numPorts = 0,

    buildProtocol = function(self, _)
        local p = self.protocol()
        p.factory = self
        return p
    end,
    startFactory = function() end,
    stopFactory = function() end,
    doStart = function(self)
        self.numPorts = self.numPorts + 1
        if self.numPorts == 1 then self:startFactory() end
    end,
    doStop = function(self)
        if self.numPorts == 0 then return end
        self.numPorts = self.numPorts - 1
        if self.numPorts == 0 then self:stopFactory() end
    end,
})
M.ServerFactory = M.Factory

---Factory:forProtocol(P, ...): a factory, made with these arguments, of such protocols.
function M.Factory.forProtocol(self, protocol, ...)
    local factory = self(...)
    factory.protocol = protocol
    return factory
end

---Hears of the connections that connectTCP makes for it.
M.ClientFactory = M.Factory:extend({
    startedConnecting = function(_, _) end,
    clientConnectionFailed = function(_, _, _) end,
    clientConnectionLost = function(_, _, _) end,
}, "ClientFactory")

local Reconnecting = M.ClientFactory:extend({
    initialDelay = 1, maxDelay = 3600, factor = math.exp(1), jitter = 0.119626565582,
    retries = 0, continueTrying = true,

    clientConnectionFailed = function(self, connector) self:retry(connector) end,
    clientConnectionLost = function(self, connector) self:retry(connector) end,
}, "ReconnectingClientFactory")

---Connects again, later and later, until `stopTrying`; its protocol calls `resetDelay` when a
---connection is of use. `clock` may be a Clock.
M.ReconnectingClientFactory = Reconnecting

local function vary(delay, jitter)
    if not jitter or jitter == 0 then return delay end
    local u, v = 1 - math.random(), math.random() -- a normal deviate
    return math.max(0, delay * (1 + jitter * math.sqrt(-2 * math.log(u))
        * math.cos(2 * math.pi * v)))
end

function Reconnecting:retry(connector)
    if not self.continueTrying then return end
    if self.maxRetries and self.retries >= self.maxRetries then return end
    self.retries = self.retries + 1
    self.delay = vary(math.min((self.delay or self.initialDelay) * self.factor, self.maxDelay),
        self.jitter)
    connector:waits()
    local function again()
        self.call = nil
        connector:connect()
    end
    self.connector = connector
    self.call = self.clock and self.clock:call_later(self.delay, again)
        or neap.call_later(self.delay, again)
end

function Reconnecting:resetDelay()
    self.delay, self.retries, self.continueTrying = self.initialDelay, 0, true
end

function Reconnecting:stopTrying()
    self.continueTrying = false
    if self.call then
        self.call:cancel()
        self.call = nil
        self.connector:gives_up()
    elseif self.connector and self.connector.state == "connecting" then
        self.connector:stopConnecting()
    end
end

return M
