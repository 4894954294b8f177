-- Connections by name: the race between the addresses, which come from a DNS server of our
-- own, family by family, in the order and at the time that the spec says.

local child = require "spec.support.child"
local dns = require "spec.support.dns"
local net = require "neap.net"
local race = require "spec.support.race"

local armed, assert_armed = race.armed, race.assert_armed
local mute, mute_and_heard = race.mute, race.mute_and_heard

local FOUR, SIX = "127.0.0.1", "0:0:0:0:0:0:0:1"

local six = net.listen("::1", 0)
local has_six = six ~= nil
if six then six:close() end

local function answering(names)
    return dns.start(dns.zone(names))
end

describe("connect by name", function()
    local both = { A = { "127.0.0.1" }, AAAA = { "0:0:0:0:0:0:0:1" } }

    it("gives a stream to what listens there", function()
        local server <close> = answering { ["a.test"] = { A = { "127.0.0.1" } } }
        local listener <close> = neap.must(net.listen("127.0.0.1", 0))
        local stream <close> = neap.must(net.connect("a.test", listener.port,
            { servers = server.servers }))
        assert.same({ "127.0.0.1", listener.port }, { stream:peername() })
    end)

    it("tries the next address at once when one fails", function()
        if not has_six then return pending "no IPv6 here" end
        local server <close> = answering { ["a.test"] = both }
        for _, address in ipairs { "127.0.0.1", "::1" } do
            local listener <close> = neap.must(net.listen(address, 0))
            local before = armed()
            local stream
            for _ = 1, 20 do -- sooner than the next address has its turn, unless all is slow
                stream = net.connect("a.test", listener.port,
                    { servers = server.servers, timeout = 0.2 })
                if stream then break end
            end
            assert_armed(before)
            local _ <close> = stream
            assert.same({ address, listener.port }, { stream:peername() })
        end
    end)

    it("tries the next address when one is silent, and closes the loser", function()
        if not has_six then return pending "no IPv6 here" end
        local server <close> = answering { ["a.test"] = both }
        for _, pair in ipairs { { "127.0.0.1", "::1" }, { "::1", "127.0.0.1" } } do
            local silent <close>, heard = mute_and_heard(pair[1], pair[2])
            local _ <close> = heard
            local before = armed()
            local stream <close> = neap.must(net.connect("a.test", silent.port,
                { servers = server.servers }))
            assert_armed(before)
            assert.same({ pair[2], silent.port }, { stream:peername() })
        end
    end)

    it("fails with the name and what the address says", function()
        local server <close> = answering { ["a.test"] = both }
        local free <close> = neap.must(net.listen("127.0.0.1", 0))
        local port = free.port
        free:close()
        assert.same({ nil, ("connect a.test:%d: Connection refused"):format(port),
            "ECONNREFUSED" }, { net.connect("a.test", port, { servers = server.servers }) })
        assert.same({ nil, ("connect b.test:%d: name not found"):format(port), "ENOTFOUND" },
            { net.connect("b.test", port, { servers = server.servers }) })
        assert.same({ nil, ("connect a.test:%d: Connection refused"):format(port),
            "ECONNREFUSED" }, { net.connect("a.test", port, { servers = server.servers,
                bind = "127.0.0.1" }) })
    end)

    it("ends in time, wherever it is", function()
        local server <close> = answering { ["a.test"] = { A = { "127.0.0.1" } } }
        local nobody <close> = dns.start(function() end)
        local silent <close> = mute("127.0.0.1")
        local before = armed()
        for _, s in ipairs { server, nobody } do
            assert.same({ nil, "timeout", "ETIMEDOUT" }, { net.connect("a.test", silent.port,
                { servers = s.servers, timeout = 0.05 }) })
            assert_armed(before)
        end
    end)

    it("leaves nothing when it is cut short, wherever it is", function()
        local names = { ["a.test"] = has_six and both or { A = { "127.0.0.1" } } }
        local server <close> = answering(names)
        local nobody <close> = dns.start(function() end)
        local silent <close> = mute("127.0.0.1")
        for _, s in ipairs { server, nobody } do
            net.resolve("a.test", { servers = server.servers })
            for _, cut in ipairs {
                function(t) t:kill() end,
                function(t) t:kill(true) end,
                function(t) t:kill { hard = true } end,
                function(t) t:throw(neap.TaskletExit) end,
            } do
                local before = armed()
                local t = spawn(net.connect, "a.test", silent.port, { servers = s.servers })
                schedule()
                assert.is_true(t.blocked)
                assert.equal(s == server and "connect" or "name lookup", t.waiting_on)
                cut(t)
                t:join()
                assert_armed(before)
            end
        end
    end)
end)

-- Less than the 5 seconds after which a name server that is silent is given up, and more than
-- anything here takes.
local SOON = 4

describe("connect by name, family by family,", function()
    if not has_six then return pending "no IPv6 here" end

    -- A server that is told what to answer, and a listener at each address.
    local scene = {}
    scene.__index = scene

    function scene:connect(port, opts)
        opts = opts or {}
        opts.servers, opts.timeout = self.server.servers, opts.timeout or SOON
        return spawn(net.connect, "a.test", port or self.port, opts)
    end

    local function await(t, what)
        while t.waiting_on ~= what do
            assert.is_true(t.alive)
            sleep(0.001)
        end
    end

    function scene:say(type, address, opts)
        local q = self.server:question("a.test", type)
        q.reply(dns.answer(q, address and { dns.record(type, address) } or {}, opts))
    end

    -- The connection that the tasklet has made, is to that address.
    function scene.assert_at(_, address, t)
        local _, stream, err = t:join()
        local closing <close> = neap.must(stream, err)
        assert.equal(address, (closing:peername()))
    end

    function scene:answer(f)
        self.server:close() -- with its answers, which would be remembered
        self.server = dns.start(f or function() end)
    end

    function scene:close()
        self.server:close()
        self.four:close()
        self.six:close()
    end

    scene.__close = scene.close

    local function set()
        local four, sixth = race.both("127.0.0.1", "::1")
        return setmetatable({ server = dns.start(function() end), four = four, six = sixth,
            port = four.port }, scene)
    end

    it("does not wait for a server that is silent about IPv4", function()
        local s <close> = set()
        local t = s:connect()
        s:say("AAAA", SIX)
        s:assert_at("::1", t)
    end)

    it("does not wait for a server that is silent about IPv6", function()
        local s <close> = set()
        local t = s:connect()
        s:say("A", FOUR)
        s:assert_at("127.0.0.1", t)
    end)

    for what, opts in pairs {
        ["has none"] = {}, ["does not exist"] = { rcode = 3 }, ["fails"] = { rcode = 2 },
        ["is refused"] = { rcode = 5 },
    } do
        it("does with one family what it can when the other " .. what, function()
            local s <close> = set()
            for _, other in ipairs { "AAAA", "A" } do
                s:answer(function(q)
                    return q.type == other and dns.answer(q, {}, opts) or
                        dns.answer(q, { dns.record(q.type, other == "A" and SIX or FOUR) })
                end)
                s:assert_at(other == "A" and "::1" or "127.0.0.1", s:connect())
            end
        end)
    end

    it("prefers IPv6 that is told of a moment later", function()
        local s <close> = set()
        local found
        for _ = 1, 20 do -- a moment, unless all is slow
            s.server.answer = function(q)
                if q.type == "AAAA" then return nil end
                local sixth = s.server:question("a.test", "AAAA")
                s.server.asked = {}
                return { dns.answer(q, { dns.record("A", FOUR, 0) }),
                    dns.answer(sixth, { dns.record("AAAA", SIX, 0) }) }
            end
            local stream <close> = neap.must(net.connect("a.test", s.port,
                { servers = s.server.servers }))
            found = stream:peername()
            if found == "::1" then break end
        end
        assert.equal("::1", found)
    end)

    it("prefers IPv4 to local addresses of IPv6, as RFC 6724 does", function()
        local s <close> = set()
        local file <close> = assert(io.open("/proc/net/if_inet6"))
        local figures = file:read("a"):match "f[cd]%x+"
        if not figures or #figures ~= 32 then return end -- there is none here
        local address = figures:gsub("%x%x%x%x", "%0:", 7)
        local four <close>, sixth = race.both("127.0.0.1", address)
        local _ <close> = sixth
        s:answer(function(q)
            return dns.answer(q, { dns.record(q.type, q.type == "A" and FOUR or address) })
        end)
        for family = 4, 6, 2 do -- so that both are known
            neap.must(net.resolve("a.test.", { family = family, servers = s.server.servers }))
        end
        s:assert_at("127.0.0.1", s:connect(four.port))
    end)

    it("takes in what comes when the other family is being tried", function()
        local s <close> = set()
        local silent <close>, heard = mute_and_heard("127.0.0.1", "::1")
        local _ <close> = heard
        local before = armed()
        local t = s:connect(silent.port)
        s:say("A", FOUR)
        await(t, "connect")
        s:say("AAAA", SIX)
        s:assert_at("::1", t)
        assert_armed(before)
    end)

    it("and the other way round", function()
        local s <close> = set()
        local silent <close>, heard = mute_and_heard("::1", "127.0.0.1")
        local _ <close> = heard
        local t = s:connect(silent.port)
        s:say("AAAA", SIX)
        await(t, "connect")
        s:say("A", FOUR)
        s:assert_at("127.0.0.1", t)
    end)

    it("takes in what comes when the other family has failed", function()
        local s <close> = set()
        s.four:close()
        local t = s:connect()
        s:say("A", FOUR)
        await(t, "connect")
        sleep(0.02)
        assert.is_true(t.blocked)
        s:say("AAAA", SIX)
        s:assert_at("::1", t)
    end)

    it("fails with what an address says when that is all there is", function()
        local s <close> = set()
        s.four:close()
        s.six:close()
        local t = s:connect()
        s:say("A", FOUR)
        await(t, "connect")
        s:say("AAAA")
        assert.same({ true, nil, ("connect a.test:%d: Connection refused"):format(s.port),
            "ECONNREFUSED" }, { t:join() })
    end)

    it("asks for the one family that is wanted", function()
        local s <close> = set()
        for family, type in pairs { [4] = "A", [6] = "AAAA" } do
            local t = s:connect(nil, { family = family })
            s:say(type, family == 4 and FOUR or SIX)
            s:assert_at(family == 4 and "127.0.0.1" or "::1", t)
        end
        assert.equal(2, #s.server.asked)
    end)

    it("remembers for each family what was said of it", function()
        local s <close> = set()
        s.server.answer = function(q)
            return dns.answer(q, q.type == "A" and { dns.record("A", FOUR, 0) } or {})
        end
        for _ = 1, 3 do s:assert_at("127.0.0.1", s:connect()) end
        assert.equal(3, s.server:count("a.test", "A"))
        assert.equal(1, s.server:count("a.test", "AAAA"))
        assert.same({ "127.0.0.1" }, net.resolve("a.test", { servers = s.server.servers }))
    end)

    it("asks once for all who connect at the same time", function()
        local s <close> = set()
        local tasks = {}
        for i = 1, 20 do tasks[i] = s:connect() end
        s:say("AAAA", SIX)
        for _, t in ipairs(tasks) do s:assert_at("::1", t) end
        assert.equal(1, s.server:count("a.test", "AAAA"))
    end)

    it("says what it waits for, and leaves nothing when it is cut short there", function()
        local s <close> = set()
        local silent <close> = mute("127.0.0.1")
        local phases = {
            { "name lookup" },
            { "name lookup", function() s:say("AAAA") sleep(0.01) end },
            { "name lookup", function() s:say("A", FOUR) end },
            { "connect", function() s:say("A", FOUR) end },
        }
        for _, phase in ipairs(phases) do
            for _, cut in ipairs {
                function(t) t:kill() end,
                function(t) t:kill(true) end,
                function(t) t:kill { hard = true } end,
                function(t) t:throw(neap.TaskletExit) end,
            } do
                s:answer()
                local before = armed()
                local t = s:connect(silent.port)
                s.server:question("a.test", "A")
                if phase[2] then phase[2]() end
                await(t, phase[1])
                cut(t)
                t:join()
                assert_armed(before)
            end
        end
    end)

    it("ends in time, whatever has come", function()
        local s <close> = set()
        local silent <close> = mute("127.0.0.1")
        for _, told in ipairs { false, "A", "AAAA" } do
            s:answer(function(q)
                return q.type == told and dns.answer(q, { dns.record(told,
                    told == "A" and FOUR or "100:0:0:0:0:0:0:1") }) or nil
            end)
            local before = armed()
            assert.same({ true, nil, "timeout", "ETIMEDOUT" },
                { s:connect(silent.port, { timeout = 0.2 }):join() })
            assert_armed(before)
        end
    end)

    it("raises at servers that are none, and has nothing left of it", function()
        local before = armed()
        assert.has_error(function()
            net.connect("a.test", 1, { servers = { "nobody" } })
        end, "bad server in 'nobody'")
        for _, name in ipairs { "a b", "127.0.0.1\0", "localhost\0", "" } do
            assert.same({ nil, ("connect %s:1: not a host name"):format(name:gsub("%z.*", "")),
                "ENOTFOUND" }, { net.connect(name, 1) })
        end
        assert_armed(before)
    end)
end)

describe("the system's configuration, for a connection,", function()
    if not has_six then return pending "no IPv6 here" end

    -- What a program says that connects to the name in this environment.
    local function connected(server, name, env)
        local one <close>, two = race.both("127.0.0.1", "::1")
        local _ <close> = two
        local status, out, err = child.start { "env", env, child.neap, "-e", ([[
            local net = require "neap.net"
            local stream, err = net.connect(%q, %d, { servers = { %q }, timeout = 20 })
            print(stream and stream:peername() or err:gsub(":%%d+", ""))
        ]]):format(name, one.port, server.servers[1]) }:wait()
        assert.same({ 0, "" }, { status, err })
        return (out:match("^[^\t\n]*"))
    end

    it("names a hosts file, which counts for both families", function()
        local server <close> = answering { ["printer.office"] = { AAAA = { SIX } } }
        local path = child.file("127.0.0.1 printer.office printer\n")
        assert.equal("127.0.0.1", connected(server, "printer.office", "CARES_HOSTS=" .. path))
        assert.equal("127.0.0.1", connected(server, "PRINTER", "CARES_HOSTS=" .. path))
        assert.equal(0, #server.asked)
        os.remove(path)
    end)

    it("names domains to be searched, where both families are of one host", function()
        local server <close> = answering {
            ["printer.home.test"] = { AAAA = { SIX } },
            ["printer.office.test"] = { A = { FOUR } },
            ["scanner.office.test"] = { A = { FOUR } },
            ["printer.home"] = { A = { FOUR } },
        }
        local search = "LOCALDOMAIN=home.test office.test"
        assert.equal("::1", connected(server, "printer", search))
        assert.equal(0, server:count("printer.office.test"))
        assert.equal("127.0.0.1", connected(server, "scanner", search))
        assert.equal(2, server:count("scanner.home.test"))
        assert.equal(0, server:count("scanner"))
        assert.equal("127.0.0.1", connected(server, "printer.home", search))
        assert.equal(0, server:count("printer.home.home.test"))
        local asked = #server.asked
        assert.equal("connect scanner.: name not found", connected(server, "scanner.", search))
        assert.equal(asked + 2, #server.asked)
        assert.equal("connect fax: name not found", connected(server, "fax", search))
        assert.equal(2, server:count("fax"))
    end)

    it("is followed from inside an answer, where c-ares may answer at once", function()
        local server <close> = answering { printer = { A = { FOUR } } }
        assert.equal("127.0.0.1", connected(server, "printer",
            "LOCALDOMAIN=home.test onion office.test onion"))
        assert.equal(2, server:count("printer.office.test"))
    end)

    it("may name other names, and leaves the search to c-ares then", function()
        local server <close> = answering { ["printer.office.test"] = { A = { FOUR } } }
        local path = child.file("lp printer.office.test\n")
        assert.equal("127.0.0.1", connected(server, "lp", "HOSTALIASES=" .. path))
        os.remove(path)
    end)
end)
