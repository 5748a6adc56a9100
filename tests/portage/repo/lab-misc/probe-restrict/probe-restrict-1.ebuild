EAPI=8
RESTRICT="network-sandbox"

inherit probe
