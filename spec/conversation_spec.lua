-- Conversations that are cut at each of their waits leave nothing: support/conversation.lua. The
-- leak check of each `it` looks for descriptors, watches, timers and tasklets.

local conversation = require "spec.support.conversation"

-- How many of the cuts were of what the pattern says.
local function cuts_of(counts, pattern)
    local n = 0
    for what, times in pairs(counts) do
        if what:find(pattern) then n = n + times end
    end
    return n
end

describe("a conversation", function()
    it("that is cut at each wait in turn, in each way, ends as it must", function()
        local counts, cut, rounds = conversation.run(tonumber(os.getenv "SPEC_LOOPS") or 1000)
        assert.is_true(rounds >= 1 and cut >= 500, cut .. " cuts")
        for _, wait in ipairs { "client, connect", "client, read", "client, write",
            "server, accept", "server, read", "server, write" } do
            assert.is_true(cuts_of(counts, "^" .. wait) >= #conversation.cuts, wait)
        end
        for _, name in ipairs(conversation.cuts) do
            assert.is_true(cuts_of(counts, ": " .. name .. "$") >= 10, name)
        end
    end)
end)
