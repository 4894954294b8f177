# llhttp: its C sources, from Debian's package node-llhttp, become objects of ours; where
# pkg-config knows libllhttp, that is linked instead. With neither, HTTP is left out.

LLHTTP = /usr/share/llhttp
LLHTTP_INC = /usr/share/include/llhttp
LLHTTP_LIBS := $(shell pkg-config --libs libllhttp 2>/dev/null)

ifneq ($(LLHTTP_LIBS),)
override CPPFLAGS += $(shell pkg-config --cflags libllhttp)
else ifneq ($(wildcard $(LLHTTP_INC)/llhttp.h),)
override CPPFLAGS += -isystem $(LLHTTP_INC)
llhttp = $(patsubst %,build/$1/llhttp/%.o,api http llhttp)
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

# -O3: a third faster on a head, for its code is one big switch.
define compile_llhttp
@mkdir -p $(@D)
@echo '  CC $@'
$Q$(COMPILE) -w $(if $(filter -O2,$(CFLAGS)),-O3) $(FLAGS_$(variant)) -c -o $@ $<
endef
