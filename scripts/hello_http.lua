-- An HTTP server in a few lines: text, a body in pieces, a handler that blocks, an error.
-- With a port it serves there; without one it asks itself, shows the answers, and ends.

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

local server = assert(http.serve({ host = "127.0.0.1", port = tonumber(arg and arg[1]) or 0 },
    function(req)
        local page = pages[req.path]
        if not page then return 404 end
        return page(req)
    end))

if arg and arg[1] then
    print("http://127.0.0.1:" .. server.port .. "/")
    server:wait()
    return
end

local function ask(request)
    local s <close> = assert(net.connect("127.0.0.1", server.port))
    s:write(request, " HTTP/1.0\r\n\r\n")
    local answer = s:read("a")
    print(request, answer:match("^[^\r]*"), (answer:match("\r\n\r\n(.*)"):gsub("\n", " ")))
end

ask "GET /?name=neap"
ask "GET /count"
ask "GET /nothing"
print(server:shutdown(1) .. " connections had to be cut")
