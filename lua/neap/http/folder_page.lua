-- neap.http.folder_page: the page that lists a folder.

local date = require "neap.http.date"

local folder_page = {}

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;",
    ["'"] = "&#39;" }

local function text(s) return (s:gsub("[&<>\"']", entities)) end

local function url(name)
    return "./" .. name:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end)
end

-- The entries that are shown, folders first.
local function entries(folder, hidden)
    local found = {}
    for name, size, time, is_folder in folder.entry, folder do
        if name ~= "." and name ~= ".." and (hidden or name:sub(1, 1) ~= ".") then
            found[#found + 1] = { name = is_folder and name .. "/" or name, size = size,
                time = time, order = (is_folder and "0" or "1") .. name }
        end
    end
    table.sort(found, function(a, b) return a.order < b.order end)
    return found
end

local HEAD = [[
<!doctype html>
<html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>%s</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }
td { padding: .1rem 2rem .1rem 0 } td + td { color: gray; text-align: right }
</style></head><body><h1>%s</h1><table>
]]
local ROW = '<tr><td><a href="%s">%s</a></td><td>%s</td><td>%s</td></tr>\n'

---@param folder table an open one
---@param path string its title
---@param top boolean there is nothing above
---@param hidden? boolean names that begin with a dot are shown
---@return integer status
---@return table headers
---@return string[] body
function folder_page.answer(folder, path, top, hidden)
    local page = { HEAD:format(text(path), text(path)) }
    if not top then page[2] = ROW:format("../", "../", "", "") end
    for _, entry in ipairs(entries(folder, hidden)) do
        local link = url(entry.name):gsub("%%2F$", "/")
        page[#page + 1] = ROW:format(link, text(entry.name), entry.size or "",
            entry.time and date.format(entry.time) or "")
    end
    page[#page + 1] = "</table></body></html>\n"
    return 200, { ["Content-Type"] = "text/html; charset=utf-8", ["Cache-Control"] = "no-cache",
        ["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'" }, page
end

return folder_page
