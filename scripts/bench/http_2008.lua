-- The experiment of 2008, on sockets: an HTTP service whose answers a worker tasklet gives. How
-- does the code of a connection, which runs in the reactor and may not block, meet the worker?
--
--   tasklets    the old way: each request in a tasklet of its own, which asks over a channel
--   instances   the same, with a tasklet for each connection
--   deferreds   the new way: the rest of the code is the callback of a deferred, which the
--               worker fires
--   direct      nobody is asked: what all the rest costs
--
-- once as protocols in the style of callbacks, which read HTTP in Lua ("protocol"), once under
-- neap's own server ("server"), where the connection's tasklet runs the handler, and may wait.
--
--   neap scripts/bench/http_2008.lua STACK FORM PORT    serves: spec/bench/http_2008.sh measures
--   neap scripts/bench/http_2008.lua [REQUESTS]         asks each over one connection, and ends

local http = require "neap.http"
local net = require "neap.net"

local function work(path) return "Hello from " .. path end

local requests = channel(1024) -- what the worker is asked: where the answer goes, the path

local function reply_on_channels()
    for reply, path in requests do reply:send(work(path)) end
end

local function fire_deferreds()
    for d, path in requests do d:callback(work(path)) end
end

-- ---- protocols ----

local function answer(self, text)
    self.transport:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#text, text))
end

local function ask(self, path, reply)
    requests:send(reply, path)
    answer(self, reply:receive())
end

-- What each form does with a request; the worker it needs.
local protocols = {
    direct = { function(self, path) answer(self, work(path)) end },
    tasklets = { function(self, path) spawn(ask, self, path, channel()) end, reply_on_channels },
    instances = { function(self, path)
        if not self.inbox then
            self.inbox = channel(64)
            spawn(function(reply)
                for next_path in self.inbox do ask(self, next_path, reply) end
            end, channel())
        end
        self.inbox:try_send(path)
    end, reply_on_channels },
    deferreds = { function(self, path)
        local d = deferred()
        d:add_callback(function(text) answer(self, text) end)
        requests:try_send(d, path)
    end, fire_deferreds },
}

local function serve_protocol(form, port)
    local request = protocols[form][1]
    local protocol = { rest = "" }
    protocol.__index = protocol
    function protocol:connection_made(transport) self.transport = transport end
    function protocol:data_received(data)
        local text, at = self.rest .. data, 1
        repeat
            local ends, last = text:find("\r\n\r\n", at, true)
            if ends then
                request(self, text:match("^GET (%S+) HTTP/1%.1", at))
                at = last + 1
            end
        until not ends
        self.rest = text:sub(at)
    end
    function protocol:connection_lost()
        if self.inbox then self.inbox:close() end
    end
    local listener = neap.must(net.listen("127.0.0.1", port))
    listener:protocol(function() return setmetatable({}, protocol) end)
    return listener
end

-- ---- neap's server ----

local handlers = {
    direct = { "tasklet", function(req) return work(req.path) end },
    instances = { "tasklet", function(req) -- the connection's own tasklet waits
        local reply = channel()
        requests:send(reply, req.path)
        return (reply:receive())
    end, reply_on_channels },
    deferreds = { "reactor", function(req)
        local d = deferred()
        requests:try_send(d, req.path)
        return d
    end, fire_deferreds },
}

local function serve_http(form, port)
    local mode, handler = table.unpack(handlers[form])
    return neap.must(http.serve({ host = "127.0.0.1", port = port, mode = mode }, handler))
end

-- ---- one of them, or all ----

local stacks = { protocol = { protocols, serve_protocol }, server = { handlers, serve_http } }

local function start(stack, form, port)
    local forms, serve = table.unpack(stacks[stack])
    local worker = forms[form][#forms[form]]
    if form ~= "direct" then spawn(worker).daemon = true end
    return serve(form, port)
end

if arg and arg[3] then
    return start(arg[1], arg[2], tonumber(arg[3])) -- which goes on when main has returned
end
local rounds = tonumber(arg and arg[1]) or 200
for _, case in ipairs { "protocol direct", "protocol tasklets", "protocol instances",
    "protocol deferreds", "server direct", "server instances", "server deferreds" } do
    local stack, form = case:match("(%a+) (%a+)")
    local server <close> = start(stack, form, 0)
    local stream <close> = assert(net.connect("127.0.0.1", server.port))
    local begin = os.clock()
    for i = 1, rounds do
        stream:write("GET /", tostring(i), " HTTP/1.1\r\nHost: a\r\n\r\n")
        local head = assert(stream:read_until("\r\n\r\n"))
        local text = stream:read(tonumber(head:match("Content%-Length: (%d+)")))
        assert(text == "Hello from /" .. i)
    end
    print(("%-20s %.2f us a request, both ends"):format(case, (os.clock() - begin) / rounds * 1e6))
    requests:close()
    requests = channel(1024)
end
