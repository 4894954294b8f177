-- twisted.protocols.basic: protocols that cut what comes into lines or counted strings.

local protocol = require "neap.twisted.protocol"

local M = {}

-- What has come and is not taken yet is self._buffer from self._from on.
local function left(self) return self._buffer:sub(self._from) end

local function add(self, data)
    self._buffer, self._from = left(self) .. data, 1
end

local function take_all(self)
    local all = left(self)
    self._buffer, self._from = "", 1
    return all
end

-- Calls step(self) until it returns false, the connection is being closed, or input is held.
-- What comes from inside of it waits for the one that runs.
local function run(self, data, step)
    add(self, data)
    if self._busy then return end
    self._busy = true
    while self._from <= #self._buffer and not self.paused and not self.transport.closing do
        if not step(self) then break end
    end
    self._busy = false
end

local Pauseable = protocol.Protocol:extend {
    _buffer = "", _from = 1, _busy = false, paused = false,

    pauseProducing = function(self)
        self.paused = true
        self.transport:pause()
    end,
    resumeProducing = function(self)
        self.paused = false
        self.transport:resume()
        self:dataReceived ""
    end,
    stopProducing = function(self)
        self.paused = true
        self.transport:lose_connection()
    end,
}

-- ---- lines ----

---`lineReceived(line)` is called with each line, without its end; after `setRawMode()`
---`rawDataReceived(data)` with what comes, until `setLineMode(extra)`.
M.LineReceiver = Pauseable:extend({
    delimiter = "\r\n", MAX_LENGTH = 16384, line_mode = true,

    lineReceived = function() error("a LineReceiver without lineReceived") end,
    rawDataReceived = function() error("a LineReceiver without rawDataReceived") end,
    lineLengthExceeded = function(self, _) self.transport:lose_connection() end,
    setRawMode = function(self) self.line_mode = false end,
    setLineMode = function(self, extra)
        self.line_mode = true
        if extra and extra ~= "" then self:dataReceived(extra) end
    end,
    sendLine = function(self, line) self.transport:write(line, self.delimiter) end,
    clearLineBuffer = take_all,
}, "LineReceiver")
M.LineOnlyReceiver = M.LineReceiver

local function next_line(self)
    local at, last = self._buffer:find(self.delimiter, self._from, true)
    local length = (at or #self._buffer + 1) - self._from
    if length > self.MAX_LENGTH + (at and 0 or #self.delimiter - 1) then
        self:lineLengthExceeded(take_all(self))
        return true
    end
    if not at then return false end
    local line = self._buffer:sub(self._from, at - 1)
    self._from = last + 1
    self:lineReceived(line)
    return true
end

local function next_piece(self)
    if self.line_mode then return next_line(self) end
    self:rawDataReceived(take_all(self))
    return true
end

function M.LineReceiver:dataReceived(data) run(self, data, next_piece) end

-- ---- strings after their length ----

local function next_string(self)
    local format = self.structFormat
    local head = string.packsize(format)
    if #self._buffer - self._from + 1 < head then return false end
    local length = format:unpack(self._buffer, self._from)
    if length > self.MAX_LENGTH then
        self:lengthLimitExceeded(length)
        return true
    end
    local from = self._from + head
    if #self._buffer - from + 1 < length then return false end
    self._from = from + length
    self:stringReceived(self._buffer:sub(from, from + length - 1))
    return true
end

---`stringReceived(s)` is called with each string, which comes after its length in 4 bytes.
M.Int32StringReceiver = Pauseable:extend({
    structFormat = ">I4", MAX_LENGTH = 99999,

    stringReceived = function() error("a string receiver without stringReceived") end,
    lengthLimitExceeded = function(self, _) self.transport:lose_connection() end,
    dataReceived = function(self, data) run(self, data, next_string) end,
    sendString = function(self, s)
        if #s >= 1 << 8 * string.packsize(self.structFormat) then
            error("the string is too long", 2)
        end
        self.transport:write(self.structFormat:pack(#s), s)
    end,
}, "Int32StringReceiver")

M.Int16StringReceiver = M.Int32StringReceiver:extend({ structFormat = ">I2" },
    "Int16StringReceiver")
M.Int8StringReceiver = M.Int32StringReceiver:extend({ structFormat = ">I1" },
    "Int8StringReceiver")

return M
