# Benches: nothing here is part of `all` or of a test run. See bench/README.md.
BENCH_CORE  ?= 0# that stages and instructions run on
BENCH       := WAHOOK_BUILD=$(abspath $(BUILD))
BENCH_PEERS := epoll nginx lua fastify python go none durable whole

.PHONY: bench bench-readme deps-bench $(BENCH_PEERS:%=bench-%)
deps-bench:
	@vendor/install-packages run && { vendor/install-packages bench || echo 'bench: goes on without them' >&2; }
bench: deps-bench
	@$(MAKE) --no-print-directory -s all load >&2
	@$(BENCH) bench/run
$(BENCH_PEERS:%=bench-%): bench-%: deps-bench
	@$(MAKE) --no-print-directory -s all load >&2
	@$(BENCH) bench/run $*

# The README's table from the last run of `make bench`.
bench-readme:
	@cd bench && PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -c 'from measure import summary; summary.write()'

# ---------------------------------------------------------------- stages: each step by itself

STAGES_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(sort $(wildcard bench/stages/*.c))) $(filter-out %/main.o,$(TOOL_LOAD))
# A step inside a folder is reached as its unit tests reach it.
$(BUILD)/obj/bench/stages/http.o: CPPFLAGS += -Isrc/http
$(BUILD)/obj/bench/stages/webhook.o: CPPFLAGS += -Isrc/webhook
$(BUILD)/obj/bench/stages/directory.o: CPPFLAGS += -Isrc/directory
$(BUILD)/obj/bench/stages/main.o: CPPFLAGS += -Ibench/load
$(BUILD)/bench-stages: $(STAGES_OBJ) $(ALL_LIBS) $(LLHTTP_LIB)
	@echo "  LINK  $@"
	$(call link,$(STAGES_OBJ),$(ALL_LIBS))

.PHONY: bench-stages
bench-stages: $(BUILD)/bench-stages
	@mkdir -p bench/results
	@folder=$$(mktemp -d $(BUILD)/bench-XXXXXX) && trap "rm -rf $$folder" EXIT INT TERM && \
	  taskset -c $(BENCH_CORE) $(BUILD)/bench-stages $$folder bench/results/stages.json $(S)

# ---------------------------------------------------------------- instructions per webhook

INSTRUCTIONS_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard bench/instructions/*.c)) $(filter-out %/main.o,$(TOOL_LOAD))
$(BUILD)/obj/bench/instructions/main.o: CPPFLAGS += -Ibench/load
$(BUILD)/bench-instructions: $(INSTRUCTIONS_OBJ) $(ALL_LIBS) $(LLHTTP_LIB)
	@echo "  LINK  $@"
	$(call link,$(INSTRUCTIONS_OBJ),$(ALL_LIBS))

.PHONY: bench-instructions
bench-instructions: $(BUILD)/bench-instructions
	@$(BENCH) bench/instructions/count $(if $(RECORD),--record)

# ---------------------------------------------------------------- the edge, and scale

.PHONY: bench-edge bench-curves
bench-edge bench-curves: bench-%: deps-bench
	@$(MAKE) --no-print-directory -s all load >&2
	@$(BENCH) bench/$* $(C)
