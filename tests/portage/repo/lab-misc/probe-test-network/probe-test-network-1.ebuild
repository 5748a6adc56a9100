EAPI=8
PROPERTIES="test_network"

inherit probe
