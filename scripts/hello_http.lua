-- An HTTP server in a few lines: text, a body in pieces, a handler that blocks, an error.
--
--   neap scripts/hello_http.lua PORT      serves: curl http://127.0.0.1:PORT/
--   neap scripts/hello_http.lua           asks itself, shows the answers, and ends

local http = require "neap.http"
local net = require "neap.net"

local pages = {}

pages["/"] = function(req)
    return ("hello, %s\n"):format(req.args.name or "whoever you are")
end

pages["/count"] = function()
    local n = 0
    return function() -- called for each piece; it may block
        n = n + 1
        sleep(0.01)
        return n <= 3 and n .. "\n" or nil
    end
end

pages["/echo"] = function(req)
    return 200, { ["Content-Type"] = "text/plain" }, req:body()
end

local function answer(req)
    local page = pages[req.path]
    if not page then return 404 end
    return page(req)
end

local server = neap.must(http.serve({ host = "127.0.0.1", port = tonumber(arg[1]) or 0 }, answer))
if arg[1] then
    print("http://127.0.0.1:" .. server.port .. "/")
    return server:wait()
end

local function ask(request)
    local stream <close> = neap.must(net.connect("127.0.0.1", server.port))
    stream:write(request, " HTTP/1.0\r\n\r\n")
    local text = stream:read("a")
    print(request, text:match("^[^\r]*"), (text:match("\r\n\r\n(.*)"):gsub("\n", " ")))
end

ask "GET /?name=neap"
ask "GET /count"
ask "GET /nothing"
print(server:shutdown(1) .. " connections had to be cut")
