# Distributed under the terms of the MIT license or the Apache License 2.0

EAPI=8

DESCRIPTION="Runs one command in a box and kills what it leaves"
HOMEPAGE="https://wiki.gentoo.org/wiki/No_homepage"

if [[ ${PV} == 9999 ]]; then
	# The repository: PHASEBOX_REPOSITORY in make.conf or package.env.
	PROPERTIES="live"
	BDEPEND="dev-vcs/git"
else
	# `make dist` makes it, with all crates inside.
	SRC_URI="${P}.tar.gz"
	RESTRICT="fetch"
	KEYWORDS="~amd64"
fi

LICENSE="|| ( Apache-2.0 MIT )"
SLOT="0"
IUSE="filecaps +suid"
REQUIRED_USE="?? ( filecaps suid )"

BDEPEND+=" || ( >=dev-lang/rust-bin-1.85 >=dev-lang/rust-1.85 )"
IDEPEND="filecaps? ( sys-libs/libcap )"

# Linked without the flags for C programs.
QA_FLAGS_IGNORED="usr/bin/phasebox"

pkg_nofetch() {
	einfo "Make ${P}.tar.gz by \`make dist\` in a clone of phasebox,"
	einfo "and put it into your DISTDIR."
}

src_unpack() {
	if [[ ${PV} == 9999 ]]; then
		[[ ${PHASEBOX_REPOSITORY} ]] || die "PHASEBOX_REPOSITORY does not say what to clone"
		git clone --depth 1 -- "${PHASEBOX_REPOSITORY}" "${S}" || die
		cd "${S}" || die
		CARGO_HOME="${WORKDIR}/cargo-home" cargo fetch --locked || die
	else
		default
	fi
}

src_configure() {
	export CARGO_HOME="${WORKDIR}/cargo-home" CARGO_NET_OFFLINE=true CARGO_TARGET_DIR="${S}/target"
	# A build that lends nothing refuses to run with a set-id bit.
	MY_MAKE=(
		PREFIX="${EPREFIX}/usr"
		DOCDIR="${EPREFIX}/usr/share/doc/${PF}"
		SETUID=$(usex suid yes $(usex filecaps yes no))
	)
}

src_compile() {
	emake "${MY_MAKE[@]}"
}

src_test() {
	# The others need root and the host.
	cargo test --locked --lib || die
}

src_install() {
	emake "${MY_MAKE[@]}" DESTDIR="${D}" install
}

pkg_preinst() {
	# Not before: after src_install Portage gives to root what is its own user's or group's.
	if use suid || use filecaps; then
		fowners root:portage /usr/bin/phasebox
		fperms $(usex suid 4710 0710) /usr/bin/phasebox
	fi
}

pkg_postinst() {
	# Not in src_install: not every merge keeps them.
	if use filecaps; then
		setcap cap_dac_override,cap_kill,cap_setgid,cap_setuid,cap_net_admin,cap_sys_chroot,cap_sys_admin+p \
			"${EROOT}/usr/bin/phasebox" || die
	fi
}
