#!/bin/sh
# embed.sh FILE...: prints the Lua modules lua/neap/*.lua as a C source that
# defines lua_modules[]: each file a string, lua/neap/net.lua the module "neap.net".

echo '/* Made by lua/embed.sh. */'
echo '#include "bind/lua_modules.h"'
n=0
for file; do
    n=$((n + 1))
    echo
    echo "static const char source_$n[] = \"\""
    sed 's/[\\"?]/\\&/g; s/.*/    "&\\n"/' "$file"
    echo '    ;'
done

echo
echo 'const struct lua_module lua_modules[] = {'
n=0
for file; do
    n=$((n + 1))
    name=$(echo "$file" | sed 's|^lua/||; s|\.lua$||; s|/|.|g')
    echo "    {\"$name\", \"$file\", source_$n, sizeof source_$n - 1},"
done
echo '    {0, 0, 0, 0},'
echo '};'
