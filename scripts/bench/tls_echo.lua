-- An echo server over TLS: `tls_echo.lua CERT KEY PORT` serves until it is stopped; without them
-- it tries itself with one client and ends.

local net = require "neap.net"

local function echo(stream)
    while true do
        local data = stream:read_some()
        if not data or not stream:write(data) then return end
    end
end

local cert, key, port = table.unpack(arg)
if port then
    local tls = { cert = cert, key = key }
    return neap.must(net.listen("127.0.0.1", tonumber(port), { tls = tls })):serve(echo)
end

cert, key = os.tmpname(), os.tmpname()
assert(os.execute(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes " ..
    "-subj /CN=bench -addext subjectAltName=DNS:localhost -keyout %s -out %s 2>/dev/null"):format(
    key, cert)))
local listener = neap.must(net.listen("127.0.0.1", 0, { tls = { cert = cert, key = key } }))
listener:start(echo)
local rounds = 5000
local stream = neap.must(net.connect("localhost", listener.port, { tls = { ca = cert } }))
local start = os.clock()
for i = 1, rounds do
    local line = ("%063d\n"):format(i)
    assert(stream:write(line))
    assert(stream:read("L") == line)
end
print(("tls echo %.2f us, both ends"):format((os.clock() - start) / rounds * 1e6))
stream:close()
listener:close()
for _, path in ipairs { cert, key } do os.remove(path) end
