-- neap.exchange: requests meet those who receive them, and each gets one answer.

local record = require "spec.support.record"

local function parked() sleep(math.huge) end

-- What a receive gives, without the token.
local function values(x, op, key)
    local got = table.pack(x:receive(op, key))
    x:reply(got[1])
    return table.unpack(got, 2, got.n)
end

describe("an exchange", function()
    it("keeps what comes early, in order", function()
        local x = neap.exchange()
        local a, b = x:request("op", nil, 1, nil, 2), x:request("op", nil, "b")
        local token, one, none, two = x:receive "op"
        assert.same({ 1, nil, 2 }, { one, none, two })
        assert.same({ "op" }, { token.op, token.key })
        x:reply(token, "first", nil)
        assert.same({ n = 2, "first", nil }, table.pack(block_on(a)))
        assert.equal("b", values(x, "op"))
        assert.equal(0, select("#", block_on(b)))
    end)

    it("blocks who receives until one comes", function()
        local log, x = record.log(), neap.exchange()
        local t = spawn(function()
            local token, v = x:receive "op"
            log(v)
            x:reply(token, v .. "!")
        end)
        schedule()
        local d = x:request("op", nil, "hello")
        log "sent"
        assert.equal("hello!", block_on(d))
        assert.equal("sent hello", tostring(log))
        t:join()
    end)

    it("tells requests apart by key; without one it takes any, the oldest first", function()
        local x = neap.exchange()
        x:request("op", 1, "one")
        x:request("op", 2, "two")
        x:request("op", 3, "three")
        x:request("other", 2, "no")
        assert.equal("two", values(x, "op", 2))
        local token, v = x:receive "op"
        assert.same({ 1, "one" }, { token.key, v })
        x:reply(token)
        assert.equal("three", values(x, "op"))
        assert.equal("no", values(x, "other", 2))
    end)

    it("prefers who asks for the key to who takes any", function()
        local log, x = record.log(), neap.exchange()
        spawn(function() log("any " .. values(x, "op")) end)
        spawn(function() log("key " .. values(x, "op", 1)) end)
        schedule()
        x:request("op", 1, "a")
        x:request("op", 1, "b")
        schedule()
        assert.equal("key a any b", tostring(log))
    end)

    it("lets reactor code request and reply", function()
        local x, reply = neap.exchange(), nil
        local d = deferred()
        d:add_callback(function() reply = x:request "op" end)
        d:callback()
        local token = x:receive "op"
        d = deferred()
        d:add_callback(function() x:reply(token, "yes") end)
        d:callback()
        assert.equal("yes", block_on(reply))
        d = deferred()
        local said
        d:add_callback(function() said = record.error_of(x.receive, x, "op") end)
        d:callback()
        assert.equal("Cannot block in reactor task", said)
    end)

    it("refuses a second receive of the same", function()
        local x = neap.exchange()
        local t = spawn(x.receive, x, "op", 1)
        local any = spawn(x.receive, x, "op")
        schedule()
        local said = record.error_of(x.receive, x, "op", 1)
        assert.truthy(said:find("^conflictingReceive"))
        assert.truthy(record.error_of(x.receive, x, "op"):find("^conflictingReceive"))
        said = record.error_of(x.pick, x, { { "a", 1, print }, { "a", 1, print } })
        assert.truthy(said:find("^conflictingReceive"))
        assert.is_false(pcall(x.pick, x, { { "a", 1, print }, { "op", 1, print } }))
        t:kill()
        any:kill(true)
        local again = spawn(x.receive, x, "op") -- the killed one waits no more
        again:run()
        assert.is_true(again.blocked)
        again:kill()
        assert.equal(1, x:pick { { "a", 1, print }, { after = 0, function() return 1 end } })
    end)

    it("refuses what makes no sense", function()
        local x, y = neap.exchange(), neap.exchange()
        assert.is_false(pcall(x.request, x))
        assert.is_false(pcall(x.receive, x))
        assert.is_false(pcall(x.pick, x, {}))
        assert.is_false(pcall(x.pick, x, { { "op", 1 } }))
        assert.is_false(pcall(x.pick, x, { { "op", 1, print }, { after = 0 / 0, print } }))
        assert.is_false(pcall(x.pick, x, { { "op", 1, print }, { after = "soon", print } }))
        local d = y:request "op"
        local token = y:receive "op"
        assert.truthy(record.error_of(x.reply, x, token):find("^missingRequest"))
        assert.truthy(record.error_of(x.reply, x, {}):find("^missingRequest"))
        assert.truthy(record.error_of(x.reply, x):find("^missingRequest"))
        y:reply(token)
        assert.truthy(record.error_of(y.reply, y, token):find("^missingRequest"))
        block_on(d)
    end)
end)

describe("a requester", function()
    local function fails(d)
        local ok, err = pcall(block_on, d)
        assert.is_false(ok)
        return err
    end

    it("is told when the one that owes the reply ends", function()
        record.unhandled(function(errors)
            local x = neap.exchange()
            local ends = {
                function() end,
                function() error("broken", 0) end,
                function() neap.getcurrent():kill() end,
            }
            for i, end_ in ipairs(ends) do
                local a, b = x:request("op", i), x:request("op", i)
                local t = spawn(function()
                    x:receive("op", i)
                    x:receive("op", i)
                    end_()
                end)
                local err = fails(a)
                assert.equal("missingReply", err.code)
                assert.equal(i == 2 and "broken" or nil, err.cause)
                assert.truthy(tostring(err):find("'op' has ended", 1, true))
                assert.equal("missingReply", fails(b).code)
                assert.is_false(t.alive)
            end
            assert.same({ 1, "broken" }, { #errors, errors[1].value })
            local c = x:request "hard"
            local t = spawn(function() x:receive "hard" parked() end)
            schedule()
            t:kill { hard = true }
            assert.equal("missingReply", fails(c).code)
        end)
    end)

    it("is told even by a tasklet that answered others, and of another exchange", function()
        local x, y = neap.exchange(), neap.exchange()
        local a, b, c = x:request("op", 1), x:request("op", 2), y:request "op"
        spawn(function()
            local token = x:receive("op", 1)
            x:receive("op", 2)
            y:receive "op"
            x:reply(token, "answer")
        end)
        assert.equal("answer", block_on(a))
        assert.equal("missingReply", fails(b).code)
        assert.equal("missingReply", fails(c).code)
    end)

    it("that cancels takes its request back", function()
        local x = neap.exchange()
        local d = x:request("op", 1)
        d:add_errback(function(f) return f:trap(neap.CancelledError) and "gone" end)
        d:cancel()
        assert.equal("gone", block_on(d))
        local e = x:request("op", 1, "second")
        assert.equal("second", values(x, "op", 1))
        block_on(e)
        assert.equal("none", x:pick { { "op", nil, print }, { after = 0, function()
            return "none"
        end } })
    end)

    it("that has left hears no reply, which is no error", function()
        local x = neap.exchange()
        local d = x:request "op"
        local token = x:receive "op"
        d:cancel()
        assert.is_false(x:reply(token, 1))
        assert.is_false(pcall(x.reply, x, token))
        local t = spawn(function() block_on(x:request "op") end)
        schedule()
        token = x:receive "op"
        t:kill()
        assert.is_false(x:reply(token))
        d = x:request "op"
        t = spawn(x.receive, x, "op")
        t:join()
        assert.equal("missingReply", fails(d).code)
    end)

    it("that cancels what was handed to one that is killed leaves nothing", function()
        local x = neap.exchange()
        local t = spawn(x.receive, x, "op")
        schedule()
        local d = x:request "op"
        d:cancel()
        t:kill(true)
        schedule()
        assert.equal(0, x.ports.op.kept.n)
    end)

    it("that has left does not keep the others from being told", function()
        local x = neap.exchange()
        local a, b = x:request("op", 1), x:request("op", 2)
        spawn(function()
            x:receive("op", 1)
            x:receive("op", 2)
            a:cancel()
        end)
        assert.equal("missingReply", fails(b).code)
        assert.is_true(neap.is(fails(a), neap.CancelledError))
    end)

    it("out of time withdraws, too", function()
        local x = neap.exchange()
        local ok, err = pcall(block_on, x:request "op", 0)
        assert.same({ false, true }, { ok, neap.is(err, neap.TimeoutError) })
        assert.is_nil(x:pick { { "op", nil, print }, { after = 0, function() end } })
    end)
end)

describe("pick", function()
    local function branches(log, ...)
        local list = {}
        for _, op in ipairs { ... } do
            list[#list + 1] = { op, nil, function(token, v)
                log(op .. (v or ""))
                return token, op, nil
            end }
        end
        return list
    end

    it("runs one branch and gives its results", function()
        local log, x = record.log(), neap.exchange()
        local d
        spawn(function() d = x:request("b", 1, "!") end)
        local got = table.pack(x:pick(branches(log, "a", "b", "c")))
        assert.same({ 3, "b" }, { got.n, got[2] })
        x:reply(got[1], "yes")
        assert.equal("yes", block_on(d))
        assert.equal("b!", tostring(log))
        x:request("a", nil, "kept") -- nobody is left there who would take it
        assert.equal("kept", values(x, "a"))
    end)

    it("takes the first listed of those that are there", function()
        local log, x = record.log(), neap.exchange()
        for _, op in ipairs { "c", "b", "a" } do x:request(op) end
        for _ = 1, 3 do x:reply((x:pick(branches(log, "b", "a", "c")))) end
        assert.equal("b a c", tostring(log))
        local order = { { "op", nil, function(t) x:reply(t) return "any" end },
            { "op", 1, function(t) x:reply(t) return "key" end } }
        local t = spawn(x.pick, x, order)
        schedule()
        x:request("op", 1)
        assert.same({ true, "any" }, { t:join() })
    end)

    it("after a time runs that function, and withdraws the others", function()
        local log, x = record.log(), neap.exchange()
        local list = branches(log, "a", "b")
        list[3] = { after = 60, print }
        list[4] = { after = 0.001, function(...) return "late", select("#", ...) end }
        assert.same({ "late", 0 }, { x:pick(list) })
        x:request("a", nil, "kept")
        assert.equal("kept", values(x, "a"))
        assert.equal("", tostring(log))
    end)

    it("that is killed withdraws all, also what it was handed already", function()
        local kills = {
            function(t) t:kill() end, function(t) t:kill(true) end,
            function(t) t:kill { hard = true } end,
        }
        for _, kill in ipairs(kills) do
            local log, x = record.log(), neap.exchange()
            local t = spawn(x.pick, x, branches(log, "a", "b"))
            schedule()
            kill(t)
            x:request("a", nil, "kept")
            assert.equal("kept", values(x, "a"))
            schedule()
            t = spawn(x.pick, x, branches(log, "a", "b"))
            schedule()
            x:request("b", 1, "handed")
            x:request("b", 1, "later")
            kill(t)
            schedule()
            assert.equal("handed", values(x, "b", 1))
            assert.equal("later", values(x, "b"))
            t = spawn(x.receive, x, "a")
            local any = spawn(x.receive, x, "b")
            schedule()
            local d = x:request("a", 5)
            local next_one = spawn(x.receive, x, "a", 5)
            next_one:run()
            kill(t)
            next_one:join()
            assert.is_false(pcall(block_on, d)) -- it was the one that received, and has ended
            any:kill()
            assert.equal("", tostring(log))
        end
    end)

    it("and requests by the thousand leave nothing behind", function()
        local x = neap.exchange()
        local server = spawn(function()
            while true do
                x:pick { { "op", nil, function(token, v) x:reply(token, v + 1) end },
                    { "never", nil, print } }
            end
        end)
        for i = 1, 2000 do assert(block_on(x:request("op", i, i)) == i + 1) end
        for i = 1, 2000 do x:request("kept", i):cancel() end
        assert.equal(0, x.debts[server].n)
        server:kill()
        assert.is_nil(next(x.ports.kept.by_key))
        assert.equal(0, x.ports.kept.kept.n)
        assert.is_nil(next(x.ports.op.by_key))
        assert.is_nil(next(x.ports.never.open))
        assert.is_nil(next(x.debts))
    end)
end)
