-- Conversations that are cut anywhere leave nothing: support/conversation.lua. The leak check of
-- each `it` looks for descriptors, watches, timers and tasklets.

local conversation = require "spec.support.conversation"

describe("a conversation", function()
    it("that is killed, timed out or closed at any wait leaves nothing", function()
        local _, cut, late = conversation.run(tonumber(os.getenv "SPEC_LOOPS") or 240)
        assert.is_true(cut > 0)
        assert.equal(0, late)
    end)
end)
