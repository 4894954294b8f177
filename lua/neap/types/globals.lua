---@meta _
-- The globals of the neap program. As a module, in a stock lua5.4, they are fields of
-- `require "neap"` only.

neap = require "neap"

tasklet = neap.tasklet
spawn = neap.spawn
sleep = neap.sleep
schedule = neap.schedule
channel = neap.channel
deferred = neap.deferred
deferred_tasklet = neap.deferred_tasklet
blocking_tasklet = neap.blocking_tasklet
block_on = neap.block_on
