-- http_seeds.lua DIR: the requests of the wire spec as a corpus for spec/fuzz/http.c.

local dir = ...
for i, row in ipairs(require "spec.support.http_rows") do
    local file <close> = assert(io.open(("%s/%03d"):format(dir, i), "wb"))
    file:write("\1\1", row[2])
end
