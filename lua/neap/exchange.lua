-- neap.exchange: a tasklet meets a request rather than being spawned by it. Requests that
-- nobody receives yet are kept; each is answered once, or its requester is told that nobody
-- will.
--
-- Who receives has a waiter, in a `<close>` variable, which stands in `open` of each port and
-- key that it receives on. A request that was handed to a waiter whose tasklet ended before it
-- could go on is given to the next, or kept as the oldest.

local neap = require "neap"
local inside = require "neap.inside"
local list = require "neap.list"

local ANY = {} -- in place of a key: a receive without one

-- ---- requests ----

---@class exchange.request the token that a receive returns
---@field op any
---@field key any
---@field n integer how many values it carries, at 1 to n
---@field package exchange exchange
---@field package deferred deferred of the reply
---@field package state "kept"|"handed"|"received"|"answered"
---@field package in_port table its node in `port.kept`
---@field package in_key table its node in `port.by_key[key]`
---@field package debt table? its node among what its receiver owes
local Request = { __name = "request" }
Request.__index = Request

---@class port all about one operation
---@field kept list of the requests that came before anybody received them
---@field by_key table<any, list> the same
---@field open table<any, entry> who receives, by key

---@class entry one branch of a waiter
---@field port port
---@field key any or ANY
---@field index integer among the branches
---@field waiter table

local function port_of(x, op)
    local port = x.ports[op]
    if not port then
        port = { kept = list.new(), by_key = {}, open = {} }
        x.ports[op] = port
    end
    return port
end

-- Keeps a request; put: list.append, or list.prepend for one that was handed out before.
local function keep(x, request, put)
    local port, key = port_of(x, request.op), request.key
    put(port.kept, request.in_port)
    if key ~= nil then
        local of_key = port.by_key[key] or list.new()
        port.by_key[key] = of_key
        put(of_key, request.in_key)
    end
    request.state = "kept"
end

local function unkeep(x, request)
    local port, of_key = x.ports[request.op], request.in_key.list
    list.remove(request.in_port)
    list.remove(request.in_key)
    if of_key and of_key.n == 0 then port.by_key[request.key] = nil end
end

-- Whether the requester does not wait any more: it has cancelled.
local function gone(request) return request.deferred.called end

-- Its deferred is cancelled.
local function leave(request)
    if request.state == "kept" then unkeep(request.exchange, request) end
end

-- ---- waiters ----

---@class waiter
---@field package exchange exchange
---@field package gate channel on which its tasklet waits
---@field package entries entry[]
---@field package request exchange.request? what it was handed, for the branch at `index`
---@field package taken boolean? and its tasklet has gone on with it
local Waiter = {}

local function withdraw(w)
    for _, entry in ipairs(w.entries) do
        local open = entry.port.open
        if open[entry.key] == entry then open[entry.key] = nil end
    end
end

local function hand(entry, request)
    local w = entry.waiter
    if not w.gate:try_send(true) then return false end -- it waits no more
    w.request, w.index = request, entry.index
    request.state = "handed"
    return true
end

-- Gives a request to who receives it; whether somebody does. Who asks for its key comes
-- before who takes any; of two branches of one pick the first comes first.
local function deliver(x, request)
    local open = port_of(x, request.op).open
    local exact, any = request.key ~= nil and open[request.key], open[ANY]
    if exact and any and exact.waiter == any.waiter and any.index < exact.index then
        exact, any = any, exact
    end
    return exact and hand(exact, request) or any and hand(any, request) or false
end

function Waiter:__close()
    withdraw(self)
    local request = self.request
    if request and not self.taken and not gone(request) and
        not deliver(self.exchange, request) then
        keep(self.exchange, request, list.prepend)
    end
end

local function check_conflict(w, port, key)
    local other = port.open[key]
    local conflict = other and other.waiter.gate.balance < 0 -- else it waits no more
    for _, entry in ipairs(w.entries) do
        conflict = conflict or entry.port == port and entry.key == key
    end
    if conflict then
        error("conflictingReceive: another one is open for the same operation and key", 5)
    end
end

-- An entry for each branch that has an operation.
local function make_entries(w, branches)
    for index, branch in ipairs(branches) do
        local op, key = branch[1], branch[2]
        if branch.after == nil then
            if op == nil then error("a receive needs an operation", 4) end
            if key == nil then key = ANY end
            local port = port_of(w.exchange, op)
            check_conflict(w, port, key)
            w.entries[#w.entries + 1] = { port = port, key = key, index = index, waiter = w }
        end
    end
end

-- The first entry for which a request is kept, and that request.
local function ready(w)
    for _, entry in ipairs(w.entries) do
        local port = entry.port
        local kept = entry.key == ANY and port.kept or port.by_key[entry.key]
        if kept and kept.first then return entry, kept.first.request end
    end
end

-- ---- debts ----

local function missing(request, failure)
    local text = ("missingReply: the tasklet that received '%s' has ended"):format(
        tostring(request.op))
    local cause = failure and failure.value
    if type(cause) == "string" then text = text .. ": " .. cause end
    local err = neap.Error(text)
    err.code, err.cause = "missingReply", cause
    return err
end

-- A tasklet has ended: who still waits for its reply is told.
local function default(debts, failure)
    while debts.first do
        local request = debts.first.request
        list.remove(request.debt)
        request.state = "answered"
        if not gone(request) then request.deferred:errback(missing(request, failure)) end
    end
end

-- From here on the running tasklet owes the reply.
local function owe(x, request)
    local t = neap.getcurrent()
    local debts = x.debts[t]
    if not debts then
        debts = list.new()
        x.debts[t] = debts
        inside.watch(t, function(_, _, failure)
            x.debts[t] = nil
            default(debts, failure)
            return false
        end)
    end
    request.debt = list.node { request = request }
    list.append(debts, request.debt)
    request.state = "received"
end

-- Waits for the first of the branches: its index and the request; nothing: time is up.
local function meet(x, branches, timeout)
    inside.check_wait()
    local w <close> = setmetatable({ exchange = x, gate = neap.channel(), entries = {} }, Waiter)
    make_entries(w, branches)
    local entry, request = ready(w)
    if entry then
        unkeep(x, request)
        w.request, w.index = request, entry.index
    else
        for _, e in ipairs(w.entries) do e.port.open[e.key] = e end
        if not w.gate:receive(timeout) then return nil end
    end
    owe(x, w.request)
    w.taken = true
    return w.index, w.request
end

-- ---- the exchange ----

---@class exchange
---@field package ports table<any, port> by operation
---@field package debts table<tasklet, list> what each tasklet owes
local Exchange = { __name = "exchange" }
Exchange.__index = Exchange

---Sends a request; never waits, and is for reactor code, too.
---@param op any the operation, not nil
---@param key any what tells its partners apart from others; nil: nothing does
---@param ... any values
---@return deferred d of the reply. Its cancel withdraws a request that nobody has received, and
---drops the reply to one that was. If the tasklet that received it ends without a reply it
---fails with an error whose `code` is "missingReply" and whose `cause` is that one's error
function Exchange:request(op, key, ...)
    if op == nil then error("a request needs an operation", 2) end
    local request = setmetatable(table.pack(...), Request)
    request.op, request.key, request.exchange = op, key, self
    request.in_port = list.node { request = request }
    request.in_key = list.node { request = request }
    request.deferred = neap.deferred(function() leave(request) end)
    if not deliver(self, request) then keep(self, request, list.append) end
    return request.deferred
end

---Waits for a request; one that came earlier is there at once, the oldest first.
---@param op any
---@param key? any nil: whatever its key is
---@return exchange.request token for reply; `token.op`, `token.key`
---@return any ... the values. Raises `conflictingReceive` if another tasklet waits for the same
function Exchange:receive(op, key)
    local _, request = meet(self, { { op, key } })
    return request, table.unpack(request, 1, request.n)
end

---Answers a request, once: a second time raises. A request whose requester has left is
---answered, too, but nobody hears.
---@param token exchange.request
---@param ... any
---@return boolean heard false: the requester has left
function Exchange:reply(token, ...)
    if getmetatable(token) ~= Request or token.exchange ~= self then
        error("missingRequest: it is no request of this exchange", 2)
    end
    if token.state ~= "received" then error("missingRequest: it is not open any more", 2) end
    token.state = "answered"
    local heard = not gone(token)
    if heard then token.deferred:callback(...) end
    list.remove(token.debt)
    return heard
end

-- The nearest of the times of a pick, and its function.
local function deadline(branches)
    if type(branches) ~= "table" or #branches == 0 then error("a pick needs a branch", 3) end
    local nearest, on_time
    for _, branch in ipairs(branches) do
        if type(branch) ~= "table" or not inside.callable(branch[branch.after and 1 or 3]) then
            error("a branch of a pick needs a function", 3)
        end
        local after = branch.after
        if after and (type(after) ~= "number" or after ~= after) then
            error("a pick's `after` is a number of seconds", 3)
        end
        if after and after < (nearest or math.huge) then
            nearest, on_time = after, branch[1]
        end
    end
    return nearest, on_time
end

---Waits for the first of several requests, or for so long, and calls the function of that
---branch alone; the others are withdrawn. Of those that are there already the first in the list.
---@param branches table[] { op, key, f }: calls `f(token, values...)`; { after = seconds, f }:
---calls `f()`
---@return any ... what the function returns
function Exchange:pick(branches)
    local nearest, on_time = deadline(branches)
    local index, request = meet(self, branches, nearest)
    if not index then return on_time() end
    return branches[index][3](request, table.unpack(request, 1, request.n))
end

local exchange = {}

---Where requests and those who receive them meet.
---@return exchange
function exchange.exchange()
    return setmetatable({ ports = {}, debts = setmetatable({}, { __mode = "k" }) }, Exchange)
end

return exchange
