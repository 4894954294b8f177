-- neap.http.redirect: answers that send the client elsewhere.

local http = {}

-- A byte that has no place in a URL, as %xx.
local function escape(c) return ("%%%02X"):format(c:byte()) end

---An answer to return from a handler.
---@param location string a URL, absolute or relative; what may not stand in one is escaped
---@param status? integer 302 unless given; 303 after a form, 301 and 308 for good, 307
---@return integer status
---@return table headers
function http.redirect(location, status)
    if type(location) ~= "string" then error("bad argument #1 (string expected)", 2) end
    if location:find("[\r\n\0]") then error("bad location (CR, LF or NUL)", 2) end
    status = status or 302
    if math.type(status) ~= "integer" or status < 300 or status > 399 then
        error("bad status (300 to 399 expected)", 2)
    end
    return status, { Location = (location:gsub("[^!-~]", escape)) }
end

---Sends the client from a folder's name to the folder, where relative links lead into it. The
---location is relative, so that no path can be taken for another host.
---@return integer status
---@return table headers
function http.into_folder(req)
    local name = req.path:match("([^/]*)/*$")
    local place = "./" .. name:gsub("[^%w%-._~]", escape) .. "/"
    return http.redirect(req.query and place .. "?" .. req.query or place, 308)
end

return http
