-- net.connect: the race between the addresses of a name.

local child = require "spec.support.child"
local host = require "neap.host"
local net = require "neap.net"

-- A port on which nobody listens.
local function free_port()
    local listener <close> = neap.must(net.listen("127.0.0.1", 0))
    return listener.port
end

-- A listener that answers no more: its backlog is full; and what fills it.
local function full_listener()
    local listener = neap.must(net.listen("127.0.0.1", 0, { backlog = 0 }))
    local streams = {}
    repeat
        local stream, err = net.connect("127.0.0.1", listener.port, { timeout = 0.05 })
        streams[#streams + 1] = stream
    until err == "timeout"
    return listener, function()
        listener:close()
        for _, stream in ipairs(streams) do stream:close() end
    end
end

describe("connect", function()
    it("gives a stream to what listens there", function()
        local listener <close> = neap.must(net.listen("127.0.0.1", 0))
        for _, name in ipairs { "127.0.0.1", "localhost" } do
            local stream = net.connect(name, listener.port)
            local other = listener:accept()
            stream:write("hello\n")
            assert.equal("hello", other:read())
            assert.same({ "127.0.0.1", listener.port }, { stream:peername() })
            stream:close()
            other:close()
        end
    end)

    it("takes options", function()
        local listener <close> = neap.must(net.listen("127.0.0.1", 0))
        local stream <close> = net.connect("127.0.0.1", listener.port,
            { timeout = 5, nodelay = false, keepalive = true })
        assert.equal(listener.port, select(2, stream:peername()))
    end)

    it("from an address of its own, and port", function()
        local listener <close> = neap.must(net.listen("127.0.0.1", 0))
        local port = free_port()
        for bind, own in pairs {
            ["127.0.0.2"] = { "127.0.0.2" },
            [{ host = "127.0.0.3", port = port }] = { "127.0.0.3", port },
        } do
            local stream <close> = neap.must(net.connect("127.0.0.1", listener.port,
                { bind = bind }))
            local name, number = stream:sockname()
            assert.same(own, { name, own[2] and number })
            listener:accept():close()
        end
        assert.equal("EADDRNOTAVAIL", (select(3, net.connect("127.0.0.1", listener.port,
            { bind = "192.0.2.1" }))))
        assert.equal("EINVAL", (select(3, net.connect("127.0.0.1", listener.port,
            { bind = "no address" }))))
        assert.has_error(function() net.connect("127.0.0.1", 1, { bind = {} }) end)
    end)

    it("over IPv6", function()
        local listener = net.listen("::1", 0)
        if not listener then return end -- a kernel without it
        assert.equal("listener: [::1]:" .. listener.port, tostring(listener))
        local stream <close> = neap.must(net.connect("::1", listener.port))
        local other <close>, peer = listener:accept()
        assert.same({ "::1", listener.port }, { stream:peername() })
        assert.equal("[::1]:" .. peer.port, tostring(peer))
        other:write("six\n")
        assert.equal("six", stream:read())
        listener:close()
    end)

    it("over IPv6 in a scope, by the interface's name or number", function()
        local any = net.udp("::1%lo", 0)
        if not any then return end -- a kernel without it
        any:close()
        neap.must(net.udp("::1%1", 0)):close()
        for _, bad in ipairs { "::1%", "::1%no such", "::1%-1", "::1%99999999999", "%lo" } do
            assert.equal("EINVAL", (select(3, net.udp(bad, 0))), bad)
        end
        local file <close> = assert(io.open("/proc/net/if_inet6"))
        for line in file:lines() do
            local figures, scope, name = line:match("^(%x+) %x+ %x+ (%x+) %x+ +(%S+)")
            if scope == "20" then
                local address = figures:gsub("%x%x%x%x", "%0:", 7) .. "%" .. name
                local listener <close> = neap.must(net.listen(address, 0))
                local stream <close> = neap.must(net.connect(address, listener.port))
                local other <close>, peer = listener:accept()
                assert.equal(listener.host, (stream:peername()))
                assert.is_truthy(listener.host:find("^fe80::.*%%" .. name .. "$"))
                assert.equal((stream:sockname()), peer.host)
                assert.same({ "x" }, { stream:write("x") and other:read(1) })
            end
        end
    end)

    it("to nobody is refused, with a text and a code", function()
        local port = free_port()
        assert.same(
            { nil, ("connect 127.0.0.1:%d: Connection refused"):format(port), "ECONNREFUSED" },
            { net.connect("127.0.0.1", port) })
    end)

    it("to one that does not answer is out of time, and may be cut short", function()
        local listener, close = full_listener()
        assert.same({ nil, "timeout", "ETIMEDOUT" },
            { net.connect("127.0.0.1", listener.port, { timeout = 0.02 }) })
        for _, cut in ipairs {
            function(t) t:kill() end,
            function(t) t:kill(true) end,
            function(t) t:throw("cut") end,
        } do
            local t = spawn(function()
                local ok, err = pcall(net.connect, "127.0.0.1", listener.port)
                return ok or err
            end)
            schedule()
            assert.is_true(t.blocked)
            local watches = host.stats().watches
            cut(t)
            local _, err = t:join()
            assert.is_true(err == "cut" or err == neap.TaskletExit)
            assert.equal(watches - 1, host.stats().watches) -- before any collection
        end
        close()
    end)

    it("refuses what is no address or no port, without a wait", function()
        assert.has_error(function() net.connect() end)
        assert.has_error(function() net.connect("127.0.0.1") end)
        assert.has_error(function() net.connect("127.0.0.1", -1) end)
        assert.has_error(function() net.connect("127.0.0.1", 65536) end)
        assert.has_error(function() net.connect("127.0.0.1", 1, 5) end)
        assert.has_error(function() net.connect("127.0.0.1", 1, { timeout = "soon" }) end)
    end)

    it("cannot wait where nothing can, and leaves nothing behind", function()
        local port = free_port()
        local ok, err = pcall(table.sort, { 1, 2, 3 }, function()
            return net.connect("127.0.0.1", port)
        end)
        assert.is_false(ok)
        assert.is_truthy(err:find("cannot wait inside table.sort (a C function)", 1, true))
    end)

    it("without a descriptor is a clear error, and works again with one", function()
        local server = child.script([[
            local net = require "neap.net"
            local listener = neap.must(net.listen("127.0.0.1", 0))
            local streams, err, code = {}
            repeat
                local stream
                stream, err, code = net.connect("127.0.0.1", listener.port)
                streams[#streams + 1] = stream
            until not stream
            print((err:gsub("%d+", "N")), code)
            local before = #streams
            table.remove(streams):close()
            assert(net.connect("127.0.0.1", listener.port))
            assert(before > 10)
            print "again"
        ]], "ulimit -n 40")
        local status, out, err = server:wait()
        assert.equal("", err)
        assert.equal("connect N.N.N.N:N: Too many open files\tEMFILE\nagain\n", out)
        assert.equal(0, status)
    end)

    it("by hundreds at once", function()
        local listener <close> = neap.must(net.listen("127.0.0.1", 0))
        local serving = listener:start(function(stream)
            stream:write(stream:read(), "\n")
        end)
        local clients = {}
        for i = 1, 200 do
            clients[i] = spawn(function()
                local stream <close> = neap.must(net.connect("127.0.0.1", listener.port))
                stream:write(i, "\n")
                return stream:read("a")
            end)
        end
        for i, t in ipairs(clients) do assert.same({ true, i .. "\n" }, { t:join() }) end
        listener:close()
        serving:join()
    end)
end)
