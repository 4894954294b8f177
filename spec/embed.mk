# Hosts in which malloc fails too: spec/embed/scarce.h.
SCARCE = embed/memory embed/no_memory
$(SCARCE:%=build/static/%) $(SCARCE:%=build/asan/%): \
	private LDFLAGS += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
