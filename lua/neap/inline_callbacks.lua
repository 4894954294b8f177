-- neap.inline_callbacks: functions that wait for deferreds by coroutine.yield.

local check = require "neap.check"
local inside = require "neap.inside"
local neap = require "neap"

local M = {}

-- A call inside another one's first steps, so deep, begins when the outermost has returned:
-- each level costs several of C's, of which there are fewer than 200.
local MAX_DEPTH = 20

local depth = 0
local postponed = { first = 1, n = 0 }

-- One call of a function of inline_callbacks.
local Call = {}
Call.__index = Call

-- The end of a body: a deferred that the function returns is waited for.
local function returned(...)
    if inside.is_deferred((...)) then return coroutine.yield((...)) end
    return ...
end

-- What the coroutine runs.
local function body(call)
    return xpcall(function()
        return returned(call.f(table.unpack(call.args, 1, call.args.n)))
    end, function(err) return call:failure(err) end)
end

-- Makes a failure of an error of the function. One that came from the deferred that it waited
-- for keeps where it was raised first.
function Call:failure(err)
    local traceback, origin = inside.traceback(2), self.origin
    if origin and rawequal(origin.value, err) and origin.traceback then
        traceback = traceback .. "\nraised first:\n" .. origin.traceback
    end
    return inside.new_failure(err, traceback)
end

function Call:finish(ok, ...)
    local d = self.deferred
    if not d.called then return d[ok and "callback" or "errback"](d, ...) end
    if not ok then inside.report((...)) end -- somebody else has fired it
end

-- What a step of the coroutine has given: an error of its own, the end, or what it waits for.
-- Here and in advance all calls are tail calls: however many deferreds have fired already,
-- the stack does not grow.
function Call:stepped(resumed, ...)
    if not resumed then return self:finish(false, inside.new_failure((...))) end
    if coroutine.status(self.coroutine) == "dead" then return self:finish(...) end
    if not inside.is_deferred((...)) then return self:advance(coroutine.resume, ...) end
    self.waits_for, self.arrived = ..., false
    self.waits_for:fork():add_callbacks(self.on_value, self.on_failure)
    local result = self.arrived
    self.arrived = nil
    if result then return self:advance(result.resume, table.unpack(result, 1, result.n)) end
    if self.cancelled then
        local ok, failure = inside.call(self.cancel, self)
        if not ok then inside.report(failure) end
    end
end

-- Resumes the coroutine, by coroutine.resume or inside.throw.
function Call:advance(resume, ...)
    return self:stepped(resume(self.coroutine, ...))
end

-- What it waits for has a result: at once if arrived is false.
function Call:arrive(resume, ...)
    self.waits_for = nil
    if self.arrived == nil then return self:advance(resume, ...) end
    local result = table.pack(...)
    result.resume = resume
    self.arrived = result
end

-- A cancel of its deferred: cancels what it waits for; while it runs, what it waits for next.
function Call:cancel()
    self.cancelled = not self.waits_for
    if self.waits_for then
        self.waits_for:cancel()
    elseif not self.begun then
        self.deferred:errback(neap.CancelledError("cancelled"))
    end
end

function Call:begin()
    if self.deferred.called then return end -- cancelled
    self.begun = true
    local mine = depth
    depth = mine + 1
    local ok, failure = inside.call(self.advance, self, coroutine.resume, self)
    depth = mine
    if not ok then self:finish(false, failure) end
end

local function postpone(call)
    postponed.n = postponed.n + 1
    postponed[postponed.n] = call
end

local function begin_postponed()
    while postponed.first <= postponed.n do
        local call = postponed[postponed.first]
        postponed[postponed.first] = nil
        postponed.first = postponed.first + 1
        call:begin()
    end
    postponed.first, postponed.n = 1, 0
end

local function new_call(f, ...)
    local call = setmetatable({ f = f, args = table.pack(...),
        coroutine = coroutine.create(body) }, Call)
    call.deferred = inside.asked(function() call:cancel() end)
    function call.on_value(...) call:arrive(coroutine.resume, ...) end
    function call.on_failure(failure)
        call.origin = failure
        call:arrive(inside.throw, failure.value)
    end
    return call
end

---Makes of a function one that returns a deferred of its results, and in which
---`coroutine.yield(d)` waits for the deferred `d`: it returns d's values, or raises its error
---there, which then counts as handled. What is no deferred is given back.
---
---The function begins at once, and all of it runs as callbacks do: what would block its
---tasklet raises. A call inside another call's first steps, nested more than 20 deep, begins
---when the outermost one has given way. A deferred that it returns is waited for.
---
---A cancel cancels what the function waits for, or will wait for next; it may catch the error
---and go on, and then the next cancel hits its next wait. Before it has begun: it never runs.
---@param f function
---@return fun(...): deferred
function M.inline_callbacks(f)
    check.callable(f, 1, "inline_callbacks")
    return function(...)
        local call = new_call(f, ...)
        if depth >= MAX_DEPTH then
            postpone(call)
            return call.deferred
        end
        call:begin()
        if depth == 0 then begin_postponed() end
        return call.deferred
    end
end

return M
