-- neap.h by itself: in C11 and C++17 without a warning, and the names that the library shows.

local child = require "spec.support.child"

local include = "-Iruntime -isystem ${LUA_INC:-/usr/include/lua5.4}"
local strict = "-Wall -Wextra -Wpedantic -Werror"

local function there(program)
    return (child.shell("command -v " .. program)) == 0
end

local function contents(path)
    local file <close> = assert(io.open(path))
    return file:read("a")
end

describe("neap.h", function()
    it("is C11", function()
        local status, _, err = child.shell(
            ("printf '#include <neap.h>\\nint x;\\n' | ${CC:-cc} -std=c11 %s %s " ..
                "-fsyntax-only -xc -"):format(strict, include))
        assert.same({ 0, "" }, { status, err })
    end)

    it("is C++17", function()
        if not there("g++") then return pending("no g++") end
        child.make("libneap.so")
        local status, _, err = child.shell((
            "d=$PWD/build/cpp; mkdir -p $d && ln -sf $PWD/libneap.so $d/libneap.so.0 && " ..
            "g++ -std=c++17 %s %s -o $d/header spec/embed/header.cpp -L. -lneap -llua5.4 " ..
            "-Wl,-rpath,$d && $d/header"):format(strict, include))
        assert.same({ 0, "" }, { status, err })
    end)

    it("shows the names that are recorded", function()
        child.make("libneap.so")
        local _, out = child.shell(
            "nm -D --defined-only libneap.so | awk '{ print $3 }' | LC_ALL=C sort")
        assert.same(contents("spec/embed/exports.txt"), out)
    end)

    it("declares each of them", function()
        local header = contents("runtime/neap.h")
        for name in contents("spec/embed/exports.txt"):gmatch("neap_[%w_]+") do
            assert.is_truthy(header:find("%f[%w_]" .. name .. "%("), name)
        end
    end)

    it("has each of its functions called in spec/embed", function()
        local _, hosts = child.shell("cat spec/embed/*.c")
        for name in contents("spec/embed/exports.txt"):gmatch("%f[%w_](neap_[%w_]+)") do
            assert.is_truthy(hosts:find("%f[%w_]" .. name .. "%("), name)
        end
    end)
end)
