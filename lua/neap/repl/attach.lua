-- neap --attach PATH on a terminal: lines are edited here, and run in the other program.

local neap = require "neap"
local inside = require "neap.inside"
local frames = require "neap.repl.frames"
local repl = require "neap.repl"

local attach = {}

local Over = {} -- raised in the main tasklet when the other side has ended

local function show(text)
    io.write(text)
    io.stdout:flush()
end

-- Sends each key as it is pressed, until it is killed.
local function send_keys(session)
    session.terminal.keys(true)
    local _ <close> = setmetatable({}, { __close = function() session.terminal.keys(false) end })
    for data in function() return neap.stdin:read_some() end do
        frames.send(session.stream, "Y", data)
    end
end

local handlers = { O = function(_, text) show(text) end }

function handlers.P(session, text) session.prompts:send(text) end
function handlers.A(session, text) session.answers:send(text ~= "" and text or nil, nil) end
function handlers.B(session, text) session.answers:send(nil, text) end
function handlers.Q(session) session.quit = true end

function handlers.K(session, text)
    if session.keys then session.keys:kill() end
    session.keys = text == "1" and neap.spawn(send_keys, session) or nil
end

local function listen(session)
    for kind, text in frames.receive, session.stream do
        local handle = handlers[kind]
        if handle then handle(session, text) end
    end
    session.over = true
    if session.main.alive then inside.interrupt(session.main, Over) end
end

local function send_size(session)
    local terminal = session.terminal
    frames.send(session.stream, "S", ("%d %d %d"):format(terminal.width(), terminal.height(),
        repl.colours(terminal.output) and 1 or 0))
end

-- One input, from its prompt on; false: no more.
local function step(session)
    local prompt = session.prompt or session.prompts:receive()
    session.prompt, session.interrupts = prompt, 0
    local line = session.editor.read(prompt)
    if not line then return false end
    session.prompt = nil
    send_size(session)
    return frames.send(session.stream, "L", line)
end

-- Ctrl-C drops the line, or ends what runs over there; the second time it leaves.
local function interrupted(session)
    if session.prompt then return true end
    session.interrupts = session.interrupts + 1
    if session.interrupts > 1 then
        show "it has not ended; leaving\n"
        return false
    end
    return frames.send(session.stream, "I")
end

local function run(session)
    local go_on = true
    while go_on do
        local ok, result = pcall(step, session)
        if ok then
            go_on = result
        elseif neap.is(result, neap.Interrupted) then
            go_on = interrupted(session)
        elseif result == Over then
            return
        else
            error(result, 0)
        end
    end
end

---Gives a prompt in the program at the other end, until that ends, or the user does.
---@param stream stream
---@param terminal table on which lines are edited
function attach.run(stream, terminal)
    stream:write(frames.HELLO, "\n")
    if not stream:read_until(frames.READY) then error("no console answers there", 0) end
    local session = { stream = stream, terminal = terminal, prompts = neap.channel(1),
        answers = neap.channel(1), main = neap.getcurrent(), interrupts = 0 }
    session.editor = require "neap.repl.editor".open(terminal, function(text)
        frames.send(stream, "C", text)
        return session.answers:receive(2)
    end)
    send_size(session)
    local listener = neap.spawn(listen, session)
    run(session)
    if not session.over and not session.quit then show "\n" end
    if session.over and not session.quit then
        io.stderr:write "neap: the program at the other end has ended\n"
    end
    if session.keys then session.keys:kill() end
    listener:kill()
    stream:close()
end

return attach
