local authority = require "spec.support.authority"
local child = require "spec.support.child"
local net = require "neap.net"
local tls = require "neap.tls"

local ca, good -- what most specs use

-- A listener with these TLS options, and its options beside them.
local function listen(options, others)
    others = others or {}
    others.tls = options or { cert = good.cert, key = good.key }
    return neap.must(net.listen("127.0.0.1", 0, others))
end

local function dial(port, options, host, timeout)
    options = options or { ca = ca.cert }
    return net.connect(host or "localhost", port, { tls = options, timeout = timeout })
end

-- Two ends of a connection: the client's, the server's, both with the handshake done.
local function pair(server_options, client_options)
    local listener <close> = listen(server_options)
    local client, server
    local accepting = spawn(function()
        server = neap.must(listener:accept())
        server:tls()
    end)
    client = neap.must(dial(listener.port, client_options))
    accepting:join()
    return client, server
end

local function paired(body, server_options, client_options)
    return function()
        local client, server = pair(server_options and server_options(),
            client_options and client_options())
        local _ <close> = setmetatable({}, { __close = function()
            client:close()
            server:close()
        end })
        body(client, server)
    end
end

local function echo(stream)
    while true do
        local data = stream:read_some()
        if not data or not stream:write(data) then return end
    end
end

-- What a client gets that dials a server with this certificate.
local function dialled(identity, options, host)
    local listener <close> = listen { cert = identity.cert, key = identity.key }
    listener:start(echo)
    local stream, err, code = dial(listener.port, options, host)
    if stream then stream:close() end
    return stream and "accepted" or err:match("^tls: certificate verify failed: (.*)$") or err,
        code
end

-- A plain socket to the port.
local function raw(port) return neap.must(net.connect("127.0.0.1", port)) end

-- A copy of all that goes both ways between a client and the port, so that a spec can cut it.
local function wire(port)
    local listener = neap.must(net.listen("127.0.0.1", 0))
    local self = { port = listener.port, listener = listener }
    self.copying = spawn(function()
        local a <close> = neap.must(listener:accept())
        local b <close> = raw(port)
        self.client, self.server = a, b
        local function copy(from, to)
            while true do
                local data = from:read_some()
                if not data then break end
                to:write(data)
            end
            if not self.cutting then to:shutdown() end
        end
        local back = spawn(copy, b, a)
        copy(a, b)
        back:join()
    end)
    function self.close()
        self.listener:close()
        self.copying:join()
    end
    return self
end

describe("tls", function()
    setup(function()
        ca = authority.new()
        good = ca:issue()
    end)

    teardown(function() ca:remove() end)

    describe("between two ends", function()
        it("carries text both ways in all forms of a stream", paired(function(client, server)
            client:write("one\n", { "two", "\n" }, "0123456789")
            assert.equal("one", server:read())
            assert.equal("two\n", server:read("L"))
            assert.equal("0123", server:read(4))
            assert.equal("456", server:read_until("6"))
            server:unread("x")
            assert.equal("x", server:read_some(1))
            assert.equal("789", server:read_some())
            assert.equal(server, server:write("bye\n"))
            assert.equal(server, server:flush())
            server:close()
            assert.equal("bye\n", client:read("a"))
            assert.is_nil(client:read())
        end))

        it("carries large texts that need many records, and a slow reader bounds them",
            paired(function(client, server)
                local block, n = ("0123456789abcdef"):rep(65536), 8
                local writing = spawn(function()
                    for _ = 1, n do neap.must(client:write(block)) end
                    client:shutdown()
                end)
                sleep(0.02)
                assert.is_true(writing.alive)
                local whole = server:read("a")
                assert.equal(#block * n, #whole)
                assert.is_true(whole == block:rep(n))
                assert.is_true(writing:join())
            end))

        it("goes on both ways at once", paired(function(client, server)
            local block = ("."):rep(3 * 1024 * 1024)
            spawn(echo, server)
            local writing = spawn(function() neap.must(client:write(block)) end)
            assert.equal(#block, #client:read(#block))
            writing:join()
            client:close()
        end))

        it("is relayed to a plain stream, and a plain one to it", paired(function(client, server)
            local near, far = neap.must(net.pair())
            local relaying = spawn(net.relay, server, near)
            client:write(("q"):rep(300000))
            client:shutdown()
            assert.equal(300000, #far:read("a"))
            far:write(("a"):rep(200000))
            far:close()
            assert.equal(200000, #client:read("a"))
            assert.same({ true, 300000, 200000 }, { relaying:join() })
        end))

        it("goes by callbacks", function()
            local listener <close> = listen()
            listener:protocol(function()
                return { data_received = function(self, data) self.transport:write(data) end,
                    connection_made = function(self, transport)
                        self.transport = transport
                        transport:write("hello\n")
                    end }
            end)
            local client <close> = neap.must(dial(listener.port))
            assert.equal("hello", client:read())
            client:write(("x"):rep(100000), "\n")
            client:setoption("max_line", 200000)
            assert.equal(100000, #client:read())
        end)

        it("ends one direction by shutdown: the other goes on", paired(function(client, server)
            client:write("question")
            assert.is_true(client:shutdown())
            assert.equal("question", server:read("a"))
            assert.same({ n = 1 }, table.pack(server:read()))
            server:write("answer")
            server:close()
            assert.equal("answer", client:read("a"))
            assert.same({ nil, "write: Broken pipe", "EPIPE", n = 3 },
                table.pack(client:write("more")))
        end))

        it("tells what it is", paired(function(client, server)
            local state = client:tls()
            assert.equal("TLSv1.3", state.version)
            assert.match("^TLS_", state.cipher)
            assert.is_false(state.resumed)
            assert.is_nil(state.alpn)
            assert.equal("CN=neap test", state.peer.subject)
            assert.equal("CN=neap test CA", state.peer.issuer)
            assert.same({ "localhost", "127.0.0.1", "::1" }, state.peer.names)
            assert.is_true(state.peer.not_before < os.time())
            assert.is_true(state.peer.not_after > os.time())
            assert.is_nil(server:tls().peer)
            local plain <close> = neap.must(net.listen("127.0.0.1", 0))
            local stream <close> = raw(plain.port)
            assert.is_nil(stream:tls())
        end))

        it("agrees on a protocol", paired(function(client, server)
            assert.equal("b", client:tls().alpn)
            assert.equal("b", server:tls().alpn)
        end, function() return { cert = good.cert, key = good.key, alpn = { "c", "b" } } end,
        function() return { ca = ca.cert, alpn = { "a", "b" } } end))

        it("refuses to talk if there is no protocol in common", function()
            local listener <close> = listen { cert = good.cert, key = good.key, alpn = { "x" } }
            listener:start(echo)
            local stream, err, code = dial(listener.port, { ca = ca.cert, alpn = { "y" } })
            assert.is_nil(stream)
            assert.equal("tls: tlsv1 alert no application protocol", err)
            assert.equal("EPROTO", code)
        end)

        it("takes PEM text as well as paths", paired(function(client, server)
            client:write("x\n")
            assert.equal("x", server:read())
        end, function()
            return { cert = "a host\n" .. good.pem .. "its key\n" .. good.key_pem .. " \n" }
        end, function() return { ca = "an authority\n" .. ca.pem } end))

        it("may ask for more than TLS 1.2", paired(function(client)
            assert.equal("TLSv1.3", client:tls().version)
        end, function()
            return { cert = good.cert, key = good.key, min_version = "1.3" }
        end))

        it("works over unix sockets, with a name to verify", function()
            local path = ca:path("socket")
            local listener <close> = neap.must(net.listen_unix(path,
                { tls = { cert = good.cert, key = good.key } }))
            listener:start(echo)
            local client <close> = neap.must(net.connect_unix(path,
                { tls = { ca = ca.cert, hostname = "localhost" } }))
            client:write("x\n")
            assert.equal("x", client:read())
            assert.error_match(function() net.connect_unix(path, { tls = true }) end,
                "needs the option 'hostname'")
        end)
    end)

    describe("a client", function()
        local unverified = "unable to get local issuer certificate"

        local function refused(why, identity, options, host)
            assert.same({ why, "ECERT" }, { dialled(identity, options, host) })
        end

        it("accepts a good certificate, by name in any case and by address", function()
            assert.equal("accepted", (dialled(good)))
            assert.equal("accepted", (dialled(good, nil, "127.0.0.1")))
            for _, name in ipairs { "LOCALHOST", "localhost.", "::1" } do
                assert.equal("accepted", (dialled(good, { ca = ca.cert, hostname = name })))
            end
        end)

        it("refuses one that has expired, or is not yet valid", function()
            refused("certificate has expired", ca:issue { from = -3, to = -1 })
            refused("certificate is not yet valid", ca:issue { from = 1, to = 3 })
        end)

        it("refuses one of an authority that it does not know", function()
            local other <close> = authority.new("another CA")
            refused(unverified, other:issue())
            refused(unverified, good, true)
        end)

        it("refuses one that signed itself", function()
            assert.equal(0, (child.shell(("cd %s && openssl req -x509 -newkey ec " ..
                "-pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost " ..
                "-keyout own.key -out own.pem -addext subjectAltName=DNS:localhost"):format(
                ca.dir))))
            local own = { cert = ca:path("own.pem"), key = ca:path("own.key") }
            refused("self-signed certificate", own)
            assert.equal("accepted", (dialled(own, { ca = own.cert })))
        end)

        it("needs the whole chain, which a server sends", function()
            local middle = ca:issue { ca = true, cn = "middle", names = false }
            local leaf = middle:issue()
            refused(unverified, leaf)
            assert.equal("accepted", (dialled { cert = leaf.pem .. middle.pem, key = leaf.key }))
        end)

        it("refuses what a certificate that is no authority has signed", function()
            local middle = ca:issue { cn = "middle", names = false }
            middle.dir, middle.count = ca.dir, 500
            local leaf = authority.issue(middle)
            refused("invalid CA certificate", { cert = leaf.pem .. middle.pem, key = leaf.key })
        end)

        it("refuses another host's: the common name does not count", function()
            local mismatch = "hostname mismatch"
            refused(mismatch, ca:issue { names = "DNS:other.test", cn = "localhost" })
            refused(mismatch, ca:issue { names = false, cn = "localhost" })
        end)

        it("refuses another address's, and a name that looks like the address", function()
            local mismatch = "IP address mismatch"
            refused(mismatch, ca:issue { names = "IP:127.0.0.2" }, nil, "127.0.0.1")
            refused(mismatch, ca:issue { names = "DNS:127.0.0.1" }, nil, "127.0.0.1")
        end)

        it("takes a wildcard for one label", function()
            local wild = ca:issue { names = "DNS:*.example.test" }
            local function at(name) return (dialled(wild, { ca = ca.cert, hostname = name })) end
            assert.equal("accepted", at("a.example.test"))
            assert.equal("hostname mismatch", at("a.b.example.test"))
            assert.equal("hostname mismatch", at("example.test"))
            refused("hostname mismatch", ca:issue { names = "DNS:*" })
            refused("hostname mismatch", ca:issue { names = "DNS:loc*st" })
            for _, name in ipairs { "a*.example.test", "*a.example.test" } do
                refused("hostname mismatch", ca:issue { names = "DNS:" .. name },
                    { ca = ca.cert, hostname = "aa.example.test" })
            end
        end)

        it("refuses a client's certificate in a server's place", function()
            refused("unsuitable certificate purpose", ca:issue { usage = "clientAuth" })
        end)

        it("does not look if it is told not to", function()
            local wrong = ca:issue { names = "DNS:other.test", from = -3, to = -1 }
            assert.equal("accepted", (dialled(wrong, { verify = false })))
            assert.equal("accepted", (dialled(wrong, { verify = false }, "127.0.0.1")))
        end)

        it("refuses a server that speaks only TLS 1.1, 1.0 or SSL 3", function()
            local listener <close> = neap.must(net.listen("127.0.0.1", 0))
            for _, version in ipairs { "\3\2", "\3\1", "\3\0" } do
                local dialling = spawn(function() return dial(listener.port) end)
                local server <close> = neap.must(listener:accept())
                -- a ServerHello of that version, with AES128-SHA
                server:read(5)
                server:write("\x16", version, "\x00\x2a\x02\x00\x00\x26", version,
                    ("r"):rep(32), "\x00\x00\x2f\x00")
                local _, stream, err, code = dialling:join()
                assert.is_nil(stream)
                assert.equal("tls: unsupported protocol", err)
                assert.equal("EPROTO", code)
            end
        end)

        it("is told what else a server is", function()
            local listener <close> = neap.must(net.listen("127.0.0.1", 0))
            listener:start(function(stream)
                stream:read(5)
                stream:write("220 hello\r\n")
            end)
            local stream, err, code = dial(listener.port)
            assert.is_nil(stream)
            assert.equal("tls: wrong version number", err)
            assert.equal("EPROTO", code)
        end)

        it("is told of a server that leaves in the handshake", function()
            local listener <close> = neap.must(net.listen("127.0.0.1", 0))
            listener:start(function(stream) stream:read(5) end)
            local stream, err, code = dial(listener.port)
            assert.is_nil(stream)
            assert.equal("truncated", err)
            assert.equal("EPROTO", code)
        end)

        it("waits for a silent server no longer than its timeout", function()
            local listener <close> = neap.must(net.listen("127.0.0.1", 0))
            assert.same({ nil, "timeout", "ETIMEDOUT", n = 3 },
                table.pack(dial(listener.port, nil, nil, 0.05)))
            assert.same({ nil, "tls: handshake timed out", "ETIMEDOUT", n = 3 },
                table.pack(dial(listener.port, { ca = ca.cert, handshake_timeout = 0.05 })))
        end)

        it("can be killed in the handshake: its socket closes", function()
            local listener <close> = neap.must(net.listen("127.0.0.1", 0))
            local dialling = spawn(dial, listener.port)
            local server <close> = neap.must(listener:accept())
            server:read(5)
            dialling:kill()
            assert.is_string(server:read("a"))
        end)
    end)

    describe("options", function()
        local function failing(options)
            return select(2, net.listen("127.0.0.1", 0, { tls = options }))
        end

        it("say which file is missing, wrong, or not of the others", function()
            local other = ca:issue()
            local missing = ca:path("missing")
            local junk = ca:file("junk.pem", "junk\n")
            local followed = ca:file("followed.pem", good.pem .. good.key_pem .. "junk\n")
            local torn = ca:file("torn.pem", good.pem .. good.pem:sub(1, 300))
            assert.equal("tls: " .. missing .. ": No such file or directory",
                failing { cert = missing })
            assert.match("^tls: " .. junk .. ": no start line$", failing { cert = junk })
            for _, options in ipairs { { cert = torn, key = good.key },
                { cert = good.cert, key = good.key, ca = torn } } do
                assert.equal("tls: " .. torn .. ": bad end line", failing(options))
            end
            for _, options in ipairs { { cert = followed }, { cert = good.cert, key = followed },
                { cert = good.cert, key = good.key, ca = followed } } do
                assert.equal("tls: " .. followed .. ": text after the last block",
                    failing(options))
            end
            assert.equal("tls: PEM text: text after the last block",
                failing { cert = good.pem .. good.key_pem .. "\n\n." })
            assert.equal("tls: " .. ca.dir .. ": Is a directory", failing { cert = ca.dir })
            assert.equal("tls: /dev/zero: File too large", failing { cert = "/dev/zero" })
            assert.equal("tls: " .. other.key .. ": key values mismatch",
                failing { cert = good.cert, key = other.key })
            assert.match("^tls: " .. junk .. ": ", failing { cert = good.cert, key = good.key,
                ca = junk })
            local stream, err, code = dial(1, { ca = missing })
            assert.is_nil(stream)
            assert.equal("tls: " .. missing .. ": No such file or directory", err)
            assert.equal("ENOENT", code)
        end)

        it("do not ask anybody for a passphrase", function()
            assert.equal(0, (child.shell(("openssl ec -aes128 -passout pass:secret -in %s -out %s")
                :format(good.key, ca:path("locked.key")))))
            assert.match("locked.key: ", failing { cert = good.cert, key = ca:path("locked.key") })
        end)

        -- Two authorities, and the answer to a client that trusts what lies at the path.
        local function trusting(path)
            local listener <close> = listen()
            listener:start(echo)
            local stream, _, code = dial(listener.port, { ca = path })
            if stream then stream:close() end
            return stream and "accepted" or code
        end

        local function overwrite(path, text)
            local file <close> = assert(io.open(path, "r+"))
            file:write(text)
        end

        it("are read anew when a file has changed", function()
            local other <close> = authority.new("another CA")
            local path = ca:file("trust.pem", ca.pem)
            assert.equal("accepted", trusting(path))
            assert.equal("accepted", trusting(path))
            ca:file("trust.pem", other.pem)
            assert.equal("ECERT", trusting(path))
            ca:file("trust.pem", ca.pem)
            assert.equal("accepted", trusting(path))
            os.remove(path)
            assert.equal("ENOENT", trusting(path))
        end)

        -- A folder that was read when it had our authority in it, and has another's since.
        local function read_folder(name)
            local other <close> = authority.new("another CA")
            local folder = ca:path(name)
            assert.equal(0, (child.shell(([[mkdir %s && cp %s %s/a.pem &&
                openssl rehash %s && touch -d 2001-01-01 %s]]):format(
                folder, ca.cert, folder, folder, folder))))
            assert.equal("accepted", trusting(folder))
            overwrite(folder .. "/a.pem", other.pem)
            return folder
        end

        it("are kept for the next connection: a folder is looked at again when its list changes",
            function()
                local folder = read_folder("listed")
                assert.equal("accepted", trusting(folder))
                ca:file("listed/b.txt", "")
                assert.equal("ECERT", trusting(folder))
            end)

        it("are kept only so many, those that were used last", function()
            local folder = read_folder("kept")
            local function dial_others(n)
                for i = 1, n do
                    local stream, _, code = dial(1, { ca = ca.cert, alpn = { tostring(i) } })
                    assert.same({ nil, "ECONNREFUSED" }, { stream, code })
                end
            end
            dial_others(15)
            assert.equal("accepted", trusting(folder))
            dial_others(16)
            assert.equal("ECERT", trusting(folder))
        end)

        it("are each client's own, though they are kept", function()
            local listener <close> = listen { cert = good.cert, key = good.key, ca = ca.cert }
            local told = channel()
            listener:start(function(stream) told:send(stream:tls().peer.subject) end)
            for _, name in ipairs { "a", "b", "a" } do
                local own = ca:issue { cn = name }
                local client = neap.must(dial(listener.port,
                    { ca = ca.cert, cert = own.pem .. own.key_pem }))
                assert.equal("CN=" .. name, told:receive())
                client:close()
            end
        end)

        it("raise at misuse", function()
            local function raises(what, options, client)
                assert.error_match(function()
                    if client then dial(1, options) else failing(options) end
                end, what)
            end
            raises("no tls option 'certs'", { certs = "x" })
            raises("needs the option 'cert'", {})
            raises("needs the option 'cert'", true)
            raises("'tls' %(true or a table expected, got number%)", 1)
            raises("'min_version'", { cert = good.cert, min_version = "1.1" })
            raises("'alpn'", { alpn = {} }, true)
            raises("'alpn'", { alpn = { "" } }, true)
            raises("'hostname'", { hostname = "a\0b" }, true)
            raises("'session'", { session = {} }, true)
            raises("'handshake_timeout'", { handshake_timeout = "x" }, true)
            raises("'sni'", { cert = good.cert, key = good.key, sni = { a = 1 } })
            raises("no tls option 'chain'", { cert = good.cert, key = good.key,
                sni = { a = { cert = good.cert, key = good.key, chain = "x" } } })
            raises("needs 'cert'", { key = good.key }, true)
        end)
    end)

    describe("a server", function()
        it("asks for a client's certificate if it has a ca", function()
            local client, server = pair({ cert = good.cert, key = good.key, ca = ca.cert },
                { ca = ca.cert, cert = good.cert, key = good.key })
            assert.equal("CN=neap test", server:tls().peer.subject)
            client:close()
            server:close()
        end)

        it("refuses a client without one, or with a wrong one, and its tasklet hears why",
            function()
                local other = authority.new("another CA")
                local told = channel()
                local listener <close> = listen { cert = good.cert, key = good.key,
                    ca = ca.cert }
                listener:start(function(stream) told:send(select(2, stream:read())) end)
                local function try(identity)
                    local client = neap.must(dial(listener.port, { ca = ca.cert,
                        cert = identity and identity.cert, key = identity and identity.key }))
                    local why = told:receive()
                    local line, err, code = client:read()
                    client:close()
                    assert.is_nil(line)
                    assert.equal("EPROTO", code)
                    return why, err
                end
                assert.same({ "tls: peer did not return a certificate",
                    "tls: tlsv13 alert certificate required" }, { try() })
                assert.same({ "tls: certificate verify failed: " ..
                    "unable to get local issuer certificate", "tls: tlsv1 alert unknown ca" },
                    { try(other:issue()) })
                assert.same({ "tls: certificate verify failed: certificate has expired",
                    "tls: sslv3 alert certificate expired" },
                    { try(ca:issue { from = -3, to = -1 }) })
                other:remove()
            end)

        it("shows each name its certificate, and others its own", function()
            local a, wild = ca:issue { names = "DNS:a.test", cn = "a" },
                ca:issue { names = "DNS:*.b.test", cn = "b" }
            local listener <close> = listen { cert = good.cert, key = good.key, sni = {
                ["a.test"] = { cert = a.cert, key = a.key },
                ["*.b.test"] = { cert = wild.cert, key = wild.key } } }
            listener:start(echo)
            local function shown(name)
                local client <close> = neap.must(dial(listener.port,
                    { ca = ca.cert, hostname = name, verify = false }))
                return client:tls().peer.subject
            end
            assert.equal("CN=a", shown("A.test"))
            assert.equal("CN=b", shown("x.b.test"))
            assert.equal("CN=neap test", shown("b.test"))
            assert.equal("CN=neap test", shown("127.0.0.1"))
            local client <close> = neap.must(dial(listener.port,
                { ca = ca.cert, hostname = "a.test" }))
            assert.is_false(client:tls().resumed)
        end)

        it("asks for a client's certificate under each of its names", function()
            local a = ca:issue { names = "DNS:a.test", cn = "a" }
            local other <close> = authority.new("another CA")
            local told = channel()
            local listener <close> = listen { cert = good.cert, key = good.key, ca = ca.cert,
                sni = { ["a.test"] = { cert = a.cert, key = a.key } } }
            listener:start(function(stream)
                local state, err = stream:tls()
                told:send(state and state.peer.subject or err)
            end)
            local function try(identity)
                local client <close> = neap.must(dial(listener.port, { ca = ca.cert,
                    hostname = "a.test", cert = identity.cert, key = identity.key }))
                assert.equal("CN=a", client:tls().peer.subject)
                return told:receive()
            end
            assert.equal("CN=neap test", try(good))
            assert.equal("tls: certificate verify failed: unable to get local issuer certificate",
                try(other:issue()))
        end)

        it("changes its keys without a restart", function()
            local other = ca:issue { cn = "second" }
            local listener <close> = listen()
            listener:start(echo)
            local old <close> = neap.must(dial(listener.port))
            assert.equal(listener, listener:set_tls { cert = other.cert, key = other.key })
            local new <close> = neap.must(dial(listener.port))
            assert.equal("CN=second", new:tls().peer.subject)
            assert.equal("tls: " .. ca:path("missing") .. ": No such file or directory",
                select(2, listener:set_tls { cert = ca:path("missing") }))
            local newest <close> = neap.must(dial(listener.port))
            assert.equal("CN=second", newest:tls().peer.subject)
            old:write("still\n")
            assert.equal("still", old:read())
        end)

        it("is stopped by no silent client, and ends it", function()
            local ended = channel(10)
            local listener <close> = listen { cert = good.cert, key = good.key,
                handshake_timeout = 0.1 }
            local begun = 0
            listener:start(function(stream)
                begun = begun + 1
                local data, err, code = stream:read()
                if not data then ended:send(err, code) end
                stream:write(data or "", "\n")
            end)
            local silent = {}
            for i = 1, 20 do silent[i] = raw(listener.port) end
            silent[21] = raw(listener.port)
            silent[21]:write("\x16\x03\x01\x02") -- the beginning of a record
            repeat sleep(0) until begun == 21
            listener:set_tls { cert = good.cert, key = good.key } -- who comes now has time
            local client <close> = neap.must(dial(listener.port))
            client:write("hello\n")
            assert.equal("hello", client:read())
            for _ = 1, 21 do
                assert.same({ "tls: handshake timed out", "ETIMEDOUT" }, { ended:receive() })
            end
            for _, stream in ipairs(silent) do
                assert.is_nil(stream:read())
                stream:close()
            end
        end)

        it("refuses garbage, and says so", function()
            local told = channel()
            local listener <close> = listen()
            listener:start(function(stream) told:send(select(2, stream:read())) end)
            local function sent(text)
                local client <close> = raw(listener.port)
                client:write(text)
                local err = told:receive()
                client:read("a")
                return err
            end
            assert.equal("tls: http request", sent("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
            assert.equal("tls: wrong version number", sent("EHLO there\r\n"))
            assert.match("^tls: ", sent("\x80\x2e\x01\x00\x02" .. ("\0"):rep(64)))
            assert.match("^tls: ", sent("\x16\x03\x01\x45\x00" .. ("x"):rep(0x4500)))
            assert.match("^tls: ", sent("\x16\x03\x01\x00\x10" .. ("\xff"):rep(16)))
            local random = {}
            for i = 1, 50 do
                for k = 1, 200 do random[k] = string.char(math.random(0, 255)) end
                assert.match("^tls: ", sent((i % 2 == 0 and "\x16\x03\x01\x00\xc3" or "") ..
                    table.concat(random)))
            end
        end)

        it("serves many at once", function()
            local listener <close> = listen()
            listener:start(echo)
            local done = {}
            for i = 1, 50 do
                done[i] = spawn(function()
                    local client <close> = neap.must(dial(listener.port))
                    for k = 1, 5 do
                        client:write(i .. " " .. k .. "\n")
                        assert.equal(i .. " " .. k, client:read())
                    end
                    return true
                end)
            end
            for i = 1, 50 do assert.is_true(select(2, done[i]:join())) end
        end)
    end)

    describe("the end", function()
        -- A client, and the server's end of it, with a wire between them.
        local function cut(body)
            local listener <close> = listen()
            local w = wire(listener.port)
            local dialling = spawn(function() return dial(w.port) end)
            local server = neap.must(listener:accept())
            server:tls()
            local _, client = dialling:join()
            client:write("hello\n")
            assert.equal("hello", server:read())
            server:write("part of it")
            assert.equal("part", client:read(4))
            w.cutting = true
            body(client, server, w)
            client:close()
            server:close()
            w.client:close()
            w.server:close()
            w.close()
        end

        it("without a close_notify is told from a clean one", function()
            cut(function(client, server, w)
                w.client:shutdown()
                assert.equal(" of it", client:read(6))
                assert.same({ nil, "truncated", "EPROTO", n = 3 }, table.pack(client:read("a")))
                assert.same({ nil, "truncated", "EPROTO", n = 3 }, table.pack(client:read()))
                assert.same({ nil, "truncated", "EPROTO", n = 3 },
                    table.pack(client:read_some()))
                assert.error_match(function() for _ in client:lines() do end end, "truncated")
                w.server:shutdown()
                assert.same({ nil, "truncated", "EPROTO", n = 3 }, table.pack(server:read()))
            end)
        end)

        it("by a reset is that, in whatever reads", function()
            cut(function(client, _, w)
                w.client:setoption("linger", 0)
                w.client:close()
                for _, form in ipairs { "a", "l", 100 } do
                    assert.same({ nil, "read: Connection reset by peer", "ECONNRESET", n = 3 },
                        table.pack(client:read(form)))
                end
                assert.equal(" of it", client:read_some())
            end)
        end)

        it("leaves what had come before it", function()
            cut(function(client, _, w)
                w.client:shutdown()
                assert.same({ nil, "truncated", "EPROTO", n = 3 }, table.pack(client:read("a")))
                assert.equal(" of it", client:read_some())
            end)
        end)

        it("by our own close wakes who waits", paired(function(client)
            local reading = spawn(function() return client:read() end)
            schedule()
            client:close()
            assert.same({ true, nil, "closed", "ECLOSED", n = 4 }, table.pack(reading:join()))
            assert.same({ nil, "closed", "ECLOSED", n = 3 }, table.pack(client:tls()))
        end))

        it("of a tasklet in the middle of a write leaves the stream in order",
            paired(function(client, server)
                client:setoption("sndbuf", 65536) -- or the kernel may hold it all
                local block = ("x"):rep(4 * 1024 * 1024)
                local writing = spawn(function() client:write(block) end)
                schedule()
                assert.is_true(writing.alive)
                writing:kill()
                local n = 0
                spawn(function() client:write("end\n") client:close() end)
                while true do
                    local data, err = server:read_some()
                    assert.is_nil(err)
                    if not data then break end
                    n = n + #data
                    if data:find("end", 1, true) then assert.match("^x*end\n$", data) end
                end
                assert.is_true(n > 4 and n < #block)
            end))
    end)

    describe("starttls", function()
        local function plain_pair()
            local listener <close> = neap.must(net.listen("127.0.0.1", 0))
            local client = raw(listener.port)
            return client, (neap.must(listener:accept()))
        end

        local identity
        setup(function() identity = { cert = good.cert, key = good.key } end)

        it("goes on in secret, the acceptor as the server", function()
            local client, server = plain_pair()
            client:write("STARTTLS\n")
            assert.equal("STARTTLS", server:read())
            server:write("go\n")
            local serving = spawn(function() return server:starttls(identity) end)
            assert.equal("go", client:read())
            assert.equal(client, client:starttls { ca = ca.cert, hostname = "localhost" })
            assert.same({ true, server }, { serving:join() })
            client:write("secret\n")
            assert.equal("secret", server:read())
            assert.equal("TLSv1.3", client:tls().version)
            assert.error_match(function() server:starttls(identity) end, "it has TLS already")
            client:close()
            assert.is_nil(server:read())
            server:close()
        end)

        it("lets the sides be chosen", function()
            local client, server = plain_pair()
            local serving = spawn(function()
                return client:starttls { cert = good.cert, key = good.key, server = true }
            end)
            neap.must(server:starttls { ca = ca.cert, hostname = "localhost", server = false })
            assert.is_truthy(select(2, serving:join()))
            client:close()
            server:close()
        end)

        it("fails if bytes have been read in the clear", function()
            local client, server = plain_pair()
            client:write("STARTTLS\nMAIL FROM:<me>\n")
            assert.equal("STARTTLS", server:read())
            server:unread(server:read(1)) -- so that there are some, however little was read
            assert.same({ nil, "starttls: bytes have come in the clear", "EPROTO", n = 3 },
                table.pack(server:starttls(identity)))
            client:close()
            server:close()
        end)

        it("needs a name to verify, and a stream that nobody uses", function()
            local client, server = plain_pair()
            assert.error_match(function() client:starttls { ca = ca.cert } end, "'hostname'")
            local reading = spawn(function() return server:read() end)
            schedule()
            assert.same({ nil, "EBUSY" },
                { (server:starttls(identity)), select(3, server:starttls(identity)) })
            client:close()
            reading:join()
            server:close()
            assert.equal("ECLOSED", select(3, server:starttls(identity)))
        end)

        it("is nothing for a stream that has ended on either side, or is broken", function()
            local function refused(code, before)
                local client, server = plain_pair()
                before(client, server)
                local got, err, why = server:starttls(identity)
                assert.same({ nil, code }, { got, why }, err)
                client:close()
                server:close()
            end
            refused("EPIPE", function(_, server) server:shutdown() end)
            refused("EPIPE", function(client, server)
                client:shutdown()
                assert.is_nil(server:read())
            end)
            refused("ECONNRESET", function(client, server)
                client:setoption("linger", 0)
                client:close()
                assert.equal("ECONNRESET", select(3, server:read()))
            end)
        end)

        it("is resumed too, for the options are kept", function()
            local session = tls.session()
            local function visit()
                local client, server = plain_pair()
                local serving = spawn(function() return server:starttls(identity) end)
                neap.must(client:starttls { ca = ca.cert, hostname = "localhost",
                    session = session })
                assert.is_true(serving:join())
                server:write("x\n")
                assert.equal("x", client:read())
                local resumed = client:tls().resumed
                client:close()
                server:close()
                return resumed
            end
            assert.same({ false, true }, { visit(), visit() })
        end)

        it("times out", function()
            local client, server = plain_pair()
            assert.same({ nil, "tls: handshake timed out", "ETIMEDOUT", n = 3 },
                table.pack(server:starttls { cert = good.cert, key = good.key,
                    handshake_timeout = 0.05 }))
            client:close()
            server:close()
        end)
    end)

    describe("a session", function()
        -- Dials, reads a line so that tickets can come; what tls() gives.
        local function visit(port, options)
            options.ca = options.ca or ca.cert
            local client <close> = neap.must(dial(port, options))
            client:write("x\n")
            assert.equal("x", client:read())
            return client:tls()
        end

        it("is resumed", function()
            local listener <close> = listen()
            listener:start(echo)
            local session = tls.session()
            assert.is_false(visit(listener.port, { session = session }).resumed)
            assert.is_true(visit(listener.port, { session = session }).resumed)
            assert.equal("CN=neap test",
                visit(listener.port, { session = session }).peer.subject)
            assert.is_false(visit(listener.port, {}).resumed)
        end)

        it("is not resumed when the authorities that it was verified by have changed", function()
            local other <close> = authority.new("another CA")
            local listener <close> = listen()
            listener:start(echo)
            local session, path = tls.session(), ca:file("trust.pem", ca.pem)
            visit(listener.port, { session = session, ca = path })
            assert.is_true(visit(listener.port, { session = session, ca = path }).resumed)
            ca:file("trust.pem", ca.pem .. other.pem)
            assert.is_false(visit(listener.port, { session = session, ca = path }).resumed)
            ca:file("trust.pem", other.pem)
            assert.equal("ECERT", select(3, dial(listener.port, { session = session, ca = path })))
        end)

        it("that was not verified is of no use where it must be", function()
            local listener <close> = listen()
            listener:start(echo)
            local session = tls.session()
            visit(listener.port, { session = session, verify = false })
            assert.is_true(visit(listener.port, { session = session, verify = false }).resumed)
            assert.is_false(visit(listener.port, { session = session }).resumed)
            assert.is_false(visit(listener.port,
                { session = session, hostname = "127.0.0.1" }).resumed)
        end)

        it("does not outlive the server's keys", function()
            local listener <close> = listen()
            listener:start(echo)
            local session = tls.session()
            visit(listener.port, { session = session })
            listener:set_tls { cert = good.cert, key = good.key }
            assert.is_false(visit(listener.port, { session = session }).resumed)
        end)
    end)

    describe("with other programs", function()
        local address = "127.0.0.1:%d"

        -- An s_server with this identity, whose end is waited for by done(): its port.
        local function s_server(identity, ...)
            local server = child.start { "openssl", "s_server", "-accept", address:format(0),
                "-naccept", "1", "-cert", identity.cert, "-key", identity.key, ... }
            return tonumber(server:printed("ACCEPT [%d.]+:(%d+)")), function() server:wait() end
        end

        -- What s_client prints, and what it complains, that sends this.
        local function s_client(port, stdin, options)
            local status, out, complained = child.shell(
                ("timeout 20 openssl s_client -CAfile %s -servername localhost -connect %s %s")
                :format(ca.cert, address:format(port), options), stdin)
            return out, complained, status
        end

        for _, version in ipairs { "tls1_2", "tls1_3" } do
            it("answers s_client by " .. version, function()
                local listener <close> = listen()
                listener:start(function(stream)
                    stream:write(stream:read("L"), stream:tls().version)
                end)
                local out, _, status = s_client(listener.port, "hello\n", "-quiet -" ..
                    version .. " -verify_return_error -verify_hostname localhost")
                assert.same({ "hello\nTLSv" .. version:match("%d.*"):gsub("_", "."), 0 },
                    { out, status })
            end)

            it("talks to s_server by " .. version, function()
                local port, done = s_server(good, "-rev", "-" .. version)
                local client <close> = neap.must(dial(port))
                client:write("hello\n")
                assert.equal("olleh", client:read())
                assert.equal("TLSv" .. version:match("%d.*"):gsub("_", "."),
                    client:tls().version)
                client:close()
                done()
            end)
        end

        local function refuses(options, why, identity)
            local told = channel()
            local listener <close> = listen(identity and
                { cert = identity.cert, key = identity.key })
            spawn(function()
                local stream <close> = neap.must(listener:accept())
                told:send(select(2, stream:read()))
            end)
            spawn(s_client, listener.port, "", options)
            assert.equal(why, told:receive())
        end

        it("refuses a client that speaks only TLS 1.1", function()
            refuses("-tls1_1 -cipher DEFAULT:@SECLEVEL=0", "tls: unsupported protocol")
        end)

        it("refuses a client that wants an exchange of keys that costs a lot", function()
            refuses("-groups ffdhe8192", "tls: no suitable key share")
        end)

        it("refuses a client that wants no forward secrecy, or an old kind of cipher", function()
            local rsa = ca:issue { newkey = "rsa:2048" }
            for _, cipher in ipairs { "AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256",
                "ECDHE-RSA-AES128-SHA256" } do
                refuses("-tls1_2 -cipher " .. cipher, "tls: no shared cipher", rsa)
            end
        end)

        it("keeps no sessions: a client without tickets has none", function()
            local listener <close> = listen()
            listener:start(function(stream) stream:write(stream:read("L")) end)
            assert.match("\n *Session%-ID: \n", (s_client(listener.port, "x\n",
                "-ign_eof -tls1_2 -no_ticket")))
        end)

        it("chooses the cipher, not s_client", function()
            local listener <close> = listen()
            listener:start(function(stream) stream:write(stream:tls().cipher) end)
            local out = s_client(listener.port, "", "-quiet -tls1_2 -cipher " ..
                "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
            assert.equal("ECDHE-ECDSA-AES256-GCM-SHA384", out)
        end)

        it("refuses weak certificates", function()
            for why, identity in pairs {
                ["EE certificate key too weak"] = ca:issue { newkey = "rsa:1024" },
                ["CA signature digest algorithm too weak"] = ca:issue { md = "sha1" },
            } do
                local port, done = s_server(identity, "-rev", "-cipher", "DEFAULT:@SECLEVEL=0")
                local stream, err, code = dial(port)
                assert.is_nil(stream)
                assert.equal("tls: certificate verify failed: " .. why, err)
                assert.equal("ECERT", code)
                done()
            end
        end)

        it("agrees with s_client on a protocol, its certificate and a session", function()
            local a = ca:issue { cn = "a" }
            local listener <close> = listen { cert = good.cert, key = good.key, ca = ca.cert,
                alpn = { "b", "a" }, sni = { ["a.test"] = { cert = a.cert, key = a.key } } }
            listener:start(function(stream)
                local state = stream:tls()
                stream:write(stream:read(), " ", state.alpn, " ", state.peer.subject, " ",
                    tostring(state.resumed), "\n")
            end)
            local own = ("-ign_eof -alpn a,b -cert %s -key %s "):format(good.cert, good.key)
            local file = ca:path("session.pem")
            local first = s_client(listener.port, "x\n", own .. "-sess_out " .. file)
            assert.match("x b CN=neap test false\n", first)
            local asked = "\nAcceptable client certificate CA names\nCN = neap test CA\n"
            assert.match(asked, first)
            assert.match(asked, (s_client(listener.port, "x\n", own .. "-servername a.test")))
            local second = s_client(listener.port, "y\n", own .. "-sess_in " .. file)
            assert.match("y b CN=neap test true\n", second)
            assert.match("\nReused, TLSv1.3", second)
        end)

        it("agrees with s_server on a protocol, its own certificate and a session", function()
            local port, done = s_server(good, "-rev", "-alpn", "b,a", "-Verify", "1",
                "-verify_return_error", "-CAfile", ca.cert, "-naccept", "2")
            local session, resumed = tls.session(), {}
            for i = 1, 2 do
                local client <close> = neap.must(dial(port, { ca = ca.cert, cert = good.cert,
                    key = good.key, alpn = { "a", "b" }, session = session }))
                client:write("hello\n")
                assert.equal("olleh", client:read())
                assert.equal("b", client:tls().alpn)
                resumed[i] = client:tls().resumed
            end
            assert.same({ false, true }, resumed)
            done()
        end)

        it("does not negotiate again", function()
            local listener <close> = listen()
            local told = channel()
            listener:start(function(stream)
                repeat local line = stream:read() until not line
                told:send(true)
            end)
            local _, complained = s_client(listener.port, "R\n", "-tls1_2")
            assert.match("no renegotiation", complained)
            assert.is_true(told:receive())
        end)

        it("refuses an s_server below its min_version, though others have dialled it", function()
            local port, done = s_server(good, "-rev", "-tls1_2", "-naccept", "2")
            neap.must(dial(port)):close()
            assert.same({ nil, "tls: tlsv1 alert protocol version", "EPROTO" },
                { dial(port, { ca = ca.cert, min_version = "1.3" }) })
            done()
        end)

        it("does not negotiate again with s_server either", function()
            local words = ca:path("words")
            assert.equal(0, (child.shell("mkfifo " .. words)))
            local server = child.start({ "openssl", "s_server", "-accept", address:format(0),
                "-cert", good.cert, "-key", good.key, "-tls1_2" }, "exec <" .. words)
            local typed <close> = assert(io.open(words, "w"))
            local port = server:printed("ACCEPT [%d.]+:(%d+)")
            local client <close> = neap.must(dial(tonumber(port)))
            local function type_in(line) assert(typed:write(line, "\n"):flush()) end
            type_in("text")
            assert.equal("text", client:read())
            type_in("r")
            assert.same({ nil, "tls: sslv3 alert handshake failure", "EPROTO" },
                { client:read() })
            server:kill()
        end)

        it("serves curl, and asks it for its certificate", function()
            local listener <close> = listen()
            listener:start(function(stream)
                repeat local line = stream:read() until line == "\r" or not line
                stream:write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", ("x"):rep(200000))
            end)
            local function curl(options)
                local status, out = child.shell(([[curl -sS --noproxy '*' --cacert %s %s \
                    https://localhost:%d/ >%s/body && wc -c <%s/body]]):format(ca.cert, options,
                    listener.port, ca.dir, ca.dir))
                return status == 0, out
            end
            assert.same({ true, "200000\n" }, { curl "" })
            listener:set_tls { cert = good.cert, key = good.key, ca = ca.cert }
            assert.same({ false, "" }, { curl "" })
            assert.same({ true, "200000\n" },
                { curl(("--cert %s --key %s"):format(good.cert, good.key)) })
        end)
    end)

    it("is loaded only when it is used", function()
        local function mapped(script)
            local _, out = child.run { "-e", script ..
                " for line in io.lines '/proc/self/maps' do" ..
                " if line:find('libssl', 1, true) then print('yes') break end end" }
            return out
        end
        assert.equal("", mapped "require 'neap.net'")
        assert.equal("yes\n", mapped "require 'neap.tls'")
    end)
end)
