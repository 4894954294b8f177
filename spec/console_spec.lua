-- The prompt inside a running program: --console and --attach.

local child = require "spec.support.child"
local prompt = require "spec.support.prompt"

local edited, PROMPT, DONE = prompt.edited, prompt.PROMPT, prompt.DONE

local function same(want, ...) assert.same(want, { ... }) end

-- A program with a console, which has printed "ready".
local function start(text)
    local path = os.tmpname()
    os.remove(path)
    local p = child.start { child.neap, "--console", path, "-e",
        "io.stdout:setvbuf('no') print 'ready' " .. text }
    p:printed()
    return p, path
end

describe("a console", function()
    it("evaluates in the program, which goes on when one leaves", function()
        local p, path = start "x = 42 while x < 50 do sleep(0.01) end print(x)"
        same({ 0, "> 43\n> mine\n> ", "" },
            child.run({ "--attach", path }, "x + 1\nprint 'mine'\n"))
        same({ 0, "> > ", "" }, child.run({ "--attach", path }, "x = 43\n:quit\n"))
        child.run({ "--attach", path }, "x = 50\n") -- may end before it is answered
        same({ 0, "ready\n50\n", "" }, p:wait())
        os.remove(path)
    end)

    it("shows the tasklets, and the traceback of an error", function()
        local p, path = start "name = 'x' sleep(100)"
        local _, out = child.run({ "--attach", path }, ":tasks\nerror 'no'\n")
        assert.is_truthy(out:find("1 +main +waits +%d+%.%d s +sleeping"), out)
        assert.is_truthy(out:find("stdin:1: no\nstack traceback:", 1, true), out)
        p:kill()
        os.remove(path)
    end)

    it("may be opened by this user only", function()
        local p, path = start "sleep(100)"
        local _, mode = child.shell("stat -c %a " .. path)
        assert.equal("600\n", mode)
        p:kill()
        os.remove(path)
    end)

    it("keeps no program alive", function()
        local p, path = start "sleep(0.05)"
        same({ 0, "ready\n", "" }, p:wait())
        os.remove(path)
    end)

    it("that is not there is an error", function()
        local status, _, err = child.run { "--attach", "/dev/null/none" }
        assert.equal(1, status)
        assert.is_truthy(err:find("^neap: connect /dev/null/none: Not a directory"), err)
    end)

    it("is no reason to wait for ever: a deadlock is told", function()
        local path = os.tmpname()
        os.remove(path)
        local status, _, err = child.run { "--console", path, "-e", "channel():receive()" }
        assert.equal(1, status)
        assert.is_truthy(err:find("^neap: Deadlock: the last runnable tasklet"), err)
        os.remove(path)
    end)

    it("in which somebody stands is one: he may end it", function()
        local p, path = start "ch = channel() while not go do sleep(0.01) end print(ch:receive())"
        local status, out, err = child.run({ "--attach", path },
            "go = true\n(function() while ch.balance == 0 do sleep(0.01) end return 1 end)()\n"
                .. "ch:send(8)\n")
        same({ 0, "> > 1\n", "" }, status, out:sub(1, 6), err) -- and a prompt, if it has time
        same({ 0, "ready\n8\n", "" }, p:wait())
        os.remove(path)
    end)
end)

describe("a console on a terminal", function()
    -- Types into the console of a program that has `n` count; what is shown, the program.
    local function attached(dialog, text)
        local p, path = start(text or
            "n = 0 while not stop do n = n + 1 sleep(0.01) end print 'on'")
        local status, shown, bytes = edited(dialog, { "--attach", path })
        os.remove(path)
        return shown, status, bytes, p
    end

    local function looks(want, dialog)
        local shown, status, _, p = attached(dialog)
        same({ 0, want }, status, shown)
        p:kill()
    end

    it("edits lines, completes names of the other program, reads on", function()
        looks("> n > 0\ntrue\n> string.format('%d', 3)\n\"3\"\n> coroutine.r\nresume   running\n"
            .. "> coroutine.resume\n> do\n>> print 'x' end\nx\n>",
            { PROMPT, "m > 0\27[H\27[3~n\r", PROMPT, "stri\t", "ng", ".form\t", "at",
            "('%d', 3)\r", PROMPT, "coroutine.r\t", "running", "es\t", "ume", "\3", PROMPT, "do\r",
            "2004h>> ", "print 'x' end\r", PROMPT, DONE })
    end)

    it("keeps the line whole while its own tasklets print", function()
        looks("> x = spawn(function() sleep(0.5) print 'one' print 'two' end)\n"
            .. "one\ntwo\n> half\n>", { PROMPT,
            "x = spawn(function() sleep(0.5) print 'one' print 'two' end)\r",
            PROMPT, "half", "two\n", "", "> half", "\3", PROMPT, DONE })
    end)

    it("Ctrl-C ends the input that runs there, and its cleanup runs", function()
        local shown, status, _, p = attached { PROMPT,
            "local c <close> = setmetatable({}, { __close = function() print 'closed' end })"
                .. " print 'go' sleep(100)\r", "2004lgo", "\3", "interrupted", "", PROMPT,
            "stop = true\r", PROMPT, DONE }
        assert.equal(0, status)
        assert.is_truthy(shown:find("closed\ninterrupted\n", 1, true), shown)
        same({ 0, "ready\non\n", "" }, p:wait())
    end)

    it("is left by Ctrl-D and :quit; what runs there then is ended, the program not", function()
        local _, status, _, p = attached { PROMPT, "stop = true\r", PROMPT, ":quit\r" }
        same({ 0, 0, "ready\non\n", "" }, status, p:wait())
        _, status, _, p = attached { PROMPT, "print 'go' pcall(sleep, 100) print 'caught'"
            .. " pcall(sleep, 100) stop = true\r", "2004lgo", "\3", "caught", "\3" }
        assert.equal(0, status)
        same({ 0, "ready\non\n", "" }, p:wait())
    end)

    it("tells when the program has ended, and gives the terminal back", function()
        local shown, status, bytes, p = attached { PROMPT,
            "x = spawn(function() sleep(1) stop = true end)\r", PROMPT, "abc" }
        assert.equal(0, status)
        assert.is_truthy(shown:find("> abc\nneap: the program at the other end has ended", 1, true),
            shown)
        assert.is_truthy(bytes:find "\27%[%?2004l[^\27]*$", bytes)
        same({ 0, "ready\non\n", "" }, p:wait())
    end)

    it("shows :tasks live there", function()
        local shown, status, _, p = attached { PROMPT, ":tasks live\r", "a key ends", "k", PROMPT,
            "7\r", PROMPT, DONE }
        assert.equal(0, status)
        assert.is_truthy(shown:find("\n%d+ +main +%l+ .*\n> 7\n7\n>$"), shown)
        p:kill()
    end)
end)
