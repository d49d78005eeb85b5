# wahookd: build, test, run. `make help` lists the targets; the two that matter are `make run` and `make test`.
VERSION   := 0.1.0
BUILD     ?= build
V         ?=
Q         := $(if $(V),,@)# V=1 shows each command
PREFIX    ?= /usr
DESTDIR   ?=
CC        ?= gcc
OPT       ?= -O2
PKG       := libuv libcurl openssl libsodium sqlite3 zlib

# The house, floor by floor: a folder may use the floors below its own, never its neighbours (see README, "Internals").
L0 := base
L1 := log shm
L2 := loop proc metrics config
L3 := http directory intake spool outbound limiter crypto
L4 := webhook dispatch admin
L5 := supervisor
FOLDERS := $(L5) $(L4) $(L3) $(L2) $(L1) $(L0)

# Folders whose files exist; libraries from the top floor down, which is the order a linker wants.
libs_of = $(foreach f,$(1),$(BUILD)/lib/lib$(f).a)
below_L2         := $(L1) $(L0)
below_L3         := $(L2) $(L1) $(L0)
below_L4         := $(L3) $(L2) $(L1) $(L0)
below_L5         := $(L4) $(L3) $(L2) $(L1) $(L0)
level_of = $(if $(filter $(1),$(L0)),L0,$(if $(filter $(1),$(L1)),L1,$(if $(filter $(1),$(L2)),L2,$(if $(filter $(1),$(L3)),L3,$(if $(filter $(1),$(L4)),L4,L5)))))
below_L0 :=
below_L1 := $(L0)
below    = $(below_$(call level_of,$(1)))

WARN     := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wcast-qual -Wconversion -Wno-sign-conversion \
            -Wformat=2 -Wvla -Wpointer-arith
CPPFLAGS += -D_GNU_SOURCE -DWAHOOK_VERSION='"$(VERSION)"' -Iinclude -Isrc -I$(BUILD)/gen
CFLAGS   += -std=c11 $(OPT) -g -fno-strict-aliasing -fstack-protector-strong -pthread $(WARN) $(if $(WERROR),-Werror) $(SAN)
LDFLAGS  += -pthread $(SAN) -Wl,-z,relro,-z,now
# Modules use what the program has.
LDFLAGS  += -Wl,--export-dynamic

include vendor/llhttp.mk
PKG_CFLAGS := $(shell pkg-config --cflags $(PKG) 2>/dev/null)
PKG_LIBS   := $(shell pkg-config --libs $(PKG) 2>/dev/null)
# The daemon's allocator, where it is installed: what one thread takes and another gives back, as the dispatcher's two do all the time, costs
# glibc's more. Not under a sanitizer, which brings its own.
comma       := ,
MALLOC_LIBS := $(if $(SAN),,$(shell echo 'int main(void) { return 0; }' | $(CC) -x c - -lmimalloc -o /dev/null 2>/dev/null && \
  echo -Wl,--push-state$(comma)--no-as-needed -lmimalloc -Wl,--pop-state))
# The driver's name changed with its version 2.
MONGO_PKG    := $(if $(shell pkg-config --exists mongoc2 2>/dev/null && echo yes),mongoc2,libmongoc-1.0)
MONGO_CFLAGS := $(patsubst -I%,-isystem%,$(shell pkg-config --cflags $(MONGO_PKG) 2>/dev/null))# its headers warn
MONGO_LIBS   := $(shell pkg-config --libs $(MONGO_PKG) 2>/dev/null)

# Loaded by those who use them (directory/store_module.c), and by nobody else.
MODULES  := $(BUILD)/lib/wahookd/store_mongo.so
BINARIES := $(BUILD)/wahookd $(BUILD)/wahookctl $(BUILD)/wahook-sandbox

.PHONY: all load release help run test unit system endurance test-programs fuzz fuzz-long lint format asan ubsan tsan install clean deps deps-test
.DEFAULT_GOAL := all
all: $(BINARIES) $(MODULES)

help:
	@printf '%s\n' 'make run      install what is missing, build, start wahookd and a sandbox to talk to' \
	  'make test     install what is missing, build, run every test' \
	  'make          build build/wahookd, build/wahookctl, build/wahook-sandbox' \
	  'make unit F=http       unit tests (of one folder)' 'make system K=webhook  system tests (that match)' \
	  'make endurance  what an operator does to a running daemon, under load and at full length (30 minutes)' \
	  'make release  build-release/: optimized by a profile of the daemon under load' \
  'make load     build build/wahook-load, the load generator of tests and benches' \
	  'make bench    wahookd beside what would be put in its place, measured in one session' \
	  'make bench-stages bench-instructions bench-edge bench-curves   other benches, see bench/README.md' \
	  'make fuzz     replay the fuzz corpus    make fuzz-long T=600   fuzz every target for T seconds' \
	  'make lint     house rules, formatting, man pages   make format' \
	  'make asan ubsan tsan   unit and system tests under a sanitizer' \
	  'make install DESTDIR= PREFIX=/usr' 'make clean'

run: deps
	@$(MAKE) $(if $(findstring -j,$(MAKEFLAGS)),,-j2) --no-print-directory all
	@exec etc/run-demo $(BUILD)

test: deps-test
	@vendor/make-venv build/test-venv
	@test/run-all $(BUILD)

deps:
	@vendor/install-packages run
deps-test:
	@vendor/install-packages run test

# ---------------------------------------------------------------- objects and libraries

MODULE_SRC := $(sort $(wildcard src/directory/store_mongo*.c))
sources = $(filter-out $(MODULE_SRC),$(sort $(wildcard src/$(1)/*.c)))
objects = $(patsubst src/%.c,$(BUILD)/obj/%.o,$(call sources,$(1)))

$(BUILD)/obj/%.o: src/%.c Makefile
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(PKG_CFLAGS) $(LLHTTP_CFLAGS) -MMD -MP -c $< -o $@

# The list changes when a file comes or goes: a library never keeps what has no source any more.
FORCE:
define folder_rule
$(BUILD)/lib/lib$(1).list: FORCE
	@mkdir -p $$(@D)
	@echo '$(call objects,$(1))' | cmp -s - $$@ || echo '$(call objects,$(1))' > $$@
$(BUILD)/lib/lib$(1).a: $(call objects,$(1)) $(BUILD)/lib/lib$(1).list
	@rm -f $$@
	@ar rcs $$@ $(call objects,$(1))
endef
$(foreach f,$(FOLDERS),$(eval $(call folder_rule,$(f))))

ALL_LIBS := $(call libs_of,$(FOLDERS))
link = $(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(1) -Wl,--start-group $(2) -Wl,--end-group $(LLHTTP_LIB) $(PKG_LIBS) -lm -ldl

$(BUILD)/wahookd: LDFLAGS += $(MALLOC_LIBS)
$(BUILD)/wahookd: $(BUILD)/obj/main.o $(ALL_LIBS) $(LLHTTP_LIB)
	@echo "  LINK  $@"
	$(call link,$(BUILD)/obj/main.o,$(ALL_LIBS))

MODULE_OBJ := $(patsubst src/%.c,$(BUILD)/obj/%.o,$(MODULE_SRC))
$(MODULE_OBJ): CFLAGS += -fPIC $(MONGO_CFLAGS)
$(BUILD)/lib/wahookd/store_mongo.so: $(MODULE_OBJ)
	@echo "  LINK  $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -o $@ $^ $(MONGO_LIBS)

TOOL_SANDBOX := $(call objects,tools/sandbox)
TOOL_CTL     := $(call objects,tools/ctl)
$(BUILD)/wahook-sandbox: $(TOOL_SANDBOX) $(ALL_LIBS) $(LLHTTP_LIB)
	@echo "  LINK  $@"
	$(call link,$(TOOL_SANDBOX),$(ALL_LIBS))
$(BUILD)/wahookctl: $(TOOL_CTL) $(ALL_LIBS) $(LLHTTP_LIB)
	@echo "  LINK  $@"
	$(call link,$(TOOL_CTL),$(ALL_LIBS))

# What tests and benches need besides: not installed, not part of `all`.
TOOL_LOAD := $(patsubst %.c,$(BUILD)/obj/%.o,$(sort $(wildcard bench/load/*.c)))
load: $(BUILD)/wahook-load
$(BUILD)/obj/bench/%.o: bench/%.c Makefile
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(PKG_CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/wahook-load: $(TOOL_LOAD) $(call libs_of,crypto $(call below,crypto)) $(LLHTTP_LIB)
	@echo "  LINK  $@"
	$(call link,$(TOOL_LOAD),$(call libs_of,crypto $(call below,crypto)))

include bench/bench.mk

# Pages that are compiled in (with .incbin): the object depends on them.
$(BUILD)/obj/tools/sandbox/%.o: $(wildcard src/tools/sandbox/*.html)

# ---------------------------------------------------------------- unit tests: linked with the floors below only

UNIT_SRC := $(sort $(wildcard test/unit/$(if $(F),$(F),*)/test_*.c))
UNIT_BIN := $(patsubst test/unit/%.c,$(BUILD)/unit/%,$(UNIT_SRC))

define unit_rule
$(BUILD)/unit/$(1)/%: test/unit/$(1)/%.c $(call libs_of,$(1) $(call below,$(1))) $(LLHTTP_LIB)
	@mkdir -p $$(@D)
	@echo "  TEST  $$<"
	$(Q)$(CC) $(CPPFLAGS) -Isrc/$(1) -Itest/unit $(CFLAGS) -Wno-missing-prototypes $(PKG_CFLAGS) $(LLHTTP_CFLAGS) -MMD -MP $(LDFLAGS) -o $$@ $$< \
	  -Wl,--start-group $(call libs_of,$(1) $(call below,$(1))) -Wl,--end-group $(LLHTTP_LIB) -lcmocka $(PKG_LIBS) -lm -ldl
endef
$(foreach f,$(FOLDERS),$(eval $(call unit_rule,$(f))))

# A tool's parts but for its main(), over the whole house: its name, its objects, the folder of its header where that is not named by path.
define tool_unit_rule
$(BUILD)/unit/$(1)/%: test/unit/$(1)/%.c $(filter-out %/main.o,$(2)) $(ALL_LIBS) $(LLHTTP_LIB)
	@mkdir -p $$(@D)
	@echo "  TEST  $$<"
	$(Q)$(CC) $(CPPFLAGS) $(3:%=-I%) -Itest/unit $(CFLAGS) -Wno-missing-prototypes $(PKG_CFLAGS) $(LLHTTP_CFLAGS) -MMD -MP $(LDFLAGS) -o $$@ $$< \
	  $(filter-out %/main.o,$(2)) -Wl,--start-group $(ALL_LIBS) -Wl,--end-group $(LLHTTP_LIB) -lcmocka $(PKG_LIBS) -lm -ldl
endef
$(eval $(call tool_unit_rule,ctl,$(TOOL_CTL)))
$(eval $(call tool_unit_rule,sandbox,$(TOOL_SANDBOX)))
$(eval $(call tool_unit_rule,load,$(TOOL_LOAD),bench/load))

# A test finds modules as an installed program does: in ../lib/wahookd.
$(BUILD)/unit/lib:
	@mkdir -p $(@D)
	@ln -sfn ../lib $@

unit: $(UNIT_BIN) $(MODULES) $(BUILD)/unit/lib
	@test/run-unit $(UNIT_BIN)

# The daemon from the same objects behind a wall clock that a test moves. It must come before libc, but behind a sanitizer's library.
$(BUILD)/test/libwallclock.so: test/clock/wallclock.c Makefile
	@mkdir -p $(@D)
	@echo "  LINK  $@"
	$(Q)$(CC) -D_GNU_SOURCE -std=c11 -O2 -g $(WARN) $(if $(WERROR),-Werror) -fPIC -shared -Wl,-soname,$(@F) -o $@ $<
$(BUILD)/test/wahookd-shifted: $(BUILD)/test/libwallclock.so $(BUILD)/obj/main.o $(ALL_LIBS) $(LLHTTP_LIB)
	@echo "  LINK  $@"
	$(call link,-Wl$(comma)--no-as-needed$(comma)-rpath$(comma)'$$ORIGIN' $(BUILD)/test/libwallclock.so $(BUILD)/obj/main.o,$(ALL_LIBS))
test-programs: $(BUILD)/test/wahookd-shifted

# Reloads, upgrades, scaling, kills, overload at full length, with the figures that were counted.
endurance: all load
	WAHOOK_ENDURANCE=full WAHOOK_BUILD=$(abspath $(BUILD)) PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m pytest -q -s -p no:cacheprovider \
	  test/system/test_endurance.py test/system/test_mongo_outages.py test/system/test_mongo_scale.py $(if $(K),-k '$(K)')

system: all load test-programs
	WAHOOK_BUILD=$(abspath $(BUILD)) PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m pytest -q -p no:cacheprovider test/system $(if $(K),-k '$(K)')

# ---------------------------------------------------------------- fuzzing: one target per file, corpus beside it

FUZZ_SRC := $(sort $(wildcard test/fuzz/fuzz_*.c))
FUZZ_REPLAY := $(patsubst test/fuzz/%.c,$(BUILD)/fuzz/%,$(FUZZ_SRC))

# Replay: the same targets with a plain main() that feeds them the corpus, in the ordinary build.
$(BUILD)/fuzz/%: test/fuzz/%.c test/fuzz/replay.c $(ALL_LIBS) $(LLHTTP_LIB)
	@mkdir -p $(@D)
	@echo "  FUZZ  $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -Wno-missing-prototypes $(PKG_CFLAGS) $(LLHTTP_CFLAGS) $(LDFLAGS) -o $@ $< test/fuzz/replay.c \
	  -Wl,--start-group $(ALL_LIBS) -Wl,--end-group $(LLHTTP_LIB) $(PKG_LIBS) -lm -ldl

fuzz: $(FUZZ_REPLAY)
	@for t in $(FUZZ_REPLAY); do $$t test/fuzz/corpus/$$(basename $$t | sed s/^fuzz_//) || exit 1; done

FUZZ_LIBFUZZER := $(patsubst test/fuzz/%.c,$(BUILD)/libfuzzer/%,$(FUZZ_SRC))
$(BUILD)/libfuzzer/%: test/fuzz/%.c $(ALL_LIBS) $(LLHTTP_LIB)
	@mkdir -p $(@D)
	@echo "  FUZZ  $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -fsanitize=fuzzer -Wno-missing-prototypes $(PKG_CFLAGS) $(LLHTTP_CFLAGS) $(LDFLAGS) -o $@ $< \
	  -Wl,--start-group $(ALL_LIBS) -Wl,--end-group $(LLHTTP_LIB) $(PKG_LIBS) -lm -ldl
fuzz-bins: $(FUZZ_LIBFUZZER)
fuzz-long:
	$(MAKE) BUILD=build-fuzz CC=clang OPT=-O1 SAN='-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined' fuzz-bins
	test/fuzz/run-long build-fuzz $(if $(T),$(T),60)

# ---------------------------------------------------------------- sanitizers

asan:
	WAHOOK_SAN=asan test/run-all build-asan SAN='-fsanitize=address -fno-omit-frame-pointer' OPT=-O1
ubsan:
	WAHOOK_SAN=ubsan test/run-all build-ubsan SAN='-fsanitize=undefined -fno-sanitize-recover=all' OPT=-O1
tsan:
	WAHOOK_SAN=tsan test/run-all build-tsan SAN='-fsanitize=thread' OPT=-O1

# ---------------------------------------------------------------- release

# Twice: first with counters, for a daemon under load to tell which way its branches go, then by what they told. What was never reached is
# built as ever.
RELEASE := $(MAKE) $(if $(findstring -j,$(MAKEFLAGS)),,-j2) --no-print-directory BUILD=build-release
release:
	@vendor/install-packages run release
	@rm -rf build-release
	@$(RELEASE) OPT='-O2 -fprofile-generate -fprofile-update=atomic' all load
	@WAHOOK_BUILD=$(abspath build-release) bench/train
	@find build-release -name '*.[oa]' -delete
	@$(RELEASE) OPT='-O2 -flto=auto -ffat-lto-objects -fprofile-use -fprofile-partial-training -Wno-missing-profile' all load

# ---------------------------------------------------------------- house rules

lint:
	@test/lint

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

# ---------------------------------------------------------------- install

install: all
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin $(DESTDIR)/etc/wahookd $(DESTDIR)/lib/systemd/system \
	  $(DESTDIR)$(PREFIX)/share/man/man8 $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(BUILD)/wahookd $(DESTDIR)$(PREFIX)/sbin/wahookd
	install -d $(DESTDIR)$(PREFIX)/lib/wahookd
	install -m 644 $(MODULES) $(DESTDIR)$(PREFIX)/lib/wahookd/
	install -m 755 $(BUILD)/wahookctl $(BUILD)/wahook-sandbox $(DESTDIR)$(PREFIX)/bin/
	test -e $(DESTDIR)/etc/wahookd/wahookd.conf || install -m 640 etc/wahookd.conf $(DESTDIR)/etc/wahookd/wahookd.conf
	sed 's,/usr/sbin/,$(PREFIX)/sbin/,' etc/wahookd.service | install -m 644 /dev/stdin $(DESTDIR)/lib/systemd/system/wahookd.service
	install -m 644 man/wahookd.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -m 644 man/wahookd.conf.5 $(DESTDIR)$(PREFIX)/share/man/man5/
	install -m 644 man/wahookctl.1 $(DESTDIR)$(PREFIX)/share/man/man1/

clean:
	rm -rf build build-release build-asan build-ubsan build-tsan build-fuzz

-include $(shell find $(BUILD)/obj $(BUILD)/unit -name '*.d' 2>/dev/null)
