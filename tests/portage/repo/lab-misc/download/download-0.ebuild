# Tries to download in a phase that must not.
EAPI=8

inherit debian-source

DESCRIPTION="downloads what it should not"

# The library's source stands for any package.
SRC_URI="popt.orig.tar"

S=${WORKDIR}/${P}

fetch() {
	local began=${EPOCHREALTIME/./} status
	# An address that is not this machine's is for boxes only: no test sends
	# anything to it from the host's network.
	if [[ ${1} != */127.0.0.1:* && $(</proc/net/tcp) == *:${LAB_PORT_HEX}\ * ]]; then
		status=unboxed
	else
		curl --silent --show-error --fail --output /dev/null "${1}"
		status=$?
	fi
	echo "phase=${EBUILD_PHASE} url=${1} status=${status} ms=$(( (${EPOCHREALTIME/./} - began) / 1000 ))" \
		>> "${LAB_OUT}/probe"
	[[ ${status} == 0 ]]
}

src_unpack() {
	debian-source_src_unpack
	fetch "${LAB_LISTENER}" || die "no download in src_unpack"
}

src_configure() { :; }

src_compile() {
	local url failed=
	for url in ${LAB_DOWNLOADS}; do
		fetch "${url}" || failed+=" ${url}"
	done
	[[ -z ${failed} ]] || die "not downloaded:${failed}"
}

src_test() { :; }

src_install() { :; }
