-- What is left to a mod by strangers: run this first in its runtime, whose config has all the
-- limits and denies everything (docs/embedding.md). No hook runs inside a C function, so those
-- that could go on for ever are priced before; finalizers, where none runs either, go away.

local COST <const> = 5e7 -- of one call at worst: bytes compared or written
local ITEMS <const> = 1e6 -- that one call may move in a table

-- luacheck: globals string table

local find, gsub, sub, rep = string.find, string.gsub, string.sub, string.rep
local concat, move, sort = table.concat, table.move, table.sort
local error, select, tonumber, type, mathtype = error, select, tonumber, type, math.type

local function afford(cost, limit)
    if cost > limit or cost ~= cost then error("this would take too long", 3) end
end

local function is_text(v) return type(v) == "string" or type(v) == "number" end

-- Of looking for the pattern: each repetition in it may end anywhere behind the last.
local function price(s, p)
    s, p = s .. "", p .. ""
    if #p > 1000 then return math.huge end
    local _, special = gsub(p, "%%[b%d]", "")
    local bare = gsub(gsub(p, "%%.", "x"), "%[%^?.[^%]]*%]", "x")
    local repeats = special + select(2, gsub(bare, "[*+-]", ""))
    if sub(p, 1, 1) ~= "^" then repeats = repeats + 1 end
    local cost, n = #p * 2.0 ^ select(2, gsub(bare, "?", "")), #s + 1
    for i = 1, repeats do cost = cost * (n + i) / i end
    return cost
end

for _, name in ipairs { "find", "match", "gsub" } do
    local call = string[name]
    string[name] = function(s, p, ...)
        if is_text(s) and is_text(p) then afford(price(s, p), COST) end
        return call(s, p, ...)
    end
end

-- Lua's own crashes when it is called again after an error.
function string.gmatch(s, p, init)
    s, p = s .. "", gsub(p, "^%^", "%%^")
    afford(price(s, p), COST)
    local at, last = init or 1, nil
    if at < 0 then at = #s + at + 1 end
    if at < 1 then at = 1 end
    local function results(from, to, ...)
        if not from then
            at = #s + 2
            return nil
        end
        at = to + 1
        if to == last then -- nothing, right behind the last match
            at = from + 1
            return results(find(s, p, at))
        end
        last = to
        if ... == nil then return sub(s, from, to) end
        return ...
    end
    return function()
        if at <= #s + 1 then return results(find(s, p, at)) end
    end
end

function string.rep(s, n, sep)
    local length = #(is_text(s) and s .. "" or "") + #(is_text(sep) and sep .. "" or "")
    afford((tonumber(n) or 0) * (length + 1), COST)
    return rep(s, n, sep)
end

function table.concat(t, sep, i, j)
    j = j or #t
    afford((tonumber(j) or 0) - (tonumber(i) or 1), ITEMS)
    return concat(t, sep, i, j)
end

function table.move(a, from, to, ...)
    afford((tonumber(to) or 0) - (tonumber(from) or 0), ITEMS)
    return move(a, from, to, ...)
end

function table.insert(t, ...)
    local n, at, v = #t + 1, ...
    if select("#", ...) == 1 then at, v = n, at end
    if mathtype(at) ~= "integer" or at < 1 or at > n then error("position out of bounds", 2) end
    afford(n - at, ITEMS)
    move(t, at, n - 1, at + 1)
    t[at] = v
end

function table.remove(t, at)
    local n = #t
    at = at or n
    if n == 0 and (at == 0 or at == n) or at == n + 1 then
        local v = t[at]
        t[at] = nil
        return v
    end
    if mathtype(at) ~= "integer" or at < 1 or at > n then error("position out of bounds", 2) end
    afford(n - at, ITEMS)
    local v = t[at]
    move(t, at + 1, n, at)
    t[n] = nil
    return v
end

function table.sort(t, before)
    local n = #t
    afford(n, ITEMS)
    local list = move(t, 1, n, 1, {})
    sort(list, before)
    move(list, 1, n, 1, t)
end

local setmetatable, rawget, collectgarbage = setmetatable, rawget, collectgarbage

function _G.setmetatable(t, meta)
    if type(meta) == "table" and rawget(meta, "__gc") ~= nil then
        error("finalizers are not for mods", 2)
    end
    return setmetatable(t, meta)
end

function _G.collectgarbage(what)
    if what ~= "count" then error("only collectgarbage 'count'", 2) end
    return collectgarbage(what)
end

-- ---- what there is ----

local function keep(t, names)
    for key in next, t do
        if not find(names, " " .. tostring(key) .. " ", 1, true) then t[key] = nil end
    end
end

keep(os, " clock date difftime time ")
keep(_G, " _G _VERSION assert error getmetatable ipairs next pairs pcall print rawequal rawget " ..
    "rawlen rawset require select setmetatable tonumber tostring type xpcall collectgarbage " ..
    "coroutine math os package string table utf8 neap tasklet channel deferred deferred_tasklet " ..
    "blocking_tasklet block_on spawn sleep schedule ")
local loaded = package.loaded
for name in next, loaded do
    if not _G[name] and not find(name, "^neap") then loaded[name] = nil end
end
