-- A TLS terminator: takes encrypted connections and passes their text on to a plain server.
-- SIGHUP loads the key anew, without a restart; connections that are open go on.
--
--   neap scripts/tls_terminator.lua PORT HOST BACKEND_PORT CERT.pem KEY.pem
--   neap scripts/tls_terminator.lua     a backend, a key and a client of its own, then ends

local net = require "neap.net"

local port, host, backend_port, cert, key = table.unpack(arg)

-- What one says, to the other; a failure, such as an end without TLS's own, ends both.
local function copy(from, to)
    local data, err
    repeat data, err = from:read_some() until not data or not to:write(data)
    if not data and not err then return to:shutdown() end
    from:close()
    to:close()
end

local function terminate(stream, peer)
    local state, err = stream:tls() -- the handshake
    if not state then return print(tostring(peer) .. ": " .. err) end
    local backend <close> = neap.must(net.connect(host, tonumber(backend_port)))
    print(("%s: %s, %s"):format(tostring(peer), state.version, state.cipher))
    local answers = spawn(copy, backend, stream)
    copy(stream, backend)
    answers:join()
end

if port then
    io.stdout:setvbuf("line") -- a log that can be followed
    local tls = { cert = cert, key = key }
    local listener = neap.must(net.listen("*", tonumber(port), { tls = tls }))
    local hangups = neap.must(require "neap.signal".channel("SIGHUP"))
    spawn(function()
        for _ in hangups do print(listener:set_tls(tls)) end
    end)
    listener:serve(terminate)
    return
end

-- the backend: shouts what it hears
local backend = neap.must(net.listen("127.0.0.1", 0))
backend:start(function(stream)
    for line in stream:lines() do stream:write(line:upper(), "\n") end
end)
host, backend_port, cert, key = backend.host, backend.port, os.tmpname(), os.tmpname()
assert(os.execute(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes " ..
    "-subj /CN=demo -addext subjectAltName=DNS:localhost -keyout %s -out %s 2>/dev/null"):format(
    key, cert)))
local listener = neap.must(net.listen("127.0.0.1", 0, { tls = { cert = cert, key = key } }))
listener:start(terminate)
local client = neap.must(net.connect("localhost", listener.port, { tls = { ca = cert } }))
client:write("hello, in secret\n")
client:shutdown()
print(client:read("a"))
for _, closable in ipairs { client, listener, backend } do closable:close() end
for _, path in ipairs { cert, key } do os.remove(path) end
