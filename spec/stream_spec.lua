-- Streams: every form of read and write, options, closes, resets, memory.

local child = require "spec.support.child"
local fill = require "spec.support.fill"
local given = require "spec.support.given"
local host = require "neap.host"
local net = require "neap.net"
local pair = require "spec.support.tcp"

local MIB = 1024 * 1024

-- The body of an `it` that is given both ends of a connection, which are closed after it.
local function paired(body) return given(pair, body) end

-- The same with the first of them full, and how many bytes that took. Of a unix socket the
-- kernel holds so much and no more; of TCP it may come to hold more by itself.
local function filled(body)
    return given(function()
        local client, server = neap.must(net.pair())
        return client, server, fill(client)
    end, body)
end

-- The server's end of a connection to a client of peer.c, and that client.
local function with_peer(mode, ...)
    local listener <close> = neap.must(net.listen("127.0.0.1", 0))
    local peer = child.peer(mode, listener.port, ...)
    return neap.must(listener:accept()), peer
end

-- Lets everything that can move do so.
local function settle()
    for _ = 1, 5 do sleep(0.002) end
end

describe("a stream is read", function()
    it("by lines, with or without their ends", paired(function(client, server)
        client:write("one\ntwo\r\n\nthree\nfour")
        client:close()
        assert.equal("one", server:read())
        assert.equal("two\r", server:read("l"))
        assert.equal("\n", server:read("L"))
        assert.equal("three\n", server:read("*L"))
        assert.equal("four", server:read("L"))
        assert.same({ n = 1 }, table.pack(server:read()))
        assert.same({ n = 1 }, table.pack(server:read()))
    end))

    it("as a whole", paired(function(client, server)
        client:write("one\ntwo")
        client:close()
        assert.equal("one\ntwo", server:read("a"))
        assert.equal("", server:read("a"))
        assert.is_nil(server:read("l"))
    end))

    it("by counts: fewer only at the end", paired(function(client, server)
        client:write("12345", "67")
        spawn(function()
            settle()
            client:write("8")
            client:close()
        end)
        assert.equal("123", server:read(3))
        assert.equal("", server:read(0))
        assert.equal("4567", server:read(4))
        assert.equal("8", server:read(100))
        assert.is_nil(server:read(1))
    end))

    it("by several formats at once, up to the first failure", paired(function(client, server)
        client:write("a line\n12345rest\n")
        assert.same({ "a line", "12345", "rest\n", n = 3 },
            table.pack(server:read("l", 5, "L")))
        client:write("last")
        client:close()
        assert.same({ "la", "st", nil, n = 3 }, table.pack(server:read(2, "l", 4, "l")))
    end))

    it("with no other formats", paired(function(_, server)
        for _, format in ipairs { "n", "x", "", -1, 1.5, true, {} } do
            assert.has_error(function() server:read(format) end)
        end
        assert.has_error(function() server:lines("n") end)
        assert.has_error(function() server:read_some(0) end)
        assert.has_error(function() server:read_until("") end)
    end))

    it("piece by piece as it comes", paired(function(client, server)
        local got = ""
        client:write("hello")
        while #got < 5 do
            local piece = server:read_some(2)
            assert.is_true(#piece >= 1 and #piece <= 2)
            got = got .. piece
        end
        assert.equal("hello", got)
        client:close()
        assert.same({ n = 1 }, table.pack(server:read_some()))
    end))

    it("up to and including a delimiter, however it was cut", paired(function(client, server)
        spawn(function()
            for piece in ("a\r|b\r\n|--|-|sep--rest"):gmatch("[^|]+") do
                client:write(piece)
                settle()
            end
            client:close()
        end)
        assert.equal("a\rb\r\n", server:read_until("\r\n"))
        assert.equal("---sep--", server:read_until("sep--"))
        assert.equal("rest", server:read_until("--"))
        assert.is_nil(server:read_until("--"))
    end))

    it("up to another delimiter than the one that was not found", paired(function(client, server)
        client:write("a;b"):flush()
        server:settimeout(0.03)
        assert.is_nil(server:read())
        server:settimeout()
        assert.equal("a;", server:read_until(";"))
        server:settimeout(0.03)
        assert.is_nil(server:read_until("\n"))
        server:settimeout()
        client:write("\n")
        assert.equal("b", server:read())

        client:write("c;d")
        local first = spawn(function() return server:read() end)
        settle()
        first:kill()
        assert.equal("c;", server:read_until(";"))
        assert.equal("d", server:read(1))
    end))

    it("up to a limit", paired(function(client, server)
        client:write("12345678\n123456789\n")
        server:setoption("max_line", 8)
        assert.equal("12345678", server:read())
        for _ = 1, 2 do
            assert.same({ nil, "line too long", "EMSGSIZE", n = 3 }, table.pack(server:read()))
        end
        assert.equal("123456789\n", server:read(10))
        client:write("12345;123456;")
        assert.equal("12345;", server:read_until(";", 6))
        assert.same({ nil, "line too long", "EMSGSIZE", n = 3 },
            table.pack(server:read_until(";", 6)))
        assert.equal("123456;", server:read_until(";", 7))
    end))

    it("up to a limit that is said where it is made", function()
        local path = os.tmpname()
        os.remove(path)
        for _, open in ipairs {
            function(o) return net.listen("127.0.0.1", 0, o) end,
            function(o) return net.listen_unix(path, o) end,
        } do
            local listener <close> = neap.must(open { max_line = 4 })
            local function dial(o)
                if listener.path then return net.connect_unix(path, o) end
                return net.connect("127.0.0.1", listener.port, o)
            end
            local client <close> = neap.must(dial { max_line = 3 })
            local server <close> = neap.must(listener:accept())
            client:write("12345\n")
            server:write("1234\n")
            assert.equal("EMSGSIZE", (select(3, client:read())))
            assert.equal("EMSGSIZE", (select(3, server:read())))
            listener:start(function(stream) stream:write(select(3, stream:read()), "\n") end)
            local another <close> = neap.must(dial {})
            another:write("12345\n")
            assert.equal("EMSGSIZE", another:read())
            assert.has_error(function() dial { max_line = -1 } end)
            assert.has_error(function() open { max_line = "long" } end)
        end
    end)

    it("up to 64 KiB a line if nothing else was said", paired(function(client, server)
        spawn(function() client:write(("x"):rep(65536), "\n", ("y"):rep(70000)) end)
        assert.equal(65536, #server:read())
        assert.equal("line too long", select(2, server:read()))
        assert.equal(("y"):rep(70000), server:read(70000))
    end))

    it("after something was pushed back", paired(function(client, server)
        client:write("world\n")
        client:close()
        assert.equal("w", server:read(1))
        assert.equal(server, server:unread("w"))
        server:unread("hello "):unread("")
        assert.equal("hello world", server:read())
        server:unread("more"):unread("even ")
        assert.equal("even more", server:read("a"))
        assert.is_nil(server:read())
        local long = ("long "):rep(50000)
        server:unread(long)
        assert.equal(long, server:read("a"))
    end))

    it("line by line in a loop, to a clean end", paired(function(client, server)
        local got = {}
        client:write("a\nb\nc")
        client:close()
        for line in server:lines() do got[#got + 1] = line end
        assert.same({ "a", "b", "c" }, got)
        for _ in server:lines() do error("there is no more") end
    end))

    it("in a loop by other formats", paired(function(client, server)
        local got = {}
        client:write("aabbc")
        client:close()
        for piece in server:lines(2) do got[#got + 1] = piece end
        assert.same({ "aa", "bb", "c" }, got)
    end))

    it("in a loop that our own close ends", paired(function(client, server)
        local reader = spawn(function()
            local n = 0
            for _ in server:lines() do n = n + 1 end
            return n
        end)
        client:write("a\nb\n")
        settle()
        server:close()
        assert.same({ true, 2 }, { reader:join() })
    end))

    it("in a loop that raises when a line is too long or late", paired(function(client, server)
        server:setoption("max_line", 3)
        client:write("abcd\n")
        local function loop() for _ in server:lines() do error("a line") end end
        local ok, err = pcall(loop)
        assert.is_false(ok)
        assert.equal("EMSGSIZE", err.code)
        assert.equal("line too long", tostring(err))
        server:read(5)
        server:settimeout(0.02)
        ok, err = pcall(loop)
        assert.is_false(ok)
        assert.equal("ETIMEDOUT", err.code)
    end))

    it("within a time, and what had come stays", paired(function(client, server)
        for _, read in ipairs {
            function() return server:read("l") end,
            function() return server:read("a") end,
            function() return server:read(100) end,
            function() return server:read_until(";") end,
        } do
            client:write("part")
            server:settimeout(0.03)
            assert.same({ nil, "timeout", "ETIMEDOUT", n = 3 }, table.pack(read()))
            server:settimeout()
            assert.equal("part", server:read(4))
        end
        server:settimeout(0.03)
        assert.same({ nil, "timeout", "ETIMEDOUT", n = 3 }, table.pack(server:read_some()))
        server:settimeout(nil)
        spawn(function()
            sleep(0.05)
            client:write("late\n")
        end)
        assert.equal("late", server:read())
    end))

    it("within a time for the whole, not for each piece", paired(function(client, server)
        local feeding = spawn(function()
            while client:write(".") do sleep(0.005) end
        end)
        server:settimeout(0.1)
        assert.equal("timeout", select(2, server:read()))
        feeding:kill()
    end))

    it("by several, in order", paired(function(client, server)
        local got = {}
        for i = 1, 10 do
            spawn(function() got[i] = server:read(i % 2 == 0 and "l" or 7) end)
            schedule()
        end
        for i = 1, 10 do
            client:write(("line %2d"):format(i), i % 2 == 0 and "\n" or "")
            if i % 3 == 0 then settle() end
        end
        while not got[10] do sleep(0.001) end
        for i = 1, 10 do assert.equal(("line %2d"):format(i), got[i]) end
    end))

    it("by the next one when one before it is killed or late", paired(function(client, server)
        local function reader() return server:read() end
        local list = {}
        for i = 1, 4 do list[i] = spawn(reader) end
        schedule()
        client:write("fi")
        settle()
        list[1]:kill()
        list[3]:kill()
        client:write("rst\nsecond\n")
        assert.same({ true, "first" }, { list[2]:join() })
        assert.same({ true, "second" }, { list[4]:join() })

        server:settimeout(0.05)
        local slow = spawn(reader)
        schedule()
        server:settimeout()
        local patient = spawn(reader)
        assert.same({ true, nil, "timeout", "ETIMEDOUT" }, { slow:join() })
        client:write("third\n")
        assert.same({ true, "third" }, { patient:join() })
    end))

    it("by the next one when one is killed once served", paired(function(client, server)
        local first = spawn(function() return server:read() end)
        schedule()
        local second = spawn(function() return server:read() end)
        local third = spawn(function() return server:read() end)
        schedule()
        client:write("a\n")
        while first.blocked do schedule() end
        first:kill(true)
        assert.same({ true, "a" }, { second:join() })
        client:write("b\n")
        assert.same({ true, "b" }, { third:join() })
    end))

    it("inside coroutines, pcall and iterators of the script's own", paired(function(client, server)
        client:write("a\nb\nc\n")
        local function each()
            return coroutine.wrap(function()
                for line in server:lines() do coroutine.yield(line:upper()) end
            end)
        end
        local got = {}
        for line in each() do
            got[#got + 1] = line
            if line == "C" then client:close() end
        end
        assert.same({ "A", "B", "C" }, got)
        assert.same({ true, nil }, { pcall(server.read, server) })
    end))

    it("while another tasklet writes on it", paired(function(client, server)
        local text = ("0123456789"):rep(100000)
        local echo = spawn(function()
            for piece in function() return server:read_some() end do server:write(piece) end
            server:shutdown()
        end)
        local sender = spawn(function()
            client:write(text)
            client:shutdown()
        end)
        assert.is_true(client:read("a") == text)
        sender:join()
        echo:join()
    end))
end)

describe("a stream from a client", function()
    it("that sends one byte a time reads as any other", function()
        local stream, peer = with_peer("dribble", "first\nsecond\r\n;12345end")
        assert.equal("first", stream:read())
        assert.equal("second\r\n;", stream:read_until("\r\n;"))
        assert.equal("12345", stream:read(5))
        assert.equal("end", stream:read("a"))
        stream:write("seen")
        stream:close()
        assert.same({ 0, "seen", "" }, { peer:wait() })
    end)

    for name, read in pairs {
        ["a line"] = function(s) return s:read("l") end,
        ["a line with its end"] = function(s) return s:read("L") end,
        ["all"] = function(s) return s:read("a") end,
        ["a count"] = function(s) return s:read(100) end,
        ["up to a delimiter"] = function(s) return s:read_until(";") end,
    } do
        it("that resets in the middle is never a clean end: " .. name, function()
            local stream <close>, peer = with_peer("reset", "half a li")
            stream:write("!")
            for _ = 1, 2 do
                local got, err, code = read(stream)
                assert.is_nil(got)
                assert.equal("read: Connection reset by peer", err)
                assert.equal("ECONNRESET", code)
            end
            assert.equal("half a li", stream:read(9))
            assert.equal("ECONNRESET", select(3, stream:read_some()))
            assert.same({ 0, "", "" }, { peer:wait() })
        end)
    end

    it("that resets ends a loop over its lines with an error", function()
        local stream <close>, peer = with_peer("reset", "a line\nhalf a li")
        local got = {}
        stream:write("!")
        local ok, err = pcall(function()
            for line in stream:lines() do got[#got + 1] = line end
        end)
        assert.is_false(ok)
        assert.equal("ECONNRESET", err.code)
        assert.same({ "a line" }, got)
        peer:wait()
    end)

    it("that resets fails our writes too", function()
        local stream <close>, peer = with_peer("reset", "")
        stream:write("!")
        peer:wait()
        local ok, err, code
        repeat
            ok, err, code = stream:write(("x"):rep(1000))
        until not ok
        assert.is_true(code == "ECONNRESET" or code == "EPIPE", err)
        assert.is_truthy(err:find("^write: "))
    end)

    it("that never reads takes no memory but the high-water mark", function()
        local stream, peer = with_peer("mute")
        local block = ("x"):rep(65536)
        collectgarbage()
        local before, sent = host.stats().mem, 0
        local writer = spawn(function()
            while stream:write(block) do sent = sent + #block end
        end)
        repeat
            local last = sent
            sleep(0.1)
        until sent == last and sent > 0 and writer.blocked
        assert.equal("write on a stream", writer.waiting_on)
        collectgarbage()
        assert.is_true(host.stats().mem - before < 3 * 65536)

        stream:settimeout(0.05)
        writer:kill()
        local got
        repeat got = table.pack(stream:write(block)) -- the kernel may find more room
        until not got[1]
        assert.same({ nil, "timeout", "ETIMEDOUT", n = 3 }, got)
        assert.same({ nil, "timeout", "ETIMEDOUT", n = 3 }, table.pack(stream:flush()))
        stream:settimeout()
        local blocked = spawn(function() return stream:write(block) end)
        local second = spawn(function() return stream:write(block) end)
        local flusher = spawn(function() return stream:flush() end)
        schedule()
        stream:close()
        schedule() -- they are in the run queue already
        for _, t in ipairs { blocked, second, flusher } do
            assert.is_false(t.alive)
            assert.same({ true, nil, "closed", "ECLOSED" }, { t:join() })
        end
        peer:kill()
    end)
end)

describe("a stream is written", function()
    it("in strings, numbers, and tables of them", paired(function(client, server)
        assert.equal(client, client:write("a", 1, { "b", { 2.5, {} }, "c" }, ""))
        assert.equal(client, client:write(""))
        assert.equal(client, client:write({}))
        client:close()
        assert.equal("a1b2.5c", server:read("a"))
    end))

    it("in nothing else, and then not at all", paired(function(client, server)
        local deep = {}
        for _ = 1, 1000 do deep = { deep } end
        local cyclic = {}
        cyclic[1] = cyclic
        for _, bad in ipairs { true, print, { "a", { false } }, deep, cyclic } do
            assert.has_error(function() client:write("x", bad) end)
        end
        assert.has_error(function() client:write() end)
        client:write("only this")
        client:close()
        assert.equal("only this", server:read("a"))
    end))

    it("without a change to the tables", paired(function(client)
        local list = { 1, "a" }
        client:write(list)
        assert.equal("integer", math.type(list[1]))
    end))

    -- Above and below the size from which a piece is handed over where it lies.
    local function piece(i)
        local n = ({ 0, 1, 100, 8191, 8192, 8193, 40000 })[i % 7 + 1]
        return (string.char(97 + i % 26)):rep(n)
    end

    it("in large and small pieces, in their order", paired(function(client, server)
        local flat, nested = {}, {}
        for i = 1, 3000 do flat[i] = piece(i) end
        for i = 1, #flat, 10 do
            nested[#nested + 1] = { table.unpack(flat, i, i + 4) }
            nested[#nested + 1] = { { table.unpack(flat, i + 5, i + 9) } }
        end
        local reader = spawn(function() return server:read("a") end)
        assert.equal(client, client:write("head", nested, 17, flat[4]))
        client:close()
        local _, got = reader:join()
        local expected = "head" .. table.concat(flat) .. "17" .. flat[4]
        assert.equal(#expected, #got)
        assert.is_true(expected == got)
    end))

    it("as its tables were, whatever becomes of them", filled(function(client, server)
        local list, expected = {}, {}
        for i = 1, 40 do
            list[i] = { piece(i) .. i, i }
            expected[i] = list[i][1] .. i
        end
        local writer = spawn(function() return client:write(list) end)
        schedule()
        assert.is_true(writer.blocked)
        for i = 1, 40 do
            list[i][1], list[i][2] = "other", {}
            list[i] = nil
        end
        collectgarbage()
        collectgarbage()
        local reader = spawn(function() return server:read("a") end)
        assert.same({ true, client }, { writer:join() })
        client:shutdown()
        local _, got = reader:join()
        expected = table.concat(expected)
        assert.is_true(expected == got:sub(-#expected))
    end))

    it("in pieces until it is killed, timed out or closed", filled(function(client)
        local large = { "head", ("x"):rep(100000), { ("y"):rep(100000) } }
        local writer = spawn(function() client:write(large) end)
        schedule()
        writer:kill()
        client:settimeout(0.02)
        assert.same({ nil, "timeout", "ETIMEDOUT" }, { client:write(large) })
        client:settimeout()
        local closed = spawn(function() return client:write(large) end)
        schedule()
        client:close()
        assert.same({ true, nil, "closed", "ECLOSED" }, { closed:join() })
        assert.same({ nil, "closed", "ECLOSED" }, { client:write(large) })
    end))

    it("and keeps the order of its writers", paired(function(client, server)
        local letters, size = "abcdefgh", 300000
        local writers = {}
        for letter in letters:gmatch(".") do
            writers[#writers + 1] = spawn(function()
                return client:write(letter:rep(size))
            end)
        end
        schedule()
        for letter in letters:gmatch(".") do
            assert.is_true(server:read(size) == letter:rep(size))
        end
        for _, writer in ipairs(writers) do assert.same({ true, client }, { writer:join() }) end
    end))

    it("by the next one when one before it is killed", filled(function(client, server, taken)
        local first = spawn(function() return client:write(("1"):rep(65536)) end)
        local second = spawn(function() return client:write("second") end)
        local third = spawn(function() return client:write("third") end)
        schedule()
        second:kill()
        first:kill()
        local reader = spawn(function() return server:read("a") end)
        assert.same({ true, client }, { third:join() })
        client:shutdown()
        local _, got = reader:join()
        assert.is_true(#got >= taken)
        assert.equal("third", got:sub(-5))
        assert.is_nil(got:find("second", 1, true))
    end))

    it("and flushed when the kernel has it all", filled(function(client, server)
        local flushed = false
        local flusher = spawn(function()
            local result = client:flush()
            flushed = true
            return result
        end)
        settle()
        assert.is_false(flushed)
        local reader = spawn(function() return server:read("a") end)
        assert.same({ true, client }, { flusher:join() })
        assert.equal(client, client:flush())
        client:close()
        reader:join()
    end))

    it("to a peer that has reset: an error also of the reads after it", paired(
        function(client, server)
            server:setoption("linger", 0)
            server:close()
            local ok, _, code
            repeat ok, _, code = client:write("x") until not ok
            assert.equal("ECONNRESET", code)
            for _, format in ipairs { "l", "a", 1 } do
                assert.same({ nil, "read: Connection reset by peer", "ECONNRESET", n = 3 },
                    table.pack(client:read(format)))
            end
        end))

    it("to a peer that has closed: an error, not a signal", paired(function(client, server)
        server:close()
        local ok, err, code
        repeat
            ok, err, code = client:write(("x"):rep(1000))
        until not ok
        assert.is_true(code == "ECONNRESET" or code == "EPIPE", err)
        assert.equal(code, select(3, client:write("x")))
        assert.equal(code, select(3, client:flush()))
        assert.equal(code, select(3, client:shutdown()))
    end))
end)

describe("a stream ends", function()
    it("one direction at a time, the client's first", paired(function(client, server)
        client:write("question")
        assert.is_true(client:shutdown())
        assert.is_true(client:shutdown())
        assert.equal("question", server:read("a"))
        assert.same({ nil, "write: Broken pipe", "EPIPE", n = 3 }, table.pack(client:write("x")))
        server:write("answer")
        settle()
        server:write(", all of it")
        server:shutdown()
        assert.equal("answer, all of it", client:read("a"))
    end))

    it("one direction at a time, the server's first", paired(function(client, server)
        server:write("hello")
        server:shutdown()
        assert.equal("hello", client:read("a"))
        client:write("still there?")
        client:close()
        assert.equal("still there?", server:read("a"))
    end))

    it("its direction after the writes that wait, also those that wait for their turn", filled(
        function(client, server)
            local first = spawn(client.write, client, ("a"):rep(200000))
            local second = spawn(client.write, client, ("b"):rep(10))
            local killed = spawn(client.write, client, ("c"):rep(10))
            schedule()
            assert.is_true(client:shutdown())
            assert.is_true(client:shutdown())
            assert.same({ nil, "write: Broken pipe", "EPIPE" }, { client:write("late") })
            killed:kill()
            local all = server:read("a")
            assert.same({ true, client }, { first:join() })
            assert.same({ true, client }, { second:join() })
            assert.is_truthy(all:find("^%.+a+bbbbbbbbbb$"))
            assert.equal(200000, select(2, all:gsub("a", "")))
        end))

    it("its direction when the only write that waits is killed", filled(function(client, server)
        local writer = spawn(client.write, client, ("a"):rep(200000))
        schedule()
        client:shutdown()
        writer:kill()
        assert.is_truthy(server:read("a"))
    end))

    it("its direction only when all that was written is out", filled(function(client, server, taken)
        client:write("")
        client:shutdown()
        assert.is_true(#server:read("a") >= taken)
    end))

    for name, wait in pairs {
        ["read"] = function(s) return s:read() end,
        ["read by count"] = function(s) return s:read(10) end,
        ["read of all"] = function(s) return s:read("a") end,
        ["read_some"] = function(s) return s:read_some() end,
        ["read_until"] = function(s) return s:read_until(";") end,
    } do
        it("by our close at once for who waits: " .. name, paired(function(client, server)
            local first = spawn(wait, server)
            local second = spawn(wait, server)
            schedule()
            assert.is_true(first.blocked and second.blocked)
            server:close()
            schedule() -- they are in the run queue already
            assert.is_false(first.alive or second.alive)
            assert.same({ true, nil, "closed", "ECLOSED" }, { first:join() })
            assert.same({ true, nil, "closed", "ECLOSED" }, { second:join() })
            assert.is_nil(client:read())
        end))
    end

    it("for good: all that is asked of it afterwards is `closed`", paired(function(client, server)
        server:write("unread")
        client:close()
        client:close()
        for _, method in ipairs { "read", "read_some", "write", "flush", "shutdown", "peername",
            "sockname" } do
            assert.same({ method, nil, "closed", "ECLOSED", n = 4 },
                table.pack(method, client[method](client, method == "write" and "x" or nil)))
        end
        assert.same({ nil, "closed", "ECLOSED" }, { client:read_until(";") })
        assert.same({ nil, "closed", "ECLOSED" }, { client:unread("x") })
        assert.same({ nil, "closed", "ECLOSED" }, { client:setoption("nodelay", true) })
        for _ in client:lines() do error("there are no lines") end
        assert.equal(-1, client.fd)
        assert.equal("stream: closed", tostring(client))
    end))

    it("at the end of a <close> variable's scope", paired(function(client, server)
        do
            local c <close> = client
            c:write("bye")
        end
        assert.equal("bye", server:read("a"))
    end))

    it("when it is collected, if nobody waits on it", function()
        local server <close> = (function()
            local client, server = pair()
            client:write("bye")
            return server
        end)()
        collectgarbage()
        collectgarbage()
        assert.equal("bye", server:read("a"))
    end)

    it("not by collection while somebody waits on it", function()
        local server <close>, reader = (function()
            local client, server = pair()
            return server, spawn(function() return client:read() end)
        end)()
        schedule()
        collectgarbage()
        collectgarbage()
        server:write("still there\n")
        assert.same({ true, "still there" }, { reader:join() })
    end)

    it("after what was written before the close", paired(function(client, server)
        client:write("a", "b", "c")
        client:close()
        assert.equal("abc", server:read("a"))
    end))

    it("after what was written before the close, also to a slow reader", function()
        local stream, peer = with_peer("slow")
        local text = ("0123456789abcdef"):rep(MIB // 16)
        local writer = spawn(function()
            stream:write(text)
            stream:close()
        end)
        local status, out = peer:wait()
        local sum = 0
        for c in ("0123456789abcdef"):gmatch(".") do sum = sum + c:byte() end
        assert.equal(0, status)
        assert.equal(("%d %d\n"):format(MIB, sum * MIB // 16), out)
        writer:join()
    end)

    it("after what was written, also when the kernel holds unread input", function()
        local stream, peer = with_peer("flood", 1000000)
        assert.equal("x", stream:read(1))
        stream:write(("answer"):rep(50000))
        stream:close()
        assert.same({ 0, "300000\n", "" }, { peer:wait() })
    end)

    it("after what was written, also to a peer that goes on sending", paired(
        function(client, server)
            local text = ("0123456789"):rep(20000)
            server:write(text)
            server:close()
            client:write("are you there?\n")
            settle()
            client:write("hello?\n")
            settle()
            assert.is_true(client:read("a") == text)
        end))

    it("cleanly also when input comes in the turn of the close", paired(function(client, server)
        client:write("first\n")
        assert.equal("first", server:read())
        client:write("second\n") -- the server has not looked yet
        server:write("answer")
        server:close()
        assert.equal("answer", client:read("a"))
    end))

    it("in the background for a peer that goes on, not for ever", paired(function(client, server)
        client:write("x")
        server:read(1)
        client:write("y")
        server:close()
        local sender = spawn(function() while client:write("z") do sleep(0.01) end end)
        sender:join()
    end))

    it("and its number in the kernel is another's without a trace", function()
        local clients, got = {}, 0
        for round = 1, 50 do
            local client, server = pair()
            client:write("old")
            local reader = spawn(function() return server:read(10) end)
            schedule()
            local number = server.fd
            client:write("stale")
            server:close() -- with events on their way
            local listener <close> = neap.must(net.listen("127.0.0.1", 0))
            local again = neap.must(net.connect("127.0.0.1", listener.port))
            local other = neap.must(listener:accept())
            got = got + ((again.fd == number or other.fd == number) and 1 or 0)
            local waiting = spawn(function() return again:read() end)
            settle()
            assert.is_true(waiting.blocked)
            other:write("new ", round, "\n")
            assert.same({ true, "new " .. round }, { waiting:join() })
            assert.same({ true, nil, "closed", "ECLOSED" }, { reader:join() })
            clients[#clients + 1] = client
            again:close()
            other:close()
            client:close()
        end
        assert.is_true(#clients == 50 and got >= 0)
    end)
end)

describe("a stream knows", function()
    it("its addresses and its descriptor", paired(function(client, server)
        assert.same({ server:sockname() }, { client:peername() })
        assert.same({ client:sockname() }, { server:peername() })
        local address, port = client:peername()
        assert.equal("127.0.0.1", address)
        assert.equal("integer", math.type(port))
        assert.is_true(client.fd > 2 and server.fd > 2)
        assert.equal("stream: " .. client.fd, tostring(client))
    end))

    it("how to be idle while input waits that nobody reads", paired(function(client, server)
        server:settimeout(0.01)
        server:read()
        server:settimeout()
        client:write("not now"):flush()
        settle()
        local before = os.clock()
        sleep(0.5)
        assert.is_true(os.clock() - before < 0.05)
        assert.equal("not now", server:read(7))
    end))

    it("a reset at its close, by linger 0, whatever is left to send or to read",
        paired(function(client, server)
            client:setoption("linger", 0)
            server:write("not read")
            fill(client)
            client:close()
            local got, _, code
            repeat got, _, code = server:read_some() until not got
            assert.equal("ECONNRESET", code)
        end))

    it("its own time for what a close leaves behind", paired(function(client)
        local before = host.stats().outside
        for _, bad in ipairs { -1, 0 / 0, math.huge } do
            assert.same({ nil, "setoption: Invalid argument", "EINVAL" },
                { client:setoption("linger", bad) })
        end
        assert.has_error(function() client:setoption("linger", "long") end)
        assert.equal(client, client:setoption("linger", false))
        assert.equal(client, client:setoption("linger", 0.1))
        fill(client)
        client:close()
        assert.equal(before + 1, host.stats().outside)
        local until_ = neap.now() + 20
        repeat sleep(0.02) until host.stats().outside == before or neap.now() > until_
        assert.equal(before, host.stats().outside)
    end))

    it("a few options", paired(function(client, server)
        assert.equal(client, client:setoption("nodelay", false))
        assert.equal(client, client:setoption("keepalive", true))
        assert.equal(server, server:settimeout(1))
        assert.has_error(function() client:setoption("colour", 1) end)
        assert.has_error(function() client:settimeout("soon") end)
        assert.has_error(function() client:settimeout(0 / 0) end)
        assert.has_error(function() return client.colour end)
        assert.has_error(function() client.read(io.stdout) end)
    end))
end)
