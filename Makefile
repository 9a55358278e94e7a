# What can be done here. `make` alone says so.

CARGO ?= cargo
SEED ?= 1
SEEDS ?= 1
SCENARIO ?=
# What `chordata load` reads besides csv, json and ndjson.
FEATURES := chordata/parquet,chordata/arrow,chordata/sql
RELEASE ?= $(or $(CARGO_TARGET_DIR),target)/release
DIST_TARGET ?= $(shell rustc -vV | sed -n 's/^host: //p')

.PHONY: help demo build verify fix test test-system test-peers sim bench bench-fingers bench-files bench-storage bench-chain bench-stall \
	bench-split bench-memory bench-load experiment dist

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1  /p' $(MAKEFILE_LIST) | awk '{ printf "  make %-14s", $$2; $$1=""; $$2=""; print }'

demo: ## a ring of five servers on this machine, with input.txt replayed
	$(CARGO) run --release -- demo

build: ## the driver and the server, optimised
	$(CARGO) build --release -p chordata -p chordata-server

verify: ## format, lints, documentation, dependency directions; never writes
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --workspace --no-deps --document-private-items --locked --quiet
	$(CARGO) test --locked --quiet -p chordata --test house_rules

fix: ## rewrite what verify would complain about, where that can be done by machine
	$(CARGO) fmt --all
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged

test: ## all tests that need neither root nor other packages
	$(CARGO) build --locked -p chordata -p chordata-server
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --workspace --locked --no-fail-fast && $(CARGO) test --workspace --doc --locked --quiet; \
	else \
		$(CARGO) test --workspace --locked --no-fail-fast; \
	fi

test-system: ## deployment to real sshd hosts in network namespaces; needs root, openssh-server, iproute2, nftables
	@test "$$(id -u)" = 0 || { echo "make test-system needs root: it makes network namespaces" >&2; exit 2; }
	@for program in sshd ip nft; do command -v $$program >/dev/null || test -x /usr/sbin/$$program || \
		{ echo "make test-system needs $$program: install openssh-server, openssh-client, iproute2, nftables" >&2; exit 2; }; done
	testbed/selftest
	$(CARGO) build --release --locked -p chordata -p chordata-server
	CHORDATA_SYSTEM_TESTS=1 $(CARGO) test --release --locked -p chordata --test 'system_*' -- --test-threads=1 --nocapture

test-peers: ## tests against other programs: peers/test-*; needs python3-venv, postgresql, mariadb-server
	$(CARGO) build --locked -p chordata -p chordata-loaders --features $(FEATURES)
	$(CARGO) test --locked -p chordata-loaders --features parquet,arrow,sql --lib --quiet
	CHORDATA_BIN="$$(realpath "$${CARGO_TARGET_DIR:-target}")/debug/chordata" peers/run

sim: ## the protocol under simulated faults: SEED=n, SEEDS=n, SCENARIO=graceful|crashes|lossy|partition|chain
	$(CARGO) run --release --locked -p chordata-sim -- --seed $(SEED) --seeds $(SEEDS) $(if $(SCENARIO),--scenario $(SCENARIO))

bench: ## get and put beside a bare tarpc service, in the same run
	$(CARGO) run --release --locked -p chordata-bench -- rpc

bench-fingers: ## hops on 64 nodes under each routing policy, and all fingers refreshed from all nodes at once
	$(CARGO) run --release --locked -p chordata-bench -- fingers

bench-files: ## a file of 1 GiB into five servers and out of them, three copies, beside `cp` to the same disk three times
	$(CARGO) run --release --locked -p chordata-bench -- files

bench-storage: ## storage engines on our own pattern: batches, synced and not, reads, scans, memory
	$(CARGO) run --release --locked -p chordata-bench -- storage

bench-chain: ## chains of three servers: puts with 3 copies beside 1, gets at any replica beside the last, puts on disk
	$(CARGO) run --release --locked -p chordata-bench -- chain

bench-stall: ## how long requests stand still when one of five servers is killed, and until all is whole again
	$(CARGO) run --release --locked -p chordata-bench -- stall

bench-split: ## eventual mode: how long until all replicas are equal after the ring was split for 30 s
	$(CARGO) run --release --locked -p chordata-bench -- split

bench-load: ## chordata load of a table of 1,000,000 rows beside put_many of the same records from memory; its memory
	$(CARGO) build --release --locked -p chordata
	$(CARGO) run --release --locked -p chordata-bench -- load

bench-memory: ## bytes of memory a key, beside redis-server if there is one
	$(CARGO) run --release --locked -p chordata-bench -- memory

experiment: ## the classic sweep through HTTP on ten servers of this machine; fills docs/results.md (about four minutes)
	$(CARGO) build --release --locked -p chordata
	$(RELEASE)/chordata experiment all --local 10 --sweep --http --seconds 5 --repeat 3 --out docs/results/local-10.json
	$(RELEASE)/chordata plot docs/results/local-10.json -o docs/results --fill docs/results.md \
		--report docs/results/report.html --against docs/results/course-project.csv

dist: ## dist/chordata (with all that `load` can read) and dist/chordata-server for hosts with an older C library
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --release --locked --target $(DIST_TARGET) --features $(FEATURES) -p chordata -p chordata-server
	mkdir -p dist
	cp target/$(DIST_TARGET)/release/chordata target/$(DIST_TARGET)/release/chordata-server dist/
	@ls -l dist
