-- Every wait, in every place where code can wait, ended in every way: the tasklet has exactly
-- one outcome, its cleanup runs once, nobody is left in a queue, and what its partner had is
-- neither lost nor doubled. The helper sees to tasklets, timers, watches and descriptors.

local run = require("spec.support.program").run
local waits = require "spec.support.waits"

-- ---- where it waits ----

local places = {}

function places.plain(f) return f() end

function places.coroutine(f)
    return coroutine.wrap(function() return coroutine.wrap(f)() end)()
end

function places.pcall(f)
    local got = table.pack(pcall(f))
    if not got[1] then error(got[2], 0) end
    return table.unpack(got, 2, got.n)
end

function places.metamethod(f)
    local got
    local _ = setmetatable({}, { __index = function() got = table.pack(f()) end }).x
    return table.unpack(got, 1, got.n)
end

local function closes(f) return setmetatable({}, { __close = f or function() end }) end

function places.close(f)
    local got
    do local _ <close> = closes(function() got = table.pack(f()) end) end
    return table.unpack(got, 1, got.n)
end

function places.close_of_an_error(f)
    local got
    pcall(function()
        local _ <close> = closes(function() got = table.pack(f()) end)
        error("unwinding", 0)
    end)
    if not got then error(places.ended, 0) end -- pcall has had it
    return table.unpack(got, 1, got.n)
end

function places.held(f) return f() end

-- ---- how it ends: the victim's outcome; nil for that of the wait itself ----

local exit = table.pack(false, neap.TaskletExit)
local err = {} -- no text: coroutine.wrap would put the place in front
local thrown = table.pack(false, err)

local ends = {
    kill = { exit, function(t) t:kill() end },
    kill_pending = { exit, function(t) t:kill(true) end },
    kill_twice = { exit, function(t)
        t:kill(true)
        t:kill()
    end },
    hard = { exit, function(t) t:kill { hard = true } end, hard = true },
    pending_and_hard = { exit, function(t)
        t:kill(true)
        t:kill { hard = true }
    end, hard = true },
    kill_group = { exit, function(t)
        t.group = t
        assert.equal(1, neap.kill_group(t))
        t.group = t
    end },
    throw = { thrown, function(t) t:throw(err) end },
    throw_pending = { thrown, function(t) t:throw(err, true) end },
    the_last_throw = { thrown, function(t)
        t:kill { pending = true }
        t:throw(err, true)
    end },
    too_late_for_a_partner = { exit, function(t, w)
        t:kill(true)
        if w.offer then w.offer() end
    end },
    served = { nil, function(_, w)
        if w.serve then w.serve() end
    end, served = true, needs = function(w) return not w.unserved end },
    served_and_killed = { exit, function(t, w)
        w.serve()
        t:kill(true)
    end, served = true, needs = function(w) return w.serve and not w.later end },
    served_and_killed_now = { exit, function(t, w)
        w.serve()
        t:kill()
    end, served = true, needs = function(w) return w.serve and not w.later end },
    closed = { nil, function(_, w) w.close() end, needs = function(w) return w.close end },
    timeout = { table.pack(true, nil, "timeout"), function() end, timeout = 0.002,
        needs = function(w) return w.timed end },
}

local function expected(how, w)
    if how.needs and how[1] == nil then
        return how.served and table.pack(true, table.unpack(w.result, 1, w.result.n)) or w.closed
    end
    return how[1]
end

-- What the error was is not known after a pcall around it.
places.ended = "ended"

local function cell(make, place, how, name)
    local w = make()
    local _ <close> = closes(w.done)
    if how.needs and not how.needs(w) then return end
    local outcomes, cleanups, group = 0, 0, {}
    local t = tasklet(function()
        local _ <close> = closes(function() cleanups = cleanups + 1 end)
        return places[place](function() return w.call(how.timeout) end)
    end)
    if place == "held" then t.group = group end
    local joiner = spawn(function()
        local got = table.pack(t:join(10))
        outcomes = outcomes + 1
        return table.unpack(got, 1, got.n)
    end)
    t:setup()
    joiner:run()
    t:run()
    assert.is_true(t.alive, name)
    if w.settle then schedule() end -- its worker waits too
    if place == "held" then neap.pause_group(group, true) end
    how[2](t, w)
    if place == "held" then
        schedule()
        if t.group ~= group then neap.pause_group(t.group, false) end
        neap.pause_group(group, false)
    end
    local got = table.pack(joiner:join(10))
    assert.is_true(got[1], name)
    got = table.pack(table.unpack(got, 2, got.n))
    local want = expected(how, w)
    if place == "close_of_an_error" and want[1] == false and not how.hard then
        want = table.pack(false, places.ended)
    end
    if got[1] and want.n > got.n then -- `nil, "timeout"` is all that is said of the world's
        want.n = got.n
    end
    if want[2] == nil and want[3] == "timeout" then got[4], got.n = nil, 3 end
    if how[1] == nil and not got[1] then got[2] = tostring(got[2]) end
    assert.same(want, got, name)
    assert.same({ 1, 1, false }, { outcomes, cleanups, t.alive }, name)
    schedule()
    w.check(how.served or false)
end

local function sorted(list)
    local names = {}
    for name in pairs(list) do
        if type(list[name]) ~= "string" then names[#names + 1] = name end
    end
    table.sort(names)
    return names
end

describe("a tasklet that waits and is ended:", function()
    for _, wait in ipairs(sorted(waits)) do
        for _, place in ipairs(sorted(places)) do
            it(wait .. " in " .. place, function()
                for _, how in ipairs(sorted(ends)) do
                    cell(waits[wait], place, ends[how], how)
                end
            end)
        end
    end
end)

describe("a program that ends while tasklets wait", function()
    -- Each way to wait in a tasklet of its own; "closed NAME" as it is cleaned up.
    local script = [[
        local waits = require "spec.support.waits"
        local names, keep = {}, {}
        for name in pairs(waits) do names[#names + 1] = name end
        table.sort(names)
        for _, name in ipairs(names) do
            local w = waits[name]()
            keep[#keep + 1] = w
            tasklet(function()
                local _ <close> = setmetatable({}, {
                    __close = function() print("closed " .. name) end })
                pcall(function() coroutine.wrap(w.call)() end)
                sleep(60)
            end)():run()
        end
        %s
    ]]

    local function ends_by(how)
        return run(("package.path, package.cpath = %q, %q\n"):format(package.path, package.cpath)
            .. script:format(how))
    end

    -- What the program has printed besides, once each wait is seen to be cleaned up once.
    local function rest(output)
        for _, wait in ipairs(sorted(waits)) do
            local n
            output, n = output:gsub("closed " .. wait .. "\n", "")
            assert.equal(1, n, wait)
        end
        return output
    end

    it("by an error of main", function()
        local status, output = ends_by [[error("the end", 0)]]
        assert.equal(1, status)
        assert.matches("^neap: the end\nstack traceback:\n", rest(output))
    end)

    it("by os.exit that closes", function()
        local status, output = ends_by "os.exit(3, true)"
        assert.same({ 3, "" }, { status, rest(output) })
    end)
end)
