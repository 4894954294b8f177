# The modules in Lua, and what annotates those in C, for editors: a program holds them itself.

install: install-annotations
install-annotations:
	for f in $(LUA_MODULES); do install -D -m 644 $$f $(D)/share/neap/$$f || exit 1; done

uninstall: uninstall-annotations
uninstall-annotations:
	rm -rf $(D)/share/neap

.PHONY: install-annotations uninstall-annotations
