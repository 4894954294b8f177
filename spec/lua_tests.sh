#!/bin/sh
# lua_tests.sh DIR LUA NEAP: runs the portable part of Lua's own tests, in DIR, under the
# stock LUA, and what passes there under NEAP, each file in a program of its own, then all
# of them in one. Prints what NEAP does not pass, with the end of its output; the status is
# 1 then, or if LUA passes nothing.

dir=$1 stock=$2
case $3 in /*) neap=$3 ;; *) neap=$PWD/$3 ;; esac
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0 failed=0 skipped=
settings='_port = true _soft = true _nomsg = true ARG = arg function Message() end'

pass() { # program, setting, file
    (cd "$dir" && timeout -k 5 "${LIMIT:-300}" "$1" -e "$2" "$3") >"$log" 2>&1 </dev/null
}

compare() { # setting, file
    if ! pass "$stock" "$1" "$2"; then
        skipped="$skipped $2"
    elif pass "$neap" "$1" "$2"; then
        passed=$((passed + 1))
    else
        echo "$2: passes under $stock, not under $3; its last lines:"
        tail -n 12 "$log" | sed 's/^/    /'
        failed=$((failed + 1))
    fi
}

for path in "$dir"/*.lua; do
    file=${path##*/}
    case $file in
    all.lua) compare '_U = true' "$file" "$3" ;;
    heavy.lua) ;; # wants more memory than there is
    *) compare "$settings" "$file" "$3" ;;
    esac
done

[ -z "$skipped" ] || echo "not passed under $stock either:$skipped"
echo "$((passed + failed)) files pass under $stock, $passed of them under $3"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
