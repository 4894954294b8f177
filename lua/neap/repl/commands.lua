-- What the prompt does for lines that begin with a colon.

local neap = require "neap"
local inside = require "neap.inside"
local pretty = require "neap.pretty"

-- Each is called with the session and the rest of the line; nil, message: it complains.
local commands = { list = {} }

local list, texts = commands.list, {
    { ":tasks", "the tasklets: what each does, since when it is there" },
    { ":trace ID", "the traceback of a tasklet" },
    { ":kill ID", "ends a tasklet" },
    { ":time EXPR", "runs it, and tells how long that took" },
    { ":load FILE", "runs a file" },
    { ":reload MODULE", "new code into a module's table" },
    { ":help NAME", "what a function is for: `:help spawn`, `:help neap.select`" },
    { ":quit", "ends; so does Ctrl-D" },
}

local function columns(session) return session.width and session.width() or 80 end

-- ---- ages ----

-- Ids are given in order: one that lies between two marks was made between their times.
local marks = {}

---Notes that all tasklets made so far are at least this old.
function commands.mark()
    local id = inside.last_id()
    if #marks > 0 and id == marks[#marks].id then return end
    marks[#marks + 1] = { id = id, time = neap.now() }
    if #marks > 2000 then
        for i = 1, 1000 do marks[i] = marks[2 * i] end
        for i = 1001, #marks do marks[i] = nil end
    end
end

local function age(id)
    local low, high = 1, #marks
    while low < high do
        local middle = (low + high) // 2
        if marks[middle].id >= id then high = middle else low = middle + 1 end
    end
    local mark = marks[low]
    return mark and mark.id >= id and ("%.1f s"):format(neap.now() - mark.time) or ""
end

-- ---- tasklets ----

local MOST = 100

local function find(text)
    local id = math.tointeger(tonumber(text))
    for _, t in ipairs(neap.tasklets()) do
        if t.id == id or (not id and t.name == text and text ~= "") then return t end
    end
    return nil, "no tasklet " .. text
end

local function row(t)
    local name = t.name or t.is_main and "main" or ""
    local state = t.current and "running" or t.blocked and "waits"
        or t.paused and "paused" or "ready"
    local on = t.blocked and pretty.state(t) or ""
    return { tostring(t.id), name, state, age(t.id), on }
end

local function print_rows(session, rows)
    local widths = {}
    for _, r in ipairs(rows) do
        for i, text in ipairs(r) do widths[i] = math.max(widths[i] or 0, #text) end
    end
    for _, r in ipairs(rows) do
        for i, text in ipairs(r) do r[i] = text .. (" "):rep(widths[i] - #text) end
        session.write((table.concat(r, "  "):gsub("%s+$", "")) .. "\n")
    end
end

function list.tasks(session)
    commands.mark()
    local all = neap.tasklets()
    table.sort(all, function(a, b) return a.id < b.id end)
    local rows = { { "ID", "NAME", "STATE", "AGE", "WAITS ON" } }
    for i = 1, math.min(#all, MOST) do rows[#rows + 1] = row(all[i]) end
    print_rows(session, rows)
    if #all > MOST then session.write(("and %d more\n"):format(#all - MOST)) end
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
    require "neap.reload" (name)
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
