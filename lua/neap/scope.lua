-- neap.scope: tasklets that end before the function that started them goes on.
--
-- A child that is cancelled is killed. The body is interrupted by a private error of the
-- scope's own, which neap.pcall lets through and the scope takes. What comes from outside
-- while the scope ends (a kill, a deadline, the cancellation of a scope around it) waits until
-- the children have ended, and then goes on outwards.

local check = require "neap.check"
local inside = require "neap.inside"
local neap = require "neap"

---@class scope
---@field package owner tasklet runs the body
---@field package outer scope? the scope around it in the same tasklet
---@field package children table<tasklet, true>
---@field package live integer how many of them there are
---@field package phase "body"|"leaving"|"end"|"over" leaving: an error is on its way out of
---the body, whose cleanup is not interrupted; end: it waits for its children
---@field package cancelled boolean by `cancel`, or by an error: no more children
---@field package failure table? the first error, with its traceback
---@field package interrupt table what is raised in the body
---@field package told function the children's watcher
---@field package gate channel on which it waits for the last child
local Scope = {}

local innermost = setmetatable({}, { __mode = "k" }) -- of each tasklet

local function open()
    local owner = neap.getcurrent()
    return setmetatable({ owner = owner, outer = innermost[owner], children = {}, live = 0,
        phase = "body", cancelled = false, gate = neap.channel(1),
        interrupt = neap.Unwinding("the scope was cancelled") }, Scope)
end

-- ---- cancelling ----

local function by_age(a, b) return a.id < b.id end

local function kill_children(s)
    local list = {}
    for t in pairs(s.children) do list[#list + 1] = t end
    table.sort(list, by_age)
    for _, t in ipairs(list) do inside.interrupt(t, neap.TaskletExit) end
end

-- Whether its tasklet runs the body, and is not on its way out of a scope in there: that one
-- then asks whether those around it are cancelled.
local function interruptible(s)
    local inner = innermost[s.owner]
    while inner and inner ~= s and inner.phase ~= "leaving" do inner = inner.outer end
    return s.phase == "body" and inner == s
end

local function cancel(s)
    if s.cancelled then return end
    s.cancelled = true
    kill_children(s)
    if interruptible(s) then inside.interrupt(s.owner, s.interrupt) end
end

-- The outermost of the scopes around it whose body is to be interrupted.
local function cancelled_around(s)
    local found, around = nil, s.outer
    while around do
        if around.cancelled and around.phase == "body" then found = around end
        around = around.outer
    end
    return found
end

-- ---- errors ----

-- The first error becomes the scope's; false: there was another one.
local function fail(s, failure)
    if s.failure or s.phase == "over" then return false end
    s.failure = failure
    cancel(s)
    return true
end

-- A child has ended; whether the scope has taken its error.
local function told(s, t, ok, failure)
    s.children[t] = nil
    s.live = s.live - 1
    if s.live == 0 then s.gate:try_send(true) end
    if ok or rawequal(failure, neap.TaskletExit) or rawequal(failure.value, s.interrupt) then
        return true
    end
    if not fail(s, failure) then return false end
    failure.traceback = failure.traceback .. "\nin " .. inside.title(t)
    return true
end

-- Takes what was raised in the body, or where the scope waited; returns it if it is to go on
-- outwards.
local function take(s, failure)
    local err = failure
    if type(failure) == "table" and failure.traceback then err = failure.value end
    if rawequal(err, s.interrupt) then return nil end
    if inside.unwinds(err) then return err end
    local again = s.failure and rawequal(err, s.failure.value) -- a child's, raised by the body
    if not again and not fail(s, failure) then inside.report(failure) end
end

-- ---- the end ----

-- Of two that go on outwards: the one that goes first, and a cancellation for later.
local function order(first, second)
    if not first then return second end
    if not neap.is(first, neap.Unwinding) then return first end
    if not neap.is(second, neap.Unwinding) then return second end
    return first, second
end

-- Waits until all children have ended, whatever is raised here meanwhile; a kill reaches them
-- each time. Returns what is to go on outwards. A second deadlock ends the wait: they cannot
-- end.
local function wait(s, leaving, later)
    while s.live > 0 do
        if not inside.can_wait() then inside.check_wait() end
        local ok, failure = xpcall(s.gate.receive, inside.failure, s.gate)
        if not ok then
            local again = s.cancelled
            if again and neap.is(failure.value, neap.DeadlockError) then break end
            local err = take(s, failure)
            if err then leaving, later = order(leaving, err) end
            cancel(s)
            if again and err and not neap.is(err, neap.Unwinding) then kill_children(s) end
        end
    end
    return leaving, later
end

local function finish(s, ok, ...)
    s.phase = "end"
    inside.retract(s.interrupt)
    local leaving, later
    if not ok then
        leaving = take(s, inside.recall((...)))
        cancel(s)
    end
    leaving, later = wait(s, leaving)
    s.phase = "over"
    innermost[s.owner] = s.outer
    local failure, around = s.failure, cancelled_around(s)
    if failure and not leaving and not around then inside.raise(failure) end
    if failure and not (around and fail(around, failure)) then inside.report(failure) end
    if later then inside.interrupt(s.owner, later) end
    if leaving then error(leaving, 0) end
    if around then error(around.interrupt, 0) end
    if s.cancelled then return nil, "cancelled" end
    return ...
end

-- For an owner that cannot wait any more: it was killed hard, or waits are impossible here.
function Scope:__close()
    if self.phase == "over" then return end
    self.phase = "over"
    self.cancelled = true
    if innermost[self.owner] == self then innermost[self.owner] = self.outer end
    kill_children(self)
    if self.failure then inside.report(self.failure) end
end

Scope.__index = Scope
Scope.__name = "scope"

---Starts a tasklet that ends before the scope returns. Children may call it, too.
---@param f function
---@param ... any its arguments
---@return tasklet t its error is the scope's, unless another one was first: then it goes to
---whoever joins the tasklet, else to neap.on_error. A kill of it is no error
function Scope:spawn(f, ...)
    if self.phase == "over" then error("the scope has ended", 2) end
    check.callable(f, 1, "spawn")
    if self.cancelled then error(self.interrupt, 0) end
    local t = inside.spawn(self.told, f, ...)
    self.children[t] = true
    self.live = self.live + 1
    return t
end

---Cancels the scope: kills its children, and interrupts the body where it waits, or at its
---next wait. Does not wait; a second time does nothing.
function Scope:cancel()
    if self.phase ~= "over" then cancel(self) end
end

local scope = {}

---Calls `f(s)` and returns once it and every tasklet that `s:spawn` started have ended. The
---first error of any of them cancels the others and is raised here; later ones go to
---neap.on_error. A child that catches its cancellation and goes on is waited for: a kill is
---one-shot. If the calling tasklet is killed, runs into a deadline or is cancelled by a scope
---around this one, the children are killed, waited for, and then it goes on outwards; errors
---of the scope then go to neap.on_error, or to the scope that is cancelled. What interrupts the
---body is of the class neap.Unwinding: plain pcall sees it, neap.pcall lets it through.
---@param f fun(s: scope): ... may wait
---@return any ... what `f` returns; nil, "cancelled" after `s:cancel()`
function scope.scope(f)
    check.callable(f, 1, "scope")
    inside.check_wait()
    local s <close> = open()
    innermost[s.owner] = s
    s.told = function(...) return told(s, ...) end
    return finish(s, xpcall(f, function(err)
        s.phase = "leaving"
        return inside.keep(err)
    end, s))
end

return scope
