---@meta neap
-- What `require "neap"` gives, and the program has as the global `neap`. Those of its functions
-- that are written in Lua are documented where they are defined.

---The neap table: tasklets, channels, deferreds, time and errors. Seconds are numbers and may
---have a fraction; where a timeout is absent the wait has no end. What the world does wrong
---comes back as `nil, err, code`, what the program does wrong raises.
---@class neap
local neap = {}

-- ---- tasklets ----

---A new tasklet around `f`. It is not queued before it is given arguments: `tasklet(f)(...)`.
---@param f? function what it runs; without one, `bind` gives it one later
---@return tasklet t
function neap.tasklet(f) end

---Starts a tasklet: `tasklet(f)(...)`. It is put at the end of the run queue, and runs when the
---caller waits or ends. An error that it does not catch is reported once, with its traceback,
---unless somebody joins it; the others go on.
---@param f function
---@param ... any its arguments
---@return tasklet t
function neap.spawn(f, ...) end

---Lets the others run, then goes on: the caller goes to the end of the run queue.
---@param ... any
---@return any ... its arguments
function neap.schedule(...) end

---Lets the others run, and stays out of the run queue until somebody inserts the caller.
---@param v? any set as the caller's `tempval`; itself by default
---@return any tempval of the caller, which may have been set meanwhile
function neap.schedule_remove(v) end

---The tasklet that runs; nil in code that the reactor runs.
---@return tasklet? t
function neap.getcurrent() end

---The main tasklet; nil in an embedding host, which has none.
---@return tasklet? t
function neap.getmain() end

---How many tasklets are runnable, the running one included.
---@return integer n
function neap.getruncount() end

---All tasklets that are alive, oldest first.
---@return tasklet[] list
function neap.tasklets() end

---Stackless's `run`: the caller steps aside until the run queue is empty. Tasklets that wait do
---not count, and the reactor is not waited for. An error that nobody handles in there is raised
---here.
---@param instructions? integer a tasklet that uses more of them in one go is taken out of the
---queue and returned
---@return tasklet? t
function neap.run(instructions) end

---Waits for the first of several things to happen. A loser is left exactly as it was; of several
---that are ready the lowest index is taken. What the operation raises is raised.
---@param cases table a list of cases: a channel (receive), `{ channel, values... }` (send), a
---tasklet (join), a deferred, a stream, listener or UDP socket (readable), a process (exit)
---@param timeout? number seconds; 0 polls
---@return integer? index of the case, nil: out of time
---@return any ... what its operation returns; or "timeout"
function neap.select(cases, timeout) end

---Ends all tasklets of a group, newest first.
---@param g any a group: what `t.group` was set to
---@return integer n how many
function neap.kill_group(g) end

---Holds all tasklets of a group, or lets them go on: wakes wait meanwhile, and timers keep what
---is left of them.
---@param g any
---@param on boolean
---@return integer n how many
function neap.pause_group(g, on) end

---`f(previous, next)` is called at each switch; nil: none. It may not wait.
---@param f? fun(previous: tasklet?, next: tasklet?)
---@return function? old
function neap.set_schedule_callback(f) end

---`f(channel, tasklet, sending, will_block)` is called before each transfer of a channel; nil:
---none. It may not wait, and not use channels.
---@param f? fun(channel: channel, tasklet: tasklet, sending: boolean, will_block: boolean)
---@return function? old
function neap.set_channel_callback(f) end

---Counts traps up or down: while there are any, each switch raises "switch_trap".
---@param n integer added to the count
---@return integer old the count before
function neap.switch_trap(n) end

---Time slices for pure Lua: a tasklet that has run longer gives way at its next instruction. Off
---by default. There is none while `t:set_atomic(true)` holds.
---@param seconds? number nil: off
function neap.preempt(seconds) end

---Reports each tasklet that holds the reactor for longer while others are due, with its
---traceback. In the program it is 1 s.
---@param seconds? number nil: off
function neap.watchdog(seconds) end

---`pcall`, but the end of a tasklet, a scope or a time limit, and Ctrl-C, pass through: what
---loops of servers want.
---@param f function
---@param ... any
---@return boolean ok
---@return any ... results, or the error
function neap.pcall(f, ...) end

---`f(tasklet, err, traceback)` is called for each error that nobody handles; nothing is then
---printed, and the exit status stays 0. It may not wait; `tasklet` is nil for reactor code. The
---main tasklet's own error never goes to it.
---@param f? fun(tasklet: tasklet?, err: any, traceback: string) nil: they are printed again
function neap.on_error(f) end

---Where neap is a module: runs `f(...)` as the main tasklet until it and all that it started is
---done. An error of `f` is raised. In the program it only calls `f`.
---@param f function
---@param ... any
---@return any ... results of f
function neap.main(f, ...) end

neap.map = require("neap.tasklets").map
neap.join_all = require("neap.tasklets").join_all
neap.scope = require("neap.scope").scope
neap.sync = require "neap.sync"
neap.exchange = require("neap.exchange").exchange
neap.reload = require("neap.reload").reload

-- ---- channels ----

---A channel: tasklets send values to each other through it. With capacity 0 both sides meet
---(rendezvous); above, it keeps so many values.
---@param capacity? integer 0 by default
---@return channel ch
---@overload fun(name: string, capacity?: integer): channel
function neap.channel(capacity) end

-- ---- deferreds ----

---A deferred that has not fired: a result that is to come. Waited for by `block_on(d)` or
---`d:wait()`, or used with callbacks.
---@param canceller? fun(d: deferred) called by `d:cancel()` before it has fired
---@return deferred d
function neap.deferred(canceller) end

---Waits until a deferred has fired: its results, or its error raised. Returns at once, without a
---switch, if it already has. What is no deferred comes back as it is. Out of time it raises
---`neap.TimeoutError`. A waiter that is killed or out of time cancels `d` if nobody else waits
---for it.
---@param d deferred|any
---@param timeout? number seconds
---@return any ... its results
function neap.block_on(d, timeout) end

---Makes of `f` a function that runs it in a tasklet of its own, and returns a deferred of its
---results at once. `d:cancel()` kills that tasklet (`d.tasklet`); if it is killed, `d` fails with
---`neap.CancelledError`.
---@param f function may wait
---@return fun(...): deferred
function neap.deferred_tasklet(f) end

---Makes of `f` a function that runs it in a tasklet of its own, and waits for its results, or
---raises its error, with both tracebacks. Where nothing may block it raises
---`Cannot block in reactor task`.
---@param f function may wait
---@return function
function neap.blocking_tasklet(f) end

---Whether nothing may block here: in code that the reactor runs, and in callbacks of deferreds.
---@return boolean
function neap.in_reactor() end

---A deferred that has fired with these results.
---@param ... any
---@return deferred d
function neap.succeed(...) end

---A deferred that has failed.
---@param err any an error, or a failure
---@return deferred d
function neap.fail(err) end

---`f(...)` as a deferred, whatever it returns (a deferred, values) or raises.
---@param f function
---@param ... any
---@return deferred d
function neap.maybe_deferred(f, ...) end

---For tests: collects garbage, and gives the failures of deferreds that nobody has handled; they
---are then not reported.
---@return failure[] list
function neap.flush_unhandled() end

neap.deferred_list = require("neap.deferreds").deferred_list
neap.gather_results = require("neap.deferreds").gather_results
neap.race = require("neap.deferreds").race
neap.deferred_lock = require("neap.deferreds").deferred_lock
neap.deferred_semaphore = require("neap.deferreds").deferred_semaphore
neap.deferred_queue = require("neap.deferreds").deferred_queue
neap.inline_callbacks = require("neap.inline_callbacks").inline_callbacks

-- ---- time ----

---Waits that long, on the runtime's clock. `sleep(0)` lets the others and the reactor run.
---@param seconds number
function neap.sleep(seconds) end

---The time of the runtime's clock, which never goes back. From when it counts is not said.
---@return number seconds
function neap.now() end

---Calls `f(...)` later, as reactor code: it may not wait.
---@param seconds number from now
---@param f function
---@param ... any
---@return delayed_call call
function neap.call_later(seconds, f, ...) end

---Calls `f(...)`; whatever it waits for is ended at the deadline, cleanly. Calls nest: the nearer
---deadline wins. Cleanup may wait.
---@param seconds number
---@param f function
---@param ... any
---@return any ... results of f; or nil, "timeout"
function neap.with_timeout(seconds, f, ...) end

---A clock that stands still until it is told to advance: for tests.
---@return clock c
function neap.clock() end

---What this runtime arms from now on stands on that clock.
---@param c? clock nil: the real one again
---@return clock? old the one before
function neap.use_clock(c) end

---Sets the rate of the runtime's clock; virtual clocks and `neap.realtime` keep theirs.
---@param x number 1: as the real one, 0: it stands still
function neap.scale(x) end

neap.defer_later = require("neap.time").defer_later
neap.looping_call = require("neap.time").looping_call

---The same on the real clock, whatever clock is in use.
---@class neap.realtime
neap.realtime = {}

---Waits that long, on the real clock.
---@param seconds number
function neap.realtime.sleep(seconds) end

---The time of the real clock.
---@return number seconds
function neap.realtime.now() end

---`neap.with_timeout` on the real clock.
---@param seconds number
---@param f function
---@param ... any
---@return any ... results of f; or nil, "timeout"
function neap.realtime.with_timeout(seconds, f, ...) end

---`neap.call_later` on the real clock.
---@param seconds number
---@param f function
---@param ... any
---@return delayed_call call
function neap.realtime.call_later(seconds, f, ...) end

-- ---- the system ----

---Waits until a descriptor that other code owns can be read or written. It must stay open
---meanwhile.
---@param fd integer
---@param what "r"|"w"
---@param timeout? number seconds
---@return true? ready
---@return string? err
---@return string? code
function neap.wait_fd(fd, what, timeout) end

---Standard input, as a stream. In the program only.
---@type stream
neap.stdin = nil

---Standard output, as a stream. In the program only.
---@type stream
neap.stdout = nil

---Standard error, as a stream. In the program only.
---@type stream
neap.stderr = nil

-- ---- errors ----

---Turns `nil, err, code` into an error: returns its arguments, or raises, if the first is nil or
---false, an error whose text is `err` and whose `.code` is `code`.
---@generic T
---@param v T
---@param ... any
---@return T v
---@return any ...
function neap.must(v, ...) end

---Whether an error is of a class of the library's.
---@param err any
---@param class library_error
---@return boolean
function neap.is(err, class) end

---What the library's errors have; `tostring` gives the message. A class is called to make an
---error: `neap.TimeoutError("text")`.
---@class library_error
---@field message? string
---@field code? string such as "ETIMEDOUT"
---@overload fun(message?: any): library_error

---What `neap.must` raises.
---@type library_error
neap.Error = nil

---A scope was cancelled: raised in its body. `neap.pcall` lets it through.
---@type library_error
neap.Unwinding = nil

---Ends a tasklet silently: what `t:kill()` raises in it. One value, not a class.
---@type library_error
neap.TaskletExit = nil

---Ctrl-C, raised in the main tasklet.
---@type library_error
neap.Interrupted = nil

---A deferred was cancelled, or the tasklet behind it killed. Nobody needs to handle it.
---@type library_error
neap.CancelledError = nil

---A wait for a deferred was out of time.
---@type library_error
neap.TimeoutError = nil

---A deferred was fired twice, or a call that has been made was changed.
---@type library_error
neap.AlreadyCalledError = nil

---A send on a channel or a queue that is closed.
---@type library_error
neap.ClosedError = nil

---Everything waits, and nothing can end it: raised in the main tasklet.
---@type library_error
neap.DeadlockError = nil

---The first failure of a list of deferreds: `index` in the list, and `sub_failure`, its own.
---@type library_error
neap.FirstError = nil

---A `put` into a deferred queue that is full.
---@type library_error
neap.QueueOverflow = nil

---A `get` from a deferred queue for which too many wait already.
---@type library_error
neap.QueueUnderflow = nil

return neap
