-- Lines for the prompt from the program's terminal, which edits them; their history.

local neap = require "neap"
local signal = require "neap.signal"

local editor = {}

local KEPT = 1000 -- lines of history

local function history_path()
    local state, home = os.getenv "XDG_STATE_HOME", os.getenv "HOME"
    if state and state:find "^/" then return state .. "/neap/history" end
    return home and home ~= "" and home .. "/.local/state/neap/history" or nil
end

-- The last lines of the file; one that has grown too long is written anew.
local function load_history(terminal, path)
    local file = path and io.open(path, "rb")
    if not file then return end
    local lines = {}
    for line in (file:read("a") or ""):gmatch "[^\n]+" do lines[#lines + 1] = line end
    file:close()
    local first = math.max(1, #lines - KEPT + 1)
    for i = first, #lines do terminal.remember(lines[i]) end
    if #lines > 2 * KEPT then
        terminal.keep(path, table.concat(lines, "\n", first) .. "\n", true)
    end
end

local function remember(terminal, path, text)
    local count = 0
    for line in text:gmatch "[^\r\n]+" do
        count = count + 1
        if line:find "%S" and count <= KEPT then terminal.remember(line) end
    end
    if path and text:find "%S" then terminal.keep(path, text .. "\n") end
end

-- Redraws the line when the terminal has another size, while a line is edited.
local function watch_size(terminal)
    local sizes = signal.channel "SIGWINCH"
    if not sizes then return function() end end
    local t = neap.spawn(function()
        for _ in sizes do terminal.resize() end
    end)
    t.name, t.daemon = "prompt", true
    return function()
        t:kill { hard = true }
        sizes:close()
    end
end

-- Edits a line: it, or nil: no more. What is read too much is left to others.
local function edit(terminal, complete)
    local data = ""
    while true do
        local more = neap.stdin:read_some()
        if not more then return nil end
        data = data .. more
        local event
        repeat
            local used, text
            used, event, text = terminal.feed(data)
            data = data:sub(used + 1)
            if event == "complete" then
                local added, shown = complete(text)
                if added then terminal.add(added) elseif shown then terminal.tell(shown) end
            elseif event then
                if data ~= "" then neap.stdin:unread(data) end
                return text
            end
        until not event
    end
end

-- Waits for a key, which is not shown: whether there was one, or no more comes.
local function key(terminal, seconds)
    terminal.keys(true)
    local _ <close> = setmetatable({}, { __close = function() terminal.keys(false) end })
    local data, err = neap.realtime.with_timeout(seconds, neap.stdin.read_some, neap.stdin)
    return data ~= nil or err ~= "timeout"
end

---Has lines edited on a terminal.
---@param terminal table what the program knows of it
---@param complete fun(text: string): string?, string? what to add to a line up to the cursor;
---else what to show. It may wait
---@return { read: (fun(prompt: string): string?), key: (fun(seconds: number): boolean),
---remember: fun(line: string) }
function editor.open(terminal, complete)
    local path = history_path()
    load_history(terminal, path)
    local function read(prompt)
        io.stdout:flush()
        terminal.begin(prompt)
        local stop = watch_size(terminal)
        local ok, line = pcall(edit, terminal, complete)
        stop()
        terminal.drop()
        if not ok then error(line, 0) end
        if line then remember(terminal, path, line) end
        return line
    end
    return {
        read = read,
        key = function(seconds) return key(terminal, seconds) end,
        remember = function(line) remember(terminal, path, line) end,
    }
end

return editor
