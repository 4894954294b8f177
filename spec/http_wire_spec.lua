-- Requests byte by byte: what is served, what is refused and with which status. Each row is
-- sent whole, cut in two at every offset, and one byte at a time; the outcome must be the same.

local child = require "spec.support.child"
local net = require "neap.net"
local http = require "neap.http"
local rows = require "spec.support.http_rows"

local MAX_HEAD, MAX_FIELDS, MAX_BODY = 1024, 20, 100

local function handler(req)
    local body, _, code = req:body()
    return ("%s %s [%s]"):format(req.method, req.path, body or code)
end

local function serve(mode)
    return assert(http.serve({ host = "127.0.0.1", mode = mode, max_head = MAX_HEAD,
        max_headers = MAX_FIELDS, max_body = MAX_BODY }, handler))
end

-- All that the server says to these pieces, each of which arrives by itself.
local function talk(port, pieces)
    local s <close> = assert(net.connect("127.0.0.1", port))
    for i, piece in ipairs(pieces) do
        if i > 1 then
            sleep(0)
            sleep(0)
        end
        if not s:write(piece) then break end
    end
    s:shutdown()
    return s:read("a") or ""
end

-- "200 GET / []" of each good answer, the status alone of the others.
local function outcome(text)
    local list, at = {}, 1
    text = text:gsub("HTTP/1%.1 100 Continue\r\n\r\n", "")
    while true do
        local status, head, next_at = text:match("^HTTP/1%.1 (%d%d%d) [^\r]*\r\n(.-)\r\n\r\n()", at)
        if not status then break end
        local length = tonumber(head:match("Content%-Length: (%d+)") or 0)
        local body = text:sub(next_at, next_at + length - 1)
        list[#list + 1] = status == "200" and "200 " .. body or status
        at = next_at + length
    end
    if at <= #text then list[#list + 1] = "and " .. text:sub(at) end
    return table.concat(list, " + ")
end

local function pieces_of(text)
    local list = {}
    for i = 1, #text do list[i] = text:sub(i, i) end
    return list
end

local function compare(row, how, answer)
    local got = outcome(answer)
    if got ~= row[3] then
        error(("%s, %s:\n%q\nexpected %s\ngot      %s"):format(row[1], how, row[2], row[3], got), 0)
    end
end

local function check(port, row, how, pieces)
    compare(row, how, talk(port, pieces))
end

-- The same by spec/support/wire.c, which shares no code with neap, for the rows from first to
-- last that are not too long.
local function check_outside(port, piece, most, first, last)
    local asked, list = {}, {}
    for i = first or 1, math.min(last or #rows, #rows) do
        if #rows[i][2] <= most then
            list[#list + 1] = rows[i]
            asked[#asked + 1] = #rows[i][2] .. "\n" .. rows[i][2]
        end
    end
    local status, said, complained = child.shell(
        ("build/static/support/wire %d %s"):format(port, piece), table.concat(asked))
    assert.same({ 0, "" }, { status, complained })
    local at = 1
    for _, row in ipairs(list) do
        for cut = 1, piece == "cut" and #row[2] - 1 or 1 do
            local length, from = said:match("^(%d+)\n()", at)
            at = from + length
            compare(row, ("by another client, %s, %d"):format(piece, cut), said:sub(from, at - 1))
        end
    end
    assert.equal(#said + 1, at)
end

describe("the wire", function()
    it("has rows enough", function()
        assert.is_true(#rows >= 150, #rows)
    end)

    for _, mode in ipairs { "tasklet", "reactor" } do
        it("is read alike in one piece, mode " .. mode, function()
            local server <close> = serve(mode)
            for _, row in ipairs(rows) do check(server.port, row, "whole", { row[2] }) end
        end)
    end

    it("is read alike one byte at a time", function()
        local server <close> = serve()
        neap.map(rows, function(row)
            if #row[2] <= 400 then check(server.port, row, "by bytes", pieces_of(row[2])) end
        end, 20)
    end)

    local function check_cut(port, row)
        local text = row[2]
        for i = 1, #text - 1, #text > 400 and 97 or 1 do
            check(port, row, "cut at " .. i, { text:sub(1, i), text:sub(i + 1) })
        end
    end

    for first = 1, #rows, 50 do -- some at a time: it takes long under stress
        local last = math.min(first + 49, #rows)
        it(("is read alike cut in two at every offset, rows %d to %d"):format(first, last),
            function()
                local server <close> = serve()
                neap.map({ table.unpack(rows, first, last) }, function(row)
                    check_cut(server.port, row)
                end, 20)
            end)
    end

    for _, piece in ipairs { 0, 7, 1 } do
        it("is read alike from a client in C, in pieces of " .. piece, function()
            child.make("build/static/support/wire")
            local server <close> = serve()
            check_outside(server.port, piece, piece == 1 and 400 or math.huge)
        end)
    end

    for first = 1, #rows, 50 do
        it(("is read alike from it cut in two at every offset, from row %d on"):format(first),
            function()
                child.make("build/static/support/wire")
                local server <close> = serve()
                check_outside(server.port, "cut", 100, first, first + 49)
            end)
    end
end)
