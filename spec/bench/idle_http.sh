#!/bin/sh
# idle_http.sh [N [SECONDS]]: an HTTP server's active clients (wrk, 100 connections) alone and
# beside N idle keep-alive clients, and what each of those costs the server. Of five runs the
# one with the least 99th percentile counts: others use the machine, too. Descriptors are
# limited: `ulimit -n 20000` allows 19800 clients, in two processes, beside wrk's.
set -e
neap=${NEAP:-./neap} n=${1:-19800} seconds=${2:-3} port=${PORT:-7070}
ask() { "$neap" spec/bench/idle_http.lua ask "$port" "$1"; }
load() {
    for run in 1 2 3 4 5; do
        wrk -t1 -c100 -d"$seconds"s --latency http://127.0.0.1:$port/ | awk '
            /errors|Non-2xx/ { print > "/dev/stderr" }
            $1 == "50%" { median = $2 }
            $1 == "99%" { last = $2 }
            /Requests\/sec/ { print last, "99%,", median, "50%,", $2, "requests a second" }'
    done | sed 's/^\([0-9.]*\)s/\1e3ms/; s/^\([0-9.]*\)us/\1e-3ms/' | sort -g | head -1
}
"$neap" spec/bench/idle_http.lua serve "$port" & pids=$!
trap 'kill $pids 2>/dev/null' EXIT
sleep 1
load >/dev/null # the kernel's tables, and the server's memory, have their size
printf 'alone:  '; load
mem=$(ask memory) res=$(ask resident)
for half in 1 2; do
    "$neap" spec/bench/idle_http.lua hold "$port" $((n / 2)) >/tmp/idle_http.$$.$half & pids="$pids $!"
done
until [ "$(cat /tmp/idle_http.$$.* | grep -c held)" = 2 ]; do sleep 1; done
rm /tmp/idle_http.$$.*
sleep 2
echo "each of $n idle: $((($(ask memory) - mem) / n)) bytes counted by the runtime," \
    "$((($(ask resident) - res) * 1024 / n)) resident"
before=$(ask cpu)
sleep "$seconds"
echo "CPU of the server in $seconds s of silence: $(echo "$(ask cpu) - $before" | bc) s"
printf 'beside: '; load
