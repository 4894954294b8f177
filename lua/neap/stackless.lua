-- The names of Stackless Python over neap, for people who port code. Tasklets and channels
-- are neap's own: whatever neap does with them works too, and their methods are those of
-- neap. What a Python method is called and neap's has not, is a function here whose first
-- argument is the object: `t.raise_exception(E, x)` is `stackless.raise_exception(t, E, x)`.
--
-- What differs from Stackless (docs/stackless.md has the whole table):
--   * run, kill and throw are flat: the target runs, the caller goes on right after it, and
--     nobody else moves. Stackless turns its ring, so those queued behind the target ran too.
--   * close wakes who waits on the channel; `stackless.close` is Stackless's own form.
--   * A receive on a closed channel gives `nil, "closed"`; a send raises neap.ClosedError.
--   * `for v in ch` ends when the channel is closed and drained, not by StopIteration, and
--     raises at a sent nil: `for i, v in ch:iter()` passes it.
--   * `ch.queue` is a list; `stackless.queue(ch)` is the first in it.
--   * pcall sees TaskletExit like any other error; neap.pcall lets it through.
--   * When every tasklet waits, timers and sockets included, that is a deadlock; a blocked
--     tasklet that nobody can reach is kept and named, not dropped.
--   * Not here: pickling, threads, `next` and `prev`, `soft` and `totaltimeout` of run.

local inside = require "neap.inside"
local neap = require "neap"

local stackless = {}

---The error that ends a tasklet silently: one value, not a class.
stackless.TaskletExit = neap.TaskletExit

---A rendezvous channel, neap's own: send, receive, send_sequence, balance, preference, ...
stackless.channel = neap.channel

---The tasklet that runs; nil in code that the reactor runs.
stackless.getcurrent = neap.getcurrent
---The same: Stackless has it as a variable.
stackless.current = neap.getcurrent
---The main tasklet.
stackless.getmain = neap.getmain
---The same: Stackless has it as a variable.
stackless.main = neap.getmain
---How many tasklets are runnable, the caller included.
stackless.getruncount = neap.getruncount
---`f(previous, next)` at every switch; returns the old callback. nil: none.
stackless.set_schedule_callback = neap.set_schedule_callback
---`f(channel, tasklet, sending, will_block)` before every transfer; returns the old callback.
stackless.set_channel_callback = neap.set_channel_callback
---Adds `n` to the count of traps and returns the old one: above 0 a switch raises.
stackless.switch_trap = neap.switch_trap

-- ---- errors ----

local error_handler

-- What Python calls the type of an error: its metatable, or the name of its Lua type.
local function kind(err)
    return type(err) == "table" and getmetatable(err) or type(err)
end

local function with_traceback(err)
    return { err = err, traceback = inside.traceback(2) }
end

-- Ends a guarded tasklet: its results, or whatever the handler makes of its error.
local function ended(ok, failure, ...)
    if ok then return failure, ... end
    if type(failure) ~= "table" then error(failure, 0) end -- Lua could not run with_traceback
    local err = failure.err
    if neap.is(err, neap.TaskletExit) or not error_handler then error(err, 0) end
    error_handler(kind(err), err, failure.traceback)
end

-- The function of a tasklet whose errors go to the handler. One that starts while there is
-- none runs bare, so that its report has the whole traceback.
local function guarded(f)
    return function(...)
        if not error_handler then return f(...) end
        return ended(xpcall(f, with_traceback, ...))
    end
end

---Sets the function that gets the errors that nobody handles in tasklets of
---`stackless.tasklet` and `stackless.bind` started from now on. It runs in the tasklet that
---dies. If it returns, the error counts as handled; an error that it raises goes where the
---first would have gone: to the caller of `run`, else to neap.on_error or stderr.
---@param f? fun(kind: any, err: any, traceback: string) kind: its metatable, or type name
---@return function? old
function stackless.set_error_handler(f)
    if f ~= nil and not inside.callable(f) then
        error("bad argument #1 to 'set_error_handler' (a function or nil)", 2)
    end
    local old = error_handler
    error_handler = f
    return old
end

-- An error as Python makes it of `raise class(...)`.
local function make_error(class, ...)
    if rawequal(class, neap.TaskletExit) then return class end
    if inside.callable(class) then return class(...) end
    if select("#", ...) > 0 then
        error("instance exception may not have a separate value", 3)
    end
    return class
end

-- An error as Python makes it of `throw(class, value)`: the value may be the error itself.
local function thrown_error(class, value)
    if value == nil then return make_error(class) end
    if inside.callable(class) and (getmetatable(value) == class or neap.is(value, class)) then
        return value
    end
    if not inside.callable(class) and not rawequal(class, neap.TaskletExit) then
        error("instance exception may not have a separate value", 3)
    end
    return make_error(class, value)
end

-- ---- tasklets ----

local function check_function(f)
    if f ~= nil and not inside.callable(f) then
        error("tasklet function must be a callable or None", 3)
    end
end

---A tasklet of neap around `f`; `stackless.tasklet(f)(...)` queues it.
---@param f? function
---@return tasklet
function stackless.tasklet(f)
    check_function(f)
    return neap.tasklet(f and guarded(f))
end

---`t:bind(f, ...)`, whose errors go to the error handler.
---@param t tasklet
---@param f? function nil: with arguments the old one, else none
---@return tasklet t
function stackless.bind(t, f, ...)
    check_function(f)
    return t:bind(f and guarded(f), ...)
end

---Raises `class(...)` in a tasklet at the point where it waits, now.
---@param t tasklet
---@param class any a class or function that is called to make the error, or the error itself
function stackless.raise_exception(t, class, ...)
    local err = make_error(class, ...)
    return t:throw(err)
end

---Raises an error in a tasklet at the point where it waits.
---@param t tasklet
---@param class any a class, called with `value` unless that is an error of it; or the error
---@param value? any
---@param _? any Stackless's traceback: not used
---@param pending? boolean when its turn comes, not now
function stackless.throw(t, class, value, _, pending)
    local err = thrown_error(class, value)
    return t:throw(err, pending)
end

---@param t tasklet
---@return boolean
function stackless.is_current(t) return t.current end

---@param t tasklet
---@return boolean
function stackless.is_main(t) return t.is_main end

---Does nothing: a wait inside C raises, so there is no nesting to ignore.
---@return boolean old always false
function stackless.set_ignore_nesting() return false end

---Keeps time slices out of the running tasklet until the variable that holds this goes out
---of scope: `local _ <close> = stackless.atomic()`.
---@return table
function stackless.atomic()
    local t = neap.getcurrent()
    local old = t:set_atomic(true)
    return setmetatable({}, { __close = function() t:set_atomic(old) end })
end

-- ---- the queue ----

---Lets the others run, then goes on.
---@return any ... the arguments; without any, the running tasklet
function stackless.schedule(...)
    if select("#", ...) > 0 then return neap.schedule(...) end
    neap.schedule()
    return neap.getcurrent()
end

---Lets the others run, out of the queue until somebody inserts the tasklet again.
---@return any tempval the argument, by default the tasklet, unless it was changed meanwhile
function stackless.schedule_remove(...)
    if select("#", ...) > 0 then return neap.schedule_remove((...)) end
    return neap.schedule_remove(neap.getcurrent())
end

local RUN_OPTIONS = { timeout = true, threadblock = true, ignore_nesting = true }

---Steps aside until the run queue is empty; blocked tasklets do not count. An error that
---nobody handles meanwhile is raised here, and the others stay queued.
---@param timeout? integer|table instructions that a tasklet may use in one go; or a table
---with `timeout`. `threadblock` and `ignore_nesting` change nothing
---@return tasklet? t one that used more: paused, out of the queue
function stackless.run(timeout)
    if type(timeout) ~= "table" then return neap.run(timeout) end
    for name, value in pairs(timeout) do
        if value and not RUN_OPTIONS[name] then
            error(("stackless.run has no option '%s' in neap"):format(tostring(name)), 2)
        end
    end
    return neap.run(timeout.timeout)
end

---The callback that is set.
---@return function?
function stackless.get_schedule_callback()
    local f = neap.set_schedule_callback(nil)
    neap.set_schedule_callback(f)
    return f
end

---The callback that is set.
---@return function?
function stackless.get_channel_callback()
    local f = neap.set_channel_callback(nil)
    neap.set_channel_callback(f)
    return f
end

---The main tasklet, the running one, and how many are runnable.
---@return tasklet? main
---@return tasklet? current
---@return integer runcount
function stackless.get_thread_info()
    return neap.getmain(), neap.getcurrent(), neap.getruncount()
end

local soft = true

---Does nothing: every switch is a soft one.
---@param flag? boolean
---@return boolean old what was set last
function stackless.enable_softswitch(flag)
    local old = soft
    if flag ~= nil then soft = not not flag end
    return old
end

-- ---- channels ----

---Sends `class(...)` as an error: the receiver raises it.
---@param ch channel
---@param class any as in raise_exception
function stackless.send_exception(ch, class, ...)
    local err = make_error(class, ...)
    return ch:send_exception(err)
end

---The same with the arguments of `throw`.
---@param ch channel
---@param class any
---@param value? any
function stackless.send_throw(ch, class, value)
    local err = thrown_error(class, value)
    return ch:send_exception(err)
end

---The first of the tasklets that wait on a channel.
---@param ch channel
---@return tasklet?
function stackless.queue(ch) return ch.queue[1] end

---Closes a channel as Stackless does: who waits stays, and may still be served.
---@param ch channel
function stackless.close(ch) return ch:close { wake = false } end

-- ---- the channel of stacklesslib that never blocks its sender ----

---@class QueueChannel
---@field balance integer how many items are queued; below 0: how many receivers wait
---@field closing boolean
---@field closed boolean closing, and nothing is left
---@field queue tasklet[] the receivers that wait
local QueueChannel = {}

local properties = {}

function properties.balance(q)
    return q.count > 0 and q.count or q.channel.balance
end
function properties.closing(q) return q.channel.closing end
function properties.closed(q) return q.count == 0 and q.channel.closed end
function properties.queue(q) return q.channel.queue end

local meta = { __name = "QueueChannel" }

function meta.__index(q, name)
    local property = properties[name]
    if property then return property(q) end
    return QueueChannel[name]
end

function meta.__len(q) return q.count end

local function taken(...)
    if (...) == nil then error("nil was sent: use q:receive()", 2) end
    return ...
end

-- for v in q do: as the channel's own, which is asked once the queue is empty
function meta.__call(q)
    if q.count == 0 then return q.channel() end
    return taken(q:receive())
end

local function put(q, item)
    if q.channel.closing then
        error(neap.ClosedError("Send/receive operation on a closed channel"), 0)
    end
    if q.max_length and q.count >= q.max_length then error("the queue is full", 3) end
    q.count = q.count + 1
    q.items[q.first + q.count - 1] = item
end

---Sends values without waiting or switching: a receiver that waits is queued.
---@param ... any
function QueueChannel:send(...)
    if self.channel.balance < 0 then return self.channel:send(...) end
    put(self, table.pack(true, ...))
end

---Sends an error in the same order; the arguments are those of stackless.send_exception.
function QueueChannel:send_exception(class, ...)
    local err = make_error(class, ...)
    if self.channel.balance < 0 then return self.channel:send_exception(err) end
    put(self, table.pack(false, err))
end

---@param list any[]
---@return integer count
function QueueChannel:send_sequence(list)
    for _, v in ipairs(list) do self:send(v) end
    return #list
end

---@param timeout? number seconds
---@return any ... the values; or nil, "timeout" or "closed"
function QueueChannel:receive(timeout)
    if self.count == 0 then return self.channel:receive(timeout) end
    local item = self.items[self.first]
    self.items[self.first] = nil
    self.first = self.first + 1
    self.count = self.count - 1
    if not item[1] then error(item[2], 0) end
    return table.unpack(item, 2, item.n)
end

---No more sends; what is queued can still be received. Receivers that wait get nil, "closed".
function QueueChannel:close() self.channel:close() end

function QueueChannel:open() self.channel:open() end

---A channel whose send never waits nor switches.
---@param max_length? integer a send beyond it raises
---@return QueueChannel
function stackless.QueueChannel(max_length)
    local ch = neap.channel()
    ch.preference = 1
    return setmetatable({ channel = ch, items = {}, first = 1, count = 0,
        max_length = max_length }, meta)
end

return stackless
