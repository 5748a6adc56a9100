# Completion of phasebox's arguments in bash.

_phasebox_values() {
	local phases='depend src_unpack src_prepare src_configure src_compile src_test src_install
		pkg_pretend pkg_setup pkg_info pkg_nofetch pkg_preinst pkg_postinst pkg_prerm pkg_postrm
		pkg_config'
	local listed=
	case $1 in
	--features) COMPREPLY=( $(compgen -W 'cgroup network-sandbox ipc-sandbox pid-sandbox mount-sandbox' -- "$2") ) ;;
	--phase) COMPREPLY=( $(compgen -W "${phases}" -- "$2") ) ;;
	--properties) COMPREPLY=( $(compgen -W 'live test_network' -- "$2") ) ;;
	--restrict) COMPREPLY=( $(compgen -W 'network-sandbox' -- "$2") ) ;;
	--user) COMPREPLY=( $(compgen -u -- "$2") ) ;;
	--group) COMPREPLY=( $(compgen -g -- "$2") ) ;;
	--groups)
		[[ $2 == *,* ]] && listed=${2%,*},
		COMPREPLY=( $(compgen -P "${listed}" -g -- "${2##*,}") )
		compopt -o nospace
		;;
	--umask) COMPREPLY=( $(compgen -W '022 027 077' -- "$2") ) ;;
	--report-fd) COMPREPLY=( $(compgen -W '1 2 3' -- "$2") ) ;;
	--cgroup-parent)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -d -- "$2")
		;;
	esac
}

_phasebox_command() {
	# Where bash-completion is there, it knows the arguments of other commands.
	if declare -F _command_offset >/dev/null; then
		_command_offset "$1"
	elif (( COMP_CWORD > $1 )) || [[ ${COMP_WORDS[COMP_CWORD]} == */* ]]; then
		compopt -o default
	else
		# Programs only: functions, aliases and builtins cannot be executed.
		local word
		for word in $(compgen -c -- "${COMP_WORDS[COMP_CWORD]}" | sort -u); do
			type -P -- "${word}" >/dev/null && COMPREPLY+=( "${word}" )
		done
	fi
}

_phasebox() {
	local current=${COMP_WORDS[COMP_CWORD]} index=1 option
	COMPREPLY=()
	while (( index < COMP_CWORD )); do
		option=${COMP_WORDS[index]}
		case ${option} in
		--)
			_phasebox_command $(( index + 1 ))
			return
			;;
		--features | --phase | --properties | --restrict | --report-fd | --user | --group | --groups | --umask | --cgroup-parent | --cgroup)
			# readline makes three words of --option=value.
			if [[ ${COMP_WORDS[index + 1]} == = ]]; then
				(( index += 1 ))
				[[ ${current} == = ]] && (( index == COMP_CWORD )) && current=
			elif [[ ${option} == --cgroup ]]; then
				(( index += 1 ))
				continue
			fi
			if (( index + 1 >= COMP_CWORD )); then
				_phasebox_values "${option}" "${current}"
				return
			fi
			(( index += 2 ))
			;;
		-*) (( index += 1 )) ;;
		*)
			_phasebox_command "${index}"
			return
			;;
		esac
	done
	if [[ ${current} == -* ]]; then
		COMPREPLY=( $(compgen -W '-n --net -i --ipc -c --cgroup -p --pid -m --mount
			--features --phase --properties --restrict --best-effort --quiet --report-fd --check
			--help --version --user --group --groups --umask --cgroup-parent --' -- "${current}") )
	else
		_phasebox_command "${COMP_CWORD}"
	fi
}

complete -F _phasebox phasebox
