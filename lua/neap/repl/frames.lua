-- What a console and the program attached to it say to each other: frames of a kind, one letter,
-- and a text. Before them whoever attaches says HELLO, and the console answers READY; without
-- that, what goes over the socket is plain text.
--
-- To the console: S size and colours, L a line, C a line to complete, I interrupt, Y a key.
-- From it: P a prompt, O output, A what completes, B what could, K whether keys are wanted,
-- Q it was ended by :quit.

local frames = {}

frames.HELLO = "\1neap console 1"
frames.READY = "\1ready\n"

---@param stream stream
---@param kind string
---@param text? string
---@return boolean sent
function frames.send(stream, kind, text)
    return stream:write(string.pack(">c1s4", kind, text or "")) ~= nil
end

---Waits for the next one.
---@param stream stream
---@return string? kind nil: there are no more
---@return string? text
function frames.receive(stream)
    local head = stream:read(5)
    if not head or #head < 5 then return nil end
    local kind, size = string.unpack(">c1I4", head)
    local text = size == 0 and "" or stream:read(size)
    if not text or #text < size then return nil end
    return kind, text
end

return frames
