-- net.relay: two streams copied to each other until both have ended.

local child = require "spec.support.child"
local fill = require "spec.support.fill"
local given = require "spec.support.given"
local net = require "neap.net"
local tcp = require "spec.support.tcp"

-- Two connections in a row, with the ends in the middle to be relayed: the near client's, the
-- middle's two, the far one's. `open` gives the two ends of one.
local function chain(open)
    local near, a = open()
    local b, far = open()
    return near, a, b, far
end

local function unix() return neap.must(net.pair()) end

local function relayed(open, body)
    return given(function() return chain(open) end, body)
end

for kind, open in pairs { unix = unix, tcp = tcp } do
    describe("a relay of " .. kind .. " sockets", function()
        it("copies both ways and gives the counts", relayed(open, function(near, a, b, far)
            local t = spawn(net.relay, a, b)
            near:write("question\n")
            assert.equal("question", far:read())
            far:write("the answer\n")
            assert.equal("the answer", near:read())
            near:close()
            assert.is_nil(far:read())
            far:close()
            assert.same({ true, 9, 11 }, { t:join() })
            assert.same({ -1, -1 }, { a.fd, b.fd })
        end))

        it("passes on the end of one direction, and goes on", relayed(open,
            function(near, a, b, far)
                local t = spawn(net.relay, a, b)
                near:write("all")
                near:shutdown()
                assert.equal("all", far:read("a"))
                far:write("the rest")
                far:shutdown()
                assert.equal("the rest", near:read("a"))
                assert.same({ true, 3, 8 }, { t:join() })
            end))

        it("begins with what has been read already", relayed(open, function(near, a, b, far)
            near:write("first\nsecond\n")
            assert.equal("first", a:read())
            a:unread("zeroth\n")
            b:write("written before\n")
            local t = spawn(net.relay, a, b)
            assert.equal("written before", far:read())
            assert.equal("zeroth", far:read())
            assert.equal("second", far:read())
            near:shutdown()
            far:close()
            assert.same({ true, 14, 0 }, { t:join() })
        end))

        it("loses nothing of much to a slow reader", relayed(open, function(near, a, b, far)
            local t = spawn(net.relay, a, b)
            local block = {}
            for i = 1, 20000 do block[i] = i end
            block = table.concat(block, ",")
            spawn(function()
                for _ = 1, 20 do near:write(block) end
                near:shutdown()
            end)
            for _ = 1, 20 do
                assert.equal(block, far:read(#block))
                sleep(0.001)
            end
            assert.is_nil(far:read())
            far:shutdown()
            assert.same({ true, #block * 20, 0 }, { t:join() })
        end))

        it("fails when one end does, and closes both", relayed(open, function(near, a, b, far)
            local t = spawn(net.relay, a, b)
            schedule()
            far:close()
            near:write("x")
            sleep(0.005)
            near:write(("x"):rep(100000))
            local ok, n, err, code = t:join()
            assert.same({ true, nil }, { ok, n })
            assert.is_truthy(code == "EPIPE" or code == "ECONNRESET")
            assert.is_truthy(err:find("^relay: "))
            assert.same({ -1, -1 }, { a.fd, b.fd })
        end))

        it("ends one that is silent, both ways", relayed(open, function(near, a, b, far)
            local t = spawn(net.relay, a, b, { idle = 0.3 })
            local last, longest = neap.now(), 0
            for _ = 1, 6 do
                sleep(0.07)
                far:write("x")
                near:settimeout(1)
                near:read(1)
                longest = math.max(longest, neap.now() - last)
                last = neap.now()
            end
            assert.is_true(t.alive or longest > 0.2) -- longer than the idle time in all
            assert.same({ true, nil, "timeout", "ETIMEDOUT" }, { t:join() })
            assert.is_nil(far:read())
        end))

        it("ends when a stream is closed under it", relayed(open, function(_, a, b)
            local t = spawn(net.relay, a, b)
            schedule()
            b:close()
            assert.same({ true, nil, "closed", "ECLOSED" }, { t:join() })
            assert.equal(-1, a.fd)
            assert.same({ nil, "closed", "ECLOSED" }, { net.relay(a, b) })
        end))

        it("is killed in every way, and leaves nothing", function()
            for _, how in ipairs { false, true, { hard = true } } do
                for _, full in ipairs { false, true } do
                    local near, a, b, far = chain(open)
                    local t = spawn(net.relay, a, b)
                    if full then
                        near:settimeout(0.01)
                        repeat until not near:write(("x"):rep(65536))
                    end
                    schedule()
                    t:kill(how)
                    assert.same({ false, neap.TaskletExit }, { t:join() })
                    sleep(0)
                    assert.same({ -1, -1 }, { a.fd, b.fd })
                    near:close()
                    far:close()
                end
            end
        end)
    end)
end

describe("a relay", function()
    it("waits in turn with a writer of its target", relayed(unix, function(near, a, b, far)
        fill(b)
        local writer = spawn(b.write, b, ("w"):rep(100000))
        schedule()
        local t = spawn(net.relay, a, b)
        near:write(("r"):rep(1000))
        near:shutdown()
        local all = far:read("a")
        assert.equal(1000, select(2, all:gsub("r", "")))
        far:close()
        assert.is_true((writer:join()))
        assert.same({ true, 1000, 0 }, { t:join() })
    end))

    it("takes no signal: the other end of a socket that nobody reads", function()
        local status, out = child.run { "-e", [[
            local net = require "neap.net"
            local near, a = net.pair()
            local b, far = net.pair()
            far:close()
            near:write("x")
            print(select(3, net.relay(a, b)))
        ]] }
        assert.same({ 0, "EPIPE\n" }, { status, out })
    end)

    it("refuses what is no stream, no option, and where nothing can wait", relayed(unix,
        function(_, a, b)
            assert.has_error(function() net.relay(a) end)
            assert.has_error(function() net.relay(a, b, { colour = 1 }) end)
            assert.has_error(function() net.relay(a, b, { idle = "long" }) end)
            local ok, err = pcall(table.sort, { 1, 2 }, function() return net.relay(a, b) end)
            assert.is_false(ok)
            assert.is_truthy(err:find("cannot wait inside table.sort", 1, true))
            assert.is_truthy(a:peername())
        end))
end)
