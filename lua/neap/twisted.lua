-- The names of Twisted over neap, for people who port code. Deferreds, failures, delayed
-- calls and clocks are neap's own, and have both kinds of names once this is loaded:
-- `d:addCallback(f)` is `d:add_callback(f)`. docs/twisted.md tells what differs.

local neap = require "neap"
local inside = require "neap.inside"
local is_instance = require "neap.twisted.class".is_instance
local tcp = require "neap.twisted.tcp"

local defer, task, reactor, failure, threads = {}, {}, {}, {}, {}

-- ---- the names of methods ----

local function alias(methods, names)
    for theirs, ours in pairs(names) do methods[theirs] = methods[ours] end
end

-- Calls f(...) while `clock` is in use: a clock of neap, or the reactor.
local function on_clock(clock, f, ...)
    if clock == nil or clock == reactor then return f(...) end
    local in_use = neap.use_clock(clock)
    local result = table.pack(pcall(f, ...))
    neap.use_clock(in_use)
    if not result[1] then error(result[2], 0) end
    return table.unpack(result, 2, result.n)
end

local deferred_methods = inside.methods(neap.deferred())
alias(deferred_methods, {
    addCallback = "add_callback", addErrback = "add_errback", addBoth = "add_both",
    addCallbacks = "add_callbacks", chainDeferred = "chain_deferred",
})

---d:addTimeout(seconds[, clock[, on_timeout]]): add_timeout, on the reactor or a Clock.
function deferred_methods.addTimeout(d, seconds, clock, on_timeout)
    return on_clock(clock, d.add_timeout, d, seconds, on_timeout)
end

local failure_methods = getmetatable(inside.new_failure("")).__index
failure_methods.raiseException = failure_methods.raise

-- Errors of connections are objects of classes in Lua, which the core does not know.
local check = failure_methods.check
function failure_methods.check(f, ...)
    for _, wanted in ipairs { ... } do
        if is_instance(f.value, wanted) then return wanted end
    end
    return check(f, ...)
end

local trap = failure_methods.trap
function failure_methods.trap(f, ...)
    for _, wanted in ipairs { ... } do
        if is_instance(f.value, wanted) then return wanted end
    end
    return trap(f, ...)
end

function failure_methods.getErrorMessage(f) return tostring(f.value) end
function failure_methods.getTraceback(f)
    return ("%s\n%s"):format(tostring(f.value), f.traceback or "")
end

do
    local clock = neap.clock()
    local call = clock:call_later(0, print)
    inside.methods(call).getTime = function(c) return c.time end
    call:cancel()
    alias(inside.methods(clock), { callLater = "call_later", seconds = "now" })
end

-- ---- defer ----

---A deferred of neap; `canceller(d)`.
defer.Deferred = neap.deferred
defer.succeed, defer.fail = neap.succeed, neap.fail
defer.maybeDeferred, defer.execute = neap.maybe_deferred, neap.maybe_deferred
defer.inlineCallbacks = neap.inline_callbacks
defer.race = neap.race
defer.DeferredLock = neap.deferred_lock
defer.DeferredSemaphore = neap.deferred_semaphore
defer.DeferredQueue = neap.deferred_queue
defer.CancelledError = neap.CancelledError
defer.AlreadyCalledError = neap.AlreadyCalledError
defer.FirstError = neap.FirstError
defer.TimeoutError = neap.TimeoutError
defer.QueueOverflow, defer.QueueUnderflow = neap.QueueOverflow, neap.QueueUnderflow

---Its arguments: to be used as `return defer.returnValue(v)`.
function defer.returnValue(...) return ... end

---@param list deferred[]
---@param fireOnOneCallback? boolean|table or a table with the three as fields
---@param fireOnOneErrback? boolean
---@param consumeErrors? boolean
---@return deferred d as that of neap.deferred_list
function defer.DeferredList(list, fireOnOneCallback, fireOnOneErrback, consumeErrors)
    local o = fireOnOneCallback
    if type(o) ~= "table" then
        o = { fireOnOneCallback = o, fireOnOneErrback = fireOnOneErrback,
            consumeErrors = consumeErrors }
    end
    return neap.deferred_list(list, { fire_on_one_callback = o.fireOnOneCallback,
        fire_on_one_errback = o.fireOnOneErrback, consume_errors = o.consumeErrors })
end

---@param list deferred[]
---@param consumeErrors? boolean
---@return deferred d as that of neap.gather_results
function defer.gatherResults(list, consumeErrors)
    return neap.gather_results(list, { consume_errors = consumeErrors })
end

-- ---- task ----

---A looping call of neap: start, stop, reset, running; `clock` may be set before start.
function task.LoopingCall(f, ...)
    local loop = neap.looping_call(f, ...)
    function loop.start(self, interval, now)
        local clock = rawget(self, "clock")
        if clock == reactor then clock = nil end
        self.start = nil
        if clock then self:on_clock(clock) end
        return self:start(interval, now)
    end
    return loop
end

---The same; f gets first how many intervals have gone by.
function task.withCount(f, ...) return task.LoopingCall(f, ...):with_count() end

---A virtual clock of neap: callLater, seconds, advance.
task.Clock = neap.clock

---@param clock any the reactor or a Clock
---@return deferred d of f's results, after so many seconds
function task.deferLater(clock, seconds, f, ...)
    return on_clock(clock, neap.defer_later, seconds, f or function() end, ...)
end

---Blocks until the deferred of `main(reactor, ...)` has fired, and returns its results or
---raises its error. It does not end the program.
function task.react(main, ...)
    return neap.block_on(neap.maybe_deferred(main, reactor, ...))
end

-- ---- reactor, threads, failure ----

-- The reactor's functions may be called by a dot, or by a colon as a Clock's are.
local function export(name, f)
    reactor[name] = function(first, ...)
        if first == reactor then return f(...) end
        return f(first, ...)
    end
end

local stopped -- fires at stop

export("callLater", neap.call_later)
export("seconds", neap.now)
export("callWhenRunning", function(f, ...) return neap.call_later(0, f, ...) end)

---Blocks the calling tasklet until reactor.stop is called. The program itself needs no such
---call: its reactor runs as long as there is something to do.
export("run", function()
    if stopped then error("the reactor is running", 3) end
    stopped = neap.deferred()
    local _ <close> = setmetatable({}, { __close = function() stopped = nil end })
    neap.block_on(stopped)
end)

export("stop", function()
    if not stopped or stopped.called then
        error("Can't stop reactor that isn't running.", 3)
    end
    stopped:callback()
end)

export("listenTCP", tcp.listenTCP)
export("connectTCP", tcp.connectTCP)

local function missing(group, name, instead)
    group[name] = function()
        error(("%s is not in neap: %s"):format(name, instead), 2)
    end
end

missing(reactor, "callFromThread", "there is one thread; callLater(0, f) runs f in the reactor")
missing(reactor, "callInThread", "use deferred_tasklet for what waits")
missing(threads, "deferToThread", "use deferred_tasklet for what waits")
missing(threads, "blockingCallFromThread", "use block_on, or blocking_tasklet")

---A failure of an error, with the traceback of the caller.
function failure.Failure(err) return inside.new_failure(err, inside.traceback(2)) end

return { defer = defer, task = task, reactor = reactor, failure = failure, threads = threads,
    error = tcp.error, protocol = require "neap.twisted.protocol",
    basic = require "neap.twisted.basic" }
