-- The examples in these pages are whole programs that print what they say.

local program = require "spec.support.program"

local pages = { -- and how many examples each has at the least
    ["docs/http-client.md"] = 3,
    ["docs/networks.md"] = 6,
    ["docs/scopes.md"] = 7,
    ["docs/twisted.md"] = 1,
}

local function examples(path)
    local file <close> = assert(io.open(path))
    local list = {}
    for code in file:read("a"):gmatch("```lua\n(.-)```") do
        local expected = {}
        for line in code:gmatch("%-%->%s*([^\n]*)") do expected[#expected + 1] = line end
        list[#list + 1] = { code = code, expected = table.concat(expected, "\n") .. "\n" }
    end
    return list
end

for page, least in pairs(pages) do
    describe(page, function()
        local list = examples(page)

        it("has examples", function() assert.is_true(#list >= least) end)

        for i, example in ipairs(list) do
            it("is right in example " .. i, function()
                local status, output = program.run(example.code)
                assert.same({ 0, example.expected }, { status, (output:gsub("\t", " ")) })
            end)
        end
    end)
end
