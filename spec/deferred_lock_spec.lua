-- neap.deferred_lock, neap.deferred_semaphore and neap.deferred_queue.

local many = require "spec.support.many"
local record = require "spec.support.record"
local error_of = record.error_of

local N = many(10000)

local function failure_of(d)
    local failure
    d:add_errback(function(f) failure = f end)
    return failure.value
end

local function is_cancelled(d)
    return neap.is(failure_of(d), neap.CancelledError)
end

-- What lock and semaphore have in common: make() gives one that one may have at a time.
local function primitive(name, make)
    describe(name, function()
        it("acquire gives it, to one after the other", function()
            local it_, log = make(), record.log()
            for i = 1, 4 do
                it_:acquire():add_callback(function(got)
                    assert(got == it_)
                    log(i)
                end)
            end
            assert.equal("1", tostring(log))
            for _ = 1, 3 do it_:release() end
            assert.equal("1 2 3 4", tostring(log))
            it_:release()
            it_:acquire()
            it_:release()
        end)

        it("a release too many is an error, and changes nothing", function()
            local it_ = make()
            assert.has_error(function() it_:release() end)
            it_:acquire()
            it_:release()
            assert.has_error(function() it_:release() end)
            assert.is_true(it_:acquire().called)
            assert.is_false(it_:acquire().called)
        end)

        it("a cancelled acquire leaves the line", function()
            local it_ = make()
            it_:acquire()
            local a, b, c = it_:acquire(), it_:acquire(), it_:acquire()
            b:cancel()
            assert.is_true(is_cancelled(b))
            a:cancel()
            it_:release()
            assert.is_true(c.called)
            it_:release()
            assert.is_true(it_:acquire().called)
        end)

        it("a cancel after the acquire changes nothing", function()
            local it_ = make()
            local a, b = it_:acquire(), it_:acquire()
            a:cancel()
            assert.equal(it_, a:wait())
            assert.is_false(b.called)
            it_:release()
            assert.equal(it_, b:wait())
        end)

        it("a waiter that is killed or out of time leaves the line", function()
            local it_ = make()
            it_:acquire()
            local t = spawn(function() block_on(it_:acquire()) end)
            schedule()
            local ok, err = pcall(block_on, it_:acquire(), 0)
            assert.is_false(ok)
            assert.is_true(neap.is(err, neap.TimeoutError))
            t:kill()
            it_:release()
            assert.is_true(it_:acquire().called)
        end)

        it("run holds it until the result is there", function()
            local it_, done, log = make(), deferred(), record.log()
            local first = it_:run(function(...)
                log(table.concat({ ... }, "+"))
                return done
            end, "a", "b")
            local second = it_:run(function()
                log "second"
                return 1, nil, 3
            end)
            assert.equal("a+b", tostring(log))
            assert.is_false(first.paused == false)
            done:callback("x", nil)
            assert.equal("a+b second", tostring(log))
            assert.same({ "x", nil, n = 2 }, table.pack(first:wait()))
            assert.same({ 1, nil, 3, n = 3 }, table.pack(second:wait()))
            assert.is_true(it_:acquire().called)
        end)

        it("run releases it on failure", function()
            local it_ = make()
            assert.equal("x", failure_of(it_:run(error, "x", 0)))
            assert.equal("y", failure_of(it_:run(neap.fail, "y")))
            assert.is_true(it_:acquire().called)
        end)

        it("run's arguments may be anything", function()
            local it_, d = make(), deferred()
            local got = { it_:run(function(...) return type((...)), select("#", ...) end, d, nil)
                :wait() }
            assert.same({ "userdata", 2 }, got)
            assert.matches("bad argument #1 to 'run'", error_of(it_.run, it_))
            assert.is_true(it_:acquire().called)
        end)

        it("a cancelled run never runs, or cancels what it waits for", function()
            local it_, ran, cancelled = make(), false, false
            local inner = deferred(function() cancelled = true end)
            local a = it_:run(function() return inner end)
            local b = it_:run(function() ran = true end)
            local c = it_:run(function() return "c" end)
            b:cancel()
            assert.is_true(is_cancelled(b))
            a:cancel()
            assert.is_true(cancelled)
            assert.is_true(is_cancelled(a))
            assert.is_false(ran)
            assert.equal("c", c:wait())
            assert.is_true(it_:acquire().called)
        end)

        it("run of tasklets: one after the other", function()
            local it_, log = make(), record.log()
            local work = deferred_tasklet(function(i)
                log("<" .. i)
                schedule()
                log(i .. ">")
            end)
            local list = {}
            for i = 1, 3 do list[i] = it_:run(work, i) end
            block_on(neap.gather_results(list))
            assert.equal("<1 1> <2 2> <3 3>", tostring(log))
        end)

        it(N .. " in line, each done at once", function()
            local it_, n = make(), 0
            it_:acquire()
            local list = {}
            for i = 1, N do
                list[i] = it_:run(function()
                    n = n + 1
                    assert(n == i)
                end)
            end
            it_:release()
            block_on(neap.gather_results(list))
            assert.equal(N, n)
            assert.is_true(it_:acquire().called)
        end)

        it(N .. " that leave", function()
            local it_ = make()
            it_:acquire()
            local list = {}
            for i = 1, N do list[i] = it_:acquire() end
            for i = N, 1, -1 do list[i]:cancel() end
            it_:release()
            assert.is_true(it_:acquire().called)
        end)

        it("a callback may release and acquire", function()
            local it_, log = make(), record.log()
            it_:acquire()
            for i = 1, 3 do
                it_:acquire():add_callback(function()
                    log(i)
                    it_:release()
                    it_:acquire():add_callback(function()
                        log(-i)
                        it_:release()
                    end)
                end)
            end
            it_:release()
            assert.equal(6, #log)
            assert.is_true(it_:acquire().called)
        end)

        it("one in line that somebody else has fired is passed over", function()
            local it_ = make()
            it_:acquire()
            it_:acquire():callback "mine"
            local b = it_:acquire()
            it_:release()
            assert.is_true(b.called)
        end)
    end)
end

primitive("a lock", neap.deferred_lock)
primitive("a semaphore of one", function() return neap.deferred_semaphore(1) end)

describe("a lock", function()
    it("says whether it is locked", function()
        local lock = neap.deferred_lock()
        assert.is_false(lock.locked)
        lock:acquire()
        lock:acquire()
        assert.is_true(lock.locked)
        lock:release()
        assert.is_true(lock.locked)
        lock:release()
        assert.is_false(lock.locked)
        assert.matches("^deferred_lock", tostring(lock))
    end)
end)

describe("a semaphore", function()
    it("has at least one token", function()
        for _, n in ipairs { 0, -1, 1.5, "x", false } do
            assert.has_error(function() neap.deferred_semaphore(n) end)
        end
        assert.has_error(function() neap.deferred_semaphore() end)
    end)

    it("lets so many in", function()
        local semaphore = neap.deferred_semaphore(3)
        local d = {}
        for i = 1, 5 do d[i] = semaphore:acquire() end
        local called = {}
        for i = 1, 5 do called[i] = d[i].called end
        assert.same({ true, true, true, false, false }, called)
        assert.same({ 0, 3 }, { semaphore.tokens, semaphore.limit })
        for _ = 1, 5 do semaphore:release() end
        assert.is_true(d[5].called)
        assert.equal(3, semaphore.tokens)
        assert.has_error(function() semaphore:release() end)
    end)

    it("limits how many tasklets are at work", function()
        local semaphore, running, most = neap.deferred_semaphore(4), 0, 0
        local work = deferred_tasklet(function()
            running = running + 1
            most = math.max(most, running)
            for _ = 1, 3 do schedule() end
            running = running - 1
        end)
        local list = {}
        for i = 1, 20 do list[i] = semaphore:run(work) end
        block_on(neap.gather_results(list))
        assert.same({ 4, 0, 4 }, { most, running, semaphore.tokens })
    end)
end)

describe("a queue", function()
    it("gives items in order, to those in line in order", function()
        local queue, got = neap.deferred_queue(), {}
        queue:put(1)
        queue:put(2)
        for i = 1, 4 do
            queue:get():add_callback(function(v) got[i] = v end)
        end
        assert.same({ 1, 2 }, got)
        assert.same({ 0, 2 }, { queue.pending, queue.waiting })
        queue:put(3)
        queue:put(4)
        queue:put(5)
        assert.same({ 1, 2, 3, 4 }, got)
        assert.same({ 1, 0 }, { queue.pending, queue.waiting })
    end)

    it("passes all values, nils included", function()
        local queue = neap.deferred_queue()
        local d = queue:get()
        for _ = 1, 2 do queue:put(nil, 2, nil) end
        assert.same({ nil, 2, nil, n = 3 }, table.pack(d:wait()))
        assert.same({ nil, 2, nil, n = 3 }, table.pack(queue:get():wait()))
        queue:put()
        assert.equal(0, select("#", queue:get():wait()))
    end)

    it("more than its size: QueueOverflow, raised at once", function()
        local queue = neap.deferred_queue(2)
        queue:put(1)
        queue:put(2)
        local ok, err = pcall(queue.put, queue, 3)
        assert.is_false(ok)
        assert.is_true(neap.is(err, neap.QueueOverflow))
        assert.equal(1, queue:get():wait())
        queue:put(4)
        assert.same({ 2, 4 }, { queue:get():wait(), (queue:get():wait()) })
    end)

    it("more than its backlog: QueueUnderflow, raised at once", function()
        local queue = neap.deferred_queue(nil, 1)
        local d = queue:get()
        local ok, err = pcall(queue.get, queue)
        assert.is_false(ok)
        assert.is_true(neap.is(err, neap.QueueUnderflow))
        queue:put "v"
        assert.equal("v", d:wait())
    end)

    it("0 is a limit", function()
        local queue = neap.deferred_queue(0, 1)
        assert.is_true(neap.is(select(2, pcall(queue.put, queue, 1)), neap.QueueOverflow))
        local d = queue:get()
        queue:put "v"
        assert.equal("v", d:wait())
        queue = neap.deferred_queue(nil, 0)
        assert.is_true(neap.is(select(2, pcall(queue.get, queue)), neap.QueueUnderflow))
        queue:put "w"
        assert.equal("w", queue:get():wait())
        for _, n in ipairs { -1, "x", {} } do
            assert.has_error(function() neap.deferred_queue(n) end)
            assert.has_error(function() neap.deferred_queue(1, n) end)
        end
    end)

    it("a cancelled get leaves the line, and takes no item with it", function()
        local queue = neap.deferred_queue(nil, 2)
        local a, b = queue:get(), queue:get()
        a:cancel()
        assert.is_true(is_cancelled(a))
        local c = queue:get()
        queue:put "b"
        queue:put "c"
        assert.same({ "b", "c" }, { b:wait(), (c:wait()) })
        pcall(block_on, queue:get(), 0)
        queue:put "kept"
        assert.equal("kept", queue:get():wait())
    end)

    it("an item may be a failure, and no deferred", function()
        local queue = neap.deferred_queue()
        local failure
        neap.fail("x"):add_errback(function(f) failure = f end)
        queue:put(failure)
        assert.equal("x", failure_of(queue:get()))
        assert.has_error(function() queue:put(deferred()) end)
        assert.equal(0, queue.pending)
    end)

    it("lets go of what was taken", function()
        local queue, weak = neap.deferred_queue(), setmetatable({}, { __mode = "k" })
        for _ = 1, 5 do
            local item = {}
            weak[item] = true
            queue:put(item)
            queue:put(0)
            queue:get()
            queue:get()
        end
        collectgarbage()
        collectgarbage()
        assert.is_nil(next(weak))
    end)

    it("between tasklets", function()
        local queue, got = neap.deferred_queue(), {}
        local reader = spawn(function()
            for i = 1, 100 do got[i] = block_on(queue:get()) end
        end)
        for i = 1, 100 do
            queue:put(i)
            if i % 7 == 0 then schedule() end
        end
        reader:join()
        for i = 1, 100 do assert.equal(i, got[i]) end
    end)
end)

describe("finalizers", function()
    it("may release and put wherever an acquire or a get makes memory", function()
        local lock, queue, on = neap.deferred_lock(), neap.deferred_queue(), true
        local released, put = 0, 0
        local function arm()
            setmetatable({}, { __gc = function()
                if not on then return end
                if lock.locked then
                    lock:release()
                    released = released + 1
                end
                queue:put(1)
                put = put + 1
                arm()
            end })
        end
        collectgarbage "stop"
        arm()
        collectgarbage "restart"
        local acquired, taken = 0, 0
        local old = collectgarbage("setpause", 0)
        for _ = 1, 3000 do
            lock:acquire():add_callback(function() acquired = acquired + 1 end)
            queue:get():add_callback(function() taken = taken + 1 end)
            if acquired % 50 == 0 then collectgarbage() end
        end
        collectgarbage("setpause", old)
        on = false
        while lock.line.n > 0 do lock:release() end
        while queue.waiting > 0 do
            queue:put(1)
            put = put + 1
        end
        sleep(0) -- what a finalizer has fired is called in a turn
        assert.is_true(released > 0)
        assert.equal(3000, acquired)
        assert.equal(3000, taken)
        assert.equal(put, taken + queue.pending)
    end)
end)
