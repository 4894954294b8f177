-- A file server: pages that list the folders, types, ranges, and only what has changed.
--
--   neap scripts/files.lua PORT [FOLDER]    serves it: open http://127.0.0.1:PORT/
--   neap scripts/files.lua                  serves its own folder to itself, then ends

local http = require "neap.http"
local net = require "neap.net"

local root = arg[2] or (arg[1] and "." or arg[0]:match("^(.*)/") or ".")
local files = neap.must(http.static(root, { directory = true, types = { lua = "text/plain" } }))

-- One line for each request, as it is answered.
local function log(req)
    local answer = table.pack(files(req))
    print(req.method, req.target, answer[1])
    return table.unpack(answer, 1, answer.n)
end

local server = neap.must(http.serve({ host = "127.0.0.1", port = tonumber(arg[1]) or 0 }, log))
if arg[1] then
    print(root .. " at http://127.0.0.1:" .. server.port .. "/")
    return server:wait()
end

local function ask(path, ...)
    local stream <close> = neap.must(net.connect("127.0.0.1", server.port))
    stream:write("GET ", path, " HTTP/1.0\r\n", table.concat({ ... }, "\r\n"), "\r\n\r\n")
    return stream:read("a"):match("^(.-)\r\n\r\n(.*)$")
end

local _, page = ask "/"
print(select(2, page:gsub("<tr>", "")) .. " entries")
local head, text = ask("/files.lua", "Range: bytes=3-15\r\n")
print(text, head:match("Content%-Range: ([^\r]*)"))
ask("/files.lua", "If-None-Match: " .. head:match("ETag: ([^\r]*)") .. "\r\n")
ask "/../../../etc/passwd"
ask "/nothing"
server:close()
