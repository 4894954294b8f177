-- Looks up the addresses of names, all at once.
--
--   neap scripts/lookup.lua [@SERVER] [-4|-6] NAME...

local net = require "neap.net"

local names, opts = {}, {}
for _, word in ipairs(arg) do
    local server = word:match "^@(.+)"
    if server then
        opts.servers = opts.servers or {}
        table.insert(opts.servers, server)
    elseif word == "-4" or word == "-6" then
        opts.family = tonumber(word:sub(2))
    else
        names[#names + 1] = word
    end
end
if #names == 0 then names[1] = "localhost" end

local answers = neap.map(names, function(name)
    local addresses, err = net.resolve(name, opts)
    return addresses and table.concat(addresses, " ") or err
end)

for i, name in ipairs(names) do print(name, answers[i]) end
