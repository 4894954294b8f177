#!/bin/sh
# run.sh: what neap costs beside the least that C and bare Lua need for the same
# work, in one run; beside Go too, where that is installed. CPU time throughout,
# each figure the middle one of several, taken in turns; `best` compares the lowest.
# Compare ratios, and only within one table: machines are noisy.

cd "$(dirname "$0")/../.." || exit 1
out=build/bench
samples=$out/samples
port=$((20000 + $$ % 20000))
rm -rf $out && mkdir -p $out

: "${CC:=cc}" "${LUA_INC:=/usr/include/lua5.4}" "${LIBS:=-l:liblua5.4.a -l:libev.a -lm -ldl}"
for c in floor echo_floor tls_floor http_floor load start; do
    $CC -std=gnu11 -O2 -I"$LUA_INC" -o $out/$c spec/bench/$c.c $LIBS -lssl -lcrypto || exit 1
done
go=
if command -v go >/dev/null && go build -o $out/peer spec/bench/peer.go; then go=$out/peer; fi
nginx=
[ ! -f /usr/lib/nginx/modules/ngx_http_lua_module.so ] || nginx=$(command -v nginx)
lua=$(command -v lua5.4) || echo "start: skipped, there is no lua5.4 to compare with"

cert=$out/cert.pem key=$out/key.pem
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=bench \
    -keyout $key -out $cert 2>/dev/null || exit 1

# The server on one processor, what drives it on another.
on_server= on_load=
[ "$(nproc)" = 1 ] || on_server='taskset -c 0' on_load='taskset -c 1'

sample() { # work who command...: takes down the figure that the command prints
    work=$1 who=$2
    shift 2
    "$@" | awk -v work="$work" -v who="$who" '{ print work, who, $2, $3 }' >>$samples
}

load() { # kind command...: the command serves a port, given last, while the load runs
    kind=$1
    shift
    port=$((port + 1))
    $on_server "$@" $port >/dev/null &
    $on_load $out/load $port $! 4 $kind
    kill $! && wait $! 2>/dev/null
}


for round in 1 2 3; do
    for work in switch rendezvous spawn; do
        sample $work neap $on_load ./neap scripts/bench/$work.lua
        [ -z "$go" ] || sample $work go $on_load $go $work
    done
    for work in park timers; do
        sample $work neap $on_load ./neap scripts/bench/$work.lua 100000
        [ -z "$go" ] || sample $work go $on_load $go $work 100000
    done
    sample deferred neap $on_load ./neap scripts/bench/deferred.lua
    sample hoisted neap $on_load ./neap scripts/bench/rendezvous.lua hoisted
    for work in switch rendezvous reuse reset new; do
        sample $work floor $on_load $out/floor $work
    done
    if [ -n "$lua" ]; then
        sample start neap $on_load $out/start ./neap -e ''
        sample start floor $on_load $out/start "$lua" -e ''
    fi
done
for round in 1 2; do
    sample echo floor load '' $out/echo_floor
    sample echo neap load '' ./neap scripts/bench/echo.lua
    [ -z "$go" ] || sample echo go load '' $go echo
    sample tls floor load tls $out/tls_floor $cert $key
    sample tls neap load tls ./neap scripts/bench/tls_echo.lua $cert $key
    [ -z "$go" ] || sample tls go load tls $go tls $cert $key
    for kind in http browser; do
        sample $kind floor load $kind $out/http_floor
        sample $kind neap load $kind ./neap scripts/bench/http.lua
        [ -z "$go" ] || sample $kind go load $kind $go http
        [ -z "$nginx" ] || sample $kind-nginx floor load $kind sh spec/bench/nginx.sh $out
    done
done

awk -v lua="$lua" -v nginx="$nginx" '
    function sorted(key,   n, i, j, v) {
        n = count[key]
        for (i = 2; i <= n; i++) {
            v = value[key, i]
            for (j = i - 1; j >= 1 && value[key, j] > v; j--)
                value[key, j + 1] = value[key, j]
            value[key, j + 1] = v
        }
        return n
    }
    function middle(key,   n) {
        n = sorted(key)
        return (value[key, int((n + 1) / 2)] + value[key, int((n + 2) / 2)]) / 2
    }
    function lowest(key) {
        sorted(key)
        return value[key, 1]
    }
    function figure(key) {
        return count[key] ? sprintf("%.4g %s", middle(key), unit[key]) : "-"
    }
    function ratio(a, b) {
        return count[a] && count[b] ? sprintf("%.2f", middle(a) / middle(b)) : "-"
    }
    function best(a, b) {
        return count[a] && count[b] ? sprintf("%.2f", lowest(a) / lowest(b)) : "-"
    }
    function row(title, work, floor,   a, b, c) {
        a = work " neap"; b = floor " floor"; c = (work == "hoisted" ? floor : work) " go"
        printf "%-34s | %9s | %9s | %5s | %5s | %9s | %7s\n", title, figure(a), figure(b),
            ratio(a, b), best(a, b), figure(c), ratio(a, c)
    }

    {
        key = $1 " " $2
        value[key, ++count[key]] = $3
        unit[key] = $4
        sub(/,$/, "", unit[key])
    }

    END {
        printf "%-34s | %9s | %9s | %5s | %5s | %9s | %7s\n", "work", "neap", "floor",
            "ratio", "best", "Go", "neap/Go"
        row("schedule() among 1,000 tasklets", "switch", "switch")
        row("rendezvous, round trip", "rendezvous", "rendezvous")
        row("  with send and receive in locals", "hoisted", "rendezvous")
        row("spawn, run, end; thread reused", "spawn", "reuse")
        row("                 thread reset", "spawn", "reset")
        row("                 new thread", "spawn", "new")
        row("deferred, 3 callbacks, fired", "deferred", "deferred")
        row("a parked tasklet, 100,000 of them", "park", "park")
        row("a random sleep, 100,000 of them", "timers", "timers")
        row("TCP echo, 64 x 64 bytes, server", "echo", "echo")
        row("TLS echo, 64 x 64 bytes, server", "tls", "tls")
        row("HTTP hello, 64 clients, server", "http", "http")
        row("  with the fields of a browser", "browser", "browser")
        if (nginx != "") {
            row("HTTP hello, against nginx, LuaJIT", "http", "http-nginx")
            row("  with the fields of a browser", "browser", "browser-nginx")
        }
        if (lua != "")
            row("start, against " lua, "start", "start")
    }
' $samples
