-- The example game without a screen, and the epoll program beside it.

local child = require "spec.support.child"

local no_sdl = (child.shell("pkg-config --exists sdl2")) ~= 0
local cc = "${CC:-cc} -std=gnu11 -Wall -Wextra -Werror -Iruntime " ..
    "-isystem ${LUA_INC:-/usr/include/lua5.4} "

-- A BMP's size and how many colours its pixels have.
local function look_at(path)
    local file <close> = assert(io.open(path, "rb"))
    local s = file:read("a")
    local from, width, height = string.unpack("<I4", s, 11), string.unpack("<i4i4", s, 19)
    local colours, n = {}, 0
    for i = from + 1, #s - 2, 3 do
        local colour = s:sub(i, i + 2)
        if not colours[colour] then colours[colour], n = true, n + 1 end
    end
    return width, height, n
end

describe("scripts/game", function()
    local picture, script

    local function play(options)
        return child.shell("SDL_VIDEODRIVER=dummy build/game/game " .. options)
    end

    setup(function()
        if no_sdl then return end
        child.make("libneap.a")
        local status, _, err = child.shell("make -s -C scripts/game")
        assert.same({ 0, "" }, { status, err })
        picture, script = os.tmpname(), os.tmpname()
    end)

    teardown(function()
        if picture then os.remove(picture) os.remove(script) end
    end)

    local function with_sdl(name, f)
        it(name, function()
            if no_sdl then return pending("SDL2 is not installed") end
            f()
        end)
    end

    with_sdl("plays, and writes its picture", function()
        local status, out = play("--frames 240 --seed 3 --shot " .. picture)
        assert.equal(0, status)
        local tasklets, prey, predators = out:match(
            "^240 frames, 4%.00 s, (%d+) tasklets, (%d+) prey, (%d+) predators, %d+ errors\n$")
        assert.is_true(tonumber(tasklets) > 200)
        assert.is_true(tonumber(prey) > 100 and tonumber(predators) > 5)
        local width, height, colours = look_at(picture)
        assert.same({ 960, 640 }, { width, height })
        assert.is_true(colours >= 7, colours)
    end)

    -- frames, seconds of the game and the prey at the end, and what it said
    local function played(frames, input)
        local status, out, err = play(("--frames %d --seed 3 --input '%s' --shot %s"):format(
            frames, input, picture))
        assert.equal(0, status)
        local n, seconds, prey = out:match("^(%d+) frames, ([%d.]+) s, .-, (%d+) prey")
        return tonumber(n), tonumber(seconds), tonumber(prey), err
    end

    with_sdl("stands still while it is paused, whatever the pace", function()
        local _, seconds, prey = played(120, "60 Space")
        assert.equal(1, seconds)
        local _, later, same = played(180, "60 Space 90 + 100 + 110 -")
        assert.same({ 1, prey }, { later, same })
        assert.equal(2, (select(2, played(180, "60 Space 120 Space"))))
    end)

    with_sdl("changes its pace", function()
        assert.equal(3, (select(2, played(120, "60 +"))))
        assert.equal(1.5, (select(2, played(120, "60 -"))))
    end)

    with_sdl("puts a prey where one clicks", function()
        local _, _, prey = played(60, "30 Space")
        local _, _, more = played(60, "30 Space 40 Click 50 Click")
        assert.equal(prey + 2, more)
    end)

    with_sdl("loads its script and ends by a key", function()
        local n, _, _, err = played(60, "10 R 20 Escape")
        assert.equal(20, n)
        assert.equal("loaded again: scripts/game/brains.lua\n", err)
    end)

    with_sdl("shows an error of one creature, and goes on", function()
        child.shell("sed 's/math.random() < 0.00005/math.random() < 0.002/' " ..
            "scripts/game/brains.lua >" .. script)
        local status, out, err = play("--frames 240 --seed 3 --script " .. script)
        assert.equal(0, status)
        local tasklets, errors = out:match("(%d+) tasklets, .*, (%d+) errors\n$")
        assert.is_true(tonumber(errors) > 0 and tonumber(tasklets) > 200)
        assert.is_truthy(err:find("^prey %d+: .-: has eaten something odd\n"))
        assert.equal(tonumber(errors), select(2, err:gsub("\n", "")))
    end)

    with_sdl("loads a script again when it is saved", function()
        child.shell("cp scripts/game/brains.lua " .. script)
        local status = child.shell(([[
            SDL_VIDEODRIVER=dummy build/game/game --frames 400000 --script %s 2>%s & p=$!
            n=0
            await() { # what it says, when the script is saved again and again
                until grep -q "$1" %s; do
                    n=$((n + 1))
                    touch -d "$n seconds" %s
                    sleep 0.05
                    [ $n -lt 400 ] || { kill $p; exit 1; }
                done
            }
            await "loaded again: "
            echo 'return {' >%s
            await "not loaded: "
            kill -0 $p || exit 1
            kill $p
            wait $p
            true]]):format(script, picture, picture, script, script))
        assert.equal(0, status)
    end)
end)

describe("scripts/embed/epoll.c", function()
    it("polls neap_fd in a loop of its own", function()
        child.make("libneap.a")
        local program = os.tmpname()
        local status, out, err = child.shell(cc .. "-o " .. program ..
            " scripts/embed/epoll.c libneap.a -l:liblua5.4.a -l:libev.a -lm -ldl -lpthread && " ..
            program)
        assert.same({ 0, "HELLO 1\nHELLO 2\nHELLO 3\n", "" }, { status, out, err })
        status, out = child.shell("echo hello | " .. program)
        os.remove(program)
        assert.equal(0, status)
        assert.is_truthy(out:find("6 bytes of input\n", 1, true))
    end)
end)
