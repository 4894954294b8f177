-- Idle connections, and what they cost the one that is active:
--
--     ulimit -n 20000
--     neap spec/bench/idle.lua serve 7070 &
--     neap spec/bench/idle.lua 7070 19900
--
-- The second one prints the median and the 99th percentile of 5,000 round trips before and with
-- the idle connections, and what each of those costs the server, whose tasklet waits in read.

local net = require "neap.net"
local host = require "neap.host"

local function serve(port)
    local listener = neap.must(net.listen("0.0.0.0", port, { backlog = 4096 }))
    listener:serve(function(stream)
        for line in stream:lines() do
            if line == "memory" then
                collectgarbage()
                collectgarbage()
                line = tostring(host.stats().mem)
            elseif line == "resident" then
                line = io.open("/proc/self/status"):read("a"):match("VmRSS:%s+(%d+)")
            elseif line == "end" then
                os.exit(0)
            end
            stream:write(line, "\n")
        end
    end)
end

local function ask(stream, what)
    stream:write(what, "\n")
    return stream:read()
end

local function latencies(stream)
    local times = {}
    for i = 1, 5000 do
        local began = neap.now()
        ask(stream, "ping")
        times[i] = neap.now() - began
    end
    table.sort(times)
    return ("median %.1f us, 99%% %.1f us"):format(times[2500] * 1e6, times[4950] * 1e6)
end

local function figures(stream)
    return tonumber(ask(stream, "memory")), tonumber(ask(stream, "resident"))
end

local function measure(port, n)
    local active = neap.must(net.connect("127.0.0.1", port))
    latencies(active)
    local before, idle = latencies(active), {}
    local mem, resident = figures(active)
    for i = 1, n do -- of several addresses, for ports are few
        idle[i] = neap.must(net.connect("127.0.0." .. 2 + i % 20, port))
        if i % 500 == 0 then ask(active, "ping") end
    end
    local mem_after, resident_after = figures(active)
    print("alone:        " .. before)
    print(("beside %d: %s"):format(n, latencies(active)))
    print(("each: %.0f bytes counted by the runtime, %.0f resident"):format((mem_after - mem) / n,
        (resident_after - resident) * 1024 / n))
    assert(#idle == n) -- they are held until here
    active:write("end\n")
    active:read()
    os.exit(0) -- without a word to the others
end

if arg[1] == "serve" then
    serve(tonumber(arg[2]))
else
    measure(tonumber(arg[1]), tonumber(arg[2]))
end
