//! The network of a box: loopback only, and useful. By rtnetlink(7), without ip(8).
#![forbid(unsafe_code)]

use crate::ns::NewNet;
use crate::step::{At, Failure, Step};
use crate::sys::fd::Fd;
use crate::sys::netdev::{Address, Control, Link, Request, Route};
use crate::sys::{Errno, path, process};

/// The loopback interface has this index in every network namespace: it is the first.
const LOOPBACK: u32 = 1;

/// Addresses that are not loopback's: without one, getaddrinfo(3) with AI_ADDRCONFIG finds no localhost
/// (bug 690758). One host only: with a wider prefix every address in it would answer.
const IPV4: [u8; 4] = [10, 0, 0, 1];
const IPV6: [u8; 16] = [0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// All that is asked of the kernel, in order.
#[repr(C)]
struct Requests {
    /// The kernel adds 127.0.0.1/8 and ::1/128 by itself.
    up: Request<Link>,
    ipv4: Request<Address<[u8; 4]>>,
    ipv6: Request<Address<[u8; 16]>>,
    /// This one it would add by a worker of its own, some time later (Linux net/ipv6/addrconf.c,
    /// addrconf_dad_start), and until then nothing arrives at the address.
    ipv6_local: Request<Route<[u8; 16]>>,
    /// No default route: what is not here must fail at once, not time out.
    multicast: Request<Route<[u8; 4]>>,
    broadcast: Request<Route<[u8; 4]>>,
}

const REQUESTS: Requests = Requests {
    up: Request::up(LOOPBACK),
    ipv4: Request::address(LOOPBACK, IPV4),
    ipv6: Request::address(LOOPBACK, IPV6),
    ipv6_local: Request::local(LOOPBACK, IPV6),
    multicast: Request::route(LOOPBACK, [224, 0, 0, 0], 4),
    broadcast: Request::route(LOOPBACK, [255; 4], 32),
};

/// What each of them is, and whether it is IPv6's.
const STEPS: [(Step, bool); 6] = [
    (Step::LoopbackUp, false),
    (Step::LoopbackAddress, false),
    (Step::LoopbackAddress, true),
    (Step::LoopbackAddress, true),
    (Step::LoopbackRoute, false),
    (Step::LoopbackRoute, false),
];

/// Sets the loopback interface up, with everything that a test suite expects of a network.
///
/// The witness shows that this is a new network, not the host's.
#[inline(never)]
pub fn configure(_: &NewNet, gid: u32) -> Result<(), Failure> {
    let kernel = Control::open().at(Step::LoopbackUp)?;
    kernel.send(&REQUESTS).at(Step::LoopbackUp)?;
    for (step, is_ipv6) in STEPS {
        match kernel.answer().at(step)? {
            None => {}
            // Built without IPv6, or booted with ipv6.disable=1 or ipv6.disable_ipv6=1.
            Some(Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EACCES) if is_ipv6 => {}
            Some(errno) => return Err(Failure::new(step, errno)),
        }
    }
    allow_ping(gid).at(Step::Ping)?;
    // A host name that is not in /etc/hosts broke test suites.
    process::set_host_name(b"localhost").at(Step::HostName)
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
