-- The runtime against the model: programs made of random operations run in both, and what
-- happens, in which order, and what can be seen after each step must be the same. The first
-- of them run always. MODEL_SECONDS=3600 runs others, new ones or from MODEL_FROM=n on, for so
-- long, and tells how much was done; MODEL_SEED=n runs that one alone. A failure names its
-- program's number.

local model = require "spec.model"

local PROGRAMS = 800
local SECONDS = tonumber(os.getenv("MODEL_SECONDS"))
local SEED = tonumber(os.getenv("MODEL_SEED"))
local FROM = tonumber(os.getenv("MODEL_FROM"))
local ONE_IT = 10 -- seconds

local TASKS, CHANNELS, DEFERREDS, GROUPS = 6, 3, 2, { "a", "b" }
-- Of the runtime's clock, which stands but for an instant; sums of it are exact.
local TIME = 2 ^ -20

local done = { programs = 0, operations = 0 }

-- ---- the runtime, with the calls of the model ----

local function real(unhandled)
    local api = { exit = neap.TaskletExit }
    local tasks, channels, deferreds, all_deferreds, numbers = {}, {}, {}, {}, {}

    local function seconds(n) return n and n * TIME end

    function api.main(fn)
        numbers[neap.getcurrent()] = 0
        neap.on_error(function(t, err)
            if t then unhandled(numbers[t], err) end -- else a deferred was collected
        end)
        neap.scale(0)
        local _ <close> = setmetatable({}, { __close = function()
            neap.scale(1)
            for _, d in ipairs(all_deferreds) do d:add_errback(function() end) end
            neap.on_error(nil)
        end })
        fn()
    end

    function api.new(id, fn, group)
        tasks[id] = tasklet(fn)
        numbers[tasks[id]] = id
        if group then tasks[id].group = group end
    end

    function api.channel(c, capacity) channels[c] = channel(capacity) end
    function api.setup(id) tasks[id]:setup() end
    function api.schedule() schedule() end
    function api.schedule_remove() neap.schedule_remove() end
    function api.insert(id) tasks[id]:insert() end
    function api.remove(id) tasks[id]:remove() end
    function api.run(id) tasks[id]:run() end
    function api.switch(id) tasks[id]:switch() end
    function api.run_all() return neap.run() end
    function api.kill(id, pending) tasks[id]:kill(pending) end
    function api.throw(id, err, pending) tasks[id]:throw(err, pending) end
    function api.kill_hard(id) tasks[id]:kill { hard = true } end
    function api.pause_group(group, on) return neap.pause_group(group, on) end
    function api.set_group(id, group) tasks[id].group = group end
    function api.kill_group(group) return neap.kill_group(group) end
    function api.join(id, timeout) return tasks[id]:join(seconds(timeout)) end
    function api.sleep(n) sleep(seconds(n)) end
    function api.send(c, ...) channels[c]:send(...) end
    function api.send_exception(c, err) channels[c]:send_exception(err) end
    function api.receive(c, timeout) return channels[c]:receive(seconds(timeout)) end
    function api.try_send(c, ...) return channels[c]:try_send(...) end
    function api.try_receive(c) return channels[c]:try_receive() end
    function api.close(c, wake) channels[c]:close { wake = wake } end
    function api.open(c) channels[c]:open() end
    function api.set(c, name, value) channels[c][name] = value end
    function api.balance(c) return channels[c].balance end
    function api.callback(d, ...) deferreds[d]:callback(...) end
    function api.errback(d, err) deferreds[d]:errback(err) end
    function api.add(d, on, f) deferreds[d]["add_" .. on](deferreds[d], f) end
    function api.cancel(d) deferreds[d]:cancel() end
    function api.wait(d, timeout) return deferreds[d]:wait(seconds(timeout)) end
    function api.look_at_deferred(d) return deferreds[d].called end
    function api.runnable() return neap.getruncount() end

    function api.select(cases, timeout)
        local list = {}
        for i, case in ipairs(cases) do
            list[i] = case.join and tasks[case.join] or case.deferred and deferreds[case.deferred]
                or channels[case.receive or case.send]
            if case.send then
                list[i] = table.pack(list[i], table.unpack(case.values, 1, case.values.n))
            end
        end
        return neap.select(list, seconds(timeout))
    end

    function api.deferred(d, how)
        deferreds[d] = deferred(how and function(one)
            how(function(...) one:callback(...) end)
        end)
        table.insert(all_deferreds, deferreds[d])
    end

    -- The first to wake of all whose time is armed by now stops the clock again.
    function api.tick()
        while neap.getruncount() > 1 do schedule() end
        local ticked = false
        spawn(function()
            sleep(TIME / 2)
            neap.scale(0)
            ticked = true
        end):run()
        local before = neap.now()
        neap.scale(1)
        repeat until neap.now() > before + 10 * TIME
        repeat schedule() until ticked
    end

    function api.look_at_channel(c)
        local ch, queue = channels[c], {}
        for i, t in ipairs(ch.queue) do queue[i] = numbers[t] end
        return ch.balance, #ch, ch.closing, ch.closed, table.concat(queue, ",")
    end

    function api.look_at_task(id)
        local t = tasks[id]
        return t.alive, t.paused, t.scheduled, t.blocked
    end

    return api
end

-- ---- programs ----

-- What a tasklet may do, and what only the first one does, which must not wait; each with
-- how often. `other` is never the first one.
local random = math.random

local function some(list) return list[random(#list)] end
local function other() return random(TASKS) end
local function some_channel() return random(CHANNELS) end
local function some_deferred() return random(DEFERREDS) end
local function some_group() return some(GROUPS) end
local function chance(percent) return random(100) <= percent end
local function timeout() return chance(30) and random(3) or nil end
local function value() return random(99) end

local function values()
    if chance(60) then return value() end
    local list = { n = random(0, 4) }
    for i = 1, list.n do list[i] = chance(60) and value() or nil end
    return table.unpack(list, 1, list.n)
end

local function cases()
    local list = {}
    for i = 1, random(3) do
        local what = random(7)
        list[i] = what <= 2 and { receive = some_channel() }
            or what <= 4 and { send = some_channel(), values = table.pack(values()) }
            or what <= 6 and { deferred = some_deferred() } or { join = other() }
    end
    return list
end

local anyone = {
    { 6, "setup", other },
    { 6, "schedule" },
    { 3, "insert", other },
    { 2, "remove", other },
    { 3, "run", other },
    { 3, "kill", other, function() return chance(50) end },
    { 2, "throw", other, function() return "thrown" .. value() end,
        function() return chance(50) end },
    { 1, "kill_group", some_group },
    { 2, "kill_hard", other },
    { 3, "pause_group", some_group, function() return chance(40) end },
    { 1, "set_group", other, some_group },
    { 2, "run_all" },
    { 4, "try_send", some_channel, values },
    { 4, "try_receive", some_channel },
    { 2, "close", some_channel, function() return chance(50) end },
    { 2, "open", some_channel },
    { 2, "set", some_channel, function() return "preference" end,
        function() return random(-1, 1) end },
    { 1, "set", some_channel, function() return "schedule_all" end,
        function() return chance(50) end },
    { 2, "select", cases, function() return 0 end },
    { 4, "callback", some_deferred, values },
    { 2, "errback", some_deferred, function() return "failed" .. value() end },
    { 2, "cancel", some_deferred },
    { 4, "make_deferred", some_deferred,
        function() return some { false, "tells", "fires", "raises" } end },
    { 4, "add_callback", some_deferred,
        function() return some { "passes", "changes", "raises", "recovers", "fires", "sends" } end,
        function() return random(math.min(CHANNELS, DEFERREDS)) end },
}

local workers = {
    { 14, "send", some_channel, values },
    { 14, "receive", some_channel, timeout },
    { 2, "send_exception", some_channel, function() return "sent" .. value() end },
    { 14, "select", cases, timeout },
    { 8, "wait", some_deferred, timeout },
    { 4, "join", other, timeout },
    { 2, "sleep", function() return random(3) end },
    { 2, "schedule_remove" },
    { 2, "switch", other },
}

local first = {
    { 6, "send_to_one_who_waits", some_channel, value },
    { 6, "receive_from_one_who_waits", some_channel },
    { 8, "tick" },
}

local function choose(...)
    local total, lists = 0, { ... }
    for _, list in ipairs(lists) do
        for _, kind in ipairs(list) do total = total + kind[1] end
    end
    local at = random(total)
    for _, list in ipairs(lists) do
        for _, kind in ipairs(list) do
            at = at - kind[1]
            if at <= 0 then
                local op = { name = kind[2], catch = chance(50), n = 0 }
                for i = 3, #kind do
                    local got = table.pack(kind[i]())
                    table.move(got, 1, got.n, op.n + 1, op)
                    op.n = op.n + got.n
                end
                return op
            end
        end
    end
end

local function generate(seed)
    math.randomseed(seed)
    local program = { capacities = {}, groups = {}, cleanup = {} }
    for c = 1, CHANNELS do program.capacities[c] = chance(60) and 0 or random(2) end
    for id = 0, TASKS do
        program.groups[id] = id > 0 and chance(40) and some(GROUPS) or nil
        program.cleanup[id] = id > 0 and chance(20)
        program[id] = {}
        for i = 1, id == 0 and random(10, 40) or random(12) do
            program[id][i] = id == 0 and choose(anyone, first) or choose(anyone, workers)
            program[id][i].catch = id == 0 or program[id][i].catch
        end
    end
    return program
end

-- ---- running one ----

local function unpack(list) return table.unpack(list, 1, list.n) end

local function text(...)
    local words = table.pack(...)
    for i = 1, words.n do
        words[i] = tostring(words[i]):gsub("^failure: ", ""):gsub("^[^%s:]+:%d+: ", "")
    end
    return table.concat(words, " ")
end

local function describe_op(op)
    local words = { op.name }
    for i = 1, op.n do
        local v = op[i]
        if type(v) == "table" then
            v = ""
            for _, case in ipairs(op[i]) do
                v = v .. (case.receive and "r" .. case.receive
                    or case.send and "s" .. case.send .. "=" .. text(unpack(case.values))
                    or case.deferred and "d" .. case.deferred or "j" .. case.join) .. ","
            end
        end
        words[#words + 1] = tostring(v)
    end
    return table.concat(words, " ") .. (op.catch and "" or " !")
end

-- The events and states of the program in that world, a line each.
local function events(world, program)
    local log = {}
    local function note(...) log[#log + 1] = text(...) end
    local api = world(function(id, err) note(id, "unhandled", err) end)

    -- What a cancel calls; fire fires the deferred.
    local cancellers = {}
    function cancellers.tells() note("cancelled") end
    function cancellers.fires(fire)
        note("cancelled", pcall(fire, "by its canceller", nil))
    end
    function cancellers.raises()
        note("cancelled")
        error("its canceller", 0)
    end

    function api.make_deferred(d, how) api.deferred(d, cancellers[how]) end

    -- What a callback does besides telling that it is called.
    local callbacks = {}
    function callbacks.passes(_, ...) return ... end
    function callbacks.changes(_, ...) return nil, ... end
    function callbacks.raises() error("a callback", 0) end
    function callbacks.recovers() return "recovered", nil end
    function callbacks.fires(other_one, ...)
        note("fires", pcall(api.callback, other_one, "by a callback", nil))
        return ...
    end
    function callbacks.sends(c, ...)
        note("sends", pcall(api.try_send, c, "by a callback", nil))
        return ...
    end

    local on = { changes = "callback", raises = "callback", recovers = "errback" }
    function api.add_callback(d, what, arg)
        api.add(d, on[what] or "both", function(...)
            note("deferred", d, what, arg, ...)
            return callbacks[what](arg, ...)
        end)
    end

    function api.send_to_one_who_waits(c, v)
        if api.balance(c) < 0 then api.send(c, v) end
    end

    function api.receive_from_one_who_waits(c)
        if api.balance(c) > 0 then return api.receive(c) end
    end

    local seen = {}
    local function note_change(what, ...)
        local now = text(...)
        if seen[what] ~= now then note("  " .. what, now) end
        seen[what] = now
    end

    local function look()
        for c = 1, CHANNELS do note_change("channel " .. c, api.look_at_channel(c)) end
        for id = 1, TASKS do note_change("tasklet " .. id, api.look_at_task(id)) end
        for d = 1, DEFERREDS do note_change("deferred " .. d, api.look_at_deferred(d)) end
        note_change("runnable", api.runnable())
    end

    local function play(id)
        local _ <close> = setmetatable({}, { __close = function(_, err)
            note(id, "leaves", err)
            if program.cleanup[id] then
                api.schedule()
                note(id, "has left")
            end
        end })
        for i, op in ipairs(program[id]) do
            done.operations = done.operations + 1
            note(id, i, describe_op(op))
            local call = api[op.name]
            if op.catch then
                note(id, i, "gives", pcall(call, unpack(op)))
            else
                note(id, i, "gives", true, call(unpack(op)))
            end
            if id == 0 then look() end
        end
        return id, nil, nil
    end

    for c = 1, CHANNELS do api.channel(c, program.capacities[c]) end
    for d = 1, DEFERREDS do api.deferred(d) end
    for id = 1, TASKS do api.new(id, function() return play(id) end, program.groups[id]) end
    api.main(function()
        play(0)
        for _ = 1, 3 do
            api.tick()
            look()
        end
        local ended
        repeat -- one that ends may start another
            ended = true
            for id = 1, TASKS do
                while (api.look_at_task(id)) do
                    ended = false
                    for _, group in ipairs(GROUPS) do api.pause_group(group, false) end
                    note("end of", id, pcall(api.kill, id))
                end
            end
            while api.runnable() > 1 do api.schedule() end
        until ended
        look()
    end)
    return log
end

-- The first line that differs, with those before it; nil if none does.
local function difference(program)
    local expected, got = events(model.new, program), events(real, program)
    for i = 1, math.max(#expected, #got) do
        if expected[i] ~= got[i] then
            local lines = table.concat(got, "\n", math.max(1, i - 40), i - 1)
            return ("%s\nmodel:   %s\nruntime: %s"):format(lines, tostring(expected[i]),
                tostring(got[i]))
        end
    end
end

-- Leaves out what does not matter for there being a difference.
local function shrink(program)
    local found
    for id = 0, TASKS do
        for i = #program[id], 1, -1 do
            local op = table.remove(program[id], i)
            local still = difference(program)
            found = still or found
            if not still then table.insert(program[id], i, op) end
        end
    end
    return found
end

-- What each tasklet does, a line each.
local function listing(program)
    local lines = {}
    for c = 1, CHANNELS do
        lines[#lines + 1] = ("channel %d: capacity %d"):format(c, program.capacities[c])
    end
    for id = 0, TASKS do
        local ops = {}
        for i, op in ipairs(program[id]) do ops[i] = describe_op(op) end
        lines[#lines + 1] = ("tasklet %d, group %s%s: %s"):format(id, program.groups[id],
            program.cleanup[id] and ", cleans up" or "", table.concat(ops, "; "))
    end
    return table.concat(lines, "\n")
end

local function try(seed)
    local program = generate(seed)
    local ran, found = pcall(difference, program)
    done.programs = done.programs + 1
    if not ran then error(("program %d\n%s\n%s"):format(seed, listing(program), found), 0) end
    if found then
        found = shrink(program) or found
        error(("program %d\n%s\n%s"):format(seed, listing(program), found), 0)
    end
end

describe("the model", function()
    if SEED then
        it("program " .. SEED, function() try(SEED) end)
        return
    end

    if not SECONDS then
        for i = 1, PROGRAMS, 100 do
            it(("programs %d to %d"):format(i, i + 99), function()
                for n = i, i + 99 do try(n) end
            end)
        end
        return
    end

    local seed = FROM or os.time() * 1000

    teardown(function()
        print(("\n%d programs, the last is %d; %d operations in each world"):format(
            done.programs, seed - 1, done.operations // 2))
    end)

    for _ = 1, math.ceil(SECONDS / ONE_IT) do
        it(("for %g s"):format(math.min(ONE_IT, SECONDS)), function()
            local stop = os.time() + math.min(ONE_IT, SECONDS) -- neap's clock stands meanwhile
            repeat
                seed = seed + 1
                try(seed - 1)
            until os.time() >= stop
        end)
    end
end)
