-- Writes inputs for spec/fuzz/dns.c to begin with into a folder: good answers to both questions,
-- and those that the specs of names have against them.

local dir = assert(arg[1], "a folder")
package.path = "./?.lua;" .. package.path
local dns = require "spec.support.dns"

local q = { id = 0x4142, name = "a.test", question = dns.name("a.test") .. "\0\28\0\1" }
local four, six = dns.record("A", "10.0.0.1"), dns.record("AAAA", "fd00:0:0:0:0:0:0:1")
local cname = dns.record("CNAME", "b.test", 30)

local answers = {
    dns.answer(q, { six }), dns.answer(q, { four, four, dns.record("A", "10.0.0.2", 0) }),
    dns.answer(q, {}), dns.answer(q, {}, { rcode = 3 }), dns.answer(q, {}, { rcode = 2 }),
    dns.answer(q, { cname, dns.record("AAAA", "fd00:0:0:0:0:0:0:2", 9, "b.test") }),
    dns.answer(q, { cname, dns.record("CNAME", "a.test", 5, "b.test") }),
    dns.answer(q, {}, { truncated = true }), dns.answer(q, { six, four }, { count = 65535 }),
    dns.answer(q, { dns.record("CNAME", ("\1\2 /%z"):rep(5)) }), "",
    dns.answer(q, { "\xc0\x0c\0\5\0\1\0\0\0\1\0\2\xc0\x20" }),
    dns.answer(q, {}, { question = "\xc0\x0c\0\1\0\1" }),
}

-- Without the question, which the fuzzer puts there.
local function bare(answer)
    return answer:sub(1, 12) .. answer:sub(13 + #q.question)
end

for i, one in ipairs(answers) do
    for k, other in ipairs(answers) do
        local name = ("%s/seed-%d-%d"):format(dir, i, k)
        local file <close> = assert(io.open(name, "wb"))
        one, other = i % 2 == 0 and one or bare(one), i % 2 == 0 and other or bare(other)
        local share = math.min(255, #one * 255 // math.max(1, #one + #other) + 1)
        file:write(string.char(i % 2 == 0 and 0 or 8 + 16 * (k % 2), k, 0, share), one, other)
    end
end
