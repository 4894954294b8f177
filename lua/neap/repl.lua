-- The prompt: reads a line, runs it, prints what it gives. The program runs it in its main
-- tasklet, so that Ctrl-C and a deadlock raise where the input waits; the console of a running
-- program (neap.console) runs one for each connection.

local neap = require "neap"
local inside = require "neap.inside"
local pretty = require "neap.pretty"
local commands = require "neap.repl.commands"

local repl = {}

---Where lines come from and results go. The functions may wait.
---@class neap.repl.session
---@field read fun(prompt: string): string? the next line, without its end; nil: no more.
---It raises `neap.Interrupted` when the line was dropped
---@field write fun(text: string)
---@field write_error? fun(text: string) errors; as `write`
---@field env? table the global variables of what is typed; `_G`
---@field mortal? boolean a kill of its tasklet ends it, and is no error of an input
---@field lost? fun(): boolean nobody hears it any more
---@field colour? boolean
---@field width? fun(): integer columns of the terminal; 80
---@field height? fun(): integer lines of it
---@field key? fun(seconds: number): boolean waits for a key: whether one was pressed
---@field remember? fun(line: string) the history has it, too
---@field escapes? boolean the terminal knows escape sequences
---@field lua_prompts? boolean `_PROMPT` and `_PROMPT2` are heeded, as in lua

local function prompt_of(session, name, default)
    local text = session.lua_prompts and _G[name]
    return text and pretty.tostring(text) or default
end

local function incomplete(message)
    return message:sub(-5) == "<eof>"
end

-- The function of an input: an expression, else statements. nil, message, whether more lines
-- can make it one.
local function compile(text, env)
    local f, first = load("return " .. text, "=stdin", "t", env)
    if f then return f end
    local message
    f, message = load(text, "=stdin", "t", env)
    return f, message, not f and (incomplete(message) or incomplete(first))
end

-- Lines that are an input together are found as one, too, if they can stand in a line.
local function remember_whole(session, text)
    if not session.remember or #text > 1000 then return end
    if text:find "%-%-" or text:find "%[=*%[" then return end
    if load(text, "", "t") or load("return " .. text, "", "t") then
        session.remember((text:gsub("%s*\n%s*", " ")))
    end
end

-- Reads on until the input is whole. Its function, or nil and the message.
local function read_chunk(session, first)
    local text = first:gsub("^%s*=", "return ")
    while true do
        local f, message, goes_on = compile(text, session.env)
        if not goes_on then return f, message end
        local line = session.read(prompt_of(session, "_PROMPT2", ">> "))
        if not line then return nil, message end
        text = text .. "\n" .. line
        remember_whole(session, text)
    end
end

local MOST_LINES = 60 -- of one value, if less depth makes it fewer

local function show(session, value)
    local options = { colour = session.colour, width = session.width and session.width() or 80 }
    local text
    for depth = 4, 1, -1 do
        options.depth = depth
        text = pretty.format(value, options)
        if select(2, text:gsub("\n", "")) < MOST_LINES then break end
    end
    return text
end

local function show_results(session, results)
    if results.n == 0 then return end
    session.env._ = results[1]
    local texts = {}
    for i = 1, results.n do texts[i] = show(session, results[i]) end
    local lines = table.concat(texts, "\t")
    if lines:find("\n", 1, true) then lines = table.concat(texts, "\n") end
    session.write(lines .. "\n")
end

local function message_of(err)
    if type(err) == "string" or type(err) == "number" then return tostring(err) end
    local meta = pretty.metatable(err)
    if type(meta) == "table" and rawget(meta, "__tostring") then return pretty.tostring(err) end
    return ("(error object is a %s value)"):format(type(err))
end

-- Without the frames of the prompt itself.
local function own_frames(trace)
    local frames = "\n%s*%[C%]: in function 'xpcall'\n%s*lua/neap/repl%.lua:.-"
    trace = trace:gsub(frames .. "'neap%.repl%.main'", "")
    return (trace:gsub(frames .. "$", ""))
end

local function traceback_of(err, failure)
    local report = type(err) == "table" and rawget(err, "report")
    if type(report) == "string" then return own_frames(report) end
    local trace = failure and failure.traceback
    trace = trace and own_frames(trace) or ""
    return trace:find("\n", 1, true) and trace or ""
end

---Prints an error as the prompt does, and keeps it in `_err`.
---@param session neap.repl.session
---@param failure any what the message handler gave: a failure, or TaskletExit
local function show_error(session, failure)
    local is_failure = type(failure) == "table" and failure.traceback
    local err = failure
    if is_failure then err = failure.value end
    session.env._err = err
    local text = message_of(err)
    if session.colour then text = "\27[31m" .. text .. "\27[0m" end
    local trace = traceback_of(err, is_failure and failure)
    session.write_error(text .. (trace ~= "" and "\n" .. trace or "") .. "\n")
end

-- Calls f(...); its results are printed with `printer`, its error as errors are.
local function run(session, printer, f, ...)
    local results = table.pack(xpcall(f, inside.failure, ...))
    if not results[1] then
        if session.mortal and results[2] == neap.TaskletExit then error(results[2], 0) end
        return show_error(session, results[2])
    end
    results = table.pack(table.unpack(results, 2, results.n))
    printer(session, results)
end

local function command(session, line)
    local name, rest = line:match "^%s*:(%a+)%s*(.-)%s*$"
    local f = name and commands.list[name]
    if not f then
        session.write("no such command; :help lists them\n")
        return
    end
    run(session, function(_, results)
        if results[1] == nil and results[2] then session.write_error(results[2] .. "\n") end
    end, f, session, rest)
end

-- What people try who have never been here.
local function is_lost(session, line)
    local word = line:match "^%s*(%a+)%s*%(?%)?%s*$"
    return (word == "help" or word == "exit" or word == "quit") and session.env[word] == nil
end

-- One input; false: there are no more.
local function step(session)
    local line = session.read(prompt_of(session, "_PROMPT", "> "))
    if not line then return false end
    if line:find "^%s*:%a" then
        command(session, line)
    elseif is_lost(session, line) then
        session.write ":help lists the commands, Ctrl-D or :quit ends\n"
    elseif line:find "%S" then
        local f, message = read_chunk(session, line)
        if f then
            run(session, show_results, f)
        else
            session.env._err = message
            session.write_error(message .. "\n")
        end
    end
    return not session.ended
end

---Runs inputs until the source has no more, or `:quit`. An error never ends it.
---@param session neap.repl.session
function repl.loop(session)
    session.env = session.env or _G
    session.write_error = session.write_error or session.write
    session.compile = function(text) return compile(text, session.env) end
    inside.observe()
    local go_on = true
    while go_on do
        local ok, result = pcall(step, session)
        if ok then
            go_on = result
        elseif not neap.is(result, neap.Interrupted) then
            if session.lost and session.lost() then return end
            if session.mortal and result == neap.TaskletExit then error(result, 0) end
            session.write(message_of(result) .. "\n")
        end
    end
end

local function write_error(text)
    io.stdout:flush()
    io.stderr:write(text)
end

---Whether what is shown on a terminal has colours.
---@param terminal any false or nil: it is none
---@return boolean
function repl.colours(terminal)
    local no = os.getenv "NO_COLOR"
    return terminal and (no == nil or no == "") and os.getenv "TERM" ~= "dumb"
        and os.getenv "TERM" ~= nil
end

-- Lines as they come: the terminal itself, if it is one, is the editor.
local function plain_reader(prompt)
    io.write(prompt)
    io.stdout:flush()
    return io.read()
end

local exit = os.exit

---The prompt of the program: takes standard input until its end, and then ends the program
---with status 0, whatever else still runs.
---@param terminal? table what the program knows of its terminal; nil: it is none
function repl.main(terminal)
    local session = {
        read = plain_reader, write = io.write, write_error = write_error, lua_prompts = true,
        colour = repl.colours(terminal and terminal.output),
        width = terminal and terminal.width,
    }
    local editor = terminal and terminal.edits
        and require "neap.repl.editor".open(terminal, function(text)
            return require "neap.repl.complete".of(text, session.env, terminal.width())
        end)
    if editor then
        session.read, session.key, session.escapes = editor.read, editor.key, true
        session.height, session.remember = terminal.height, editor.remember
    end
    if terminal and terminal.missing then
        io.write("Lines are not edited: ", terminal.missing, "\n")
    end
    repl.loop(session)
    if not session.ended then io.write "\n" end
    io.stdout:flush()
    exit(true, true)
end

return repl
