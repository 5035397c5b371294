# The front door. `make help` lists it; every target is one thing a person wants to do.

SHELL := /bin/bash
TRIPLE := x86_64-unknown-linux-gnu
# The layout of an installation, so that a checkout finds its agent by the same rule.
BIN := target/bin/banger
AGENT := target/lib/banger/banger-agent
SUPERVISOR := target/lib/banger/banger-supervisor
HELPER := target/lib/banger/banger-helper
# Linked statically, a program runs on any distribution, and the agent without one.
# Without the names of this machine's directories in it, the same source makes the same program.
CARGO_DIR := $(or $(CARGO_HOME),$(HOME)/.cargo)
REMAP := --remap-path-prefix=$(CURDIR)=banger --remap-path-prefix=$(CARGO_DIR)=cargo
STATIC := RUSTFLAGS="-C target-feature=+crt-static $(REMAP)" cargo build --target $(TRIPLE)
PREFIX ?= /usr/local
# Tests with VMs, which nobody gets who did not ask for them. They are asked for by their names alone: with
# `-p` cargo chooses other features for what they share with everything else, and compiles it once more.
E2E := --test crash --test images --test releases --test vm
# Where `install` puts things.
TO := $(DESTDIR)$(PREFIX)

.DEFAULT_GOAL := help
.PHONY: help setup setup-tests run build agent test check lint unit e2e fuzz host crash crash-under-load bench install place uninstall clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what building and running needs (Debian packages), once
	@scripts/setup.sh

setup-tests: ## Install what the tests need besides
	@scripts/setup.sh tests

run: setup build ## Boot a VM on this repository and run a command inside
	$(BIN) vm run --rm . -- sh -c 'uname -srm; git log --oneline -1; ls; wc -l < ARCHITECTURE.md'

build: agent ## Build the programs
	$(STATIC) --release -p banger-cli -p banger-daemon -p banger-helper --bins
	install -D -m 0755 target/$(TRIPLE)/release/banger $(BIN)
	install -D -m 0755 target/$(TRIPLE)/release/banger-supervisor $(SUPERVISOR)
	install -D -m 0755 target/$(TRIPLE)/release/banger-helper $(HELPER)

agent:
	$(STATIC) --profile agent -p banger-agent
	install -D -m 0755 target/$(TRIPLE)/agent/banger-agent $(AGENT)

test: setup-tests check build lint unit e2e fuzz ## Run everything: formatting, lints, unit, real VMs, fuzzing

check: ## Check formatting, and that the lock file fits
	cargo fmt --all --check
	cargo metadata --locked --format-version 1 >/dev/null

lint: ## Run clippy with warnings denied
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --workspace --test '*' -- -D warnings

unit: ## Run unit, integration and documentation tests (no VMs)
	cargo test --workspace

e2e: setup-tests build ## Run the tests with real VMs, two at a time
	cargo test --workspace $(E2E) -- --test-threads=2

fuzz: ## Fuzz the parsers of hostile input, a minute in all on two processors
	scripts/fuzz.sh 15

host: setup-tests build ## Install banger as a service on a whole Debian in a VM, use it, reboot, remove it
	cargo test --workspace --test box

crash: setup-tests build ## Run the whole crash matrix, of which `e2e` does every third cell
	BANGER_CRASH_EVERY=1 cargo test --workspace --test crash -- --test-threads=2

crash-under-load: setup-tests build ## Run the crash matrix while guests are busy and VMs come and go
	BANGER_CRASH_EVERY=1 BANGER_CRASH_LOAD=1 cargo test --workspace --test crash -- --test-threads=1

bench: setup-tests build ## Run the benchmarks against their floors
	cargo build --release --workspace --examples
	@for run in bench/*/run; do echo "== $$run"; "$$run" || failed=1; done; exit $${failed:-0}

install: build place ## Install to PREFIX (default /usr/local), under DESTDIR if set

# What is built, as it is; a release is made of this, too.
place:
	install -D -m 0755 $(BIN) $(TO)/bin/banger
	install -D -m 0755 $(AGENT) $(TO)/lib/banger/banger-agent
	install -D -m 0755 $(SUPERVISOR) $(TO)/lib/banger/banger-supervisor
	install -D -m 0755 $(HELPER) $(TO)/lib/banger/banger-helper
	install -d $(addprefix $(TO)/share/,bash-completion/completions zsh/site-functions fish/vendor_completions.d)
	$(BIN) completion bash > $(TO)/share/bash-completion/completions/banger
	$(BIN) completion zsh > $(TO)/share/zsh/site-functions/_banger
	$(BIN) completion fish > $(TO)/share/fish/vendor_completions.d/banger.fish
	$(BIN) internal man $(TO)/share/man/man1 >/dev/null
	install -D -m 0644 -t $(TO)/share/doc/banger LICENSE README.md CHANGELOG.md

uninstall: ## Remove what `install` has put there, and nothing else
	rm -f $(TO)/bin/banger $(addprefix $(TO)/lib/banger/banger-,agent supervisor helper)
	rm -f $(TO)/share/bash-completion/completions/banger $(TO)/share/zsh/site-functions/_banger
	rm -f $(TO)/share/fish/vendor_completions.d/banger.fish
	rm -f $(TO)/share/man/man1/banger.1 $(TO)/share/man/man1/banger-*.1
	rm -f $(addprefix $(TO)/share/doc/banger/,LICENSE README.md CHANGELOG.md)
	-rmdir --ignore-fail-on-non-empty $(TO)/lib/banger $(TO)/share/doc/banger

clean: ## Remove everything that was built here
	cargo clean
