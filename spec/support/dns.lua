-- A DNS server for specs, on UDP and TCP of one port of loopback. What it answers is a
-- function of the question.

local net = require "neap.net"

local dns = {}

local TYPES = { [1] = "A", [5] = "CNAME", [28] = "AAAA" }
local NUMBERS = { A = 1, CNAME = 5, AAAA = 28 }

local function parse(message)
    local id = (">I2"):unpack(message)
    local labels, at = {}, 13
    while message:byte(at) and message:byte(at) > 0 do
        local label
        label, at = ("s1"):unpack(message, at)
        labels[#labels + 1] = label
    end
    local type = (">I2"):unpack(message, at + 1)
    return { id = id, name = table.concat(labels, "."):lower(), type = TYPES[type] or type,
        raw = message, question = message:sub(13, at + 4) }
end

function dns.name(text)
    local out = {}
    for label in text:gmatch "[^.]+" do out[#out + 1] = ("s1"):pack(label) end
    return table.concat(out) .. "\0"
end

local function address(type, text)
    if type == "CNAME" then return dns.name(text) end
    local bytes = {}
    if type == "A" then
        for n in text:gmatch "%d+" do bytes[#bytes + 1] = string.char(n) end
    else
        for n in text:gmatch "%x+" do bytes[#bytes + 1] = (">I2"):pack(tonumber(n, 16)) end
    end
    return table.concat(bytes)
end

-- A record of the question's name: AAAA with all eight groups written out.
function dns.record(type, text, ttl, name)
    local data = address(type, text)
    return (name and dns.name(name) or "\xc0\x0c") ..
        (">I2I2I4s2"):pack(NUMBERS[type], 1, ttl or 60, data)
end

-- An answer with these records; opts: rcode, id, question, truncated, count.
function dns.answer(q, records, opts)
    opts = opts or {}
    local flags = 0x8180 | (opts.rcode or 0) | (opts.truncated and 0x200 or 0)
    return (">I2I2I2I2I2I2"):pack(opts.id or q.id, flags, 1, opts.count or #records, 0, 0)
        .. (opts.question or q.question) .. table.concat(records)
end

-- What a table of names says: { [name] = { A = { ... }, AAAA = { ... }, ttl = } }; other
-- names do not exist.
function dns.zone(names)
    return function(q)
        local entry = names[q.name]
        if not entry then return dns.answer(q, {}, { rcode = 3 }) end
        local records = {}
        for i, text in ipairs(entry[q.type] or {}) do
            records[i] = dns.record(q.type, text, entry.ttl)
        end
        return dns.answer(q, records)
    end
end

local server = {}
server.__index = server

-- The datagrams. q.reply(message) answers later.
local function serve_udp(self)
    while true do
        local message, from, port = self.udp:receive()
        if not message then return end
        local q = parse(message)
        q.via = "udp"
        q.reply = function(answer) self.udp:send(answer, from, port) end
        self.asked[#self.asked + 1] = q
        local answer = self.answer(q)
        if type(answer) == "string" then answer = { answer } end
        for _, one in ipairs(answer or {}) do
            local socket = self.udp
            if type(one) == "table" then
                socket, one = one[2] and self.elsewhere or self.other, one[1]
            end
            socket:send(one, from, port)
        end
    end
end

-- One connection; an answer that is a function gets the stream.
local function serve_tcp(self, stream)
    while true do
        local head = stream:read(2)
        if not head or #head < 2 then return end
        local q = parse(stream:read(((">I2"):unpack(head))))
        q.via = "tcp"
        self.asked[#self.asked + 1] = q
        local answer = self.answer(q)
        if type(answer) == "function" then return answer(stream) end
        if type(answer) == "table" then answer = answer[#answer] end
        if answer then stream:write((">s2"):pack(answer)) end
    end
end

local used = {} -- ports: what one server has answered would be remembered for the next

-- Starts one. answer(question) gives a message, a list of them, or nil; a message in a table
-- comes from a wrong port, or with an address beside it from that, 127.0.0.2.
function dns.start(answer)
    for _ = 1, 10 do
        local listener = neap.must(net.listen("127.0.0.1", 0))
        local udp = not used[listener.port] and net.udp("127.0.0.1", listener.port)
        if udp then
            used[listener.port] = true
            local self = setmetatable({ answer = answer, asked = {}, listener = listener,
                servers = { "127.0.0.1:" .. listener.port }, udp = udp,
                other = neap.must(net.udp("127.0.0.1", 0)),
                elsewhere = net.udp("127.0.0.2", listener.port) }, server)
            self.task = spawn(serve_udp, self)
            listener:start(function(stream) serve_tcp(self, stream) end)
            return self
        end
        listener:close()
    end
    error("no port that is free on both")
end

-- How often a name was asked for, with that type.
function server:count(name, type)
    local n = 0
    for _, q in ipairs(self.asked) do
        if q.name == name and (not type or q.type == type) then n = n + 1 end
    end
    return n
end

-- Waits until it was asked for a name with that type; the question.
function server:question(name, type)
    while true do
        for _, q in ipairs(self.asked) do
            if q.name == name and q.type == type then return q end
        end
        sleep(0.001)
    end
end

function server:close()
    self.listener:close()
    self.udp:close()
    self.other:close()
    if self.elsewhere then self.elsewhere:close() end
    self.task:join()
end

server.__close = server.close

return dns
