-- Requests as bytes, and what a server says to them: { name, bytes, outcome }. Each answer is
-- its status, with the echo "METHOD path [body]" of a good one; several are joined by " + ".
-- The server's limits: a head of 1024 bytes with 20 fields, a body of 100 bytes.

local rows = {}

local function row(name, bytes, outcome) rows[#rows + 1] = { name, bytes, outcome } end

-- A head with these lines behind a good request line and a good Host.
local function field(name, line, outcome)
    row(name, "GET / HTTP/1.1\r\nHost: a\r\n" .. line .. "\r\n\r\n", outcome or "400")
end

local function line(name, text, outcome)
    row(name, text .. "\r\nHost: a\r\n\r\n", outcome or "400")
end

local function post(name, fields, body, outcome)
    row(name, "POST / HTTP/1.1\r\nHost: a\r\n" .. fields .. "\r\n\r\n" .. body, outcome or "400")
end

local function chunked(name, body, outcome)
    post(name, "Transfer-Encoding: chunked", body, outcome or "400")
end

local good = "200 GET / []"
local next_one = "GET /n HTTP/1.1\r\nHost: a\r\n\r\n"
local then_next = " + 200 GET /n []"

-- ---- the request line ----
line("a plain request", "GET / HTTP/1.1", good)
line("another method", "DELETE /x HTTP/1.1", "200 DELETE /x []")
line("OPTIONS of all", "OPTIONS * HTTP/1.1", "200 OPTIONS * []")
line("* for another method", "GET * HTTP/1.1")
line("an unknown method", "BREW / HTTP/1.1", "501")
line("a method in lower case", "get / HTTP/1.1", "501")
line("CONNECT", "CONNECT a:80 HTTP/1.1", "501")
line("a method with a bad byte", "GE(T / HTTP/1.1")
line("a method with a quote", "G\"T / HTTP/1.1")
line("a space before the method", " GET / HTTP/1.1")
line("two spaces before the target", "GET  / HTTP/1.1")
line("two spaces behind the target", "GET /  HTTP/1.1")
line("a tab for a space", "GET\t/ HTTP/1.1")
line("a tab behind the target", "GET /\tHTTP/1.1")
line("a space at the end", "GET / HTTP/1.1 ")
line("no version", "GET /")
line("no target", "GET HTTP/1.1")
line("only a method", "GET")
line("a version in lower case", "GET / http/1.1")
line("another protocol", "GET / ICE/1.1")
line("HTTP/1.0", "GET / HTTP/1.0", good)
line("HTTP/2.0", "GET / HTTP/2.0", "505")
line("HTTP/1.2", "GET / HTTP/1.2", "505")
line("HTTP/0.9", "GET / HTTP/0.9", "505")
line("HTTP/9.9", "GET / HTTP/9.9", "505")
line("HTTP/1", "GET / HTTP/1")
line("HTTP/1.", "GET / HTTP/1.")
line("HTTP/11.1", "GET / HTTP/11.1")
line("HTTP/1.10", "GET / HTTP/1.10")
line("HTTP/01.1", "GET / HTTP/01.1")
line("HTTP/1,1", "GET / HTTP/1,1")
line("HTTP/+1.1", "GET / HTTP/+1.1")
line("HTTP 1.1", "GET / HTTP 1.1")
row("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505")
row("a TLS client", "\22\3\1\2\0\1\0\1\252\3\3", "400")
row("nothing but a blank line", "\r\n", "")
row("nothing", "\r", "")
row("a blank line first", "\r\n" .. next_one, "200 GET /n []")
row("two blank lines first", "\r\n\r\n" .. next_one, "400")
row("a bare LF first", "\n" .. next_one, "400")
row("a bare CR first", "\r" .. next_one, "400")
row("a line that ends with LF", "GET / HTTP/1.1\nHost: a\r\n\r\n", "400")
row("a line that ends with CR", "GET / HTTP/1.1\rHost: a\r\n\r\n", "400")
row("CR CR LF", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "400")
row("a NUL in the method", "G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", "400")
row("half a line", "GET / HT", "")
row("a long target", "GET /" .. ("x"):rep(9000) .. " HTTP/1.1\r\nHost: a\r\n\r\n", "414")
row("a long method", ("G"):rep(9000) .. " / HTTP/1.1\r\nHost: a\r\n\r\n", "414")

-- ---- the target ----
line("a query", "GET /a?b=c&d HTTP/1.1", "200 GET /a []")
line("an empty query", "GET /a? HTTP/1.1", "200 GET /a []")
line("%xx", "GET /a%20b HTTP/1.1", "200 GET /a b []")
line("%xx in both cases", "GET /%4a%4A HTTP/1.1", "200 GET /JJ []")
line("a percent sign alone", "GET /% HTTP/1.1")
line("half of %xx", "GET /%4 HTTP/1.1")
line("%xx with a bad digit", "GET /%zz HTTP/1.1")
line("%xx with a bad digit in the query", "GET /?a=%zz HTTP/1.1")
line("half of %xx in the query", "GET /?a=% HTTP/1.1")
line("%00", "GET /a%00b HTTP/1.1")
line("a fragment", "GET /a#b HTTP/1.1")
line("a byte that is not ASCII", "GET /\195\164 HTTP/1.1")
line("a DEL", "GET /\127 HTTP/1.1")
line("no slash", "GET a HTTP/1.1")
line("a query alone", "GET ?a HTTP/1.1")
line("..", "GET /.. HTTP/1.1")
line("../", "GET /../a HTTP/1.1")
line("a step up and down", "GET /a/../b HTTP/1.1", "200 GET /a/../b []")
line("two steps up", "GET /a/../../b HTTP/1.1")
line("%2e%2e", "GET /%2e%2E/a HTTP/1.1")
line(".%2e", "GET /.%2e/a HTTP/1.1")
line("..%2f", "GET /..%2fa HTTP/1.1")
line("a/..%2f..", "GET /a/..%2F.. HTTP/1.1")
line("a file with two dots", "GET /a..b HTTP/1.1", "200 GET /a..b []")
line("a file of three dots", "GET /... HTTP/1.1", "200 GET /... []")
line(".. in the query", "GET /?../.. HTTP/1.1", good)
line("two slashes", "GET //a HTTP/1.1", "200 GET //a []")
line("./.. climbs", "GET /./../a HTTP/1.1")
line("an absolute target", "GET http://b/c HTTP/1.1", "200 GET /c []")
line("an absolute target without a path", "GET http://b HTTP/1.1", good)
line("an absolute target with only a query", "GET http://b?x HTTP/1.1", good)
line("an absolute target of https", "GET https://b:1/c HTTP/1.1", "200 GET /c []")
line("an absolute target without a host", "GET http:///c HTTP/1.1")
line("an absolute target of another scheme", "GET ftp://b/c HTTP/1.1")
line("an absolute target with a user", "GET http://u@b/c HTTP/1.1")
line("an absolute target that climbs", "GET http://b/../c HTTP/1.1")
line("an absolute target with a bad port", "GET http://b:x/ HTTP/1.1")
line("an authority", "GET b:80 HTTP/1.1")

-- ---- Host ----
row("no Host", "GET / HTTP/1.1\r\n\r\n", "400")
row("no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", good)
row("no Host but an absolute target", "GET http://a/ HTTP/1.1\r\n\r\n", "400")
row("an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", good)
field("two Hosts", "Host: b")
field("two Hosts alike", "Host: a")
field("two Hosts in two cases", "hOST: a")
for name, value in pairs { ["with a slash"] = "a/b", ["with a space"] = "a b",
    ["with a comma"] = "a,b", ["with an @"] = "u@a", ["with a bad port"] = "a:b",
    ["with two ports"] = "a:1:2", ["with a bad bracket"] = "[::1", ["with a query"] = "a?b",
    ["with an open bracket"] = "a[", ["with a backslash"] = "a\\b" } do
    row("a Host " .. name, "GET / HTTP/1.1\r\nHost: " .. value .. "\r\n\r\n", "400")
end
for name, value in pairs { ["with a port"] = "a:80", ["of IPv6"] = "[::1]:80",
    ["with dots"] = "www.a-b.example", ["of IPv4"] = "127.0.0.1:8080" } do
    row("a Host " .. name, "GET / HTTP/1.1\r\nHost: " .. value .. "\r\n\r\n", good)
end

-- ---- fields ----
field("a field", "A: b", good)
field("a field without a value", "A:", good)
field("a field without a space", "A:b", good)
field("a value with spaces around", "A:  \t b \t ", good)
field("a value with bytes that are not ASCII", "A: \195\164", good)
field("a value with a colon", "A: b: c", good)
field("a space before the colon", "A : b")
field("a tab before the colon", "A\t: b")
field("a space in a name", "A b: c")
field("a name with a bracket", "A(: b")
field("a name that is not ASCII", "\195\164: b")
field("an empty name", ": b")
field("no colon", "A")
field("a folded line", "A: b\r\n c")
field("a folded line with a tab", "A: b\r\n\tc")
field("a first line with a space", " A: b")
field("a NUL in a value", "A: b\0c")
field("a NUL in a name", "A\0: b")
field("a DEL in a value", "A: b\127")
field("a control byte in a value", "A: b\1c")
field("a bare LF between fields", "A: b\nC: d")
field("a bare CR between fields", "A: b\rC: d")
field("a bare CR in a value", "A: b\rc")
field("CR CR LF behind a field", "A: b\r\r\nC: d")
row("a head that ends with LF LF", "GET / HTTP/1.1\r\nHost: a\n\n", "400")
row("a head that ends with CR LF LF", "GET / HTTP/1.1\r\nHost: a\r\n\n", "400")
row("a head that ends with CR CR", "GET / HTTP/1.1\r\nHost: a\r\r", "400")
field("many fields", ("A: b\r\n"):rep(18) .. "A: b", good)
field("too many fields", ("A: b\r\n"):rep(19) .. "A: b", "431")
field("a long field", "A: " .. ("x"):rep(900), good)
field("a field that is too long", "A: " .. ("x"):rep(1100), "431")
field("a name that is too long", ("x"):rep(1100) .. ": a", "431")
field("an unknown expectation", "Expect: 200-maybe", "417")

-- ---- the length ----
post("a body", "Content-Length: 3", "abc", "200 POST / [abc]")
post("an empty body", "Content-Length: 0", "", "200 POST / []")
post("no length", "A: b", "", "200 POST / []")
post("a length with zeros in front", "Content-Length: 003", "abc", "200 POST / [abc]")
post("a length with a sign", "Content-Length: +3", "abc")
post("a negative length", "Content-Length: -3", "abc")
post("a length in hex", "Content-Length: 0x3", "abc")
post("a length with a letter", "Content-Length: 3a", "abc")
post("a length with a point", "Content-Length: 3.0", "abc")
post("an empty length", "Content-Length:", "abc")
post("two numbers", "Content-Length: 3 3", "abc")
post("a list of lengths", "Content-Length: 3, 3", "abc")
post("two lengths", "Content-Length: 3\r\nContent-Length: 4", "abcd")
post("two lengths alike", "Content-Length: 3\r\nContent-Length: 3", "abc")
post("a length beyond 64 bits", "Content-Length: 18446744073709551619", "abc")
post("a length beyond 63 bits", "Content-Length: 9223372036854775808", "abc")
post("a body that is too long", "Content-Length: 101", ("x"):rep(101), "413")
post("a body as long as may be", "Content-Length: 100", ("x"):rep(100),
    "200 POST / [" .. ("x"):rep(100) .. "]")
post("a body cut short", "Content-Length: 10", "abcde", "400")
post("a body and the next request", "Content-Length: 3", "abc" .. next_one,
    "200 POST / [abc]" .. then_next)
post("a body, a blank line, the next request", "Content-Length: 3", "abc\r\n" .. next_one,
    "200 POST / [abc]" .. then_next)
post("an expected 100", "Content-Length: 3\r\nExpect: 100-continue", "abc", "200 POST / [abc]")

-- ---- codings ----
post("both lengths", "Content-Length: 3\r\nTransfer-Encoding: chunked", "0\r\n\r\n")
post("both lengths, the other way", "Transfer-Encoding: chunked\r\nContent-Length: 3", "0\r\n\r\n")
post("two codings", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n")
post("identity", "Transfer-Encoding: identity", "")
post("chunked in quotes", "Transfer-Encoding: \"chunked\"", "0\r\n\r\n")
post("chunkedx", "Transfer-Encoding: chunkedx", "0\r\n\r\n")
post("xchunked", "Transfer-Encoding: xchunked", "0\r\n\r\n")
post("gzip", "Transfer-Encoding: gzip", "")
post("chunked, gzip", "Transfer-Encoding: chunked, gzip", "0\r\n\r\n")
post("gzip, chunked", "Transfer-Encoding: gzip, chunked", "0\r\n\r\n", "501")
post("chunked, chunked", "Transfer-Encoding: chunked, chunked", "0\r\n\r\n")
post("an empty coding", "Transfer-Encoding:", "0\r\n\r\n")
post("a vertical tab before chunked", "Transfer-Encoding: \11chunked", "0\r\n\r\n")
post("Chunked", "Transfer-Encoding: Chunked", "0\r\n\r\n", "200 POST / []")
row("chunked in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400")

-- ---- chunks ----
chunked("a chunk", "3\r\nabc\r\n0\r\n\r\n", "200 POST / [abc]")
chunked("two chunks", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "200 POST / [abcde]")
chunked("no chunk", "0\r\n\r\n", "200 POST / []")
chunked("a size in hex", "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
    "200 POST / [01234567890123456789]")
chunked("zeros in front", "0003\r\nabc\r\n000\r\n\r\n", "200 POST / [abc]")
chunked("chunks and the next request", "3\r\nabc\r\n0\r\n\r\n" .. next_one,
    "200 POST / [abc]" .. then_next)
post("a tab behind the coding", "Transfer-Encoding: chunked\t", "0\r\n\r\n")
chunked("an extension", "3;a=b\r\nabc\r\n0;c\r\n\r\n", "200 POST / [abc]")
chunked("a quoted extension", "3;a=\"b c\"\r\nabc\r\n0\r\n\r\n", "200 POST / [abc]")
chunked("two extensions", "3;a=b;c=\"d; e\"\r\nabc\r\n0;e;f\r\n\r\n", "200 POST / [abc]")
chunked("an extension without a name", "3;\r\nabc\r\n0\r\n\r\n")
chunked("an extension without its value", "3;a=\r\nabc\r\n0\r\n\r\n")
chunked("a space in an extension", "3;a=b c\r\nabc\r\n0\r\n\r\n")
chunked("an escape in an extension", "3;a=\"b\\\"c\"\r\nabc\r\n0\r\n\r\n")
chunked("a quote that is not closed", "3;a=\"b\r\nabc\r\n0\r\n\r\n")
chunked("an extension behind its quotes", "3;a=\"b\"c\r\nabc\r\n0\r\n\r\n")
chunked("an extension with a NUL", "3;a\0\r\nabc\r\n0\r\n\r\n")
chunked("an extension with an LF", "3;a\nabc\r\n0\r\n\r\n")
chunked("an extension with a CR", "3;a\rb\r\nabc\r\n0\r\n\r\n")
chunked("an extension that is too long", "3;" .. ("x"):rep(2000) .. "\r\nabc\r\n0\r\n\r\n")
chunked("a space behind the size", "3 \r\nabc\r\n0\r\n\r\n")
chunked("a space before the size", " 3\r\nabc\r\n0\r\n\r\n")
chunked("an empty size", "\r\nabc\r\n0\r\n\r\n")
chunked("a size that is no number", "g\r\nabc\r\n0\r\n\r\n")
chunked("a size with 0x", "0x3\r\nabc\r\n0\r\n\r\n")
chunked("a negative size", "-3\r\nabc\r\n0\r\n\r\n")
chunked("a size with a sign", "+3\r\nabc\r\n0\r\n\r\n")
chunked("a size beyond 64 bits", "10000000000000003\r\nabc\r\n0\r\n\r\n")
chunked("a size that ends with LF", "3\nabc\r\n0\r\n\r\n")
chunked("a size that ends with CR", "3\rabc\r\n0\r\n\r\n")
chunked("a chunk that ends with LF", "3\r\nabc\n0\r\n\r\n")
chunked("a chunk that ends with CR and another byte", "3\r\nabc\rX0\r\n\r\n")
chunked("a chunk that is longer than its size", "3\r\nabcd\r\n0\r\n\r\n")
chunked("a chunk that is shorter than its size", "5\r\nabc\r\n0\r\n\r\n")
chunked("the end with LF", "3\r\nabc\r\n0\n\n")
chunked("the end with LF behind CR LF", "3\r\nabc\r\n0\r\n\n")
chunked("no end", "3\r\nabc\r\n", "400")
chunked("a trailer", "3\r\nabc\r\n0\r\nA: b\r\n\r\n", "200 POST / [abc]")
chunked("a trailer and the next request", "3\r\nabc\r\n0\r\nA: b\r\nC: d\r\n\r\n" .. next_one,
    "200 POST / [abc]" .. then_next)
chunked("a trailer without a colon", "3\r\nabc\r\n0\r\nA\r\n\r\n")
chunked("a trailer with a space before the colon", "3\r\nabc\r\n0\r\nA : b\r\n\r\n")
chunked("a trailer that is folded", "3\r\nabc\r\n0\r\nA: b\r\n c\r\n\r\n")
chunked("a trailer with a NUL", "3\r\nabc\r\n0\r\nA: \0\r\n\r\n")
chunked("a trailer that ends with LF", "3\r\nabc\r\n0\r\nA: b\n\r\n")
chunked("chunks that are too long together",
    "60\r\n" .. ("x"):rep(96) .. "\r\n5\r\nxxxxx\r\n0\r\n\r\n", "413")

chunked("extensions that are too long together",
    ("1;" .. ("x"):rep(900) .. "\r\na\r\n"):rep(20) .. "0\r\n\r\n")
chunked("extensions that are not", ("1;" .. ("x"):rep(900) .. "\r\na\r\n"):rep(10) .. "0\r\n\r\n",
    "200 POST / [aaaaaaaaaa]")
chunked("a size behind a space and more", "3 x\r\nabc\r\n0\r\n\r\n")
chunked("a size with a tab", "3\t\r\nabc\r\n0\r\n\r\n")
chunked("a size with 0X", "0X3\r\nabc\r\n0\r\n\r\n")
chunked("a size with a point", "3.0\r\nabc\r\n0\r\n\r\n")
chunked("a size with an underscore", "1_0\r\n0123456789abcdef\r\n0\r\n\r\n")
chunked("a last size with a sign", "-0\r\n\r\n")
chunked("a space before the extension", "3 ;a\r\nabc\r\n0\r\n\r\n")
chunked("spaces in an extension", "3; a = b\r\nabc\r\n0\r\n\r\n")
chunked("a line's end in quotes", "3;a=\"\r\n\"\r\nabc\r\n0\r\n\r\n")
chunked("an extension without a name, and another request", "0;\r\n\r\n" .. next_one)
chunked("no line's end between chunks", "3\r\nabc0\r\n\r\n")
chunked("the end without its blank line", "0\r\n")
chunked("the end without its last byte", "0\r\n\r")
chunked("a trailer that frames", "3\r\nabc\r\n0\r\nContent-Length: 5\r\n" ..
    "Transfer-Encoding: chunked\r\nHost: b\r\n\r\n" .. next_one, "200 POST / [abc]" .. then_next)
chunked("a long trailer", "1\r\na\r\n0\r\n" .. ("A: " .. ("x"):rep(900) .. "\r\n"):rep(7) ..
    "\r\n", "200 POST / [a]")
chunked("a trailer that is too long",
    "1\r\na\r\n0\r\n" .. ("A: " .. ("x"):rep(900) .. "\r\n"):rep(10) .. "\r\n")

-- ---- other methods and protocols ----
row("a body of GET", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" .. next_one,
    "200 GET / [abc]" .. then_next)
row("chunks of GET", "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" ..
    "3\r\nabc\r\n0\r\n\r\n" .. next_one, "200 GET / [abc]" .. then_next)
row("a body of HTTP/1.0", "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n" ..
    "\r\nabc" .. next_one, "200 POST / [abc]" .. then_next)
row("no length in HTTP/1.0", "POST / HTTP/1.0\r\n\r\nabc", "200 POST / []")
row("an expected 100 in HTTP/1.0", "POST / HTTP/1.0\r\nExpect: 100-continue\r\n" ..
    "Content-Length: 3\r\n\r\nabc", "200 POST / [abc]")
row("two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "400")
post("an expected 100 in other letters", "Expect: 100-Continue\r\nContent-Length: 3", "abc",
    "200 POST / [abc]")
post("an upgrade that is not taken", "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3",
    "abc" .. next_one, "200 POST / [abc]" .. then_next)
post("an upgrade to websocket by POST", "Connection: Upgrade\r\nUpgrade: websocket", next_one,
    "200 POST / []" .. then_next)
post("an upgrade without its Connection", "Upgrade: websocket", next_one,
    "200 POST / []" .. then_next)
row("an upgrade in HTTP/1.0", "GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" ..
    "\r\n" .. next_one, good)
post("a name with an underscore", "Content_Length: 3", next_one, "200 POST / []" .. then_next)
post("a space between length and colon", "Content-Length : 3", "abc")
post("a space between coding and colon", "Transfer-Encoding : chunked", "0\r\n\r\n")
row("a space between Host and colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400")
post("a length behind a tab", "Content-Length:\t3", "abc", "200 POST / [abc]")
post("a tab behind a length", "Content-Length: 3\t", "abc")
post("a length with more zeros than digits are", "Content-Length: " .. ("0"):rep(50) .. "3", "abc")
post("a folded coding", "Transfer-Encoding:\r\n chunked", "0\r\n\r\n")
post("a coding with a parameter", "Transfer-Encoding: chunked;q=1", "0\r\n\r\n")
post("a coding and a comma", "Transfer-Encoding: chunked,", "0\r\n\r\n")
post("a coding with a space in it", "Transfer-Encoding: ch unked", "0\r\n\r\n")
post("chunked and identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "0\r\n\r\n")
post("identity and a length", "Content-Length: 3\r\nTransfer-Encoding: identity", "abc")
line("a scheme in capitals", "GET HTTP://b/c HTTP/1.1", "200 GET /c []")
line("a vertical tab for a space", "GET\11/ HTTP/1.1")
line("a form feed at the end", "GET / HTTP/1.1\12")
line("a path that is decoded once", "GET /%252e%252e/x HTTP/1.1", "200 GET /%2e%2e/x []")

-- ---- one after the other ----
row("three requests", next_one:rep(3), "200 GET /n []" .. then_next .. then_next)
row("a bad one behind a good one", next_one .. "G( / HTTP/1.1\r\n\r\n", "200 GET /n [] + 400")
row("nothing behind a bad one", "G( / HTTP/1.1\r\n\r\n" .. next_one, "400")
row("half a head behind a good one", next_one .. "GET / HTTP/1.1\r\nHos", "200 GET /n []")
field("Connection: close, and another request", "Connection: close\r\n\r\n" .. next_one:sub(1, -5),
    good)
field("close in a list", "Connection: x, Close\r\n\r\n" .. next_one:sub(1, -5), good)
field("close behind keep-alive", "Connection: keep-alive, close\r\n\r\n" .. next_one:sub(1, -5),
    good)
field("close in a second line", "Connection: keep-alive\r\nConnection: close\r\n\r\n" ..
    next_one:sub(1, -5), good)
row("a blank line between two", next_one .. "\r\n" .. next_one, "200 GET /n []" .. then_next)
row("junk behind a good one", next_one .. "junk\r\n\r\n", "200 GET /n [] + 400")
row("HTTP/1.0 closes", "GET / HTTP/1.0\r\n\r\n" .. next_one, good)
row("HTTP/1.0 with keep-alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" .. next_one,
    good .. then_next)

return rows
