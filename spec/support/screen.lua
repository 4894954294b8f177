-- What a terminal shows: enough of an xterm for what a line editor sends.

local screen = {}
screen.__index = screen

local function is_wide(code)
    return code >= 0x1100 and (code <= 0x115F or (code >= 0x2E80 and code <= 0xD7A3)
        or (code >= 0xF900 and code <= 0xFAFF) or (code >= 0xFF00 and code <= 0xFF60)
        or code >= 0x1F300 and code <= 0x1FAFF)
end

local function row(self, y)
    self.rows[y] = self.rows[y] or {}
    return self.rows[y]
end

local function put(self, code)
    local width = is_wide(code) and 2 or 1
    if self.x + width - 1 > self.columns then
        self.x, self.y = 1, self.y + 1
    end
    local cells = row(self, self.y)
    cells[self.x] = utf8.char(code)
    if width == 2 then cells[self.x + 1] = "" end
    self.x = self.x + width
end

local function erase(self, y, from)
    local cells = row(self, y)
    for x = from, self.columns + 1 do cells[x] = nil end
end

local orders = {}
function orders.A(self, n) self.y = math.max(1, self.y - n) end
function orders.B(self, n) self.y = self.y + n end
function orders.C(self, n) self.x = math.min(self.columns, self.x + n) end
function orders.D(self, n) self.x = math.max(1, self.x - n) end
function orders.G(self, n) self.x = n end
function orders.K(self) erase(self, self.y, self.x) end
function orders.J(self)
    erase(self, self.y, self.x)
    for y = self.y + 1, #self.rows do self.rows[y] = {} end
end
function orders.P(self, n)
    local cells = row(self, self.y)
    for x = self.x, self.columns do cells[x] = cells[x + n] end
end
orders["@"] = function(self, n)
    local cells = row(self, self.y)
    for x = self.columns, self.x + n, -1 do cells[x] = cells[x - n] or " " end
    for x = self.x, self.x + n - 1 do cells[x] = " " end
end

local controls = {
    ["\r"] = function(self) self.x = 1 end,
    ["\n"] = function(self) self.y = self.y + 1 row(self, self.y) end,
    ["\b"] = function(self) self.x = math.max(1, math.min(self.x, self.columns) - 1) end,
    ["\t"] = function(self) self.x = (self.x - 1) // 8 * 8 + 9 end,
    ["\a"] = function() end,
}

-- What is shown after these bytes: the lines, without blanks at their ends.
function screen.show(bytes, columns)
    local self = setmetatable({ rows = { {} }, x = 1, y = 1, columns = columns or 80 }, screen)
    local at = 1
    while at <= #bytes do
        local c = bytes:sub(at, at)
        local _, last, mark, n, order = bytes:find("^\27%[(%??)([%d;]*)([%a@])", at)
        if last then
            if mark == "" and orders[order] then
                orders[order](self, math.max(1, tonumber(n) or 1))
            end
        elseif controls[c] then
            controls[c](self)
            last = at
        else
            last = utf8.offset(bytes, 2, at)
            last = (last or at + 1) - 1
            local ok, code = pcall(utf8.codepoint, bytes, at)
            put(self, ok and code or 0xFFFD)
        end
        at = last + 1
    end
    local lines = {}
    for y = 1, #self.rows do
        local text, cells = {}, self.rows[y]
        for x = 1, self.columns + 1 do text[x] = cells[x] or " " end
        lines[y] = table.concat(text):gsub("%s+$", "")
    end
    return table.concat(lines, "\n")
end

return screen
