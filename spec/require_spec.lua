-- require: Lua's own in all that shows, but a module may wait while it loads, and who
-- requires it meanwhile waits for that one load.

local program = require "spec.support.program"
local record = require "spec.support.record"
local error_of = record.error_of

local NAMES = { "spec.m.a", "spec.m.b", "spec.m.c" }

local function forget()
    for _, name in ipairs(NAMES) do
        package.preload[name], package.loaded[name] = nil, nil
    end
end

-- Puts module number i there, with the loader f.
local function module(i, f)
    package.preload[NAMES[i]] = f
    return NAMES[i]
end

-- A module that waits at its top level until the channel is served; `log` counts loads.
local function gated(i)
    local gate, log = channel(), record.log()
    return module(i, function()
        log("load")
        return gate:receive()
    end), gate, log
end

describe("require", function()
    before_each(forget)
    after_each(forget)

    it("gives the module and where its loader was found; later only the module", function()
        local name = module(1, function(...) return { ... } end)
        local m, data, more = require(name)
        assert.same({ name, ":preload:" }, m)
        assert.equal(":preload:", data)
        assert.is_nil(more)
        assert.same({ m, n = 1 }, table.pack(require(name)))
        assert.equal(m, package.loaded[name])
    end)

    it("what the loader returns, or has put there, or true", function()
        assert.is_true((require(module(1, function() end))))
        assert.equal("set", (require(module(2, function(name)
            package.loaded[name] = "set"
        end))))
        assert.equal("returned", (require(module(3, function(name)
            package.loaded[name] = "set"
            return "returned"
        end))))
    end)

    it("false is a module, and loaded again", function()
        local n = 0
        local name = module(1, function()
            n = n + 1
            return false
        end)
        assert.is_false((require(name)))
        assert.is_false((require(name)))
        assert.equal(2, n)
    end)

    it("a field of package.loaded counts, whoever put it there", function()
        package.loaded["spec.m.a"] = "mine"
        assert.equal("mine", require "spec.m.a")
    end)

    it("arguments are checked as in Lua", function()
        assert.matches("bad argument #1 to 'require' %(string expected, got table%)",
            error_of(function() require {} end))
        assert.matches("string expected, got no value", error_of(function() require() end))
    end)

    it("not found: what each searcher says", function()
        local err = error_of(require, "spec.m.none")
        assert.matches("^module 'spec%.m%.none' not found:\n\tno field package%.preload"
            .. "%['spec%.m%.none'%]\n\tno file '", err)
        assert.equal(package.path:gsub("[^;]+", ""):len() + package.cpath:gsub("[^;]+", ""):len()
            * 2 + 3, select(2, err:gsub("\n\tno file '", "")))
        assert.matches("^[^:]+require_spec%.lua:%d+: module",
            select(2, pcall(function() require "spec.m.none" end)))
    end)

    it("package.searchers is asked in order, and must be a table", function()
        local searchers = package.searchers
        local _ <close> = setmetatable({}, {
            __close = function() package.searchers = searchers end,
        })
        local log = record.log()
        package.searchers = {
            function(name) log("1 " .. name) end,
            function() return "\n\tsays why" end,
            function() return nil end,
            function() return 5, 6 end,
            function(name) return function(...) return { name, ... } end, { "data" } end,
            function() log("not asked") end,
        }
        local m, data = require "spec.m.a"
        assert.same({ "spec.m.a", "spec.m.a", { "data" } }, m)
        assert.equal(data, m[3])
        assert.equal("1 spec.m.a", tostring(log))
        table.remove(package.searchers, 5)
        package.searchers[5] = nil
        assert.equal("module 'spec.m.b' not found:\n\t\n\tsays why\n\t5",
            error_of(require, "spec.m.b"))
        package.searchers = nil
        assert.equal("'package.searchers' must be a table", error_of(require, "spec.m.b"))
        package.searchers = {}
        assert.equal("module 'spec.m.b' not found:", error_of(require, "spec.m.b"))
    end)

    it("files, and errors in them", function()
        local dir = os.tmpname()
        os.remove(dir)
        assert(os.execute("mkdir " .. dir))
        local path, cpath = package.path, package.cpath
        local _ <close> = setmetatable({}, {
            __close = function()
                package.path, package.cpath = path, cpath
                os.execute("rm -r " .. dir)
            end,
        })
        package.path, package.cpath = dir .. "/?.lua", ""
        local function write(name, text)
            local file <close> = assert(io.open(dir .. "/" .. name, "w"))
            file:write(text)
        end
        assert(os.execute("mkdir -p " .. dir .. "/spec/m"))
        write("spec/m/a.lua", "return { ... }")
        write("spec/m/b.lua", "return return")
        local m, file = require "spec.m.a"
        assert.equal(dir .. "/spec/m/a.lua", file)
        assert.same({ "spec.m.a", file }, m)
        local place = dir .. "/spec/m/b.lua"
        local err = error_of(require, "spec.m.b")
        assert.equal(1, (err:find(("error loading module 'spec.m.b' from file '%s':\n\t%s:1:")
            :format(place, place), 1, true)))
        package.path = nil
        assert.equal("'package.path' must be a string", error_of(require, "spec.m.c"))
    end)

    it("the error of a loader comes as it is, and the next require tries again", function()
        local err, n = {}, 0
        local name = module(1, function()
            n = n + 1
            error(err)
        end)
        for i = 1, 2 do
            assert.equal(err, select(2, pcall(require, name)))
            assert.equal(i, n)
        end
        assert.is_nil(package.loaded[name])
    end)

    it("LUA_PATH and LUA_CPATH", function()
        local function paths(environment, options)
            local pipe <close> = assert(io.popen(("%s '%s' %s -e 'print(package.path) "
                .. "print(package.cpath)'"):format(environment, program.path, options)))
            return pipe:read("l", "l")
        end
        local path, cpath = paths("env -u LUA_PATH -u LUA_CPATH", "")
        local set = "LUA_PATH='p/?.lua;;' LUA_CPATH='c/?.so'"
        assert.same({ "p/?.lua;" .. path, "c/?.so" }, { paths(set, "") })
        assert.same({ path, cpath }, { paths(set, "-E") })
        assert.equal("5.4", (paths("LUA_PATH=p LUA_PATH_5_4=5.4", "")))
    end)
end)

describe("require, a module that waits:", function()
    before_each(forget)
    after_each(forget)

    it("loads once for all who require it", function()
        local name, gate, log = gated(1)
        local all = {}
        for i = 1, 5 do all[i] = spawn(require, name) end
        schedule()
        assert.equal("receive on a channel", all[1].waiting_on)
        assert.equal("require", all[2].waiting_on)
        gate:send("module")
        assert.same({ true, "module", ":preload:" }, { all[1]:join() })
        for i = 2, 5 do assert.same({ true, "module" }, { all[i]:join() }) end
        assert.equal("load", tostring(log))
    end)

    it("a module that shows itself early is still waited for by others", function()
        local gate = channel()
        local name = module(1, function(name)
            local m = {}
            package.loaded[name] = m
            m.inner = require(name) == m -- as in Lua: its own loader sees what is there
            m.done = gate:receive()
        end)
        local first, second = spawn(require, name), spawn(function() return require(name).done end)
        schedule()
        gate:send("done")
        local ok, m = first:join()
        assert.is_true(ok and m.inner)
        assert.same({ true, "done" }, { second:join() })
    end)

    it("inside a coroutine, and a searcher may wait", function()
        local searchers = table.move(package.searchers, 1, #package.searchers, 1, {})
        table.insert(package.searchers, 1, function(name)
            schedule()
            return name == "spec.m.a" and function()
                schedule()
                return "module"
            end or nil
        end)
        local _ <close> = setmetatable({}, {
            __close = function() package.searchers = searchers end,
        })
        assert.equal("module", (coroutine.wrap(function() return (require "spec.m.a") end)()))
        assert.equal("other", (require(module(2, function() return "other" end))))
    end)

    it("gives its error to all who wait, and is tried again", function()
        local gate, err, n = channel(), {}, 0
        local name = module(1, function()
            n = n + 1
            gate:receive()
            error(n == 1 and err or "second", 0)
        end)
        local all = {}
        for i = 1, 3 do all[i] = spawn(pcall, require, name) end
        schedule()
        gate:send()
        for i = 1, 3 do assert.equal(err, select(3, all[i]:join())) end
        assert.equal(1, n)
        local again, waits = spawn(pcall, require, name), spawn(pcall, require, name)
        schedule()
        gate:send()
        assert.same({ true, false, "second" }, { again:join() })
        assert.same({ true, false, "second" }, { waits:join() })
        assert.equal(2, n)
    end)

    it("killed: the next who waits begins it anew, the others go on waiting", function()
        for _, how in ipairs { false, { pending = true }, { hard = true } } do
            forget()
            local name, gate, log = gated(1)
            local all = {}
            for i = 1, 4 do all[i] = spawn(require, name) end
            schedule()
            all[1]:kill(how)
            all[3]:kill() -- one who only waits
            schedule()
            schedule()
            assert.equal("load load", tostring(log))
            assert.equal("receive on a channel", all[2].waiting_on)
            assert.equal("require", all[4].waiting_on)
            gate:send("module")
            assert.same({ true, "module", ":preload:" }, { all[2]:join() })
            assert.same({ true, "module" }, { all[4]:join() })
            assert.same({ false, neap.TaskletExit }, { all[3]:join() })
        end
    end)

    it("ended by a time limit or a scope: the same", function()
        local clock = neap.clock()
        neap.use_clock(clock)
        local _ <close> = setmetatable({}, { __close = function() neap.use_clock(nil) end })
        local name, gate, log = gated(1)
        local limited, waits = spawn(neap.with_timeout, 1, require, name), spawn(require, name)
        schedule()
        clock:advance(1)
        assert.same({ true, nil, "timeout" }, { limited:join() })
        schedule()
        assert.equal("load load", tostring(log))
        gate:send("module")
        assert.same({ true, "module", ":preload:" }, { waits:join() })
        forget()
        name, gate = gated(2)
        neap.scope(function(s)
            s:spawn(require, name)
            schedule()
            waits = spawn(require, name)
            schedule()
            s:cancel()
        end)
        schedule()
        gate:send("second")
        assert.same({ true, "second", ":preload:" }, { waits:join() })
    end)

    it("an error under a time limit reaches those who wait as it is", function()
        local gate, err = channel(), {}
        local name = module(1, function()
            gate:receive()
            error(err)
        end)
        local limited = spawn(pcall, neap.with_timeout, 60, require, name)
        local waits = spawn(pcall, require, name)
        schedule()
        gate:send()
        assert.equal(err, select(3, limited:join()))
        assert.equal(err, select(3, waits:join()))
    end)

    it("its cleanup may wait, and is waited for", function()
        local gate, log = channel(), record.log()
        local name = module(1, function()
            log("load")
            if #log > 1 then return "second" end
            local _ <close> = setmetatable({}, { __close = function() log(gate:receive()) end })
            gate:receive()
        end)
        local first, second = spawn(require, name), spawn(require, name)
        schedule()
        first:kill()
        schedule()
        assert.equal("require", second.waiting_on)
        gate:send("closed")
        assert.same({ true, "second", ":preload:" }, { second:join() })
        assert.equal("load closed load", tostring(log))
    end)

    it("a loader that is dropped is no loader any more", function()
        local name, gate, log = gated(1)
        local first, second = tasklet(require)(name), spawn(require, name)
        schedule()
        gate.queue[1]:kill() -- so that both have been in the wait
        schedule()
        assert.equal("load load", tostring(log))
        assert.is_false(first.alive)
        local pauses = module(2, function()
            neap.schedule_remove()
            return "module"
        end)
        local paused = spawn(require, pauses)
        schedule()
        local waits = spawn(require, pauses)
        schedule()
        paused:bind(nil)
        local takes = spawn(require, pauses)
        schedule()
        schedule()
        for _, t in ipairs { takes, waits } do
            if t.paused then t:insert() end
        end
        assert.equal("module", select(2, takes:join()))
        assert.equal("module", select(2, waits:join()))
        gate:send("module")
        assert.is_true((second:join()))
    end)

    it("where C forbids it the wait says so, and a later require works", function()
        local name, gate, log = gated(1)
        local text
        table.sort({ 2, 1 }, function() text = error_of(require, name) end)
        assert.equal("cannot wait inside table.sort (a C function)", text)
        local t = spawn(require, name)
        schedule()
        table.sort({ 2, 1 }, function() text = error_of(require, name) end)
        assert.equal("cannot wait inside table.sort (a C function)", text)
        neap.succeed():add_callback(function() text = error_of(require, name) end)
        assert.equal("Cannot block in reactor task", text)
        gate:send("module")
        assert.is_true((t:join()))
        assert.equal("load load", tostring(log))
    end)

    it("a wait refused by a trap leaves the load to others", function()
        local name, gate = gated(1)
        local t = spawn(require, name)
        schedule()
        local me = neap.getcurrent()
        me.block_trap = true
        assert.equal("this tasklet does not like to be blocked.", error_of(require, name))
        me.block_trap = false
        gate:send("module")
        assert.is_true((t:join()))
    end)

    it("a coroutine that is collected in the middle of it leaves it", function()
        local n = 0
        local name = module(1, function()
            n = n + 1
            if n == 1 then coroutine.yield() end
            return "module"
        end)
        local co = coroutine.create(require)
        assert.same({ true }, { coroutine.resume(co, name) })
        assert.matches("^loop in require: ", error_of(require, name))
        local t = spawn(require, name)
        schedule()
        assert.equal("require", t.waiting_on)
        co = nil -- luacheck: ignore
        collectgarbage()
        collectgarbage()
        assert.same({ true, "module", ":preload:" }, { t:join() })
    end)

    it("waits, kills and times in any order leave no one behind", function()
        for seed = 1, 30 do
            forget()
            math.randomseed(seed)
            local loads, all = 0, {}
            local name = module(1, function()
                loads = loads + 1
                for _ = 1, math.random(0, 3) do schedule() end
                if math.random(4) == 1 then return error("fails", 0) end
                return "module"
            end)
            for i = 1, 12 do all[i] = spawn(pcall, require, name) end
            for _ = 1, 8 do
                all[math.random(12)]:kill(math.random(2) == 1)
                schedule()
            end
            for i = 1, 12 do
                local _, ok, got = all[i]:join(5)
                if ok == neap.TaskletExit then got = ok end -- it had not begun
                assert.is_true(got == (ok == true and "module") or got == "fails"
                    or got == neap.TaskletExit, tostring(got))
            end
            assert.is_true(loads >= 1)
        end
    end)
end)

describe("require, a loop:", function()
    before_each(forget)
    after_each(forget)

    -- Modules that each require the next one of the list, after some turns.
    local function ring(turns, ...)
        local names = { ... }
        for i, name in ipairs(names) do
            package.preload[name] = function()
                for _ = 1, turns do schedule() end
                return { (require(names[i % #names + 1])) }
            end
        end
    end

    it("in one tasklet", function()
        ring(0, "spec.m.a")
        assert.equal("loop in require: spec.m.a -> spec.m.a", error_of(require, "spec.m.a"))
        ring(0, "spec.m.a", "spec.m.b", "spec.m.c")
        for _, turns in ipairs { 0, 2 } do
            ring(turns, "spec.m.a", "spec.m.b", "spec.m.c")
            assert.equal("loop in require: spec.m.a -> spec.m.b -> spec.m.c -> spec.m.a",
                error_of(require, "spec.m.a"))
        end
    end)

    it("only the part that is the loop is named", function()
        ring(0, "spec.m.b", "spec.m.c")
        module(1, function() return require "spec.m.b" end)
        assert.equal("loop in require: spec.m.b -> spec.m.c -> spec.m.b",
            error_of(require, "spec.m.a"))
    end)

    it("between tasklets: all of them get the error, nobody hangs", function()
        ring(1, "spec.m.a", "spec.m.b")
        local function try(name) return select(2, pcall(require, name)) end
        local first, second = spawn(try, "spec.m.a"), spawn(try, "spec.m.b")
        local text = "loop in require: spec%.m%.[ab] %-> spec%.m%.[ab] %-> spec%.m%.[ab]$"
        for _, t in ipairs { first, second } do
            assert.matches(text, select(2, t:join()))
        end
        ring(1, "spec.m.a", "spec.m.b", "spec.m.c")
        local all = {}
        for i, name in ipairs(NAMES) do all[i] = spawn(try, name) end
        for _, t in ipairs(all) do
            local _, err = t:join()
            assert.matches("loop in require: spec.m.a %-> spec.m.b %-> spec.m.c %-> spec.m.a$", err)
        end
    end)

    it("a module that shows itself first may be in one, as in Lua", function()
        module(1, function(name)
            local m = { name = "a" }
            package.loaded[name] = m
            schedule()
            m.b = require "spec.m.b"
            return m
        end)
        module(2, function()
            schedule()
            return { name = "b", a = require "spec.m.a" }
        end)
        local a = require "spec.m.a"
        assert.equal("b", a.b.name)
        assert.equal(a, a.b.a)
    end)

    it("is over when it has been broken", function()
        ring(1, "spec.m.a", "spec.m.b")
        assert.is_false((pcall(require, "spec.m.a")))
        module(2, function() return "b" end)
        assert.same({ "b" }, (require "spec.m.a"))
    end)

    it("who was thrown out of his wait is in none", function()
        local go, gate = channel(), channel()
        module(1, function()
            assert(not pcall(require, "spec.m.b"))
            return gate:receive()
        end)
        module(2, function()
            go:receive()
            return { (require "spec.m.a") }
        end)
        local b, a = spawn(require, "spec.m.b"), spawn(require, "spec.m.a")
        schedule()
        assert.equal("require", a.waiting_on)
        a:throw("x")
        assert.equal("receive on a channel", a.waiting_on)
        go:send()
        schedule()
        assert.equal("require", b.waiting_on)
        gate:send("a")
        assert.same({ "a" }, select(2, b:join()))
    end)

    it("two tasklets that wait for the same are none", function()
        local gate = channel()
        module(3, function() return gate:receive() end)
        module(1, function() return { (require "spec.m.c") } end)
        module(2, function() return { (require "spec.m.c") } end)
        local all = {}
        for i, name in ipairs(NAMES) do all[i] = spawn(require, name) end
        schedule()
        gate:send("c")
        assert.same({ "c" }, select(2, all[1]:join()))
        assert.same({ "c" }, select(2, all[2]:join()))
        assert.equal("c", select(2, all[3]:join()))
    end)
end)
