-- The pages for users: the examples of some are whole programs that print what they say, those
-- of all compile, and the files they name are there.

local lfs = require "lfs"
local program = require "spec.support.program"

local whole = { -- the pages of whole programs, and how many each has at the least
    ["docs/http-client.md"] = 3,
    ["docs/networks.md"] = 6,
    ["docs/scopes.md"] = 7,
    ["docs/stackless.md"] = 1,
    ["docs/twisted.md"] = 1,
}

local function contents(path)
    local file <close> = assert(io.open(path))
    return file:read("a")
end

local function pages()
    local list = { "CHANGELOG.md", "README.md" }
    for name in lfs.dir("docs") do
        if name:find("%.md$") then list[#list + 1] = "docs/" .. name end
    end
    table.sort(list)
    return list
end

local function examples(path)
    local list = {}
    for code in contents(path):gmatch("```lua\n(.-)```") do
        local expected = {}
        for line in code:gmatch("%-%->%s*([^\n]*)") do expected[#expected + 1] = line end
        list[#list + 1] = { code = code, expected = table.concat(expected, "\n") .. "\n" }
    end
    return list
end

for page, least in pairs(whole) do
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

for _, page in ipairs(pages()) do
    describe(page, function()
        it("has examples that compile", function()
            for i, example in ipairs(examples(page)) do
                local ok, why = load(example.code)
                if not ok and not load("return " .. example.code) then
                    error(("example %d: %s"):format(i, why))
                end
            end
        end)

        it("names files that are there", function()
            local folder = page:match("^.*/") or ""
            for target in contents(page):gmatch("%]%(([%w_./-]+)#?[%w-]*%)") do
                assert.is_truthy(lfs.attributes(folder .. target), target)
            end
        end)
    end)
end
