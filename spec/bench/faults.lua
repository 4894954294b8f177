-- neap spec/bench/faults.lua: what the faults of docs/networks.md cost, one line each. From the
-- source's root; takes about 20 seconds.

package.path = "./?.lua;" .. package.path

local child = require "spec.support.child"
local net = require "neap.net"

local function percentile(times, p)
    table.sort(times)
    return times[math.max(1, math.ceil(#times * p))]
end

local function resident()
    local file <close> = assert(io.open "/proc/self/status")
    return tonumber(file:read("a"):match "VmRSS:%s*(%d+)")
end

local function ask(stream)
    local began = neap.now()
    stream:write("ping\n")
    assert(stream:read() == "ping")
    return neap.now() - began
end

-- A server that echoes lines, as a child with at most so many descriptors.
local function echo_server(descriptors)
    local server = child.script([[
        local net = require "neap.net"
        local listener = neap.must(net.listen("127.0.0.1", 0))
        print(listener.port)
        io.stdout:flush()
        listener:serve(function(stream)
            for line in stream:lines() do stream:write(line, "\n") end
        end)
    ]], "ulimit -n " .. descriptors)
    return server, tonumber(server:printed())
end

local function out_of_descriptors()
    local server, port = echo_server(64)
    local clients = child.peer("many", port, 500, 3000)
    server:complained "clients wait"
    local cpu = server:cpu()
    sleep(2)
    cpu = server:cpu() - cpu
    local _, right = clients:wait()
    local began = neap.now()
    local stream <close> = neap.must(net.connect("127.0.0.1", port))
    ask(stream)
    print(("1   no descriptor for accept: %.1f %% CPU while 500 clients wait, %d of them served, "
        .. "the next one %.1f ms after they left"):format(cpu / 2 * 100, right,
            (neap.now() - began) * 1000))
    server:kill()
end

local function slow_reader()
    local listener <close> = neap.must(net.listen("127.0.0.1", 0))
    local peer = child.peer("mute", listener.port)
    local stream <close> = neap.must(listener:accept())
    local block = ("x"):rep(1 << 20)
    collectgarbage()
    local before, taken, began = resident(), 0, neap.now()
    stream:settimeout(1)
    while taken < 1024 and stream:write(block) do taken = taken + 1 end
    print(("13  a reader of nothing, sent 1 GiB: %d KiB more resident, the writer held up %.2f s "
        .. "of its time of 1 s"):format(resident() - before, neap.now() - began))
    stream:setoption("linger", 0)
    peer:kill()
end

local function queued()
    local ch, n = channel(1e6), 1e6
    collectgarbage()
    local before = collectgarbage "count"
    for i = 1, n do ch:send(i) end
    print(("15  a value in a channel's buffer: %.1f bytes"):format(
        (collectgarbage "count" - before) * 1024 / n))
end

local function flood()
    local server, port = echo_server(4096)
    local pinger <close> = neap.must(net.connect("127.0.0.1", port))
    local alone = {}
    for i = 1, 2000 do alone[i] = ask(pinger) end
    local went, going, times = 0, 4, {}
    for _ = 1, going do
        spawn(function()
            local ends = neap.now() + 5
            while neap.now() < ends do
                local stream = neap.must(net.connect("127.0.0.1", port))
                stream:setoption("linger", 0)
                stream:close()
                went = went + 1
            end
            going = going - 1
        end)
    end
    while going > 0 do times[#times + 1] = ask(pinger) end
    print(("18  4 clients that connect and go for 5 s: %.0f accepts/s; a pinger's p99 %.2f ms, "
        .. "alone %.2f ms"):format(went / 5, percentile(times, 0.99) * 1000,
            percentile(alone, 0.99) * 1000))
    server:kill()
end

local function timers()
    local n, ch = 1e6, channel()
    local cpu = os.clock()
    for _ = 1, n do neap.call_later(60, print):cancel() end
    local cancelled = (os.clock() - cpu) / n
    cpu = os.clock()
    local left, due, late = 1e5, neap.now() + 1, 0
    for _ = 1, left do
        neap.call_later(due - neap.now(), function()
            late = math.max(late, neap.now() - due)
            left = left - 1
            if left == 0 then ch:try_send() end
        end)
    end
    ch:receive()
    print(("20  a timer set and cancelled: %.0f ns; 100,000 due in one moment: %.2f us each, the "
        .. "last %.0f ms late"):format(cancelled * 1e9, (os.clock() - cpu) * 10, late * 1000))
end

-- The p99 of an echo between two tasklets while others do f without an end.
local function storm(f)
    local a <close>, b = net.pair()
    local going = true
    spawn(function() for line in b:lines() do b:write(line, "\n") end end)
    for _ = 1, 4 do spawn(function() while going do f() end end) end
    local times = {}
    for i = 1, 2000 do times[i] = ask(a) end
    going = false
    b:close()
    return percentile(times, 0.99) * 1000
end

local function storms()
    local ch = channel()
    local timers_again = storm(function() sleep(0) end)
    local yields = storm(schedule)
    local talk = storm(function()
        spawn(ch.send, ch, 1)
        ch:receive()
    end)
    print(("21  I/O's p99 beside 4 tasklets that sleep(0): %.2f ms; that give way: %.2f ms; that "
        .. "talk over channels: %.2f ms"):format(timers_again, yields, talk))
end

local function hog()
    local server = child.script [[
        spawn(function() while true do sleep(0.01) end end)
        spawn(function()
            local ends = neap.now() + 100
            repeat for _ = 1, 1e6 do end until neap.now() > ends
        end)
        sleep(100)
    ]]
    local began = neap.now()
    local seconds = server:complained "has held the reactor for ([%d.]+) s"
    print(("22  a tasklet that computes on: reported as stalled for %s s, after %.2f s"):format(
        seconds, neap.now() - began))
    server:kill()
end

for _, row in ipairs { out_of_descriptors, slow_reader, queued, flood, timers, storms, hog } do
    row()
end
