-- UDP sockets.

local given = require "spec.support.given"
local host = require "neap.host"
local net = require "neap.net"

local function socket(options) return neap.must(net.udp("127.0.0.1", 0, options)) end

-- The body of an `it` that is given two sockets, which are closed after it.
local function both(body)
    return given(function() return socket(), socket() end, body)
end

describe("a UDP socket", function()
    it("sends and receives datagrams, whole", both(function(a, b)
        assert.is_true(a:send("one", "127.0.0.1", b.port))
        assert.is_true(a:send("", "localhost", b.port))
        assert.is_true(a:send(12, "127.0.0.1", b.port))
        assert.same({ "one", "127.0.0.1", a.port, n = 3 }, table.pack(b:receive()))
        assert.same({ "", "127.0.0.1", a.port, n = 3 }, table.pack(b:receive()))
        assert.equal("12", (b:receive(0)))
    end))

    it("has the largest datagram, and none that is larger", both(function(a, b)
        local most = ("x"):rep(65507)
        assert.is_true(a:send(most, "127.0.0.1", b.port))
        assert.equal(most, (b:receive()))
        assert.same({ nil, "send: Message too long", "EMSGSIZE" },
            { a:send(most .. "x", "127.0.0.1", b.port) })
    end))

    it("tells when it gives less than there was", both(function(a, b)
        a:send("0123456789", "127.0.0.1", b.port)
        a:send("0123456789", "127.0.0.1", b.port)
        assert.same({ "0123", "127.0.0.1", a.port, 10 }, { b:receive(nil, 4) })
        assert.same({ "0123456789", "127.0.0.1", a.port }, { b:receive(1, 10) })
    end))

    it("speaks to one peer only once it is connected", both(function(a, b)
        local other <close> = socket()
        assert.equal(a, a:connect("127.0.0.1", b.port))
        assert.same({ "127.0.0.1", b.port }, { a:peername() })
        assert.is_true(a:send("ping"))
        local data, from, port = b:receive()
        other:send("stranger", "127.0.0.1", a.port)
        b:send(data:upper(), from, port)
        assert.equal("PING", (a:receive()))
        assert.same({ nil, "timeout", "ETIMEDOUT" }, { a:receive(0.01) })
        a:connect()
        assert.equal("ENOTCONN", (select(3, a:peername())))
        other:send("friend", "127.0.0.1", a.port)
        assert.equal("friend", (a:receive()))
        assert.equal("EDESTADDRREQ", (select(3, a:send("nobody"))))
    end))

    it("hears that nobody is there, and lives on", both(function(a, b)
        local port = b.port
        b:close()
        a:connect("127.0.0.1", port)
        a:send("anybody?")
        assert.same({ nil, "receive: Connection refused", "ECONNREFUSED" }, { a:receive(5) })
        a:connect()
        local again <close> = socket()
        a:send("hello", "127.0.0.1", again.port)
        assert.equal("hello", (again:receive()))
    end))

    it("waits for a datagram, in time or not", both(function(a, b)
        local t = spawn(b.receive, b)
        schedule()
        assert.equal("a datagram", t.waiting_on)
        a:send("late", "127.0.0.1", b.port)
        assert.same({ true, "late", "127.0.0.1", a.port }, { t:join() })
        assert.same({ nil, "timeout", "ETIMEDOUT" }, { b:receive(0) })
        assert.same({ nil, "timeout", "ETIMEDOUT" }, { b:receive(0.005) })
    end))

    it("serves who waits in order", both(function(a, b)
        local order, waiting = {}, {}
        for i = 1, 4 do
            waiting[i] = spawn(function()
                local data = b:receive()
                order[#order + 1] = i .. data
            end)
        end
        schedule()
        waiting[2]:kill()
        for i = 1, 3 do
            a:send(i, "127.0.0.1", b.port)
            sleep(0.003)
        end
        for _, t in ipairs(waiting) do t:join() end
        assert.same({ "11", "32", "43" }, order)
    end))

    it("closes under who waits, at once, and for good", both(function(a, b)
        local t = spawn(b.receive, b)
        schedule()
        b:close()
        assert.same({ true, nil, "closed", "ECLOSED" }, { t:join() })
        b:close()
        assert.equal("udp: closed", tostring(b))
        assert.equal(-1, b.fd)
        assert.is_nil(b.port)
        for _, f in ipairs {
            function() return b:receive() end,
            function() return b:send("x", "127.0.0.1", a.port) end,
            function() return b:connect("127.0.0.1", 1) end,
            function() return b:sockname() end,
            function() return b:peername() end,
            function() return b:setoption("ttl", 1) end,
            function() return b:join_group("239.1.1.1") end,
        } do
            assert.same({ nil, "closed", "ECLOSED" }, { f() })
        end
    end))

    it("leaves nothing when a wait is killed", both(function(_, b)
        for _, how in ipairs { false, true, { hard = true } } do
            local t = spawn(b.receive, b, 5)
            schedule()
            local timers = host.stats().timers
            t:kill(how)
            t:join()
            assert.equal(timers - 1, host.stats().timers)
        end
        assert.is_false((pcall(table.sort, { 1, 2 }, function() return b:receive() end)))
    end))

    it("lets the others run under a flood", both(function(a, b)
        local turns, stop = 0, false
        spawn(function()
            while not stop do
                turns = turns + 1
                schedule()
            end
        end)
        for _ = 1, 5 do
            for _ = 1, 100 do a:send("x", "127.0.0.1", b.port) end
            for _ = 1, 100 do b:receive() end
        end
        stop = true
        assert.is_true(turns >= 5)
    end))

    it("lets the others run while it sends, too", both(function(a, b)
        local turns, stop = 0, false
        local other = spawn(function()
            while not stop do
                turns = turns + 1
                schedule()
            end
        end)
        for _ = 1, 200 do a:send("x", "127.0.0.1", b.port) end
        stop = true
        assert.is_true(turns >= 3)
        other:join()
    end))

    it("loses no datagram to a receiver that is killed as it gives way", both(function(a, b)
        local got = 0
        local receiver = spawn(function()
            while b:receive(5) do got = got + 1 end
        end)
        for _ = 1, 40 do a:send("x", "127.0.0.1", b.port) end
        repeat schedule() until got > 0
        receiver:kill()
        while b:receive(0.05) do got = got + 1 end
        assert.equal(40, got)
    end))

    it("keeps to its time when another takes the datagram", both(function(a, b)
        local late
        for i = 1, 200 do -- until both are woken in one turn, the receiver behind us
            local receiver = spawn(function() return b:receive(0.1) end)
            spawn(function()
                if i % 2 == 0 then a:send("x", "127.0.0.1", b.port) end
                b:send("y", "127.0.0.1", a.port)
                if i % 2 == 1 then a:send("x", "127.0.0.1", b.port) end
            end)
            a:receive()
            local ready = not receiver.blocked
            local taken = b:receive(0)
            late = ready and taken
            local ended, got = receiver:join(5)
            assert.is_true(ended)
            if late then
                assert.is_nil(got)
                break
            end
        end
        assert.equal("x", late)
    end))

    it("is on any address unless told otherwise", function()
        local any <close> = neap.must(net.udp())
        local one <close> = socket()
        assert.is_true(any.port > 0)
        assert.is_true(any:send("x", "127.0.0.1", one.port))
        assert.same({ "x", "127.0.0.1", any.port }, { one:receive() })
        one:send("y", "127.0.0.1", any.port)
        assert.same({ "y", "127.0.0.1", one.port }, { any:receive() })
        any:connect("127.0.0.1", one.port)
        assert.is_true(any:send("z"))
        assert.equal("z", (one:receive()))
        local shared <close> = neap.must(net.udp { reuseport = true })
        local again <close> = neap.must(net.udp("*", shared.port, { reuseport = true }))
        assert.equal(shared.port, again.port)
    end)

    it("takes part in multicast groups", function()
        local a <close> = neap.must(net.udp("0.0.0.0", 0))
        local b <close> = neap.must(net.udp("0.0.0.0", 0))
        assert.equal(a, a:setoption("multicast_ttl", 0))
        assert.equal(a, a:setoption("multicast_loop", true))
        assert.equal(b, b:join_group("239.255.77.7", "lo"))
        assert.equal("EADDRINUSE", (select(3, b:join_group("239.255.77.7", "lo"))))
        assert.equal(b, b:leave_group("239.255.77.7", "lo"))
        assert.equal("EADDRNOTAVAIL", (select(3, b:leave_group("239.255.77.7", "lo"))))
        assert.equal("ENODEV", (select(3, b:join_group("239.255.77.7", "no such one"))))
        assert.equal("EINVAL", (select(3, b:join_group("127.0.0.1", "lo"))))
    end)

    it("refuses what is no address", both(function(a)
        assert.same({ nil, "udp nowhere:0: not an address in figures", "EINVAL" },
            { net.udp("nowhere") })
        assert.equal("EADDRINUSE", (select(3, net.udp("127.0.0.1", a.port))))
        assert.equal("EINVAL", (select(3, a:send("x", "nowhere", 5))))
        assert.has_error(function() a:send("x", "127.0.0.1", 65536) end)
        assert.has_error(function() a:send("x", "127.0.0.1") end)
        assert.has_error(function() a:send() end)
        assert.has_error(function() net.udp("127.0.0.1", -1) end)
        assert.has_error(function() net.udp("127.0.0.1", 0, { colour = 1 }) end)
        assert.has_error(function() a:setoption("colour", 1) end)
        assert.has_error(function() a:receive(-0.5, -1) end)
    end))
end)
