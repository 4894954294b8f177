-- A JSON API over a table of notes: a router, values in and out, the statuses that tell.
--
--   neap scripts/json_api.lua PORT    serves: curl -H 'Content-Type: application/json' \
--                                         -d '{"text": "milk"}' http://127.0.0.1:PORT/notes
--   neap scripts/json_api.lua         asks itself, shows the answers, and ends

local http = require "neap.http"
local net = require "neap.net"

local notes, last = {}, 0 -- notes by id, a text

local function refuse(status, why) return http.json({ error = why }, status) end

-- Keeps the note that a body holds.
local function put(id, req, status)
    local note, err, code = http.json_body(req, 10000)
    if not note then return refuse(code == "EMEDIUMTYPE" and 415 or 400, err) end
    if type(note) ~= "table" or type(note.text) ~= "string" then
        return refuse(422, "a note has a text")
    end
    notes[id] = { text = note.text, done = note.done == true }
    return http.json(notes[id], status, { Location = "/notes/" .. id })
end

-- A handler for a note that is there.
local function existing(handle)
    return function(req)
        local id = req.params.id
        if not notes[id] then return refuse(404, "there is no such note") end
        return handle(id, req)
    end
end

local api = http.router()
api:get("/notes", function() return http.json(notes) end)
api:post("/notes", function(req)
    last = last + 1
    return put(tostring(last), req, 201)
end)
api:get("/notes/:id", existing(function(id) return http.json(notes[id]) end))
api:put("/notes/:id", existing(put))
api:delete("/notes/:id", existing(function(id)
    notes[id] = nil
    return 204
end))

local server = neap.must(http.serve({ host = "127.0.0.1", port = tonumber(arg[1]) or 0 }, api))
if arg[1] then
    print("http://127.0.0.1:" .. server.port .. "/notes")
    return server:wait()
end

local function ask(line, body)
    local stream <close> = neap.must(net.connect("127.0.0.1", server.port))
    stream:write(line, " HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: ",
        #(body or ""), "\r\n\r\n", body or "")
    print(line, stream:read("a"):match("^HTTP/1.1 ([^\r]*).-\r\n\r\n(.*)$"))
end

ask("POST /notes", '{"text": "milk"}')
ask("PUT /notes/1", '{"text": "milk", "done": true}')
ask("POST /notes", '{"text": 7}')
ask "GET /notes"
ask "DELETE /notes/1"
ask "GET /notes/1"
ask "PATCH /notes/1"
server:close()
