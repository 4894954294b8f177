-- Other programs, for specs: this neap once more, and the clients of peer.c. What they
-- print goes to files, so that none of them can hold up the other.

local lfs = require "lfs"

local child = { neap = lfs.symlinkattributes("/proc/self/exe", "target") }

-- A word for the shell that stands for the text.
function child.quote(text)
    return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

local function words(list)
    local quoted = {}
    for i, word in ipairs(list) do quoted[i] = child.quote(word) end
    return table.concat(quoted, " ")
end

local function contents(path)
    local file = io.open(path, "rb")
    if not file then return nil end
    local text = file:read("a")
    file:close()
    return text
end

-- Makes build/NAME, by its rule in the Makefile.
function child.make(...)
    local log = os.tmpname()
    local made = os.execute(("MAKEFLAGS= make -s Q=@ %s >%s 2>&1"):format(words { ... }, log))
    local said = contents(log)
    os.remove(log)
    assert(made, said)
end

-- A file with this text; remove it.
function child.file(text)
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "wb"))
    file:write(text)
    return path
end

-- Runs a shell command to its end: exit status, standard output, standard error. $NEAP is
-- this program.
function child.shell(command, stdin)
    local out, err, input = os.tmpname(), os.tmpname(), stdin and child.file(stdin)
    local _, how, status = os.execute(("NEAP=%s; ( %s\n) >%s 2>%s <%s"):format(
        child.quote(child.neap), command, out, err, input or "/dev/null"))
    local said, complained = contents(out), contents(err)
    os.remove(out)
    os.remove(err)
    if input then os.remove(input) end
    return how == "exit" and status or "signal", said, complained
end

-- Runs neap with these arguments to its end.
function child.run(list, stdin)
    return child.shell('"$NEAP" ' .. words(list), stdin)
end

local running = {}
running.__index = running

-- Starts a program in the background. before: a shell command in its process, such as
-- `ulimit -n 40`.
function child.start(list, before)
    local base = os.tmpname()
    local self = setmetatable({ base = base }, running)
    os.execute(([[
        ( sh -c 'echo $$ >%s.pid.new; mv %s.pid.new %s.pid; %s
          exec "$@"' sh %s >%s.out 2>%s.err </dev/null
          echo $? >%s.new; mv %s.new %s.status ) >/dev/null 2>&1 &
    ]]):format(base, base, base, before or ":", words(list), base, base, base, base, base))
    self.pid = tonumber(self:await(".pid"))
    return self
end

-- The contents of one of its files, once that is there and holds a line.
function running:await(what, pattern)
    local until_ = neap.now() + 100
    repeat
        local text = contents(self.base .. what)
        local found = text and text:match(pattern or "^(.-)\n")
        if found then return found end
        sleep(0.005)
    until neap.now() > until_
    error(("a child has not written %s: %s%s"):format(what,
        contents(self.base .. ".out") or "", contents(self.base .. ".err") or ""), 2)
end

-- Waits for what it prints: what the pattern captures, else its first line.
function running:printed(pattern) return self:await(".out", pattern) end
function running:complained(pattern) return self:await(".err", pattern) end

-- Waits for its end: exit status (above 128: a signal), standard output, standard error.
function running:wait()
    local status = tonumber(self:await(".status"))
    local out, err = contents(self.base .. ".out"), contents(self.base .. ".err")
    for _, what in ipairs { "", ".pid", ".out", ".err", ".status" } do
        os.remove(self.base .. what)
    end
    return status, out, err
end

function running:ended() return contents(self.base .. ".status") ~= nil end

function running:kill(signal)
    os.execute(("kill -%s %d 2>/dev/null"):format(signal or "KILL", self.pid))
    return self:wait()
end

-- Seconds of CPU time that it has used.
function running:cpu()
    local user, system = contents(("/proc/%d/stat"):format(self.pid)):match(
        "^.*%) " .. ("%S+ "):rep(11) .. "(%d+) (%d+)")
    return (user + system) / 100
end

-- A client of peer.c.
function child.peer(mode, port, ...)
    return child.start { "build/static/support/peer", mode, port, ... }
end

-- This neap with a script's text.
function child.script(text, before)
    return child.start({ child.neap, "-e", text }, before)
end

child.make("build/static/support/peer")

return child
