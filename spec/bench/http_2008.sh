#!/bin/sh
# http_2008.sh [ROUNDS [SECONDS]]: what a request costs the server, in CPU time, in each of the
# forms of scripts/bench/http_2008.lua; 64 connections of wrk. The forms take turns, the figures
# are the middle ones; `asking` is what the form costs above `direct`, where nobody is asked.
# Compare ratios, and only within one run.

cd "$(dirname "$0")/../.." || exit 1
samples=build/bench/http_2008
port=$((20000 + $$ % 12000))
mkdir -p build/bench && rm -f $samples
command -v wrk >/dev/null || { echo "install wrk" >&2; exit 1; }

# The server on one processor, what drives it on another.
on_server= on_load=
[ "$(nproc)" = 1 ] || on_server='taskset -c 0' on_load='taskset -c 1'
ticks=$(getconf CLK_TCK)

cpu() { # PID: user and system time in ticks
    sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'
}

measure() { # STACK FORM
    port=$((port + 1))
    $on_server ./neap scripts/bench/http_2008.lua "$1" "$2" $port &
    server=$!
    sleep 0.3
    $on_load wrk -t1 -c64 -d1 http://127.0.0.1:$port/some/path >/dev/null
    before=$(cpu $server)
    asked=$($on_load wrk -t1 -c64 -d"${seconds:=3}" http://127.0.0.1:$port/some/path |
        awk '/requests in/ { print $1 } /Non-2xx|Socket errors/ { print > "/dev/stderr" }')
    echo "$1 $2 $(($(cpu $server) - before)) $asked" | awk -v ticks="$ticks" '
        { print $1, $2, $3 / ticks / $4 * 1e6 }' >>$samples
    kill $server && wait $server 2>/dev/null
}

seconds=$2
for round in $(seq "${1:-5}"); do
    for form in direct tasklets instances deferreds; do measure protocol $form; done
    for form in direct instances deferreds; do measure server $form; done
done

sort -k1,1 -k2,2 -k3,3n $samples | awk '
    function flush_case() {
        if (n) middle[key] = (v[int((n + 1) / 2)] + v[int((n + 2) / 2)]) / 2
        n = 0
    }
    function row(stack, form, old,   us, base) {
        us = middle[stack " " form]
        base = middle[stack " direct"]
        printf "%-10s %-10s %8.2f us %8.2f us %8.2f\n", stack, form, us, us - base,
            us / middle[stack " " old]
    }
    $1 " " $2 != key { flush_case(); key = $1 " " $2 }
    { v[++n] = $3 }
    END {
        flush_case()
        printf "%-10s %-10s %11s %11s %8s\n", "stack", "form", "a request", "asking", "to old"
        row("protocol", "direct", "tasklets"); row("protocol", "tasklets", "tasklets")
        row("protocol", "instances", "tasklets"); row("protocol", "deferreds", "tasklets")
        row("server", "direct", "instances"); row("server", "instances", "instances")
        row("server", "deferreds", "instances")
    }'
