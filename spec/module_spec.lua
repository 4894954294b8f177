-- neap as a module of a Lua that is not ours: `require "neap"` and neap.main.

local child = require "spec.support.child"
local lfs = require "lfs"

local quote, shell = child.quote, child.shell

child.make("libneap.so")

-- A Lua 5.4 to load it, and how that finds it: as neap.so, as it does when installed.
local lua
for _, name in ipairs { "lua", "lua5.4" } do
    if (shell(name .. [[ -e 'os.exit(_VERSION == "Lua 5.4")']])) == 0 then lua = name end
end

local function run(script)
    local folder = os.tmpname()
    os.remove(folder)
    lfs.mkdir(folder)
    lfs.link(lfs.currentdir() .. "/libneap.so", folder .. "/neap.so", true)
    local path = child.file(script)
    local status, out, err = shell(("LUA_CPATH_5_4=%s %s %s a b"):format(
        quote(folder .. "/?.so;;"), lua, quote(path)))
    os.remove(path)
    os.remove(folder .. "/neap.so")
    lfs.rmdir(folder)
    return status, out, err
end

local function gives(status, out, script)
    local got, said, complained = run(script)
    assert.same({ status, out, "" }, { got, said, complained }, script)
end

-- `it`, if there is such a Lua.
local function with_lua(what, f)
    if lua then it(what, f) else pending(what) end
end

describe("neap as a module", function()
    with_lua("sets no globals, and its table has what the program's has", function()
        gives(0, "table\ttrue\n", [[
            local globals = {}
            for name in pairs(_G) do globals[name] = true end
            local neap = require "neap"
            for name in pairs(_G) do assert(globals[name], name) end
            for _, name in ipairs { "tasklet", "channel", "deferred", "deferred_tasklet",
                "blocking_tasklet", "block_on", "spawn", "sleep", "schedule", "map", "scope" } do
                assert(neap[name], name)
            end
            print(type(neap), neap == require "neap")
        ]])
    end)

    with_lua("runs f as the main tasklet until all is done; gives its results", function()
        gives(0, "true\ta\tx\nlast\n1\tnil\t3\nsecond\n", [[
            local neap = require "neap"
            print(neap.main(function(a)
                local ch = neap.channel()
                neap.spawn(function() neap.sleep(0.01) ch:send "x" end)
                print(neap.getcurrent().is_main, a, ch:receive())
                neap.spawn(function() neap.sleep(0.02) print "last" end)
                return 1, nil, 3
            end, ...))
            neap.main(function() neap.sleep(0.001) print "second" end)
        ]])
    end)

    with_lua("has networks, and waits in a script's own coroutines", function()
        gives(0, "ABC\nin a coroutine\n", [[
            local neap = require "neap"
            local net = require "neap.net"
            neap.main(function()
                local l = neap.must(net.listen("127.0.0.1", 0))
                l:start(function(s) s:write(s:read(3):upper()) l:close() end)
                local c <close> = net.connect("127.0.0.1", l.port)
                c:write "abc"
                print(c:read "a")
                for text in coroutine.wrap(function()
                    neap.sleep(0.001)
                    coroutine.yield "in a coroutine"
                end) do print(text) end
            end)
        ]])
    end)

    with_lua("takes coroutines that are older than itself", function()
        gives(0, "1\t2\n", [[
            local old = coroutine.create(function(neap)
                neap.sleep(0.001)
                coroutine.yield(1)
                return 2
            end)
            local neap = require "neap"
            neap.main(function()
                local _, one = coroutine.resume(old, neap)
                print(one, select(2, coroutine.resume(old)))
            end)
        ]])
    end)

    with_lua("raises the error of main, and ends the others then", function()
        gives(0, "closed\nfalse\tboom\ntrue\n", [[
            local neap = require "neap"
            local err = setmetatable({}, { __tostring = function() return "boom" end })
            local function main()
                neap.spawn(function()
                    local _ <close> = setmetatable({}, { __close = function() print "closed" end })
                    neap.sleep(1000)
                end)
                neap.schedule()
                error(err)
            end
            local ok, got = pcall(neap.main, main)
            print(ok, got)
            print(got == err)
        ]])
        local status, _, err = run [[require "neap".main(function() error "boom" end)]]
        assert.equal(1, status)
        assert.matches("^lua[%d.]*: .*:1: boom\n", err)
    end)

    with_lua("names a deadlock, and raises it", function()
        local status, out, err = run [[
            local neap = require "neap"
            local function wait() neap.channel():receive() end
            print(neap.main(function() return select(2, pcall(wait)) end))
            print(pcall(neap.main, function() neap.spawn(wait).name = "worker" end))
            print(pcall(neap.main, wait))
        ]]
        local text = "Deadlock: the last runnable tasklet cannot be blocked."
        assert.same({ 0, text .. "\nfalse\t" .. text .. "\nfalse\t" .. text .. "\n" },
            { status, out })
        assert.matches("^neap: " .. text .. "\ntasklet %d+ %(worker%) waits: receive on a "
            .. "channel, at .*:2\n.*\nneap: tasklet %d+ %(main%) waits: receive", err)
    end)

    with_lua("reports errors that nobody handles, or hands them to on_error", function()
        local status, out, err = run [[
            local neap = require "neap"
            neap.main(function() neap.spawn(error, "unhandled", 0) end)
            neap.on_error(function(_, e) print("handled", e) end)
            neap.main(function() neap.spawn(error, "other", 0) end)
        ]]
        assert.same({ 0, "handled\tother\n" }, { status, out })
        assert.matches("^neap: unhandled\nstack traceback:\n", err)
        assert.is_nil(err:find("other", 1, true))
    end)

    with_lua("refuses to wait outside of main, and main inside of anything", function()
        gives(0, "cannot wait here; use neap.main\n"
            .. ("neap.main runs in Lua's main thread, and once at a time\n"):rep(3), [[
            local neap = require "neap"
            local function text(f, ...)
                print((select(2, pcall(f, ...)):gsub("^.-:%d+: ", "")))
            end
            text(neap.sleep, 1)
            text(coroutine.wrap(neap.main), print)
            neap.main(text, neap.main, print)
            neap.deferred():add_callback(function() text(neap.main, print) end):callback()
        ]])
    end)

    with_lua("ends with the process, in a tasklet too", function()
        for _, close in ipairs { "true", "false" } do
            gives(3, "", ([[
                local neap = require "neap"
                local net = require "neap.net"
                neap.main(function()
                    local l = net.listen("127.0.0.1", 0)
                    l:start(function(s) s:read() end)
                    local c = net.connect("127.0.0.1", l.port)
                    neap.spawn(function() c:read() end)
                    neap.sleep(0.01)
                    os.exit(3, %s)
                end)
            ]]):format(close))
        end
    end)
end)

describe("neap.main in the program", function()
    it("only calls: there is a main tasklet already", function()
        local status, out, err = child.run { "-e", [[
            print(neap.main(function(...)
                sleep(0.001)
                return neap.getcurrent().is_main, ...
            end, 1, nil, 2))
        ]] }
        assert.same({ 0, "true\t1\tnil\t2\n", "" }, { status, out, err })
    end)
end)
