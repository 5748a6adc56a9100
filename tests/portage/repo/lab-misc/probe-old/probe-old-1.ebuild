# No EBUILD_PHASE_FUNC and no in_iuse before EAPI 5.
EAPI=4

inherit probe

src_prepare() { probe_say src_prepare; }
src_install() { probe_say src_install; }
