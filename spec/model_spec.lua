-- The runtime against the model: programs made of random operations run in both, and what
-- happens, in which order, and what can be seen after each step must be the same.
-- MODEL_SECONDS=3600 runs it for longer, MODEL_SEED=n one program alone.

local model = require "spec.model"

local SECONDS = tonumber(os.getenv("MODEL_SECONDS")) or 20
local SEED = tonumber(os.getenv("MODEL_SEED"))
local ONE_IT = 10 -- seconds

local TASKS, CHANNELS, GROUPS = 6, 3, { "a", "b" }
local TIME = 1e-6 -- of the runtime's clock, which stands but for an instant

-- ---- the runtime, with the calls of the model ----

local function real(unhandled)
    local api = { exit = neap.TaskletExit }
    local tasks, channels, numbers = {}, {}, {}

    local function seconds(n) return n and n * TIME end

    function api.main(fn)
        numbers[neap.getcurrent()] = 0
        neap.on_error(function(t, err) unhandled(numbers[t], err) end)
        neap.scale(0)
        local _ <close> = setmetatable({}, { __close = function()
            neap.scale(1)
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
    function api.kill_group(group) return neap.kill_group(group) end
    function api.join(id, timeout) return tasks[id]:join(seconds(timeout)) end
    function api.sleep(n) sleep(seconds(n)) end
    function api.send(c, value) channels[c]:send(value) end
    function api.send_exception(c, err) channels[c]:send_exception(err) end
    function api.receive(c, timeout) return channels[c]:receive(seconds(timeout)) end
    function api.try_send(c, value) return channels[c]:try_send(value) end
    function api.try_receive(c) return channels[c]:try_receive() end
    function api.close(c, wake) channels[c]:close { wake = wake } end
    function api.open(c) channels[c]:open() end
    function api.set(c, name, value) channels[c][name] = value end
    function api.balance(c) return channels[c].balance end
    function api.runnable() return neap.getruncount() end

    function api.select(cases, timeout)
        local list = {}
        for i, case in ipairs(cases) do
            list[i] = case.join and tasks[case.join] or channels[case.receive or case.send]
            if case.send then list[i] = { list[i], case.value } end
        end
        return neap.select(list, seconds(timeout))
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
local function chance(percent) return random(100) <= percent end
local function timeout() return chance(30) and random(3) or nil end
local function value() return random(99) end

local function cases()
    local list = {}
    for i = 1, random(3) do
        local what = random(5)
        list[i] = what <= 2 and { receive = some_channel() }
            or what <= 4 and { send = some_channel(), value = value() } or { join = other() }
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
    { 1, "kill_group", function() return some(GROUPS) end },
    { 2, "run_all" },
    { 4, "try_send", some_channel, value },
    { 4, "try_receive", some_channel },
    { 2, "close", some_channel, function() return chance(50) end },
    { 2, "open", some_channel },
    { 2, "set", some_channel, function() return "preference" end,
        function() return random(-1, 1) end },
    { 1, "set", some_channel, function() return "schedule_all" end,
        function() return chance(50) end },
    { 2, "select", cases, function() return 0 end },
}

local workers = {
    { 14, "send", some_channel, value },
    { 14, "receive", some_channel, timeout },
    { 2, "send_exception", some_channel, function() return "sent" .. value() end },
    { 10, "select", cases, timeout },
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
                local op = { name = kind[2], catch = chance(50), n = #kind - 2 }
                for i = 3, #kind do op[i - 2] = kind[i]() end
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
                v = v .. (case.receive and "r" .. case.receive or case.send and
                    "s" .. case.send .. "=" .. case.value or "j" .. case.join) .. ","
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
            note(id, i, describe_op(op))
            local call = api[op.name]
            if op.catch then
                note(id, i, "gives", pcall(call, table.unpack(op, 1, op.n)))
            else
                note(id, i, "gives", true, call(table.unpack(op, 1, op.n)))
            end
            if id == 0 then look() end
        end
        return id
    end

    for c = 1, CHANNELS do api.channel(c, program.capacities[c]) end
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


local function try(seed)
    local program = generate(seed)
    local found = difference(program)
    if found then
        found = shrink(program) or found
        error(("seed %d\n%s"):format(seed, found), 0)
    end
end

describe("the model", function()
    local seed = SEED or os.time() * 1000

    if SEED then
        it("seed " .. SEED, function() try(SEED) end)
        return
    end

    for _ = 1, math.ceil(SECONDS / ONE_IT) do
        it(("for %g s"):format(math.min(ONE_IT, SECONDS)), function()
            local stop = os.time() + math.min(ONE_IT, SECONDS) -- neap's clock stands meanwhile
            repeat
                try(seed)
                seed = seed + 1
            until os.time() >= stop
        end)
    end
end)
