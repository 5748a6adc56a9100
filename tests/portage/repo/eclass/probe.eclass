# Every phase of a package that inherits this says where and how it runs: one
# line of NAME=VALUE words, in the build log and in ${LAB_OUT}/probe.

DESCRIPTION="says where each of its phases runs"
SLOT="0"
KEYWORDS="amd64"
IUSE="declared"
S=${WORKDIR}

# The lab listens on a port of 127.0.0.1: whoever sees the socket is in the
# host's network. No program is needed to find out, so this works in "depend".
probe_network() {
	if [[ $(</proc/net/tcp) == *:${LAB_PORT_HEX}\ * ]]; then
		echo host
	else
		echo own
	fi
}

probe_say() {
	local line="phase=${1} network=$(probe_network)"
	line+=" net=$(readlink /proc/self/ns/net)"
	line+=" ipc=$(readlink /proc/self/ns/ipc)"
	line+=" pid=$(readlink /proc/self/ns/pid)"
	line+=" mnt=$(readlink /proc/self/ns/mnt)"
	line+=" group=$(sed -n 's/^0:://p' /proc/self/cgroup)"
	line+=" host=$(</proc/sys/kernel/hostname)"
	line+=" links=$(sed -n 's/^ *\([^:]*\):.*/\1/p' /proc/net/dev | sort | tr '\n' ,)"
	line+=" ids=$(id -u):$(id -g)"
	line+=" umask=$(umask)"
	line+=" ignored=$(sed -n 's/^SigIgn:[[:space:]]*//p' /proc/self/status)"
	line+=" nice=$(nice)"
	line+=" stdin=$(readlink /proc/self/fd/0)"
	line+=" where=${PWD}"
	line+=" set=$-"
	echo "${line}" | tee -a "${LAB_OUT}/probe"
}

pkg_pretend() { probe_say pkg_pretend; }
# has_version asks Portage through its fifos, from inside of the box.
pkg_setup() { probe_say pkg_setup; has_version lab-misc/none && die; }
src_unpack() { probe_say src_unpack; }
src_prepare() { probe_say src_prepare; default; }
src_configure() { probe_say src_configure; has_version lab-misc/none && die; use declared; }
src_compile() { probe_say src_compile; }
src_test() { probe_say src_test; }
src_install() {
	probe_say src_install
	insinto /etc
	echo "${PN}" | newins - "${PN}"
}
pkg_preinst() { probe_say pkg_preinst; }
pkg_postinst() { probe_say pkg_postinst; }
pkg_prerm() { probe_say pkg_prerm; }
pkg_postrm() { probe_say pkg_postrm; }
pkg_config() { probe_say pkg_config; }
pkg_info() { probe_say pkg_info; }
pkg_nofetch() { probe_say pkg_nofetch; }

if [[ ${EBUILD_PHASE} == depend ]]; then
	echo "phase=depend network=$(probe_network)" >> "${LAB_OUT}/probe"
fi
