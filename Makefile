# phasebox: `make help` lists the targets.

CARGO ?= cargo
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
DOCDIR ?= $(PREFIX)/share/doc/phasebox
DESTDIR ?=
INSTALL ?= install

# Distributions build elsewhere; cargo knows this variable too.
CARGO_TARGET_DIR ?= target
PROGRAM = $(CARGO_TARGET_DIR)/release/phasebox

.PHONY: all test check fmt clippy portage-test size install clean help

all: ## build the program: target/release/phasebox
	$(CARGO) build --release --locked

test: ## run the tests (as root: all of them; as another user the others say SKIPPED)
	$(CARGO) test --release --locked --no-fail-fast

check: fmt clippy test ## formatting, lints and tests

fmt:
	$(CARGO) fmt --check

clippy:
	$(CARGO) clippy --locked --all-targets -- -D warnings

portage-test: all ## real Portage, real ebuild phases (root; fetches Portage and sources)
	PHASEBOX=$(abspath $(PROGRAM)) tests/portage/run

size: all ## the size of the stripped program in bytes
	@strip -o $(PROGRAM).stripped $(PROGRAM)
	@wc -c < $(PROGRAM).stripped
	@rm $(PROGRAM).stripped

# Without a set-id bit and without capabilities: root gets everything, others a user namespace.
install: all ## install below $(DESTDIR)$(PREFIX)
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(DOCDIR)/portage
	$(INSTALL) -m 755 $(PROGRAM) $(DESTDIR)$(BINDIR)/phasebox
	$(INSTALL) -m 644 README.md CHANGELOG.md $(DESTDIR)$(DOCDIR)
	$(INSTALL) -m 644 contrib/portage/* $(DESTDIR)$(DOCDIR)/portage

clean: ## remove what was built
	$(CARGO) clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 16
	@echo "PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)"
