# Short targets; `make` alone says what there is. .ci/run calls these, nothing else.

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
TARGET := $(or $(CARGO_TARGET_DIR),target)
FAST := $(TARGET)/fast
# Threads of the end-to-end tests; the heavy cases are made for two cores.
E2E_THREADS ?= 2

.DEFAULT_GOAL := help

.PHONY: help build check test test-unit test-e2e test-faults test-volume test-dockerd fuzz bench bench-log bench-delivery bench-faults demo docs exam exam-delivery release install clean peers workload

help: ## what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# One program without a loader: it starts twice a container (it executes itself from a sealed file).
STATIC := -C target-feature=+crt-static -C relocation-model=static

build: ## all programs, optimised but quickly built: target/fast/
	$(CARGO) build --locked --profile fast --bins --workspace --exclude taffrail-runtime
	$(CARGO) rustc --locked --profile fast -p taffrail-runtime --bin taffrail-runtime -- $(STATIC)

check: ## formatting and lints; warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

peers: ## libseccomp, runc, crun, busybox, Docker and what else the tests compare with (as root, Debian and Ubuntu)
	@sh scripts/install-peers.sh test

workload: $(TARGET)/workload
$(TARGET)/workload: tests/workload/main.rs tests/workload/hostile.rs
	@mkdir -p $(TARGET)
	rustc --edition 2024 -O -C target-feature=+crt-static -C panic=abort -C strip=symbols -o $@ $<

test: peers build workload ## everything: unit tests, then end to end; without root it runs what it can
	$(CARGO) test --locked --workspace -- --test-threads $(E2E_THREADS)

test-unit: ## the unit tests of all crates
	$(CARGO) test --locked --workspace --lib --bins

test-e2e: peers build workload ## the end-to-end cases alone; CASES="rotation golden" names some
	$(CARGO) test --locked -p taffrail-e2e --test e2e -- --test-threads $(E2E_THREADS) $(CASES)

test-faults: peers build workload ## 500 kills of monitors and 50 of the daemon
	TAFFRAIL_TEST_MONITOR_KILLS=500 TAFFRAIL_TEST_KEEPER_KILLS=60 TAFFRAIL_TEST_DAEMON_KILLS=50 TAFFRAIL_TEST_STEP_WAIT_MS=5000 \
		$(CARGO) test --locked -p taffrail-e2e --test e2e -- --nocapture --test-threads 1 kill_

test-volume: peers build workload ## 8 million lines through each log format, rotated, compressed and followed; VOLUME=n for another number
	TAFFRAIL_TEST_VOLUME_LINES=$(or $(VOLUME),8000000) $(CARGO) test --locked -p taffrail-e2e --test e2e -- --nocapture --test-threads 1 logs_volume::

test-dockerd: peers workload ## the cases themselves, on Docker Engine
	TAFFRAIL_TEST_ENGINE=dockerd $(CARGO) test --locked -p taffrail-e2e --test e2e -- --test-threads $(E2E_THREADS) $(CASES)

exam: peers build ## the docker CLI on Docker Engine and here, command by command; CASES="ps logs" names some
	python3 tests/exam/exam.py --bin $(FAST) --jobs 2 $(CASES)

exam-delivery: peers build ## what receivers of each log driver get, against what Docker Engine sent them; ONLY='syslog-*' names some
	python3 tests/exam/delivery --bin $(FAST) $(if $(ONLY),--only '$(ONLY)')

fuzz: ## a minute for each target (needs cargo-fuzz); CASES="segment grep" names some
	@sh scripts/fuzz.sh $(CASES)

bench: build workload ## beside cat, dockerd and podman in one run, as root; prints a table
	@sh scripts/install-peers.sh bench
	python3 benches/e2e/bench.py --bin $(FAST) --workload $(TARGET)/workload $(BENCH)

bench-log: build workload ## a log of 10 GB in each form: finding, reading, stuck followers, the bound; BENCH="--gb 1" for less
	@sh scripts/install-peers.sh bench
	python3 benches/e2e/log_bench.py --bin $(FAST) --workload $(TARGET)/workload $(BENCH)

bench-delivery: build workload ## log drivers to receivers that only count, beside dockerd, and 1,000 containers at once; BENCH="--many 0" for less
	@sh scripts/install-peers.sh bench
	python3 benches/e2e/delivery_bench.py --bin $(FAST) --workload $(TARGET)/workload $(BENCH)

bench-faults: build workload ## faults of log receivers and of the daemon, beside dockerd: who waits, what is lost; BENCH="--driver splunk" for less
	@sh scripts/install-peers.sh bench
	python3 benches/e2e/faults.py --bin $(FAST) --workload $(TARGET)/workload $(BENCH)

bench-runtime: build ## create, start and delete of `true`: the built-in runtime beside crun and runc, as root
	@sh scripts/install-peers.sh bench
	python3 benches/e2e/runtime_bench.py --bin $(FAST) $(BENCH)

demo: ## installs what is missing, builds, and shows it working, as root
	@bash scripts/demo.sh

docs: ## the tables in docs/ and the schema, from the code; the API documentation of all crates
	TAFFRAIL_WRITE_DOCS=1 $(CARGO) test --locked -q -p taffrail-config -p taffrail-drivers
	TAFFRAIL_WRITE_DOCS=1 $(CARGO) test --locked -q -p taffrail --bin taffrail compatibility
	$(CARGO) doc --locked --workspace --no-deps

release: ## the programs as they are shipped: target/release/
	$(CARGO) build --locked --release --bin taffrail
	$(CARGO) build --locked --release -p taffrail-monitor --bin taffrail-monitor
	$(CARGO) rustc --locked --release -p taffrail-runtime --bin taffrail-runtime -- $(STATIC)

install: release ## PREFIX=/usr/local, DESTDIR=
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 0755 $(TARGET)/release/taffrail $(TARGET)/release/taffrail-monitor $(TARGET)/release/taffrail-runtime $(DESTDIR)$(PREFIX)/bin/

clean: ## what was built
	$(CARGO) clean
