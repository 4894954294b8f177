-- http.static: a folder's files. Most requests are tables here; some go through a server.

local http = require "neap.http"
local lfs = require "lfs"
local net = require "neap.net"
local support = require "spec.support.http"

local TIME = 784111777
local MODIFIED = "Sun, 06 Nov 1994 08:49:37 GMT"

local root

local function write(name, text)
    local file <close> = assert(io.open(root .. "/" .. name, "wb"))
    file:write(text)
    file:close()
    assert(lfs.touch(root .. "/" .. name, TIME, TIME))
end

-- More than is read at once, and nowhere the same.
local numbers = {}
for i = 1, 40000 do numbers[i] = ("%08d"):format(i) end
local BIG = table.concat(numbers)

setup(function()
    root = os.tmpname()
    os.remove(root)
    assert(lfs.mkdir(root))
    assert(lfs.mkdir(root .. "/served"))
    write("secret", "outside")
    root = root .. "/served"
    for _, name in ipairs { "sub", "bare", "deep", "deep/er" } do lfs.mkdir(root .. "/" .. name) end
    write("a.txt", "0123456789")
    write("empty", "")
    write("big.bin", BIG)
    write(".hidden", "hidden")
    write("sub/index.html", "<p>index")
    write("bare/<b>&'\".txt", "")
    write("bare/.hidden", "")
    write("deep/er/x.PNG", "x")
    lfs.link("a.txt", root .. "/inside", true)
    lfs.link("../secret", root .. "/outside", true)
    lfs.link(root .. "/a.txt", root .. "/absolute", true)
    lfs.link("..", root .. "/deep/up", true)
    lfs.link("loop", root .. "/loop", true)
    os.execute("mkfifo '" .. root .. "/pipe'")
end)

teardown(function() os.execute("rm -r '" .. root:match("^(.*)/served$") .. "'") end)

local function whole(body)
    if type(body) ~= "userdata" and type(body) ~= "function" then
        return type(body) == "table" and table.concat(body) or body
    end
    local pieces = {}
    for piece in body do pieces[#pieces + 1] = piece end
    return table.concat(pieces)
end

-- Status, headers and text of an answer.
local function get(path, fields, opts, method)
    local handler = assert(http.static(root, opts))
    local status, headers, body = handler { method = method or "GET", path = path,
        headers = fields or {} }
    return status, headers, whole(body)
end

local function status_of(...) return (get(...)) end

describe("a folder that is served", function()
    it("gives files with what tells them apart", function()
        local status, headers, text = get "/a.txt"
        assert.same({ 200, "0123456789" }, { status, text })
        local tag = headers.ETag
        assert.truthy(tag:find('^"[%x-]+"$'))
        assert.same({ ETag = tag, ["Last-Modified"] = MODIFIED, ["Accept-Ranges"] = "bytes",
            ["Content-Type"] = "text/plain; charset=utf-8",
            ["X-Content-Type-Options"] = "nosniff" }, headers)
        assert.equal(tag, select(2, get "/inside").ETag)
        assert.not_equal(tag, select(2, get "/big.bin").ETag)
        assert.same({ 200, "" }, { status_of "/empty", (select(3, get "/empty")) })
        assert.equal("max-age=60", select(2, get("/a.txt", nil, { max_age = 60 }))["Cache-Control"])
    end)

    it("changes the tag when the file changes", function()
        write("changing", "one")
        local before = select(2, get "/changing").ETag
        write("changing", "three")
        assert.not_equal(before, select(2, get "/changing").ETag)
        local now = select(2, get "/changing").ETag
        lfs.touch(root .. "/changing", TIME + 1, TIME + 1)
        assert.not_equal(now, select(2, get "/changing").ETag)
        os.remove(root .. "/changing")
    end)

    it("gives big files piece by piece", function()
        local handler = http.static(root)
        local _, _, body = handler { method = "GET", path = "/big.bin", headers = {} }
        assert.is_true(#body() < #BIG)
        body:close()
        assert.same({ nil, "read: Bad file descriptor", "EBADF" }, { body() })
        assert.equal(BIG, select(3, get "/big.bin"))
    end)

    it("says when a file has become shorter", function()
        write("shorter", BIG)
        local handler = http.static(root)
        local _, _, body = handler { method = "GET", path = "/shorter", headers = {} }
        local got = #body()
        write("shorter", "")
        assert.same({ nil, "read: No data available", "ENODATA" }, { body() })
        assert.is_true(got < #BIG)
        os.remove(root .. "/shorter")
    end)

    it("knows types by the names' endings", function()
        local function kind(path, more)
            return select(2, get(path, nil, more and { types = more }))["Content-Type"]
        end
        assert.equal("application/octet-stream", kind "/empty")
        assert.equal("image/png", kind "/deep/er/x.PNG")
        assert.equal("text/html; charset=utf-8", kind "/sub/")
        assert.equal("text/x-mine; q=1", kind("/a.txt", { txt = "text/x-mine; q=1" }))
    end)

    it("leads nowhere else", function()
        for _, path in ipairs { "/outside", "/absolute", "/deep/up/../../secret", "/../secret",
            "/sub/../a.txt", "/deep/up/../secret", "/nothing", "/a.txt/", "/a.txt/x", "/a.txt\0",
            "/\0", "/loop", "/.hidden", "/./a.txt", "/" .. ("x"):rep(300),
            "/" .. ("x/"):rep(3000) } do
            assert.equal(404, status_of(path), path)
        end
        assert.equal(403, status_of "/pipe")
        assert.equal(200, status_of "/deep/up/a.txt")
        assert.equal(200, status_of "//deep//er//x.PNG")
    end)

    it("shows hidden names only if told to", function()
        assert.equal(200, status_of("/.hidden", nil, { hidden = true }))
        for _, path in ipairs { "/..", "/../secret", "/sub/../../secret", "/sub/../a.txt" } do
            assert.equal(404, status_of(path, nil, { hidden = true }), path)
        end
    end)

    it("answers GET and HEAD", function()
        for _, method in ipairs { "POST", "PUT", "DELETE", "get" } do
            local status, headers = get("/a.txt", nil, nil, method)
            assert.same({ 405, { Allow = "GET, HEAD" } }, { status, headers })
        end
        local status, headers, text = get("/a.txt", { range = "bytes=0-1" }, nil, "HEAD")
        assert.same({ 200, 10, "" }, { status, headers["Content-Length"], text })
    end)

    it("is a folder with an index, a list, or nothing", function()
        assert.same({ 200, "<p>index" }, { status_of "/sub/", (select(3, get "/sub/")) })
        local status, headers = get "/sub"
        assert.same({ 308, { Location = "./sub/" } }, { status, headers })
        assert.equal(404, status_of "/bare/")
        assert.equal(404, status_of "/")
        assert.equal(404, status_of("/sub/", nil, { index = false }))
        assert.equal(200, status_of("/deep/er/", nil, { index = "x.PNG" }))
    end)

    it("lists a folder in a page", function()
        local status, headers, text = get("/bare/", nil, { directory = true })
        assert.same({ 200, "text/html; charset=utf-8" }, { status, headers["Content-Type"] })
        assert.truthy(text:find('href="./%3Cb%3E%26%27%22.txt">&lt;b&gt;&amp;&#39;&quot;.txt<', 1,
            true))
        assert.truthy(text:find('href="../"', 1, true))
        assert.is_nil(text:find("hidden", 1, true))
        assert.truthy(select(3, get("/bare/", nil, { directory = true, hidden = true }))
            :find("hidden", 1, true))
        text = select(3, get("/", nil, { directory = true }))
        assert.is_nil(text:find('href="../"', 1, true))
        assert.truthy(text:find('href="./deep/".*href="./sub/".*href="./a.txt".-10.-1994'))
        assert.equal("<p>index", select(3, get("/sub/", nil, { directory = true })))
    end)

    it("is there, or there is no handler", function()
        local handler, err, code = http.static(root .. "/nothing")
        assert.same({ nil, "ENOENT" }, { handler, code })
        assert.is_string(err)
        assert.equal("ENOTDIR", (select(3, http.static(root .. "/a.txt"))))
        assert.is_false(pcall(http.static, root, { indx = "a" }))
        assert.is_false(pcall(http.static, root, { directory = 1 }))
    end)
end)

describe("conditions", function()
    local tag
    local function asked(fields)
        tag = tag or select(2, get "/a.txt").ETag
        for name, value in pairs(fields) do fields[name] = value:gsub("TAG", tag) end
        return status_of("/a.txt", fields)
    end
    local LATER, EARLIER = "Mon, 07 Nov 1994 08:49:37 GMT", "Sat, 05 Nov 1994 08:49:37 GMT"

    it("are those of RFC 9110", function()
        for _, row in ipairs {
            { 304, { ["if-none-match"] = "TAG" } },
            { 304, { ["if-none-match"] = "W/TAG" } },
            { 304, { ["if-none-match"] = '"x", W/"y" ,TAG' } },
            { 304, { ["if-none-match"] = "*" } },
            { 200, { ["if-none-match"] = '"x"' } },
            { 304, { ["if-modified-since"] = MODIFIED } },
            { 304, { ["if-modified-since"] = LATER } },
            { 200, { ["if-modified-since"] = EARLIER } },
            { 304, { ["if-modified-since"] = "Sun Nov  6 08:49:37 1994" } },
            -- the tags count, not the dates
            { 200, { ["if-none-match"] = '"x"', ["if-modified-since"] = LATER } },
            { 304, { ["if-none-match"] = "TAG", ["if-modified-since"] = EARLIER } },
            { 200, { ["if-match"] = "TAG" } },
            { 200, { ["if-match"] = "*" } },
            { 412, { ["if-match"] = '"x"' } },
            { 412, { ["if-match"] = "W/TAG" } },
            { 412, { ["if-unmodified-since"] = EARLIER } },
            { 200, { ["if-unmodified-since"] = MODIFIED } },
            { 200, { ["if-match"] = "TAG", ["if-unmodified-since"] = EARLIER } },
            { 412, { ["if-match"] = '"x"', ["if-none-match"] = "TAG" } },
            { 304, { ["if-match"] = "TAG", ["if-none-match"] = "TAG" } },
        } do
            assert.equal(row[1], asked(row[2]))
        end
    end)

    it("that are junk, or of the future, do no harm", function()
        for _, row in ipairs {
            { 200, { ["if-none-match"] = "junk" } },
            { 200, { ["if-none-match"] = "" } },
            { 200, { ["if-none-match"] = '"' } },
            { 200, { ["if-none-match"] = '"",,,"' } },
            { 200, { ["if-modified-since"] = "junk" } },
            { 200, { ["if-modified-since"] = "784111777" } },
            { 200, { ["if-modified-since"] = "Sun, 06 Nov 1994" } },
            { 304, { ["if-modified-since"] = "Fri, 31 Dec 9999 23:59:59 GMT" } },
            { 200, { ["if-unmodified-since"] = "junk" } },
            { 200, { ["if-unmodified-since"] = "Fri, 31 Dec 9999 23:59:59 GMT" } },
            { 412, { ["if-match"] = "junk" } },
        } do
            assert.equal(row[1], asked(row[2]))
        end
    end)
end)

describe("ranges", function()
    local function ranged(path, range, more)
        local fields = { range = range }
        for name, value in pairs(more or {}) do fields[name] = value end
        return get(path, fields)
    end

    it("are parts of the file", function()
        for _, row in ipairs {
            { "bytes=0-0", "0", "0-0" }, { "bytes=2-4", "234", "2-4" }, { "bytes=8-", "89", "8-9" },
            { "bytes=-3", "789", "7-9" }, { "bytes=-99", "0123456789", "0-9" },
            { "bytes=5-99999999999999999999", "56789", "5-9" }, { "BYTES=9-9 ", "9", "9-9" },
            { "bytes=-99999999999999999999", "0123456789", "0-9" },
        } do
            local status, headers, text = ranged("/a.txt", row[1])
            assert.same({ 206, "bytes " .. row[3] .. "/10", row[2] },
                { status, headers["Content-Range"], text }, row[1])
        end
        local status, _, text = ranged("/big.bin", "bytes=3-300002")
        assert.equal(206, status)
        assert.equal(BIG:sub(4, 300003), text)
    end)

    it("that are beyond the end get a 416", function()
        for _, range in ipairs { "bytes=10-", "bytes=10-20", "bytes=-0", "bytes=10-,-0",
            "bytes=99999999999999999999-" } do
            local status, headers = ranged("/a.txt", range)
            assert.same({ 416, { ["Content-Range"] = "bytes */10" } }, { status, headers })
        end
        assert.equal(416, (ranged("/empty", "bytes=0-")))
        assert.equal(416, (ranged("/empty", "bytes=-1")))
    end)

    it("that are none get the whole", function()
        for _, range in ipairs { "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1",
            "lines=0-1", "bytes=4-2", "bytes=1-2,x", "bytes=1-2,", "bytes=+1-2",
            "bytes=0x1-2", "bytes=1 -2" } do
            local status, _, text = ranged("/a.txt", range)
            assert.same({ 200, "0123456789" }, { status, text }, range)
        end
    end)

    it("may be few at once", function()
        for _, path in ipairs { "/a.txt", "/big.bin" } do
            local status, headers, text = ranged(path, "bytes=1-2, 99999999-, -3 ,5-5")
            local size = path == "/a.txt" and 10 or #BIG
            local boundary = headers["Content-Type"]:match("^multipart/byteranges; boundary=(%x+)$")
            local of = path == "/a.txt" and "text/plain; charset=utf-8"
                or "application/octet-stream"
            local function part(first, last)
                return ("\r\n--%s\r\nContent-Type: %s\r\nContent-Range: bytes %d-%d/%d\r\n\r\n%s")
                    :format(boundary, of, first, last, size,
                        (path == "/a.txt" and "0123456789" or BIG):sub(first + 1, last + 1))
            end
            assert.equal(206, status)
            assert.equal(part(1, 2) .. part(size - 3, size - 1) .. part(5, 5) .. "\r\n--" ..
                boundary .. "--\r\n", text)
            assert.equal(#text, headers["Content-Length"])
            assert.is_nil(headers["Content-Range"])
        end
    end)

    it("are not a way to get much for little", function()
        for _, range in ipairs { "bytes=0-" .. (",0-"):rep(1000), "bytes=0-,0-",
            "bytes=0-5,4-9,9-9", "bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8",
            "bytes=" .. ("99-,"):rep(1000) .. "99-" } do
            local status, _, text = ranged("/a.txt", range)
            assert.same({ 200, "0123456789" }, { status, text })
        end
    end)

    it("hold only for the very file that the client has", function()
        local tag = select(2, get "/a.txt").ETag
        for _, row in ipairs { { 206, tag }, { 200, "W/" .. tag }, { 200, '"x"' },
            { 206, MODIFIED }, { 200, "Mon, 07 Nov 1994 08:49:37 GMT" }, { 200, "junk" } } do
            assert.equal(row[1], (ranged("/a.txt", "bytes=0-1", { ["if-range"] = row[2] })), row[2])
        end
        local now = os.time()
        lfs.touch(root .. "/empty", now, now)
        local modified = select(2, get "/empty")["Last-Modified"]
        assert.equal(200, (ranged("/empty", "bytes=0-", { ["if-range"] = modified })))
    end)
end)

describe("a folder behind a server", function()
    local authority

    setup(function() authority = require "spec.support.authority".new() end)
    teardown(function() authority:remove() end)

    local function serving(opts, f)
        support.serving(assert(http.static(root)), opts, function(server, log)
            f(function()
                return assert(net.connect("localhost", server.port,
                    { tls = opts.tls and { ca = authority.cert } }))
            end)
            assert.same({}, log)
        end)
    end

    -- A large file whose blocks differ.
    local BLOCKS, BLOCK = 200, 100000
    local FILLER = BIG:sub(1, BLOCK - 9)

    local function block(i) return ("%09d"):format(i) .. FILLER end

    local function write_huge()
        local file <close> = assert(io.open(root .. "/huge", "wb"))
        for i = 1, BLOCKS do file:write(block(i)) end
    end

    -- A file of a size that no buffer holds; a hole.
    local function write_sparse()
        local file <close> = assert(io.open(root .. "/huge", "wb"))
        file:seek("set", 1e9 - 1)
        file:write("x")
    end

    local function ways()
        local own = authority:issue()
        return { tasklet = { mode = "tasklet" }, reactor = { mode = "reactor" },
            TLS = { tls = { cert = own.cert, key = own.key } } }
    end

    for _, way in ipairs { "tasklet", "reactor", "TLS" } do
        it("is sent, one file after the other: " .. way, function()
            serving(ways()[way], function(connect)
                local s <close> = connect()
                s:write("GET /big.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=7-\r\n\r\n" ..
                    "HEAD /big.bin HTTP/1.1\r\nHost: a\r\n\r\n" ..
                    "GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n" ..
                    "GET /a.txt HTTP/1.0\r\n\r\n")
                assert.truthy(s:read_until("\r\n\r\n"):find("206 .*\r\nContent%-Length: 319993"))
                assert.equal(BIG:sub(8), s:read(319993))
                assert.truthy(s:read_until("\r\n\r\n"):find("\r\nContent%-Length: 320000\r\n"))
                assert.truthy(s:read_until("\r\n\r\n"):find("\r\nContent%-Length: 320000\r\n"))
                assert.equal(BIG, s:read(320000))
                assert.equal("0123456789", s:read("a"):match("\r\n\r\n(.*)$"))
            end)
        end)
    end

    it("is sent to a client that reads slowly, and others have their turn", function()
        write_huge()
        serving({}, function(connect)
            local s <close> = connect()
            s:write("GET /huge HTTP/1.0\r\n\r\n")
            s:read_until("\r\n\r\n")
            for i = 1, BLOCKS do
                assert.is_true(block(i) == s:read(BLOCK))
                if i % 50 == 0 then
                    local other <close> = connect()
                    other:write("GET /a.txt HTTP/1.0\r\n\r\n")
                    assert.truthy(other:read("a"):find("0123456789$"))
                end
            end
            assert.is_nil(s:read(1))
        end)
        os.remove(root .. "/huge")
    end)

    it("breaks off when the file has become shorter", function()
        for _, way in ipairs { "tasklet", "TLS" } do
            write_sparse()
            serving(ways()[way], function(connect)
                local s <close> = connect()
                s:write("GET /huge HTTP/1.1\r\nHost: a\r\n\r\n")
                assert.truthy(s:read_until("\r\n\r\n"):find("Content%-Length: 1000000000\r\n"))
                write("huge", "")
                assert.is_true(#(s:read("a") or "") < 1e9)
            end)
        end
        os.remove(root .. "/huge")
    end)

    it("is closed when a client leaves in the middle of a file", function()
        local function is_open()
            for n in lfs.dir("/proc/self/fd") do
                local target = lfs.symlinkattributes("/proc/self/fd/" .. n, "target")
                if target == root .. "/huge" then return true end
            end
            return false
        end
        write_sparse()
        serving({}, function(connect)
            collectgarbage("stop") -- it is not the collector that closes it
            local _ <close> = setmetatable({}, { __close = function()
                collectgarbage("restart")
            end })
            local s = connect()
            s:write("GET /huge HTTP/1.1\r\nHost: a\r\n\r\n")
            assert(s:read(100000))
            assert.is_true(is_open())
            s:close()
            local limit = neap.now() + 10
            while is_open() and neap.now() < limit do sleep(0.01) end
            assert.is_false(is_open())
        end)
        os.remove(root .. "/huge")
    end)
end)
