EAPI=8
SRC_URI="probe-never.tar"
RESTRICT="fetch"

inherit probe
