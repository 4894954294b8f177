-- A crawler: follows the links of one site, eight pages at a time. The queue is a channel, its
-- readers are tasklets.
--
--   neap scripts/crawl.lua URL [PAGES]    visits that many pages (100)
--   neap scripts/crawl.lua                a site of its own, then ends

local http = require "neap.http"

local AT_ONCE = 8

-- The URL that a link on a page leads to, if it is one of the same site.
local function resolve(page, link)
    local origin, path = page:match("^(%a+://[^/?#]+)([^?#]*)")
    link = link:gsub("#.*", ""):gsub("&amp;", "&")
    if link:sub(1, #origin) == origin then return link end
    if link == "" or link:find("^%a[%w+.-]*:") or link:find("^//") then return nil end
    if link:sub(1, 1) ~= "/" then link = (path:match("^.*/") or "/") .. link end
    local parts = {}
    for part in link:gmatch("/([^/]*)") do
        if parts[#parts] == "." or parts[#parts] == ".." then parts[#parts] = nil end
        if part == ".." then parts[#parts] = nil end
        parts[#parts + 1] = part
    end
    return origin .. "/" .. table.concat(parts, "/")
end

local function crawl(start, most)
    local queue, seen, count, open = channel(most), { [start] = true }, 1, 1

    local function add(url)
        if seen[url] or count >= most then return end
        seen[url], count, open = true, count + 1, open + 1
        queue:send(url)
    end

    local function visit(url)
        local page, err = http.get(url, { timeout = 10, max_body = 5e6 })
        if not page then return print("-", url, err) end
        print(page.status, url, page.body:match("<title>%s*(.-)%s*</title>") or "")
        if not (page.headers["content-type"] or ""):find("^text/html") then return end
        for link in page.body:gmatch("<[Aa]%s[^>]-[Hh][Rr][Ee][Ff]%s*=%s*[\"']([^\"']*)") do
            local found = resolve(page.url, link)
            if found then add(found) end
        end
    end

    local function work()
        for url in queue do
            visit(url)
            open = open - 1
            if open == 0 then queue:close() end -- the last one, and it led nowhere else
        end
    end

    queue:send(start)
    local workers = {}
    for i = 1, AT_ONCE do workers[i] = i end
    neap.map(workers, work)
    return count
end

if arg[1] then return print(crawl(arg[1], tonumber(arg[2]) or 100) .. " pages") end

-- a site whose pages link to two more each, to one another and elsewhere
local PAGE = [[<html><title>page %d</title>
<a href="./%d">a</a> <a class=b href='/pages/../pages/%d#x'>b</a>
<a href="/">home</a> <a href="mailto:a@b">mail</a> <a href="https://elsewhere.invalid/">away</a>]]
local app = http.router()
app:get("/", function() return http.redirect("/pages/1") end)
app:get("/pages/:n", function(req)
    local n = tonumber(req.params.n)
    if n > 20 then return 404 end
    return 200, { ["Content-Type"] = "text/html" }, PAGE:format(n, 2 * n, 2 * n + 1)
end)
local server = neap.must(http.serve({ host = "127.0.0.1" }, app))
print(crawl("http://127.0.0.1:" .. server.port .. "/", 30) .. " pages")
server:close()
