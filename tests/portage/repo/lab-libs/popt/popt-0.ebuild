# An autotools package with a test suite of its own.
EAPI=8

inherit debian-source

DESCRIPTION="command line parser"
IUSE="broken"

src_prepare() {
	default
	if use broken; then
		echo '#error "broken as asked"' >> src/popt.c || die
	fi
}

src_configure() { econf --disable-nls --disable-shared; }
