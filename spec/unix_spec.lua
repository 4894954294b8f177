-- Unix sockets, and the files that they leave or find.

local child = require "spec.support.child"
local host = require "neap.host"
local lfs = require "lfs"
local net = require "neap.net"

-- A path that nothing has yet.
local function fresh()
    local path = os.tmpname()
    os.remove(path)
    return path
end

local function exists(path) return lfs.symlinkattributes(path, "mode") ~= nil end

local function permissions(path) return lfs.attributes(path, "permissions") end

-- A shell command that runs neap with this text and ends without any cleanup.
local function leave_stale(path)
    local server = child.script(([[
        local listener = neap.must(require("neap.net").listen_unix(%q))
        print("ready")
        io.stdout:flush()
        listener:accept()
    ]]):format(path))
    server:printed()
    server:kill()
    assert(exists(path))
end

local function greet(listener, path)
    local client = neap.must(net.connect_unix(path))
    local server, peer = listener:accept()
    client:write("hello\n")
    assert.equal("hello", server:read())
    server:write("welcome\n")
    assert.equal("welcome", client:read())
    client:close()
    server:close()
    return peer
end

describe("a unix socket", function()
    it("listens at a path, which goes when it closes", function()
        local path = fresh()
        local listener = neap.must(net.listen_unix(path))
        assert.equal("socket", lfs.symlinkattributes(path, "mode"))
        assert.same({ path }, { listener.path, listener.host, listener.port })
        assert.equal("listener: " .. path, tostring(listener))
        local peer = greet(listener, path)
        assert.same({ path = "" }, peer)
        assert.equal("unix", tostring(peer))
        listener:close()
        assert.is_false(exists(path))
        assert.same({ nil, "connect " .. path .. ": No such file or directory", "ENOENT" },
            { net.connect_unix(path) })
    end)

    it("listens under an abstract name, of which no file knows", function()
        local name = "@neap spec " .. fresh()
        local listener <close> = neap.must(net.listen_unix(name))
        assert.equal(name, listener.path)
        greet(listener, name)
        assert.same({ nil, "listen " .. name .. ": Address already in use", "EADDRINUSE" },
            { net.listen_unix(name) })
        listener:close()
        assert.same({ nil, "connect " .. name .. ": Connection refused", "ECONNREFUSED" },
            { net.connect_unix(name) })
    end)

    it("has names at both ends", function()
        local path, own = fresh(), "@" .. fresh()
        local listener <close> = neap.must(net.listen_unix(path))
        local client <close> = neap.must(net.connect_unix(path, { bind = own, timeout = 5 }))
        local server <close>, peer = listener:accept()
        assert.same({ { path }, { own } }, { { client:peername() }, { client:sockname() } })
        assert.same({ { own }, { path } }, { { server:peername() }, { server:sockname() } })
        assert.equal(own, tostring(peer))
    end)

    it("is served as any other", function()
        local path = fresh()
        local listener <close> = neap.must(net.listen_unix(path, { max_connections = 1 }))
        listener:start(function(stream, peer)
            stream:write(tostring(peer), " ", stream:read("a"))
        end)
        for i = 1, 3 do
            local client <close> = neap.must(net.connect_unix(path))
            client:write(i)
            client:shutdown()
            assert.equal("unix " .. i, client:read("a"))
        end
    end)

    it("takes the place of one whose owner has crashed, of nothing else", function()
        local path = fresh()
        leave_stale(path)
        local listener <close> = neap.must(net.listen_unix(path))
        greet(listener, path)
        assert.same({ nil, "EADDRINUSE" },
            { (net.listen_unix(path)), (select(3, net.listen_unix(path))) })
        greet(listener, path)
        local file = child.file("precious")
        assert.equal("EADDRINUSE", (select(3, net.listen_unix(file))))
        assert.is_true(exists(file))
        os.remove(file)
    end)

    it("does not remove what has taken its path", function()
        local path = fresh()
        local first = neap.must(net.listen_unix(path))
        os.remove(path)
        local second <close> = neap.must(net.listen_unix(path))
        first:close()
        assert.is_true(exists(path))
        greet(second, path)
    end)

    it("removes its path when it is collected, and at the end of the program", function()
        local path = fresh()
        neap.must(net.listen_unix(path))
        collectgarbage()
        collectgarbage()
        assert.is_false(exists(path))
        local script = ("L = require('neap.net').listen_unix(%q)"):format(path)
        assert.equal(0, (child.run { "-e", script }))
        assert.is_false(exists(path))
    end)

    it("has the mode it is given, whatever the umask is", function()
        local path = fresh()
        for mode, text in pairs { ["600"] = "rw-------", ["0777"] = "rwxrwxrwx",
            [416] = "rw-r-----" } do
            local listener <close> = neap.must(net.listen_unix(path, { mode = mode }))
            assert.equal(text, permissions(path))
            greet(listener, path)
        end
        for _, mode in ipairs { "rw", "", "888", "1777", -1, 512, 1.5, {} } do
            assert.has_error(function() net.listen_unix(path, { mode = mode }) end)
        end
    end)

    it("has a path of at most 107 bytes", function()
        local long = "/tmp/" .. ("x"):rep(103)
        assert.same({ nil, "listen " .. long .. ": File name too long", "ENAMETOOLONG" },
            { net.listen_unix(long) })
        assert.equal("ENAMETOOLONG", (select(3, net.connect_unix(long))))
        local path = long:sub(1, 107)
        local listener <close> = neap.must(net.listen_unix(path))
        assert.equal(path, listener.path)
        greet(listener, path)
        for _, bad in ipairs { "", "a\0b" } do
            assert.equal("EINVAL", (select(3, net.listen_unix(bad))))
            assert.equal("EINVAL", (select(3, net.connect_unix(bad))))
        end
        assert.equal("ENOENT", (select(3, net.listen_unix("/no/such/folder/s"))))
        assert.has_error(function() net.connect_unix() end)
        assert.has_error(function() net.connect_unix(path, { nodelay = true }) end)
        assert.has_error(function() net.listen_unix(path, { reuseport = true }) end)
    end)

    it("waits for room in the backlog, in time or not", function()
        local name = "@" .. fresh()
        local listener <close> = neap.must(net.listen_unix(name, { backlog = 0 }))
        local first <close> = neap.must(net.connect_unix(name))
        assert.same({ nil, "timeout", "ETIMEDOUT" },
            { net.connect_unix(name, { timeout = 0.02 }) })
        assert.same({ nil, "timeout", "ETIMEDOUT" }, { net.connect_unix(name, { timeout = 0 }) })
        local waiting = spawn(net.connect_unix, name)
        schedule()
        assert.is_true(waiting.blocked)
        listener:accept():close()
        local _, stream = waiting:join()
        listener:accept():close()
        assert.is_nil(stream:read())
        stream:close()
        first:close()
    end)

    it("leaves nothing when a wait for room is killed", function()
        local name = "@" .. fresh()
        local listener = neap.must(net.listen_unix(name, { backlog = 0 }))
        local first <close> = neap.must(net.connect_unix(name))
        for _, pending in ipairs { false, true } do
            local t = spawn(net.connect_unix, name)
            schedule()
            local timers = host.stats().timers
            t:kill(pending)
            t:join()
            assert.equal(timers - 1, host.stats().timers)
        end
        assert.is_false((pcall(table.sort, { 1, 2 }, function()
            return net.connect_unix(name)
        end)))
        first:close()
        listener:close()
    end)

    it("ends as a stream does: half, whole, under a waiting reader", function()
        local name = "@" .. fresh()
        local listener <close> = neap.must(net.listen_unix(name))
        local client = neap.must(net.connect_unix(name))
        local server = listener:accept()
        client:write("question")
        client:shutdown()
        assert.equal("question", server:read("a"))
        spawn(function()
            server:write(("answer"):rep(100000))
            server:close()
        end)
        assert.equal(600000, #client:read("a"))
        client:close()
        assert.same({ nil, "closed", "ECLOSED" }, { client:peername() })

        client = neap.must(net.connect_unix(name))
        server = listener:accept()
        local reader = spawn(client.read, client)
        schedule()
        client:close()
        assert.same({ true, nil, "closed", "ECLOSED" }, { reader:join() })
        server:close()
        assert.same({ nil, "setoption: Operation not supported", "EOPNOTSUPP" },
            { (function()
                local s <close> = neap.must(net.connect_unix(name))
                listener:accept():close()
                return s:setoption("nodelay", true)
            end)() })
    end)
end)
