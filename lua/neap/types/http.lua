---@meta _
-- What an HTTP handler is given: requests, writers; and the server. `neap.http` itself is
-- written in Lua, and documented there; its helpers are loaded on use.

local http = require "neap.http"

http.request = require("neap.http.client").request
http.get = require("neap.http.client").get
http.post = require("neap.http.client").post
http.session = require("neap.http.client").session
http.static = require("neap.http.static").static
http.multipart = require("neap.http.multipart").multipart
http.events = require("neap.http.events").events
http.router = require("neap.http.router").router
http.redirect = require("neap.http.redirect").redirect
http.cookie = require("neap.http.cookie").cookie
http.form = require("neap.http.form").form
http.json = require("neap.http.json").json
http.json_body = require("neap.http.json").json_body

---What `http.serve` returns.
---@class http.server
---@field port? integer
---@field draining boolean a shutdown has begun
---@field connections integer how many are open
local server = {}

---Changes certificates and keys for the clients that come from now on.
---@param opts table as `tls` of http.serve
---@return http.server? self
---@return string? err
---@return string? code
function server:set_tls(opts) end

---Waits until it is closed and all its handlers have ended.
function server:wait() end

---Closes all connections at once.
function server:close() end

---Accepts no more, lets the running answers finish, and waits for them.
---@param grace? number seconds after which the rest is cut; none by default
---@return integer n how many were cut
function server:shutdown(grace) end

---Fields of a head, or arguments of a query: `h["Content-Type"]` in any case, `pairs(h)`.
---@class http.fields
---@field [string] string
local fields = {}

---All values of a name.
---@param name string
---@return string[] list
function fields:all(name) end

---A request.
---@class http.request
---@field method string
---@field target string as it came
---@field path string decoded
---@field query? string raw
---@field args http.fields the query, decoded
---@field host? string
---@field version string
---@field headers http.fields
---@field peer peer
---@field gone deferred fires when the client has left
local request = {}

---Reads the whole body. When it does not come the server answers and closes by itself.
---@param max? integer bytes; more is "EMSGSIZE"
---@return string? body
---@return string? err
---@return string? code
function request:body(max) end

---Reads the next piece of the body.
---@param max? integer bytes of the piece
---@return string? data nil at the end
---@return string? err
---@return string? code
function request:read_some(max) end

---Answers with a head now, and a body that is written later. Raises for a bad header.
---@param status integer
---@param headers? table<string, string|string[]>
---@return http.writer? writer
---@return string? err
---@return string? code
function request:respond(status, headers) end

---Takes the raw stream for another protocol; nothing is written on it yet. It closes when the
---handler returns, unless it has been `detach`ed.
---@return stream? stream
---@return string? err
---@return string? code
function request:upgrade() end

---Writes the body of an answer.
---@class http.writer
local writer = {}

---Writes; waits while the client does not read.
---@param ... string|number|table
---@return http.writer? self
---@return string? err
---@return string? code
function writer:write(...) end

---The body is complete.
function writer:close() end
