-- Lua's coroutines: a tasklet's root looks like Lua's main thread, and a script's own
-- coroutines behave exactly as in stock Lua. Waits inside them: wait_spec.lua.

local finally = require "spec.support.finally"

local function error_of(f, ...)
    local ok, err = pcall(f, ...)
    assert(not ok, "no error was raised")
    return err
end

describe("a tasklet's root", function()
    it("is not yieldable", function()
        assert.is_false(coroutine.isyieldable())
    end)

    it("says that it is the main thread", function()
        local co, main = coroutine.running()
        assert.equal("thread", type(co))
        assert.is_true(main)
        assert.equal("running", coroutine.status(co))
        assert.is_false(coroutine.isyieldable(co))
        assert.equal(co, (coroutine.running()))
    end)

    it("cannot be left by a yield; the error is Lua's", function()
        local text = "attempt to yield from outside a coroutine"
        assert.equal(text, error_of(coroutine.yield, 1))
        assert.equal(text, error_of(function() coroutine.yield() end))
        assert.equal(text, error_of(table.sort, { 2, 1 }, function() coroutine.yield() end))
    end)

    it("cannot be resumed nor closed from inside it", function()
        local root = coroutine.running()
        assert.same({ false, "cannot resume non-suspended coroutine" },
            { coroutine.resume(root) })
        assert.equal("cannot close a running coroutine", error_of(coroutine.close, root))
        coroutine.wrap(function()
            assert.equal("normal", coroutine.status(root))
            assert.is_false((coroutine.resume(root)))
            assert.equal("cannot close a normal coroutine", error_of(coroutine.close, root))
        end)()
    end)

    it("cannot be resumed nor closed by another tasklet", function()
        local root = coroutine.running()
        spawn(function()
            assert(coroutine.running() ~= root)
            assert(coroutine.status(root) == "normal")
            assert(not coroutine.resume(root, "stray"))
            assert(not pcall(coroutine.close, root))
        end):join()
        assert.equal("running", coroutine.status(root))
        local other
        local ch = channel()
        local t = spawn(function()
            other = coroutine.running()
            return ch:receive()
        end)
        schedule()
        assert.equal("normal", coroutine.status(other))
        assert.is_false((coroutine.resume(other, "stray")))
        assert.is_false((pcall(coroutine.close, other)))
        ch:send("value")
        assert.same({ true, "value" }, { t:join() })
    end)

    it("once seen is never another tasklet's", function()
        local seen = {}
        for _ = 1, 100 do
            spawn(function()
                local co = coroutine.running()
                assert(not seen[co])
                seen[co] = true
            end):join()
        end
        local n = 0
        for co in pairs(seen) do
            n = n + 1
            assert.is_false((coroutine.resume(co)))
        end
        assert.equal(100, n)
    end)

    it("keeps its hook to itself", function()
        local calls = 0
        spawn(function() debug.sethook(function() calls = calls + 1 end, "l") end):join()
        calls = 0
        for _ = 1, 10 do spawn(function() end):join() end
        assert.equal(0, calls)
    end)
end)

describe("coroutine", function()
    it("passes values both ways", function()
        local co = coroutine.create(function(...)
            assert.same({ 1, nil, 3, n = 3 }, table.pack(...))
            assert.same({ nil, n = 1 }, table.pack(coroutine.yield(nil, 2, nil)))
            assert.same({ n = 0 }, table.pack(coroutine.yield()))
            return nil, "end", nil
        end)
        assert.same({ true, nil, 2, nil, n = 4 }, table.pack(coroutine.resume(co, 1, nil, 3)))
        assert.same({ true, n = 1 }, table.pack(coroutine.resume(co, nil)))
        assert.same({ true, nil, "end", nil, n = 4 }, table.pack(coroutine.resume(co)))
        assert.same({ false, "cannot resume dead coroutine" }, { coroutine.resume(co) })
    end)

    it("status", function()
        local outer, inner
        inner = coroutine.create(function()
            assert.equal("running", coroutine.status(inner))
            assert.equal("normal", coroutine.status(outer))
            coroutine.yield()
        end)
        outer = coroutine.create(function()
            coroutine.resume(inner)
            assert.equal("suspended", coroutine.status(inner))
            coroutine.resume(inner)
            assert.equal("dead", coroutine.status(inner))
        end)
        assert.equal("suspended", coroutine.status(outer))
        assert.same({ true }, { coroutine.resume(outer) })
        assert.equal("dead", coroutine.status(outer))
        local failed = coroutine.create(error)
        coroutine.resume(failed, "x")
        assert.equal("dead", coroutine.status(failed))
    end)

    it("running and isyieldable", function()
        local co
        co = coroutine.create(function()
            local now, main = coroutine.running()
            assert.equal(co, now)
            assert.is_false(main)
            assert.is_true(coroutine.isyieldable())
            assert.is_true(coroutine.isyieldable(co))
            table.sort({ 2, 1 }, function() assert.is_false(coroutine.isyieldable()) end)
        end)
        assert.same({ true }, { coroutine.resume(co) })
    end)

    it("resume of a running, a normal or a dead one is refused", function()
        local co
        co = coroutine.create(function()
            local text = "cannot resume non-suspended coroutine"
            assert.same({ false, text }, { coroutine.resume(co) })
            coroutine.wrap(function()
                assert.same({ false, text }, { coroutine.resume(co) })
            end)()
        end)
        assert.same({ true }, { coroutine.resume(co) })
        local wrapped
        wrapped = coroutine.wrap(function() return pcall(wrapped) end)
        assert.same({ false, "cannot resume non-suspended coroutine" }, { wrapped() })
        assert.equal("cannot resume dead coroutine", error_of(wrapped))
    end)

    it("arguments are checked as in Lua", function()
        local callable = setmetatable({}, { __call = print })
        assert.matches("bad argument #1 to 'resume' %(thread expected, got number%)$",
            error_of(function() coroutine.resume(1) end))
        assert.matches("bad argument #1 to 'create' %(function expected, got table%)$",
            error_of(function() coroutine.create(callable) end))
        assert.matches("thread expected, got no value", error_of(coroutine.status))
        assert.matches("thread expected, got table", error_of(coroutine.close, {}))
        assert.matches("function expected, got no value", error_of(coroutine.wrap))
    end)

    it("wrap prefixes an error that is a string with the caller's place", function()
        local f = coroutine.wrap(function() error("inner", 0) end)
        assert.matches("^.*coroutine_spec%.lua:%d+: inner$", error_of(function() f() end))
        local err = {}
        assert.equal(err, error_of(coroutine.wrap(error), err))
        assert.is_nil(error_of(coroutine.wrap(error)))
        assert.equal("x", error_of(coroutine.wrap(error), "x"))
    end)

    it("an error leaves the stack of a resumed one readable, and closes nothing", function()
        local closed = false
        local co = coroutine.create(function()
            local _ <close> = finally(function() closed = true end)
            local visible = "local" -- luacheck: ignore
            error("x")
        end)
        assert.is_false((coroutine.resume(co)))
        assert.is_false(closed)
        assert.matches("in function 'error'", debug.traceback(co))
        local ok, err = coroutine.close(co)
        assert.is_false(ok)
        assert.matches("x$", err)
        assert.is_true(closed)
        assert.is_true((coroutine.close(co)))
    end)

    it("an error in wrap closes its variables first", function()
        local log = {}
        local f = coroutine.wrap(function()
            local _ <close> = finally(function(_, err) log[1] = err end)
            error("x", 0)
        end)
        assert.equal("x", error_of(f))
        assert.same({ "x" }, log)
        f = coroutine.wrap(function()
            local _ <close> = finally(function() error("from close", 0) end)
            error("x", 0)
        end)
        assert.equal("from close", error_of(f))
    end)

    it("close runs pending variables, innermost first", function()
        local log = {}
        local co = coroutine.create(function()
            local _ <close> = finally(function(_, err) log[#log + 1] = { "outer", err } end)
            local _ <close> = finally(function(_, err) log[#log + 1] = { "inner", err } end)
            coroutine.yield()
        end)
        coroutine.resume(co)
        assert.same({ true }, { coroutine.close(co) })
        assert.same({ { "inner" }, { "outer" } }, log)
        assert.equal("dead", coroutine.status(co))
        assert.same({ true }, { coroutine.close(co) })
        assert.same({ true }, { coroutine.close(coroutine.create(print)) })
    end)

    it("close gives an error of a variable", function()
        local co = coroutine.create(function()
            local _ <close> = finally(function() error("x", 0) end)
            coroutine.yield()
        end)
        coroutine.resume(co)
        assert.same({ false, "x" }, { coroutine.close(co) })
        assert.same({ true }, { coroutine.close(co) })
    end)

    it("close of a running or normal one is refused", function()
        local co
        co = coroutine.create(function()
            assert.equal("cannot close a running coroutine", error_of(coroutine.close, co))
            coroutine.wrap(function()
                assert.equal("cannot close a normal coroutine", error_of(coroutine.close, co))
            end)()
        end)
        assert.same({ true }, { coroutine.resume(co) })
    end)

    it("yields across pcall, metamethods, iterators and close", function()
        local function yields() return (coroutine.yield("out")) end
        local places = {
            function() return select(2, pcall(yields)) end,
            function() return select(2, xpcall(yields, print)) end,
            function()
                return select(2, pcall(pcall, pcall, yields)) and "in"
            end,
            function() return setmetatable({}, { __index = yields }).x end,
            function() return setmetatable({}, { __add = yields }) + 1 end,
            function() return (select(2, next({ yields() }))) end,
            function()
                local got
                do local _ <close> = finally(function() got = yields() end) end
                return got
            end,
            function()
                local got
                local ok = pcall(function()
                    local _ <close> = finally(function() got = yields() end)
                    error("x")
                end)
                return not ok and got
            end,
        }
        for i, f in ipairs(places) do
            local co = coroutine.wrap(f)
            assert.equal("out", co(), i)
            assert.equal("in", co("in"), i)
        end
    end)

    it("cannot yield across C", function()
        local text = "attempt to yield across a C-call boundary"
        local co = coroutine.wrap(function()
            return pcall(table.sort, { 2, 1 }, function() coroutine.yield() end)
        end)
        assert.same({ false, text }, { co() })
    end)

    it("nested: a yield goes to its own resumer", function()
        local function numbers(from, to)
            return coroutine.wrap(function()
                for i = from, to do coroutine.yield(i) end
            end)
        end
        local got = {}
        for i in coroutine.wrap(function()
            for i in numbers(1, 3) do
                for j in numbers(i, 3) do coroutine.yield(i * 10 + j) end
            end
        end) do got[#got + 1] = i end
        assert.same({ 11, 12, 13, 22, 23, 33 }, got)
    end)

    it("nested too deep is an error that can be caught, as in Lua", function()
        local function deep() return coroutine.wrap(deep)() end
        assert.matches("C stack overflow", error_of(deep))
        local depth = 0
        local function count()
            depth = depth + 1
            local ok = coroutine.resume(coroutine.create(count))
            return ok
        end
        count()
        assert.is_true(depth > 150)
        assert.equal(1, (coroutine.wrap(function() return 1 end)()))
    end)

    it("nested close ends in an error, not in a crash", function()
        local function chain(n)
            local co = coroutine.create(function()
                local inner = n > 0 and chain(n - 1)
                local _ <close> = finally(function()
                    if inner then assert(coroutine.close(inner)) end
                end)
                coroutine.yield()
            end)
            coroutine.resume(co)
            return co
        end
        assert.same({ true }, { coroutine.close(chain(50)) })
        local depth, co = 0, nil
        for _ = 1, 5000 do
            local inner = co
            co = coroutine.create(function()
                local _ <close> = finally(function()
                    depth = depth + 1
                    if inner then assert(coroutine.close(inner)) end
                end)
                coroutine.yield()
            end)
            coroutine.resume(co)
        end
        local ok, err = coroutine.close(co)
        assert.is_false(ok)
        assert.matches("C stack overflow", err)
        assert.is_true(depth > 100)
    end)

    it("too many results are an error", function()
        local many = {}
        for i = 1, 900000 do many[i] = i end
        local co = coroutine.create(function() return table.unpack(many) end)
        local ok, err = coroutine.resume(co)
        if ok then
            assert.equal(900000, select("#", coroutine.resume(coroutine.create(function()
                return table.unpack(many)
            end))) - 1)
        else
            assert.matches("too many results", err)
        end
    end)

    it("is collected when nobody holds it, wherever it stands", function()
        local weak = setmetatable({}, { __mode = "k" })
        for _ = 1, 100 do
            local co = coroutine.create(function()
                coroutine.yield()
            end)
            weak[co] = true
            coroutine.resume(co)
            coroutine.resume(coroutine.create(function() schedule() end))
        end
        collectgarbage()
        collectgarbage()
        local n = 0
        for _ in pairs(weak) do n = n + 1 end
        assert.is_true(n <= 1)
    end)

    it("debug functions see it as Lua does", function()
        local co = coroutine.create(function(a)
            local b = a + 1
            coroutine.yield(b)
        end)
        coroutine.resume(co, 1)
        local name, value = debug.getlocal(co, 1, 2)
        assert.same({ "b", 2 }, { name, value })
        assert.matches("in function 'coroutine.yield'", debug.traceback(co))
    end)

    it("the thread of a tasklet that has ended is dead", function()
        local function nothing() end
        for name, f in pairs {
            returns = nothing,
            fails = function() pcall(error) error(neap.TaskletExit) end,
            waits = function() sleep(60) end,
            dropped = function()
                local _ <close> = setmetatable({}, { __close = function() error "closed" end })
                neap.schedule_remove()
            end,
        } do
            local thread
            local t = tasklet(function()
                thread = coroutine.running()
                f()
            end)()
            schedule()
            if name == "waits" then
                assert.equal("normal", coroutine.status(thread))
                assert.is_false((pcall(coroutine.close, thread)))
                t:kill()
            elseif name == "dropped" then
                t:bind(nil)
            end
            assert.equal("dead", coroutine.status(thread), name)
            assert.same({ false, "cannot resume dead coroutine" }, { coroutine.resume(thread) })
            assert.is_true(coroutine.close(thread))
        end
    end)

    it("a wait in __close while a failed wrap is closed names coroutine.wrap", function()
        local err
        local f = coroutine.wrap(function()
            local _ <close> = setmetatable({}, { __close = function()
                err = select(2, pcall(schedule))
            end })
            error("failed", 0)
        end)
        assert.same({ false, "failed" }, { pcall(f) })
        assert.equal("cannot wait inside coroutine.wrap (a C function)", err)
    end)
end)
