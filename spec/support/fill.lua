---Writes until neither a stream nor the kernel takes more, though nobody reads at the other
---end; its timeout is off then.
---@param stream stream
---@return integer taken how many bytes they have taken
return function(stream)
    local block, taken = ("."):rep(65536), 0
    stream:settimeout(0.005)
    repeat
        while stream:write(block) do taken = taken + #block end
        local flushed = stream:flush()
    until not flushed and not neap.wait_fd(stream.fd, "w", 0)
    stream:settimeout()
    return taken
end
