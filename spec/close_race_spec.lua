-- A close against every wait on what it closes, from everywhere that code runs, and what is done
-- with it afterwards: row 45 of docs/networks.md. Whoever waits hears of it, once; nobody
-- hangs. The helper sees to descriptors, watches, timers and tasklets.

local authority = require "spec.support.authority"
local fill = require "spec.support.fill"
local net = require "neap.net"

-- ---- what is closed ----

local function tcp()
    local listener <close> = neap.must(net.listen("127.0.0.1", 0))
    local a = neap.must(net.connect("127.0.0.1", listener.port))
    local b = neap.must(listener:accept())
    a:setoption("sndbuf", 65536)
    b:setoption("rcvbuf", 65536) -- or the kernel comes to hold more by itself
    return a, b
end

local function encrypted()
    local a, b = tcp()
    local shaking = spawn(b.starttls, b, authority.server_tls())
    neap.must(a:starttls(authority.client_tls()))
    shaking:join()
    return a, b
end

-- Waits: { f(it), before(it): sees to it that f waits; may give another who does }.
local reads = {
    line = { function(s) return s:read() end },
    all = { function(s) return s:read("a") end },
    count = { function(s) return s:read(100) end },
    some = { function(s) return s:read_some() end },
    ["until"] = { function(s) return s:read_until(";") end },
    ["second reader"] = { function(s) return s:read() end, function(s)
        return spawn(function() return s:read() end)
    end },
    select = { function(s) return select(2, neap.select { s }) end },
    relay = { function(s)
        local other, far = net.pair()
        local _ <close> = far
        return net.relay(s, other)
    end },
}

local writes = {
    write = { function(s) return s:write(("x"):rep(200000)) end, fill },
    pieces = { function(s) return s:write { ("x"):rep(200000), { ("y"):rep(200000) } } end, fill },
    flush = { function(s) return s:flush() end, fill },
    ["second writer"] = { function(s) return s:write("x") end, function(s)
        fill(s)
        return spawn(function() return s:write(("x"):rep(200000)) end)
    end },
}

local handshakes = {
    client = { function(s)
        return s:starttls(authority.client_tls())
    end, authority.server_tls },
    server = { function(s)
        local tls = authority.server_tls()
        tls.server = true
        return s:starttls(tls)
    end, authority.server_tls },
}

local function accept(l)
    local stream, err, code = l:accept()
    if not stream then return nil, err, code end
    stream:close()
end

local accepts = {
    accept = { accept },
    ["second acceptor"] = { accept, function(l) return spawn(accept, l) end },
    serve = { function(l)
        l:serve(function() end)
        return nil, "closed", "ECLOSED"
    end },
    select = reads.select,
}

local receives = {
    receive = { function(u) return u:receive() end },
    ["second receiver"] = { function(u) return u:receive() end, function(u)
        return spawn(function() return u:receive() end)
    end },
    select = reads.select,
}

-- A listener, and as its peer a client that comes when it writes.
local function listening()
    local l, client = neap.must(net.listen("127.0.0.1", 0)), nil
    local port = l.port
    local peer = setmetatable({}, { __close = function(self) self:close() end })
    function peer.write() client = net.connect("127.0.0.1", port) end
    function peer.setoption() if client then client:setoption("linger", 0) end end
    function peer.close() if client then client:close() end end
    return l, peer
end

local function datagrams()
    local u, other = neap.must(net.udp("127.0.0.1", 0)), neap.must(net.udp("127.0.0.1", 0))
    local port = u.port
    local peer = setmetatable({}, { __close = function() other:close() end })
    function peer.write() other:send("input", "127.0.0.1", port) end
    function peer.setoption() end
    function peer.close() other:close() end
    return u, peer
end

local CLOSED = { nil, "closed", "ECLOSED", n = 3 }

-- What is asked of a closed stream.
local function asked_of_stream(s)
    for _, f in ipairs {
        function() return s:read() end, function() return s:read("a") end,
        function() return s:read_some() end, function() return s:read_until(";") end,
        function() return s:write("x") end, function() return s:write { "x", { "y" } } end,
        function() return s:flush() end, function() return s:shutdown() end,
        function() return s:unread("x") end, function() return s:peername() end,
        function() return s:setoption("nodelay", true) end,
        function() return net.relay(s, s) end,
    } do
        assert.same(CLOSED, table.pack(f()))
    end
    for _ in s:lines() do error("there are no lines") end
    assert.equal(-1, s.fd)
    assert.equal("stream: closed", tostring(s))
end

local function asked_of_listener(l)
    assert.same(CLOSED, table.pack(l:accept()))
    l:serve(error)
    assert.same({ true }, { l:start(error):join(20) })
    assert.equal(0, l:shutdown(1))
    assert.equal("listener: closed", tostring(l))
end

local function asked_of_udp(u)
    assert.same(CLOSED, table.pack(u:receive()))
    assert.same(CLOSED, table.pack(u:send("x", "127.0.0.1", 1)))
    assert.same(CLOSED, table.pack(u:connect("127.0.0.1", 1)))
    assert.equal("udp: closed", tostring(u))
end

-- { how to open one with its peer, who waits on it, what is asked of it afterwards }
local kinds = {
    ["tcp stream that is read"] = { tcp, reads, asked_of_stream },
    ["tcp stream that is written"] = { tcp, writes, asked_of_stream },
    ["unix stream that is read"] = { net.pair, reads, asked_of_stream },
    ["unix stream that is written"] = { net.pair, writes, asked_of_stream },
    ["stream in its handshake"] = { tcp, handshakes, asked_of_stream },
    ["tls stream that is read"] = { encrypted, reads, asked_of_stream },
    ["tls stream that is written"] = { encrypted, writes, asked_of_stream },
    ["listener"] = { listening, accepts, asked_of_listener },
    ["udp socket"] = { datagrams, receives, asked_of_udp },
}

-- ---- who closes: from where, and beside what ----

local function collect(f)
    setmetatable({}, { __gc = f })
    collectgarbage()
    collectgarbage()
end

local closes = {
    ["another tasklet"] = function(s) s:close() end,
    twice = function(s)
        s:close()
        s:close()
    end,
    ["two tasklets"] = function(s)
        local one, two = spawn(s.close, s), spawn(s.close, s)
        one:join()
        two:join()
    end,
    ["the reactor"] = function(s)
        local done = deferred()
        neap.call_later(0, function()
            s:close()
            done:callback()
        end)
        block_on(done)
    end,
    ["a callback"] = function(s)
        local d = deferred()
        d:add_callback(function() s:close() end)
        d:callback()
    end,
    ["a finalizer"] = function(s) collect(function() s:close() end) end,
    ["the waiter's cleanup"] = function(s, t)
        t.locals.closes = s
        t:kill()
    end,
    ["its <close>"] = function(s)
        pcall(function()
            local _ <close> = s
            error "unwinding"
        end)
    end,
    ["its peer too"] = function(s, _, peer)
        peer:close()
        s:close()
    end,
    ["a peer that resets"] = function(s, _, peer)
        peer:setoption("linger", 0)
        peer:close()
        s:close()
    end,
    ["beside input"] = function(s, t, peer)
        peer:write("input\n")
        for _ = 1, 5 do -- the waiter may have been woken, and then has not run yet
            if not t.blocked then break end
            neap.realtime.sleep(0)
        end
        s:close()
    end,
    ["as it is woken"] = function(s, t, peer)
        peer:write("input\n")
        peer:close()
        s:close()
        if t.alive then t:kill(true) end
    end,
}

-- ---- the race ----

local function finish(t)
    local got = table.pack(t:join(20))
    assert.is_true(got[1] ~= nil, "it hangs")
    return got
end

-- What else than "closed" a waiter may hear, by how it was closed.
local peers = { ECONNRESET = true, EPIPE = true, EPROTO = true }
local others = {
    ["its peer too"] = peers,
    ["a peer that resets"] = peers,
    ["beside input"] = { EPROTO = true },
    ["as it is woken"] = peers,
}

-- A waiter hears of the close, or of what came before it; or has been killed.
local function check(got, how, name)
    local value, code = got[2], got[2] == nil and got[4]
    if value == neap.TaskletExit then
        assert.is_true(how == "the waiter's cleanup" or how == "as it is woken", name)
    elseif code then
        assert.is_true(code == "ECLOSED" or others[how] and others[how][code],
            ("%s: %s"):format(name, code))
    elseif got[3] ~= "closed" then -- of a select
        assert.is_truthy(others[how], name)
    end
end

local function await_wait(t, name)
    local until_ = neap.now() + 20
    while not t.blocked and neap.now() < until_ do neap.realtime.sleep(0) end
    assert.is_true(t.blocked, name)
end

local function race(kind, wait, how, name)
    local s, peer = kind[1]()
    local _ <close> = peer
    local other = wait[2] and wait[2](s)
    local t = spawn(function()
        local _ <close> = setmetatable({}, { __close = function()
            local mine = neap.getcurrent().locals.closes
            if mine then mine:close() end
        end })
        return wait[1](s)
    end)
    await_wait(t, name)
    closes[how](s, t, peer)
    check(finish(t), how, name)
    if type(other) == "userdata" then check(finish(other), how, name) end
    assert.same({ 1, nil, "closed" }, { neap.select({ s }, 5) })
    kind[3](s)
    s:close()
end

local function sorted(list)
    local names = {}
    for name in pairs(list) do names[#names + 1] = name end
    table.sort(names)
    return names
end

for _, kind in ipairs(sorted(kinds)) do
    describe("a " .. kind .. " is closed by", function()
        for _, how in ipairs(sorted(closes)) do
            it(how .. ", whoever waits", function()
                for name, wait in pairs(kinds[kind][2]) do
                    race(kinds[kind], wait, how, ("%s, %s, %s"):format(kind, name, how))
                end
            end)
        end
    end)
end

-- ---- protocols ----

local endings = {
    lose_connection = function(t) t:lose_connection() end,
    abort = function(t) t:abort() end,
    both = function(t)
        t:lose_connection()
        t:abort()
    end,
    twice = function(t)
        t:abort()
        t:abort()
        t:lose_connection()
    end,
    raise = function() error("on purpose", 0) end,
}

local methods = { "connection_made", "data_received", "drained", "connection_lost" }

-- What its transport is asked in connection_lost, and after.
local function asked_of_transport(t)
    t:write("too late")
    t:pause()
    t:resume()
    t:lose_connection()
    t:abort()
    assert.is_true(t.closing)
    assert.equal(0, t.buffered)
    assert.same(CLOSED, table.pack(t:setoption("nodelay", true)))
end

describe("a protocol's connection is ended", function()
    for _, method in ipairs(methods) do
        for name, ending in pairs(endings) do
            it("in " .. method .. ": " .. name, function()
                local listener <close> = neap.must(net.listen("127.0.0.1", 0))
                local lost, failed, done, transport = 0, 0, deferred(), nil
                neap.on_error(function(_, err)
                    assert.equal("on purpose", err)
                    failed = failed + 1
                end)
                local p = {
                    connection_made = function(_, t)
                        transport = t
                        t:setoption("sndbuf", 4096) -- it has to wait, and is drained
                    end,
                    data_received = function() transport:write(("x"):rep(400000)) end,
                    connection_lost = function() transport:abort() end,
                }
                local before = p[method]
                p[method] = function(self, t)
                    if before then before(self, t) end
                    ending(transport)
                end
                local ended = p.connection_lost
                function p.connection_lost(...)
                    lost = lost + 1
                    asked_of_transport(transport)
                    done:callback()
                    ended(...)
                end
                listener:protocol(function() return p end)
                local client <close> = neap.must(net.connect("127.0.0.1", listener.port))
                client:write("to begin with")
                if method == "connection_lost" then client:close() end
                repeat until not client:read_some()
                block_on(done, 20)
                sleep(0)
                asked_of_transport(transport)
                neap.on_error(nil)
                assert.same({ 1, name == "raise" and 1 or 0 }, { lost, failed })
            end)
        end
    end
end)
