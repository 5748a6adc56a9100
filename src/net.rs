//! The network of a box: loopback only, and useful. By ioctl alone: no netlink, no ip(8).
#![forbid(unsafe_code)]

use crate::ns::NewNet;
use crate::step::{At, Failure, Step};
use crate::sys::fd;
use crate::sys::netdev::Control;
use crate::sys::path::Text;
use crate::sys::{Errno, process};

/// The loopback interface has this index in every network namespace: it is the first.
const LOOPBACK_INDEX: i32 = 1;

/// Sets the loopback interface up, with everything that a test suite expects of a network.
///
/// The witness shows that this is a new network, not the host's.
pub fn configure(_: &NewNet, gid: u32) -> Result<(), Failure> {
    let ipv4 = Control::ipv4().at(Step::LoopbackUp)?;
    // The kernel adds 127.0.0.1/8 and ::1/128 by itself.
    ipv4.set_up(c"lo").at(Step::LoopbackUp)?;

    // An address that is not loopback's: without one, getaddrinfo(3) with AI_ADDRCONFIG finds no
    // localhost (bug 690758). One host only: with a wider prefix every address in it would answer.
    ipv4.set_address(c"lo:1", [10, 0, 0, 1])
        .at(Step::LoopbackAddress)?;
    ipv4.set_netmask(c"lo:1", [255, 255, 255, 255])
        .at(Step::LoopbackAddress)?;
    add_ipv6_address().at(Step::LoopbackAddress)?;

    // No default route: what is not here must fail at once, not time out.
    ipv4.add_route(c"lo", [224, 0, 0, 0], [240, 0, 0, 0])
        .at(Step::LoopbackRoute)?;
    ipv4.add_route(c"lo", [255, 255, 255, 255], [255, 255, 255, 255])
        .at(Step::LoopbackRoute)?;

    allow_ping(gid).at(Step::Ping)?;

    // A host name that is not in /etc/hosts broke test suites.
    process::set_host_name(b"localhost").at(Step::HostName)
}

/// fd::1/128, for AI_ADDRCONFIG as above.
fn add_ipv6_address() -> Result<(), Errno> {
    let address = [0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let socket = match Control::ipv6() {
        Ok(socket) => socket,
        // Built without IPv6, or booted with ipv6.disable=1.
        Err(Errno::EAFNOSUPPORT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    match socket.add_ipv6_address(LOOPBACK_INDEX, address, 128) {
        // net.ipv6.conf.*.disable_ipv6, or ipv6.disable_ipv6=1: loopback itself came up, so it is
        // not for want of a capability.
        Err(Errno::EACCES | Errno::EADDRNOTAVAIL | Errno::ENODEV) => Ok(()),
        result => result,
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
    let mut range = Text::<32>::new();
    range.push_number(u64::from(first))?;
    range.push(b" ")?;
    range.push_number(u64::from(last))?;
    fd::write_file(c"/proc/sys/net/ipv4/ping_group_range", range.as_bytes())
}
