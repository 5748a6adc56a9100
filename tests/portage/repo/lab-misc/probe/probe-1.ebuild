EAPI=8

inherit probe
