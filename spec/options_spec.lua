-- Arguments that are wrong: the error tells which one, what it has to be, and where the call is.
local net = require "neap.net"
local http = require "neap.http"

local here = "spec/options_spec.lua:%d+: "

local function refused(f, why)
    local ok, err = pcall(f)
    assert.is_false(ok)
    assert.truthy(tostring(err):find("^" .. here), err)
    assert.equal(why, (tostring(err):gsub("^" .. here, "")))
end

local whole = "bad option '%s' (a whole number from %s to %d expected)"

describe("a wrong option is named by", function()
    it("listen", function()
        local function listen(opts, why)
            refused(function() local l = net.listen("127.0.0.1", 0, opts) return l end, why)
        end
        for _, n in ipairs { "x", -1, 1.5, 0 / 0, 1 << 40, {} } do
            listen({ backlog = n }, whole:format("backlog", 0, 0x7fffffff))
            listen({ max_connections = n }, whole:format("max_connections", 1, 0x7fffffff))
        end
        listen({ max_line = true }, whole:format("max_line", 0, math.maxinteger))
        listen({ backlg = 1 }, "bad option 'backlg' (there is none)")
        listen({ "backlog" }, "bad option '?' (there is none)")
    end)

    it("listen_unix", function()
        for _, mode in ipairs { "x", -1, 1.5, {}, "778" } do
            refused(function() local l = net.listen_unix("@options", { mode = mode }) return l end,
                "bad option 'mode' (octal digits expected)")
        end
    end)

    it("listen of a descriptor", function()
        refused(function() local l = net.listen {} return l end,
            "bad option 'fd' (a descriptor expected)")
        refused(function() local l = net.listen { fd = "x" } return l end,
            whole:format("fd", "-2147483648", 0x7fffffff))
    end)

    it("connect, connect_unix and resolve", function()
        for _, t in ipairs { "x", 0 / 0, {}, true } do
            local why = "bad option 'timeout' (a number of seconds expected)"
            refused(function() local s = net.connect("::1", 1, { timeout = t }) return s end, why)
            refused(function() local s = net.connect_unix("@x", { timeout = t }) return s end, why)
            refused(function() local s = net.resolve("::1", { timeout = t }) return s end, why)
        end
        local ports = { { host = "::1", port = -1 }, { host = "::1", port = "x" } }
        for _, own in ipairs { {}, true, ports[1], ports[2] } do
            refused(function() local s = net.connect("::1", 1, { bind = own }) return s end,
                "bad option 'bind' (a host in figures, or { host =, port = } expected)")
        end
        refused(function() local s = net.connect_unix("@x", { bind = true }) return s end,
            "bad option 'bind' (a path expected)")
        refused(function() local s = net.resolve("::1", { family = "inet" }) return s end,
            "bad option 'family' (4 or 6 expected)")
        refused(function() local s = net.resolve("::1", { servers = { 5 } }) return s end,
            "bad option 'servers' (a list of addresses expected)")
    end)

    it("http.serve", function()
        local function serve(opts, why)
            refused(function() local s = http.serve(opts, print) return s end, why)
        end
        serve({ host = 5 }, "bad option 'host' (string expected)")
        serve({ path = 5 }, "bad option 'path' (string expected)")
        serve({ port = "http" }, "bad option 'port' (number expected)")
        serve({ reuseport = 1 }, "bad option 'reuseport' (boolean expected)")
        serve({ prot = 1 }, "bad option 'prot' (there is none)")
    end)

    it("http.static and http.cookie", function()
        refused(function() local h = http.static(".", { indx = "x" }) return h end,
            "bad option 'indx' (there is none)")
        refused(function() local h = http.static(".", { index = 5 }) return h end,
            "bad option 'index' (string expected)")
        refused(function() local c = http.cookie("a", "b", { httponly = true }) return c end,
            "bad option 'httponly' (there is none)")
    end)
end)

describe("a wrong argument is named by", function()
    it("write, whose table has something else in it", function()
        local a <close> = net.pair()
        local expected = "bad argument #%d to 'write' (string or table of strings expected, got %s)"
        refused(function() a:write("x", { "y", { true } }) end, expected:format(2, "boolean in it"))
        refused(function() a:write({ "x", nil, "y" }) end, expected:format(1, "nil in it"))
        refused(function() a:write("x", nil) end, expected:format(2, "nil"))
    end)

    it("http.get, http.session and http.post", function()
        refused(function() local r = http.get("http://[::1]:1/", 5) return r end,
            "a table of options expected")
        refused(function() local s = http.session(5) return s end, "a table of options expected")
        refused(function() local r = http.post("http://[::1]:1/", { a = 1 }) return r end,
            "bad body (a list of strings expected)")
    end)

    it("http.static", function()
        refused(function() local h = http.static() return h end,
            "bad argument #1 to 'static' (string expected)")
        assert.same({ nil, "/nonexistent/%1: No such file or directory", "ENOENT" },
            { http.static("/nonexistent/%1") })
    end)
end)

describe("what takes a function says so:", function()
    local function takes(name, n, call)
        it(name, function()
            refused(function() local r = call(5) return r end,
                ("bad argument #%d to '%s' (function expected, got number)"):format(n, name))
        end)
    end

    takes("map", 2, function(f) return neap.map({ 1 }, f) end)
    takes("scope", 1, function(f) return neap.scope(f) end)
    takes("looping_call", 1, function(f) return neap.looping_call(f) end)
    takes("defer_later", 2, function(f) return neap.defer_later(1, f) end)
    takes("inline_callbacks", 1, function(f) return neap.inline_callbacks(f) end)
    takes("run", 1, function(f) return neap.sync.mutex():run(f) end)
    takes("run", 1, function(f) return neap.sync.semaphore(1):run(f) end)
    takes("run", 1, function(f) return neap.deferred_lock():run(f) end)
    takes("spawn", 1, function(f)
        return (neap.scope(function(s) local t = s:spawn(f) return t end))
    end)
end)

it("what is left out is told by name", function()
    local function told(f, why) refused(function() local r = f() return r end, why) end
    told(neap.defer_later, "bad argument #1 to 'defer_later' (number expected, got nil)")
    told(function() local l = neap.deferred_list() return l end,
        "bad argument #1 to 'deferred_list' (table expected, got nil)")
    told(function() local l = neap.race() return l end,
        "bad argument #1 to 'race' (table expected, got nil)")
    told(function() local l = neap.gather_results({}, 5) return l end,
        "bad argument #2 to 'gather_results' (table expected, got number)")
    told(function() local l = neap.deferred_list({}, { consume = true }) return l end,
        "bad option 'consume' (there is none)")
    told(function() local p = neap.exchange():pick() return p end, "a pick needs a branch")
    told(function() local p = neap.exchange():pick { 5 } return p end,
        "a branch of a pick needs a function")
end)

it("a field that cannot be set so is told by name", function()
    refused(function() tasklet(print).name = {} end, "a tasklet's name is a string, not a table")
    refused(function() channel().preference = "x" end, "a channel's preference is -1, 0 or 1")
end)

it("a name where no name is looked up is told as such", function()
    local function told(what, ...)
        assert.same({ nil, what .. ": not an address in figures", "EINVAL" }, { ... })
    end
    local u <close> = neap.must(net.udp("127.0.0.1", 0))
    told("listen example.test:80", net.listen("example.test", 80))
    told("udp example.test:80", net.udp("example.test", 80))
    told("send example.test:80", u:send("x", "example.test", 80))
    told("connect example.test:80", u:connect("example.test", 80))
    told("join_group", u:join_group("example.test"))
    told("connect: option 'bind'", net.connect("::1", 1, { bind = "example.test" }))
end)

it("a port may come as text", function()
    local s <close> = http.serve({ host = "127.0.0.1", port = "0" }, print)
    assert.truthy(s.port > 0)
    s:shutdown(0)
end)
