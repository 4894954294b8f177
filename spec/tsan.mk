# make -f Makefile -f spec/tsan.mk tsan: the hosts with threads under the thread sanitizer.
FLAGS_tsan = -fsanitize=thread

build/tsan/%.o: %.c build/settings | headers ; $(compile)
build/tsan/%: spec/%.c $(call lib,tsan) ; $(program) $(FLAGS_tsan) $(LIBS)

TSAN = build/tsan/embed/two build/tsan/embed/threads

tsan: $(TSAN)
	@for program in $^; do echo "== $$program"; TSAN_OPTIONS=halt_on_error=1 setarch -R $$program || exit 1; done

.PHONY: tsan
