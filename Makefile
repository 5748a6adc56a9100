# phasebox: `make help` lists the targets.

CARGO ?= cargo
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
DATADIR ?= $(PREFIX)/share
MANDIR ?= $(DATADIR)/man
DOCDIR ?= $(DATADIR)/doc/phasebox
BASHCOMPDIR ?= $(DATADIR)/bash-completion/completions
ZSHCOMPDIR ?= $(DATADIR)/zsh/site-functions
FISHCOMPDIR ?= $(DATADIR)/fish/vendor_completions.d
DESTDIR ?=
INSTALL ?= install

# Distributions build elsewhere; cargo knows this variable too.
CARGO_TARGET_DIR ?= target
PROGRAM = $(CARGO_TARGET_DIR)/release/phasebox

# The group whose members may call the program that install-setuid and install-caps install.
GROUP ?= portage
# SETUID=no: a build that refuses to run set-user-id, for systems that want no such bit.
SETUID ?= yes
FEATURES = $(if $(filter no,$(SETUID)),--no-default-features)
# What the program needs, permitted and not effective: it puts in force what it uses.
CAPS = cap_dac_override,cap_kill,cap_setgid,cap_setuid,cap_net_admin,cap_sys_chroot,cap_sys_admin+p

# A sample that takes two minutes.
FAULTS_EVERY ?= 12
MINUTES ?= 2

# How long each fuzz target runs.
FUZZ_SECONDS ?= 20
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
# Sanitizers are not stable yet; the tests alone are built with one. Vectors that a test leaks on
# purpose are no fault.
SANITIZED = RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0

.PHONY: all test test-installed check fmt clippy fuzz sanitize faults faults-sample soak portage-test \
	completions-test recipes-test dist dist-test bench kernels cross cross-test cross-system msrv build-variants size \
	install install-setuid install-caps may-lend clean help

all: ## build the program: target/release/phasebox (SETUID=no: one that refuses to run set-id)
	$(CARGO) build --release --locked $(FEATURES)

test: ## run the tests (as root: all of them; as another user the others say SKIPPED)
	$(CARGO) test --release --locked --no-fail-fast

# All but the unit tests and those that install what they test themselves.
INSTALLED_TESTS = $(patsubst tests/%.rs,--test %, \
	$(filter-out $(addprefix tests/,elf.rs install.rs kernels.rs mem.rs setid_%), $(wildcard tests/*.rs)))

test-installed: ## the same of the program installed set-user-id, and with capabilities (as root)
	@status=0; for install in setuid caps; do \
		echo "PHASEBOX_INSTALL=$$install"; \
		PHASEBOX_INSTALL=$$install $(CARGO) test --release --locked --no-fail-fast $(INSTALLED_TESTS) \
			|| status=1; \
	done; exit $$status

check: fmt clippy test ## formatting, lints and tests

fmt:
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml

clippy:
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --manifest-path fuzz/Cargo.toml --no-default-features --all-targets -- -D warnings

fuzz: ## all readers of what comes from outside, FUZZ_SECONDS each (needs cargo-fuzz, c++)
	FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz/run

# The program itself has no room for a sanitizer: its readers and memory functions are tested alone.
sanitize: ## the unit tests, with AddressSanitizer
	$(SANITIZED) $(CARGO) test --locked --lib --target $(HOST)
	RUSTC_BOOTSTRAP=1 rustc --edition 2024 --test -Zsanitizer=address tests/mem.rs -o $(CARGO_TARGET_DIR)/$(HOST)/mem
	$(CARGO_TARGET_DIR)/$(HOST)/mem

faults: all ## every system call fails, every process is killed at every one (root; 20 minutes)
	tests/faults/run --program $(PROGRAM)

faults-sample: all ## one in FAULTS_EVERY of these, of every call of every process
	tests/faults/run --program $(PROGRAM) --every $(FAULTS_EVERY)

soak: all ## boxes of every kind, 16 at a time, for MINUTES, with kills at random (root)
	tests/soak/run --program $(PROGRAM) --minutes $(MINUTES)

completions-test: ## completions in real bash, zsh and fish
	tests/completions/run

recipes-test: all ## the commands of contrib/recipes, as they stand there (root, on Debian)
	PHASEBOX=$(abspath $(PROGRAM)) tests/recipes/run

portage-test: all ## real Portage and pkgcore, real ebuild phases (root; fetches these and sources)
	PHASEBOX=$(abspath $(PROGRAM)) tests/portage/run

kernels: ## tests in Linux 5.10, 6.1, 6.12 and the newest, in QEMU (root, on Debian; fetches the kernels)
	tests/kernels/run

cross: ## build for every processor, and the README's table of them (on Debian; fetches a compiler)
	tests/cross/run build

cross-test: ## the tests, with the program built for other processors (root; fetches qemu-user)
	tests/cross/run test

cross-system: ## tests in Debian's kernel for other processors, in QEMU (root; fetches all of it)
	tests/cross/run system

msrv: ## build with the oldest Rust that the README promises (fetches it)
	tests/cross/run msrv

build-variants: ## build with the flags that users and distributions set, and run each (root)
	tests/build-variants

# KEEP=yes: into the README and benches/.
bench: all ## time, calls, instructions, memory beside the floor and others (root; 6 minutes)
	benches/run --program $(PROGRAM) $(if $(KEEP),--keep)

size: all ## the size of the stripped program in bytes
	@strip -o $(PROGRAM).stripped $(PROGRAM)
	@wc -c < $(PROGRAM).stripped
	@rm $(PROGRAM).stripped

define install-files
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man8 $(DESTDIR)$(DATADIR)/phasebox \
		$(DESTDIR)$(DOCDIR)/portage $(DESTDIR)$(DOCDIR)/recipes \
		$(DESTDIR)$(BASHCOMPDIR) $(DESTDIR)$(ZSHCOMPDIR) $(DESTDIR)$(FISHCOMPDIR)
	$(INSTALL) -m 644 README.md SECURITY.md CHANGELOG.md $(DESTDIR)$(DOCDIR)
	$(INSTALL) -m 644 contrib/portage/README.md $(DESTDIR)$(DOCDIR)/portage
	$(INSTALL) -m 644 contrib/recipes/* $(DESTDIR)$(DOCDIR)/recipes
	$(INSTALL) -m 644 contrib/portage/phasebox.bashrc $(DESTDIR)$(DATADIR)/phasebox
	$(INSTALL) -m 644 man/phasebox.8 $(DESTDIR)$(MANDIR)/man8
	$(INSTALL) -m 644 contrib/completions/phasebox.bash $(DESTDIR)$(BASHCOMPDIR)/phasebox
	$(INSTALL) -m 644 contrib/completions/_phasebox $(DESTDIR)$(ZSHCOMPDIR)
	$(INSTALL) -m 644 contrib/completions/phasebox.fish $(DESTDIR)$(FISHCOMPDIR)
endef

# Without a set-id bit and without capabilities: root gets everything, others a user namespace.
install: all ## install below $(DESTDIR)$(PREFIX)
	$(install-files)
	$(INSTALL) -m 755 $(PROGRAM) $(DESTDIR)$(BINDIR)/phasebox

# Not readable by those who may call it: Gentoo's libsandbox traces a set-id file that it can read,
# and then it gets no privileges. The owner first: a change of owner takes the bits away.
install-setuid: may-lend all ## the same, set-user-id root for the members of $(GROUP)
	$(install-files)
	$(INSTALL) -m 700 $(PROGRAM) $(DESTDIR)$(BINDIR)/phasebox
	chown root:"$(GROUP)" $(DESTDIR)$(BINDIR)/phasebox
	chmod 4710 $(DESTDIR)$(BINDIR)/phasebox

install-caps: may-lend all ## the same, with file capabilities for the members of $(GROUP)
	$(install-files)
	$(INSTALL) -m 700 $(PROGRAM) $(DESTDIR)$(BINDIR)/phasebox
	chown root:"$(GROUP)" $(DESTDIR)$(BINDIR)/phasebox
	chmod 710 $(DESTDIR)$(BINDIR)/phasebox
	setcap $(CAPS) $(DESTDIR)$(BINDIR)/phasebox

# Before anything is built or installed.
may-lend:
	@test "$(SETUID)" != no || { echo "SETUID=no builds a program that lends nothing" >&2; exit 1; }
	@getent group "$(GROUP)" >/dev/null || { echo "there is no group '$(GROUP)'; choose one by GROUP=" >&2; exit 1; }

# The last commit, with the crates that it needs, such that the same commit gives the same bytes.
VERSION = $(shell sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)
DISTNAME = phasebox-$(VERSION)
DIST = $(CARGO_TARGET_DIR)/dist

dist: ## a source archive with all crates, which builds offline: target/dist/phasebox-VERSION.tar.gz
	rm -rf $(DIST)/$(DISTNAME)
	mkdir -p $(DIST)/$(DISTNAME)/.cargo
	git archive HEAD | tar -x -C $(DIST)/$(DISTNAME)
	cd $(DIST)/$(DISTNAME) && $(CARGO) vendor --quiet --locked --versioned-dirs vendor
	printf '[source.crates-io]\nreplace-with = "vendor"\n[source.vendor]\ndirectory = "vendor"\n' \
		> $(DIST)/$(DISTNAME)/.cargo/config.toml
	tar --create --directory=$(DIST) --format=gnu --sort=name --owner=0 --group=0 --numeric-owner \
		--mode=u=rwX,go=rX --mtime=@$$(git log -1 --format=%ct) $(DISTNAME) \
		| gzip -9n > $(DIST)/$(DISTNAME).tar.gz
	rm -r $(DIST)/$(DISTNAME)

dist-test: all ## the archive: the same bytes twice, and a build of it without a network
	PHASEBOX=$(abspath $(PROGRAM)) tests/dist/run

clean: ## remove what was built
	$(CARGO) clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 18
	@echo "PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) FUZZ_SECONDS=$(FUZZ_SECONDS) CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)"
