-- Whom a client of TLS must not trust, and what it tells the network: certificates that only a
-- broken or a hostile authority makes, and the settings that could weaken it.

local authority = require "spec.support.authority"
local child = require "spec.support.child"
local net = require "neap.net"

local ca, good

-- A listener that shows this certificate, then those of the authorities between.
local function listen(identity, ...)
    local pem = identity.pem
    for _, between in ipairs { ... } do pem = pem .. between.pem end
    return neap.must(net.listen("127.0.0.1", 0, { tls = { cert = pem, key = identity.key } }))
end

-- "accepted", or why not, of a client that dials it by this name.
local function dialled(name, identity, ...)
    local listener <close> = listen(identity, ...)
    listener:start(function(stream) stream:tls() end)
    local stream, err, code = net.connect("127.0.0.1", listener.port,
        { tls = { ca = ca.cert, hostname = name } })
    if stream then
        stream:close()
        return "accepted"
    end
    assert.equal("ECERT", code)
    return err:match("^tls: certificate verify failed: (.*)$")
end

local function between(options)
    options.ca, options.names = true, false
    options.cn = options.cn or "between"
    return ca:issue(options)
end

describe("a client of tls", function()
    setup(function()
        ca = authority.new()
        good = ca:issue()
    end)

    teardown(function() ca:remove() end)

    it("keeps an authority to the names that it may vouch for", function()
        local function at(name, constraints)
            local middle = between { also = { "nameConstraints = critical," .. constraints } }
            return dialled(name, middle:issue(), middle)
        end
        assert.equal("accepted", at("localhost", "permitted;DNS:localhost," ..
            "permitted;IP:127.0.0.0/255.0.0.0,permitted;IP:::1/" .. ("FFFF:"):rep(7) .. "FFFF"))
        assert.equal("permitted subtree violation", at("localhost", "permitted;DNS:good.test"))
        assert.equal("excluded subtree violation", at("localhost", "excluded;DNS:localhost"))
        assert.equal("permitted subtree violation",
            at("127.0.0.1", "permitted;IP:10.0.0.0/255.0.0.0"))
    end)

    it("keeps it to the authorities that it may make", function()
        local function under(basic)
            local upper = between { basic = basic, cn = "upper" }
            local lower = upper:issue { ca = true, names = false, cn = "lower" }
            return dialled("localhost", lower:issue(), lower, upper)
        end
        assert.equal("accepted", under("critical,CA:TRUE,pathlen:1"))
        assert.equal("path length constraint exceeded", under("critical,CA:TRUE,pathlen:0"))
    end)

    it("keeps it to what its key is for", function()
        local function signed_by(...)
            local middle = between { also = { ... } }
            return dialled("localhost", middle:issue(), middle)
        end
        assert.equal("accepted", signed_by "keyUsage = critical,keyCertSign")
        assert.equal("invalid CA certificate", signed_by "keyUsage = critical,digitalSignature")
        assert.equal("unsuitable certificate purpose",
            signed_by "extendedKeyUsage = clientAuth")
    end)

    it("refuses what it does not understand, if that is critical", function()
        local unknown = "1.3.6.1.4.1.99999.1 = %sASN1:NULL"
        assert.equal("accepted",
            dialled("localhost", ca:issue { also = { unknown:format "" } }))
        assert.equal("unhandled critical extension",
            dialled("localhost", ca:issue { also = { unknown:format "critical," } }))
        local middle = between { also = { unknown:format "critical," } }
        assert.equal("unhandled critical extension",
            dialled("localhost", middle:issue(), middle))
    end)

    it("does not end a name at a zero in it", function()
        -- one subjectAltName of kind dNSName, written out
        local function named(bytes)
            local hex = bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)
            return ca:issue { names = ("DER:30%02x82%02x%s"):format(#bytes + 2, #bytes, hex) }
        end
        assert.equal("accepted", dialled("localhost", named("localhost")))
        for _, name in ipairs { "localhost\0.evil.test", "localhost\0", "\0localhost" } do
            assert.equal("hostname mismatch", dialled("localhost", named(name)))
        end
    end)

    it("needs no more of a chain than leads to whom it trusts", function()
        local middle = between {}
        local leaf = middle:issue()
        assert.equal("accepted", dialled("localhost", leaf, middle, good))
        assert.equal("accepted", dialled("localhost", leaf, ca, middle))
    end)

    it("refuses a chain that is larger than any use", function()
        local chain = {}
        for i = 1, 300 do chain[i] = ca end
        local listener <close> = listen(good, table.unpack(chain))
        local told = channel(1)
        listener:start(function(stream) told:send(select(2, stream:tls())) end)
        local stream, err, code = net.connect("localhost", listener.port,
            { tls = { ca = ca.cert } })
        assert.same({ nil, "tls: excessive message size", "EPROTO" }, { stream, err, code })
        assert.match("^tls: ", (told:receive()))
    end)

    -- The first record that a client sends: all of its hello.
    local function hello(name)
        local listener <close> = neap.must(net.listen("127.0.0.1", 0))
        local dialling = spawn(net.connect, "127.0.0.1", listener.port,
            { tls = { verify = false, hostname = name } })
        local server <close> = neap.must(listener:accept())
        local head = server:read(5)
        local text = server:read((string.unpack(">I2", head, 4)))
        dialling:kill()
        return text
    end

    it("tells a server the name that it was asked for, but no address", function()
        local sni = "\0\0" .. string.pack(">s2", string.pack(">s2", "\0" ..
            string.pack(">s2", "name.test")))
        assert.is_truthy(hello("name.test"):find(sni, 1, true))
        assert.is_truthy(hello("name.test."):find(sni, 1, true))
        for _, address in ipairs { "127.0.0.1", "::1" } do
            assert.is_nil(hello(address):find(address, 1, true))
        end
    end)

    it("offers nothing older than TLS 1.2, and no compression", function()
        local text = hello("name.test")
        assert.equal("\x03\x03", text:sub(5, 6)) -- the legacy version
        local versions = "\0\x2b\0\x05\x04\x03\x04\x03\x03" -- supported: 1.3, 1.2
        assert.is_truthy(text:find(versions, 1, true))
        local after_session = 40 + text:byte(39)
        local suites = string.unpack(">I2", text, after_session)
        assert.equal("\1\0", text:sub(after_session + 2 + suites, after_session + 3 + suites))
    end)

    describe("in its environment", function()
        local refused = "tls: certificate verify failed: unable to get local issuer certificate\n"

        local function prints(command)
            local status, out, err = child.shell(command)
            assert.same({ 0, "" }, { status, err })
            return out
        end

        -- What the program prints that dials the port, with variables before it.
        local function outside(variables, port, options)
            return prints(([[%s "$NEAP" -e '
                local stream, err = require "neap.net".connect("localhost", %d, { tls = %s })
                print(stream and stream:tls().version or err)']]):format(variables, port,
                options or "true"))
        end

        it("finds the system's trust where SSL_CERT_FILE and SSL_CERT_DIR say", function()
            local listener <close> = listen(good)
            listener:start(function(stream) stream:tls() end)
            assert.equal(refused, outside("", listener.port))
            assert.equal("TLSv1.3\n", outside("SSL_CERT_FILE=" .. ca.cert, listener.port))
            local folder = ca:path("trusted")
            assert.equal(0, (child.shell(("mkdir %s && cp %s %s && openssl rehash %s"):format(
                folder, ca.cert, folder, folder))))
            assert.equal("TLSv1.3\n", outside("SSL_CERT_DIR=" .. folder, listener.port))
        end)

        it("does not look there with -E, nor in a host that has not said so", function()
            local listener <close> = listen(good)
            listener:start(function(stream) stream:tls() end)
            child.make("build/shared/embed/trust", "parts")
            local variables = "SSL_CERT_FILE=" .. ca.cert .. " "
            local host = variables .. "build/shared/embed/trust " .. listener.port
            assert.equal(refused, prints(variables .. ([["$NEAP" -E -e 'print((select(2,
                require "neap.net".connect("localhost", %d, { tls = true }))))']]):format(
                listener.port)))
            assert.equal(refused, prints(host))
            assert.equal("TLSv1.3\n", prints(host .. " allow"))
        end)

        it("does not read openssl.cnf", function()
            local listener <close> = listen(good)
            listener:start(function(stream) stream:tls() end)
            local conf = ca:file("openssl.cnf", table.concat({ "openssl_conf = all", "[all]",
                "ssl_conf = ssl", "[ssl]", "system_default = weak", "[weak]",
                "MaxProtocol = TLSv1.2" }, "\n") .. "\n")
            assert.equal("TLSv1.3\n", outside("OPENSSL_CONF=" .. conf, listener.port,
                ("{ ca = %q }"):format(ca.cert)))
        end)
    end)
end)
