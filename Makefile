# `make` alone lists what there is. Every target begins with a look at the tools it needs.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help tools demo test check torture soak bench bench-peers dist clean
# Where rustup puts cargo, also before a new shell knows of it.
export PATH := $(PATH):$(HOME)/.cargo/bin

ARGS ?=
# poll: the job asks the agent; push: the agent sends to the job.
MODE ?= poll
# Percent of the rounds of a full run.
TORTURE ?= 100
# How long a soak lasts.
SOAK_SECONDS ?= 3600

help:
	@echo 'make demo    counts the words of what is put into demo/spool; Ctrl-C ends it (also: make demo MODE=push, make demo ARGS=--help)'
	@echo 'make test    installs what is missing (as root, with apt-get), then runs every check and every test'
	@echo 'make check   what to run before a commit: format, lints, rules of the house, quick tests'
	@echo 'make torture breaks everything around an agent, for three quarters of an hour, and writes a report (less of it: make torture TORTURE=10, in percent)'
	@echo 'make soak    breaks everything around two agents, for an hour, and writes a report of what is lost and of what grows'
	@echo 'make bench   measures whole runs; make bench-peers does so beside the real Flume'
	@echo 'make dist    makes a tarball with the layout of Flume, and a Debian package, in target/dist'
	@echo 'make clean   removes what was built, and what the demo counted'

tools:
	@.ci/tools

demo: tools
	@cargo run --profile demo -p millstream-cli -- demo --dir demo --mode $(MODE) $(ARGS)

test:
	.ci/tools --install
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo xtask tidy
	RUSTDOCFLAGS='-D warnings' cargo doc --quiet --workspace --no-deps
	cargo test --workspace

check: tools
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo xtask tidy
	cargo test --workspace --exclude millstream-tests

torture: tools
	TORTURE=$(TORTURE) SCHEDULES_FROM=$$(date +%s)000000 cargo test -p millstream-journal -p millstream-channels \
		-p millstream-interleavings-core -p millstream-interleavings-journal -p millstream-interleavings-channels
	TORTURE=$(TORTURE) TORTURE_REPORT=$(CURDIR)/docs/reliability/torture-$$(date -u +%F).md cargo test -p millstream-tests --test torture

soak: tools
	SOAK_SECONDS=$(SOAK_SECONDS) SOAK_REPORT=$(CURDIR)/docs/reliability/soak-$$(date -u +%F).md cargo test -p millstream-tests --test torture -- soak::two_agents --nocapture

bench: tools
	cargo build --release -p millstream-cli -p millstream-benches
	cargo run --release -p millstream-benches --bin millstream-benches -- $(ARGS)

bench-peers: tools
	.ci/tools --install
	cargo build --release -p millstream-cli -p millstream-benches
	cargo run --release -p millstream-benches --bin bench-peers -- $(ARGS)

dist: tools
	cargo build --release -p millstream-cli
	packaging/make-dist $${CARGO_TARGET_DIR:-target}/release/millstream $${CARGO_TARGET_DIR:-target}/dist

clean: tools
	cargo clean
	rm -rf demo
