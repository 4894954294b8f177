-- The bridge as the texts of 2008 had it, put into neap's words line by line: what specs
-- show to go wrong. naive.deferred runs its callbacks as ordinary code, as Twisted does; a
-- callback of neap's own may not block, and its channel would refuse there.

local naive = {}

local reactor_tasklet = nil -- meant to be set by reactor_run, which set a local of that name

local methods = {}

local function run(d)
    if d.running then return end
    d.running = true
    while #d.chain > 0 do
        local ok, result = neap.pcall(table.remove(d.chain, 1), d.result)
        d.result = ok and result or nil
    end
    d.running = false
end

function methods.add_both(d, f)
    table.insert(d.chain, f)
    if d.called then run(d) end
end

methods.add_callback = methods.add_both

function methods.callback(d, v)
    d.called, d.result = true, v
    run(d)
end

function methods.errback(d, err)
    local failure
    neap.fail(err):add_errback(function(f) failure = f end)
    methods.callback(d, failure)
end

---Success and failure in one list: enough for what block_on does.
function naive.deferred()
    return setmetatable({ chain = {}, called = false }, { __index = methods })
end

function naive.succeed(v)
    local d = naive.deferred()
    d:callback(v)
    return d
end

function naive.in_reactor()
    return reactor_tasklet ~= nil and neap.getcurrent() == reactor_tasklet
end

---Runs the tasklets from a timer. Returns a function that ends it.
function naive.pump()
    local on = true
    spawn(function()
        while on do sleep(0.0001) end
    end)
    return function() on = false end
end

function naive.block_on(d)
    local ch = channel()
    d:add_both(function(x) ch:send(x) end)
    return ch:receive()
end

local function filter(failure)
    failure:trap(neap.TaskletExit)
end

local function wrapper(d, f, ...)
    local inner
    local ok = pcall(function(...)
        inner = neap.maybe_deferred(f, ...)
        inner:add_errback(filter)
        inner:add_callback(function(...) d:callback(...) end)
        inner:add_errback(function() end) -- seen by nobody but the log
    end, ...)
    return ok and inner or nil
end

function naive.deferred_tasklet(f)
    return function(...)
        local d, t = deferred(), tasklet(wrapper)
        t(d, f, ...)
        t:run()
        return d, t
    end
end

function naive.blocking_tasklet(f)
    return function(...)
        local d = naive.deferred_tasklet(f)(...)
        if naive.in_reactor() then error("Cannot block in reactor task", 0) end
        return naive.block_on(d)
    end
end

---A worker of the old way: takes { reply channel, values... } from a channel.
function naive.serve(requests, f)
    return spawn(function()
        for request in requests do
            request[1]:send(f(table.unpack(request, 2)))
        end
    end)
end

function naive.ask(requests, ...)
    local reply = channel()
    requests:send { reply, ... }
    return reply:receive()
end

---The new way: the rest of the protocol's code is a callback; nothing else is.
function naive.process(ask, reply)
    local d = deferred()
    d:add_callback(reply)
    ask(d)
end

return naive
