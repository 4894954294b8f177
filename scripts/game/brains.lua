-- What the creatures of game.c think: each lives in a tasklet of its own. Change this file
-- while the game runs and save it: the next thought of each is a new one.

-- luacheck: globals engine world
local brains = {}

-- What must outlive a reload is not in the module: the channel at which a prey can be met.
world = world or { doors = setmetatable({}, { __mode = "k" }) }

local function away(dx, dy, speed)
    local d = math.sqrt(dx * dx + dy * dy) + 0.001
    return -dx / d * speed, -dy / d * speed
end

function brains.prey_thinks(me)
    local hunter, dx, dy = engine.nearest(me, "predator", 70)
    if hunter then
        engine.steer(me, away(dx, dy, 75))
    else
        engine.steer(me, math.random(-30, 30), math.random(-30, 30))
    end
    engine.feed(me, 0.8) -- grass is everywhere
    if engine.energy(me) > 14 and engine.count "prey" < 380 then
        engine.feed(me, -8)
        engine.make("prey", engine.place(me))
    end
    if math.random() < 0.00005 then error("has eaten something odd") end
end

---A prey's life: it thinks five times a second, and may be met meanwhile.
function brains.prey(me)
    local door = channel()
    world.doors[me] = door
    while true do
        brains.prey_thinks(me)
        local hunter, answer = door:receive(0.15 + math.random() * 0.1)
        if hunter then
            local caught = math.random() < 0.6
            answer:try_send(caught)
            if caught then return end
            engine.steer(me, math.random(-150, 150), math.random(-150, 150))
        end
    end
end

function brains.predator_thinks(me, answer)
    local prey, dx, dy, distance = engine.nearest(me, "prey", 160)
    if not prey then return engine.steer(me, math.random(-45, 45), math.random(-45, 45)) end
    local x, y = away(dx, dy, 95)
    engine.steer(me, -x, -y)
    local door = world.doors[prey]
    if distance < 12 and door and door:try_send(me, answer) and answer:receive(0.5) == true then
        engine.feed(me, 4)
        if engine.energy(me) > 18 and engine.count "predator" < 60 then
            engine.feed(me, -9)
            engine.make("predator", engine.place(me))
        end
    end
end

---A predator's life. It is the engine that ends it, when it has starved.
function brains.predator(me)
    local answer = channel(1)
    while true do
        brains.predator_thinks(me, answer)
        sleep(0.2)
    end
end

return brains
