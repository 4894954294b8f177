# Optional parts: build/VARIANT/parts/NAME.so, which bind/part.c loads at the first use, and
# libneap-NAME.a beside it for hosts that link statically: they put luaopen_neap_NAME into
# package.preload. A part whose library is missing is left out, with a line that says so.

PARTS = names tls
PART_SRC = $(PARTS:%=runtime/net/%.c)

header_names = ares.h
header_tls = openssl/ssl.h
package_names = libc-ares-dev
package_tls = libssl-dev
libs_names = -lcares
libs_tls = -lssl -lcrypto

part_files = $(PARTS:%=build/$1/parts/%.so)
part_archives = $(PARTS:%=build/plain/parts/libneap-%.a)

parts: $(call part_files,plain) $(part_archives)
build/asan/neap: | $(call part_files,asan)
build/stress/neap: | $(call part_files,stress)

# $(call build_part,name,command): the command, if the part's library is there
build_part = $Qif echo '\#include <$(header_$1)>' | $(COMPILE) -E -x c -o /dev/null - 2>/dev/null; then \
	mkdir -p $(@D) && echo '  CC $@' && $2; \
	else echo 'neap: built without $1: $(header_$1) is missing, install $(package_$1)'; fi
link_part = -shared -Wl,-z,nodelete $(LDFLAGS)
compile_part = $(COMPILE) $(FLAGS_$(variant)) -fPIC -MMD -MP -MT $@ -MF $@.d

define link_rule
build/$1/parts/%.so: runtime/net/%.c build/settings | headers
	$$(call build_part,$$*,$$(compile_part) $$(link_part) -o $$@ $$< $$(libs_$$*))
endef
$(foreach v,plain asan stress,$(eval $(call link_rule,$v)))

build/plain/parts/libneap-%.a: runtime/net/%.c build/settings | headers
	$(call build_part,$*,$(compile_part) -c -o $(@:a=o) $< && rm -f $@ && $(AR) rcs $@ $(@:a=o))

install: install-parts
install-parts: parts
	install -d $(D)/lib/neap
	for p in $(wildcard build/plain/parts/*.so); do install $$p $(D)/lib/neap; done
	for p in $(wildcard build/plain/parts/*.a); do install -m 644 $$p $(D)/lib; done

uninstall: uninstall-parts
uninstall-parts:
	rm -f $(PARTS:%=$(D)/lib/neap/%.so) $(PARTS:%=$(D)/lib/libneap-%.a)

# a client of the specs
build/static/support/tls_peer: LIBS += $(libs_tls)

.PHONY: parts install-parts uninstall-parts
.DEFAULT_GOAL = all

-include $(wildcard build/*/parts/*.d)
