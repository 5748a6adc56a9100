# Starts what ignores every polite signal and has left the session, and then
# waits to be interrupted.
EAPI=8

DESCRIPTION="does not want to go"
SLOT="0"
KEYWORDS="amd64"
S=${WORKDIR}

src_test() {
	setsid bash -c '
		trap "" HUP INT QUIT TERM
		: > "${1}"
		while :; do sleep 1; done
	' "${T}/lingerer" "${LAB_OUT}/up" &
	wait
}
