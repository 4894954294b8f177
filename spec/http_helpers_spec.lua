-- What handlers are made of, without a server: requests are tables here. With a server:
-- spec/http_static_spec.lua, spec/http_body_spec.lua.

local http = require "neap.http"

local function headers(fields)
    return setmetatable(fields or {}, { __index = {
        all = function(self, name) return { self[name] } end,
    } })
end

local function request(method, path, fields, body)
    return { method = method, path = path, headers = headers(fields),
        body = function(_, max)
            if max and #body > max then return nil, "too long", "EMSGSIZE" end
            return body
        end }
end

describe("a router", function()
    local function says(text) return function() return text end end

    local function ask(app, method, path) return app(request(method, path)) end

    it("chooses by method and path", function()
        local app = http.router():get("/", says "root"):get("/a", says "a")
        app:post("/a", says "posted")
        assert.equal("root", ask(app, "GET", "/"))
        assert.equal("a", ask(app, "GET", "/a"))
        assert.equal("a", ask(app, "HEAD", "/a"))
        assert.equal("posted", ask(app, "POST", "/a"))
        for _, path in ipairs { "/b", "/a/", "/a/b", "//", "" } do
            assert.equal(404, (ask(app, "GET", path)))
        end
    end)

    it("names the parts of a path", function()
        local app = http.router()
        app:get("/users/:id/posts/:post", function(req) return req.params end)
        app:get("/files/*path", function(req) return req.params end)
        assert.same({ id = "7", post = "x y" }, ask(app, "GET", "/users/7/posts/x y"))
        assert.same({ path = "a/b/" }, ask(app, "GET", "/files/a/b/"))
        assert.same({ path = "" }, ask(app, "GET", "/files/"))
        assert.equal(404, (ask(app, "GET", "/files")))
        assert.equal(404, (ask(app, "GET", "/users//posts/1")))
    end)

    it("tries text, then names, then rests, whatever their order", function()
        local app = http.router()
        app:any("/*rest", says "rest"):get("/:name", says "name"):get("/me", says "text")
        app:get("/me/x", says "deeper"):get("/:name/y", says "name, then text")
        assert.equal("text", ask(app, "GET", "/me"))
        assert.equal("name", ask(app, "GET", "/you"))
        assert.equal("rest", ask(app, "GET", "/"))
        assert.equal("rest", ask(app, "PUT", "/me"))
        assert.equal("name, then text", ask(app, "GET", "/me/y"))
        assert.equal("rest", ask(app, "GET", "/me/z"))
    end)

    it("looks on for the method", function()
        local app = http.router():get("/users/me", says "me"):post("/users/:name", says "posted")
        assert.equal("posted", ask(app, "POST", "/users/me"))
    end)

    it("answers 405 and OPTIONS by what there is", function()
        local app = http.router():get("/a", says "a"):delete("/:x", says "gone")
        local status, fields = ask(app, "PUT", "/a")
        assert.same({ 405, { Allow = "DELETE, GET, HEAD, OPTIONS" } }, { status, fields })
        status, fields = ask(app, "OPTIONS", "/b")
        assert.same({ 204, { Allow = "DELETE, OPTIONS" } }, { status, fields })
        assert.equal(404, (ask(app, "OPTIONS", "/b/c")))
    end)

    it("serves below another, which passes its names on", function()
        local inner = http.router()
        inner:get("/", function(req) return req.base end)
        inner:get("/:b", function(req) return req.base .. " " .. req.path .. " " .. req.params.a ..
            " " .. req.params.b end)
        local middle = http.router():mount("/in", inner)
        local app = http.router():mount("/:a/", middle)
        assert.equal("/x/in /y x y", ask(app, "GET", "/x/in/y"))
        assert.equal("/x/in", ask(app, "GET", "/x/in/"))
        assert.equal(404, (ask(app, "GET", "/x/in/y/z")))
        local status, fields = ask(app, "POST", "/x/in")
        assert.same({ 308, { Location = "./in/" } }, { status, fields })
        assert.equal("all", ask(http.router():mount("/", says "all"), "GET", "/a/b"))
    end)

    it("wraps all it answers, the first layer outermost", function()
        local seen = {}
        local function layer(name)
            return function(req, inner)
                seen[#seen + 1] = name
                return inner(req)
            end
        end
        local app = http.router():get("/", function() return 201, "body" end)
        app:use(layer "outer"):use(layer "inner")
        assert.same({ 201, "body" }, { ask(app, "GET", "/") })
        assert.equal(404, (ask(app, "GET", "/x")))
        assert.same({ "outer", "inner", "outer", "inner" }, seen)
        app:use(function() return 401 end)
        assert.equal(401, (ask(app, "GET", "/")))
    end)

    it("refuses what it cannot serve", function()
        local app = http.router():get("/a/:b", says "a")
        local function refuses(text, method, ...)
            local ok, err = pcall(app[method], app, ...)
            assert.is_false(ok)
            assert.truthy(err:find(text, 1, true), err)
        end
        refuses("there is a route", "get", "/a/:c", says "b")
        refuses("begins with a slash", "get", "a", says "b")
        refuses("what is '*b'?", "get", "/*b/c", says "b")
        refuses("what is ':'?", "get", "/:/c", says "b")
        refuses("function expected", "get", "/c", "b")
        refuses("function expected", "mount", "/c")
        refuses("function expected", "use", 1)
        refuses("bad method", "on", nil, "/c", says "b")
    end)
end)

describe("a redirect", function()
    it("is a status and a location", function()
        assert.same({ 302, { Location = "/a?b#c" } }, { http.redirect("/a?b#c") })
        assert.same({ 303, { Location = "/a%20%C3%A4" } }, { http.redirect("/a ä", 303) })
    end)

    it("cannot be split", function()
        for _, bad in ipairs { "/a\r\nSet-Cookie: b", "/a\nb", "/\0" } do
            assert.is_false(pcall(http.redirect, bad))
        end
        assert.is_false(pcall(http.redirect, "/", 200))
        assert.is_false(pcall(http.redirect, nil))
    end)

    it("into a folder never leads to another host", function()
        local into = require "neap.http.redirect".into_folder
        local _, fields = into { path = "//evil.example" }
        assert.equal("./evil.example/", fields.Location)
        _, fields = into { path = "/a/javascript:b c", query = "d=e" }
        assert.equal("./javascript%3Ab%20c/?d=e", fields.Location)
    end)
end)

describe("a date", function()
    local date = require "neap.http.date"

    it("is read in the three forms", function()
        for _, text in ipairs { "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994" } do
            assert.equal(784111777, date.parse(text))
        end
    end)

    it("is written as it is read, through all of the calendar", function()
        for time = 0, 4e9, 86400 * 17 + 4099 do
            assert.equal(time, date.parse(date.format(time)))
        end
        assert.equal("Thu, 29 Feb 2024 00:00:00 GMT", date.format(1709164800))
        assert.equal(1709164800, date.parse("Thu, 29 Feb 2024 00:00:00 GMT"))
    end)

    it("is nothing else", function()
        for _, text in ipairs { "", "now", "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 28:49:37 GMT",
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT x", "1994-11-06T08:49:37Z", ("9"):rep(400) } do
            assert.is_nil(date.parse(text))
        end
    end)
end)

describe("a cookie", function()
    it("is read", function()
        local req = request("GET", "/", { cookie = 'a=1; b="x y"; a=2;c = z ;;d=e=f; =g; h' })
        assert.same({ a = "1", b = "x y", c = "z", d = "e=f" }, http.cookie(req))
        assert.same({}, http.cookie(request("GET", "/")))
    end)

    it("is made safe unless told otherwise", function()
        assert.equal("sid=x1; Path=/; Secure; HttpOnly; SameSite=Lax", http.cookie("sid", "x1"))
        assert.equal("n=7; Path=/a; Domain=b.example; Max-Age=60; " ..
            "Expires=Sun, 06 Nov 1994 08:49:37 GMT; SameSite=Strict", http.cookie("n", 7, {
            path = "/a", domain = "b.example", max_age = 60, expires = 784111777.5, secure = false,
            http_only = false, same_site = "strict" }))
    end)

    it("is taken away", function()
        assert.equal("sid=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax",
            http.cookie("sid", false))
    end)

    it("is not made of what would not come back, or says more", function()
        local function refuses(...) assert.is_false((pcall(http.cookie, ...))) end
        for _, value in ipairs { "a b", "a;b", "a,b", 'a"b', "a\\b", "a\r\nb", "a\0", "ä" } do
            refuses("n", value)
        end
        for _, name in ipairs { "", "a b", "a=b", "a;b", "a\n", "ä" } do refuses(name, "v") end
        refuses("n", nil)
        refuses("n", "v", { path = "/; Domain=x" })
        refuses("n", "v", { domain = "x\r\ny" })
        refuses("n", "v", { same_site = "no" })
        refuses("n", "v", { same_site = "none", secure = false })
        refuses("__Host-n", "v", { secure = false })
        refuses("__Host-n", "v", { domain = "b.example" })
        refuses("__Host-n", "v", { path = "/a" })
        refuses("n", "v", { max_age = 1.5 })
        refuses("n", "v", { expires = "tomorrow" })
        refuses("n", "v", { maxage = 1 })
    end)
end)

describe("a form", function()
    local FORM = { ["content-type"] = "application/x-www-form-urlencoded; charset=utf-8" }

    local function form(text, opts) return http.form(request("POST", "/", FORM, text), opts) end

    it("is read like the arguments of a path", function()
        local fields = form "a=1&b=x+y%21&a=2&&c&=d&all=e&f=g=h"
        assert.equal("2", fields.a)
        assert.same({ "1", "2" }, fields:all("a"))
        assert.same({}, fields:all("nothing"))
        local seen = {}
        for name, value in pairs(fields) do seen[name] = value end
        assert.same({ a = "2", b = "x y!", c = "", [""] = "d", all = "e", f = "g=h" }, seen)
        assert.is_function(fields.all)
        assert.same({ "e" }, fields:all("all"))
    end)

    it("says what is wrong", function()
        local function code(...) return (select(3, ...)) end
        assert.equal("EBADMSG", code(form "a=%2"))
        assert.equal("EBADMSG", code(form "%gg=b"))
        assert.equal("EMSGSIZE", code(form("a=1&b=2", { max = 3 })))
        assert.equal("EMSGSIZE", code(form("a&b&c", { max_fields = 2 })))
        assert.equal("EMEDIUMTYPE", code(http.form(request("POST", "/", {}, "a=1"))))
        assert.equal("EMEDIUMTYPE", code(http.form(request("POST", "/",
            { ["content-type"] = "text/plain" }, "a=1"))))
    end)
end)

describe("JSON", function()
    local JSON = { ["content-type"] = "application/json" }

    it("is an answer", function()
        assert.same({ 200, { ["Content-Type"] = "application/json" }, '{"a":[1,"b",true]}' },
            { http.json { a = { 1, "b", true } } })
        assert.same({ 404, { ["Content-Type"] = "application/json", X = "y" }, '"no"' },
            { http.json("no", 404, { X = "y" }) })
    end)

    it("cannot say everything", function()
        assert.is_false(pcall(http.json, print))
        assert.is_false(pcall(http.json, 0 / 0))
        local loop = {}
        loop[1] = loop
        assert.is_false(pcall(http.json, loop))
    end)

    it("is read", function()
        assert.same({ a = { 1, 2 } }, http.json_body(request("POST", "/", JSON, '{"a":[1,2]}')))
        assert.same({ 1 }, http.json_body(request("POST", "/",
            { ["content-type"] = "application/problem+json; charset=utf-8" }, "[1]")))
    end)

    it("says what is wrong", function()
        local function code(fields, text, max)
            return select(3, http.json_body(request("POST", "/", fields, text), max))
        end
        for _, text in ipairs { "", "{", "[1,]", "nil", "[NaN]", '"a' , ("["):rep(100000) } do
            assert.equal("EBADMSG", code(JSON, text))
        end
        assert.equal("EMSGSIZE", code(JSON, "[1,2]", 3))
        assert.equal("EMEDIUMTYPE", code({ ["content-type"] = "text/plain" }, "[]"))
        assert.equal("EMEDIUMTYPE", code({}, "[]"))
    end)

    it("needs its library, and says so", function()
        local child = require "spec.support.child"
        local status, out = child.run { "-e", [[
            package.path, package.cpath = "", ""
            print(pcall(require "neap.http".json, {}))
        ]] }
        assert.equal(0, status)
        assert.truthy(out:find("false.*needs lua%-cjson.*module 'cjson' not found"), out)
    end)
end)
