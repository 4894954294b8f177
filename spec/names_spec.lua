-- Names: net.resolve and net.connect against a DNS server of our own on loopback, which
-- answers well, badly, late or not at all.

local child = require "spec.support.child"
local dns = require "spec.support.dns"
local host = require "neap.host"
local net = require "neap.net"
local race = require "spec.support.race"

local armed, assert_armed = race.armed, race.assert_armed

local TEN = { A = { "10.0.0.1" } }

local function resolve(server, name, opts)
    opts = opts or {}
    opts.servers = server.servers
    return net.resolve(name, opts)
end

local function answering(names)
    return dns.start(dns.zone(names))
end

describe("resolve", function()
    it("knows addresses in figures and localhost by itself", function()
        assert.same({ "127.0.0.1", "::1" }, net.resolve("localhost"))
        assert.same({ "::1" }, net.resolve("localhost.", { family = 6 }))
        assert.same({ "192.0.2.1" }, net.resolve("192.0.2.1"))
        assert.same({ "2001:db8::1" }, net.resolve("2001:db8::1"))
        assert.same({ nil, "resolve 192.0.2.1: the name has no such address", "ENOTFOUND" },
            { net.resolve("192.0.2.1", { family = 6 }) })
    end)

    it("gives the addresses of both families, or of one", function()
        local server <close> = answering { ["a.test"] =
            { A = { "10.0.0.1", "10.0.0.2" }, AAAA = { "fd00:0:0:0:0:0:0:1" } } }
        local all = resolve(server, "a.test")
        table.sort(all)
        assert.same({ "10.0.0.1", "10.0.0.2", "fd00::1" }, all)
        local four = resolve(server, "a.test", { family = 4 })
        table.sort(four)
        assert.same({ "10.0.0.1", "10.0.0.2" }, four)
        assert.same({ "fd00::1" }, resolve(server, "a.test", { family = 6 }))
    end)

    it("asks again only when an answer is out of date", function()
        local server <close> = answering { ["long.test"] = TEN, ["never.test"] =
            { A = { "10.0.0.2" }, ttl = 0 } }
        for _ = 1, 3 do
            assert.same({ "10.0.0.1" }, resolve(server, "long.test"))
            assert.same({ "10.0.0.1" }, resolve(server, "LONG.test"))
            assert.same({ "10.0.0.2" }, resolve(server, "never.test"))
        end
        assert.equal(1, server:count("long.test", "A"))
        assert.equal(3, server:count("never.test", "A"))
        resolve(server, "long.test", { family = 4 })
        assert.equal(2, server:count("long.test", "A"))
        local other <close> = answering {}
        assert.is_nil((resolve(other, "long.test")))
    end)

    it("remembers for a while that there is no such name", function()
        local failing = false
        local names = dns.zone { ["none.test"] = {} }
        local server <close> = dns.start(function(q)
            return failing and dns.answer(q, {}, { rcode = 2 }) or names(q)
        end)
        for _ = 1, 3 do
            assert.equal("ENOTFOUND", (select(3, resolve(server, "missing.test"))))
            assert.equal("ENOTFOUND", (select(3, resolve(server, "none.test"))))
        end
        assert.equal(1, server:count("missing.test", "A"))
        assert.equal(1, server:count("none.test", "AAAA"))
        failing = true -- which says nothing about the name
        local asked = 0
        for _ = 1, 2 do
            assert.equal("ESERVFAIL", (select(3, resolve(server, "other.test"))))
            assert.is_true(server:count("other.test") > asked)
            asked = server:count("other.test")
        end
    end)

    it("forgets after 5 seconds that there is none, of each family apart", function()
        local server <close> = answering { ["none.test"] = {} }
        local function asked(family)
            resolve(server, "none.test", { family = family })
            return server:count("none.test", family == 4 and "A" or "AAAA"), neap.now()
        end
        local n, four = asked(4)
        assert.equal(1, n)
        sleep(1)
        local begun = neap.now()
        local m, six = asked(6)
        assert.equal(1, m)
        sleep(four + 5.01 - neap.now())
        assert.equal(2, (asked(4)))
        local kept, now = asked(6)
        if now < begun + 5 then assert.equal(1, kept) end
        sleep(six + 5.01 - neap.now())
        assert.equal(2, (asked(6)))
    end)

    it("follows a CNAME, and keeps the answer for the shortest time in it", function()
        local server <close> = dns.start(function(q)
            return dns.answer(q, { dns.record("CNAME", "b.test", 0),
                q.type == "A" and dns.record("A", "10.0.0.9", 60, "b.test") or nil })
        end)
        assert.same({ "10.0.0.9" }, resolve(server, "a.test"))
        assert.same({ "10.0.0.9" }, resolve(server, "a.test"))
        assert.equal(2, server:count("a.test", "A"))
    end)

    it("tells what the server says", function()
        local codes = { [0] = "ENOTFOUND", [1] = "EBADRESP", [2] = "ESERVFAIL",
            [3] = "ENOTFOUND", [4] = "ESERVFAIL", [5] = "ESERVFAIL" }
        local server <close> = dns.start(function(q)
            return dns.answer(q, {}, { rcode = tonumber(q.name:sub(1, 1)) })
        end)
        for rcode, code in pairs(codes) do
            local name = rcode .. ".test"
            local found, err, got = resolve(server, name)
            assert.is_nil(found)
            assert.equal(code, got, name)
            assert.equal("resolve " .. name .. ": ", err:sub(1, 16))
        end
        assert.equal("resolve 3.test: name not found", select(2, resolve(server, "3.test")))
    end)

    it("refuses what cannot be a name, without a question", function()
        local server <close> = answering {}
        for _, name in ipairs { "", ".", "a b", "a\0b", "127.0.0.1\0", "a/b", "a\nb", "..", "a..b",
            ".a", ("a"):rep(64), ("ab."):rep(90), "caf\xc3\xa9", "\x7f", "[::1]" } do
            local found, err, code = resolve(server, name)
            assert.is_nil(found)
            assert.equal("ENOTFOUND", code)
            assert.is_truthy(err:find("not a host name", 1, true), err)
        end
        assert.equal(0, #server.asked)
    end)

    it("raises misuse", function()
        assert.has_error(function() net.resolve() end)
        assert.has_error(function() net.resolve("a.test", 5) end)
        assert.has_error(function() net.resolve("a.test", { family = 5 }) end)
        assert.has_error(function() net.resolve("a.test", { tries = 5 }) end)
        assert.has_error(function() net.resolve("a.test", { timeout = "soon" }) end)
        assert.has_error(function() net.resolve("a.test", { servers = {} }) end)
        assert.has_error(function() net.resolve("a.test", { servers = "127.0.0.1" }) end)
        assert.has_error(function() net.resolve("a.test", { servers = { 1 } }) end)
        assert.has_error(function() net.resolve("a.test", { servers = { "nobody" } }) end)
        local ok, err = pcall(table.sort, { 1, 2, 3 }, function()
            return net.resolve("a.test", { servers = { "127.0.0.1" } })
        end)
        assert.is_false(ok)
        assert.is_truthy(err:find("cannot wait inside table.sort (a C function)", 1, true))
    end)

    it("asks once for all who want the same at the same time", function()
        local server <close> = answering { ["a.test"] = TEN }
        local tasks = {}
        for i = 1, 50 do tasks[i] = spawn(resolve, server, "a.test") end
        for _, t in ipairs(tasks) do assert.same({ true, { "10.0.0.1" } }, { t:join() }) end
        assert.equal(1, server:count("a.test", "A"))
    end)

    it("has many names at work at once", function()
        local server <close> = dns.start(function(q)
            local n = tonumber(q.name:match "^n(%d+)")
            return dns.answer(q, q.type == "A" and { dns.record("A", "10.0.0." .. n) } or {})
        end)
        local found = {}
        for i = 1, 50 do found[i] = spawn(resolve, server, ("n%d.test"):format(i)) end
        for i, t in ipairs(found) do assert.same({ true, { "10.0.0." .. i } }, { t:join() }) end
    end)

    it("ends in time, and leaves nothing of a question that nobody waits for", function()
        local server <close> = dns.start(function() end)
        local before = armed()
        assert.same({ nil, "timeout", "ETIMEDOUT" }, { resolve(server, "a.test",
            { timeout = 0.02 }) })
        assert_armed(before)
        assert.same({ nil, "timeout", "ETIMEDOUT" }, { resolve(server, "a.test",
            { timeout = 0 }) })
        assert_armed(before)
        for _, cut in ipairs {
            function(t) t:kill() end,
            function(t) t:kill { hard = true } end,
            function(t) t:throw("cut") end,
        } do
            local t = spawn(pcall, resolve, server, "b.test")
            schedule()
            assert.equal("name lookup", t.waiting_on)
            local watches = host.stats().watches
            cut(t)
            t:join()
            assert.is_true(host.stats().watches < watches) -- before any collection
            assert_armed(before)
        end
    end)

    it("ends in time when several servers are silent", function()
        local servers = {}
        local silent <close> = dns.start(function() end)
        local other <close> = dns.start(function() end)
        for i, s in ipairs { silent, other, silent } do servers[i] = s.servers[1] end
        for _, timeout in ipairs { 0, 0.05 } do
            local begun = neap.now()
            assert.same({ nil, "timeout", "ETIMEDOUT" }, { net.resolve("a.test",
                { servers = servers, timeout = timeout }) })
            assert.is_true(neap.now() - begun >= timeout)
            assert.same({ nil, "timeout", "ETIMEDOUT" }, { net.connect("a.test", 1,
                { servers = servers, timeout = timeout }) })
        end
    end)

    it("serves the others when one of those who wait is killed", function()
        local go = channel()
        local server <close> = dns.start(function(q)
            go:receive()
            return dns.answer(q, q.type == "A" and { dns.record("A", "10.0.0.7") } or {})
        end)
        local one, two = spawn(resolve, server, "a.test"), spawn(resolve, server, "a.test")
        schedule()
        one:kill()
        go:send()
        go:send()
        assert.same({ true, { "10.0.0.7" } }, { two:join() })
        assert.equal(1, server:count("a.test", "A"))
    end)

    it("goes on to the next server when one cannot be reached", function()
        local dead = neap.must(net.listen("127.0.0.1", 0))
        local port = dead.port
        dead:close()
        local server <close> = answering { ["a.test"] = TEN }
        assert.same({ "10.0.0.1" }, net.resolve("a.test",
            { servers = { "127.0.0.1:" .. port, server.servers[1] } }))
        assert.same({ nil, "resolve a.test: no name server gives an answer", "ESERVFAIL" },
            { net.resolve("a.test", { servers = { "127.0.0.1:" .. port } }) })
    end)

    describe("takes a long answer over TCP", function()
        local function truncating(tcp)
            return dns.start(function(q)
                if q.via == "udp" then return dns.answer(q, {}, { truncated = true }) end
                local records = {}
                for i = 1, q.type == "A" and 100 or 0 do
                    records[i] = dns.record("A", "10.0.1." .. i)
                end
                return tcp(dns.answer(q, records))
            end)
        end

        it("whole", function()
            local server <close> = truncating(function(message) return message end)
            assert.equal(100, #resolve(server, "a.test", { family = 4 }))
            assert.equal(100, #resolve(server, "a.test"))
        end)

        it("byte by byte", function()
            local server <close> = truncating(function(message)
                return function(stream)
                    for byte in (">s2"):pack(message):gmatch "." do
                        stream:write(byte)
                        sleep(0)
                    end
                    stream:read()
                end
            end)
            assert.equal(100, #resolve(server, "a.test", { family = 4 }))
        end)

        for what, tcp in pairs {
            ["short, then closed"] = function(message)
                return function(stream) stream:write((">s2"):pack(message):sub(1, 90)) end
            end,
            ["not at all"] = function() return function() end end,
            ["as a reset"] = function() return function(stream)
                stream:write("x")
            end end,
        } do
            it(what .. ": an error", function()
                local server <close> = truncating(tcp)
                local found, err, code = resolve(server, "a.test", { family = 4, timeout = 1 })
                assert.is_nil(found)
                assert.is_string(err)
                assert.is_string(code)
            end)
        end
    end)

    describe("is not misled by", function()
        local function right(q)
            return dns.answer(q, q.type == "A" and { dns.record("A", "10.0.0.1") } or {})
        end
        local function lie(q)
            return dns.answer(q, { dns.record("A", "6.6.6.6") })
        end

        for what, wrong in pairs {
            ["a wrong id"] = function(q) return (">I2"):pack(q.id ~ 1) .. lie(q):sub(3) end,
            ["a wrong port"] = function(q) return { lie(q) } end,
            ["a wrong address"] = function(q) return { lie(q), "127.0.0.2" } end,
            ["another question"] = function(q)
                return dns.answer(q, { dns.record("A", "6.6.6.6") },
                    { question = dns.name("evil.test") .. "\0\1\0\1" })
            end,
        } do
            it(what, function()
                local server <close> = dns.start(function(q) return { wrong(q), right(q) } end)
                assert.same({ "10.0.0.1" }, resolve(server, "a.test", { family = 4 }))
            end)
        end

        it("addresses of the other family", function()
            local server <close> = dns.start(function(q)
                return dns.answer(q, { dns.record("A", "10.0.0.1"),
                    dns.record("A", "10.0.0.2"), q.name == "both.test" and
                    dns.record("AAAA", "fd00:0:0:0:0:0:0:1") or nil })
            end)
            assert.same({ "fd00::1" }, resolve(server, "both.test", { family = 6 }))
            assert.equal("ENOTFOUND", (select(3, resolve(server, "a.test", { family = 6 }))))
            assert.equal("ENOTFOUND", (select(3, net.connect("a.test", 1,
                { family = 6, servers = server.servers }))))
        end)

        local function survives(make)
            local server <close> = dns.start(function(q) return { make(q), right(q) } end)
            local found, err, code = resolve(server, "a.test", { family = 4 })
            assert.is_true(found ~= nil or (type(err) == "string" and type(code) == "string"))
        end

        it("an empty datagram, loops, and counts that lie", function()
            survives(function() return "" end)
            survives(function(q) return dns.answer(q, { dns.record("CNAME", "a.test") }) end)
            survives(function(q)
                return dns.answer(q, { "\xc0\x0c\0\5\0\1\0\0\0\1\0\2\xc0\x20" })
            end)
            survives(function(q) return dns.answer(q, {}, { question = "\xc0\x0c\0\1\0\1" }) end)
            survives(function(q) return dns.answer(q, {}, { count = 65535 }) end)
            survives(function(q)
                return dns.answer(q, { dns.record("CNAME", ("\1\2 /%z"):rep(5)) })
            end)
        end)

        it("as many addresses as an answer holds", function()
            local server <close> = dns.start(function(q)
                if q.via == "udp" then return dns.answer(q, {}, { truncated = true }) end
                local record = dns.record("A", "10.0.0.1")
                return dns.answer(q, { record:rep(4000) }, { count = 4000 })
            end)
            assert.equal(4000, #resolve(server, "a.test", { family = 4 }))
            assert.equal("EAFNOSUPPORT", (select(3, net.connect("a.test", 1,
                { servers = server.servers, family = 4, bind = "::1" }))))
        end)

        it("an answer cut off at any byte, or changed at random", function()
            local n, seed = 0, os.time()
            math.randomseed(seed)
            local server <close> = dns.start(function(q)
                local good = right(q)
                if n < #good then return { good:sub(1, n), good } end
                local bytes = { good:byte(1, -1) }
                for _ = 1, math.random(4) do
                    bytes[math.random(3, #bytes)] = math.random(0, 255)
                end
                return { string.char(table.unpack(bytes)), good }
            end)
            for i = 0, 400 do
                n = i
                local found, err, code = resolve(server, ("n%d.test"):format(i),
                    { family = 4, timeout = 0.5 })
                assert.is_true(found ~= nil or (type(err) == "string" and type(code) == "string"),
                    "seed " .. seed)
            end
        end)
    end)
end)

describe("a thousand lookups and connections", function()
    -- By the first letter of the name.
    local answers = {
        s = function() end,
        n = function(q) return dns.answer(q, {}, { rcode = 3 }) end,
        f = function(q) return dns.answer(q, {}, { rcode = 2 }) end,
        a = function(q) return dns.answer(q, q.type == "A" and { dns.record("A", "127.0.0.1", 0),
            dns.record("A", "127.0.0.2", 0) } or {}) end,
        t = function(q) return q.via == "udp" and dns.answer(q, {}, { truncated = true })
            or function() end end,
    }

    function answers.l(q)
        spawn(function()
            sleep(0.002)
            q.reply(answers.a(q))
        end)
    end

    local function look_up(server, name)
        local opts = { servers = server.servers, timeout = math.random() / 10,
            family = ({ 4, 6 })[math.random(3)] }
        local found, err, code
        if math.random(2) == 1 then
            found, err, code = net.connect(name, 1, opts)
        else
            found, err, code = net.resolve(name, opts)
        end
        assert(found or type(err) == "string" and type(code) == "string", name)
    end

    it("end once each, though they are cut at random, also as others are answered", function()
        local seed = os.time()
        math.randomseed(seed)
        local server <close> = dns.start(function(q)
            if q.via == "tcp" then return answers.t(q) end
            return answers[q.name:sub(1, 1)](q)
        end)
        local tasks, letters, ends = {}, "snfatl", 0
        for i = 1, 1000 do
            local n = math.random(#letters)
            tasks[i] = spawn(function()
                look_up(server, ("%s%d.test"):format(letters:sub(n, n), math.random(10)))
                tasks[math.random(#tasks)]:kill()
            end)
            if math.random(3) == 1 then tasks[math.random(i)]:kill(math.random(2) == 1) end
            if math.random(4) == 1 then schedule() end
            if math.random(40) == 1 then sleep(0.003) end
        end
        for _, t in ipairs(tasks) do
            local ok, err = t:join()
            assert.is_true(ok or err == neap.TaskletExit, tostring(err) .. " seed " .. seed)
            ends = ends + 1
        end
        assert.equal(1000, ends)
    end)
end)

describe("the system's configuration", function()
    local script = [[
        local net = require "neap.net"
        local found, err = net.resolve(%q, { servers = { %q } })
        print(found and table.concat(found, " ") or err)
    ]]

    it("names a hosts file", function()
        local server <close> = answering {}
        local path = child.file("10.9.8.7 printer printer.office # here\n::5 printer\n")
        local status, out, err = child.start({ "env", "CARES_HOSTS=" .. path, child.neap, "-e",
            script:format("printer.office", server.servers[1]) }):wait()
        os.remove(path)
        assert.same({ 0, "10.9.8.7\n", "" }, { status, out, err })
        assert.equal(0, #server.asked)
    end)

    it("names domains to be searched", function()
        local server <close> = answering { ["printer.office.test"] = TEN }
        local status, out, err = child.start({ "env", "LOCALDOMAIN=home.test office.test",
            child.neap, "-e", script:format("printer", server.servers[1]) }):wait()
        assert.same({ 0, "10.0.0.1\n", "" }, { status, out, err })
        assert.is_true(server:count("printer.home.test") > 0)
    end)
end)

describe("the system's list of servers", function()
    local shim = os.tmpname()

    setup(function()
        assert.equal(0, (child.shell("${CC:-cc} -O2 -shared -fPIC -o " .. shim ..
            " spec/support/resolv.c -ldl")))
    end)

    teardown(function() os.remove(shim) end)

    -- What a program prints whose resolv.conf is at `path`, served by `server`.
    local function run(server, path, script)
        local port = server.servers[1]:match "%d+$"
        return child.start({ "env", "RESOLV_CONF=" .. path, "DNS_PORT=" .. port,
            "LD_PRELOAD=" .. shim,
            "ASAN_OPTIONS=verify_asan_link_order=0:" .. (os.getenv("ASAN_OPTIONS") or ""),
            child.neap, "-e", script }):wait()
    end

    local function found(server, path)
        local status, out, err = run(server, path, [[
            local net = require "neap.net"
            print(net.resolve("a.test", { timeout = 20 })[1])
            print(select(3, net.connect("b.test", 1)))
        ]])
        assert.same({ 0, "10.0.0.1\nENOTFOUND\n", "" }, { status, out, err })
    end

    for what, text in pairs {
        ["is there"] = "nameserver 127.0.0.1\n",
        ["is empty, or missing"] = "",
        ["begins with a NUL"] = "\0nameserver 127.0.0.1\n\0\n\0",
        ["is nonsense"] = "nameserver\nnameserver nobody\noptions\noptions ndots:" ..
            ("9"):rep(40) .. " timeout:x attempts:-1\nsearch\n" ..
            "sortlist 1/2/3 /\nlookup\n" .. ("x"):rep(100000) .. "\n\xff\n",
        ["stands beside domains that make no names"] = "search " .. ("a."):rep(5000) ..
            " a..b .\nnameserver 127.0.0.1\n",
        ["names a hundred, of which one is there"] = ("nameserver 127.0.0.9\n"):rep(99) ..
            "nameserver 127.0.0.1\n",
    } do
        it(what, function()
            local server <close> = answering { ["a.test"] = TEN }
            local path = child.file(text)
            found(server, path)
            os.remove(path)
            if text == "" then found(server, path) end
            assert.is_true(server:count("a.test") > 0)
        end)
    end

    it("may change while a program runs", function()
        local server <close> = answering { ["a.test"] = TEN }
        local path = child.file("nameserver 127.0.0.9\n")
        local status, out, err = run(server, path, ([[
            local net = require "neap.net"
            print(select(3, net.resolve("a.test")), select(3, net.connect("a.test", 1)))
            local file = io.open(%q, "w")
            file:write("nameserver 127.0.0.1\n")
            file:close()
            print(net.resolve("a.test")[1])
        ]]):format(path))
        os.remove(path)
        assert.same({ 0, "ESERVFAIL\tESERVFAIL\n10.0.0.1\n", "" }, { status, out, err })
    end)
end)

describe("a program", function()
    it("does not wait for what a daemon looks up", function()
        local server <close> = dns.start(function(q)
            if q.name == "b.test" then return dns.answer(q, { dns.record("A", "10.0.0.1") }) end
        end)
        local status, out, err = child.script(([[
            local net = require "neap.net"
            local servers = { %q }
            local t = spawn(function()
                print(net.resolve("a.test", { servers = servers, timeout = math.huge }))
            end)
            t.daemon = true
            schedule()
            print(net.resolve("b.test", { servers = servers, family = 4 })[1])
        ]]):format(server.servers[1])):wait()
        assert.same({ 0, "10.0.0.1\n", "" }, { status, out, err })
        assert.is_true(server:count("a.test", "A") > 0)
    end)

    it("without a descriptor gets a clear error, and goes on with one", function()
        local server <close> = answering { ["a.test"] = TEN }
        local status, out, err = child.script(([[
            local net = require "neap.net"
            local six = { family = 6, servers = { %q } }
            assert(net.resolve("b.test", { servers = six.servers }) == nil)
            local files = {}
            repeat
                local file = io.open("/dev/null")
                files[#files + 1] = file
            until not file
            print(net.resolve("a.test", { servers = six.servers }))
            print(net.connect("a.test", 1, six))
            files[1]:close()
            print(net.resolve("a.test", { servers = six.servers })[1])
            print(net.connect("a.test", 1, six))
        ]]):format(server.servers[1]), "ulimit -n 40"):wait()
        assert.same({ 0, "nil\tresolve a.test: Too many open files\tEMFILE\n" ..
            "nil\tconnect a.test:1: Too many open files\tEMFILE\n10.0.0.1\n" ..
            "nil\tconnect a.test:1: the name has no such address\tENOTFOUND\n", "" },
            { status, out, err })
    end)

    it("that was built without c-ares says so, and needs none for figures", function()
        local status, out, err = child.shell([[
            dir=$(mktemp -d) && cp "$NEAP" "$dir/neap" && "$dir/neap" -e '
                local net = require "neap.net"
                print(net.resolve("a.test"))
                print(net.resolve("localhost")[1], net.connect("localhost", 1))
                print(select(2, pcall(require, "neap.names")))'
            status=$?
            rm -r "$dir"
            exit $status
        ]])
        local why = "neap.names is missing: no names.so beside this neap "
            .. "(it needs libc-ares-dev when it is built)"
        local expected = "nil\tresolve a.test: %s\tENOTSUP\n127.0.0.1\tnil\t%s\tECONNREFUSED\n%s\n"
        assert.same({ 0, expected:format(why, "connect localhost:1: Connection refused", why), "" },
            { status, out, err })
    end)
end)
