-- The prompt of a running program, on a unix socket: neap --console PATH, --attach PATH.
-- What goes over it is text, so that `nc -U PATH` will do: the prompts and what is printed one
-- way, lines the other way. A terminal at the other end asks for more (neap.repl.frames).

local neap = require "neap"
local net = require "neap.net"
local inside = require "neap.inside"
local frames = require "neap.repl.frames"
local repl = require "neap.repl"

local console = {}

-- What is typed sees its own print, while there is somebody to read it; all else is the
-- program's.
local function environment(session)
    local own = {
        print = function(...)
            if session.gone then return print(...) end
            local texts = table.pack(...)
            for i = 1, texts.n do texts[i] = tostring(texts[i]) end
            session.write(table.concat(texts, "\t") .. "\n")
        end,
    }
    return setmetatable(own, { __index = _G, __newindex = _G })
end

-- ---- text ----

local function serve_text(stream, first)
    local session = { mortal = true, write = function(text) return stream:write(text) end }
    session.env = environment(session)
    function session.read(prompt)
        local line = first
        if not first then line = stream:write(prompt) and stream:read "l" end
        first = nil
        session.gone = not line
        return line and (line:gsub("\r$", ""))
    end
    function session.lost() return session.gone end
    repl.loop(session)
end

-- ---- frames ----

-- Each is called in a tasklet beside the one that runs the inputs.
local handlers = {}

function handlers.L(session, text) session.lines:send(text) end
function handlers.Y(session) session.keys:try_send(true) end

function handlers.S(session, text)
    local columns, lines, colour = text:match "^(%d+) (%d+) (%d)$"
    session.columns, session.rows = tonumber(columns) or 80, tonumber(lines) or 24
    session.colour = colour == "1"
end

function handlers.C(session, text)
    local of = require "neap.repl.complete".of
    local added, shown = of(text, session.env, session.columns)
    frames.send(session.stream, not added and shown and "B" or "A", added or shown)
end

function handlers.I(session)
    if session.running then
        inside.interrupt(session.tasklet, neap.Interrupted "interrupted")
    end
end

-- Whoever leaves interrupts what still runs.
local function listen(session)
    local t = neap.getcurrent()
    t.name, t.daemon = "console reader", true
    for kind, text in frames.receive, session.stream do
        local handle = handlers[kind]
        if handle then handle(session, text) end
    end
    session.gone = true
    session.lines:close()
    handlers.I(session)
end

local function wait_for_key(session, seconds)
    frames.send(session.stream, "K", "1")
    local _ <close> = setmetatable({}, { __close = function()
        frames.send(session.stream, "K", "0")
    end })
    return session.keys:receive(seconds) ~= nil or session.gone
end

local function serve_frames(stream)
    local session = { stream = stream, tasklet = neap.getcurrent(), lines = neap.channel(16),
        keys = neap.channel(1), columns = 80, rows = 24, escapes = true, mortal = true }
    stream:write(frames.READY)
    session.env = environment(session)
    function session.write(text) return frames.send(stream, "O", text) end
    function session.read(prompt)
        session.running = false
        frames.send(stream, "P", prompt)
        local line = session.lines:receive()
        session.running = line ~= nil
        return line
    end
    function session.width() return session.columns end
    function session.height() return session.rows end
    function session.key(seconds) return wait_for_key(session, seconds) end
    function session.lost() return session.gone end
    local listener = neap.spawn(listen, session)
    repl.loop(session)
    if session.ended then frames.send(stream, "Q") end
    listener:kill()
    session.gone = true
end

local function serve(stream)
    local t = neap.getcurrent()
    t.name, t.daemon = "console prompt", true
    local first = stream:write "> " and stream:read "l"
    if first == frames.HELLO then return serve_frames(stream) end
    if first then serve_text(stream, first) end
end

---Lets others look into this program: each connection gets a prompt. It keeps no program
---alive, and whoever leaves stops nothing but the input that runs. Raises if it cannot listen
---there.
---@param path string a unix socket, which only this user may open
function console.console(path)
    local listener = neap.must(net.listen_unix(path, { mode = tonumber("600", 8) }))
    local t = neap.spawn(function() listener:serve(serve) end)
    t.name, t.daemon = "console", true
    inside.onlooker(t)
    inside.observe()
end

-- Standard input goes there, what comes back is shown.
local function attach_text(stream)
    local shows = neap.spawn(function()
        for data in function() return stream:read_some() end do
            io.write(data)
            io.stdout:flush()
        end
    end)
    local types = neap.spawn(function()
        for line in io.lines() do
            if not stream:write(line, "\n") then break end
        end
        stream:shutdown()
    end)
    shows:join()
    types:kill(true)
end

---Gives this program's standard input, or its terminal, to a program's console, and shows what
---comes back, until one of both ends. Raises if there is none.
---@param path string
---@param terminal? table what the program knows of its terminal; nil: it is none
function console.attach(path, terminal)
    local stream = neap.must(net.connect_unix(path))
    if terminal and terminal.edits then
        require "neap.repl.attach".run(stream, terminal)
    else
        attach_text(stream)
    end
end

return console
