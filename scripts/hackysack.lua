-- Actors that kick a hackysack around, after the Stackless tutorial: an actor is an object
-- with a channel of its own and a tasklet that reads it, and they meet only by messages.
--
--   neap scripts/hackysack.lua [KICKS [PLAYERS]]

local stackless = require "neap.stackless"

local KICKS, PLAYERS = tonumber(arg[1]) or 8, tonumber(arg[2]) or 4

local Actor = {}
Actor.__index = Actor

function Actor.new(name, circle)
    local self = setmetatable({ name = name, circle = circle, inbox = stackless.QueueChannel() },
        Actor)
    circle[#circle + 1] = self
    stackless.tasklet(self.live)(self).name = name
    return self
end

function Actor:live()
    for message, from, kick in self.inbox do
        self[message](self, from, kick)
    end
    print(self.name .. " leaves the circle")
end

-- Looks for somebody else to kick to. The same on every run: no dice.
function Actor:partner(kick)
    for i, actor in ipairs(self.circle) do
        if actor == self then return self.circle[(i + kick % (PLAYERS - 1)) % PLAYERS + 1] end
    end
end

function Actor:sack(from, kick)
    print(("%s has the hackysack from %s"):format(self.name, from.name))
    if kick < KICKS then
        self:partner(kick).inbox:send("sack", self, kick + 1)
        return
    end
    print(("%s drops it after %d kicks"):format(self.name, kick))
    for _, actor in ipairs(self.circle) do actor.inbox:send("bye") end
end

function Actor:bye() self.inbox:close() end

assert(PLAYERS > 1, "nobody plays alone")
local circle = {}
for i = 1, PLAYERS do Actor.new("player " .. i, circle) end
circle[1].inbox:send("sack", { name = "the referee" }, 0)
stackless.run()
