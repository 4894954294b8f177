#!/bin/sh
# exports.sh LIBRARY...: a library shows the linker neap_* and luaopen_neap, and
# nothing else. Prints what it shows beside them; the status is 1 then.

for library; do
    case $library in
    *.so) names=$(nm -D --defined-only "$library") ;;
    *) names=$(nm -g --defined-only "$library") ;;
    esac
    echo "$names" | awk -v library="$library" '
        NF < 3 { next }
        $3 ~ /^neap_/ || $3 == "luaopen_neap" { public++; next }
        { print library ": exports " $3; failed = 1 }
        END {
            if (!public)
                print library ": exports no neap_*"
            exit failed || !public
        }
    ' || failed=1
done
exit ${failed:-0}
