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

# The group whose members may call the program that install-setuid and install-caps install.
GROUP ?= portage
# SETUID=no: a build that refuses to run set-user-id, for systems that want no such bit.
SETUID ?= yes
FEATURES = $(if $(filter no,$(SETUID)),--no-default-features)
# What the program needs, permitted and not effective: it puts in force what it uses.
CAPS = cap_dac_override,cap_kill,cap_setgid,cap_setuid,cap_net_admin,cap_sys_chroot,cap_sys_admin+p

.PHONY: all test test-installed check fmt clippy portage-test kernels size install install-files \
	install-setuid install-caps clean help

all: ## build the program: target/release/phasebox (SETUID=no: one that refuses to run set-id)
	$(CARGO) build --release --locked $(FEATURES)

test: ## run the tests (as root: all of them; as another user the others say SKIPPED)
	$(CARGO) test --release --locked --no-fail-fast

check: fmt clippy test ## formatting, lints and tests

fmt:
	$(CARGO) fmt --check

clippy:
	$(CARGO) clippy --locked --all-targets -- -D warnings

portage-test: all ## real Portage, real ebuild phases (root; fetches Portage and sources)
	PHASEBOX=$(abspath $(PROGRAM)) tests/portage/run

kernels: ## tests in Linux 5.10, 6.1, 6.12 and the newest, in QEMU (root, on Debian; fetches the kernels)
	tests/kernels/run

size: all ## the size of the stripped program in bytes
	@strip -o $(PROGRAM).stripped $(PROGRAM)
	@wc -c < $(PROGRAM).stripped
	@rm $(PROGRAM).stripped

# Without a set-id bit and without capabilities: root gets everything, others a user namespace.
install: install-files ## install below $(DESTDIR)$(PREFIX)
	$(INSTALL) -m 755 $(PROGRAM) $(DESTDIR)$(BINDIR)/phasebox

# Not readable by those who may call it: Gentoo's libsandbox traces a set-id file that it can read,
# and then it gets no privileges. The owner first: a change of owner takes the bits away.
install-setuid: install-files ## the same, set-user-id root for the members of $(GROUP)
	@getent group $(GROUP) >/dev/null || { echo "install-setuid: there is no group '$(GROUP)'; choose one by GROUP=" >&2; exit 1; }
	@test "$(SETUID)" != no || { echo "install-setuid: SETUID=no builds a program that refuses to run so" >&2; exit 1; }
	$(INSTALL) -m 700 $(PROGRAM) $(DESTDIR)$(BINDIR)/phasebox
	chown root:$(GROUP) $(DESTDIR)$(BINDIR)/phasebox
	chmod 4710 $(DESTDIR)$(BINDIR)/phasebox

install-caps: install-files ## the same, with file capabilities for the members of $(GROUP)
	@getent group $(GROUP) >/dev/null || { echo "install-caps: there is no group '$(GROUP)'; choose one by GROUP=" >&2; exit 1; }
	@test "$(SETUID)" != no || { echo "install-caps: SETUID=no builds a program that does not use them" >&2; exit 1; }
	$(INSTALL) -m 700 $(PROGRAM) $(DESTDIR)$(BINDIR)/phasebox
	chown root:$(GROUP) $(DESTDIR)$(BINDIR)/phasebox
	chmod 710 $(DESTDIR)$(BINDIR)/phasebox
	setcap $(CAPS) $(DESTDIR)$(BINDIR)/phasebox

install-files: all
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(DOCDIR)/portage
	$(INSTALL) -m 644 README.md SECURITY.md CHANGELOG.md $(DESTDIR)$(DOCDIR)
	$(INSTALL) -m 644 contrib/portage/* $(DESTDIR)$(DOCDIR)/portage

clean: ## remove what was built
	$(CARGO) clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 16
	@echo "PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)"
