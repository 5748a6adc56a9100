# Unpacks the upstream archive of a Debian source package, which the lab puts
# into DISTDIR under one name, whatever its version and compression.

SRC_URI="${PN}.orig.tar"
SLOT="0"
KEYWORDS="amd64"

debian-source_src_unpack() {
	mkdir -p "${S}" || die
	tar --extract --file="${DISTDIR}/${A}" --strip-components=1 --directory="${S}" || die
}

EXPORT_FUNCTIONS src_unpack
