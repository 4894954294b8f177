-- Helpers that read and write as the client does: forms of parts, server-sent events.

local http = require "neap.http"
local net = require "neap.net"
local support = require "spec.support.http"

-- A request whose body comes in these pieces, then in the error, if there is one.
local function request(pieces, kind, failure)
    local at = 0
    return {
        headers = { ["content-type"] = kind or 'multipart/form-data; boundary="x-y"' },
        read_some = function()
            at = at + 1
            if pieces[at] then return pieces[at] end
            if failure then return nil, table.unpack(failure) end
            return nil
        end,
    }
end

-- What a form of parts holds, in one text; or nil, err, code.
local function contents(req, opts)
    local parts, err, code = http.multipart(req, opts)
    if not parts then return nil, err, code end
    local found = {}
    while true do
        local part
        part, err, code = parts:next()
        if not part then break end
        local body
        body, err, code = part:body()
        if not body then break end
        found[#found + 1] = ("%s(%s,%s)=%s"):format(part.name, part.filename, part.type, body)
    end
    if err then return nil, err, code end
    return table.concat(found, " ")
end

local function cut(text, n)
    local pieces = {}
    for at = 1, #text, n do pieces[#pieces + 1] = text:sub(at, at + n - 1) end
    return pieces
end

-- A part as browsers write it.
local function part(disposition, body, more)
    return ("--x-y\r\nContent-Disposition: form-data; %s\r\n%s\r\n%s\r\n"):format(disposition,
        more or "", body)
end

describe("a form of parts", function()
    local FORM = part('name="a"', "1") .. part('name="b"; filename="c.txt"', "line\r\n--x-\r\n",
        "Content-Type: text/plain\r\n") .. part('name=""', "") .. "--x-y--\r\n"
    local HOLDS = "a(nil,nil)=1 b(c.txt,text/plain)=line\r\n--x-\r\n (nil,nil)="

    it("is the same however it is cut into pieces", function()
        assert.equal(HOLDS, contents(request { FORM }))
        for at = 1, #FORM - 1 do
            assert.equal(HOLDS, contents(request { FORM:sub(1, at), FORM:sub(at + 1) }))
        end
        for n = 1, 8 do assert.equal(HOLDS, contents(request(cut(FORM, n)))) end
    end)

    it("that is broken somewhere is the same, too, however it is cut", function()
        local state = 1
        local function random(n) -- 1 to n, the same in each run
            state = (state * 1103515245 + 12345) % 2147483648
            return state // 65536 % n + 1
        end
        local bits = { "\r\n", "--x-y", "--", "\r", "\n", ";", '"', "\\", "=", ":", "\0", " ", "" }
        local function outcome(text, n)
            local held, _, code = contents(request(cut(text, n)))
            return held or code
        end
        for _ = 1, 300 do
            local text = FORM
            for _ = 1, random(3) do
                local at = random(#text)
                text = text:sub(1, at - 1) .. bits[random(#bits)] .. text:sub(at + random(4) - 1)
            end
            local whole = outcome(text, #text)
            assert.is_string(whole)
            for _, n in ipairs { 1, 5, 23 } do
                assert.is_true(whole == outcome(text, n), ("%q"):format(text))
            end
        end
    end)

    it("may have text around it, and blanks behind a delimiter", function()
        local text = "preamble\r\n" .. FORM:gsub("^%-%-x%-y\r\n", "--x-y \t\r\n") .. "epilogue"
        assert.equal(HOLDS, contents(request { text }))
        assert.equal("", contents(request { "--x-y--" }))
    end)

    it("comes as the client sends it, and what is not read is skipped", function()
        local big = ("0123456789"):rep(30000)
        local pieces = cut(part('name="big"; filename="f"', big) .. part('name="n"', "v") ..
            "--x-y--\r\n", 1000)
        local parts = http.multipart(request(pieces))
        local first = parts:next()
        local data = first:read_some()
        assert.equal(big:sub(1, #data), data)
        assert.is_true(#data < 1001)
        local second = parts:next()
        assert.is_nil(first:read_some())
        assert.same({ "n", "v" }, { second.name, second:body() })
        assert.is_nil(parts:next())
        assert.same({}, { second:read_some() })
        assert.is_nil(parts:next())
    end)

    it("keeps no more than it must", function()
        local parts = http.multipart(request { part('name="a"', ("z"):rep(100000)) })
        local n, found = 0, parts:next()
        for data in found.read_some, found do n = n + #data end
        assert.is_true(n >= 100000 - #"\r\n--x-y")
    end)

    it("names a file, never a path", function()
        local function name(text)
            local parts = http.multipart(request { part("name=f; " .. text, "") .. "--x-y--" })
            return parts:next().filename
        end
        assert.equal("passwd", name 'filename="../../etc/passwd"')
        assert.equal("b.txt", name 'filename="C:\\a\\b.txt"')
        assert.equal('a"b;c', name [[filename="a\"b;c"]])
        local parts = http.multipart(request { part([[name="a\b\\"]], "") .. "--x-y--" })
        assert.equal([[a\b\]], parts:next().name)
        assert.equal("", name 'filename=".."')
        assert.equal("", name 'filename=""')
        assert.equal("a b", name 'FileName="a b";')
        assert.equal("plain", name 'filename=plain ; x="y"')
    end)

    it("says what is wrong", function()
        local function code(text, opts) return (select(3, contents(request { text }, opts))) end
        local fine = part('name="a"', "1")
        local function with(field) return part("name=a", "1", field .. "\r\n") .. "--x-y--" end
        for _, bad in ipairs {
            "", "x", "--x-y", "--x-y\r\n", fine, fine .. "--x-y", fine .. "--x-y-",
            (part("name=a", "1"):gsub("y", "yz", 1)) .. "--x-y--", "--x-y\r\n\r\n1\r\n--x-y--",
            part('name="a', "1") .. "--x-y--", part('name="a\\', "1") .. "--x-y--",
            part('name="a\\"', "1") .. "--x-y--", part('name="a" x', "1") .. "--x-y--",
            part("name=a; name=b", "1") .. "--x-y--", part('filename="a"', "1") .. "--x-y--",
            with "Bad", with "B: c\nd", with "B: c\0", with " B: c", with "B: c\r\nb: d",
            "--x-y\r\nContent-Disposition: attachment; name=a\r\n\r\n\r\n--x-y--",
        } do
            assert.equal("EBADMSG", code(bad), bad)
        end
        assert.equal("EMSGSIZE", code(fine:rep(3) .. "--x-y--", { max_parts = 2 }))
        assert.is_nil(code(fine:rep(2) .. "--x-y--", { max_parts = 2 }))
        assert.equal("EMSGSIZE", code(part("name=a", "1", "B: " .. ("c"):rep(9000) .. "\r\n")))
        assert.equal("EMSGSIZE", code("--x-y" .. (" "):rep(9000)))
        assert.equal("EMSGSIZE", code(part("name=a", ("z"):rep(1024 * 1024 + 1)) .. "--x-y--"))
        for _, kind in ipairs { "text/plain", "multipart/form-data",
            "multipart/form-data; boundary=", 'multipart/form-data; boundary="a',
            "multipart/form-data; boundary=" .. ("b"):rep(71),
            "multipart/mixed; boundary=b" } do
            assert.equal("EMEDIUMTYPE", (select(3, contents(request({}, kind)))))
        end
    end)

    it("passes on why a body does not come, again and again", function()
        local failure = { "closed", "ECONNRESET" }
        local parts = http.multipart(request({ part("name=a", "1") }, nil, failure))
        local first = parts:next()
        local text, err, code = first:body()
        assert.same({ nil, "closed", "ECONNRESET" }, { text, err, code })
        assert.same({ nil, "closed", "ECONNRESET" }, { parts:next() })
        assert.same({ nil, "closed", "ECONNRESET" }, { first:read_some() })
    end)

    it("raises in a for loop", function()
        local names = {}
        for found in http.multipart(request { FORM }) do names[#names + 1] = found.name end
        assert.same({ "a", "b", "" }, names)
        local ok, err = pcall(function()
            for _ in http.multipart(request { part("name=a", "1") }) do names[4] = "again" end
        end)
        assert.is_false(ok)
        assert.equal("EBADMSG", err.code)
        assert.equal("again", names[4])
    end)
end)

-- ---- with a server ----

-- A server with this handler, of which no error is told, while f(connect) runs.
local function serving(handler, opts, f)
    support.serving(handler, opts, function(server, log)
        f(function()
            if opts.path then return assert(net.connect_unix(opts.path)) end
            return support.connect(server)
        end)
        assert.same({}, log)
    end)
end

-- The body of a chunked answer as far as this text in it.
local function read_to(s, text)
    local got = ""
    while not got:find(text, 1, true) do got = got .. assert(s:read_some()) end
    return got
end

local GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

describe("the other helpers behind a server", function()
    local function app()
        local inner = http.router():get("/:name", function(req)
            return req.base .. " " .. req.params.name .. " " .. (http.cookie(req).sid or "nobody")
        end)
        inner:post("/form", function(req)
            local form, _, code = http.form(req)
            if not form then return 415, code end
            return 303, { Location = "/in/" .. table.concat(form:all "a", "+"),
                ["Set-Cookie"] = { http.cookie("sid", "1"), http.cookie("old", false) } }
        end)
        inner:put("/json", function(req) return http.json({ got = http.json_body(req) }, 201) end)
        return http.router():mount("/in", inner)
    end

    -- The answer to this request, without its Date.
    local function ask(connect, line, fields, body)
        local s <close> = connect()
        s:write(line, " HTTP/1.0\r\n", fields or "", "Content-Length: ", tostring(#(body or "")),
            "\r\n\r\n", body or "")
        return (s:read("a"):gsub("Date: [^\r]*\r\n", ""))
    end

    local function holds(text, ...)
        for _, piece in ipairs { ... } do assert.truthy(text:find(piece, 1, true), text) end
    end

    for _, mode in ipairs { "tasklet", "reactor" } do
        it("do in mode " .. mode .. " what they do alone", function()
            serving(app(), { mode = mode }, function(connect)
                holds(ask(connect, "GET /in/a%20b?c", "Cookie: a=b\r\nCookie: sid=7\r\n"),
                    "HTTP/1.1 200 OK\r\n", "\r\n\r\n/in a b 7")
                holds(ask(connect, "HEAD /in/ab"), "200 OK", "Content-Length: 13\r\n")
                holds(ask(connect, "DELETE /in/ab"), " 405 ", "Allow: GET, HEAD, OPTIONS\r\n")
                holds(ask(connect, "OPTIONS /in/ab"), " 204 ", "Allow: GET, HEAD, OPTIONS\r\n")
                holds(ask(connect, "GET /in?x=y"), " 308 ", "Location: ./in/?x=y\r\n")
                holds(ask(connect, "GET /out"), " 404 ")
                holds(ask(connect, "POST /in/form",
                    "Content-Type: application/x-www-form-urlencoded\r\n", "a=1&a=%32"), " 303 ",
                    "Location: /in/1+2\r\n",
                    "Set-Cookie: sid=1; Path=/; Secure; HttpOnly; SameSite=Lax\r\n",
                    "Set-Cookie: old=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax\r\n")
                holds(ask(connect, "POST /in/form", nil, "a=1"), " 415 ", "EMEDIUMTYPE")
                holds(ask(connect, "PUT /in/json", "Content-Type: application/json\r\n", "[1]"),
                    " 201 ", "Content-Type: application/json\r\n", '{"got":[1]}')
            end)
        end)
    end
end)

describe("a form of parts sent to a server", function()
    it("is read as it comes", function()
        local function handler(req)
            local held, err, code = contents(req)
            return held or 400, not held and err .. code or nil
        end
        serving(handler, {}, function(connect)
            local s <close> = connect()
            local text = part('name="a"', ("1"):rep(300000)) .. "--x-y--"
            s:write("POST / HTTP/1.0\r\nContent-Type: multipart/form-data; boundary=x-y\r\n",
                "Content-Length: ", tostring(#text), "\r\n\r\n", text)
            assert.truthy(s:read("a"):find("\r\n\r\na(nil,nil)=" .. ("1"):rep(300000), 1, true))
        end)
    end)
end)

describe("events", function()
    it("are what a browser reads", function()
        local function handler(req)
            local events = http.events(req, { headers = { ["X-A"] = "b" }, retry = 2 })
            events:send("one"):send { data = "two\nlines\r\nor\rthree", event = "e", id = 7,
                retry = 1.5 }
            events:send(events.last_id):comment("hm\nhm"):comment():send { data = "" }
            events:close()
        end
        serving(handler, {}, function(connect)
            local s <close> = connect()
            s:write("GET / HTTP/1.0\r\nLast-Event-ID: 6\r\n\r\n")
            local head, body = s:read("a"):match("^(.-\r\n)\r\n(.*)$")
            assert.equal("retry: 2000\n\ndata: one\n\n" ..
                "event: e\nid: 7\nretry: 1500\ndata: two\ndata: lines\ndata: or\ndata: three\n\n" ..
                "data: 6\n\n: hm\n: hm\n\n: \n\ndata: \n\n", body)
            assert.truthy(head:find("\r\nContent-Type: text/event-stream\r\n", 1, true))
            assert.truthy(head:find("\r\nX-A: b\r\n", 1, true))
            assert.truthy(head:find("\r\nCache-Control: no-store\r\n", 1, true))
        end)
    end)

    it("cannot be made to say more", function()
        local refused = 0
        local function handler(req)
            local events <close> = http.events(req)
            for _, bad in ipairs { { id = "1\ndata: x" }, { event = "a\r\rb", data = "" },
                { id = "a\0" }, {} } do
                refused = refused + (pcall(events.send, events, bad) and 0 or 1)
            end
        end
        serving(handler, {}, function(connect)
            local s <close> = connect()
            s:write("GET / HTTP/1.0\r\n\r\n")
            assert.equal(": \n\n", s:read("a"):match("\r\n\r\n(.*)$"))
            assert.equal(4, refused)
        end)
    end)

    it("begin at once", function()
        local source = channel()
        serving(function(req) http.events(req):feed(source) end, {}, function(connect)
            local s <close> = connect()
            s:write(GET)
            read_to(s, "200 OK")
            source:close()
        end)
    end)

    it("are fed from a channel, until it is closed", function()
        local source = channel()
        local function handler(req) http.events(req):feed(source) end
        serving(handler, {}, function(connect)
            local s <close> = connect()
            s:write(GET)
            source:send("a")
            source:send { data = "b", id = 1 }
            read_to(s, "id: 1\ndata: b\n\n")
            source:close()
            read_to(s, "0\r\n\r\n")
        end)
    end)

    it("say that they are still there", function()
        local source = channel()
        local function handler(req) http.events(req, { ping = 0.001 }):feed(source) end
        serving(handler, {}, function(connect)
            local s <close> = connect()
            s:write(GET)
            for _ = 1, 3 do read_to(s, ": \n") end
            source:close()
        end)
    end)

    it("end when the client has left", function()
        local source, ends = channel(), channel(2)
        local function handler(req) ends:send(http.events(req, { ping = 0.001 }):feed(source)) end
        serving(handler, {}, function(connect) -- shows at a write
            local s = connect()
            s:write(GET)
            read_to(s, ": \n\n")
            s:close()
            assert.same({ nil, "closed" }, { table.unpack({ ends:receive(10) }, 1, 2) })
        end)
        local path = os.tmpname()
        os.remove(path)
        handler = function(req) ends:send(http.events(req):feed(source)) end
        serving(handler, { path = path }, function(connect) -- shows at once
            local s = connect()
            s:write(GET)
            source:send("a")
            read_to(s, "data: a\n\n")
            s:close()
            assert.same({ nil, "closed" }, { table.unpack({ ends:receive(10) }, 1, 2) })
        end)
    end)

    it("do not wait for a client that does not read", function()
        local source, ends = channel(), channel(1)
        local function handler(req) ends:send(http.events(req):feed(source)) end
        serving(handler, { write_timeout = 0.05 }, function(connect)
            local s <close> = connect()
            s:write(GET)
            read_to(s, "200 OK")
            repeat source:try_send(("x"):rep(100000)) sleep(0) until #ends > 0
            assert.same({ nil, "timeout" }, { table.unpack({ ends:receive(10) }, 1, 2) })
        end)
    end)
end)
