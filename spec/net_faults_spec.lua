-- The kernel refuses: rows 2, 7, 9, 10, 18, 46 to 48 of docs/networks.md. What cannot be had
-- otherwise strace injects into a program of its own, and a network without its interface.

local child = require "spec.support.child"
local net = require "neap.net"

local can_trace = os.execute "strace -f -o /dev/null true 2>/dev/null"
local can_unshare = os.execute "unshare -rn ip link set lo up 2>/dev/null"

-- Runs a script under strace with these injections; its status, output and complaints.
local function injected(injections, script)
    local words = {}
    for i, injection in ipairs(injections) do words[i] = "-e inject=" .. injection end
    local path = child.file(script)
    local status, out, err = child.shell(([[
        export ASAN_OPTIONS=detect_leaks=0
        timeout 100 strace -f -qq -o /dev/null -e signal=none %s "$NEAP" %s]]):format(
        table.concat(words, " "), path))
    os.remove(path)
    return status, out, err
end

local traced = can_trace and it or pending

describe("accept", function()
    local script = [[
        local net = require "neap.net"
        local listener = neap.must(net.listen("127.0.0.1", 0))
        local held = neap.must(net.connect("127.0.0.1", listener.port))
        listener:start(function(stream) stream:write(stream:read(), "\n") end)
        held:write("first\n")
        print(held:read())
        for _ = 1, 5 do
            local stream <close> = neap.must(net.connect("127.0.0.1", listener.port))
            stream:write("next\n")
            assert(stream:read() == "next")
        end
        print "served"
        listener:shutdown()
    ]]

    for _, errno in ipairs { "ECONNABORTED", "EPROTO", "EPERM", "ENETDOWN", "EHOSTUNREACH" } do
        traced("goes on to the next client after " .. errno, function()
            local status, out, err = injected({ "accept4:error=" .. errno .. ":when=1+3" }, script)
            assert.same({ 0, "first\nserved\n", "" }, { status, out, err })
        end)
    end

    for _, errno in ipairs { "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM" } do
        traced("pauses at " .. errno .. ", says so, and loses nobody", function()
            local status, out, err = injected({ "accept4:error=" .. errno .. ":when=1..2" }, script)
            assert.same({ 0, "first\nserved\n" }, { status, out })
            assert.matches("accept: .*clients wait", err)
        end)
    end
end)

describe("a system call that a signal interrupts", function()
    local script = [[
        local net = require "neap.net"
        local listener = neap.must(net.listen("127.0.0.1", 0))
        local block = ("0123456789abcdef"):rep(20000)
        listener:start(function(stream) stream:write(stream:read(#block)) end)
        local stream = neap.must(net.connect("127.0.0.1", listener.port))
        stream:write({ "", block:sub(1, 100000), { block:sub(100001) } })
        print(stream:read("a") == block)

        local a, b = net.pair()
        local c, d = net.pair()
        local relay = spawn(net.relay, b, c)
        a:write(block)
        a:shutdown()
        d:shutdown()
        print(d:read("a") == block, select(2, relay:join()) == #block)

        local one, two = neap.must(net.udp("127.0.0.1", 0)), neap.must(net.udp("127.0.0.1", 0))
        one:connect("127.0.0.1", two.port)
        for i = 1, 10 do one:send(tostring(i)) end
        for i = 1, 10 do assert(two:receive(5) == tostring(i)) end

        local read = io.popen("sleep 0.05; echo popen")
        print(read:read("a"))
        listener:shutdown()
        print(neap.wait_fd(a.fd, "w"))
    ]]
    for _, names in ipairs { { "recvfrom", "sendto", "recvmsg", "sendmsg" },
        { "accept4", "connect" }, { "splice", "epoll_wait", "poll" } } do
        traced("is made again: " .. table.concat(names, ", "), function()
            local injections = {}
            for i, name in ipairs(names) do
                injections[i] = name .. ":error=EINTR:when=1+2"
            end
            local status, out, err = injected(injections, script)
            assert.same({ 0, "true\ntrue\ttrue\npopen\n\ntrue\n", "" }, { status, out, err })
        end)
    end
end)

describe("epoll that has no room for a watch", function()
    traced("is an error of who waits, at once", function()
        local status, out, err = injected({ "epoll_ctl:error=ENOSPC:when=2+" }, [[
            local net = require "neap.net"
            local listener = neap.must(net.listen("127.0.0.1", 0))
            local udp = neap.must(net.udp("127.0.0.1", 0))
            local a, b = net.pair()
            local c, d = net.pair()
            local e, f = net.pair()
            print(a:read())
            print(c:write(("x"):rep(4000000)))
            print(net.connect("127.0.0.1", listener.port))
            print(udp:receive())
            print(select(2, neap.select { e }) == e, e:read())
            print(neap.wait_fd(f.fd, "r"))
        ]])
        out = out:gsub("127.0.0.1:%d+", "PORT")
        assert.same({ 0, [[
nil	read: Input/output error	EIO
nil	write: Input/output error	EIO
nil	connect PORT: Input/output error	EIO
nil	receive: Input/output error	EIO
true	nil	read: Input/output error	EIO
nil	wait_fd: Bad file descriptor	EBADF
]], "" }, { status, out, err })
    end)

    traced("has a listener ask again, without a spin", function()
        local status, out, err = injected({ "epoll_ctl:error=ENOSPC:when=2" }, [[
            local net = require "neap.net"
            local listener = neap.must(net.listen("127.0.0.1", 0))
            local acceptor = spawn(function() return neap.must(listener:accept()):read() end)
            schedule()
            local stream = neap.must(net.connect("127.0.0.1", listener.port))
            stream:write("taken\n")
            print(select(2, acceptor:join()))
        ]])
        assert.same({ 0, "taken\n" }, { status, out })
        assert.matches("accept: No space left on device", err)
    end)
end)

describe("a peer that is gone without a word", function()
    local test = can_unshare and it or pending
    test("is found out by keepalive, by a timeout, and by what it does not take", function()
        local path = child.file [[
            local net = require "neap.net"
            local listener = neap.must(net.listen("127.0.0.1", 0))
            local clients, servers = {}, {}
            for i = 1, 3 do
                clients[i] = neap.must(net.connect("127.0.0.1", listener.port))
                servers[i] = neap.must(listener:accept())
            end
            servers[1]:setoption("keepalive", 2)
            servers[3]:setoption("keepalive", 2)
            os.execute "ip link set lo down"
            servers[2]:settimeout(0.1)
            print(servers[2]:read())
            servers[3]:write("x")
            local other = spawn(function() return servers[3]:read() end)
            print(servers[1]:read())
            print(select(2, other:join()))
            os.exit(0) -- what closes leave behind would wait for it, too
        ]]
        local status, out, err = child.shell(
            'unshare -rn sh -c \'ip link set lo up && exec timeout 100 "$0" "$1"\' "$NEAP" '
            .. path)
        os.remove(path)
        assert.same({ 0, "" }, { status, err })
        local gone = "nil\tread: [%a ]+\tE%u+\n"
        assert.matches("^nil\ttimeout\tETIMEDOUT\n" .. gone .. gone .. "$", out)
    end)
end)

describe("a flood of connections that close at once", function()
    it("leaves nothing, and lets an established client be served", function()
        local listener = neap.must(net.listen("127.0.0.1", 0))
        listener:start(function(stream)
            for line in stream:lines() do stream:write(line, "\n") end
        end)
        local pinger = neap.must(net.connect("127.0.0.1", listener.port))
        local flooding = 4
        for _ = 1, flooding do
            spawn(function()
                for _ = 1, 250 do neap.must(net.connect("127.0.0.1", listener.port)):close() end
                flooding = flooding - 1
            end)
        end
        local rounds = 0
        while flooding > 0 do
            pinger:write("ping\n")
            assert.equal("ping", pinger:read())
            rounds = rounds + 1
        end
        assert.is_true(rounds >= 10, rounds .. " rounds")
        pinger:close()
        assert.equal(0, listener:shutdown(10))
    end)
end)

describe("SIGPIPE", function()
    -- Whether it is blocked, ignored, caught, as /proc tells.
    local function state(text)
        local got = {}
        for _, what in ipairs { "SigBlk", "SigIgn", "SigCgt" } do
            got[what] = tonumber(text:match(what .. ":%s*(%x+)"), 16) >> 12 & 1
        end
        return got
    end

    it("is as the host has it after writes that meet it, and in children", function()
        local function own()
            local file <close> = assert(io.open "/proc/self/status")
            return state(file:read("a"))
        end
        local before = own()
        local a <close>, b = net.pair()
        b:close()
        repeat local ok, _, code = a:write("x") until not ok and code == "EPIPE"
        assert.same(before, own())
        local cat <close> = io.popen "cat /proc/self/status"
        assert.same(before, state(cat:read("a")))
    end)
end)

describe("descriptors that a peer passes", function()
    it("and nobody takes are closed", function()
        local path = os.tmpname()
        os.remove(path)
        local listener = neap.must(net.listen_unix(path))
        local peer = child.start { "build/static/support/peer", "pass", path }
        local stream <close> = neap.must(listener:accept())
        assert.equal("text", stream:read("a"))
        assert.same({ 0, "", "" }, { peer:wait() })
        listener:close()
    end)
end)

describe("a descriptor's number that is used again at once", function()
    it("brings the new owner no event of the old one", function()
        local again = 0
        for _ = 1, 50 do
            local a, b = net.pair()
            a:setoption("linger", 0) -- its descriptor is not kept to read away what comes
            local old = spawn(function() return a:read() end)
            sleep(0) -- the kernel watches it
            b:write("of the old one\n")
            local number = a.fd
            a:close()
            local c, d = net.pair()
            local new = c.fd == number and c or d
            if new.fd == number then again = again + 1 end
            local other = new == c and d or c
            local got = spawn(function() return new:read() end)
            sleep(0)
            assert.is_true(got.blocked)
            other:write("of the new one\n")
            assert.same({ true, "of the new one" }, { got:join(10) })
            assert.same({ true, nil, "closed", "ECLOSED" }, { old:join() })
            for _, stream in ipairs { b, c, d } do stream:close() end
        end
        assert.is_true(again > 0)
    end)
end)
