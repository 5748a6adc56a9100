EAPI=8

inherit probe

# Portage dies here, by a function that it takes out of its own environment.
src_compile() { use undeclared; }
