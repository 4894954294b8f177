-- neap.http.events: server-sent events, what a browser's EventSource reads.

local neap = require "neap"

local http = {}

local events = {}
events.__index = events

-- Adds a field, of which each line is one of the stream's; a line ends in CR, LF or both.
local function add_lines(to, name, text)
    text = text:gsub("\r\n?", "\n") .. "\n"
    for line in text:gmatch("([^\n]*)\n") do to[#to + 1] = name .. ": " .. line .. "\n" end
end

local function add_line(to, name, text)
    text = tostring(text)
    if text:find("[\r\n\0]") then error("bad " .. name .. " of an event (CR, LF or NUL)", 3) end
    to[#to + 1] = name .. ": " .. text .. "\n"
end

---Sends an event. Blocks while the client does not read.
---@param event string|number|table its data; or data, event (its name), id, retry (seconds after
---which the client comes again when it was cut off)
---@return table? self
---@return string? err "closed": the client has left
---@return string? code
function events:send(event)
    if type(event) ~= "table" then event = { data = event } end
    local lines = {}
    if event.event then add_line(lines, "event", event.event) end
    if event.id then add_line(lines, "id", event.id) end
    if event.retry then add_line(lines, "retry", math.floor(event.retry * 1000)) end
    if event.data then add_lines(lines, "data", tostring(event.data)) end
    if #lines == 0 then error("bad argument #1 (an event without data, id or retry)", 2) end
    local ok, err, code = self.writer:write(table.concat(lines) .. "\n")
    if not ok then return nil, err, code end
    return self
end

---Sends what the client's program does not see; it keeps connections open, and shows whether the
---client is still there.
---@param text? string
---@return table? self
---@return string? err
---@return string? code
function events:comment(text)
    local lines = {}
    add_lines(lines, "", text or "")
    local ok, err, code = self.writer:write(table.concat(lines) .. "\n")
    if not ok then return nil, err, code end
    return self
end

---Sends what comes out of a channel until it is closed, with a comment whenever nothing came
---for a while. Blocks.
---@param source table a channel of what `send` takes
---@return boolean? true the channel was closed
---@return string? err "closed": the client has left
---@return string? code
function events:feed(source)
    while true do
        local which, event, why = neap.select({ source, self.gone }, self.ping)
        if which == 1 and event == nil and why == "closed" then return true end
        local ok, err, code
        if which == 1 then ok, err, code = self:send(event) else ok, err, code = self:comment() end
        if not ok then return nil, err, code end
    end
end

---Ends the stream; the client will come again.
function events:close() return self.writer:close() end

events.__close = events.close

---Answers a request with a stream of events, which begins at once.
---@param req table
---@param opts? table ping: seconds after which `feed` says that it is still there (15);
---retry: seconds after which the client comes again when it was cut off; headers
---@return table events with send, comment, feed, close; last_id: the last event that the client saw
---before it was cut off, or nil; gone: as that of the request
function http.events(req, opts)
    opts = opts or {}
    local headers = { ["Content-Type"] = "text/event-stream", ["Cache-Control"] = "no-store",
        ["X-Accel-Buffering"] = "no" }
    for name, value in pairs(opts.headers or {}) do headers[name] = value end
    local self = setmetatable({ writer = req:respond(200, headers), ping = opts.ping or 15,
        last_id = req.headers["last-event-id"], gone = req.gone }, events)
    -- a writer keeps the head until there is more to send
    if opts.retry then self:send { retry = opts.retry } else self:comment() end
    return self
end

return http
