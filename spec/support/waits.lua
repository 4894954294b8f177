-- Every way to wait, one constructor each, for kill_matrix_spec. A wait is
--   call(timeout)    does it, in the tasklet that waits; timeout: if `timed` is set
--   result           what call returns once it is served
--   serve()          the partner arrives, without a switch; absent: it comes by itself
--   offer()          the same when nobody waits any more: nothing may be taken
--   check(served)    the partner's value is neither lost nor doubled, nobody is queued
--   close(), closed  closes what it waits on, and what call gives then
--   done()           lets go of what the wait needs

local assert = require "luassert"
local authority = require "spec.support.authority"
local net = require "neap.net"

local waits = {}

local function nothing() end

local VALUES = table.pack("v", nil, 3)

local function send(ch) ch:send(table.unpack(VALUES, 1, VALUES.n)) end

-- A channel on which the call receives.
local function receiving(call, index)
    local ch = channel()
    local result = index and table.pack(index, "v", nil, 3) or VALUES
    return {
        timed = true,
        call = function(timeout) return call(ch, timeout) end,
        result = result,
        serve = function() assert.is_true(ch:try_send("v", nil, 3)) end,
        offer = function() assert.is_false(ch:try_send("v", nil, 3)) end,
        check = function()
            assert.same({ 0, 0, 0 }, { ch.balance, #ch, #ch.queue })
            ch:open()
            assert.is_false((ch:try_send("again")))
        end,
        close = function() ch:close() end,
        closed = index and table.pack(true, index, nil, "closed") or
            table.pack(true, nil, "closed"),
    }
end

-- A channel, full if it has a buffer, on which the call sends VALUES.
local function sending(call, capacity, index)
    local ch = channel(capacity)
    for _ = 1, capacity do ch:send("first") end
    return {
        timed = index ~= nil,
        call = function(timeout) return call(ch, timeout) end,
        result = index and table.pack(index) or table.pack(),
        serve = function()
            local expected = capacity > 0 and table.pack("first") or VALUES
            local got = table.pack(ch:try_receive())
            assert.same(table.pack(true, table.unpack(expected, 1, expected.n)), got)
        end,
        offer = function()
            if capacity == 0 then assert.is_false((ch:try_receive())) end
        end,
        check = function(served)
            assert.same({ 0, capacity, 0 }, { ch.balance, #ch, #ch.queue })
            if capacity > 0 then
                local expected = served and table.pack(true, "v", nil, 3) or
                    table.pack(true, "first")
                assert.same(expected, table.pack(ch:try_receive()))
            end
            assert.is_false((ch:try_receive()))
        end,
        close = function() ch:close() end,
        closed = table.pack(false, "Send/receive operation on a closed channel"),
    }
end

function waits.receive() return receiving(function(ch, s) return ch:receive(s) end) end

function waits.iterate()
    local w = receiving(function(ch)
        local step, state, i = ch:iter()
        return select(2, step(state, i))
    end)
    w.timed, w.closed = false, table.pack(true)
    return w
end

function waits.send() return sending(send, 0) end
function waits.buffered_send() return sending(send, 1) end

function waits.send_sequence()
    local w = sending(function(ch) ch:send_sequence { "v" } end, 0)
    local receive = w.serve
    w.serve = function() assert.error(receive) end -- one value, not VALUES
    return w
end

function waits.select_receive()
    return receiving(function(ch, s)
        return neap.select({ channel(), ch, tasklet(nothing), deferred() }, s)
    end, 2)
end

function waits.select_send()
    return sending(function(ch, s)
        return neap.select({ channel(), table.pack(ch, "v", nil, 3), channel() }, s)
    end, 0, 2)
end

function waits.select_buffered_send()
    return sending(function(ch, s)
        return neap.select({ channel(), table.pack(ch, "v", nil, 3) }, s)
    end, 1, 2)
end

-- A tasklet that ends with VALUES when it is told to, on which the call waits.
local function joining(call, ...)
    local ch = channel()
    local t = tasklet(function() return ch:receive() end)()
    t:run()
    return {
        timed = true,
        call = function(timeout) return call(t, timeout) end,
        result = table.pack(...),
        serve = function()
            ch:try_send("v", nil, 3)
            t:run()
        end,
        check = function(served) assert.equal(not served, t.alive) end,
        done = function() t:kill() end,
    }
end

function waits.join()
    return joining(function(t, s) return t:join(s) end, true, "v", nil, 3)
end

function waits.select_join()
    return joining(function(t, s)
        return neap.select({ channel(), t }, s)
    end, 2, true, "v", nil, 3)
end

-- A deferred on which the call waits; who is the last to leave it cancels it, or not.
local function blocking(call, cancels, ...)
    local cancelled, offered = 0, false
    local d = deferred(function() cancelled = cancelled + 1 end)
    return {
        call = function() return call(d) end,
        result = table.pack(...),
        serve = function() d:callback("v", nil, 3) end,
        offer = function()
            d:callback("v", nil, 3)
            offered = true
        end,
        check = function(served)
            local fired = served or offered or false
            assert.equal((fired or not cancels) and 0 or 1, cancelled)
            assert.equal(fired or cancels, d.called)
        end,
    }
end

function waits.block_on() return blocking(block_on, true, "v", nil, 3) end
function waits.wait() return blocking(function(d) return d:wait() end, true, "v", nil, 3) end

function waits.select_deferred()
    return blocking(function(d) return neap.select { channel(), d } end, false, 2, "v", nil, 3)
end

function waits.blocking_tasklet()
    local ch = channel()
    local f = blocking_tasklet(function() return ch:receive() end)
    return {
        call = function() return f() end,
        result = VALUES,
        settle = true,
        serve = function() ch:try_send("v", nil, 3) end,
        check = function() assert.same({ 0, 0 }, { ch.balance, #ch }) end,
        later = true,
    }
end

function waits.sleep()
    return {
        call = function(timeout) sleep(timeout or 0.01) end,
        result = table.pack(),
        check = nothing,
    }
end

function waits.schedule()
    return { call = function() return schedule("v") end, result = table.pack("v"),
        check = nothing }
end

function waits.run()
    return { call = function() return neap.run() end, result = table.pack(),
        check = nothing }
end

function waits.schedule_remove()
    local t
    return {
        call = function()
            t = neap.getcurrent()
            return neap.schedule_remove("v")
        end,
        result = table.pack("v"),
        serve = function() t:insert() end,
        check = nothing,
    }
end

function waits.switch()
    local ran = 0
    local t = tasklet(function() ran = ran + 1 end)()
    local victim
    return {
        call = function()
            victim = neap.getcurrent()
            t:switch()
        end,
        result = table.pack(),
        serve = function() victim:insert() end,
        check = function() assert.equal(1, ran) end,
    }
end

-- A wait of the call on a, whose other end is b.
local function between(a, b, call, ...)
    return {
        real = true,
        call = function(timeout)
            a:settimeout(timeout)
            return call(a)
        end,
        timed = true,
        result = table.pack(...),
        serve = function() b:write("line\n") end,
        later = true,
        check = nothing,
        close = function() a:close() end,
        closed = table.pack(true, nil, "closed", "ECLOSED"),
        done = function()
            a:close()
            b:close()
        end,
    }
end

-- Both ends of a connection: the client's, the server's. tls: the server's options.
local function ends(tls)
    local listener <close> = neap.must(net.listen("127.0.0.1", 0, { tls = tls }))
    local a = neap.must(net.connect("127.0.0.1", listener.port))
    return a, neap.must(listener:accept())
end

local function connected(call, ...)
    local a, b = ends()
    return between(a, b, call, ...)
end

function waits.read()
    return connected(function(s) return s:read() end, "line")
end

local BLOCK = ("."):rep(1 << 20)

local function write_much(s)
    for _ = 1, 64 do
        local ok, err, code = s:write(BLOCK)
        if not ok then return ok, err, code end
    end
end

local function unserved(w)
    w.serve, w.unserved = nil, true
    return w
end

function waits.write()
    return unserved(connected(write_much))
end

-- ---- TLS ----

local server_tls, client_tls = authority.server_tls, authority.client_tls

-- As `connected`, with the handshake done.
local function encrypted(call, ...)
    local a, b = ends(server_tls())
    local shaking = spawn(b.tls, b)
    neap.must(a:starttls(client_tls()))
    shaking:join()
    return between(a, b, call, ...)
end

function waits.tls_read()
    return encrypted(function(s) return s:read() end, "line")
end

function waits.tls_write()
    return unserved(encrypted(write_much))
end

-- The tasklet waits in a server's handshake for its client.
function waits.tls_accept()
    local b, a = ends(server_tls())
    local w = between(a, b, function(s)
        local state, err, code = s:tls()
        return state and state.version, err, code
    end, "TLSv1.3", nil, nil)
    w.serve = function() spawn(b.starttls, b, client_tls()) end
    return w
end

-- It waits in a client's for its server.
function waits.tls_starttls()
    local a, b = ends()
    local w = between(a, b, function(s) return s:starttls(client_tls()) end, a)
    w.serve = function() spawn(b.starttls, b, server_tls()) end
    return w
end

-- The same in connect, which closes what it has made.
function waits.tls_connect()
    local listener = neap.must(net.listen("127.0.0.1", 0))
    client_tls()
    return {
        real = true,
        timed = true,
        call = function(timeout)
            local s, err, code = net.connect("127.0.0.1", listener.port,
                { tls = client_tls(), timeout = timeout })
            if not s then return s, err, code end
            s:close()
            return "connected"
        end,
        result = table.pack("connected"),
        serve = function()
            spawn(function()
                local s <close> = neap.must(listener:accept())
                s:starttls(server_tls())
            end)
        end,
        later = true,
        check = nothing,
        done = function() listener:close() end,
    }
end

-- ---- networks, without a stream ----

-- A wait for what only the network could bring.
local function waiting(call, objects)
    return {
        real = true,
        timed = true,
        call = call,
        unserved = true,
        check = nothing,
        done = function()
            for _, object in ipairs(objects) do object:close() end
        end,
    }
end

function waits.udp_receive()
    local a, b = neap.must(net.udp("127.0.0.1", 0)), neap.must(net.udp("127.0.0.1", 0))
    local w = waiting(function(timeout)
        local data, err, code = a:receive(timeout)
        if data then return data end
        return nil, err, code
    end, { a, b })
    w.serve = function() b:send("datagram", "127.0.0.1", a.port) end
    w.unserved, w.later = nil, true
    w.result = table.pack "datagram"
    w.close = function() a:close() end
    w.closed = table.pack(true, nil, "closed", "ECLOSED")
    return w
end

-- A name server that is silent.
local function silent()
    local server = neap.must(net.udp("127.0.0.1", 0))
    return server, { "127.0.0.1:" .. server.port }
end

function waits.resolve()
    local server, servers = silent()
    return waiting(function(timeout)
        return net.resolve("name.test", { servers = servers, timeout = timeout })
    end, { server })
end

function waits.connect_by_name()
    local server, servers = silent()
    return waiting(function(timeout)
        return net.connect("name.test", 1, { servers = servers, timeout = timeout })
    end, { server })
end

function waits.wait_fd()
    local a, b = net.pair()
    local w = waiting(function(timeout) return neap.wait_fd(a.fd, "r", timeout) end, { a, b })
    w.serve = function() b:write("x") end
    w.unserved, w.later = nil, true
    w.result = table.pack(true)
    return w
end

function waits.relay()
    local a, b = net.pair()
    local c, d = net.pair()
    local w = waiting(function(timeout) return net.relay(b, c, { idle = timeout }) end,
        { a, b, c, d })
    w.close = function() b:close() end
    w.closed = table.pack(true, nil, "closed", "ECLOSED")
    return w
end

function waits.select_stream()
    local a, b = net.pair()
    local w = waiting(function(timeout)
        local _, ready = neap.select({ a }, timeout)
        if ready ~= a then return nil, ready end
        return "ready"
    end, { a, b })
    w.serve = function() b:write("x") end
    w.unserved, w.later = nil, true
    w.result = table.pack "ready"
    w.close = function() a:close() end
    w.closed = table.pack(true, nil, nil)
    return w
end

function waits.accept()
    local listener = neap.must(net.listen("127.0.0.1", 0))
    local client
    return {
        real = true,
        call = function()
            neap.must(listener:accept()):close()
            return "accepted"
        end,
        result = table.pack("accepted"),
        serve = function() client = net.connect("127.0.0.1", listener.port) end,
        later = true,
        check = nothing,
        done = function()
            listener:close()
            if client then client:close() end
        end,
    }
end

function waits.connect()
    local listener = neap.must(net.listen("127.0.0.1", 0))
    return {
        real = true,
        call = function()
            neap.must(net.connect("127.0.0.1", listener.port)):close()
            return "connected"
        end,
        result = table.pack("connected"),
        check = nothing,
        done = function() listener:close() end,
    }
end

return waits
