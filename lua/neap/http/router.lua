-- neap.http.router: which handler a request is for, by its method and its path.
--
-- The patterns are a tree of the paths' parts. A node knows its children by their text
-- (texts), the one for a part of any text (any), and the routes by method of those that end
-- here (routes) and of those that take all the rest (rests).

local inside = require "neap.inside"
local redirect = require "neap.http.redirect"

local router = {}
router.__index = router

local function new_node() return { texts = {}, routes = {}, rests = {} } end

-- The parts of a path, which begins with a slash: "/a/" has two, the second is empty.
local function split(path)
    local parts = {}
    for part in path:gmatch("/([^/]*)") do parts[#parts + 1] = part end
    return parts
end

-- The node below this one for one part of a pattern; the route keeps the name, if it has one.
local function step(node, part, at, route)
    local name = part:match("^:([%a_][%w_]*)$")
    if name then
        route.names[name] = at
        node.any = node.any or new_node()
        return node.any
    end
    if part:find("^[:*]") then error("bad pattern (what is '" .. part .. "'?)", 3) end
    node.texts[part] = node.texts[part] or new_node()
    return node.texts[part]
end

-- Puts a route into the tree; method "*" is any. Errors are those of the caller's caller, who
-- calls this last.
local function add(self, method, pattern, handler)
    if type(pattern) ~= "string" or pattern:sub(1, 1) ~= "/" then
        error("bad pattern (it begins with a slash)", 2)
    end
    if not inside.callable(handler) then error("bad handler (function expected)", 2) end
    local route, node, parts = { handler = handler, names = {} }, self.root, split(pattern)
    local rest = parts[#parts]:match("^%*([%a_][%w_]*)$")
    for at = 1, rest and #parts - 1 or #parts do node = step(node, parts[at], at, route) end
    if rest then route.rest, route.rest_at = rest, #parts end
    local routes = rest and node.rests or node.routes
    if routes[method] then error("there is a route for " .. method .. " " .. pattern, 2) end
    routes[method] = route
    return self
end

-- The one for the method; else it notes in `allowed` for which there are some.
local function choose(routes, method, allowed)
    local route = routes[method] or (method == "HEAD" and routes.GET) or routes["*"]
    if not route then
        for name in pairs(routes) do allowed[name] = true end
    end
    return route
end

-- Depth first: a text goes before a name, a name before a rest.
local function find(node, parts, at, method, allowed)
    local part = parts[at]
    if not part then return choose(node.routes, method, allowed) end
    local child, any = node.texts[part], node.any
    return child and find(child, parts, at + 1, method, allowed)
        or any and part ~= "" and find(any, parts, at + 1, method, allowed)
        or choose(node.rests, method, allowed)
end

-- What the names of the route stand for, beside those of the routers around this one.
local function params(route, parts, outer)
    local found = {}
    for name, value in pairs(outer or {}) do found[name] = value end
    for name, at in pairs(route.names) do found[name] = parts[at] end
    if route.rest then found[route.rest] = table.concat(parts, "/", route.rest_at) end
    return found
end

-- The path is there, the method is not.
local function not_allowed(method, allowed)
    if allowed.GET then allowed.HEAD = true end
    allowed.OPTIONS = true
    local names = {}
    for name in pairs(allowed) do names[#names + 1] = name end
    table.sort(names)
    local fields = { Allow = table.concat(names, ", ") }
    if method == "OPTIONS" then return 204, fields end
    return 405, fields
end

local function route_request(self, req)
    local parts, allowed, method = split(req.path), {}, req.method
    local route = find(self.root, parts, 1, method, allowed)
    if route then
        req.params = params(route, parts, req.params)
        return route.handler(req)
    end
    if next(allowed) then return not_allowed(method, allowed) end
    return 404
end

---A route. Parts of the pattern: text; ":name", any part that is not empty; at the end
---"*name", all the rest, which may be empty. Text is tried first, then names, then rests. The
---handler finds what they stand for in req.params.
---@param method string e.g. "GET", which serves HEAD too; "*": any that has no route of its own
---@param pattern string
---@param handler fun(req): ...
---@return table self
function router:on(method, pattern, handler)
    if type(method) ~= "string" then error("bad method (string expected)", 2) end
    return add(self, method, pattern, handler)
end

---Routes for one method: router:get(pattern, handler) and so on.
function router:get(pattern, handler) return add(self, "GET", pattern, handler) end
function router:post(pattern, handler) return add(self, "POST", pattern, handler) end
function router:put(pattern, handler) return add(self, "PUT", pattern, handler) end
function router:patch(pattern, handler) return add(self, "PATCH", pattern, handler) end
function router:delete(pattern, handler) return add(self, "DELETE", pattern, handler) end

---A route for any method that has none of its own.
---@return table self
function router:any(pattern, handler) return add(self, "*", pattern, handler) end

---Gives all below a path to a handler, another router or http.static. It finds the rest of the
---path in req.path, what went before in req.base. The path itself is redirected to path/.
---@param prefix string
---@param handler fun(req): ...
---@return table self
function router:mount(prefix, handler)
    prefix = prefix:gsub("/+$", "")
    if not inside.callable(handler) then error("bad handler (function expected)", 2) end
    if prefix ~= "" then add(self, "*", prefix, redirect.into_folder) end
    return add(self, "*", prefix .. "/*rest", function(req)
        local rest = req.params.rest
        req.base = (req.base or "") .. req.path:sub(1, -#rest - 2)
        req.path = "/" .. rest
        return handler(req)
    end)
end

local function wrap(layers, i, handle)
    local layer = layers[i]
    if not layer then return handle end
    local inner = wrap(layers, i + 1, handle)
    return function(req) return layer(req, inner) end
end

---Wraps every request of this router, 404 and 405 too: `return inner(req)` goes on with it, and
---gives what the handler has returned. The first one is the outermost.
---@param layer fun(req, inner: fun(req): ...): ...
---@return table self
function router:use(layer)
    if not inside.callable(layer) then error("bad argument #1 (function expected)", 2) end
    self.layers[#self.layers + 1] = layer
    self.run = wrap(self.layers, 1, self.handle)
    return self
end

function router:__call(req) return self.run(req) end

local http = {}

---A router: a handler that gives each request to the handler of its method and path, and
---answers 404, 405 (with Allow) and OPTIONS itself.
---@return table router with on, get, post, put, patch, delete, any, mount, use
function http.router()
    local self = setmetatable({ root = new_node(), layers = {} }, router)
    self.handle = function(req) return route_request(self, req) end
    self.run = self.handle
    return self
end

return http
