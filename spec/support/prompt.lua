-- A prompt on a terminal of its own, for specs.

local child = require "spec.support.child"
local screen = require "spec.support.screen"

child.make("build/static/support/pty")

local prompt = {
    PROMPT = "\27[?2004h> ", -- what says that a line is edited
    DONE = "\4",             -- Ctrl-D
}

-- A prompt on a terminal of its own: what is typed when that has appeared; the status and all
-- that was shown.
function prompt.terminal(dialog, options)
    options = options or {}
    local list = { "env", "-u", "NO_COLOR", "TERM=" .. (options.term or "dumb") }
    for _, setting in ipairs(options.env or {}) do list[#list + 1] = setting end
    list[#list + 1] = "build/static/support/pty"
    for i, word in ipairs(dialog) do
        list[#list + 1] = i % 2 == 1 and word:gsub("\n", "\r\n") or word
    end
    list[#list + 1] = "--"
    list[#list + 1] = child.neap
    for _, word in ipairs(options) do list[#list + 1] = word end
    local status, out = child.start(list):wait()
    return status, (out:gsub("\r", "")), out
end

-- Status, what is shown at the end, the banner left out, and the bytes. options.columns: the
-- terminal is as wide as that at the end.
function prompt.edited(dialog, options)
    options = options or {}
    local state = options.state or os.tmpname()
    if not options.state then os.remove(state) end
    options.term = "xterm"
    options.env = { options.colour and "A=1" or "NO_COLOR=1", "XDG_STATE_HOME=" .. state }
    local status, _, bytes = prompt.terminal(dialog, options)
    if not options.state then os.execute("rm -rf " .. child.quote(state)) end
    local shown = screen.show(bytes, options.columns)
    return status, (shown:gsub("^.-Ctrl%-D ends%.\n", ""):gsub("\n$", "")), bytes
end

return prompt
