-- Ping-pong, the first program of every Stackless tutorial: two tasklets that wake each other
-- over two channels, each in plain sequential code.
--
--   neap scripts/pingpong.lua

local stackless = require "neap.stackless"

local ROUNDS = 3
local ping, pong = stackless.channel(), stackless.channel()

local function player(word, mine, other)
    for ball in mine do
        print(("%s  (ball %d)"):format(word, ball))
        if ball == 2 * ROUNDS then
            other:close() -- ends the other's loop, and with it this one's
            break
        end
        other:send(ball + 1)
    end
    mine:close()
    print(word .. " goes home")
end

stackless.tasklet(player)("PING", ping, pong)
stackless.tasklet(player)("  PONG", pong, ping)
stackless.tasklet(function() ping:send(1) end)()
stackless.run()
