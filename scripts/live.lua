-- A page that is live: what one browser says, all see at once, by server-sent events. A client
-- that was cut off gets what it has missed.
--
--   neap scripts/live.lua PORT    serves: open http://127.0.0.1:PORT/ in several windows
--   neap scripts/live.lua         two clients of its own talk, then it ends

local http = require "neap.http"
local net = require "neap.net"

local PAGE = [[<!doctype html><html lang="en"><meta charset="utf-8"><title>live</title>
<meta name="viewport" content="width=device-width">
<style>body { font: 1.1rem system-ui, sans-serif; max-width: 40rem; margin: 2rem auto }
input { font: inherit; width: 100%; box-sizing: border-box; padding: .5rem }
li { padding: .3rem 0 } li:first-child { font-weight: bold }</style>
<h1>live: <span>nobody</span></h1>
<form><input placeholder="say something" maxlength="200" autofocus></form><ol reversed></ol>
<script>
const [list, form, here] = ["ol", "form", "span"].map(name => document.querySelector(name))
const events = new EventSource("events")
events.onmessage = e => {
    list.prepend(Object.assign(document.createElement("li"), { textContent: e.data }))
}
events.addEventListener("here", e => here.textContent = e.data + " here")
events.onerror = () => here.textContent = "connecting ..."
form.onsubmit = e => {
    e.preventDefault()
    fetch("say", { method: "POST", body: new URLSearchParams({ text: form[0].value }) })
    form.reset()
}
</script></html>]]

local said, clients, count = {}, {}, 0

local function tell_everybody(event)
    for outbox in pairs(clients) do
        if not outbox.closing and not outbox:try_send(event) then
            outbox:close() -- 100 events behind: it does not read
        end
    end
end

local function follow(req)
    local events, outbox = http.events(req, { retry = 1 }), channel(100)
    for id = math.max((tonumber(events.last_id) or 0) + 1, #said - 20), #said do
        events:send { id = id, data = said[id] }
    end
    clients[outbox], count = true, count + 1
    tell_everybody { event = "here", data = count }
    local _ <close> = setmetatable({}, { __close = function() -- however it ends
        clients[outbox], count = nil, count - 1
        tell_everybody { event = "here", data = count }
    end })
    events:feed(outbox)
end

local app = http.router()
app:get("/", function() return 200, { ["Content-Type"] = "text/html" }, PAGE end)
app:get("/events", follow)
app:post("/say", function(req)
    local form = http.form(req, { max = 1000 })
    if not form or not form.text then return 400 end
    said[#said + 1] = form.text
    tell_everybody { id = #said, data = form.text }
    return 204
end)

local server = neap.must(http.serve({ host = "127.0.0.1", port = tonumber(arg[1]) or 0 }, app))
if arg[1] then
    print("http://127.0.0.1:" .. server.port .. "/")
    return server:wait()
end

local function ask(head, body)
    local stream = neap.must(net.connect("127.0.0.1", server.port))
    stream:write(head, " HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        "Content-Length: ", #(body or ""), "\r\n\r\n", body or "")
    return stream
end

local first = ask "GET /events"
first:read_until("event: here\ndata: 1\n\n")
local second <close> = ask "GET /events"
second:read_until("event: here\ndata: 2\n\n")
ask("POST /say", "text=hello"):close()
for _, client in ipairs { first, second } do print(client:read_until("hello"):match("%a*$")) end
first:close()
ask("POST /say", "text=bye"):close()
print(second:read_until("bye"):match("%a*$"))
for outbox in pairs(clients) do outbox:close() end
server:shutdown(5)
