-- The prompt inside a running program: --console and --attach.

local child = require "spec.support.child"

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
        same({ 0, "> > ", "" }, child.run({ "--attach", path }, "x = 50\n:quit\n"))
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
end)
