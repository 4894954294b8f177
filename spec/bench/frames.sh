#!/bin/sh
# frames.sh [FRAMES]: what a frame costs in an embedding host (frames.c).

cd "$(dirname "$0")/../.." || exit 1
make -s libneap.a && mkdir -p build/bench || exit 1
${CC:-cc} -std=gnu11 -O2 -Iruntime -I"${LUA_INC:-/usr/include/lua5.4}" -o build/bench/frames \
    spec/bench/frames.c libneap.a ${LIBS:--l:liblua5.4.a -l:libev.a -lm -ldl -lpthread} &&
    exec build/bench/frames "$@"
