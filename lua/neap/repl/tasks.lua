-- :tasks, a table of the tasklets: once, or again and again.

local neap = require "neap"
local inside = require "neap.inside"
local pretty = require "neap.pretty"

local tasks = {}

local MOST = 100 -- rows of the table that is printed once

local function age_of(t)
    local age = inside.age(t)
    if not age then return "" end
    if age < 60 then return ("%.1f s"):format(age) end
    if age < 3600 then return ("%d:%02d"):format(age // 60, age % 60) end
    return ("%d:%02d:%02d"):format(age // 3600, age // 60 % 60, age % 60)
end

local function state_of(t)
    return t.current and "running" or t.blocked and "waits" or t.paused and "paused" or "ready"
end

local function name_of(t) return pretty.line(t.name or t.is_main and "main" or "") end

local function row(t, cpu)
    local on = t.blocked and pretty.state(t) or ""
    return { tostring(t.id), name_of(t), state_of(t), age_of(t), cpu or "", on }
end

local function columns(rows)
    local widths, lines = {}, {}
    for _, r in ipairs(rows) do
        for i, text in ipairs(r) do widths[i] = math.max(widths[i] or 0, pretty.columns(text)) end
    end
    for n, r in ipairs(rows) do
        local cells = {}
        for i, text in ipairs(r) do
            if widths[i] > 0 then
                cells[#cells + 1] = text .. (" "):rep(widths[i] - pretty.columns(text))
            end
        end
        lines[n] = table.concat(cells, "  "):gsub("%s+$", "")
    end
    return lines
end

local HEAD = { "ID", "NAME", "STATE", "AGE", "", "WAITS ON" }
local LIVE_HEAD = { "ID", "NAME", "STATE", "AGE", "CPU", "WAITS ON" }

---The tasklets, oldest first.
---@return string text
function tasks.list()
    local all = neap.tasklets()
    table.sort(all, function(a, b) return a.id < b.id end)
    local rows = { HEAD }
    for i = 1, math.min(#all, MOST) do rows[i + 1] = row(all[i]) end
    local text = table.concat(columns(rows), "\n") .. "\n"
    return #all > MOST and text .. ("and %d more\n"):format(#all - MOST) or text
end

-- ---- live ----

-- The lines of one picture: those that have run the most since the last one come first.
local function picture(runs, seconds, width, height)
    local all, total = neap.tasklets(), 0
    for _, used in pairs(runs) do total = total + used end
    table.sort(all, function(a, b)
        local x, y = runs[a.id] or 0, runs[b.id] or 0
        if x ~= y then return x > y end
        return a.id < b.id
    end)
    local rows = { LIVE_HEAD }
    for i = 1, math.min(#all, height - 4) do
        local share = (runs[all[i].id] or 0) / seconds * 100
        rows[i + 1] = row(all[i], ("%.1f %%"):format(share))
    end
    local lines = columns(rows)
    table.insert(lines, 1, ("%d tasklets, %.1f %% CPU; a key ends"):format(#all,
        total / seconds * 100))
    for i, line in ipairs(lines) do lines[i] = pretty.cut(line, width - 1) end
    return lines
end

-- Over the last picture, if the terminal can; else below it.
local function draw(session, lines, last)
    local up = last > 0 and session.escapes and ("\27[%dA\27[J"):format(last) or ""
    session.write(up .. table.concat(lines, "\n") .. "\n")
end

---Shows them, and who runs how long, until a key is pressed. Runs are counted meanwhile.
---@param session neap.repl.session it has `key`
---@param every number seconds between two pictures
function tasks.live(session, every)
    inside.count_runs(true)
    local _ <close> = setmetatable({}, { __close = function() inside.count_runs(false) end })
    local since, last = neap.realtime.now(), 0
    repeat
        local pressed = session.key(last == 0 and math.min(every, 0.2) or every)
        local now = neap.realtime.now()
        if not pressed or last == 0 then
            local lines = picture(inside.runs(), now - since, session.width(), session.height())
            draw(session, lines, last)
            since, last = now, #lines
        end
    until pressed
end

return tasks
