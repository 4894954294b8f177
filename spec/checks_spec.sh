#!/bin/sh
# The checks themselves can fail: each is shown a small tree or library that is
# sound, then the same with one fault, which it has to name.

here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failed=0

sound() { # a tree that breaks no rule
    rm -rf runtime && mkdir -p runtime/base runtime/reactor runtime/core runtime/bind runtime/host
    echo '#include "lua.h"' >runtime/neap.h
    printf '#include "base/list.h"\n#include <stddef.h>\n' >runtime/base/list.c
    printf '#include "base/list.h"\n#include <ev.h>\n' >runtime/reactor/loop.c
    printf '#include "reactor/loop.h"\n#include "neap.h"\n' >runtime/core/tasklet.c
    printf '#include "core/tasklet.h"\n#include <lauxlib.h>\n' >runtime/bind/tasklet.c
    printf '#include "host/repl.h"\n#include "neap.h"\n#include "lauxlib.h"\n' >runtime/host/main.c
    echo 'static const char *const names[] = {"a"}; const char *const *neap_names(void) { return names; }' >sound.c
}

expect() { # ok|bad title command...
    want=$1 title=$2 got=ok
    shift 2
    "$@" >out 2>&1 || got=bad
    [ "$got" != bad ] || [ -s out ] || got=silent
    [ "$got" = "$want" ] && return
    echo "checks_spec: $title: expected $want, got $got"
    cat out
    failed=1
}

layers() { sh "$here/layers.sh" runtime "$@"; }
exports() { sh "$here/exports.sh" "$@"; }
object() { echo "$1" | ${CC:-cc} -fPIC -x c -c -o fault.o - && layers fault.o; }
archive() { echo "$1" | ${CC:-cc} -x c -c -o fault.o - && ar rc fault.a fault.o && exports fault.a; }
shared() { echo "$1" | ${CC:-cc} -fPIC -shared -x c -o fault.so - && exports fault.so; }

upward() { # FILE HEADER: a sound tree in which FILE includes HEADER as well
    sound
    mkdir -p "$(dirname "$1")"
    echo "#include $2" >>"$1"
    expect bad "$1 includes $2" layers
}

sound
expect ok 'a sound tree' layers
upward runtime/base/list.c '"core/tasklet.h"'
upward runtime/core/tasklet.c '"bind/args.h"'
upward runtime/core/tasklet.c '<net/tcp.h>'
upward runtime/neap.h '"base/list.h"'
upward runtime/host/main.c '"core/tasklet.h"'
upward runtime/bind/tasklet.c '"../embed/entry.h"'
upward runtime/core/tasklet.c '<ev.h>'
upward runtime/base/list.c '"lua.h"'
upward runtime/reactor/loop.c '<lauxlib.h>'
upward runtime/reactor/loop.c '"neap.h"'
upward runtime/misc/stray.c '<stddef.h>'

sound
expect ok 'constants' object "$(cat sound.c)"
expect bad 'initialized data' object 'static int n = 1; int *f(void) { return &n; }'
expect bad 'zeroed data' object 'int *f(void) { static int n; return &n; }'
expect bad 'thread-local data' object '__thread int n;'
expect bad 'a common symbol' object 'int n __attribute__((common));'

for kind in archive shared; do
    expect ok "$kind: neap_* only" $kind "$(cat sound.c)"
    expect bad "$kind: a name beside neap_*" $kind "$(cat sound.c) void helper(void) {}"
    expect bad "$kind: nothing public" $kind 'static int n;'
done

# The sanitized run finds leaks, and does not die of a module whose thread-local data begins
# a page: gcc 12's libasan takes what stands before it for a header of the C library's, and
# looks for pointers where that points to.
options=$(sed -n 's/.*ASAN_OPTIONS=\([^ ]*\).*/\1/p' "$here/../Makefile")
sanitized() { # C of main
    printf '#include <dlfcn.h>\n#include <stdint.h>\n#include <stdlib.h>\n%s\n' "$1" |
        ${CC:-cc} -fsanitize=address -x c -o sanitized - -ldl && ASAN_OPTIONS=$options ./sanitized
}
module='static void *kept[100000]; int main(void) {
    void *module = dlopen("./module.so", RTLD_NOW);
    void (*hold)(void *) = (void (*)(void *))dlsym(module, "hold");
    for (int i = 0; i < 100000 && ((uintptr_t)(kept[i] = malloc(16)) + 16) % 4096 != 0; i++)
        ;
    hold(malloc(100)); }'
echo '__thread void *held[2]; void hold(void *p) { held[0] = p; }' |
    ${CC:-cc} -shared -fPIC -x c -o module.so -
expect ok 'no leak' sanitized 'int main(void) { free(malloc(9)); }'
expect bad 'leaks' sanitized 'int main(void) { for (int i = 0; i < 10; i++) malloc(9); }'
expect ok 'thread-local data at the start of a page' sanitized "$module"

# A program that passes the files in which its own name stands.
program() { printf '#!/bin/sh\ngrep -q %s "$3"\n' "$1" >"$1" && chmod +x "$1"; }
lua_tests() { sh "$here/lua_tests.sh" tests "$dir/stock" ./neap; }

program stock && program neap && mkdir tests
echo 'stock neap' >tests/all.lua
echo 'neap' >tests/a.lua
expect ok 'what stock Lua does not pass' lua_tests
echo 'stock' >tests/b.lua
expect bad 'what only stock Lua passes' lua_tests
rm tests/b.lua && echo >tests/all.lua
expect bad 'nothing passes under stock Lua' lua_tests
exit $failed
