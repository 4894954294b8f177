# Optional parts: build/VARIANT/parts/NAME.so, which bind/part.c loads at the first use, and
# libneap-NAME.a beside it for hosts that link statically: they put luaopen_neap_NAME into
# package.preload. A part whose library is missing is left out, with a line that says so.

PARTS = names tls curl

src_names = runtime/net/names.c runtime/net/name_search.c
header_names = ares.h
package_names = libc-ares-dev
libs_names = -lcares

src_tls = runtime/net/tls.c $(wildcard runtime/net/tls_*.c)
header_tls = openssl/ssl.h
package_tls = libssl-dev
libs_tls = -lssl -lcrypto

src_curl = $(patsubst %,runtime/http/%.c,client pool transfer)
header_curl = curl/curl.h
package_curl = libcurl4-openssl-dev
libs_curl = -lcurl $(if $(call has,openssl/ssl.h),-lssl -lcrypto)
RUN_DEPS += $(package_curl)

PART_SRC = $(foreach p,$(PARTS),$(src_$p))

# $(call has,header): yes, where the compiler finds it
hash := \#
has = $(shell echo '$(hash)include <$1>' | $(CC) $(CPPFLAGS) -E -x c -o /dev/null - 2>/dev/null && echo yes)
PARTS_BUILT := $(foreach p,$(PARTS),$(if $(call has,$(header_$p)),$p))
PARTS_LEFT_OUT := $(filter-out $(PARTS_BUILT),$(PARTS))

part_files = $(PARTS_BUILT:%=build/$1/parts/%.so)
part_archives = $(PARTS_BUILT:%=build/pic/parts/libneap-%.a)
part_objects = $(src_$2:%.c=build/$1/%.o)

parts: $(call part_files,plain) $(part_archives)
	$(foreach p,$(PARTS_LEFT_OUT),@echo 'neap: built without $p: $(header_$p) is missing, install $(package_$p)'$(newline))
build/asan/neap: | $(call part_files,asan)
build/stress/neap: | $(call part_files,stress)

# nodelete: a part's code must outlive the runtime that has loaded it
define link_part
@mkdir -p $(@D)
@echo '  LINK $@'
$Q$(CC) $(CFLAGS) $(FLAGS_$(variant)) -shared -Wl,-z,nodelete $(LDFLAGS) -o $@ $^ $(libs_$*)
endef

# One object, in which only the opener can be seen.
define archive_part
@mkdir -p $(@D)
@echo '  AR $@'
$Q$(LD) -r -o $(@:a=o) $^
$Q$(OBJCOPY) --localize-hidden $(@:a=o)
$Qrm -f $@ && $(AR) rcs $@ $(@:a=o)
endef

define part_rules
build/plain/parts/$1.so: build/plain/parts/%.so: $(call part_objects,pic,$1) ; $$(link_part)
build/asan/parts/$1.so: build/asan/parts/%.so: $(call part_objects,asan,$1) ; $$(link_part)
build/stress/parts/$1.so: build/stress/parts/%.so: $(call part_objects,stress,$1) ; $$(link_part)
build/pic/parts/libneap-$1.a: $(call part_objects,pic,$1) ; $$(archive_part)
$(call part_objects,asan,$1): FLAGS_asan += -fPIC
$(call part_objects,stress,$1): FLAGS_stress += -fPIC
endef
define newline


endef
$(foreach p,$(PARTS_BUILT),$(eval $(call part_rules,$p)))

install: install-parts
install-parts: parts
	install -d $(D)/lib/neap
	for p in $(call part_files,plain); do install $$p $(D)/lib/neap; done
	for p in $(part_archives); do install -m 644 $$p $(D)/lib; done

uninstall: uninstall-parts
uninstall-parts:
	rm -f $(PARTS:%=$(D)/lib/neap/%.so) $(PARTS:%=$(D)/lib/libneap-%.a)

# a client of the specs
build/static/support/tls_peer: LIBS += $(libs_tls)

.PHONY: parts install-parts uninstall-parts
.DEFAULT_GOAL = all
