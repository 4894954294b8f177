---@meta _
-- Delayed calls and virtual clocks.

---A call that is to be made later: what `neap.call_later` returns.
---@class delayed_call
---@field time number when it is due, on its clock
local delayed_call = {}

---It is not made. A second time is harmless; raises `neap.AlreadyCalledError` if it was made.
function delayed_call:cancel() end

---It is made in so many seconds from now. Raises if it was made or cancelled.
---@param seconds number
function delayed_call:reset(seconds) end

---It is made so many seconds later than planned. Raises if it was made or cancelled.
---@param seconds number
function delayed_call:delay(seconds) end

---Whether it is still to be made.
---@return boolean
function delayed_call:active() end

---A clock that moves only by `advance`: what `neap.clock()` returns.
---@class clock
local clock = {}

---Lets time pass: sleeps end and calls are made, in order, as reactor code.
---@param seconds number
function clock:advance(seconds) end

---@return number seconds
function clock:now() end

---Calls `f(...)` later on this clock, as reactor code.
---@param seconds number
---@param f function
---@param ... any
---@return delayed_call call
function clock:call_later(seconds, f, ...) end
