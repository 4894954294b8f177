# neap: a scripting-language runtime.  make [run|test|check|bench|install|...]
#
# CC, CFLAGS, CPPFLAGS and LDFLAGS from outside are respected.
# LUA_DIR=dir builds against another Lua 5.4 than Debian's: a source tree in
# which `make linux MYCFLAGS=-fPIC` was run, or a prefix it was installed to.

VERSION = 0.1.0
PREFIX = /usr/local
SCRIPT = scripts/chat.lua
# the chat serves on a port; without one it only shows itself
ARGS = $(if $(filter scripts/chat.lua,$(SCRIPT)),7777)
# make Q= shows every command
Q = @

CFLAGS ?= -O2 -g
OBJCOPY ?= objcopy
WARN = -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes \
	-Wwrite-strings -Werror=implicit-function-declaration -Werror=incompatible-pointer-types

ifdef LUA_DIR
find_lua = $(firstword $(wildcard $(foreach d,. src include lib,$(1:%=$(LUA_DIR)/$d/%))))
LUA_INC = $(dir $(call find_lua,lua.h))
LUA_A = $(call find_lua,liblua.a liblua5.4.a)
LUA_SO = $(or $(call find_lua,liblua.so liblua5.4.so),$(LUA_A))
else
LUA_INC = /usr/include/lua5.4
LUA_A = -l:liblua5.4.a
LUA_SO = -llua5.4
endif

# Debian packages: to build, to test, to lint.
RUN_DEPS = libc6-dev libev-dev libedit-dev libc-ares-dev libssl-dev $(if $(LUA_DIR),,liblua5.4-dev)
TEST_DEPS = lua-busted lua-cjson openssl curl lua5.4 g++ python3-h2
LINT_DEPS = clang-format cppcheck lua-check
include runtime/parts.mk runtime/http/http.mk lua/annotations.mk

# Variants of every object, each in build/VARIANT.
FLAGS_pic = -fPIC
FLAGS_asan = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
FLAGS_stress = -DNEAP_STRESS

HOST_SRC = $(wildcard runtime/host/*.c)
LIB_SRC = $(filter-out $(HOST_SRC) $(PART_SRC) $(LEFT_OUT),$(wildcard runtime/*/*.c)) build/gen/lua_modules.c
LUA_MODULES = $(wildcard lua/neap/*.lua lua/neap/*/*.lua)
# Not neap.h, which is laid out by hand.
C_FILES = $(wildcard runtime/*/*.[ch] spec/*/*.[ch])

host = $(HOST_SRC:%.c=build/$1/%.o)
lib = $(LIB_SRC:%.c=build/$1/%.o) $(call llhttp,$1)
variant = $(word 2,$(subst /, ,$@))

COMPILE = $(CC) -std=gnu11 $(WARN) -fvisibility=hidden -Iruntime -isystem $(LUA_INC) $(CPPFLAGS) $(CFLAGS)
# The program exports all of Lua: C modules name no liblua of their own.
LINK = $(CC) $(CFLAGS) $(LDFLAGS) -no-pie -rdynamic
LIBS = -Wl,--whole-archive $(LUA_A) -Wl,--no-whole-archive -l:libev.a $(LLHTTP_LIBS) -lm -ldl -lpthread

# $(call install,packages): those of them that are missing
define install
@missing=; command -v dpkg-query >/dev/null || exit 0; \
for p in $1; do \
	dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || missing="$$missing $$p"; \
done; \
[ -n "$$missing" ] || exit 0; \
echo "neap: installing$$missing"; \
root=; [ "$$(id -u)" = 0 ] || root=sudo; \
{ $$root apt-get update -q; $$root env DEBIAN_FRONTEND=noninteractive \
	apt-get install -y --no-install-recommends $$missing; } >build/apt.log 2>&1 || { cat build/apt.log >&2; exit 1; }
endef

# $(call need,header,package): a header that must be there
need = @echo '\#include <$1>' | $(COMPILE) -E -x c -o /dev/null - 2>/dev/null || \
	{ echo "neap: $1 is missing: install $2" >&2; exit 1; }

all: neap libneap.a libneap.so parts

run: deps-run
	@$(MAKE) --no-print-directory all
	./neap $(SCRIPT) $(ARGS)

test: deps-test
	@$(MAKE) --no-print-directory all
	@./neap spec/self_check.lua
	busted --lua=./neap spec

asan stress: deps-test
	@$(MAKE) --no-print-directory build/$@/neap
	SPEC_MISCHIEF=1 ASAN_OPTIONS=detect_leaks=1:intercept_tls_get_addr=0 UBSAN_OPTIONS=print_stacktrace=1 busted --lua=build/$@/neap spec

check: deps-test deps-lint
	@MAKE="$(MAKE)" sh spec/check.sh

lint: deps-lint
	clang-format --dry-run -Werror $(C_FILES)
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
		--suppress=missingInclude --error-exitcode=1 -Iruntime $(filter %.c,$(C_FILES))
	luacheck --quiet --no-color lua scripts spec

layers: $(call lib,plain)
	@sh spec/layers.sh runtime $^

exports: libneap.a libneap.so
	@sh spec/exports.sh $^

bench: deps-run
	@$(MAKE) --no-print-directory neap
	@CC="$(CC)" LUA_INC="$(LUA_INC)" LIBS="$(LIBS)" sh spec/bench/run.sh

deps-run: | build/gen
	$(call install,$(RUN_DEPS))

deps-test: | build/gen
	$(call install,$(RUN_DEPS) $(TEST_DEPS))

deps-lint: | build/gen
	$(call install,$(LINT_DEPS))

neap: $(call host,plain) libneap.a
	@echo '  LINK $@'
	$Q$(LINK) -o $@ $^ $(LIBS)

build/asan/neap: $(call host,asan) $(call lib,asan)
	@echo '  LINK $@'
	$Q$(LINK) $(FLAGS_asan) -o $@ $^ $(LIBS)

build/stress/neap: $(call host,stress) $(call lib,stress)
	@echo '  LINK $@'
	$Q$(LINK) -o $@ $^ $(LIBS)

# What the specs run beside neap; the sanitized ones see all of the library's objects.
program = @mkdir -p $(@D) && $(COMPILE) -Ispec -no-pie -rdynamic $(LDFLAGS) -o $@ $(filter-out %.so,$^)
build/static/%: spec/%.c libneap.a ; $(program) $(if $(findstring /base/,$@),$(call lib,plain)) $(LIBS)
build/asan/%: spec/%.c $(call lib,asan) ; $(program) $(FLAGS_asan) $(LIBS)
build/shared/%: spec/%.c libneap.so ; $(program) -L. -lneap -Wl,-rpath,'$$ORIGIN' $(LUA_SO) && ln -sf $(CURDIR)/libneap.so $(@D)/libneap.so.0

# One object, in which only what is public can be seen.
libneap.a: $(call lib,plain)
	@echo '  AR $@'
	$Q$(LD) -r -o build/neap.o $^
	$Q$(OBJCOPY) --localize-hidden build/neap.o
	$Qrm -f $@ && $(AR) rcs $@ build/neap.o

libneap.so: $(call lib,pic)
	@echo '  LINK $@'
	$Q$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,$@.0 -Wl,-z,defs -Wl,--exclude-libs,ALL \
		-o $@ $^ $(LUA_SO) -lev $(LLHTTP_LIBS) -lm -ldl -lpthread

define compile
@mkdir -p $(@D)
@echo '  CC $@'
$Q$(COMPILE) $(FLAGS_$(variant)) -MMD -MP -c -o $@ $<
endef
build/plain/%.o: %.c build/settings | headers ; $(compile)
build/pic/%.o: %.c build/settings | headers ; $(compile)
build/asan/%.o: %.c build/settings | headers ; $(compile)
build/stress/%.o: %.c build/settings | headers ; $(compile)

# The folder counts too, for a module that went away.
build/gen/lua_modules.c: lua/embed.sh $(LUA_MODULES) $(wildcard lua/neap) | build/gen
	$Qsh lua/embed.sh $(LUA_MODULES) >$@

# Touched only when a setting has changed, which makes every object anew.
build/settings: always | build/gen
	@echo '$(COMPILE) $(LUA_A) $(LUA_SO)' | cmp -s - $@ || echo '$(COMPILE) $(LUA_A) $(LUA_SO)' >$@

headers:
	$(call need,lua.h,liblua5.4-dev)
	$(call need,ev.h,libev-dev)

build/gen:
	@mkdir -p $@

D = $(DESTDIR)$(PREFIX)

install: all
	install -d $(D)/bin $(D)/include $(D)/lib/pkgconfig $(D)/lib/lua/5.4 $(D)/share/man/man1
	install neap $(D)/bin
	install -m 644 runtime/neap.h $(D)/include
	install -m 644 libneap.a $(D)/lib
	install libneap.so $(D)/lib/libneap.so.0
	ln -sf libneap.so.0 $(D)/lib/libneap.so && ln -sf ../../libneap.so.0 $(D)/lib/lua/5.4/neap.so
	install -m 644 docs/neap.1 $(D)/share/man/man1
	printf '%s\n' 'prefix=$(PREFIX)' '' 'Name: neap' 'Version: $(VERSION)' \
		'Description: Lua 5.4 with tasklets, channels and a reactor' \
		$(if $(LUA_DIR),,'Requires: lua5.4') \
		'Cflags: -I$${prefix}/include$(if $(LUA_DIR), -I$(LUA_INC))' \
		'Libs: -L$${prefix}/lib -lneap' \
		'Libs.private: -lev -lm -ldl -lpthread' >$(D)/lib/pkgconfig/neap.pc

uninstall:
	rm -f $(D)/bin/neap $(D)/include/neap.h $(D)/lib/libneap.a $(D)/lib/libneap.so $(D)/lib/libneap.so.0 \
		$(D)/lib/lua/5.4/neap.so $(D)/lib/pkgconfig/neap.pc $(D)/share/man/man1/neap.1

clean:
	rm -rf build neap libneap.a libneap.so

.PHONY: all run test check lint layers exports stress asan bench install uninstall clean deps-run deps-test deps-lint headers always
.DELETE_ON_ERROR:

-include spec/lua_tests.mk spec/embed.mk $(wildcard build/*/*/*/*.d)
