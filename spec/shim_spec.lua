-- The kernel at its stingiest: specs of the networks pass where a read or a write on a socket
-- moves one byte and the next one none (support/shim.c). SPEC_SHIM=all runs all that do.

local child = require "spec.support.child"

local files = { "protocol", "relay" }
if os.getenv("SPEC_SHIM") == "all" then
    files = { "protocol", "relay", "unix", "connect", "listener", "net", "stream" }
end

describe("with one byte a time", function()
    for _, mode in ipairs { "r", "w", "rw" } do
        it("as SHIM=" .. mode .. " says, other specs pass", function()
            local status, out, err = child.shell([[
                shim=$(mktemp) && ${CC:-cc} -O2 -shared -fPIC -o $shim spec/support/shim.c -ldl &&
                for name in ]] .. table.concat(files, " ") .. [[; do
                    SHIM=]] .. mode .. [[ LD_PRELOAD=$shim \
                        ASAN_OPTIONS=verify_asan_link_order=0:$ASAN_OPTIONS \
                        busted --lua="$NEAP" -o plainTerminal spec/${name}_spec.lua || exit
                done; rm -f $shim
            ]])
            local _, passed = out:gsub("/ 0 failures / 0 errors", "")
            assert.same({ 0, #files }, { status, passed }, out .. err)
        end)
    end

    it("the shim does what it says", function()
        local status, out, err = child.shell([[
            shim=$(mktemp) && ${CC:-cc} -O2 -shared -fPIC -o $shim spec/support/shim.c -ldl &&
            SHIM=rw LD_PRELOAD=$shim ASAN_OPTIONS=verify_asan_link_order=0:$ASAN_OPTIONS \
                "$NEAP" -e 'local a, b = require("neap.net").pair()
                a:write("text")
                a:flush()
                for _ = 1, 4 do io.write(b:read_some(), " ") end'
            rm -f $shim
        ]])
        assert.same({ 0, "t e x t ", "" }, { status, out, err })
    end)
end)
