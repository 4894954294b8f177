-- What an idle end of a TLS connection takes: bytes of memory each, of a server's process and of
-- a client's, with `tls_idle.lua N` connections.

local net = require "neap.net"

local count, port, cert = tonumber(arg[1]) or 200, arg[2], arg[3]

local function resident()
    collectgarbage()
    for line in io.lines("/proc/self/status") do
        local kib = line:match("^VmRSS:%s+(%d+)")
        if kib then return kib * 1024 end
    end
end

-- What each of them takes that connect() gives, beside the first, and the last.
local function measure(connect)
    local ends = { connect() }
    local before = resident()
    for i = 2, count + 1 do ends[i] = connect() end
    return ("%.0f bytes"):format((resident() - before) / count), ends[count + 1]
end

if port then -- the client's process
    local figure, last = measure(function()
        local stream = neap.must(net.connect("localhost", tonumber(port), { tls = { ca = cert } }))
        stream:write("hello\n")
        return stream:read() and stream
    end)
    print("client end " .. figure)
    io.stdout:flush()
    return last:read() -- nothing comes until the server has its figure too
end

local key = os.tmpname()
cert = os.tmpname()
assert(os.execute(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes " ..
    "-subj /CN=bench -addext subjectAltName=DNS:localhost -keyout %s -out %s 2>/dev/null"):format(
    key, cert)))
local listener = neap.must(net.listen("127.0.0.1", 0, { tls = { cert = cert, key = key } }))
local client = io.popen(("%s %s %d %d %s"):format(arg[-1], arg[0], count, listener.port, cert))
print("server end " .. measure(function()
    local stream = neap.must(listener:accept())
    return stream:write(neap.must(stream:read()), "\n") and stream
end))
print(client:read())
for _, path in ipairs { cert, key } do os.remove(path) end
