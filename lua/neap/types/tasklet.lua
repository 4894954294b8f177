---@meta _
-- Methods and properties of tasklets.

---A function that runs beside others, and gives way only where it waits. One that is alive is
---kept, even when nothing refers to it.
---@class tasklet
---@field alive boolean it has a function and arguments, and has not ended
---@field blocked boolean it waits
---@field scheduled boolean it is in the run queue, or runs
---@field paused boolean it is alive, and neither queued nor waits
---@field current boolean it is the one that runs
---@field is_main boolean it is the main tasklet
---@field name? string settable: for reports and `:tasks`
---@field id integer counted from 1 on; never used again
---@field daemon boolean settable: it does not keep the program alive
---@field group any settable: see `neap.kill_group`; what it spawns is of the same
---@field waiting_on? string what it waits on, in a few words
---@field block_trap boolean settable: a wait of it raises
---@field recursion_depth integer how many Lua functions are on its stack
---@field tempval any settable: what `schedule_remove` returns
---@field locals table of its own, made at first use
local tasklet = {}

---Gives it a function; with arguments it is alive and paused, not queued. Raises if it is alive.
---@param f? function nil: the one it has
---@param ... any its arguments
---@return tasklet self
function tasklet:bind(f, ...) end

---Gives it arguments, and puts it at the end of the run queue: `t(...)` does the same. Raises
---`You cannot run an unbound(dead) tasklet`.
---@param ... any
---@return tasklet self
function tasklet:setup(...) end

---Puts it at the end of the run queue. Raises if it waits or is dead.
---@return tasklet self
function tasklet:insert() end

---Takes it out of the run queue: it is paused. Raises if it waits or runs.
---@return tasklet self
function tasklet:remove() end

---Runs it now. The caller goes on right after it waits, gives way or ends.
function tasklet:run() end

---Runs it now; the caller is paused until somebody inserts it.
function tasklet:switch() end

---Ends it: `neap.TaskletExit` is raised where it waits, and its cleanup runs before the caller
---goes on. It may catch that and live. Does nothing to a dead one; one that never ran just dies.
---@param pending? boolean when its turn comes, instead of now
---@overload fun(self: tasklet, opts: { hard: boolean })
function tasklet:kill(pending) end

---Raises an error in it where it waits. Raises here if it is dead.
---@param err any
---@param pending? boolean when its turn comes, instead of now
function tasklet:throw(err, pending) end

---Waits for its end. Its error then counts as handled.
---@param timeout? number seconds
---@return boolean? ok nil: out of time
---@return any ... its results; or its error (`neap.TaskletExit` of a kill); or "timeout"
function tasklet:join(timeout) end

---Its stack, where it was spawned, and who waits for it.
---@return string text
function tasklet:traceback() end

---While the flag is set no time slice (`neap.preempt`) ends in it.
---@param flag boolean
---@return boolean old
function tasklet:set_atomic(flag) end
