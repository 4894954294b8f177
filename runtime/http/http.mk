# llhttp: its C sources, from Debian's package node-llhttp, become objects of ours; where
# pkg-config knows libllhttp, that is linked instead. With neither, HTTP is left out.

LLHTTP = /usr/share/llhttp
LLHTTP_INC = /usr/share/include/llhttp
LLHTTP_LIBS := $(shell pkg-config --libs libllhttp 2>/dev/null)

ifneq ($(LLHTTP_LIBS),)
override CPPFLAGS += $(shell pkg-config --cflags libllhttp)
else ifneq ($(wildcard $(LLHTTP_INC)/llhttp.h),)
override CPPFLAGS += -isystem $(LLHTTP_INC)
llhttp = $(patsubst %,build/$1/llhttp/%.o,api http llhttp $(LLHTTP_SSE))
# On x86-64 its main part is there twice, also for processors that have SSE 4.2.
ifneq ($(filter x86_64-%,$(shell $(CC) -dumpmachine)),)
LLHTTP_SSE = llhttp_sse42
override CPPFLAGS += -DNEAP_LLHTTP_SSE42
endif
RUN_DEPS += node-llhttp
else
override CPPFLAGS += -DNEAP_WITHOUT_HTTP
LEFT_OUT = runtime/http/%.c runtime/bind/http%.c
RUN_DEPS += node-llhttp
$(info neap: built without neap.http: llhttp.h is missing, install node-llhttp)
endif

build/%/llhttp/api.o: $(LLHTTP)/api.c build/settings ; $(compile_llhttp)
build/%/llhttp/http.o: $(LLHTTP)/http.c build/settings ; $(compile_llhttp)
build/%/llhttp/llhttp.o: $(LLHTTP)/llhttp.c build/settings ; $(compile_llhttp)
build/%/llhttp/llhttp_sse42.o: $(LLHTTP)/llhttp.c build/settings
	$(compile_llhttp) $(AS_SSE42)
	$Q$(OBJCOPY) --keep-global-symbol=llhttp_execute_sse42 $@

AS_SSE42 = -msse4.2 -Dllhttp__internal_execute=llhttp_execute_sse42

# -O3: a third faster on a head, for its code is one big switch.
define compile_llhttp
@mkdir -p $(@D)
@echo '  CC $@'
$Q$(COMPILE) -w $(if $(filter -O2,$(CFLAGS)),-O3) $(FLAGS_$(variant)) -c -o $@ $<
endef
