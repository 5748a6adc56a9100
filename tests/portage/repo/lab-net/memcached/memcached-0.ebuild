# Its src_test starts servers, talks to them over 127.0.0.1, and leaves one
# running. Port ${LAB_SERVER_PORT} and the next are its own.
EAPI=8

inherit debian-source

DESCRIPTION="memory cache server"

src_configure() { econf --disable-docs; }

src_compile() { emake memcached memcached-debug timedrun; }

# ask PORT COMMAND EXPECTED
ask() {
	local answer socket
	{ exec {socket}<>"/dev/tcp/127.0.0.1/${1}"; } 2>/dev/null || return
	printf '%b\r\nquit\r\n' "${2}" >&${socket}
	answer=$(tr -d '\r' <&${socket})
	exec {socket}>&-
	[[ ${answer} == *${3}* ]]
}

await() {
	local tries=600
	until "$@"; do
		(( --tries )) || die "in vain: $*"
		sleep 0.1
	done
}

src_test() {
	local port=${LAB_SERVER_PORT} pid
	local server=( "${S}"/memcached -l 127.0.0.1 -U 0 -u "$(id -un)" )

	"${server[@]}" -p "${port}" &
	pid=$!
	await ask "${port}" version VERSION
	ask "${port}" 'set key 0 0 5\r\nvalue' STORED || die "cannot store"
	ask "${port}" 'get key' value || die "cannot fetch"
	kill "${pid}"
	wait "${pid}"
	einfo "the first server stored and fetched, and stopped"

	perl t/udp.t || die "its own test failed"

	"${server[@]}" -d -p "$(( port + 1 ))"
	await ask "$(( port + 1 ))" version VERSION
	ask "$(( port + 1 ))" "set owner 0 0 ${#LAB_OWNER}\r\n${LAB_OWNER}" STORED || die "cannot store"
	einfo "the second server is left running"

	# Two builds at once meet here: each goes on when the lab says so, and
	# looks once more whether the server is there and its own.
	if [[ ${LAB_MEET} ]]; then
		: > "${LAB_OUT}/up" || die
		await test -e "${LAB_OUT}/go"
		ask "$(( port + 1 ))" 'get owner' "${LAB_OWNER}" || die "the server is gone, or another's"
		einfo "the second server is still there"
	fi
}

src_install() { dobin memcached; }
