//! The contract's `-n`: a network with nothing but loopback, useful from COMMAND's first system
//! call on, and nobody's to change.
#![allow(missing_docs, unsafe_code)]

mod common;
#[path = "common/isolation.rs"]
mod isolation;

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use common::*;
use isolation::*;

/// The helper that asks and tries.
fn probe() -> &'static str {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    word(PROBE.get_or_init(|| compile("net", include_str!("helpers/net.c"))))
}

/// The helper's answer from inside a box. It sends nothing where it is not in one.
fn answer(way: Way, words: &[&str]) -> String {
    let mut command = way.command(&[&[probe()], words].concat());
    command.env("HOST_NETWORK", &namespaces_of("self")["net"]);
    ask(command)
}

/// Asserts the same answer in every box.
fn assert_answer(words: &[&str], expected: &str) {
    for way in ways() {
        assert_eq!(answer(way, words), expected, "{way:?} {words:?}");
    }
}

const INTERFACES: [&str; 5] = [
    "10.0.0.1/32",
    "127.0.0.1/8",
    "::1/128",
    "fd::1/128",
    "lo up",
];

#[test]
fn only_loopback_is_up_with_exactly_its_addresses() {
    needs_root!();
    for way in ways() {
        assert_eq!(sorted(&answer(way, &["interfaces"])), INTERFACES, "{way:?}");
    }
}

#[test]
fn every_loopback_address_talks_without_a_wait() {
    needs_root!();
    let addresses = ["127.0.0.1", "127.9.9.9", "::1", "10.0.0.1", "fd::1"];
    let expected = addresses.map(|address| format!("{address}\n")).concat();
    assert_answer(&[&["talk"][..], &addresses].concat(), &expected);
}

#[test]
fn the_network_is_ready_before_the_command_is_executed() {
    needs_root!();
    needs_strace!();
    for options in ["-n", "-nc", "-nicpm"] {
        let log = file("strace", b"", 0o666);
        let mut traced = Command::new("strace");
        traced
            .args(["-f", "-e", "trace=socket,sethostname,execve", "-o"])
            .arg(&log)
            .arg(program())
            .args([options, "/bin/true"])
            .current_dir("/");
        assert!(run(traced).status.success());
        let log = fs::read_to_string(log).unwrap();
        let calls: Vec<&str> = log
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(_, call)| call.trim_start())
            .collect();
        // Its answer, not only its start: strace splits a call during which another one is made.
        let ready = calls
            .iter()
            .position(|call| call.contains("sethostname") && call.ends_with("= 0"));
        let executed = calls
            .iter()
            .position(|call| call.starts_with("execve(\"/bin/true\""));
        assert!(
            ready.is_some() && executed.is_some() && ready < executed,
            "{options}: {log}"
        );
        let late = &calls[executed.unwrap()..];
        assert!(!late.iter().any(|call| call.contains("socket(")), "{log}");
    }
}

/// The command in mounts of its own where /etc/hosts is what this file says.
fn with_hosts(way: Way, hosts: &Path, words: &[&str]) -> Command {
    let as_caller = match way.caller {
        Caller::Root => "",
        Caller::User => "setpriv --reuid 64101 --regid 64101 --clear-groups",
    };
    let nsswitch = file("nsswitch", b"hosts: files dns\n", 0o644);
    let script = format!(
        "mount --bind {} /etc/hosts && mount --bind {} /etc/nsswitch.conf && exec {as_caller} \"$@\"",
        word(hosts),
        word(&nsswitch)
    );
    let mut command = Command::new("unshare");
    command
        .args(["-m", "--propagation", "private", "sh", "-c", &script, "sh"])
        .arg(program())
        .args(way.options)
        .args(words)
        .env("HOST_NETWORK", &namespaces_of("self")["net"])
        .stdin(Stdio::null())
        .current_dir("/");
    command
}

#[test]
fn localhost_is_found_in_each_family_with_ai_addrconfig() {
    needs_root!();
    // Debian's, without the names for the IPv6 loopback that not every machine has.
    let hosts = file("hosts", b"127.0.0.1 localhost\n::1 localhost\n", 0o644);
    for way in ways() {
        let told = ask(with_hosts(way, &hosts, &[probe(), "resolve", "localhost"]));
        let families: Vec<&str> = told.lines().collect();
        let [v4, v6, any] = families[..] else {
            panic!("{way:?} {told}");
        };
        // The C library gives the IPv4 address for each line that names localhost.
        let found = |addresses: &str| {
            let mut found: Vec<String> = addresses.split(' ').map(str::to_owned).collect();
            found.sort_unstable();
            found.dedup();
            found
        };
        assert_eq!(found(v4), ["127.0.0.1"], "{way:?}");
        assert_eq!(found(v6), ["::1"], "{way:?}");
        assert_eq!(found(any), ["127.0.0.1", "::1"], "{way:?}");
    }
}

#[test]
fn the_host_name_is_localhost_and_resolves() {
    needs_root!();
    assert_answer(&["hostname"], "localhost\n");
    for way in ways() {
        let name = answer(way, &["hostname"]);
        let found = answer(way, &["resolve", name.trim()]);
        assert_eq!(found.lines().next(), Some("127.0.0.1"), "{way:?}");
    }
}

#[test]
fn an_unroutable_address_fails_at_once() {
    needs_root!();
    let addresses = [
        "10.255.255.1",
        "10.0.0.2",
        "192.0.2.1",
        "8.8.8.8",
        "2001:db8::1",
        "fd::2",
    ];
    let expected = addresses
        .map(|address| format!("{address} ENETUNREACH ENETUNREACH\n"))
        .concat();
    assert_answer(&[&["unreachable"][..], &addresses].concat(), &expected);
}

#[test]
fn multicast_is_joined_sent_and_received() {
    needs_root!();
    assert_answer(&["multicast"], "delivered\n");
}

#[test]
fn broadcast_is_delivered() {
    needs_root!();
    assert_answer(&["broadcast"], "delivered\n");
}

#[test]
fn an_icmp_echo_socket_gets_its_reply() {
    needs_root!();
    assert_answer(&["ping", "127.0.0.1", "::1"], "reply\nreply\n");
}

#[test]
fn an_icmp_echo_socket_is_allowed_to_every_group() {
    needs_root!();
    for group in ["1", "64102", "2147483646"] {
        let mut command = phasebox(&["-n", "--user", "64101", "--group", group]);
        command.args([probe(), "ping", "127.0.0.1"]);
        assert_eq!(ask(command), "reply\n", "group {group}");
    }
}

#[test]
fn an_ordinary_user_has_no_power_over_the_network() {
    needs_root!();
    let expected = "down EPERM\nroute EPERM\npacket EPERM\nraw EPERM\nhostname EPERM\n\
                    port EACCES\nsysctl EACCES\n";
    for way in ways().into_iter().filter(|way| !way.is_root()) {
        assert_eq!(answer(way, &["powers"]), expected, "{way:?}");
        // Nor with all capabilities in a user namespace of its own.
        assert_eq!(answer(way, &["powers-of-own"]), expected, "{way:?}");
    }
}

#[test]
fn root_keeps_its_power_over_the_boxs_network() {
    needs_root!();
    let told = answer(WAYS[0], &["powers"]);
    assert!(told.starts_with("down done\n"), "{told}");
}

/// Runs the helper, which fails with this line.
fn assert_fails(way: Way, words: &[&str], expected: &str) {
    let output = run(way.command(&[&[probe()], words].concat()));
    assert_eq!(output.status.code(), Some(1), "{way:?} {words:?}");
    assert_eq!(text(&output.stdout), expected, "{way:?} {words:?}");
}

#[test]
fn a_listener_of_the_host_cannot_be_reached() {
    needs_root!();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    for way in ways() {
        assert_fails(way, &["tcp", "127.0.0.1", &port], "connect: ECONNREFUSED\n");
    }
}

#[test]
fn an_abstract_socket_of_the_host_cannot_be_reached() {
    needs_root!();
    let name = token("abstract");
    let address = UnixAddress::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let name = format!("@{name}");
    for way in ways() {
        assert_fails(way, &["unix", &name], "connect: ECONNREFUSED\n");
    }
    let other = phasebox(&["-i", probe(), "unix", &name]);
    assert_eq!(ask(other), "connected\n", "without -n");
}

#[test]
fn a_socket_in_the_file_system_can_be_reached() {
    needs_root!();
    let path = scratch(USER).join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_answer(&["unix", word(&path)], "connected\n");
}

#[test]
fn boxes_and_the_host_have_the_same_port_without_meeting() {
    needs_root!();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let port = address.port().to_string();
    for way in ways() {
        // A box that has nothing there, while another one and the host have.
        let mut first = Held::start(way.command(&[probe(), "serve", &port, "first"]));
        assert_fails(way, &["tcp", "127.0.0.1", &port], "connect: ECONNREFUSED\n");
        let mut second = Held::start(way.command(&[probe(), "serve", &port, "second"]));
        assert_eq!(first.next(""), "first", "{way:?}");
        assert_eq!(second.next(""), "second", "{way:?}");

        let client = TcpStream::connect(address).unwrap();
        let (_, found) = listener.accept().unwrap();
        assert_eq!(found, client.local_addr().unwrap(), "{way:?}");
        assert!(first.release().success() && second.release().success());
    }
}

#[test]
fn a_server_in_the_box_cannot_be_reached_from_the_host() {
    needs_root!();
    // Nobody else takes the port, and to connect there is refused.
    let reserved = reserve();
    let address = reserved.1;
    let port = address.port().to_string();
    for way in ways() {
        let mut server = Held::start(way.command(&[probe(), "serve", &port, "inside"]));
        assert_eq!(server.next(""), "inside");
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{way:?}");
    }
}

/// A socket that is bound on the loopback and does not listen; and its address.
fn reserve() -> (OwnedFd, SocketAddr) {
    // SAFETY: numbers only.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0);
    // SAFETY: just opened, owned by nobody else.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut name = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::to_be(libc::INADDR_LOOPBACK),
        },
        sin_zero: [0; 8],
    };
    let mut length = size_of_val(&name) as libc::socklen_t;
    // SAFETY: one sockaddr_in and its length.
    assert_eq!(
        unsafe { libc::bind(fd, (&raw const name).cast(), length) },
        0
    );
    // SAFETY: as above.
    assert_eq!(
        unsafe { libc::getsockname(fd, (&raw mut name).cast(), &raw mut length) },
        0
    );
    (
        owned,
        (Ipv4Addr::LOCALHOST, u16::from_be(name.sin_port)).into(),
    )
}

/// What could be seen of the host's network and name if a box had changed it.
fn host_state() -> Vec<String> {
    let mut state: Vec<String> = [
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/domainname",
        "/proc/self/net/route",
        "/proc/self/net/if_inet6",
        "/proc/self/net/fib_trie",
        "/proc/sys/net/ipv4/ping_group_range",
    ]
    .map(|path| fs::read_to_string(path).unwrap_or_default())
    .into();
    let mut interfaces: Vec<String> = fs::read_dir("/sys/class/net")
        .unwrap()
        .flatten()
        .map(|entry| {
            let flags = fs::read_to_string(entry.path().join("flags")).unwrap_or_default();
            format!("{:?} {flags}", entry.file_name())
        })
        .collect();
    interfaces.sort();
    state.extend(interfaces);
    state
}

#[test]
fn the_hosts_network_and_name_stay_as_they_were() {
    needs_root!();
    let before = (host_state(), namespaces_of("self"));
    for way in ways() {
        answer(way, &["interfaces"]);
    }
    assert_eq!((host_state(), namespaces_of("self")), before);
}

#[test]
fn in_place_no_process_of_the_programs_own_remains() {
    needs_root!();
    for caller in [Caller::Root, Caller::User] {
        for options in ["-n", "-ni", "-nim"] {
            let held = Held::start(phasebox_as(
                caller,
                &[options, "sh", "-c", "echo $$ $PPID; read line"],
            ));
            let expected = format!("{} {}", held.pid(), std::process::id());
            assert_eq!(held.line, expected, "{caller:?} {options}");
            assert_eq!(children(held.pid()), [0; 0], "{caller:?} {options}");
        }
    }
}

/// The callers below whom only the program itself reads: where rights are lent to the user, what calls the
/// program for the user is loaded first.
fn callers_to_trace(injection: &str) -> &'static [Caller] {
    if injection.starts_with("read:") && lent() {
        &[Caller::Root]
    } else {
        &[Caller::Root, Caller::User]
    }
}

/// Each caller, with system calls failing; COMMAND would write.
fn each_failing(options: &[&str], injection: &str, mut look: impl FnMut(Output)) {
    for &caller in callers_to_trace(injection) {
        for option in options {
            look(run_injected(caller, &[injection], &[option, "echo", "ran"]));
        }
    }
}

/// For strace(1): the kernel's answers to these of the requests, counted from 1, say this error.
fn answers(requests: &str, errno: i32) -> String {
    // struct nlmsghdr of linux/netlink.h, of the type NLMSG_ERROR, and the error.
    let header = [36u32.to_ne_bytes(), [0; 4], [0; 4], [0; 4]].concat();
    let mut bytes = [header, (-errno).to_ne_bytes().to_vec()].concat();
    bytes[4..6].copy_from_slice(&2u16.to_ne_bytes());
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("read:when={requests}:poke_exit=@arg2={hex}")
}

const UP: &str = "unable to set the loopback up: ";
const ADDRESS: &str = "unable to give the loopback its addresses: ";
const ROUTE: &str = "unable to route multicast to the loopback: ";
const HOST_NAME: &str = "unable to set the host name: ";

#[test]
fn every_step_of_the_set_up_that_fails_is_fatal_and_named() {
    needs_root!();
    needs_strace!();
    let fails = |options: &[&str], injection: &str, step, errno| {
        each_failing(options, injection, |output| {
            assert_refused(&output, step);
            assert_refused(&output, errno);
        });
    };
    // In place and below a stub.
    let both = ["-n", "-nip"];
    fails(&both, "socket:error=ENOMEM", UP, "(ENOMEM)");
    fails(&both, "sethostname:error=EPERM", HOST_NAME, "(EPERM)");
    // A stub reads, too.
    fails(&["-n"], "read:error=EIO:when=3", ADDRESS, "(errno 5)");
    for (request, step) in [UP, ADDRESS, ADDRESS, ADDRESS, ROUTE, ROUTE]
        .iter()
        .enumerate()
    {
        let request = (request + 1).to_string();
        fails(&["-n"], &answers(&request, libc::EPERM), step, "(EPERM)");
        fails(&["-n"], &answers(&request, libc::ENOMEM), step, "(ENOMEM)");
    }
    for request in ["1", "2", "5", "6"] {
        // Of IPv6 alone this is no failure.
        let injection = answers(request, libc::EOPNOTSUPP);
        fails(&["-n"], &injection, "unable to ", "(EOPNOTSUPP)");
    }
}

#[test]
fn loopback_that_only_seems_to_come_up_is_fatal() {
    needs_root!();
    needs_strace!();
    // There is no answer to what was never sent.
    let output = run_injected(
        Caller::Root,
        &["write:retval=252:when=1"],
        &["-n", "echo", "ran"],
    );
    assert_refused(&output, UP);
    assert_refused(&output, "(EAGAIN)");
}

#[test]
fn a_loopback_that_may_not_be_set_up_is_fatal() {
    needs_root!();
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"])
        .arg(program())
        .args(["-n", "echo", "ran"])
        .current_dir("/");
    let output = run(command);
    assert_refused(&output, "set the loopback up");
    assert_refused(&output, "(EPERM); CAP_NET_ADMIN is missing");
}

/// The program with the file that allows ICMP echo sockets failing to open.
fn without_ping_file(errno: &str) -> Output {
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-qq", "-o", "/dev/null"])
        .args(["-P", "/proc/sys/net/ipv4/ping_group_range", "-e"])
        .arg(format!("inject=openat:error={errno}"))
        .arg(program())
        .args(["-n", probe(), "interfaces"])
        .current_dir("/");
    run(traced)
}

#[test]
fn the_icmp_setting_that_fails_is_fatal() {
    needs_root!();
    needs_strace!();
    let output = without_ping_file("EPERM");
    assert_refused(&output, "unable to allow ICMP echo sockets: ");
    assert_refused(&output, "(EPERM)");
}

#[test]
fn the_icmp_setting_is_left_out_where_proc_has_none() {
    needs_root!();
    needs_strace!();
    for errno in ["ENOENT", "EROFS", "EACCES"] {
        let output = without_ping_file(errno);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{errno}"
        );
        assert_eq!(sorted(&text(&output.stdout)), INTERFACES, "{errno}");
    }
}

#[test]
fn without_ipv6_its_part_is_left_out_without_a_word() {
    needs_root!();
    needs_strace!();
    // A kernel without it; one where it is switched off for the interface. Address and route.
    for errno in [libc::EOPNOTSUPP, libc::EACCES] {
        let injection = answers("3..4", errno);
        for &caller in callers_to_trace(&injection) {
            let output = run_injected(caller, &[&injection], &["-n", probe(), "interfaces"]);
            let shown = format!("{caller:?} {errno}");
            assert!(output.status.success(), "{shown}: {output:?}");
            assert_eq!(text(&output.stderr), "", "{shown}");
            assert_eq!(sorted(&text(&output.stdout)), INTERFACES, "{shown}");
        }
    }
}

#[test]
fn root_of_a_user_namespace_gets_the_same_network() {
    needs_root!();
    for caller in [Caller::Root, Caller::User] {
        let mut command = Command::new("unshare");
        command
            .args(["-U", "-r"])
            .arg(program())
            .args(["-n", probe(), "interfaces"])
            .stdin(Stdio::null())
            .current_dir("/");
        if caller == Caller::User {
            become_user(&mut command);
        }
        assert_eq!(sorted(&ask(command)), INTERFACES, "{caller:?}");
    }
}

#[test]
fn a_socket_that_was_handed_over_stays_what_it_was() {
    needs_root!();
    // Documented: -n takes away what can be opened, not what is open.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    client.write_all(b"word\n").unwrap();
    let mut command = phasebox(&["-n", "head", "-n", "1"]);
    command.stdin(OwnedFd::from(accepted));
    assert_eq!(ask(command), "word\n");
}
