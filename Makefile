# `make help` lists what can be done.

CARGO ?= cargo
PORT  ?= 7000
NODES ?= 6
REPLICAS ?= 1
DIR   ?= target/cluster
ARGS  ?=
SUITE ?=
SERVER = target/release/dunlin

.DEFAULT_GOAL := help
FUZZ_SECONDS ?= 60
SEEDS ?= 10000
COMMANDS ?= 1000000
PREVIEW ?= target/preview
.PHONY: help build run node test fmt lint unit deps bench fuzz sim soak differential shuttle miri upstream grafana grafana-check preview conf compatibility clean

help: ## List the targets.
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the server: target/release/dunlin.
	$(CARGO) build --release

run: build ## Build and run a cluster on this machine (NODES=6 REPLICAS=1 PORT=7000 ARGS="--maxmemory 1gb").
	$(SERVER) cluster start --nodes $(NODES) --replicas $(REPLICAS) --port $(PORT) --dir $(DIR) -- $(ARGS)

node: build ## Build and start one node without a cluster (ARGS="--port 6379 --maxmemory 1gb").
	$(SERVER) $(ARGS)

test: deps fmt lint unit shuttle ## Everything a change must pass: format, clippy, unit and integration tests, orders of threads.

fmt:
	$(CARGO) fmt --check

lint:
	$(CARGO) clippy --all-targets -- -D warnings

# nextest runs each test in a process of its own and in parallel; plain cargo test does where it is missing.
unit:
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --no-fail-fast && $(CARGO) test --doc; \
	else \
		$(CARGO) test --no-fail-fast; \
	fi

deps: ## Install what the tests need from outside (Debian, as root), or say what to install.
	@.ci/deps

bench: build ## Compare with the redis-server of this machine: requests a second, CPU time a request.
	tools/peerbench.py -s dunlin='$(CURDIR)/$(SERVER) --port {port} --io-threads 1 --save ""' \
		-s redis='redis-server --port {port} --save ""' -t get,set -P 1,16,128 $(ARGS)

fuzz: ## Run every fuzz target (FUZZ_SECONDS=60 each; needs cargo-fuzz and a nightly toolchain).
	@tools/fuzz_seeds.py
	@cd fuzz && for target in $$($(CARGO) +nightly fuzz list); do \
		$(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=20000 || exit 1; done

sim: ## Days of simulated clusters with faults (SEEDS=10000), one of 200 nodes, and how 1,000 nodes meet.
	DUNLIN_SEEDS=$(SEEDS) $(CARGO) test --release --test cluster_sim -- --include-ignored --nocapture --test-threads 1

soak: build ## Long runs: 100 kills, links cut 20 times, 10,000 days of clusters, a million commands of the differential test, scripts for five.
	$(MAKE) sim
	DUNLIN_KILLS=100 $(CARGO) test --release --test aof kill
	DUNLIN_CUTS=20 $(CARGO) test --release --test replication over_a_link
	$(MAKE) differential
	DUNLIN_SOAK_SECONDS=300 $(CARGO) test --release --test script_sandbox -- --nocapture

differential: ## A million random commands (COMMANDS=1000000), whose replies must be those of redis-server.
	DUNLIN_COMMANDS=$(COMMANDS) $(CARGO) test --release --test differential -- --nocapture

shuttle: ## Run the replication log and the snapshot's cut in thread orders that are drawn (SHUTTLE_RUNS=2000).
	RUSTFLAGS="--cfg shuttle" $(CARGO) test --target-dir target/shuttle --test shuttle

miri: ## Run the unit tests of data types and keyspace, where most of what is unsafe is, under miri (needs a nightly toolchain).
	MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-permissive-provenance" PROPTEST_CASES=4 \
		$(CARGO) +nightly miri test --target-dir target/miri --lib -- types:: keyspace::

upstream: build ## Run files of Valkey's own test suite: SUITE=path/to/valkey ARGS="--only unit/type".
	@test -n "$(SUITE)" || { echo 'usage: make upstream SUITE=path/to/valkey [ARGS="--only REGEX"]'; exit 1; }
	tools/upstream.py --suite $(SUITE) --port 21111 \
		--server '$(CURDIR)/$(SERVER) --port {port} --enable-debug-command yes --enable-protected-configs yes' $(ARGS)

grafana: ## Write dashboards, rules, their tests and the runbook from grafana/*.py.
	python3 grafana/build.py

grafana-check: grafana ## Hold the dashboards against the types that Grafana publishes (needs npm).
	npm ci --no-audit --no-fund --prefix grafana/check
	npm run --prefix grafana/check check

preview: ## Draw the dashboards from a cluster of the tests as HTML and PNG (PREVIEW=target/preview; PNG needs chromium).
	DUNLIN_PREVIEW=$(abspath $(PREVIEW)) $(CARGO) test --test monitoring every_query

conf: ## Write dunlin.conf anew from the table of options.
	BLESS=1 $(CARGO) test --lib annotated_file_in_the_repository

compatibility: ## Write COMPATIBILITY.md anew from the table of commands.
	BLESS=1 $(CARGO) test --lib page_in_the_repository

clean: ## Remove what was built.
	$(CARGO) clean
