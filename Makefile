# The main targets: `make demo`, `make test`, `make bench`, `make check`.
# Each installs what is missing first, and does nothing twice.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

DENY_VERSION := 0.20.2
SEMVER_VERSION := 0.51.0

# In the order of dependencies; `tests/it/tidy/packages.rs` compares docs/releasing.md with the manifests.
LIBRARIES := stockade-sqlite stockade-depot stockade-vfs stockade-componentize stockade-postgres stockade-remote stockade stockade-server stockade-alloc stockade-sdk
PUBLISHED := $(LIBRARIES) stockade-cli

EXAMPLES := counter ledger catalog reminders bank
# The simulations, with all default members: features unify to those of the other suites, but for the
# paused clock and the rules that can be switched off. With fewer packages wasmtime is compiled again.
SIMULATIONS := $(addprefix -p ,catalog-records embed stockade stockade-alloc stockade-cli \
  stockade-componentize stockade-depot stockade-figures-pg stockade-model stockade-postgres stockade-remote \
  stockade-sdk stockade-server stockade-sim-depot stockade-sim-hosts stockade-sqlite stockade-testkit \
  stockade-tests stockade-vfs)
TEST_GUESTS := $(notdir $(patsubst %/,%,$(wildcard tests/guests/*/)))

.PHONY: help tools setup guests demo cluster test bank restart-sweep failover promote simulate simulate-fleet model asan miri soak soak-long crash damage fuzz upgrade large bench bench-large bench-peers check deny packages semver format

help:
	@echo 'make demo    the whole path on real input, shown step by step'
	@echo 'make cluster three nodes over a PostgreSQL primary with a standby, here; the owner is killed; Ctrl-C ends all, ONCE=1 at the end'
	@echo 'make test    every test'
	@echo 'make simulate  SEEDS=n seeds (1000) of the simulation, from FROM on; SEED=k repeats one'
	@echo 'make simulate-fleet  100 nodes with 100,000 actors, ten nodes lost at the same time, SEED=n; writes target/fleet.json'
	@echo 'make fuzz    generated (not coverage-guided) records, rows, arguments, bodies and SQL, FUZZ_SECONDS=n each (60)'
	@echo 'make crash   more torn disks: SEEDS=n from SEED=m on'
	@echo 'make damage  flips, cuts, swaps, ages and deletes files of a store: SEEDS=n (100) from SEED=m on'
	@echo 'make model   every state of the protocol, with larger bounds than in make test'
	@echo 'make asan    SQLite and the packages that call it, under the address sanitizer'
	@echo 'make miri    the unsafe code that does without SQLite, in Miri (needs a nightly toolchain with it)'
	@echo 'make soak    freezes and kills two real programs, ROUNDS=n times (100)'
	@echo 'make bank    two banks on two nodes exchange TRANSFERS=n (100000) transfers by messages, while nodes are killed and frozen; the sum is compared in each round'
	@echo 'make restart-sweep  kills node, entry node and store, and calls old and new actors at each moment from then on, up to SWEEP_SECONDS=n (12); writes target/restart-sweep/'
	@echo 'make failover  as root: three nodes in network namespaces are killed, frozen, cut off, slowed and made to lose packets, ACTORS=n (10000); writes target/failover.json'
	@echo 'make promote  kills a PostgreSQL primary under load and promotes a standby, ROUNDS=n times (30)'
	@echo 'make soak-long  MINUTES=n (60) of everything at the same time; memory, threads and descriptors stay the same'
	@echo 'make bench   measures; writes target/bench/summary.json and report.html'
	@echo 'make bench-large  1 GiB beside plain SQLite, 100,000 actors; writes target/bench/large.json'
	@echo 'make bench-peers  the same workload on us and on workerd and Rivet (from npm); writes target/bench/peers.json'
	@echo 'make large   one transaction of MIB megabytes (512), and the memory it takes'
	@echo 'make upgrade the former program (FORMER=commit) beside this one on one store'
	@echo 'make check   format, clippy, documentation, dependencies'
	@echo 'make deny    licences, sources and bans of dependencies, and known advisories where they can be fetched'
	@echo 'make packages  the archives of all published packages, without compiling them'
	@echo 'make semver  the libraries beside BASELINE=commit, or the last release: what breaks users'
	@echo 'make guests  builds the examples and the test guests'
	@echo 'make setup   installs what building guests and testing needs, if it is missing'

# A C compiler for SQLite, an SQLite that is not ours for the demo, and what building guests needs.
tools:
	@command -v cc >/dev/null || { apt-get update && apt-get install -y --no-install-recommends build-essential; }
	@command -v python3 >/dev/null || command -v sqlite3 >/dev/null || { apt-get update && apt-get install -y --no-install-recommends sqlite3; }
	@guest-sdk/toolchain/install.sh

# Debian's package would start a server of its own: the tests start theirs, and that one is not needed.
INSTALL_POSTGRES := apt-get install -y --no-install-recommends postgresql-common \
  && sed -ri 's/^\#?(create_main_cluster) .*$$/\1 = false/' /etc/postgresql-common/createcluster.conf \
  && apt-get install -y --no-install-recommends postgresql-15

# A PostgreSQL server as well, for the tests, and what puts nodes into namespaces of the network.
setup: tools
	@test -x /usr/lib/postgresql/15/bin/initdb || { apt-get update && $(INSTALL_POSTGRES); }
	@{ test -x /usr/sbin/nft && test -x /usr/sbin/ip; } || { \
	  apt-get update && apt-get install -y --no-install-recommends iproute2 nftables; \
	}

guests: tools
	guest-sdk/toolchain/build-guest.sh $(EXAMPLES) $(TEST_GUESTS)

demo: export STOCKADE_GUESTS := counter catalog reminders bank
demo: tools
	@echo '== Build: the program, with the profile of the tests, and the actors'
	cargo build --locked --bin stockade --bin demo
	cargo run --locked --quiet --bin demo

# The profile and the actors of the demo: what one has built, the other reuses.
cluster: export STOCKADE_PROGRAM := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/debug/stockade
cluster: export STOCKADE_GUESTS := counter catalog reminders bank
cluster: setup
	cargo build --locked --bin stockade --bin cluster
	cargo run --locked --quiet --bin cluster

# The suites start the real program. It is built along with the tests, from the same features; a
# build of its own would compile everything twice.
test: export STOCKADE_PROGRAM := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/debug/stockade
# Many tests wait for clocks and for other processes, and one that checks the model never does: three
# tests more than there are cores keep them busy.
test: export NEXTEST_TEST_THREADS ?= $(shell echo $$(($$(nproc) + 3)))
test: setup
	@if cargo nextest --version >/dev/null 2>&1; then \
	  cargo nextest run --locked --no-fail-fast && cargo test --locked --doc --no-fail-fast; \
	else \
	  cargo test --locked --no-fail-fast; \
	fi
	cargo test --locked --no-fail-fast $(SIMULATIONS) --test broken --test sim --test moves --test remote --test hosts --test alarms --test messages --test calls --test fleet

simulate: export SEEDS ?= 1000
simulate:
	cargo test --locked $(SIMULATIONS) --test sim --test moves --test remote --test hosts --test messages --test calls every_promise -- --nocapture

# Some minutes and some GiB, on one thread: hosts as they are, guests in Rust.
simulate-fleet: export FLEET := large
simulate-fleet:
	cargo test --locked $(SIMULATIONS) --test fleet a_report -- --nocapture

# A few minutes and up to 2 GiB: one machine at a time.
model:
	MODEL=large cargo test --locked --test check exhaustive -- --nocapture --test-threads=1

# Rust's unstable flag works on the pinned toolchain, whose standard library brings the sanitizer; SQLite
# is compiled for it by the C compiler. GCC and LLVM disagree about the names of static variables inside of
# functions, so two of SQLite's that have one name in two functions are not told apart: no such report.
ASAN_TARGET := x86_64-unknown-linux-gnu
ASAN_PACKAGES := -p stockade-sqlite -p stockade-vfs
asan: export RUSTC_BOOTSTRAP := 1
asan: export RUSTFLAGS := -Zsanitizer=address
asan: export CFLAGS_x86_64_unknown_linux_gnu := -fsanitize=address -fno-omit-frame-pointer
asan: export ASAN_OPTIONS := detect_odr_violation=0
asan:
	@test -e "$$(rustc --print sysroot)/lib/rustlib/$(ASAN_TARGET)/lib/librustc-stable_rt.asan.a" || { \
	  echo 'make asan needs a toolchain of rustup for $(ASAN_TARGET), which brings librustc-stable_rt.asan.a'; exit 1; }
	cargo test --locked --target $(ASAN_TARGET) $(ASAN_PACKAGES) --lib --tests

# Miri interprets Rust and cannot call SQLite: it sees the allocator and the accounts, not the callbacks.
miri:
	@cargo +nightly miri --version >/dev/null 2>&1 || { \
	  echo 'make miri needs Miri: rustup toolchain install nightly --component miri --component rust-src'; exit 1; }
	MIRIFLAGS=-Zmiri-permissive-provenance cargo +nightly miri test --locked -p stockade-sqlite --lib

soak: export STOCKADE_PROGRAM := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/debug/stockade
soak: export ROUNDS ?= 100
soak: tools
	cargo test --locked --no-run
	cargo test --locked --test it frozen -- --nocapture

bank: export STOCKADE_PROGRAM := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/debug/stockade
bank: export TRANSFERS ?= 100000
bank: tools
	cargo test --locked --no-run
	cargo test --locked --test it nodes::bank -- --nocapture

# A sweep is alone on its machine: moments are 250 ms apart.
restart-sweep: export STOCKADE_PROGRAM := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/debug/stockade
restart-sweep: export SWEEP_SECONDS ?= 12
restart-sweep: setup
	cargo test --locked --no-run
	cargo test --locked --test it sweep:: -- --nocapture --test-threads=1

# The release build: thousands of actors come back within seconds.
failover: export STOCKADE_PROGRAM := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/release/stockade
failover: export ACTORS ?= 10000
failover: setup
	cargo build --locked --release --bin stockade
	cargo test --locked --test it failover:: -- --nocapture

promote: export ROUNDS ?= 30
promote: setup
	cargo test --locked -p stockade-postgres --test promotion -- --nocapture

# The release build, whose memory is what users see.
soak-long: export STOCKADE_PROGRAM := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/release/stockade
soak-long: export MINUTES ?= 60
soak-long: tools
	cargo build --locked --release --bin stockade
	cargo test --locked --test it steady -- --nocapture

# Alone in its process: the memory of other tests would count as well.
large: export MIB ?= 512
large: tools
	cargo test --locked --test it large::a_large -- --nocapture

# Every moment of the fixed workload is in `make test`; this tries more ways to tear its writes.
crash: export SEED := $(or $(SEED),1)
crash: export SEEDS := $(or $(SEEDS),20000)
crash:
	cargo test --locked -p stockade-depot --test crash -- --nocapture with_torn

# Each seed damages one copy of a store in one place and sends every question to it; one line sums up.
damage: export SEED := $(or $(SEED),1)
damage: export SEEDS := $(or $(SEEDS),100)
damage: tools
	cargo test --locked --test it damage::one_piece -- --nocapture

# The last commit whose processes record nothing about themselves in the store. It is built with all
# of its default members, in the same target folder, with the versions of dependencies and the
# profiles of today, so that dependencies are not compiled again.
# Its contract had the number 0.1 and differs by the name of one record, which the actors of these
# tests do not use: it is built to offer that contract as 0.2, so that both run one component.
upgrade: FORMER ?= b36e898
upgrade: CONTRACT := stockade:actor(/[a-z]+)?@
upgrade: TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
upgrade: export STOCKADE_PROGRAM := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/debug/stockade
upgrade: export STOCKADE_FORMER = $(TARGET)/former/$(FORMER)/stockade
upgrade: tools
	@test -x $(STOCKADE_FORMER) || { \
	  mkdir -p $(TARGET)/former/$(FORMER)/source; \
	  git archive $(FORMER) | tar -x -C $(TARGET)/former/$(FORMER)/source; \
	  grep -rlE '$(CONTRACT)0\.1' $(TARGET)/former/$(FORMER)/source | xargs -r sed -Ei 's#($(CONTRACT)0\.)1#\12#g'; \
	  sed -i '/^\[profile\./,$$d' $(TARGET)/former/$(FORMER)/source/Cargo.toml; \
	  sed -n '/^\[profile\./,$$p' Cargo.toml >> $(TARGET)/former/$(FORMER)/source/Cargo.toml; \
	  cp Cargo.lock $(TARGET)/former/$(FORMER)/source/; \
	  (cd $(TARGET)/former/$(FORMER)/source && CARGO_TARGET_DIR=$(TARGET) cargo build); \
	  cp $(TARGET)/debug/stockade $(STOCKADE_FORMER); \
	}
	cargo build --locked
	cargo test --locked --test it upgrade:: -- --nocapture

# Inputs are generated from the formats and mutated, not guided by coverage. A failure prints the
# SEED that repeats it.
fuzz: export FUZZ_SECONDS ?= 60
fuzz:
	cargo test --locked --lib fuzz:: -- --nocapture --test-threads=1
	cargo test --locked -p stockade-depot --test fuzz -- --nocapture --test-threads=1

bench: export STOCKADE_PROGRAM := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/release/stockade
bench: tools
	cargo build --locked --release --bin stockade
	cargo bench --locked --bench figures

# Minutes, and 10 GB of disk.
bench-large: tools
	cargo bench --locked --bench figures -- large

# Needs Node.js 20. The packages, pinned by their lock file, go to the build folder. Not `npm ci`: it
# refuses a lock that names other platforms' packages without where they come from.
bench-peers: PEERS := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/peers
bench-peers: tools
	mkdir -p $(PEERS)
	cp tests/bench/peers/package.json tests/bench/peers/package-lock.json $(PEERS)/
	cd $(PEERS) && { npm ls --silent >/dev/null 2>&1 || npm install --no-save --omit=dev --ignore-scripts --no-audit --no-fund; }
	cargo build --locked --release --bin stockade
	cargo bench --locked --bench peers

check: deny
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked $(SIMULATIONS) --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps
	RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps $(SIMULATIONS)

# Advisories are in a repository of their own. Where it cannot be reached, they are not checked, and
# the output says so.
deny:
	@cargo deny --version 2>/dev/null | grep -q ' $(DENY_VERSION)$$' || { \
	  echo 'cargo-deny $(DENY_VERSION): building it, several minutes.'; \
	  cargo install --locked --quiet cargo-deny@$(DENY_VERSION); \
	}
	cargo deny --locked check licenses bans sources
	@if timeout 60 cargo deny --locked fetch db 2>/dev/null; then \
	  cargo deny --locked check --disable-fetch advisories; \
	else \
	  echo 'ADVISORIES NOT CHECKED: their database cannot be fetched from here.'; \
	fi

# All at once: a package that is not in the registry yet is taken from the workspace.
packages:
	cargo package --locked --no-verify $(PUBLISHED:%=-p %)

# The program has no API of Rust, and is left out. Each library is documented as JSON at both commits,
# which compiles what it depends on.
semver: BASELINE ?= $(shell git describe --tags --match 'v*' --abbrev=0 2>/dev/null)
semver:
	@test -n '$(BASELINE)' || { echo 'There is no release tag: give BASELINE=commit.' >&2; exit 2; }
	@git rev-parse --quiet --verify '$(BASELINE)^{commit}' >/dev/null || { echo 'There is no commit $(BASELINE).' >&2; exit 2; }
	@cargo semver-checks --version 2>/dev/null | grep -q ' $(SEMVER_VERSION)$$' || { \
	  echo 'cargo-semver-checks $(SEMVER_VERSION): building it, several minutes.'; \
	  cargo install --locked --quiet --debug cargo-semver-checks@$(SEMVER_VERSION); \
	}
	cargo semver-checks --baseline-rev '$(BASELINE)' $(LIBRARIES:%=--package %)

format:
	cargo fmt
