EAPI=8
PROPERTIES="live"

inherit probe
