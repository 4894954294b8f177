-- net.relay: copies two streams to each other. One direction: runtime/bind/relay.c.

local inside = require "neap.inside"
local neap = require "neap"

local M = {}

---net.relay(a, b[, opts]): copies both ways, without a copy in user space where both are
---sockets. The end of one direction is passed on, the other goes on; when both have ended, or
---one has failed, or the caller is killed, both streams are closed.
---@param opts? { idle?: number } seconds without a byte, in either direction, that end it
---@return integer? there bytes from a to b; nil: it failed
---@return integer|string back bytes from b to a; or why it failed: `"timeout"`, `"closed"`, …
---@return string? code
function M.relay(a, b, opts)
    for name in pairs(opts or {}) do
        if name ~= "idle" then error(("bad argument #3 (no option '%s')"):format(name), 2) end
    end
    local shared <close> = inside.relay(a, b, opts and opts.idle)
    local failed
    local function copy(direction, from, to)
        local n, err, code = inside.copy(shared, direction, from, to)
        if not n then
            failed = failed or { err, code }
            a:close()
            b:close()
        end
        return n
    end
    inside.check_wait()
    for _, stream in ipairs { a, b } do
        local _, err, code = stream:tls() -- a handshake that is left to do
        if err then
            a:close()
            b:close()
            return nil, err, code
        end
    end
    local back <close> = setmetatable({ tasklet = neap.spawn(copy, 1, b, a) }, {
        __close = function(self)
            a:close()
            b:close()
            self.tasklet:kill()
        end,
    })
    local there = copy(0, a, b)
    local _, n = back.tasklet:join()
    if failed then return nil, failed[1], failed[2] end
    return there, n
end

return M
