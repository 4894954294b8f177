-- Each public name is annotated, and each annotation is of a name that is there: for editors
-- and :help.

local annotations = require "neap.repl.annotations"
local inside = require "neap.inside"
local net = require "neap.net"
local http = require "neap.http"

-- Built in, but nobody's business. What neap.deferreds and its like hold are fields of `neap`.
local PRIVATE = { "check", "console", "curl", "deferreds", "exchange", "host", "http%..*",
    "inline_callbacks", "inside", "list", "names", "pretty", "protocols", "relay", "reload", "repl",
    "repl%..*", "scope", "tasklets", "time", "twisted%.class", "twisted%.tcp" }

local function is_private(module)
    for _, pattern in ipairs(PRIVATE) do
        if module:find("^neap%." .. pattern .. "$") then return true end
    end
end

local function read(path)
    local file <close> = assert(io.open(path))
    return file:read "a"
end

local twisted = read "docs/twisted.md"

local function is_annotated(name)
    local entry = annotations.all()[name]
    local target = entry and entry.target
    if target and target ~= name then return is_annotated(target) end
    if entry or not name:find "^neap%.twisted%." then return entry ~= nil end
    -- a porter looks in that page for the names that he knows
    local plain = name:match "%w+$"
    return twisted:find(plain, 1, true) or is_annotated("neap." .. plain)
end

-- Calls f(name, value) for what a table holds, and for the tables in it.
local function walk(prefix, t, f)
    for key, value in next, t do
        if type(key) == "string" and not key:find "^_" then
            local is_part = type(value) == "table" and not getmetatable(value)
                and not rawget(value, "__name")
            if is_part then walk(prefix .. "." .. key, value, f) end
            if not is_part or next(value) == nil then f(prefix .. "." .. key, value) end
        end
    end
end

-- Adds those that a module loads on use, from the table by which it does.
local function add_loaded_on_use(names, module, value)
    local index = (getmetatable(value) or {}).__index
    for i = 1, 5 do
        local _, up = debug.getupvalue(type(index) == "function" and index or print, i)
        for name in pairs(type(up) == "table" and up ~= value and up or {}) do
            local ok, found = pcall(function() return value[name] end)
            if ok and found ~= nil then names[#names + 1] = module .. "." .. name end
        end
    end
end

-- The names that `neap` loads on use.
local function autoloaded()
    local names = {}
    for name in read("runtime/bind/lib.c"):gmatch '{"([%w_]+)", "neap%.%w+"}' do
        names[#names + 1] = "neap." .. name
    end
    assert(#names > 10)
    return names
end

local function missing(names)
    local list = {}
    for _, name in ipairs(names) do
        if not is_annotated(name) then list[#list + 1] = name end
    end
    table.sort(list)
    return table.concat(list, " ")
end

-- ---- one object of each class ----

local objects

-- Calls f with a table of them; all are closed behind it.
local function with_objects(f)
    local got = channel(1)
    local server <close> = assert(http.serve({ port = 0 }, function(req)
        local writer <close> = req:respond(200)
        got:send { ["http.request"] = req, ["http.fields"] = req.headers, ["http.writer"] = writer }
        got:receive()
    end))
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    listener:protocol(function() return {} end)
    local protocol = block_on(net.connect_protocol(function()
        return { connection_made = function(self, transport) self.transport = transport end }
    end, "127.0.0.1", listener.port))
    local stream <close> = assert(net.connect("127.0.0.1", server.port))
    local udp <close> = assert(net.udp("127.0.0.1", 0))
    local call = neap.call_later(100, print)
    stream:write "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    objects = got:receive(10)
    local others = {
        tasklet = tasklet(), channel = channel(), ["deferred"] = deferred(),
        failure = inside.new_failure "x", delayed_call = call, clock = neap.clock(),
        stream = stream, listener = listener, udp = udp, transport = protocol.transport,
        ["http.server"] = server, mutex = neap.sync.mutex(), semaphore = neap.sync.semaphore(1),
        condition = neap.sync.condition(), barrier = neap.sync.barrier(1),
        event = neap.sync.event(), queue = neap.sync.queue(), exchange = neap.exchange(),
        deferred_lock = neap.deferred_lock(), deferred_semaphore = neap.deferred_semaphore(1),
        deferred_queue = neap.deferred_queue(), looping_call = neap.looping_call(print),
    }
    for class, object in pairs(others) do objects[class] = object end
    neap.scope(function(s)
        objects.scope = s
        f(objects)
    end)
    call:cancel()
    protocol.transport:abort()
    got:send(true)
    stream:close()
    server:close()
    server:wait()
    sleep(0)
end

-- The methods that an object has, by name.
local function methods_of(object)
    local meta = debug.getmetatable(object)
    local index, found = meta.__index, {}
    if type(index) == "function" then
        local _, up = debug.getupvalue(index, 1)
        index = type(up) == "table" and up or meta
    end
    for name, value in pairs(index) do
        if type(value) == "function" and not name:find "^_" then found[name] = value end
    end
    return found
end

-- Twisted's name of a method of ours, once neap.twisted is loaded.
local function is_alias(methods, members, name)
    if annotations.find("neap.twisted.deferred_methods." .. name)
        or twisted:find(name, 1, true) and name:find "%u" then
        return true
    end
    for other, f in pairs(methods) do
        if members[other] and f == methods[name] then return true end
    end
end

local function unknown_in(class, object)
    local members, methods, list = annotations.members(class), methods_of(object), {}
    for name in pairs(methods) do
        if not members[name] and not is_alias(methods, members, name) then
            list[#list + 1] = class .. ":" .. name
        end
    end
    for _, name in ipairs(inside.properties(object) or {}) do
        if not members[name] then list[#list + 1] = class .. "." .. name end
    end
    return table.concat(list, " ")
end

-- Whether an object has what is annotated: a method, or a property that can be asked for.
local function has(object, name, entry)
    if entry.args then return type(object[name]) == "function" end
    local properties = inside.properties(object)
    if not properties then return true end -- a field may be nil
    for _, property in ipairs(properties) do
        if property == name then return true end
    end
end

-- Whether a module has it, or fails to load it: a part that was not built.
local function is_field(module, name)
    local ok, value = pcall(function() return module[name] end)
    return not ok or value ~= nil
end

describe("annotations", function()
    it("are there for each name of `neap`, and for those that are loaded on use", function()
        local names = autoloaded()
        walk("neap", neap, function(name) names[#names + 1] = name end)
        assert.equal("", missing(names))
    end)

    it("are there for each name of the modules", function()
        for module in pairs(package.preload) do
            if module:find "^neap%." and not is_private(module) then
                local names, value = {}, require(module)
                if type(value) == "table" then
                    add_loaded_on_use(names, module, value)
                    walk(module, value, function(name) names[#names + 1] = name end)
                end
                assert.equal("", missing(names))
            end
        end
    end)

    it("are there for each method and property of objects, and for no other", function()
        with_objects(function(list)
            for class, object in pairs(list) do
                assert.equal("", unknown_in(class, object))
                for name, entry in pairs(annotations.members(class)) do
                    assert.is_truthy(has(object, name, entry), class .. " has no " .. name)
                end
            end
        end)
    end)

    it("of functions of modules are of functions that are there", function()
        local values = { neap = neap }
        for _, module in ipairs { "net", "signal", "tls", "http" } do
            values["neap." .. module] = require("neap." .. module)
        end
        local only_in_the_program = { stdin = true, stdout = true, stderr = true }
        for module, value in pairs(values) do
            for name, entry in pairs(annotations.members(module)) do
                local is_there = only_in_the_program[name] or entry.class
                    or not entry.module:find "^neap%.types%." or is_field(value, name)
                assert.is_truthy(is_there, module .. " has no " .. name)
            end
        end
    end)

    it("of globals are those of the program", function()
        for line in inside.source("neap.types.globals"):gmatch "[^\n]+" do
            local name, value = line:match "^([%w_]+) = (.*)$"
            if name then assert.equal(load("return " .. value)(), _G[name]) end
        end
    end)

    it("can be read as Lua, and are no modules", function()
        for _, module in ipairs(inside.modules()) do
            assert.is_truthy(load(inside.source(module)))
            assert.is_falsy(module:find "^neap%.types%." and package.preload[module])
        end
    end)
end)
