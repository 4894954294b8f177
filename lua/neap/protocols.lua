-- The callback style of Twisted over streams: listener:protocol(factory) and
-- net.connect_protocol(factory, host, port[, opts]). The transport, which reads and calls, is
-- runtime/bind/transport.c.

local inside = require "neap.inside"
local neap = require "neap"
local net = require "neap.net"

---@class protocol what a connection's owner offers; all methods are optional
---@field connection_made fun(self, transport) once, first
---@field data_received fun(self, data: string) whatever has come, never empty
---@field drained fun(self) all that had to wait for the peer has been sent
---@field connection_lost fun(self, reason: string, code?: string) once, last; no code: at a
--- clean end, by the peer or by transport:lose_connection()

---A factory is a function of the peer's address, or has a method build_protocol(peer); it
---gives a protocol, or nil to refuse the connection.
local function build(factory, peer)
    if type(factory) == "function" then return factory(peer) end
    return factory:build_protocol(peer)
end

local function check_factory(factory, arg)
    if type(factory) == "function" then return end
    if type(factory) ~= "table" or not factory.build_protocol then
        error(("bad argument #%d (a function or a table with build_protocol expected)"):format(
            arg), 3)
    end
end

local function serve(stream, factory, peer)
    local ok, protocol = inside.call(build, factory, peer)
    if not ok then inside.report(protocol) end
    if ok and protocol then
        inside.transport(stream, protocol)
    else
        stream:close()
    end
end

---A client of a TLS listener: nobody else waits for its handshake.
local function serve_secret(stream, factory, peer)
    if stream:tls() then
        serve(stream, factory, peer)
    else
        stream:close()
    end
end

---Accepts until the listener is closed. An error of the factory ends that connection alone.
local function accept(listener, factory)
    local n = 0
    while true do
        local stream, peer, code = inside.accept_counted(listener)
        if not stream then
            if code == "ECLOSED" then return end
            error(peer, 0)
        end
        if inside.must_shake(stream) then
            neap.spawn(serve_secret, stream, factory, peer)
        else
            serve(stream, factory, peer)
        end
        n = n + 1
        if n % 64 == 0 then neap.schedule() end
    end
end

local M = {}

---listener:protocol(factory): a protocol for each client, in the background.
---@return tasklet # the one that accepts; it ends when the listener is closed
function M.listen(listener, factory)
    check_factory(factory, 1)
    return neap.spawn(accept, listener, factory)
end

local function connect(factory, host, port, opts)
    local stream = neap.must(net.connect(host, port, opts))
    local made = neap.deferred()
    local ok, protocol = inside.call(build, factory, { host = host, port = port })
    if not ok or not protocol then
        stream:close()
        if not ok then inside.raise(protocol) end
        error("the factory gave no protocol", 0)
    end
    local transport = inside.transport(stream, protocol, function(reason, code)
        if not reason then return made:callback(protocol) end
        made:errback(setmetatable({ code = code }, { __tostring = function() return reason end }))
    end)
    local _ <close> = setmetatable({}, { __close = function(_, err)
        if err ~= nil then transport:abort() end
    end })
    return neap.block_on(made)
end

---net.connect_protocol(factory, host, port[, opts])
---@param opts? table as of net.connect
---@return deferred # of the protocol, once its connection_made has returned; a cancel gives up
function M.connect(factory, host, port, opts)
    check_factory(factory, 1)
    return neap.deferred_tasklet(connect)(factory, host, port, opts)
end

return M
