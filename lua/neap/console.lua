-- The prompt of a running program, on a unix socket: neap --console PATH, --attach PATH.
-- What goes over it is text, so that `nc -U PATH` will do: the prompts and what is printed one
-- way, lines the other way.

local neap = require "neap"
local net = require "neap.net"
local repl = require "neap.repl"
local inside = require "neap.inside"

local console = {}

-- What is typed sees its own print; all else is the program's.
local function environment(write)
    local own = {
        print = function(...)
            local texts = table.pack(...)
            for i = 1, texts.n do texts[i] = tostring(texts[i]) end
            write(table.concat(texts, "\t") .. "\n")
        end,
    }
    return setmetatable(own, { __index = _G, __newindex = _G })
end

local function serve(stream)
    neap.getcurrent().daemon = true
    local function write(text) return stream:write(text) end
    local gone = false
    repl.loop {
        env = environment(write), write = write,
        lost = function() return gone end,
        read = function(prompt)
            local line = stream:write(prompt) and stream:read "l"
            if not line then
                gone = true
                return nil
            end
            return (line:gsub("\r$", ""))
        end,
    }
end

---Lets others look into this program: each connection gets a prompt. It keeps no program
---alive, and whoever leaves stops nothing. Raises if it cannot listen there.
---@param path string a unix socket, which only this user may open
function console.console(path)
    local listener = neap.must(net.listen_unix(path, { mode = tonumber("600", 8) }))
    local t = neap.spawn(function() listener:serve(serve) end)
    t.name, t.daemon = "console", true
    inside.observe()
end

---Gives this program's standard input to a program's console, and shows what comes back,
---until one of both ends. Raises if there is none.
---@param path string
function console.attach(path)
    local stream = neap.must(net.connect_unix(path))
    local shows = neap.spawn(function()
        for data in function() return stream:read_some() end do
            io.write(data)
            io.stdout:flush()
        end
    end)
    local types = neap.spawn(function()
        for line in io.lines() do
            if not stream:write(line, "\n") then break end
        end
        stream:shutdown()
    end)
    shows:join()
    types:kill(true)
end

return console
