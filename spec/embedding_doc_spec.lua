-- The C of docs/embedding.md is one program, and compiles as it stands.

local child = require "spec.support.child"

local function snippets()
    local file <close> = assert(io.open("docs/embedding.md"))
    local parts, line = {}, 1
    for before, code, after in file:read("a"):gmatch("(.-)\n```c\n(.-)(\n```)") do
        line = line + select(2, before:gsub("\n", "")) + 2
        parts[#parts + 1] = ('#line %d "docs/embedding.md"\n%s\n'):format(line, code)
        line = line + select(2, (code .. after):gsub("\n", ""))
    end
    return parts
end

describe("docs/embedding.md", function()
    it("has C that compiles", function()
        local parts = snippets()
        assert.is_true(#parts >= 8)
        local status, _, err = child.shell(
            "${CC:-cc} -std=c11 -Wall -Wextra -Werror -Wno-unused-function -fsyntax-only " ..
            "-Iruntime -isystem ${LUA_INC:-/usr/include/lua5.4} -xc -", table.concat(parts))
        assert.same({ 0, "" }, { status, err })
    end)

    it("has C that is C++17 too", function()
        if child.shell("command -v g++") ~= 0 then return pending("no g++") end
        local program = table.concat(snippets()):gsub('"lauxlib.h"', "<lua.hpp>")
        local status, _, err = child.shell(
            "g++ -std=gnu++17 -Wall -Werror -Wno-unused-function -fsyntax-only " ..
            "-Iruntime -isystem ${LUA_INC:-/usr/include/lua5.4} -xc++ -", program)
        assert.same({ 0, "" }, { status, err })
    end)
end)
