---@meta _
-- Methods and properties of channels.

---Tasklets send values to each other through it. `for v in ch do` receives until it is closed and
---drained; `#ch` is how many values it keeps.
---@class channel
---@field balance integer how many tasklets wait to send, or (below 0) to receive
---@field preference -1|0|1 settable: who runs on after a hand-over: receiver, neither, sender;
--- who sends into a channel with a buffer always does
---@field schedule_all boolean settable: after a hand-over others run first
---@field queue tasklet[] the tasklets that wait, in order
---@field capacity integer how many values it can keep; 0: both sides meet
---@field closing boolean no more sends
---@field closed boolean closing, and nothing is left to receive
---@operator len: integer
local channel = {}

---Sends values, as one; waits until somebody receives them, or there is room. Raises
---`neap.ClosedError` if it is closed.
---@param ... any
function channel:send(...) end

---Waits for what is sent. Raises what was sent by `send_exception`.
---@param timeout? number seconds
---@return any ... the values; or nil, "timeout" or nil, "closed"
function channel:receive(timeout) end

---Sends if that needs no wait; never switches.
---@param ... any
---@return boolean sent
function channel:try_send(...) end

---Receives if that needs no wait; never switches.
---@return boolean ok
---@return any ... the values; or "empty" or "closed"
function channel:try_receive() end

---Sends an error: the receiver raises it.
---@param err any
function channel:send_exception(err) end

---Sends each element in turn.
---@param list any[]|function a list, or an iterator
---@return integer n how many
function channel:send_sequence(list) end

---For `for i, v in ch:iter() do`: receives until it is closed and drained; nils pass, too.
---@return function iterator
function channel:iter() end

---No more sends. What it keeps can still be received; who waits is told.
---@param opts? { wake: boolean } `wake = false`: who waits stays, and may still be served
function channel:close(opts) end

---Opens it again.
function channel:open() end
