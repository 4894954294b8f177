#!/bin/sh
# stream.sh [MIB]: a stream's throughput beside C, in one run: a copy between two sockets by
# net.relay, by read_some and write, and by a C loop; and a message of four pieces written as a
# table, as one joined string, and by sendmsg in C. Each line: what, the CPU seconds of the process
# that is measured, the MB/s. Compare within one run.

cd "$(dirname "$0")/../.." || exit 1
mib=${1:-1024}
out=build/bench
port=$((10000 + $$ % 18000))
mkdir -p $out
"${CC:-cc}" -std=gnu11 -O2 -o $out/stream spec/bench/stream.c || exit 1

report() { # title MIB: a line `NAME CPU elapsed`, with its MB/s
    awk -v title="$1" -v mib="$2" \
        '{ printf "%-34s %6.2f s CPU %8.0f MB/s\n", title, $2, mib * 1.048576 / $3 }'
}

copies() { # title command...: the command copies port to port + 1
    title=$1
    shift
    port=$((port + 2))
    $out/stream sink $((port + 1)) >/dev/null &
    "$@" $port $((port + 1)) >$out/copied &
    $out/stream source $port "$mib" >/dev/null
    wait
    report "$title" "$mib" <$out/copied
}

writes() { # title command...: the command takes the port, MiB, and the size of a piece
    title=$1
    shift
    port=$((port + 2))
    $out/stream sink $port >/dev/null &
    "$@" $port "$mib" "$size" | report "$title" "$mib"
    wait
}

for round in 1 2 3; do
    copies 'copy: C, read and write' $out/stream copy
    copies 'copy: net.relay' ./neap spec/bench/stream.lua relay
    copies 'copy: read_some and write' ./neap spec/bench/stream.lua copy
    for size in 1000 20000 300000; do
        writes "3 x $size: C, sendmsg" $out/stream send
        writes "3 x $size: a table" ./neap spec/bench/stream.lua pieces
        writes "3 x $size: joined before" ./neap spec/bench/stream.lua joined
    done
done | sort
