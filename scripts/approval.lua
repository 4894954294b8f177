-- Order approval as a workflow: each order waits in a tasklet of its own for whichever comes
-- first, the manager's word, the customer's change of mind, or a time limit.
--
--   neap scripts/approval.lua

local orders = neap.exchange()

local function verdict(text)
    return function(token, who)
        orders:reply(token, "noted")
        return text .. " by " .. who
    end
end

-- One order, from its submission on; small ones need nobody.
local function order(submission, id, amount)
    if amount < 100 then
        orders:reply(submission, "approved at once")
        return
    end
    local result = orders:pick {
        { "approve", id, verdict "approved" },
        { "reject", id, verdict "rejected" },
        { "withdraw", id, verdict "withdrawn" },
        { after = 0.05, function() return "expired: nobody had a look" end },
    }
    orders:reply(submission, result)
end

-- Receives orders and starts a tasklet for each: that one owes the customer the reply.
local function engine(scope)
    for id = 1, 5 do
        scope:spawn(function() order(orders:receive("submit", id)) end)
    end
end

local function customer(id, amount)
    local result = block_on(orders:request("submit", id, id, amount))
    print(("order %d of %d: %s"):format(id, amount, result))
end

local function manager()
    local answer = orders:request("approve", 2, "Ann")
    orders:request("reject", 3, "Ann")
    print("the manager's approval was " .. block_on(answer))
end

neap.scope(function(scope)
    engine(scope)
    for id, amount in ipairs { 20, 500, 9000, 300, 700 } do
        scope:spawn(customer, id, amount)
    end
    scope:spawn(manager)
    orders:request("withdraw", 4, "the customer")
end)
