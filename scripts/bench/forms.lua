-- The two forms of 2008, the same work: a request that a worker answers. `channels`: a tasklet
-- for each request, which waits on a reply channel; `deferreds`: the rest of the request is
-- the callback of a deferred that the worker fires.

local requests = tonumber((...)) or 5000
local work = channel(64)
local answered = 0

local function done(v) answered = answered + v end

local function channels()
    spawn(function()
        for request in work do request:send(1) end
    end)
    local function instance()
        local reply = channel()
        work:send(reply)
        done(reply:receive())
    end
    for i = 1, requests do
        spawn(instance)
        if i % 64 == 0 then schedule() end
    end
end

local function deferreds()
    spawn(function()
        for request in work do request:callback(1) end
    end)
    for _ = 1, requests do
        local d = deferred()
        d:add_callback(done)
        work:send(d)
    end
end

for _, form in ipairs { { "channels", channels }, { "deferreds", deferreds } } do
    answered = 0
    local start = os.clock()
    form[2]()
    while answered < requests do schedule() end
    print(("%s %.1f ns"):format(form[1], (os.clock() - start) / requests * 1e9))
    work:close()
    work = channel(64)
end
