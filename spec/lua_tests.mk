# make lua-tests LUA_TESTES=dir: runs the official tests of Lua 5.4 (the directory `testes`
# of the sources of the version at hand) under `lua5.4` and under neap. LUA=program: another
# stock Lua.
LUA = lua5.4

lua-tests: neap
	@test -f "$(LUA_TESTES)/all.lua" || { echo "neap: LUA_TESTES=dir: where Lua's tests are" >&2; exit 1; }
	@sh spec/lua_tests.sh "$(LUA_TESTES)" $(LUA) ./neap

.PHONY: lua-tests
