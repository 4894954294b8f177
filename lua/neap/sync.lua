-- neap.sync: what tasklets wait for among themselves. First come, first served.
--
-- Who waits has a place in a line, in a `<close>` variable. What it gets is written into the
-- place when it is handed over, so a tasklet that ends before it could go on, however it ends,
-- gives it back: to the next in the line. A place whose tasklet waits no more (killed, out of
-- time) is passed over.
--
-- Making a place may run finalizers, and they may use the same object: it is looked at again
-- after that.

local check = require "neap.check"
local list = require "neap.list"
local neap = require "neap"

local sync = {}

-- ---- lines ----

---@class line: list
---@field package owner table
---@field package give_back? fun(owner: table, value: any) of a place that could not take it

---@class place a node of a line
---@field package gate channel on which its tasklet waits
---@field package given boolean? it has been handed `value`
---@field package taken boolean? and its tasklet has gone on with it
---@field package item any what it puts into a queue
local Place = {}

local function new_line(owner, give_back)
    local line = list.new()
    line.owner, line.give_back = owner, give_back
    return line
end

local function new_place(line)
    return setmetatable(list.node { line = line, gate = neap.channel() }, Place)
end

function Place:__close()
    list.remove(self)
    local line = self.line
    if self.given and not self.taken and line.give_back then
        line.give_back(line.owner, self.value)
    end
end

-- Waits in the line: true and what was handed over; nil, "timeout" or "closed".
local function wait(place, timeout)
    list.append(place.line, place)
    local ok, why = place.gate:receive(timeout)
    if not ok then return nil, why end
    place.taken = true
    return true, place.value
end

-- Hands a value to the first in the line; returns its place, nil if nobody waits.
local function serve(line, value)
    local place = line.first
    while place do
        list.remove(place)
        place.value = value
        if place.gate:try_send(true) then
            place.given = true
            return place
        end
        place = line.first
    end
end

local function serve_all(line)
    while serve(line) do end
end

-- Sends all away, with nil, "closed".
local function dismiss(line)
    while line.first do
        local place = line.first
        list.remove(place)
        place.gate:close()
    end
end

-- How many really wait.
local function count(line)
    local place = line.first
    while place do
        local next = place.next
        if place.gate.balance == 0 then list.remove(place) end
        place = next
    end
    return line.n
end

local function check_count(n, name)
    if math.type(n) ~= "integer" or n < 1 then
        error(("bad argument #1 to '%s' (a count from 1 on)"):format(name), 3)
    end
end

local function class(name)
    local c = { __name = name }
    c.__index = c
    return c
end

-- ---- mutex ----

---@class mutex held by nobody or by one; who holds it is not remembered
---@field package held boolean
---@field package line line
local Mutex = class "mutex"

---Waits until the mutex is free and takes it. A second time by the same tasklet waits, too.
---@param timeout? number seconds
---@return mutex? self true to a test, and releases when held in a `<close>` variable
---@return string? err "timeout"
function Mutex:acquire(timeout)
    if self.held then
        local place <close> = new_place(self.line)
        if self.held then
            local ok, why = wait(place, timeout)
            if not ok then return nil, why end
            return self
        end
    end
    self.held = true
    return self
end

---@return boolean done false: it is held
function Mutex:try_acquire()
    if self.held then return false end
    self.held = true
    return true
end

---Gives it to the first who waits for it. Any tasklet may, and reactor code; raises if it is
---not held.
function Mutex:release()
    if not self.held then error("a release too many: the mutex is not held", 2) end
    if not serve(self.line) then self.held = false end
end

---Calls `f(...)` with the mutex held, which is released whatever ends that.
---@return any ... what `f` returns
function Mutex:run(f, ...)
    check.callable(f, 1, "run")
    local _ <close> = self:acquire()
    return f(...)
end

Mutex.__close = function(self) self:release() end

---@return mutex
function sync.mutex()
    local self = setmetatable({ held = false }, Mutex)
    self.line = new_line(self, Mutex.release)
    return self
end

-- ---- semaphore ----

---@class semaphore
---@field package n integer
---@field package free integer
---@field package line line
local Semaphore = class "semaphore"

---Waits until one is free and takes it.
---@param timeout? number seconds
---@return semaphore? self true to a test, and releases one when held in a `<close>` variable
---@return string? err "timeout"
function Semaphore:acquire(timeout)
    if self.free == 0 then
        local place <close> = new_place(self.line)
        if self.free == 0 then
            local ok, why = wait(place, timeout)
            if not ok then return nil, why end
            return self
        end
    end
    self.free = self.free - 1
    return self
end

---@return boolean done false: none is free
function Semaphore:try_acquire()
    if self.free == 0 then return false end
    self.free = self.free - 1
    return true
end

---Gives one to the first who waits. Raises if all are free.
function Semaphore:release()
    if self.free == self.n then error("a release too many: all are free", 2) end
    if not serve(self.line) then self.free = self.free + 1 end
end

---Calls `f(...)` with one of them taken, which is released on return, error and kill.
---@type fun(self: semaphore, f: function, ...): ...
Semaphore.run = Mutex.run
Semaphore.__close = Mutex.__close

---@param n integer how many may hold it at a time
---@return semaphore
function sync.semaphore(n)
    check_count(n, "semaphore")
    local self = setmetatable({ n = n, free = n }, Semaphore)
    self.line = new_line(self, Semaphore.release)
    return self
end

-- ---- condition ----

---@class condition stands alone: nothing comes between a tasklet's look at what it waits for
---and the wait (with neap.preempt a time slice may), so there is no lock to give up
---@field package line line
local Condition = class "condition"

---Waits until it is notified.
---@param timeout? number seconds
---@return true? ok
---@return string? err "timeout"
function Condition:wait(timeout)
    local place <close> = new_place(self.line)
    local ok, why = wait(place, timeout)
    if not ok then return nil, why end
    return true
end

---Wakes the first who waits; the next one, if that one is killed before it could go on.
---@return boolean woken false: nobody waits, and nothing is kept
function Condition:notify() return serve(self.line, true) ~= nil end

---Wakes all who wait.
function Condition:notify_all() serve_all(self.line) end

---@return condition
function sync.condition()
    local self = setmetatable({}, Condition)
    self.line = new_line(self, function(c, one)
        if one then c:notify() end
    end)
    return self
end

-- ---- barrier ----

---@class barrier
---@field package n integer
---@field package line line
local Barrier = class "barrier"

---Waits until `n` tasklets do, and is then ready for the next `n`. One that was killed, or ran
---out of time, does not count.
---@param timeout? number seconds
---@return true? ok
---@return string? err "timeout"
function Barrier:wait(timeout)
    local place <close> = new_place(self.line)
    if self.line.n >= self.n - 1 and count(self.line) == self.n - 1 then
        serve_all(self.line)
        return true
    end
    local ok, why = wait(place, timeout)
    if not ok then return nil, why end
    return true
end

---@param n integer
---@return barrier
function sync.barrier(n)
    check_count(n, "barrier")
    local self = setmetatable({ n = n }, Barrier)
    self.line = new_line(self)
    return self
end

-- ---- event ----

---@class event set or not
---@field package on boolean
---@field package line line
local Event = class "event"

---Wakes all who wait; later waits return at once.
function Event:set()
    self.on = true
    serve_all(self.line)
end

---Later waits wait again.
function Event:clear() self.on = false end

---Waits until it is set.
---@param timeout? number seconds
---@return true? ok
---@return string? err "timeout"
function Event:wait(timeout)
    local place <close> = not self.on and new_place(self.line) or nil
    if self.on then return true end
    local ok, why = wait(place, timeout)
    if not ok then return nil, why end
    return true
end

---@return event
function sync.event()
    local self = setmetatable({ on = false }, Event)
    self.line = new_line(self)
    return self
end

-- ---- queue ----

---@class queue `#q`: how many values it holds
---@field closed boolean
---@field package items any[] from `first`, `held` of them
---@field package first integer
---@field package held integer
---@field package limit number
---@field package getters line
---@field package putters line
local Queue = class "queue"

local function full(q) return not q.closed and q.held >= q.limit end
local function empty(q) return not q.closed and q.held == 0 end

local function append(q, v)
    q.items[q.first + q.held] = v
    q.held = q.held + 1
end

-- A getter was handed the value and ended: it was the oldest.
local function put_back(q, v)
    if serve(q.getters, v) then return end
    q.first = q.first - 1
    q.items[q.first] = v
    q.held = q.held + 1
end

-- Takes the oldest, and lets in who waits for room.
local function take(q)
    local v = q.items[q.first]
    q.items[q.first] = nil
    q.first = q.first + 1
    q.held = q.held - 1
    local place = not full(q) and serve(q.putters)
    if place then append(q, place.item) end
    return v
end

local function raise_closed() error(neap.ClosedError("the queue is closed"), 0) end

---Waits until there is room, and puts a value in; nil counts as one.
---@param v any
---@param timeout? number seconds
---@return true? ok raises ClosedError on a closed queue, and when it is closed meanwhile
---@return string? err "timeout"
function Queue:put(v, timeout)
    if full(self) then
        local place <close> = new_place(self.putters)
        if full(self) then
            place.item = v
            local ok, why = wait(place, timeout)
            if ok then return true end
            if why == "closed" then raise_closed() end
            return nil, why
        end
    end
    if self.closed then raise_closed() end
    if not serve(self.getters, v) then append(self, v) end
    return true
end

---Waits for a value, and takes the oldest.
---@param timeout? number seconds
---@return any v nil with an err, or a nil that was put
---@return string? err "timeout"; "closed", once nothing is left in a closed queue
function Queue:get(timeout)
    if empty(self) then
        local place <close> = new_place(self.getters)
        if empty(self) then
            local ok, got = wait(place, timeout)
            if ok then return got end
            return nil, got
        end
    end
    if self.held == 0 then return nil, "closed" end
    return take(self)
end

---Nothing more is put; what is in it can still be taken.
function Queue:close()
    self.closed = true
    dismiss(self.getters)
    dismiss(self.putters)
end

function Queue:__len() return self.held end

---@param n? integer how many values it holds at most; by default there is no limit
---@return queue
function sync.queue(n)
    if n ~= nil then check_count(n, "queue") end
    local self = setmetatable({ items = {}, first = 1, held = 0, limit = n or math.huge,
        closed = false }, Queue)
    self.getters, self.putters = new_line(self, put_back), new_line(self)
    return self
end

return sync
