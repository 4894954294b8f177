-- Writes inputs for spec/fuzz/net.c to begin with into a folder.

local dir = assert(arg[1], "a folder")

local texts = {
    "\0first\r\nsecond\nthird", "\1kept\n", "\4ab until ab", "\3a;b;c", "\2count",
    " 12 ", "-0x1.8p+3x", "1e", "0x", "+.5e-10 ", ("9"):rep(210), "nan", "1..2",
    "127.0.0.1", "::1", "fe80::1%lo", "::ffff:1.2.3.4", "*", "localhost",
    "1:2:3:4:5:6:7:8%4294967295",
    "1.2.3", "fe80::%", "/tmp/socket", "@name", ("x"):rep(108), "./@file",
}

for i, text in ipairs(texts) do
    for kind = 0, 3 do
        local file <close> = assert(io.open(("%s/seed-%d-%d"):format(dir, i, kind), "wb"))
        file:write(string.char(kind, i, kind), text)
    end
end
