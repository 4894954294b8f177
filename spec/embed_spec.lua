-- The example hosts of spec/embed, and the test of runtime/base: each is built and runs, ends
-- with status 0 and complains of nothing. A sanitized neap has them sanitized too.

local child = require "spec.support.child"

local variants = child.neap:find("/asan/") and { "asan" } or { "static", "shared" }
local programs = {
    ["embed/abi"] = "^$",
    ["embed/hello"] = "^hello world\n$",
    ["embed/errors"] = "^$",
    ["embed/step"] = "^$",
    ["embed/two"] = "^$",
    ["embed/teardown"] = "^$",
    ["embed/callbacks"] = "^done\n$",
    ["embed/hooks"] = "^$",
    ["embed/rules"] = "^$",
    ["embed/threads"] = "^$",
    ["embed/deny"] = "^$",
    ["embed/limits"] = "^$",
    ["embed/stacks"] = "^%d%d+\n$",
    ["embed/box"] = "^%d%d+\n$",
    ["embed/replay"] = "^%d%d%d+\n$",
    ["embed/no_memory"] = "^%d%d%d+\n$",
    ["embed/memory"] = "^%d%d%d+\n$",
    ["base/base_test"] = "^$",
}

-- base_test needs what no library shows; the others take long, and link as the rest does.
local not_shared = { ["base/base_test"] = true, ["embed/limits"] = true,
    ["embed/memory"] = true, ["embed/no_memory"] = true, ["embed/replay"] = true,
    ["embed/stacks"] = true, ["embed/box"] = true }

-- Under a sanitizer frames and heaps are larger.
local not_asan = { ["embed/stacks"] = true, ["embed/box"] = true }

local function built(variant, program)
    return (variant ~= "shared" or not not_shared[program]) and
        (variant ~= "asan" or not not_asan[program])
end

local targets = {}
for _, variant in ipairs(variants) do
    for program in pairs(programs) do
        if built(variant, program) then
            targets[#targets + 1] = ("build/%s/%s"):format(variant, program)
        end
    end
end
child.make(table.unpack(targets))

for _, target in ipairs(targets) do
    describe(target, function()
        it("runs", function()
            local program = child.start { target }
            local status, out, err = program:wait()
            assert.same({ 0, "" }, { status, err })
            assert.is_truthy(out:find(programs[target:match("^build/%w+/(.*)")]))
        end)
    end)
end
