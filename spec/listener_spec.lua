-- Listeners: accept, serve, shutdown, limits, and what happens without descriptors.

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
        for i = 1, 10 do
            clients[i] = neap.must(net.connect("127.0.0.1", port))
            clients[i]:write("served\n")
            assert.equal("served", clients[i]:read())
        end
        sleep(0.1)
        local before = server:cpu()
        sleep(0.5)
        assert.is_true(server:cpu() - before <= 0.02)
        for _, client in ipairs(clients) do client:close() end
        server:kill()
        assert.is_true(host.stats().tasks > 0)
    end)
end)

-- The figures of a child's script that takes over descriptor 3.
local function adopting(body)
    return child.start { "build/static/support/peer", "listening", 0, child.neap, "-e", [[
        local net = require "neap.net"
    ]] .. body }
end

describe("a listening socket of others", function()
    it("is taken over", function()
        local server = adopting [[
            local listener = neap.must(net.listen { fd = 3, max_connections = 5 })
            print(listener.host, listener.port, listener.fd)
            io.stdout:flush()
            local stream <close> = neap.must(listener:accept())
            stream:write(stream:read():upper(), "\n")
        ]]
        local host_, port, fd = server:printed():match("(%S+)\t(%d+)\t(%d+)")
        assert.same({ "127.0.0.1", "3" }, { host_, fd })
        local stream <close> = neap.must(net.connect("127.0.0.1", tonumber(port)))
        stream:write("hello\n")
        assert.equal("HELLO", stream:read())
        assert.equal(0, (server:wait()))
    end)

    it("is refused when it does not listen, and stays open", function()
        local listener <close> = listen()
        local stream <close> = dial(listener)
        assert.same({ nil, ("listen fd %d: Invalid argument"):format(stream.fd), "EINVAL" },
            { net.listen { fd = stream.fd } })
        assert.is_truthy(stream:peername())
        assert.same({ nil, "listen fd 999: Bad file descriptor", "EBADF" },
            { net.listen { fd = 999 } })
        assert.has_error(function() net.listen {} end)
        assert.has_error(function() net.listen { fd = 3, backlog = 5 } end)
        listener:accept():close()
    end)
end)

describe("several listeners", function()
    it("share a port where all of them allow it", function()
        local one <close> = listen { reuseport = true }
        local two <close> = neap.must(net.listen("127.0.0.1", one.port, { reuseport = true }))
        assert.same({ nil, "EADDRINUSE" },
            { (net.listen("127.0.0.1", one.port)), (select(3, net.listen("127.0.0.1", one.port))) })
        local got = { 0, 0 }
        local clients = {}
        for i, listener in ipairs { one, two } do
            listener:start(function(stream)
                got[i] = got[i] + 1
                stream:read()
            end)
        end
        for i = 1, 40 do clients[i] = dial(one) end
        repeat sleep(0.002) until got[1] + got[2] == 40
        assert.is_true(got[1] > 0 and got[2] > 0)
        for _, client in ipairs(clients) do client:close() end
    end)
end)

-- A served listener whose handlers wait until `go` is set, and its clients.
local function crowd(clients, options)
    local state = { go = false, now = 0, most = 0, served = 0 }
    local listener = listen(options)
    listener:start(function(stream)
        state.now = state.now + 1
        state.most = math.max(state.most, state.now)
        while not state.go do sleep(0.001) end
        state.now = state.now - 1
        state.served = state.served + 1
        stream:write("bye\n")
    end)
    for i = 1, clients do state[i] = dial(listener) end
    return listener, state, setmetatable({}, { __close = function()
        listener:close()
        for _, client in ipairs(state) do client:close() end
    end })
end

describe("max_connections", function()
    it("bounds the handlers; more clients wait, and all are served", function()
        local _, state, tidy = crowd(10, { max_connections = 3 })
        local _ <close> = tidy
        repeat sleep(0.001) until state.now == 3
        sleep(0.01)
        assert.equal(3, state.now)
        state.go = true
        for _, client in ipairs(state) do assert.equal("bye", client:read()) end
        assert.same({ 3, 10 }, { state.most, state.served })
    end)

    it("goes on after a handler that fails or is killed, also one that never starts", function()
        local listener <close> = listen { max_connections = 1 }
        local how = { "fail", "killed", "hard", "end" }
        local got = {}
        local reported = 0
        neap.on_error(function() reported = reported + 1 end)
        listener:start(function(stream)
            local what = table.remove(how, 1)
            got[#got + 1] = what
            if what == "fail" then error(what) end
            if what == "killed" then neap.getcurrent():kill() end
            if what == "hard" then neap.getcurrent():kill { hard = true } end
            stream:write(what)
        end)
        local clients = {}
        for i = 1, 4 do
            clients[i] = dial(listener)
            clients[i]:read("a")
        end
        neap.on_error(nil)
        assert.same({ "fail", "killed", "hard", "end" }, got)
        assert.equal(1, reported)
        for _, client in ipairs(clients) do client:close() end

        -- In the turn in which it is made, the newest tasklet is the next handler.
        how = { "end" }
        local known, killed = {}, false
        for _, t in ipairs(neap.tasklets()) do known[t] = true end
        neap.set_schedule_callback(function()
            for _, t in ipairs(neap.tasklets()) do
                if not known[t] then
                    neap.set_schedule_callback(nil)
                    t:kill()
                    killed = true
                end
            end
        end)
        local client <close> = dial(listener)
        assert.equal("", client:read("a"))
        assert.is_true(killed)
        local last <close> = dial(listener)
        assert.equal("end", last:read("a"))
    end)

    it("does not hold up a close or a kill", function()
        for _, cut in ipairs {
            function(listener) listener:close() end,
            function(_, server) server:kill() end,
        } do
            local listener = listen { max_connections = 1 }
            local handler
            local server = spawn(function()
                listener:serve(function(stream)
                    handler = neap.getcurrent()
                    stream:read()
                end)
            end)
            local one, two = dial(listener), dial(listener)
            repeat sleep(0.001) until handler
            sleep(0.005)
            cut(listener, server)
            server:join()
            assert.is_true(handler.blocked)
            one:close()
            two:close()
            listener:close()
            handler:join()
        end
    end)

    it("is a number from 1 on", function()
        for _, n in ipairs { 0, -1, 1.5, "many" } do
            assert.has_error(function() listen { max_connections = n } end)
        end
    end)
end)

describe("shutdown", function()
    it("waits until the handlers are done", function()
        local listener, state, tidy = crowd(3)
        local _ <close> = tidy
        repeat sleep(0.001) until state.now == 3
        spawn(function()
            sleep(0.01)
            state.go = true
        end)
        assert.equal(0, listener:shutdown(20))
        assert.equal(3, state.served)
        assert.equal("listener: closed", tostring(listener))
        assert.equal(0, listener:shutdown())
    end)

    it("ends those that are late, also in the middle of their cleanup", function()
        local listener, state, tidy = crowd(2)
        local _ <close> = tidy
        local closed, reads = {}, false
        local late <close> = neap.must(net.listen("127.0.0.1", 0))
        late:start(function(stream)
            local _ <close> = setmetatable({}, { __close = function() closed[#closed + 1] = 1 end })
            reads = true
            pcall(stream.read, stream)
            stream:read()
        end)
        state[3] = dial(late)
        repeat sleep(0.001) until state.now == 2 and reads
        assert.equal(2, listener:shutdown(0.02))
        assert.equal(0, state.served)
        assert.equal(1, late:shutdown(0))
        assert.same({ 1 }, closed)
        for _, client in ipairs(state) do assert.is_nil(client:read()) end
    end)

    it("from inside a handler waits for the others only", function()
        local listener = listen()
        local cut
        listener:start(function(stream)
            if stream:read() == "shut" then
                cut = listener:shutdown(0.01)
                stream:write("done\n")
            else
                stream:read()
            end
        end)
        local one <close> = dial(listener)
        local two <close> = dial(listener)
        one:write("stay\n")
        two:write("shut\n")
        assert.equal("done", two:read())
        assert.equal(1, cut)
        assert.is_nil(one:read())
    end)

    it("of a listener that serves nobody is a close", function()
        local listener = listen()
        local acceptor = spawn(function() return listener:accept() end)
        schedule()
        assert.equal(0, listener:shutdown(1))
        assert.same({ true, nil, "closed", "ECLOSED" }, { acceptor:join() })
    end)

    it("may be killed while it waits", function()
        local listener, state, tidy = crowd(1)
        local _ <close> = tidy
        repeat sleep(0.001) until state.now == 1
        local t = spawn(listener.shutdown, listener)
        schedule()
        assert.equal("shutdown of a listener", t.waiting_on)
        t:kill()
        assert.is_false(t.alive)
        state.go = true
        assert.equal("bye", state[1]:read())
    end)
end)
