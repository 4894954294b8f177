---@meta _
-- Methods and properties of deferreds and failures.

---A result that is to come. Callbacks are called at once where it fires; they may not wait.
---@class deferred
---@field called boolean it has fired
---@field paused boolean its chain is held, by `pause`
---@field result any what it has come to: a value, or a failure; nil before it has fired
---@field tasklet? tasklet the one behind it, if it is of a `deferred_tasklet`
local deferred = {}

---Fires it with results. Raises `neap.AlreadyCalledError` the second time.
---@param ... any
function deferred:callback(...) end

---Fires it with an error. Raises `neap.AlreadyCalledError` the second time.
---@param err any an error, or a failure
function deferred:errback(err) end

---Adds to the chain: `f(results..., extra...)` gives the result from there on; if it raises, the
---errbacks behind it are called; if it returns a deferred, the chain waits for that.
---@param f function
---@param ... any extra arguments
---@return deferred self
function deferred:add_callback(f, ...) end

---Adds to the chain: `f(failure, extra...)` is called if there is an error; what it returns is the
---result from there on.
---@param f fun(failure: failure, ...): ...
---@param ... any extra arguments
---@return deferred self
function deferred:add_errback(f, ...) end

---Adds to the chain: `f(results or failure, extra...)` is called in either case.
---@param f function
---@param ... any extra arguments
---@return deferred self
function deferred:add_both(f, ...) end

---Adds one step to the chain: `f` if there are results, `g` if there is an error.
---@param f? function
---@param g? fun(failure: failure): ...
---@return deferred self
function deferred:add_callbacks(f, g) end

---Gives it up: calls its canceller, and fails with `neap.CancelledError` if that has not fired it.
---If the chain waits for another deferred, that one is cancelled.
function deferred:cancel() end

---Cancels it unless it fires in time; it then fails with `neap.TimeoutError`.
---@param seconds number
---@param on_timeout? fun(result: any, seconds: number): any what it comes to instead
---@return deferred self
function deferred:add_timeout(seconds, on_timeout) end

---Holds its chain until as many `unpause`.
function deferred:pause() end

---Lets its chain go on.
function deferred:unpause() end

---Fires another deferred with what this one comes to.
---@param other deferred
---@return deferred self
function deferred:chain_deferred(other) end

---A deferred of the same result, whose cancel leaves this one alone.
---@return deferred d
function deferred:fork() end

---`block_on(d, timeout)`: waits until it has fired.
---@param timeout? number seconds
---@return any ... its results
function deferred:wait(timeout) end

---What errbacks get: an error with its traceback.
---@class failure
---@field value any the error itself
---@field traceback string
local failure = {}

---The first of several kinds that the error is of. A kind is compared with the error, its `.code`,
---its class and those above; a function is called with the error.
---@param ... any kinds
---@return any kind nil: none of them
function failure:check(...) end

---The same, but raises the error if it is of none of them.
---@param ... any kinds
---@return any kind
function failure:trap(...) end

---Raises the error.
function failure:raise() end
