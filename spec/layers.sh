#!/bin/sh
# layers.sh RUNTIME [OBJECT...]: the architecture, checked. In the tree RUNTIME
#   - a file includes only its own folder and those before it in `order`;
#     the host only neap.h;
#   - only reactor/ sees libev, and neither base/ nor reactor/ sees Lua;
# and no OBJECT holds data that can be written to: a runtime's state is its own.
# Prints what breaks a rule; the status is 1 then.

order='base reactor core net http system bind embed host'
runtime=${1%/}
shift

find "$runtime" -name '*.[ch]' | sort | xargs awk -v order="$order" -v root="$runtime/" '
    function bad(why) {
        printf "%s:%d: %s\n", FILENAME, FNR, why
        failed = 1
    }

    BEGIN {
        n = split(order, names, " ")
        for (i = 1; i <= n; i++)
            rank[names[i]] = i
    }

    FNR == 1 {
        path = substr(FILENAME, length(root) + 1)
        own = path
        if (!sub("/.*", "", own))
            own = ""
        if (path != "neap.h" && !(own in rank))
            bad("a file in no layer")
    }

    /^[ \t]*#[ \t]*include/ {
        what = $0
        gsub(/^[^<"]*[<"]|[>"].*$/, "", what)
        folder = what
        if (!sub("/.*", "", folder))
            folder = ""

        if (what ~ /(^|\/)\.\.?\//)
            bad("include " what ": name the folder, from runtime/ on")
        else if (folder in rank && folder != own) {
            if (rank[folder] > rank[own])
                bad("include " what ": " (own ? own "/" : path) " does not see " folder "/")
            else if (own == "host")
                bad("include " what ": the host uses neap.h only")
        }
        if (what ~ /^(ev|ev\+\+)\.h(h|$)$/ && own != "reactor")
            bad("include " what ": only reactor/ sees libev")
        if (what ~ /^(lua|lauxlib|lualib|luaconf|neap)\.h(pp)?$/ && (own == "base" || own == "reactor"))
            bad("include " what ": " own "/ does not see Lua")
    }

    END { exit failed }
' || failed=1

# Thread-local data counts as well; constants that hold addresses do not.
[ $# = 0 ] || ${NM:-nm} -A -f sysv "$@" | awk -F '|' '
    $NF ~ /^(\.(data|bss|tdata|tbss)|\*COM\*)/ && $NF !~ /^\.data\.rel\.ro/ {
        sub(/ *$/, "", $1)
        print $1 ": data that can be written to"
        failed = 1
    }
    END { exit failed }
' || failed=1

exit ${failed:-0}
