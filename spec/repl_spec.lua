-- The prompt, from outside: on a pipe and on terminals of its own.

local child = require "spec.support.child"
local prompt = require "spec.support.prompt"

local terminal, edited, PROMPT, DONE = prompt.terminal, prompt.edited, prompt.PROMPT, prompt.DONE

local function same(want, ...) assert.same(want, { ... }) end

-- The same, of the first results only.
local function begins(want, ...) assert.same(want, { table.unpack({ ... }, 1, #want) }) end

-- The prompt with these lines on a pipe: status, standard output without the version line,
-- standard error.
local function piped(input, ...)
    local list = { ... }
    list[#list + 1] = "-i"
    local status, out, err = child.run(list, input)
    return status, (out:gsub("^neap [^\n]*\n", "")), err
end

-- What a line prints, without prompts.
local function gives(want, line)
    local status, out, err = piped(line .. "\n")
    same({ 0, "> " .. want .. "\n> \n", "" }, status, out, err)
end

local function shows(want, dialog, options)
    local status, out = terminal(dialog, options)
    assert.equal(0, status, out)
    assert.is_truthy(out:find(want, 1, true), out)
    return out
end

describe("the prompt on a pipe", function()
    it("prints what an expression gives, and nothing for a statement", function()
        gives("2", "1 + 1")
        gives("2", "=1 + 1")
        gives('1\tnil\t"a"', "1, nil, 'a'")
        gives("nil", "nil")
        same({ 0, "> > > \n", "" }, piped "x = 1\nlocal y\n")
    end)

    it("reads on until an input is whole", function()
        same({ 0, "> >> >> 1\n2\n> >> 3\n> \n", "" },
            piped "for i = 1, 2 do\nprint(i)\nend\n1 +\n2\n")
    end)

    it("keeps the last value in _ and the last error in _err", function()
        begins({ 0, "> 42\n> 43\n> > \"oops\"\n> \n" },
            piped "42\n_ + 1\nerror('oops', 0)\n_err\n")
    end)

    it("prints tables with sorted keys, cycles, and limits", function()
        gives('{ 1, 2, [10] = "x", a = { b = true }, ["end"] = 0.5 }',
            "{ 1, 2, [10] = 'x', a = { b = true }, ['end'] = 0.5 }")
        gives("{ me = <cycle> }", "(function() local t = {} t.me = t return t end)()")
        gives("{ { { { {...} } } } }", "{{{{{{}}}}}}")
        gives([["a\n\"\x00\xFFé"]], [["a\n\"\0\xFFé"]])
        local _, all = piped "_G\n"
        assert.is_true(select(2, all:gsub("\n", "")) < 100, all)
        assert.is_truthy(all:find("\n  string = {...},\n", 1, true), all)
        local _, out = piped "t = {} for i = 1, 1000 do t[i] = i end return t\n"
        assert.is_truthy(out:find("... 900 more", 1, true), out)
    end)

    it("prints what tasklets, channels and deferreds do", function()
        gives('<tasklet 2 "crawl" sleeping 100 s>',
            "(function() local t = spawn(sleep, 100) t.name = 'crawl' schedule() return t end)()")
        gives("<channel 1 of 3 buffered>",
            "(function() local c = channel(3) c:send(1) return c end)()")
        gives("<channel rendezvous, closed>",
            "(function() local c = channel() c:close() return c end)()")
        gives("<deferred not fired>", "deferred()")
        gives("<deferred fired: 5>", "neap.succeed(5)")

    end)

    it("an error prints its traceback, without the prompt's own frames", function()
        same({ 0, "> > 1\n> \n", "stdin:1: boo\nstack traceback:\n"
            .. "\t[C]: in function 'error'\n\tstdin:1: in main chunk\n\t[C]: in ?\n" },
            piped "error 'boo'\n1\n")
        same({ 0, "> > \n", "stdin:1: unexpected symbol near '='\n" }, piped "x = = 1\n")
        begins({ 0, "> > \n" }, piped "error {}\n")
    end)

    it("an input may wait, while others run", function()
        same({ 0, '> > "late"\n> \n', "" },
            piped("ch = channel() x = spawn(function() sleep(0.01) ch:send 'late' end)\n"
                .. "ch:receive()\n"))
    end)

    it("an input that deadlocks gets the error", function()
        local status, out, err = piped "channel():receive()\n7\n"
        same({ 0, "> > 7\n> \n" }, status, out)
        assert.is_truthy(err:find("^Deadlock: .*receive on a channel, at stdin:1\n"), err)
        assert.is_nil(err:find("repl.lua", 1, true), err)
    end)

    it("io.read takes the next line", function()
        same({ 0, "> hello\n> \n", "" }, piped "print(io.read())\nhello\n")
    end)

    it("ends with status 0, whatever is left", function()
        same({ 0, "> > > \n", "" },
            piped "x = spawn(function() while true do sleep(1) end end)\n\n")
        same({ 0, "> > " , "" }, piped "x = spawn(sleep, 100)\n:quit\n3\n")
        same({ 3, "> ", "" }, piped "os.exit(3)\n")
    end)

    it("comes after a script, unless that fails", function()
        local path = child.file "x = 5 print(...)"
        local status, out = child.run({ "-i", path, "a" }, "x + 1\n")
        os.remove(path)
        same({ 0, "a\n> 6\n> \n" }, status, (out:gsub("^neap [^\n]*\n", "")))
        same({ 0, "> 8\n> \n", "" }, piped("x\n", "-e", "x = 8"))
        begins({ 1, "" }, piped("x\n", "-e", "error 'no'"))
    end)

    it("heeds _PROMPT and _PROMPT2, as lua does", function()
        same({ 0, "> # $ # \n", "" }, piped "_PROMPT, _PROMPT2 = '# ', '$ '\ndo\nend\n")
    end)

    it("has commands", function()
        local _, out = piped("spawn(sleep, 100).name = 'bg' sleep(0)\n"
            .. ":tasks\n:trace bg\n:kill bg\n:tasks\n")
        assert.is_truthy(out:find("ID +NAME +STATE +AGE +WAITS ON\n1 +main +running"), out)
        local _, listed = out:gsub("2 +bg +waits +%d%.%d s +sleeping 100 s\n", "")
        assert.equal(1, listed, out)
        assert.is_truthy(out:find("spawned at stdin:1", 1, true), out)
        _, out = piped "x = spawn(sleep, 100)\nsleep(0.15)\n:tasks\n"
        local age = out:match "\n2 +waits +(%d+%.%d) s +sleeping %d+ s\n"
        assert.is_true((tonumber(age) or 0) > 0, out)
        _, out = piped ":time 5\n"
        assert.is_truthy(out:find("^> 5\n%d%.%d+ s, of them %d%.%d+ s of CPU\n> \n$"), out)
    end)

    it("runs files and loads modules anew", function()
        local module = os.tmpname()
        local folder, name = module:match "^(.*)/([^/]+)$"
        local path = module .. ".lua"
        local function write(text)
            local file <close> = assert(io.open(path, "w"))
            file:write(text)
        end
        write "return { n = 1 }"
        same({ 0, ("> > > 1\n> > reloaded %s\n> 2\n> > 7\n> \n"):format(name), "" }, piped(
            ("package.path = '%s/?.lua'\nm = require '%s'\nm.n\n"):format(folder, name)
            .. ("local f = io.open('%s', 'w') f:write 'seven = 7 return { n = 2 }' "):format(path)
            .. ("f:close()\n:reload %s\nm.n\n:load %s\nseven\n"):format(name, path)))
        write "return ="
        local status, out, err = piped(":load " .. path
            .. "\n:load /dev/null/none\n:reload none\n")
        same({ 0, "> > > > \n" }, status, out)
        assert.is_truthy(err:find("^.-:1: unexpected symbol.-\ncannot open.-\n"
            .. "not loaded so far: none\n$"), err)
        os.remove(module)
        os.remove(path)
    end)

    it("shows where a tasklet is", function()
        local _, out = piped "t = spawn(function() sleep(100) end) sleep(0)\n:trace 2\n"
        assert.is_truthy(out:find("sleep'.-stdin:1: in .-spawned at stdin:1"), out)
    end)

    it("says what it does not know", function()
        same({ 0, "> no such command; :help lists them\n> \n", "" }, piped ":nonsense\n")
        same({ 0, "> > \n", "no tasklet 99\n" }, piped ":kill 99\n")
        gives("nothing is known of nonsense", ":help nonsense")
        gives(":help lists the commands, Ctrl-D or :quit ends", "exit()")
        begins({ 0, "> > 5\n> \n" }, piped "help = 5\nhelp\n")
    end)

    it("helps, from the annotations", function()
        local _, out = piped ":help neap.map\n"
        assert.is_truthy(out:find("The first error ends the others and is raised.", 1, true), out)
        assert.is_nil(out:find("@param", 1, true))
        _, out = piped ":help spawn\n:doc channel:send\n:help channel.balance\n:help t.nothing\n"
        assert.is_truthy(out:find("> neap.spawn(f, ...)\nStarts a tasklet", 1, true), out)
        assert.is_truthy(out:find("> channel:send(...)\nSends values", 1, true), out)
        assert.is_truthy(out:find("> channel.balance (integer)\nhow many", 1, true), out)
        assert.is_truthy(out:find("> nothing is known of t.nothing\n", 1, true), out)
        _, out = piped ":help net.connect\n:help neap.sync\n"
        assert.is_truthy(out:find("  returns stream (stream?), or nil, err, code\n", 1, true), out)
        assert.is_truthy(out:find("in neap.sync:\n  barrier() condition() event()", 1, true), out)
    end)
end)

describe("the prompt on a terminal", function()
    it("comes without a script, with a banner, and no escapes on a dumb one", function()
        local out = shows("\n> 1 + 1\n2\n> ", { "> ", "1 + 1\n", "2\n", DONE })
        assert.is_truthy(out:find("^neap %d+%.%d+%.%d+  Lua 5.4"), out)
        assert.is_nil(out:find "\27")
    end)

    it("Ctrl-C ends the running input; its cleanup runs", function()
        shows("closed\ninterrupted\n", { "> ",
            "local c <close> = setmetatable({}, { __close = function() print 'closed' end })"
                .. " print 'go' sleep(100)\n", "\ngo", "\3", "interrupted", DONE })
    end)

    it("Ctrl-C ends a computation", function()
        shows("\n> 7\n", { "> ", "print 'go' while true do end\n", "\ngo", "\3",
            "interrupted", "7\n", "\n7\n", DONE })
    end)

    it("Ctrl-C at the prompt gives a new one", function()
        shows("> 8\n8\n", { "> ", "abc", "abc", "\3", "> ", "8\n", "8\n8\n", DONE })
    end)
end)

-- ---- a terminal on which lines are edited ----

local function looks(want, dialog, options)
    local status, shown = edited(dialog, options)
    same({ 0, want }, status, shown)
end

-- The terminal's settings are the same before and after a prompt that ends with this status.
local function settings(dialog, status)
    local before, after = os.tmpname(), os.tmpname()
    local script = ("stty -a >%s; trap : INT; %s; echo status $?; stty -a >%s"):format(
        before, child.quote(child.neap), after)
    local list = { "env", "TERM=xterm", "HOME=/dev/null/none", "build/static/support/pty" }
    for _, word in ipairs(dialog) do list[#list + 1] = word end
    for _, word in ipairs { "--", "sh", "-c", script } do list[#list + 1] = word end
    local _, out = child.start(list):wait()
    local was, is = io.open(before):read("a"), io.open(after):read("a")
    os.remove(before)
    os.remove(after)
    assert.is_truthy(#was > 0)
    assert.equal(was, is)
    assert.is_truthy(out:find("status " .. status, 1, true), out)
    assert.is_truthy(out:find "\27%[%?2004l[^\27]*$", out)
end

describe("the prompt with a line editor", function()
    it("edits", function()
        looks("> print(12)\n12\n>", {
            PROMPT, "prnt(1)\27[D2\27[H\27[C\27[Ci\r", PROMPT, DONE })
        looks("> 33\n33\n>", { PROMPT, "1\27[D3\27[C4\b\27[H\27[C\0043\r", PROMPT, DONE })
    end)

    it("finds earlier lines, also those of another time, in a file that is private", function()
        local state = os.tmpname()
        os.remove(state)
        looks("> 1 + 1\n2\n> 1 + 1\n2\n>", { PROMPT, "1 + 1\r", PROMPT, "\27[A\r", PROMPT, DONE },
            { state = state })
        looks("> 1 + 12\n13\n>", { PROMPT, "\27[A2\r", PROMPT, DONE }, { state = state })
        local _, mode = child.shell("stat -c %a " .. state .. "/neap/history")
        assert.equal("600\n", mode)
        local _, text = child.shell("cat " .. state .. "/neap/history; rm -rf " .. state)
        assert.equal("1 + 1\n1 + 1\n1 + 12\n", text)
    end)

    it("finds an input of several lines as one, too", function()
        looks("> for i = 1, 2 do\n>> print(i)\n>> end\n1\n2\n"
            .. "> for i = 1, 2 do print(i) end\n1\n2\n>", { PROMPT, "for i = 1, 2 do\r",
            "2004h>> ", "print(i)\r", "2004h>> ", "end\r", PROMPT, "\27[A\r", PROMPT, DONE })
    end)

    it("does without a place for it", function()
        looks("> 5\n5\n>", { PROMPT, "5\r", PROMPT, DONE }, { state = "/dev/null/none" })
    end)

    it("completes names, fields, methods and modules", function()
        looks("> string.format('%d', 3)\n\"3\"\n>",
            { PROMPT, "stri\t.form\t('%d', 3)\r", PROMPT, DONE })
        looks("> x = channel(3)\n> x:try_send(1)\ntrue\n>",
            { PROMPT, "x = chann\t(3)\r", PROMPT, "x:try_s\t(1)\r", PROMPT, DONE })
        looks('> require "neap.pretty".object(print)\n"<function, built in>"\n>',
            { PROMPT, 'require "neap.pre\t".object(print)\r', PROMPT, DONE })
        looks("> t = neap.getcurrent()\n> t.is_main, t.id\ntrue    1\n> neap.sync.mutex\n>",
            { PROMPT, "t = neap.getc\t()\r", PROMPT, "t.is_m\t, t.id\r", PROMPT,
            "neap.syn\t.mu\t", "tex", "\3", PROMPT, DONE })
        looks("> coroutine.r\nresume   running\n> coroutine.resume\n>",
            { PROMPT, "coroutine.r\t", "running", "es\t", "ume", "\3", PROMPT, DONE })
    end)

    it("what others print does not spoil the line", function()
        looks("> signal = require 'neap.signal'\n"
            .. '> x = spawn(function() signal.wait "SIGUSR1" print "one" print "two" end)\n'
            .. "one\ntwo\n> half a line\n>", { PROMPT, "signal = require 'neap.signal'\r", PROMPT,
            'x = spawn(function() signal.wait "SIGUSR1" print "one" print "two" end)\r',
            PROMPT, "half a line", "half a line", "signal:10", "two\n> half a line", "\3", PROMPT,
            DONE })
    end)

    it("nor text without a newline, standard error, neap.stdout, or an error", function()
        local status, shown = edited { PROMPT,
            'x = spawn(function() sleep(0.1) io.write "a" sleep(0.1) io.stderr:write "b"'
                .. ' sleep(0.1) neap.stdout:write "c\\n" sleep(0.1) error("d", 0) end)\r',
            PROMPT, "1 +\27[D", "spawned at", " 1\27[F1\r", PROMPT, DONE }
        assert.equal(0, status)
        assert.is_truthy(shown:find("\na\nb\nc\n.*\nneap: d\n") or
            shown:find("\na\nb\nc\nneap: d\n", 1, true), shown)
        assert.is_truthy(shown:find("\n> 1  1+1\nstdin:1: ", 1, true), shown)
    end)

    it("a paste of many lines is one input", function()
        local lines = {}
        for i = 1, 1000 do lines[i] = "x" .. i % 100 .. " = " .. i end
        lines[0] = "do"
        lines[1001] = "print('sum', x99 + x1)"
        lines[1002] = "end"
        local text = table.concat(lines, "\n", 0)
        local _, shown = edited { PROMPT, "\27[200~" .. text .. "\n\27[201~", PROMPT, DONE }
        assert.is_truthy(shown:find("\nsum\t?%s*1900\n>$"), shown:sub(-200))
        _, shown = edited({ PROMPT, text:gsub("\n", "\r") .. "\r", "\27[?2004lsum", "",
            PROMPT, DONE })
        assert.is_truthy(shown:find("\nsum%s*1900\n>$"), shown:sub(-200))
    end)

    it("a paste within a line is only text", function()
        looks("> 1 + 2 + 3\n6\n>",
            { PROMPT, "1 +\27[200~ 2\t+\27[201~", "2", " 3\r", PROMPT, DONE })
    end)

    it("takes 10,000 characters", function()
        local _, shown = edited { PROMPT, "#'" .. ("x"):rep(10000) .. "'\r", PROMPT, DONE }
        assert.is_truthy(shown:find("\n10000\n>$"), shown:sub(-200))
    end)

    it("keeps bytes that are not UTF-8, and wide characters", function()
        looks('> "äö漢" .. "é"\n"äö漢é"\n>', { PROMPT, '"äö漢" .. "é"\r', PROMPT, DONE })
        local _, shown = edited { PROMPT, "('\255\192\128'):byte(1, -1)\r", PROMPT, DONE }
        assert.is_truthy(shown:find("\n255\t?%s*192%s*128\n>$"), shown)
        local wide = ("x"):rep(76) .. "漢字"
        looks("> '" .. ("x"):rep(76) .. "\n漢字'\n\"" .. ("x"):rep(76) .. "漢\n字\"\n>",
            { PROMPT, "'" .. wide .. "'\r", PROMPT, DONE })
    end)

    it("draws the line anew when the terminal has another size", function()
        local _, shown = edited({ PROMPT, ("y"):rep(60), "y", "size:40x24", ("y"):rep(22),
            "\3", PROMPT, DONE }, { columns = 40 })
        assert.is_truthy(shown:find("> " .. ("y"):rep(38) .. "\n" .. ("y"):rep(22) .. "\n>$"),
            shown)
    end)

    it("io.read takes what is typed, typed ahead or not", function()
        looks('> x = io.read()\nhello\n> x\n"hello"\n>',
            { PROMPT, "x = io.read()\r", "\27[?2004l", "hello\r", PROMPT, "x\r", PROMPT, DONE })
    end)

    it("shows colours, unless NO_COLOR is set", function()
        local _, _, bytes = edited({ PROMPT, "7\r", PROMPT, DONE }, { colour = true })
        assert.is_truthy(bytes:find("\27[33m7\27[0m", 1, true))
        _, _, bytes = edited({ PROMPT, "7\r", PROMPT, DONE })
        assert.is_nil(bytes:find("\27[33m", 1, true))
    end)

    it("Ctrl-C drops the line", function()
        looks("> abc\n> 4\n4\n>", { PROMPT, "abc", "c", "\3", PROMPT, "4\r", PROMPT, DONE })
    end)

    it(":tasks live shows who runs, until a key or Ctrl-C, and forgets then", function()
        local status, shown = edited { PROMPT,
            "x = spawn(function() while true do schedule() end end)\r", PROMPT,
            "x.name = 'busy'\r", PROMPT, ":tasks live\r", "busy", "", "busy", "k",
            PROMPT, "x:kill()\r", PROMPT, ":tasks live\r", "a key ends", "\3", PROMPT,
            "'on'\r", PROMPT, DONE }
        assert.equal(0, status)
        local pictures = select(2, shown:gsub("tasklets, [%d.]+ %% CPU; a key ends", ""))
        assert.equal(2, pictures, shown) -- each is drawn over the one before
        assert.is_truthy(shown:find("ID +NAME +STATE +AGE +CPU +WAITS ON\n"
            .. "%d+ +busy +ready +[%d:.]+ ?s? +%d+%.%d %%"), shown)
        assert.is_truthy(shown:find("\n> 'on'\n\"on\"\n>$"), shown)
    end)

    it("gives the terminal its settings back, however it ends", function()
        settings({ PROMPT, DONE }, "0")
        settings({ PROMPT, "x = spawn(function() sleep(0.1) os.exit(7) end)\r", PROMPT, "abc" },
            "7")
        settings({ PROMPT, "x = spawn(function() sleep(0.1) os.execute 'kill -TERM $PPID' end)\r",
            PROMPT, "abc" }, "143")
        settings({ PROMPT, "x = spawn(function() sleep(0.5) os.execute 'kill -TERM $PPID' end)\r",
            PROMPT, ":tasks live\r" }, "143")
        settings({ PROMPT, ":tasks live\r", "a key ends", "\3", PROMPT, DONE }, "0")
        settings({ PROMPT, "x = spawn(function() sleep(0.1) os.execute 'kill -HUP $PPID' end)\r",
            PROMPT, "abc" }, "129")
        settings({ PROMPT, "x = spawn(function() sleep(0.1) os.execute 'kill -ABRT $PPID' end)\r",
            PROMPT, "abc" }, "134")
    end)

    it("Ctrl-Z gives the terminal back; the line is there when it goes on", function()
        local before, stopped = os.tmpname(), os.tmpname()
        local script = ("set -m; stty -a >%s; %s; stty -a >%s; echo stopped; fg; echo status $?")
            :format(before, child.quote(child.neap), stopped)
        local list = { "env", "TERM=xterm", "HOME=/dev/null/none", "build/static/support/pty",
            PROMPT, "1 + 1", "1 + 1", "\26", "stopped", "", "> 1 + 1", "1\r", "12", "",
            PROMPT, DONE, "--", "bash", "-c", script }
        local _, out = child.start(list):wait()
        local was, is = io.open(before):read "a", io.open(stopped):read "a"
        os.remove(before)
        os.remove(stopped)
        assert.is_truthy(#was > 0)
        assert.equal(was, is)
        assert.is_truthy(out:find("status 0", 1, true), out)
    end)

    it("Ctrl-C in a C call that heeds nobody comes when that is over", function()
        local _, shown = edited { PROMPT,
            "print 'go' local s = ('a'):rep(30000) s:find '.-b' print 'not here'\r",
            "2004lgo", "\3", "interrupted", "", PROMPT, "7\r", PROMPT, DONE }
        assert.is_truthy(shown:find("interrupted", 1, true), shown)
        assert.is_nil(shown:find("\nnot here", 1, true), shown)
        assert.is_truthy(shown:find("> 7\n7\n>$"), shown)
    end)

    it("a paste of a megabyte is one input", function()
        local path = child.file("\27[200~x = {\n"
            .. ("    'a line of some characters',\n"):rep(33000) .. "}\n\27[201~")
        local status, _, bytes = edited { PROMPT, "file:" .. path, PROMPT, "#x\r",
            "33000", "", PROMPT, DONE }
        os.remove(path)
        assert.equal(0, status)
        assert.is_truthy(bytes:find("#x.-33000"))
    end)

    it("without libedit it is plain, and says so", function()
        local folder = os.tmpname()
        os.remove(folder)
        local make = "mkdir %s && cc -shared -o %s/libedit.so.2 -x c /dev/null"
        assert.equal(0, (child.shell(make:format(folder, folder))))
        local status, shown = terminal({ "> ", "1 + 1\n", "2\n", DONE },
            { term = "xterm", env = { "NO_COLOR=1", "LD_LIBRARY_PATH=" .. folder } })
        os.execute("rm -r " .. folder)
        assert.equal(0, status)
        assert.is_truthy(shown:find("Lines are not edited: libedit.so.2 is missing, "
            .. "install libedit2\n> ", 1, true), shown)
        assert.is_nil(shown:find "\27")
    end)
end)
