-- Out of descriptors, in every call that takes one: RELIABILITY.md section 5, row 3. An error that
-- says so; nothing is lost on the way, and with descriptors it works again. accept: listener_spec.

local authority = require "spec.support.authority"
local child = require "spec.support.child"

-- What the children begin with: all but so many descriptors are held, or none.
local HOLD = [[
    local net, http = require "neap.net", require "neap.http"
    local held = {}
    local function release()
        for _, file in ipairs(held) do file:close() end
        held = {}
    end
    local function hold_all_but(n)
        for _ = 1, 3 do collectgarbage() end
        repeat
            local file = io.open "/dev/null"
            held[#held + 1] = file
        until not file
        for _ = 1, n do table.remove(held):close() end
        return #held
    end
    local listener = neap.must(net.listen("127.0.0.1", 0))
    local port = listener.port
    listener:start(function(stream) stream:read("a") end)
]]

local function limited(script, ...)
    local path = child.file(HOLD .. script)
    local words = { child.quote(path) }
    for i, word in ipairs { ... } do words[i + 1] = child.quote(word) end
    local status, out, err = child.shell('ulimit -n 80; timeout 100 "$NEAP" '
        .. table.concat(words, " "))
    os.remove(path)
    return status, out, err
end

-- One line a call: what it takes, and what comes without a descriptor. `t` gives it as text.
local CALLS = [[
    local where, cert, key = ...
    local near, far = net.pair()
    local calls = {
        { "connect", function() return net.connect("127.0.0.1", port) end },
        { "connect by name", function() return net.connect("localhost", port) end },
        { "connect in the callback style", function()
            return block_on(net.connect_protocol(function()
                return { connection_made = function(_, t) t:abort() end }
            end, "127.0.0.1", port)) and true
        end },
        { "connect_unix", function() return net.connect_unix(where) end },
        { "connect with TLS", function()
            return net.connect("localhost", port, { tls = { ca = cert }, timeout = 0.05 })
        end },
        { "listen", function() return net.listen("127.0.0.1", 0) end },
        { "listen_unix", function() return net.listen_unix(where .. "2") end },
        { "listen with TLS", function()
            return net.listen("127.0.0.1", 0, { tls = { cert = cert, key = key } })
        end },
        { "set_tls", function()
            local l <close> = net.listen("127.0.0.1", 0)
            if not l then return listener:set_tls { cert = cert, key = key } end
            return (l:set_tls { cert = cert, key = key }) ~= nil
        end },
        { "starttls", function()
            local a, b = net.pair()
            if not a then return a, b, "EMFILE" end
            local _ <close> = a
            local _ <close> = b
            return a:starttls { server = true, cert = cert, key = key, handshake_timeout = 0.01 }
        end },
        { "udp", function() return net.udp("127.0.0.1", 0) end },
        { "pair", function()
            local a, b, code = net.pair()
            if a then b:close() end
            return a, b, code
        end },
        { "relay", function()
            local a, b = net.pair()
            if not a then return nil, b, "EMFILE" end
            a:shutdown()
            b:shutdown()
            return net.relay(a, b)
        end },
        { "resolve", function() return net.resolve("localhost") end },
        { "resolve by a server", function()
            return net.resolve("name.test", { servers = { "127.0.0.1:1" }, timeout = 0.05 })
        end },
        { "http.serve", function() return http.serve({ host = "127.0.0.1", port = 0 }, print) end },
        { "http.get", function()
            return http.get("http://127.0.0.1:" .. port, { timeout = 0.05 })
        end },
        { "io.open", function() return io.open "/dev/null" end },
        { "io.popen", function() return io.popen "true" end },
        { "os.execute", function() return os.execute "true" end },
        { "io.lines", function() return (io.lines "/dev/null") and true end },
        { "loadfile", function() return loadfile "/dev/null" end },
        { "require", function() return require "spec.support.fill" end },
    }
]]

-- What else they say: without a descriptor, and with some.
local without = { resolve = "done", require = "not found" }
local with = {
    ["connect with TLS"] = "timeout",
    starttls = "timed out",
    ["resolve by a server"] = "no name server",
    ["http.get"] = "timeout",
}

describe("a call without a descriptor", function()
    local ca, good, path

    setup(function()
        ca = authority.new()
        good = ca:issue()
        path = os.tmpname()
        os.remove(path)
    end)
    teardown(function() ca:remove() end)

    it("says so, loses none, and works with one", function()
        local status, out, err = limited(CALLS .. [[
            local unix = neap.must(net.listen_unix(where))
            unix:start(function(stream) stream:read("a") end)
            local function close(it)
                if type(it) == "userdata" and it.close then it:close() end
            end
            local function once(f)
                local got = table.pack(pcall(f))
                local it = got[2]
                if type(it) == "userdata" and it.close then it:close() end
                package.loaded["spec.support.fill"] = nil
                if got[1] and it then return "done" end
                return (tostring(got[1] and got[3] or it):gsub("\n.*", ""))
            end
            local function free()
                local n = hold_all_but(0)
                release()
                return n
            end
            for _, call in ipairs(calls) do once(call[2]) end -- loads what it needs
            sleep(0.3) -- what closes have left behind goes
            local before, swept = free(), 0
            for _, call in ipairs(calls) do
                for n = 0, 4 do
                    hold_all_but(n)
                    local said = once(call[2])
                    release()
                    swept = swept + 1
                    if n == 0 then print(call[1] .. ": " .. said) end
                    for _ = 1, 1000 do
                        if free() >= before then break end
                        sleep(0.01)
                    end
                    if free() < before then print(call[1], n, said, "one is lost") end
                end
                print(call[1] .. ", again: " .. once(call[2]))
            end
            print(swept .. " swept")
            os.exit(0)
        ]], path, good.cert, good.key)
        local others = err:gsub("neap: warning: accept: Too many open files[^\n]*\n", "")
        assert.same({ 0, "" }, { status, others })
        local refused = 0
        for line in out:gmatch "[^\n]+" do
            local call, again, said = line:match "^([^:,]+)(,? ?a?g?a?i?n?): (.*)$"
            if again == "" then
                local wanted = without[call] or "Too many open files"
                assert.is_truthy(said:find(wanted, 1, true), line)
                refused = refused + 1
            elseif again then
                assert.is_truthy(said:find(with[call] or "done", 1, true), line)
            else
                assert.equal(refused * 5 .. " swept", line)
            end
        end
        assert.equal(23, refused)
    end)

    it("that is the first of its part says so, and loads it with one", function()
        local status, out, err = limited([[
            local cert, key = ...
            local firsts = {
                function() return net.resolve("localhost", { servers = { "127.0.0.1:1" },
                    timeout = 0.05 }) end,
                function() return net.resolve("name.test", { servers = { "127.0.0.1:1" },
                    timeout = 0.05 }) end,
                function()
                    return net.listen("127.0.0.1", 0, { tls = { cert = cert, key = key } })
                end,
                function() return http.get("http://127.0.0.1:1/") end,
            }
            for _, first in ipairs(firsts) do
                hold_all_but(0)
                local ok, value, why = pcall(first)
                print(((ok and why or tostring(value)):match "Too many open files"))
                release()
                ok, value, why = pcall(first)
                print(ok, value and "done" or why:match "[%a ]+$")
            end
            os.exit(0)
        ]], good.cert, good.key)
        assert.same({ 0, "" }, { status, err })
        assert.equal([[
nil
true	done
Too many open files
true	 no name server gives an answer
Too many open files
true	done
Too many open files
true	 Connection refused
]], out)
    end)
end)

describe("a program without descriptors", function()
    it("ends with an error, or does without", function()
        local started = 0
        for n = 0, 16 do
            local status, out, err = child.shell(
                ([[ulimit -n %d; "$NEAP" -e 'print(1)']]):format(n))
            assert.is_true(status == 0 and out == "1\n" or
                status ~= "signal" and status < 128 and #err > 0, ("%d: %s"):format(n, err))
            if status == 0 then started = started + 1 end
        end
        assert.is_true(started > 5)
    end)
end)
