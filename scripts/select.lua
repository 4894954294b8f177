-- neap.select, by a tasklet that writes lines in batches: it waits at once for the next line,
-- for the time to be up, and for the word to stop, and whichever comes first wins.
--
--   neap scripts/select.lua

local BATCH, IDLE = 3, 0.1

local function batcher(lines, quit)
    local batch = {}
    local function write(why)
        print(("%-10s %s"):format(why .. ":", #batch > 0 and table.concat(batch, ", ") or "-"))
        batch = {}
    end
    while true do
        -- without anything to write there is no hurry
        local which, line = neap.select({ lines, quit }, #batch > 0 and IDLE or nil)
        if not which then
            write "idle"
        elseif which == 2 then
            write "quit"
            return
        else
            batch[#batch + 1] = line
            if #batch == BATCH then write "full" end
        end
    end
end

local lines, quit = channel(), channel()
local worker = spawn(batcher, lines, quit)

for i = 1, 5 do lines:send("line " .. i) end
sleep(5 * IDLE)
lines:send "line 6"
quit:send()
worker:join()

-- A send is a case, too: here each of two workers gets what it is ready for.
local jobs, done = { channel(), channel() }, channel(10)
for i, inbox in ipairs(jobs) do
    spawn(function()
        for job in inbox do
            sleep(0.05 * (i + 1)) -- the first is faster
            done:send(("worker %d did job %d"):format(i, job))
        end
    end)
end
for job = 1, 3 do
    local which = neap.select { { jobs[1], job }, { jobs[2], job } }
    print(("job %d goes to worker %d"):format(job, which))
end
for _ = 1, 3 do print((done:receive())) end
for _, inbox in ipairs(jobs) do inbox:close() end
