-- What is made of deferreds: lists of them, and locks and queues that give them.
--
-- A finalizer may run wherever memory is made and call anything here: so each operation makes
-- what it needs first, and only then looks at the state and changes it.

local check = require "neap.check"
local inside = require "neap.inside"
local neap = require "neap"
local linked = require "neap.list"

local deferreds = {}

-- ---- lists ----

local list_options =
    { fire_on_one_callback = true, fire_on_one_errback = true, consume_errors = true }

-- A copy of a list of deferreds, with n.
local function copied(list, name)
    local copy = { n = list.n or #list }
    for i = 1, copy.n do
        copy[i] = list[i]
        if not inside.is_deferred(copy[i]) then
            error(("bad argument #1 to '%s' (a list of deferreds; its number %d is a %s)")
                :format(name, i, type(copy[i])), 3)
        end
    end
    return copy
end

-- Cancels all of a list. An error of a canceller is reported, the others are cancelled.
local function cancel_all(list)
    for i = 1, list.n do
        local ok, failure = inside.call(list[i].cancel, list[i])
        if not ok then inside.report(failure) end
    end
end

-- Calls done(i, success, result) when the i-th of a list has a result: its first value, or
-- the failure. Each keeps its result, unless `consume` makes nil of a failure.
local function watch(list, consume, done)
    for i = 1, list.n do
        list[i]:add_callbacks(function(...)
            done(i, true, ...)
            return ...
        end, function(failure)
            done(i, false, failure)
            if not consume then return failure end
        end)
    end
end

local function first_error(i, failure)
    local err = neap.FirstError(("number %d failed: %s"):format(i, tostring(failure.value)))
    err.index, err.sub_failure = i, failure
    return inside.new_failure(err, failure.traceback)
end

local function fire_once(d, name, ...)
    if not d.called then d[name](d, ...) end
end

---A deferred of the results of a list of deferreds, in the same order, when all of them have
---one. Each keeps its result, and goes on when another one fails.
---@class deferred_list_options
---@field fire_on_one_callback? boolean fires with the first success: its value, its index
---@field fire_on_one_errback? boolean fails at the first failure, with neap.FirstError
---@field consume_errors? boolean failures of the list's own become nil: not reported
---
---@param list deferred[] its length is `list.n`, or `#list`
---@param opts? deferred_list_options
---@return deferred d of a list with `n`, of `{ success = true, result = first value }` and
---`{ success = false, result = failure }`. A cancel cancels all of them; the list then has
---what they make of it. An empty list fires at once, with fire_on_one_callback never
function deferreds.deferred_list(list, opts)
    check.type("table", list, 1, "deferred_list")
    opts = check.options(opts, 2, "deferred_list", list_options)
    list = copied(list, "deferred_list")
    local results, left = { n = list.n }, list.n
    local d = inside.asked(function() cancel_all(list) end)
    if left == 0 and not opts.fire_on_one_callback then d:callback(results) end
    watch(list, opts.consume_errors, function(i, success, result)
        results[i] = { success = success, result = result }
        left = left - 1
        if success and opts.fire_on_one_callback then
            fire_once(d, "callback", result, i)
        elseif not success and opts.fire_on_one_errback then
            fire_once(d, "errback", first_error(i, result))
        elseif left == 0 then
            fire_once(d, "callback", results)
        end
    end)
    return d
end

---A deferred of the first values of a list of deferreds, in the same order.
---@param list deferred[] its length is `list.n`, or `#list`
---@param opts? deferred_list_options `consume_errors`
---@return deferred d of a list with `n`; or the first failure, as neap.FirstError. A cancel
---cancels all of them
function deferreds.gather_results(list, opts)
    check.type("table", list, 1, "gather_results")
    opts = check.options(opts, 2, "gather_results", list_options)
    list = copied(list, "gather_results")
    local results, left = { n = list.n }, list.n
    local d = inside.asked(function() cancel_all(list) end)
    if left == 0 then d:callback(results) end
    watch(list, opts.consume_errors, function(i, success, result)
        if not success then return fire_once(d, "errback", first_error(i, result)) end
        results[i], left = result, left - 1
        if left == 0 then fire_once(d, "callback", results) end
    end)
    return d
end

local group = { __name = "failures" }

function group.__tostring(failures)
    local texts = {}
    for i, failure in ipairs(failures) do texts[i] = tostring(failure.value) end
    return ("all %d failed: %s"):format(failures.n, table.concat(texts, "; "))
end

---A deferred of the first success in a list of deferreds; the others are cancelled, and what
---becomes of them is not reported.
---@param list deferred[] its length is `list.n`, or `#list`
---@return deferred d of `index, value`; or, when all fail, a failure whose value is the list
---of the failures, in order, with `n`. A cancel cancels all of them, and gives CancelledError
---if all fail then. Of an empty list: never
function deferreds.race(list)
    check.type("table", list, 1, "race")
    list = copied(list, "race")
    local failures, left, cancelled = setmetatable({ n = list.n }, group), list.n, false
    local d = inside.asked(function()
        cancelled = true
        cancel_all(list)
    end)
    watch(list, true, function(i, success, ...)
        left = left - 1
        if d.called then return end
        if success then
            d:callback(i, ...)
            cancel_all(list)
        else
            failures[i] = ...
            if left > 0 then return end
            d:errback(cancelled and neap.CancelledError("cancelled") or failures)
        end
    end)
    return d
end

-- ---- those who wait in line, the first first ----

-- A deferred with a place that can be appended to a line; a cancel leaves that.
local function new_place()
    local place = linked.node {}
    place.deferred = neap.deferred(function() linked.remove(place) end)
    return place
end

-- Fires the first in line; false if there is none.
local function serve(line, ...)
    while line.first do
        local place = line.first
        linked.remove(place)
        if not place.deferred.called then
            place.deferred:callback(...)
            return true
        end
    end
    return false
end

-- ---- lock and semaphore ----

-- Calls f(...) once `primitive` is acquired, and releases it when the result is there.
local function run(primitive, f, ...)
    check.callable(f, 1, "run")
    local args = table.pack(...)
    local function release(...)
        primitive:release()
        return ...
    end
    return primitive:acquire():add_callback(function()
        local d = neap.succeed()
        d:add_callback(function() return f(table.unpack(args, 1, args.n)) end)
        return d:add_both(release)
    end)
end

---A lock that is waited for by deferreds, in order.
---@class deferred_lock
---@field locked boolean
local Lock = { __name = "deferred_lock" }
Lock.__index = Lock

---@return deferred d of the lock, once it is the caller's. A cancel leaves the line; once it
---has fired, release is owed
function Lock:acquire()
    local place = new_place()
    if self.locked then
        linked.append(self.line, place)
    else
        self.locked = true
        place.deferred:callback(self)
    end
    return place.deferred
end

---Passes it on to the next in line. An error if it is not locked.
function Lock:release()
    if not self.locked then error("the lock is not locked", 2) end
    if not serve(self.line, self) then self.locked = false end
end

---Calls `f(...)` as a callback, so it may not block, with the lock held until its result is
---there, a failure included; if it returns a deferred, until that has fired.
---@param f function
---@return deferred d of f's results. A cancel leaves the line, or cancels f's deferred
function Lock:run(f, ...) return run(self, f, ...) end

---@return deferred_lock
function deferreds.deferred_lock()
    return setmetatable({ locked = false, line = linked.new() }, Lock)
end

---A number of tokens that are waited for by deferreds, in order.
---@class deferred_semaphore
---@field tokens integer how many are free
---@field limit integer how many there are
local Semaphore = { __name = "deferred_semaphore" }
Semaphore.__index = Semaphore

---@return deferred d of the semaphore, once a token is the caller's; as that of a lock
function Semaphore:acquire()
    local place = new_place()
    if self.tokens == 0 then
        linked.append(self.line, place)
    else
        self.tokens = self.tokens - 1
        place.deferred:callback(self)
    end
    return place.deferred
end

---Passes a token on to the next in line. An error if none is taken.
function Semaphore:release()
    if self.tokens >= self.limit then error("no token of the semaphore is taken", 2) end
    if not serve(self.line, self) then self.tokens = self.tokens + 1 end
end

---Calls `f(...)` with a token held; as that of a lock.
---@param f function
---@return deferred d of f's results
function Semaphore:run(f, ...) return run(self, f, ...) end

---@param n integer how many tokens, from 1 on
---@return deferred_semaphore
function deferreds.deferred_semaphore(n)
    if math.type(n) ~= "integer" or n < 1 then
        error("bad argument #1 to 'deferred_semaphore' (a count from 1 on)", 2)
    end
    return setmetatable({ tokens = n, limit = n, line = linked.new() }, Semaphore)
end

-- ---- queue ----

---A queue whose get gives a deferred.
---@class deferred_queue
---@field size number how many items it keeps
---@field backlog number how many gets may wait
---@field pending integer how many items it has
---@field waiting integer how many gets wait
local Queue = { __name = "deferred_queue" }

function Queue:__index(name)
    if name == "waiting" then return self.line.n end
    return Queue[name]
end

---Appends an item, or gives it to the first get that waits. More than `size` of them:
---neap.QueueOverflow is raised.
---@param ... any the values that the get's deferred will have: no deferred, which cannot be
---the value of one
function Queue:put(...)
    if inside.is_deferred((...)) then error("a deferred cannot be the value of a deferred", 2) end
    local item = table.pack(...)
    if serve(self.line, ...) then return end
    if self.pending >= self.size then error(neap.QueueOverflow("the queue is full"), 2) end
    self.pending = self.pending + 1
    self.items[self.first + self.pending - 1] = item
end

---Takes an item. More than `backlog` that wait: neap.QueueUnderflow is raised.
---@return deferred d of the first item, once there is one. A cancel leaves the line; the item
---of one that has fired is gone
function Queue:get()
    local place = new_place()
    if self.pending == 0 then
        if self.line.n >= self.backlog then
            error(neap.QueueUnderflow("too many wait for the queue"), 2)
        end
        linked.append(self.line, place)
        return place.deferred
    end
    local item = self.items[self.first]
    self.items[self.first] = nil
    self.first, self.pending = self.first + 1, self.pending - 1
    if self.pending == 0 then self.first = 1 end
    place.deferred:callback(table.unpack(item, 1, item.n))
    return place.deferred
end

local function check_limit(limit, i)
    if limit ~= nil and (type(limit) ~= "number" or limit < 0) then
        error(("bad argument #%d to 'deferred_queue' (a count from 0 on)"):format(i), 3)
    end
    return limit or math.huge
end

---@param size? integer how many items it keeps, from 0 on; any number by default
---@param backlog? integer how many gets may wait, from 0 on; any number by default
---@return deferred_queue
function deferreds.deferred_queue(size, backlog)
    size, backlog = check_limit(size, 1), check_limit(backlog, 2)
    return setmetatable({ size = size, backlog = backlog, items = {}, first = 1, pending = 0,
        line = linked.new() }, Queue)
end

return deferreds
