# Its src_compile leaves two processes, one of them in a session of its own.
EAPI=8

DESCRIPTION="forgets to stop what it started"
SLOT="0"
KEYWORDS="amd64"
S=${WORKDIR}

src_compile() {
	echo "on standard error" >&2
	cd "${T}" || die
	sleep 1000 &
	setsid sleep 1000 &
}
