-- A port scanner: a tasklet for each port, of which a semaphore lets few connect at a time.
--
--   neap scripts/scan.lua HOST FIRST LAST [AT_ONCE]
--   neap scripts/scan.lua                           finds three listeners of its own

local net = require "neap.net"
local sync = require "neap.sync"

local function scan(host, first, last, at_once)
    local open, few = {}, sync.semaphore(at_once)
    neap.scope(function(s)
        for port = first, last do
            s:spawn(function()
                local _ <close> = neap.must(few:acquire())
                local stream <close> = net.connect(host, port, { timeout = 2 })
                if stream then open[#open + 1] = port end
            end)
        end
    end)
    table.sort(open)
    return open
end

if arg[3] then
    local open = scan(arg[1], tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4]) or 100)
    for _, port in ipairs(open) do print(port, "open") end
    return print(#open .. " open")
end

local listeners, expected = {}, {}
for i = 1, 3 do
    listeners[i] = neap.must(net.listen("127.0.0.1", 0))
    expected[listeners[i].port] = true
end
local found = 0
for port in pairs(expected) do
    for _, open in ipairs(scan("127.0.0.1", math.max(1, port - 5), math.min(65535, port + 5), 4)) do
        if open == port then found = found + 1 end
    end
end
print(("%d of %d listeners found"):format(found, #listeners))
