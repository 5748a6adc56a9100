//! The network of a box: loopback only, and useful. By ioctl alone: no netlink, no ip(8).
#![forbid(unsafe_code)]

use crate::ns::NewNet;
use crate::step::{At, Failure, Step};
use crate::sys::fd::Fd;
use crate::sys::netdev::{Change, Control};
use crate::sys::{Errno, path, poll, process};

/// The loopback interface has this index in every network namespace: it is the first.
const LOOPBACK_INDEX: i32 = 1;

/// The loopback interface, and an alias of it for one more address.
const LOOPBACK: [u8; 8] = *b"lo\0\0\0\0\0\0";
const ALIAS: [u8; 8] = *b"lo:1\0\0\0\0";

/// The first steps, in order.
const CHANGES: [(Step, Change); 3] = [
    // The kernel adds 127.0.0.1/8 and ::1/128 by itself.
    (Step::LoopbackUp, Change::up(LOOPBACK)),
    // An address that is not loopback's: without one, getaddrinfo(3) with AI_ADDRCONFIG finds no
    // localhost (bug 690758). One host only: with a wider prefix every address in it would answer.
    (Step::LoopbackAddress, Change::address(ALIAS, [10, 0, 0, 1])),
    (Step::LoopbackAddress, Change::netmask(ALIAS, [255; 4])),
];

/// Sets the loopback interface up, with everything that a test suite expects of a network.
///
/// The witness shows that this is a new network, not the host's.
#[inline(never)]
pub fn configure(_: &NewNet, gid: u32) -> Result<(), Failure> {
    let ipv4 = Control::ipv4().at(Step::LoopbackUp)?;
    for (step, change) in &CHANGES {
        ipv4.make(change).at(*step)?;
    }
    let ipv6 = add_ipv6_address().at(Step::LoopbackAddress)?;

    // No default route: what is not here must fail at once, not time out.
    ipv4.add_route(c"lo", [224, 0, 0, 0], [240, 0, 0, 0])
        .at(Step::LoopbackRoute)?;
    ipv4.add_route(c"lo", [255; 4], [255; 4])
        .at(Step::LoopbackRoute)?;

    allow_ping(gid).at(Step::Ping)?;

    // A host name that is not in /etc/hosts broke test suites.
    process::set_host_name(b"localhost").at(Step::HostName)?;

    // Last, since it gives the kernel time.
    ipv6.map_or(Ok(()), |ipv6| await_ipv6_address(&ipv6))
        .at(Step::LoopbackAddress)
}

/// For AI_ADDRCONFIG as above.
const IPV6_ADDRESS: [u8; 16] = [0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// fd::1/128. The socket that added it; none where there is no IPv6.
fn add_ipv6_address() -> Result<Option<Control>, Errno> {
    let socket = match Control::ipv6() {
        Ok(socket) => socket,
        // Built without IPv6, or booted with ipv6.disable=1.
        Err(Errno::EAFNOSUPPORT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    match socket.add_ipv6_address(LOOPBACK_INDEX, IPV6_ADDRESS, 128) {
        // net.ipv6.conf.*.disable_ipv6, or ipv6.disable_ipv6=1: loopback itself came up, so it is
        // not for want of a capability.
        Err(Errno::EACCES | Errno::EADDRNOTAVAIL | Errno::ENODEV) => Ok(None),
        result => result.map(|()| Some(socket)),
    }
}

/// Waits until the address can be used, for some seconds if need be: a worker of the kernel's looks
/// for duplicates first, of which loopback has none, and until then it is only tentative (Linux
/// net/ipv6/addrconf.c, addrconf_dad_begin).
fn await_ipv6_address(socket: &Control) -> Result<(), Errno> {
    let mut tries = 0;
    loop {
        match socket.bind_ipv6(IPV6_ADDRESS) {
            Err(Errno::EADDRNOTAVAIL) if tries < 10_000 => poll::sleep(100)?,
            result => return result,
        }
        tries += 1;
    }
}

/// ICMP echo sockets for every group. icmp(7); a new network namespace allows none.
fn allow_ping(gid: u32) -> Result<(), Errno> {
    // GID_T_MAX of Linux net/ipv4/ping.c.
    match set_ping_range(0, i32::MAX as u32) {
        // In a user namespace only what is mapped there is a group.
        Err(Errno::EINVAL) => set_ping_range(gid, gid),
        // No /proc, or one that containers keep read-only, or the one of a box in a user namespace,
        // whose files nobody owned before Linux 6.11.
        Err(Errno::ENOENT | Errno::EROFS | Errno::EACCES) => Ok(()),
        result => result,
    }
}

fn set_ping_range(first: u32, last: u32) -> Result<(), Errno> {
    path::write_numbers(
        Fd::CWD,
        c"/proc/sys/net/ipv4/ping_group_range",
        &[first, last],
    )
}
