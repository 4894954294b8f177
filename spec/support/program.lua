-- The program under test, started anew: what it prints and how it ends.

local program = { path = arg[0] }

for i = -1, -math.huge, -1 do
    if not arg[i] then break end
    program.path = arg[i]
end

local function quoted(s)
    return "'" .. s:gsub("'", "'\\''") .. "'"
end

---Runs a Lua script in a program of its own, with nothing on standard input.
---@param script string
---@param options? string options in front of the script, as a shell would read them
---@return integer|string status the exit status, or "signal N"
---@return string output standard output and standard error, in their order
---@return string name the file that held the script, as messages name it
function program.run(script, options)
    local name = os.tmpname()
    local file <close> = assert(io.open(name, "w"))
    assert(file:write(script))
    file:close()
    local command = ("exec %s %s %s 2>&1 </dev/null"):format(
        quoted(program.path), options or "", quoted(name))
    local pipe <close> = assert(io.popen(command))
    local output = pipe:read("a")
    local _, how, status = pipe:close()
    os.remove(name)
    return how == "exit" and status or how .. " " .. status, output, name
end

---How often a plain text occurs in another.
---@param text string
---@param part string
---@return integer
function program.count(text, part)
    local n, at = 0, 1
    while true do
        local first, last = text:find(part, at, true)
        if not first then return n end
        n, at = n + 1, last + 1
    end
end

return program
