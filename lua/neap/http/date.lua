-- neap.http.date: moments as HTTP writes them: "Sun, 06 Nov 1994 08:49:37 GMT".

local date = {}

local months, number_of = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct",
    "Nov", "Dec" }, {}
for i, name in ipairs(months) do number_of[name] = i end
local days = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" }

---@param time integer seconds since 1970
---@return string
function date.format(time)
    local t = os.date("!*t", time)
    return ("%s, %02d %s %04d %02d:%02d:%02d GMT"):format(days[t.wday], t.day, months[t.month],
        t.year, t.hour, t.min, t.sec)
end

-- Days from 1970-01-01 on; a year here begins in March, so that a leap day is its last.
local function days_since_1970(year, month, day)
    if month <= 2 then year, month = year - 1, month + 12 end
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day
        - 719469
end

-- The three forms that a recipient must know, the year last where it has two digits.
local function fields(text)
    local day, month, year, hour, min, sec =
        text:match("^%a%a%a, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$")
    if day then return day, month, year, hour, min, sec end
    day, month, year, hour, min, sec =
        text:match("^%a+day, (%d%d)%-(%a%a%a)%-(%d%d) (%d%d):(%d%d):(%d%d) GMT$")
    if day then
        local century = tonumber(year) < 70 and "20" or "19"
        return day, month, century .. year, hour, min, sec
    end
    month, day, hour, min, sec, year =
        text:match("^%a%a%a (%a%a%a) ([ %d]%d) (%d%d):(%d%d):(%d%d) (%d%d%d%d)$")
    return day, month, year, hour, min, sec
end

---@param text string in any of the forms of RFC 9110
---@return integer? time seconds since 1970; nil: it is none
function date.parse(text)
    local day, month, year, hour, min, sec = fields(text)
    month = month and number_of[month]
    if not month then return nil end
    day, hour, min, sec = tonumber(day), tonumber(hour), tonumber(min), tonumber(sec)
    if not day or day < 1 or day > 31 or hour > 23 or min > 59 or sec > 60 then return nil end
    return days_since_1970(tonumber(year), month, day) * 86400 + hour * 3600 +
        min * 60 + sec
end

return date
