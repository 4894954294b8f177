-- Time for deferreds and for what is done again and again: neap.looping_call,
-- neap.defer_later, d:add_timeout.

local check = require "neap.check"
local neap = require "neap"

local time = {}

-- ---- looping_call ----

---A function that is called at every multiple of an interval.
---@class looping_call
---@field running boolean whether it has been started and not stopped
---@field clock any the virtual clock it runs on, nil: the runtime's own; set by `start`
local loop = { running = false }
loop.__index = loop
loop.__name = "looping call"

-- Calls f(...) while the loop's clock is in use; f does not wait.
local function on_clock_of(self, f, ...)
    local in_use = neap.use_clock(self.clock)
    local result = f(...)
    neap.use_clock(in_use)
    return result
end

-- The last interval that has begun at `now`, and no earlier one than was planned: sums of
-- floats may fall a little short of a multiple.
local function interval_at(self, now)
    local n = self._interval > 0 and (now - self._began) // self._interval or 0
    return math.max(n, self._next)
end

local tick

-- Plans the next call at the first multiple that lies in the future.
local function plan(self)
    local now, delay = on_clock_of(self, neap.now), 0
    if self._interval > 0 then
        local n = math.max((now - self._began) // self._interval, self._last) + 1
        delay = self._began + n * self._interval - now
        self._next = n
    end
    self._call = on_clock_of(self, neap.call_later, delay, tick, self)
end

-- Answers start's deferred; a loop that was cancelled has none any more.
local function finish(self, method, value)
    self.running, self._call = false, nil
    local d = self._deferred
    self._deferred = nil
    if d then d[method](d, value) end
end

function tick(self)
    self._call, self._busy = nil, true
    local n = interval_at(self, on_clock_of(self, neap.now))
    local count = self._interval > 0 and math.tointeger(n - self._last) or 1
    self._last = n
    local d = neap.succeed():add_callback(function()
        if self._counts then return self._f(count, table.unpack(self._args, 1, self._args.n)) end
        return self._f(table.unpack(self._args, 1, self._args.n))
    end)
    d:add_callbacks(function()
        self._busy = false
        if self.running then plan(self) else finish(self, "callback", self) end
    end, function(failure)
        self._busy = false
        if not self._deferred then return failure end
        finish(self, "errback", failure)
    end)
end

---Starts calling f: now, and then at each multiple of the interval that lies in the future;
---those that pass while f, or a deferred that it returned, takes longer, are skipped. f is
---called as reactor code. Raises if the loop is running.
---@param interval number seconds; 0: again as soon as the reactor has had its turn
---@param now? boolean false: the first call comes only after one interval
---@return deferred done fires with the loop when it is stopped, fails with the first error of
---f, which ends the loop; its cancel stops the loop
function loop:start(interval, now)
    if self.running or self._busy then error("the looping call is running", 2) end
    if type(interval) ~= "number" or not (interval >= 0 and interval < math.huge) then
        error("an interval is a finite number of seconds from 0 on", 2)
    end
    if not self._fixed_clock then
        self.clock = neap.use_clock(nil)
        neap.use_clock(self.clock)
    end
    local d = neap.deferred(function()
        self._deferred = nil
        self:stop()
    end)
    self._deferred, self.running, self._interval = d, true, interval
    self._began = on_clock_of(self, neap.now)
    if now == false then
        self._last = 0
        plan(self)
    else
        self._last, self._next = -1, 0
        tick(self)
    end
    return d
end

---Stops it; what `start` returned fires, after a deferred that f has returned. Raises if the
---loop is not running.
function loop:stop()
    if not self.running then error("the looping call is not running", 2) end
    self.running = false
    if self._call then
        self._call:cancel()
        finish(self, "callback", self)
    end
end

---Puts the next call one interval from now, and all others after it.
function loop:reset()
    if not self.running then error("the looping call is not running", 2) end
    if not self._call then return end
    self._call:cancel()
    self._began, self._last = on_clock_of(self, neap.now), 0
    plan(self)
end

---From now on f gets, in front of its arguments, how many intervals have gone by since its
---last call: 1, or more if some were skipped.
---@return looping_call self
function loop:with_count()
    self._counts = true
    return self
end

---Runs it on a virtual clock, whatever clock is in use when it is started.
---@param clock any nil: the runtime's own
---@return looping_call self
function loop:on_clock(clock)
    self.clock, self._fixed_clock = clock, true
    return self
end

---A loop that calls `f(...)`; see `start`.
---@param f fun(...): any
---@return looping_call
function time.looping_call(f, ...)
    check.callable(f, 1, "looping_call")
    return setmetatable({ _f = f, _args = table.pack(...), _busy = false }, loop)
end

-- ---- deferreds ----

---A deferred of the results of `f(...)`, called after so many seconds as reactor code.
---Cancelled before that, f is never called.
---@param seconds number
---@param f? fun(...): any
---@return deferred
function time.defer_later(seconds, f, ...)
    check.type("number", seconds, 1, "defer_later")
    if f ~= nil then check.callable(f, 2, "defer_later") end
    local call
    local d = neap.deferred(function() call:cancel() end)
    call = neap.call_later(seconds, d.callback, d)
    if f == nil then return d end
    local args = table.pack(...)
    return d:add_callback(function() return f(table.unpack(args, 1, args.n)) end)
end

---Cancels the deferred d if the callbacks added so far have not brought a result in time; the
---CancelledError that follows becomes a TimeoutError. Callbacks added later have all the time
---they want.
---@param d deferred
---@param seconds number
---@param on_timeout? fun(result: any, seconds: number): any its result replaces what the cancel
---led to: the failure, or the first value
---@return deferred d
function time.add_timeout(d, seconds, on_timeout)
    if on_timeout ~= nil then check.callable(on_timeout, 2, "add_timeout") end
    local timed_out = false
    local call = neap.call_later(seconds, function()
        timed_out = true
        d:cancel()
    end)
    d:add_callbacks(function(...)
        if timed_out and on_timeout then return on_timeout((...), seconds) end
        return ...
    end, function(failure)
        if timed_out and on_timeout then return on_timeout(failure, seconds) end
        if timed_out and neap.is(failure.value, neap.CancelledError) then
            error(neap.TimeoutError(("no result after %g s"):format(seconds)), 0)
        end
        return failure
    end)
    return d:add_both(function(...)
        if call:active() then call:cancel() end
        return ...
    end)
end

return time
