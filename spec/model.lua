-- A small model of tasklets, channels and deferreds in plain Lua, for model_spec: what neap's
-- calls do, said with lists and nothing else. A tasklet is a coroutine, a wait a set of entries
-- in queues; who is taken out of one queue is taken out of all.

local model = {}

local closed_text = "Send/receive operation on a closed channel"

local Failure = { __tostring = function(f) return tostring(f.value) end }

local function unpack(list) return table.unpack(list, 1, list.n) end

local function take(list, item)
    for i, v in ipairs(list) do
        if v == item then return table.remove(list, i) end
    end
end

---A world of its own.
---@param unhandled fun(id: integer, err: any) gets the errors that nobody handles
---@return table api the calls, tasklets and channels being named by numbers
function model.new(unhandled)
    local api = { exit = setmetatable({}, { __tostring = function() return "TaskletExit" end }) }
    local tasks, channels, deferreds = {}, {}, {}
    local alive, ready, held, runners, timers = {}, {}, {}, {}, {} -- alive: the oldest first
    local current, cutting

    -- ---- the queue ----

    local function append(t)
        t.state = "ready"
        table.insert(t.held and held or ready, t)
    end

    local function prepend(t)
        t.state = "ready"
        if t.held then
            table.insert(held, t)
        else
            table.insert(ready, 1, t)
        end
    end

    local function dequeue(t) return take(ready, t) or take(held, t) end

    local abandon

    -- Lets the others run; what it was woken with, or the error that was put into it.
    local function suspend()
        coroutine.yield()
        local t = current
        local thrown, got, left = t.thrown, t.got, t.left
        t.thrown, t.got, t.left = nil, nil, nil
        if left then abandon(left) end
        if thrown then error(thrown.value, 0) end
        if got then return unpack(got) end
    end

    -- ---- waits ----

    local function leave(t, served)
        for _, entry in ipairs(t.entries or {}) do
            take(entry.queue, entry)
            if entry.link and entry ~= served then entry.link.left = true end
        end
        take(timers, t)
        t.entries, t.timeout, t.remainder = nil, nil, nil
    end

    -- Its wait ends unserved: the deferred that it waited for hears of it when it goes on. A
    -- select leaves its deferreds as they are.
    local function give_up(t)
        local entry = t.entries and t.entries[1]
        if entry and not entry.index then t.left = entry.deferred end
        leave(t)
    end

    local function start_time(t, timeout)
        t.timeout = timeout
        if t.held then
            t.remainder = timeout
        elseif timeout then
            table.insert(timers, t)
        end
    end

    local function wait(entries, timeout)
        local t = current
        t.state, t.entries = "blocked", entries
        for _, entry in ipairs(entries) do
            entry.task = t
            table.insert(entry.queue, entry)
        end
        start_time(t, timeout)
        return suspend()
    end

    -- The entry is served: its tasklet has these values (after the index, in a select).
    local function serve(entry, put, ...)
        local t = entry.task
        leave(t, entry)
        t.got = entry.index and table.pack(entry.index, ...) or table.pack(...)
        put(t)
    end

    local function serve_error(entry, put, err)
        leave(entry.task, entry)
        entry.task.thrown = { value = err }
        put(entry.task)
    end

    -- ---- life ----

    local function finish(t, ok, ...)
        local value = ...
        t.state, t.ok, t.outcome, t.thrown, t.held = "dead", ok, table.pack(...), nil, nil
        take(alive, t)
        local handled = ok or value == api.exit or #t.joiners > 0
        local runner = runners[#runners]
        if not handled and runner then
            take(runners, runner)
            runner.thrown = { value = value }
            prepend(runner)
        elseif not handled then
            unhandled(t.id, value)
        end
        while t.joiners[1] do serve(t.joiners[1], append, ok, ...) end
    end

    -- Ends t for good, from outside.
    local function cut(t)
        give_up(t)
        dequeue(t)
        take(runners, t)
        if t.left then abandon(t.left) end
        cutting = true
        coroutine.close(t.co)
        cutting = false
        finish(t, false, api.exit)
    end

    local function body(t)
        if t.thrown then
            finish(t, false, t.thrown.value)
        else
            finish(t, pcall(t.fn))
        end
    end

    -- Runs tasklets until t has ended.
    local function loop(t)
        while t.state ~= "dead" do
            while #ready == 0 do prepend(assert(table.remove(runners), "the model is stuck")) end
            current = table.remove(ready, 1)
            current.state = "running"
            assert(coroutine.resume(current.co, current))
            if current.cut then cut(current) end
        end
    end

    function api.new(id, fn, group)
        tasks[id] = { id = id, fn = fn, state = "new", joiners = {}, group = group }
    end

    local function start(t)
        if not t.group and current then t.group, t.held = current.group, current.held end
        t.co = coroutine.create(body)
        alive[#alive + 1] = t
        append(t)
    end

    ---Runs fn as the tasklet 0, to its end.
    function api.main(fn)
        api.new(0, fn)
        start(tasks[0])
        loop(tasks[0])
        if not tasks[0].ok then error(tasks[0].outcome[1], 0) end
    end

    local function is_alive(t) return t.state ~= "new" and t.state ~= "dead" end

    function api.setup(id)
        local t = tasks[id]
        if is_alive(t) then error("tasklet is alive", 0) end
        if t.state == "dead" then error("You cannot run an unbound(dead) tasklet", 0) end
        start(t)
    end

    -- ---- who runs ----

    function api.schedule()
        if cutting then error("Cannot block in reactor task", 0) end
        append(current)
        suspend()
    end

    function api.schedule_remove()
        current.state = "paused"
        suspend()
    end

    local function check_runnable(t)
        if t.state == "blocked" then error("You cannot run a blocked tasklet", 0) end
        if not is_alive(t) then error("You cannot run an unbound(dead) tasklet", 0) end
    end

    -- Out of the queue, or out of run: then those that run inside it can go on too.
    local function take_out(t)
        dequeue(t)
        local inner = {}
        for i, runner in ipairs(runners) do
            if runner == t then inner = table.move(runners, i + 1, #runners, 1, {}) end
        end
        if take(runners, t) then
            for _, runner in ipairs(inner) do
                take(runners, runner)
                append(runner)
            end
        end
    end

    function api.insert(id)
        local t = tasks[id]
        check_runnable(t)
        if t.state == "paused" then
            take_out(t)
            append(t)
        end
    end

    function api.remove(id)
        local t = tasks[id]
        if t.state == "blocked" then error("You cannot remove a blocked tasklet.", 0) end
        if t == current then error("The current tasklet cannot be removed.", 0) end
        if dequeue(t) then t.state = "paused" end
    end

    function api.run(id)
        local t = tasks[id]
        check_runnable(t)
        if t == current then return end
        take_out(t)
        prepend(current)
        prepend(t)
        suspend()
    end

    function api.switch(id)
        local t = tasks[id]
        check_runnable(t)
        if t == current then return end
        take_out(t)
        current.state = "paused"
        prepend(t)
        suspend()
    end

    function api.run_all()
        if #ready == 0 then return end
        current.state = "paused"
        runners[#runners + 1] = current
        suspend()
    end

    -- ---- ending ----

    local function throw_into(t, err, pending)
        if t == current then error(err, 0) end
        give_up(t)
        dequeue(t)
        take(runners, t)
        t.thrown = { value = err }
        if pending then
            append(t)
        else
            prepend(current)
            prepend(t)
            suspend()
        end
    end

    function api.kill(id, pending)
        if is_alive(tasks[id]) then throw_into(tasks[id], api.exit, pending) end
    end

    function api.throw(id, err, pending)
        if not is_alive(tasks[id]) then error("You cannot throw to a dead tasklet", 0) end
        throw_into(tasks[id], err, pending)
    end

    function api.kill_hard(id)
        local t = tasks[id]
        if t == current then
            t.cut = true
            coroutine.yield()
        elseif is_alive(t) then
            cut(t)
        end
    end

    function api.kill_group(group)
        local n = 0
        for i = #alive, 1, -1 do
            local t = alive[i]
            if t.group == group then
                n = n + 1
                if t ~= current then throw_into(t, api.exit, true) end
            end
        end
        if current.group == group then error(api.exit, 0) end
        return n
    end

    -- ---- groups ----

    local function hold(t)
        t.remainder = take(timers, t) and t.timeout
        local was_ready = take(ready, t)
        t.held = true
        if was_ready then append(t) end
    end

    local function go_on(t)
        if t.remainder then start_time(t, t.remainder) end
        t.remainder = nil
    end

    local function release(t)
        local was_ready = take(held, t)
        t.held = nil
        go_on(t)
        if was_ready then append(t) end
    end

    ---Those that are ready go to the queue in the order of their wakes.
    function api.pause_group(group, on)
        local n = 0
        for _, t in ipairs(table.move(held, 1, #held, 1, {})) do
            if not on and t.group == group then release(t) end
        end
        for _, t in ipairs(alive) do
            if t.group == group then
                n = n + 1
                if on and not t.held then hold(t) end
                if not on and t.held then release(t) end
            end
        end
        return n
    end

    function api.set_group(id, group)
        if tasks[id].held then release(tasks[id]) end
        tasks[id].group = group
    end

    function api.join(id, timeout)
        local t = tasks[id]
        if t.state == "dead" then return t.ok, unpack(t.outcome) end
        if t == current then error("a tasklet cannot join itself", 0) end
        return wait({ { queue = t.joiners } }, timeout)
    end

    function api.sleep(seconds) wait({}, seconds) end

    ---All that wait with a timeout run out of time, the shortest first.
    function api.tick()
        while #ready > 0 do api.schedule() end
        local due = table.move(timers, 1, #timers, 1, {})
        for n, t in ipairs(due) do t.nth = n end
        table.sort(due, function(a, b)
            if a.timeout ~= b.timeout then return a.timeout < b.timeout end
            return a.nth < b.nth
        end)
        for _, t in ipairs(due) do
            local asleep, raises = #t.entries == 0, t.entries.raises
            give_up(t)
            t.thrown = raises and { value = "timeout" }
            t.got = not asleep and table.pack(nil, "timeout") or nil
            append(t)
        end
        api.schedule()
    end

    -- ---- channels: entries that send have `values`, or `err` ----

    function api.channel(c, capacity)
        channels[c] = { queue = {}, buffer = {}, capacity = capacity, preference = -1 }
    end

    local function balance(ch)
        local first = ch.queue[1]
        return first and (first.sends and #ch.queue or -#ch.queue) or 0
    end

    local function item(values, err) return { sends = true, values = values, err = err } end

    -- After a hand-over: true if the caller gives way to its partner.
    local function order(ch, partner_first)
        if ch.schedule_all then return append, true end
        return partner_first and prepend or append, partner_first
    end

    local function hand_over(sent, receiver, put)
        if sent.err ~= nil then
            serve_error(receiver, put, sent.err)
        else
            serve(receiver, put, unpack(sent.values))
        end
    end

    local function send(c, sent)
        local ch = channels[c]
        if balance(ch) < 0 then
            local put, gives_way = order(ch, ch.preference < 0 and ch.capacity == 0)
            hand_over(sent, ch.queue[1], put)
            if gives_way then
                append(current)
                suspend()
            end
        elseif ch.closing then
            error(closed_text, 0)
        elseif #ch.buffer < ch.capacity then
            table.insert(ch.buffer, sent)
        else
            sent.queue = ch.queue
            wait { sent }
        end
    end

    function api.send(c, ...) send(c, item(table.pack(...))) end
    function api.send_exception(c, err) send(c, item(nil, err)) end

    local function unpack_item(sent)
        if sent.err ~= nil then error(sent.err, 0) end
        return unpack(sent.values)
    end

    -- What can be had without waiting: the item; whether the caller gives way to the sender.
    local function take_item(ch, switching)
        local first = ch.queue[1]
        if #ch.buffer > 0 then
            local sent = table.remove(ch.buffer, 1)
            if first then
                table.insert(ch.buffer, first)
                serve(first, append)
            end
            return sent
        elseif first and first.sends then
            local put, gives_way = append, false
            if switching and first.err == nil then
                put, gives_way = order(ch, ch.preference > 0)
            end
            serve(first, put)
            return first, gives_way
        end
    end

    function api.receive(c, timeout)
        local ch = channels[c]
        local sent, gives_way = take_item(ch, true)
        if gives_way then
            append(current)
            suspend()
        end
        if sent then return unpack_item(sent) end
        if ch.closing then return nil, "closed" end
        return wait({ { queue = ch.queue } }, timeout)
    end

    function api.try_send(c, ...)
        local ch = channels[c]
        if balance(ch) < 0 then
            hand_over(item(table.pack(...)), ch.queue[1], append)
            return true
        end
        if ch.closing then error(closed_text, 0) end
        if #ch.buffer >= ch.capacity then return false end
        table.insert(ch.buffer, item(table.pack(...)))
        return true
    end

    function api.try_receive(c)
        local sent = take_item(channels[c], false)
        if sent then return true, unpack_item(sent) end
        return false, channels[c].closing and "closed" or "empty"
    end

    function api.close(c, wake)
        local ch = channels[c]
        ch.closing = true
        while wake and ch.queue[1] do
            local entry = ch.queue[1]
            if entry.sends then
                serve_error(entry, append, closed_text)
            else
                serve(entry, append, nil, "closed")
            end
        end
    end

    function api.open(c) channels[c].closing = nil end
    function api.set(c, name, value) channels[c][name] = value end

    -- ---- deferreds: a chain of callbacks and of places where tasklets wait ----

    ---how: what a cancel calls, or nil
    function api.deferred(d, how)
        deferreds[d] = { chain = {}, canceller = how }
    end

    local function run_chain(d)
        while d.chain[1] do
            local link = table.remove(d.chain, 1)
            local got = d.failed and d.failed.value
            while link.queue and link.queue[1] do
                if d.failed then
                    serve_error(link.queue[1], append, got)
                else
                    serve(link.queue[1], append, unpack(d.result))
                end
            end
            if link.f and (link.on == "both" or (link.on == "errback") == (d.failed ~= nil)) then
                if d.failed then
                    d.result = table.pack(pcall(link.f, d.failed))
                else
                    d.result = table.pack(pcall(link.f, unpack(d.result)))
                end
                local ok, first = d.result[1], d.result[2]
                d.failed = not ok and setmetatable({ value = first }, Failure)
                    or getmetatable(first) == Failure and first or nil
                d.result = table.pack(table.unpack(d.result, 2, d.result.n))
            end
        end
    end

    local function settle(d, failed, ...)
        d.called, d.failed, d.result = true, failed, table.pack(...)
        run_chain(d)
    end

    local function fire(d, failed, ...)
        if d.swallows then
            d.swallows = nil
        elseif d.called then
            error("the deferred has already been called", 0)
        else
            settle(d, failed, ...)
        end
    end

    function api.callback(d, ...) fire(deferreds[d], nil, ...) end
    function api.errback(d, err)
        fire(deferreds[d], setmetatable({ value = err }, Failure))
    end

    ---on: "callback", "errback" or "both"
    function api.add(d, on, f)
        table.insert(deferreds[d].chain, { on = on, f = f })
        if deferreds[d].called then run_chain(deferreds[d]) end
    end

    local function cancel(d)
        if d.called then return end
        d.swallows = not d.canceller
        if d.canceller then
            d.canceller(function(...) fire(d, nil, ...) end)
        end
        if not d.called then settle(d, setmetatable({ value = "cancelled" }, Failure)) end
    end

    function api.cancel(d) cancel(deferreds[d]) end

    -- The last to leave it unserved cancels it; an error of the canceller is the reactor's.
    function abandon(d)
        local left
        for _, link in ipairs(d.chain) do
            if link.queue and link.queue[1] then return end
            left = left or link.left
        end
        if left then pcall(cancel, d) end
    end

    -- What a tasklet waits on; index: its case in a select.
    local function place_in(d, index)
        local last = d.chain[#d.chain]
        if not (last and last.queue) then
            last = { queue = {} }
            table.insert(d.chain, last)
        end
        return { deferred = d, link = last, queue = last.queue, index = index }
    end

    local function result_of(d)
        if d.failed then error(d.failed.value, 0) end
        return unpack(d.result)
    end

    function api.wait(d, timeout)
        d = deferreds[d]
        if d.called then return result_of(d) end
        return wait({ place_in(d), raises = true }, timeout)
    end

    -- ---- select: cases are { receive = c }, { send = c, values = }, { join = id }, or
    -- { deferred = d } ----

    local function do_now(case)
        if case.receive then
            local ch = channels[case.receive]
            local sent = take_item(ch, false)
            if sent then return true, unpack_item(sent) end
            if ch.closing then return true, nil, "closed" end
        elseif case.send then
            return api.try_send(case.send, unpack(case.values))
        elseif case.deferred then
            if deferreds[case.deferred].called then
                return true, result_of(deferreds[case.deferred])
            end
        elseif tasks[case.join].state == "dead" then
            return true, tasks[case.join].ok, unpack(tasks[case.join].outcome)
        end
        return false
    end

    local function entry_of(case, index)
        if case.deferred then return place_in(deferreds[case.deferred], index) end
        local entry = case.send and item(case.values) or {}
        local c = case.send or case.receive
        entry.index = index
        entry.queue = c and channels[c].queue or tasks[case.join].joiners
        return entry
    end

    function api.select(cases, timeout)
        for i, case in ipairs(cases) do
            local got = table.pack(do_now(case))
            if got[1] then return i, table.unpack(got, 2, got.n) end
        end
        if timeout == 0 then return nil, "timeout" end
        local entries, direction = {}, {}
        for i, case in ipairs(cases) do entries[i] = entry_of(case, i) end
        for i, case in ipairs(cases) do
            local c = case.receive or case.send
            if c then
                local way = direction[c] or balance(channels[c])
                if case.send and way < 0 or case.receive and way > 0 then
                    error("select: both directions of one channel", 0)
                end
                direction[c] = case.send and 1 or -1
            elseif case.deferred then
                entries[i].link.left = true -- it joins, and leaves sooner or later
            end
        end
        return wait(entries, timeout)
    end

    -- ---- looking ----

    function api.balance(c) return balance(channels[c]) end

    function api.look_at_channel(c)
        local ch, queue = channels[c], {}
        for i, entry in ipairs(ch.queue) do queue[i] = entry.task.id end
        return balance(ch), #ch.buffer, ch.closing or false,
            ch.closing and #ch.queue + #ch.buffer == 0 or false, table.concat(queue, ",")
    end

    function api.look_at_task(id)
        local t = tasks[id]
        return is_alive(t), t.state == "paused", is_alive(t) and t.state ~= "paused",
            t.state == "blocked"
    end

    function api.look_at_deferred(d) return deferreds[d].called or false end

    function api.runnable() return #ready + 1 end

    return api
end

return model
