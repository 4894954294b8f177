-- What the prompt does for lines that begin with a colon.

local neap = require "neap"
local pretty = require "neap.pretty"
local tasks = require "neap.repl.tasks"

-- Each is called with the session and the rest of the line; nil, message: it complains.
local commands = { list = {} }

local list, texts = commands.list, {
    { ":tasks", "the tasklets: what each does, since when it is there" },
    { ":tasks live", "the same each second, and who uses the CPU, until a key" },
    { ":trace ID", "the traceback of a tasklet" },
    { ":kill ID", "ends a tasklet" },
    { ":time EXPR", "runs it, and tells how long that took" },
    { ":load FILE", "runs a file" },
    { ":reload MODULE", "new code into a module's table" },
    { ":help NAME", "what a function is for: `:help spawn`, `:help neap.select`" },
    { ":quit", "ends; so does Ctrl-D" },
}

local function columns(session) return session.width and session.width() or 80 end

-- ---- tasklets ----

local function find(text)
    local id = math.tointeger(tonumber(text))
    for _, t in ipairs(neap.tasklets()) do
        if t.id == id or (not id and t.name == text and text ~= "") then return t end
    end
    return nil, "no tasklet " .. text
end

function list.tasks(session, how)
    if how == "" then
        session.write(tasks.list())
    elseif how ~= "live" then
        return nil, "what is " .. how .. "? `:tasks`, or `:tasks live`"
    elseif not session.key then
        return nil, "this needs a terminal on which lines are edited"
    else
        -- a Ctrl-C is one way to end it, and no error
        local ok, err = pcall(tasks.live, session, 1)
        if not ok and not neap.is(err, neap.Interrupted) then error(err, 0) end
    end
end

function list.trace(session, text)
    local t, err = find(text)
    if not t then return nil, err end
    session.write(t:traceback() .. "\n")
end

function list.kill(_, text)
    local t, err = find(text)
    if not t then return nil, err end
    t:kill()
end

-- ---- code ----

function list.time(session, text)
    local f, err = session.compile(text)
    if not f then return nil, err end
    local wall, cpu = neap.now(), os.clock()
    local results = table.pack(f())
    wall, cpu = neap.now() - wall, os.clock() - cpu
    for i = 1, results.n do session.write(pretty.format(results[i]) .. "\n") end
    session.write(("%.6f s, of them %.6f s of CPU\n"):format(wall, cpu))
end

function list.load(session, path)
    local f, err = loadfile(path, "t", session.env)
    if not f then return nil, err end
    f()
end

function list.reload(session, name)
    if package.loaded[name] == nil then return nil, "not loaded so far: " .. name end
    neap.reload(name)
    session.write("reloaded " .. name .. "\n")
end

function list.quit(session)
    session.ended = true
end

-- ---- help ----

function list.help(session, name)
    if name ~= "" then
        session.write(require "neap.repl.help".of(name, columns(session)) .. "\n")
        return
    end
    for _, entry in ipairs(texts) do
        session.write(("%-15s %s\n"):format(entry[1], entry[2]))
    end
    session.write "An expression prints what it gives, which is then in _; the last error is "
    session.write "in _err.\nInputs may wait: Ctrl-C ends one, the other tasklets go on.\n"
end

list.doc = list.help

return commands
