# Fuzzers, on clang's libFuzzer, by hand:
#   make -f Makefile -f spec/fuzz.mk fuzz-http RUNS=10000000
# Each is spec/fuzz/NAME.c with the sources it names here; what it finds and its corpus lie in
# build/fuzz.

RUNS = 1000000
FUZZ_CC = clang
FUZZ_FLAGS = $(if $(LLHTTP_SSE),-msse4.2) -UNEAP_LLHTTP_SSE42 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined

FUZZ_http = runtime/http/parser.c runtime/http/body.c \
	$(if $(LLHTTP_LIBS),,$(addprefix $(LLHTTP)/,api.c http.c llhttp.c))
FUZZ_net = runtime/net/scan.c runtime/net/address.c
FUZZ_dns = $(src_names)
# CARES=... takes a static c-ares that was built with these FLAGS, too
CARES = -lcares
LIBS_dns = $(CARES) $(LUA_A) -lm -ldl $(addprefix -Wl$(comma)--wrap=,socket connect sendmsg recvfrom)
comma := ,

build/fuzz/%: spec/fuzz/%.c $(FUZZ_http) $(FUZZ_net) $(FUZZ_dns)
	@mkdir -p $(@D)
	$(FUZZ_CC) -std=gnu11 $(CPPFLAGS) $(FUZZ_FLAGS) -w -Iruntime -isystem $(LUA_INC) -o $@ $< $(FUZZ_$*) $(LLHTTP_LIBS) $(LIBS_$*)

fuzz-%: build/fuzz/% neap
	@mkdir -p build/fuzz/$*-corpus
	./neap spec/fuzz/$*_seeds.lua build/fuzz/$*-corpus
	cd build/fuzz && ./$* -runs=$(RUNS) -max_len=2048 -artifact_prefix=$*- $*-corpus
