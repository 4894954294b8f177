---@meta neap.signal

---Signals, in the program only: elsewhere its functions give `nil, err, "ENOTSUP"`.
---@class neap.signal
local signal = {}

---Waits for the first of several signals. From the first wait on they are taken: one that comes
---while nobody waits is given to the next who does.
---@param name string such as "SIGTERM"
---@param ... string
---@return string? name of the one that has come
---@return string? err
---@return string? code
function signal.wait(name, ...) end

---A channel of the names of signals as they come. They are taken until it is closed.
---@param name string
---@param ... string
---@return channel? ch
---@return string? err
---@return string? code
function signal.channel(name, ...) end

return signal
