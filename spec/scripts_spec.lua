-- Each script that comes with neap runs without arguments, ends by itself, and complains of
-- nothing.

local child = require "spec.support.child"
local lfs = require "lfs"

local function scripts(folder)
    local found = {}
    for name in lfs.dir(folder) do
        if name:find("%.lua$") then found[#found + 1] = folder .. "/" .. name end
    end
    table.sort(found)
    return found
end

for _, folder in ipairs { "scripts", "scripts/bench" } do
    describe(folder, function()
        it("has scripts", function() assert.is_true(#scripts(folder) > 0) end)

        for _, path in ipairs(scripts(folder)) do
            it("has " .. path .. ", which runs", function()
                local script = child.start { child.neap, path }
                local until_ = neap.now() + 100
                while not script:ended() and neap.now() < until_ do sleep(0.02) end
                if not script:ended() then script:kill() end
                local status, out, err = script:wait()
                assert.same({ 0, "" }, { status, err })
                assert.is_true(#out > 0)
            end)
        end
    end)
end
