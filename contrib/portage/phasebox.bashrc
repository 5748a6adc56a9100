# Runs the phases of a stock Portage in phasebox. Source it from
# /etc/portage/bashrc; README.md beside it says how and names the variables.
#
# ebuild.sh sources bashrc in every phase, before any code of the ebuild. Here
# it gives way to phasebox, which starts ebuild.sh again inside the box.
#
# The second start is known by an argument, because Portage saves every
# variable for the phases to come and a saved "already boxed" would let those
# through unboxed. EBUILD_SH_ARGS is made afresh at each start and never
# saved, and ebuild.sh looks at the first of its arguments only.

if [[ ${0##*/} == ebuild.sh &&
	${EBUILD_PHASE} == @(depend|pretend|setup|unpack|prepare|configure|compile|test|install|preinst|postinst|prerm|postrm|config|info|nofetch) &&
	" ${EBUILD_SH_ARGS} " != *" phasebox:${EBUILD_PHASE} "* ]]
then
	# Nothing set below lives on: this shell is replaced, or it dies.
	phasebox=${PHASEBOX}
	if [[ -z ${phasebox} ]]; then
		# PATH is the ebuild's to change, so it does not choose the program.
		for phasebox in /usr/local/bin/phasebox /usr/bin/phasebox /bin/phasebox; do
			[[ -x ${phasebox} ]] && break
		done
	fi
	[[ ${phasebox} == /* && -f ${phasebox} && -x ${phasebox} ]] ||
		die "phasebox: '${phasebox}' is not an executable file with an absolute name; install phasebox or correct PHASEBOX"

	phasebox_features=${PHASEBOX_FEATURES-${FEATURES}}
	phasebox_options=(
		${PHASEBOX_OPTIONS}
		--features="${phasebox_features}"
		--phase="${EBUILD_PHASE}"
		--restrict="${PORTAGE_RESTRICT}"
	)

	# Given PROPERTIES, phasebox keeps the network from a src_unpack that is
	# not "live".
	if [[ ${EBUILD_PHASE} != unpack || ${PHASEBOX_UNPACK} == live ]]; then
		phasebox_options+=( --properties="${PORTAGE_PROPERTIES}" )
	fi

	# Only to name the group after the package: --cgroup asks for a group in
	# every phase, also where FEATURES does not.
	if [[ ${EBUILD_PHASE} == @(unpack|prepare|configure|compile|test|install) ]]; then
		phasebox_name=
		for phasebox_word in ${phasebox_features}; do
			case ${phasebox_word} in
			cgroup) phasebox_name=${CATEGORY}/${PF} ;;
			-cgroup) phasebox_name= ;;
			esac
		done
		[[ ${phasebox_name} ]] && phasebox_options+=( --cgroup="${phasebox_name::128}" )
	fi

	# What ebuild.sh has taken out of its own environment, its second start
	# needs again: the function behind "use", the list of eclasses, now an array
	# (and read-only, hence env), and in "depend" PATH.
	declare -F ___in_portage_iuse >/dev/null && export -f ___in_portage_iuse
	phasebox_command=( /usr/bin/env PORTAGE_ECLASS_LOCATIONS="${PORTAGE_ECLASS_LOCATIONS[*]@Q}" )
	[[ ${EBUILD_PHASE} == depend ]] && phasebox_command+=( PATH="${_PORTAGE_ORIG_PATH-${PATH}}" )
	phasebox_command+=( "${BASH}" "$0" ${EBUILD_SH_ARGS} "phasebox:${EBUILD_PHASE}" )

	phasebox_before=
	# Without privilege phasebox makes a user namespace that has one group, the
	# caller's; there Portage's "chgrp portage" fails for a mere member.
	if [[ ${EUID} != 0 && ${EBUILD_PHASE} != depend ]]; then
		phasebox_before='read -r _ _ groups < /proc/self/gid_map
			[[ ${groups} != 1 ]] || export PORTAGE_GRPNAME=$(id -gn)
		'
	fi

	# What a phase leaves running is a QA notice. The program's standard error
	# goes to a reader outside the box, the phase's own where it went before.
	# Portage waits for the reader, which holds its log open, and the reader for
	# the end of the program, which comes after the line about what was killed.
	if [[ ${phasebox_name} ]] && declare -F eqawarn >/dev/null; then
		phasebox_notice() {
			# Ctrl-C is for the box; what that leaves is to be read.
			trap '' HUP INT QUIT TERM
			local line
			while IFS= read -r line; do
				case ${line} in
				"phasebox: killed "*)
					eqawarn "QA Notice: ${EBUILD_PHASE_FUNC:-${EBUILD_PHASE}} left processes running; ${line#phasebox: }" ;;
				*)
					printf '%s\n' "${line}" >&2 ;;
				esac
			done
		}
		exec {phasebox_stderr}>&2 2> >(phasebox_notice)
		phasebox_before+="exec 2>&${phasebox_stderr} ${phasebox_stderr}>&-
		"
	fi
	if [[ ${phasebox_before} ]]; then
		phasebox_command=( "${BASH}" -c "${phasebox_before}"'exec "$@"' bash "${phasebox_command[@]}" )
	fi

	exec "${phasebox}" "${phasebox_options[@]}" -- "${phasebox_command[@]}"
	# Reached only under "shopt -s execfail"; without it the shell has exited.
	die "phasebox: '${phasebox}' could not be executed"
fi
