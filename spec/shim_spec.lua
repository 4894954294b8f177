-- The kernel at its stingiest: specs of the networks pass where a read or a write on a socket
-- moves one byte and the next one none, and where every second system call is interrupted
-- (support/shim.c). SPEC_SHIM=all runs all that do.

local child = require "spec.support.child"

local files = { "protocol", "relay" }
if os.getenv("SPEC_SHIM") == "all" then
    files = { "protocol", "relay", "unix", "connect", "listener", "net", "stream", "tls",
        "tls_faults", "tls_trust", "udp", "readiness", "close_race", "conversation", "stdio" }
end

-- A script with SHIM as it says: its status, and what it prints.
local function shimmed(mode, script)
    return child.shell([[
        shim=$(mktemp) && ${CC:-cc} -O2 -shared -fPIC -o $shim spec/support/shim.c -ldl &&
        SHIM=]] .. mode .. [[ LD_PRELOAD=$shim \
            ASAN_OPTIONS=verify_asan_link_order=0:$ASAN_OPTIONS "$NEAP" - ]] ..
            child.quote(package.path) .. [[

        rm -f $shim]], script)
end

describe("with one byte a time, or interrupted", function()
    for _, mode in ipairs { "r", "w", "rw", "i" } do
        it("as SHIM=" .. mode .. " says, other specs pass", function()
            local status, out, err = child.shell([[
                shim=$(mktemp) && ${CC:-cc} -O2 -shared -fPIC -o $shim spec/support/shim.c -ldl &&
                for name in ]] .. table.concat(files, " ") .. [[; do
                    SHIM=]] .. mode .. [[ LD_PRELOAD=$shim \
                        ASAN_OPTIONS=verify_asan_link_order=0:$ASAN_OPTIONS \
                        busted --lua="$NEAP" -o plainTerminal spec/${name}_spec.lua || exit
                done; rm -f $shim
            ]])
            local _, passed = out:gsub("/ 0 failures / 0 errors", "")
            assert.same({ 0, #files }, { status, passed }, out .. err)
        end)
    end

    it("the shim does what it says", function()
        local status, out, err = shimmed("rw", [[
            local a, b = require("neap.net").pair()
            a:write("text")
            a:flush()
            for _ = 1, 4 do io.write(b:read_some(), " ") end]])
        assert.same({ 0, "t e x t ", "" }, { status, out, err })
    end)

    it("the shim takes its signal", function()
        assert.same({ 0, "taken\n", "" }, { shimmed("i", [[
            local status = io.open("/proc/self/status"):read("a")
            local caught = tonumber(status:match("SigCgt:%s*(%x+)"), 16)
            print(caught >> 38 & 1 == 1 and "taken")]]) })
    end)

    it("no signal comes of a peer who goes in the middle of a file, or of a relay", function()
        assert.same({ 0, "500000 500000\n", "" }, { shimmed("p", [[
            local net, http = require "neap.net", require "neap.http"
            local path, text = os.tmpname(), ("x"):rep(500000)
            local file = io.open(path, "w")
            file:write(text)
            file:close()
            local folder, name = path:match("^(.*)/(.*)$")
            local server = http.serve({ host = "127.0.0.1" }, http.static(folder))
            local s = net.connect("127.0.0.1", server.port)
            s:write("GET /", name, " HTTP/1.0\r\n\r\n")
            local sent = #s:read("a"):match("\r\n\r\n(.*)")
            os.remove(path)
            local near, a = net.pair()
            local b, far = net.pair()
            spawn(function() near:write(text) near:close() end)
            spawn(net.relay, a, b)
            print(sent .. " " .. #far:read("a"))
            far:close()
            server:close()]]) })
    end)

    it("bulk goes both ways at once through TLS", function()
        assert.same({ 0, "400000 400000\n", "" }, { shimmed("rw", [[
            package.path = ...
            local authority, net = require "spec.support.authority", require "neap.net"
            local ca <close> = authority.new()
            local good = ca:issue()
            local listener <close> = neap.must(net.listen("127.0.0.1", 0,
                { tls = { cert = good.cert, key = good.key } }))
            local function talk(stream)
                local writing = spawn(function()
                    for _ = 1, 4 do stream:write(("x"):rep(100000)) end
                    stream:shutdown()
                end)
                local all = neap.must(stream:read("a"))
                writing:join()
                stream:close()
                return #all
            end
            local serving = spawn(function() return talk(neap.must(listener:accept())) end)
            local here = talk(neap.must(net.connect("localhost", listener.port,
                { tls = { ca = ca.cert } })))
            print(here .. " " .. select(2, serving:join()))]]) })
    end)
end)
