#!/bin/sh
# check.sh: all that `make check` asks for. Ends with `N passed, N failed`, the
# sum over every run: a check counts as one, a run of the specs as many as it
# has. A run that ends badly or without its summary is a failure of its own.

make="${MAKE:-make} --no-print-directory"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0 failed=0

run() { # command...: its output to the terminal and to $log, its status in $status
    echo "== $*"
    { timeout -k 5 "${LIMIT:-1800}" "$@" 2>&1; echo $? >"$log.status"; } | tee "$log"
    status=$(cat "$log.status")
    rm -f "$log.status"
}

check() { # command...: passes or fails as a whole
    run "$@"
    if [ "$status" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

specs() { # command...: what busted counted
    run "$@"
    set -- $(sed -n 's|^\([0-9]*\) success[a-z]* / \([0-9]*\) failures* / \([0-9]*\) errors* / .*|\1 \2 \3|p' "$log" | tail -n 1)
    if [ $# != 3 ]; then
        echo "no summary: the run counts as failed"
        set -- 0 1 0
    elif [ "$status" != 0 ] && [ $(($2 + $3)) = 0 ]; then
        echo "status $status: the run counts as failed"
        set -- "$1" 1 0
    fi
    passed=$((passed + $1)) failed=$((failed + $2 + $3))
}

check $make -j"$(nproc)" all build/asan/neap build/stress/neap
check $make lint
check $make layers
check $make exports
check sh spec/checks_spec.sh
specs $make test
specs $make asan
specs $make stress

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
