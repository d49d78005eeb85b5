# Benches: nothing here is part of `all` or of a test run. See bench/README.md.
BENCH_PEERS := epoll nginx lua fastify python go none durable whole

.PHONY: bench deps-bench $(BENCH_PEERS:%=bench-%)
deps-bench:
	@vendor/install-packages run && { vendor/install-packages bench || echo 'bench: goes on without them' >&2; }
bench: deps-bench
	@$(MAKE) --no-print-directory -s all load
	@bench/run
$(BENCH_PEERS:%=bench-%): bench-%: deps-bench
	@$(MAKE) --no-print-directory -s all load
	@bench/run $*
