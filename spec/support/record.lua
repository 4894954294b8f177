-- What specs about order and errors share.

local record = {}

---A list that is called to append to it; tostring gives the entries with blanks between.
---@return table
function record.log()
    return setmetatable({}, {
        __call = function(list, entry) list[#list + 1] = entry end,
        __tostring = function(list) return table.concat(list, " ") end,
    })
end

---The text of the error that f(...) raises, without the place where it was raised.
---@return string
function record.error_of(f, ...)
    local ok, err = pcall(f, ...)
    if ok then error("no error was raised", 2) end
    return (tostring(err):gsub("^[^%s:]+:%d+: ", ""))
end

---Runs f(errors, ...) while errors that nobody handles are put into the list `errors`, each
---as { tasklet =, value =, traceback = }.
function record.unhandled(f, ...)
    local errors = {}
    neap.on_error(function(t, value, traceback)
        errors[#errors + 1] = { tasklet = t, value = value, traceback = traceback }
    end)
    local _ <close> = setmetatable({}, { __close = function() neap.on_error(nil) end })
    return f(errors, ...)
end

---The error of a deferred that has failed, then its failure, which then counts as handled.
function record.failure_of(d)
    local failure
    d:add_errback(function(f) failure = f end)
    return failure.value, failure
end

---@return boolean whether the deferred has failed because it was cancelled
function record.is_cancelled(d)
    return neap.is(record.failure_of(d), neap.CancelledError)
end

---Collects what nobody holds, and lets the reports come.
function record.collect()
    for _ = 1, 3 do
        collectgarbage()
        sleep(0)
    end
end

return record
