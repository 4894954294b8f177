local child = require "spec.support.child"
local host = require "neap.host"
local net = require "neap.net"

local function listen(options)
    return neap.must(net.listen("127.0.0.1", 0, options))
end

local function dial(listener)
    return neap.must(net.connect("127.0.0.1", listener.port))
end

-- The start of a child script that serves: prints its port, and at a line "stop" from any
-- client ends with some figures.
local SERVER = [[
    local net = require "neap.net"
    local host = require "neap.host"
    local listener = neap.must(net.listen("127.0.0.1", 0))
    local served, at_once, most = 0, 0, 0
    local function echo(stream)
        local line = stream:read()
        if line == "stop" then return listener:close() end
        at_once = at_once + 1
        most = math.max(most, at_once)
        stream:write(line, "\n")
        stream:read()
        at_once = at_once - 1
        served = served + 1
    end
    print(listener.port)
    io.stdout:flush()
    listener:serve(echo)
    while at_once > 0 do sleep(0.01) end
    print(served, most, host.stats().resumes)
]]

local function stop(port)
    local stream <close> = neap.must(net.connect("127.0.0.1", port))
    stream:write("stop\n")
    stream:read("a")
end

describe("a listener", function()
    it("has an address, with a port of the kernel's choice for 0", function()
        local listener <close> = listen()
        assert.equal("127.0.0.1", listener.host)
        assert.is_true(listener.port > 0)
        assert.equal("listener: 127.0.0.1:" .. listener.port, tostring(listener))
        listener:close()
        assert.equal("listener: closed", tostring(listener))
        assert.has_error(function() return listener.colour end)
    end)

    it("on a port that is taken is an error with a text and a code", function()
        local listener <close> = listen()
        assert.same({ nil, ("listen 127.0.0.1:%d: Address already in use"):format(listener.port),
            "EADDRINUSE" }, { net.listen("127.0.0.1", listener.port) })
    end)

    it("has its port again at once after a close with live connections", function()
        local listener = listen()
        local client, server = dial(listener), listener:accept()
        listener:close()
        server:close()
        client:close()
        local again <close> = neap.must(net.listen("127.0.0.1", listener.port))
        assert.equal(listener.port, again.port)
    end)

    it("takes any address, and shows IPv4 clients as such", function()
        local listener <close> = neap.must(net.listen("*", 0))
        local client = dial(listener)
        local server, peer = listener:accept()
        assert.equal("127.0.0.1", peer.host)
        assert.equal("127.0.0.1", (server:sockname()))
        server:close()
        client:close()
    end)

    it("refuses what is no port or no host", function()
        assert.has_error(function() net.listen("127.0.0.1") end)
        assert.has_error(function() net.listen("127.0.0.1", -1) end)
        assert.has_error(function() net.listen("127.0.0.1", 65536) end)
        assert.has_error(function() net.listen("127.0.0.1", 0, 5) end)
        local listener, err, code = net.listen("no.such.host.at.all", 0)
        assert.is_nil(listener)
        assert.is_string(err)
        assert.is_string(code)
    end)

    it("accepts a client, with its address", function()
        local listener <close> = listen()
        local client <close> = dial(listener)
        local server, peer = listener:accept()
        local address, port = client:sockname()
        assert.same({ address, port }, { peer.host, peer.port })
        assert.equal(address .. ":" .. port, tostring(peer))
        server:close()
    end)

    it("serves its acceptors in order", function()
        local listener <close> = listen()
        local order = {}
        for i = 1, 5 do
            spawn(function()
                local stream <close> = listener:accept()
                order[#order + 1] = i
                stream:write(i)
            end)
        end
        schedule()
        for i = 1, 5 do
            local client <close> = dial(listener)
            assert.equal(tostring(i), client:read("a"))
        end
        assert.same({ 1, 2, 3, 4, 5 }, order)
    end)

    it("wakes its acceptors when it is closed, at once", function()
        local listener = listen()
        local acceptors = {}
        for i = 1, 3 do acceptors[i] = spawn(listener.accept, listener) end
        local serving = listener:start(print)
        schedule()
        listener:close()
        listener:close()
        schedule()
        for i = 1, 3 do
            assert.is_false(acceptors[i].alive)
            assert.same({ true, nil, "closed", "ECLOSED" }, { acceptors[i]:join() })
        end
        assert.is_false(serving.alive)
        assert.same({ true }, { serving:join() })
        assert.same({ nil, "closed", "ECLOSED" }, { listener:accept() })
        listener:serve(print)
    end)

    it("costs nothing while a client waits that nobody accepts", function()
        local listener <close> = listen()
        local first = dial(listener)
        local server = listener:accept()
        local acceptor = spawn(listener.accept, listener)
        schedule()
        acceptor:kill()
        local second = dial(listener)
        local before = os.clock()
        sleep(0.5)
        assert.is_true(os.clock() - before < 0.05)
        first:close()
        second:close()
        server:close()
    end)

    it("loses no client to a killed acceptor", function()
        local listener <close> = listen()
        local first = spawn(listener.accept, listener)
        local second = spawn(listener.accept, listener)
        schedule()
        spawn(function() -- in the queue before `first`, when that is woken for the client
            while first.blocked do schedule() end
            first:kill(true)
        end)
        local client <close> = dial(listener)
        local ok, server = second:join()
        assert.is_true(ok)
        server:write("hello")
        server:close()
        assert.equal("hello", client:read("a"))
    end)

    it("is collected when nobody serves it, else not", function()
        local port = listen().port
        collectgarbage()
        collectgarbage()
        assert.equal("ECONNREFUSED", select(3, net.connect("127.0.0.1", port)))

        local serving
        port, serving = (function()
            local listener = listen()
            return listener.port, listener:start(function(stream) stream:write("here") end)
        end)()
        schedule()
        collectgarbage()
        collectgarbage()
        local client <close> = neap.must(net.connect("127.0.0.1", port))
        assert.equal("here", client:read("a"))
        serving:kill()
    end)
end)

describe("a served listener", function()
    it("gives each client a tasklet, its stream and its address", function()
        local listener = listen()
        local serving = listener:start(function(stream, peer)
            stream:write(tostring(peer), "\n", stream:read(), "\n")
        end)
        local clients = {}
        for i = 1, 10 do clients[i] = dial(listener) end
        for i = 10, 1, -1 do
            local client <close> = clients[i]
            client:write("number ", i, "\n")
            local address, port = client:sockname()
            assert.equal(("%s:%d\nnumber %d\n"):format(address, port, i), client:read("a"))
        end
        listener:close()
        assert.same({ true }, { serving:join() })
    end)

    it("closes the stream when the handler returns, fails or is killed", function()
        local listener = listen()
        local reports, handlers = {}, {}
        neap.on_error(function(_, err) reports[#reports + 1] = tostring(err) end)
        local serving = listener:start(function(stream)
            handlers[#handlers + 1] = neap.getcurrent()
            local what = stream:read()
            stream:write("seen\n")
            if what == "fail" then error("on purpose") end
            if what == "wait" then stream:read() end
        end)
        for i, what in ipairs { "return", "fail", "wait" } do
            local client <close> = dial(listener)
            client:write(what, "\n")
            assert.equal("seen", client:read())
            if what == "wait" then handlers[i]:kill() end
            assert.equal("", client:read("a"))
        end
        neap.on_error(nil)
        listener:close()
        serving:join()
        assert.equal(1, #reports)
        assert.is_truthy(reports[1]:find("on purpose"))
    end)

    it("goes on for those who are connected when it is closed", function()
        local listener = listen()
        local serving = listener:start(function(stream)
            for line in stream:lines() do stream:write(line, "!\n") end
        end)
        local client <close> = dial(listener)
        client:write("a\n")
        assert.equal("a!", client:read())
        listener:close()
        serving:join()
        client:write("b\n")
        assert.equal("b!", client:read())
        assert.equal("ECONNREFUSED", select(3, net.connect("127.0.0.1", listener.port)))
    end)

    it("ends when the tasklet that serves is killed, and only then", function()
        local listener <close> = listen()
        local serving = listener:start(function(stream) stream:write("one") end)
        local client <close> = dial(listener)
        assert.equal("one", client:read("a"))
        serving:kill()
        serving = listener:start(function(stream) stream:write("two") end)
        local other <close> = dial(listener)
        assert.equal("two", other:read("a"))
        serving:kill()
    end)

    it("lets the others run between its accepts", function()
        local listener = listen()
        local clients, handled = {}, 0
        for i = 1, 200 do clients[i] = dial(listener) end
        local serving = listener:start(function() handled = handled + 1 end)
        local steps = 0
        while handled < 200 do
            local before = handled
            schedule()
            assert.is_true(handled - before <= 64)
            steps = steps + 1
            if steps > 3 then sleep(0) end
        end
        listener:close()
        serving:join()
        for _, client in ipairs(clients) do client:close() end
    end)

    it("takes only a function", function()
        local listener <close> = listen()
        assert.has_error(function() listener:serve() end)
        assert.has_error(function() listener:start("echo") end)
    end)

    it("reports an error in a handler once, with its origin, and goes on", function()
        local server = child.script([[
            local net = require "neap.net"
            local listener = neap.must(net.listen("127.0.0.1", 0))
            local function inner(what) error("cannot " .. what) end
            local function handler(stream)
                for line in stream:lines() do
                    if line == "fail" then inner("do that") end
                    if line == "stop" then return listener:close() end
                    stream:write(line, "\n")
                end
            end
            print(listener.port)
            io.stdout:flush()
            listener:serve(handler)
        ]])
        local port = tonumber(server:printed())
        local bystander <close> = neap.must(net.connect("127.0.0.1", port))
        bystander:write("a\n")
        assert.equal("a", bystander:read())
        local failing <close> = neap.must(net.connect("127.0.0.1", port))
        failing:write("fail\n")
        assert.equal("", failing:read("a"))
        bystander:write("b\n")
        assert.equal("b", bystander:read())
        bystander:write("stop\n")
        assert.equal("", bystander:read("a"))
        local status, _, err = server:wait()
        assert.equal(1, status)
        assert.equal(1, select(2, err:gsub("cannot do that", "")))
        assert.is_truthy(err:find("^neap: %(command line%):3: cannot do that\nstack traceback:"))
        assert.is_truthy(err:find("(command line):6: in", 1, true))
        assert.is_truthy(err:find("spawned at (command line):13", 1, true))
    end)

    it("has a thousand clients at once", function()
        local server = child.script(SERVER, "ulimit -n 4096")
        local port = tonumber(server:printed())
        local clients = child.peer("crowd", port, 1000)
        assert.same({ 0, "1000\n", "" }, { clients:wait() })
        stop(port)
        local status, out, err = server:wait()
        assert.equal("", err)
        assert.equal(0, status)
        assert.equal("1000\t1000", out:match("\n(%d+\t%d+)"))
    end)

    it("that runs out of descriptors waits for one: no spin, nobody lost", function()
        local server = child.script(SERVER, "ulimit -n 40")
        local port = tonumber(server:printed())
        local clients = child.peer("many", port, 150, 1500)
        server:complained("accept: Too many open files; clients wait")
        local before = server:cpu()
        sleep(1)
        assert.is_true(server:cpu() - before < 0.3)
        assert.same({ 0, "150\n", "" }, { clients:wait() })
        stop(port)
        local status, out, err = server:wait()
        assert.equal(0, status)
        local served, most, resumes = out:match("\n(%d+)\t(%d+)\t(%d+)")
        assert.equal(150, tonumber(served))
        assert.is_true(tonumber(most) < 40)
        assert.is_true(tonumber(resumes) < 5000)
        assert.is_true(select(2, err:gsub("\n", "\n")) < 8)
    end)

    it("that runs out of descriptors still serves those it has", function()
        local server = child.script(SERVER, "ulimit -n 20")
        local port = tonumber(server:printed())
        local first <close> = neap.must(net.connect("127.0.0.1", port))
        local clients = child.peer("many", port, 30, 500)
        server:complained("accept: Too many open files; clients wait")
        first:write("still served?\n")
        assert.equal("still served?", first:read())
        first:close()
        assert.same({ 0, "30\n", "" }, { clients:wait() })
        stop(port)
        assert.equal(0, (server:wait()))
    end)

    it("costs nothing while nobody says anything", function()
        local server = child.script(SERVER)
        local port = tonumber(server:printed())
        local clients = {}
        for i = 1, 10 do clients[i] = neap.must(net.connect("127.0.0.1", port)) end
        sleep(0.1)
        local before = server:cpu()
        sleep(0.5)
        assert.is_true(server:cpu() - before <= 0.02)
        for _, client in ipairs(clients) do client:close() end
        server:kill()
        assert.is_true(host.stats().tasks > 0)
    end)
end)
