//! Network interfaces and routes, by ioctl. netdevice(7), ipv6(7).

use core::ffi::CStr;
use core::mem::offset_of;

use linux_raw_sys::{general as k, ioctl as io, net};

use super::fd::{Fd, OwnedFd};
use super::{Result, call, call3, run3};

/// A socket of one address family, to configure it.
pub struct Control(OwnedFd);

/// One change to an interface: a table of them is smaller than the calls that would make each.
pub struct Change {
    request: u32,
    interface: [u8; 8],
    value: [u8; 8],
}

impl Change {
    /// SIOCSIFFLAGS: sets an interface up.
    #[must_use]
    pub const fn up(interface: [u8; 8]) -> Change {
        let [low, high] = (net::net_device_flags::IFF_UP as u16).to_ne_bytes();
        Change {
            request: io::SIOCSIFFLAGS,
            interface,
            value: [low, high, 0, 0, 0, 0, 0, 0],
        }
    }

    /// SIOCSIFADDR: gives an interface or an alias (`lo:1`) its IPv4 address.
    #[must_use]
    pub const fn address(interface: [u8; 8], address: [u8; 4]) -> Change {
        Change {
            request: io::SIOCSIFADDR,
            interface,
            value: ipv4_bytes(address),
        }
    }

    /// SIOCSIFNETMASK: the prefix of that address.
    #[must_use]
    pub const fn netmask(interface: [u8; 8], mask: [u8; 4]) -> Change {
        Change {
            request: io::SIOCSIFNETMASK,
            interface,
            value: ipv4_bytes(mask),
        }
    }
}

/// struct ifreq of linux/if.h: a name of 16 bytes, and a union whose largest part has 24 bytes (16
/// where pointers have 32 bits, and then the kernel reads no further). Its sockaddr is the kernel's
/// of 16 bytes, not the 128 of linux-raw-sys, and of those IPv4 uses 8.
#[repr(C, align(8))]
struct InterfaceRequest {
    name: [u8; 8],
    name_rest: [u8; 8],
    value: [u8; 8],
    value_rest: [u8; 16],
}

/// rtentry's flag, linux/route.h: usable.
const RTF_UP: u16 = 0x1;

/// struct rtentry of linux/route.h, which linux-raw-sys does not have.
#[repr(C)]
struct Route {
    pad1: usize,
    destination: net::sockaddr_in,
    gateway: net::sockaddr_in,
    netmask: net::sockaddr_in,
    flags: u16,
    pad2: i16,
    pad3: usize,
    pad4: usize,
    metric: i16,
    device: *const core::ffi::c_char,
    mtu: usize,
    window: usize,
    irtt: u16,
}

// What the kernel reads. Both end in padding; ifreq may be longer here than there.
const _: () = {
    let (size, flags, device) = if size_of::<usize>() == 8 {
        (120, 56, 88)
    } else {
        (84, 52, 68)
    };
    assert!(size_of::<Route>() == size);
    assert!(offset_of!(Route, destination) == size_of::<usize>());
    assert!(offset_of!(Route, flags) == flags && offset_of!(Route, device) == device);
    assert!(offset_of!(InterfaceRequest, value) == 16 && size_of::<InterfaceRequest>() == 40);
    assert!(size_of::<net::sockaddr_in>() == 16);
    assert!(size_of::<net::in6_ifreq>() == 24);
    assert!(offset_of!(net::in6_ifreq, ifr6_prefixlen) == 16);
    assert!(offset_of!(net::in6_ifreq, ifr6_ifindex) == 20);
};

impl Control {
    /// A datagram socket of IPv4.
    pub fn ipv4() -> Result<Control> {
        socket(net::AF_INET, net::SOCK_DGRAM).map(Control)
    }

    /// A datagram socket of IPv6; EAFNOSUPPORT where the kernel has none.
    pub fn ipv6() -> Result<Control> {
        socket(net::AF_INET6, net::SOCK_DGRAM).map(Control)
    }

    /// Makes a change.
    pub fn make(&self, change: &Change) -> Result<()> {
        let mut argument = InterfaceRequest {
            name: change.interface,
            name_rest: [0; 8],
            value: change.value,
            value_rest: [0; 16],
        };
        // SAFETY: these requests read one ifreq.
        unsafe { self.ioctl(change.request, &raw mut argument as usize) }
    }

    /// SIOCADDRT: sends packets for `destination`/`mask` to `interface`.
    #[inline(never)]
    pub fn add_route(&self, interface: &CStr, destination: [u8; 4], mask: [u8; 4]) -> Result<()> {
        // SAFETY: integers and a pointer, that may all be zero; so are those that are not used.
        let mut route: Route = unsafe { core::mem::zeroed() };
        route.destination = ipv4_address(destination);
        route.netmask = ipv4_address(mask);
        route.flags = RTF_UP;
        route.device = interface.as_ptr();
        // SAFETY: SIOCADDRT reads one rtentry, whose device is a NUL-ended string.
        unsafe { self.ioctl(io::SIOCADDRT, &raw mut route as usize) }
    }

    /// bind(2) of an IPv6 socket to an address, any port: EADDRNOTAVAIL where it cannot be used.
    pub fn bind_ipv6(&self, address: [u8; 16]) -> Result<()> {
        let name = net::sockaddr_in6 {
            sin6_family: net::AF_INET6 as u16,
            sin6_port: 0,
            sin6_flowinfo: 0,
            sin6_addr: ipv6_address(address),
            sin6_scope_id: 0,
        };
        let arguments = [
            self.0.fd().raw(),
            &raw const name as usize,
            size_of_val(&name),
        ];
        // SAFETY: the kernel reads one sockaddr_in6.
        unsafe { run3(k::__NR_bind, arguments) }
    }

    /// SIOCSIFADDR on an IPv6 socket: adds an address to the interface with that index.
    pub fn add_ipv6_address(&self, index: i32, address: [u8; 16], prefix: u32) -> Result<()> {
        let mut request = net::in6_ifreq {
            ifr6_addr: ipv6_address(address),
            ifr6_prefixlen: prefix,
            ifr6_ifindex: index,
        };
        // SAFETY: on an IPv6 socket this reads one in6_ifreq.
        unsafe { self.ioctl(io::SIOCSIFADDR, &raw mut request as usize) }
    }

    /// # Safety
    /// `argument` is the address of what `request` reads and writes.
    unsafe fn ioctl(&self, request: u32, argument: usize) -> Result<()> {
        let arguments = [self.0.fd().raw(), request as usize, argument];
        // SAFETY: the caller's promise.
        unsafe { run3(k::__NR_ioctl, arguments) }
    }
}

fn ipv6_address(address: [u8; 16]) -> net::in6_addr {
    net::in6_addr {
        in6_u: net::in6_addr__bindgen_ty_1 { u6_addr8: address },
    }
}

fn ipv4_address(address: [u8; 4]) -> net::sockaddr_in {
    net::sockaddr_in {
        sin_family: net::AF_INET as u16,
        sin_port: 0,
        sin_addr: net::in_addr {
            s_addr: u32::from_ne_bytes(address),
        },
        __pad: [0; 8],
    }
}

/// struct sockaddr_in as bytes: family in the machine's order, port, address.
const fn ipv4_bytes([a, b, c, d]: [u8; 4]) -> [u8; 8] {
    let [low, high] = (net::AF_INET as u16).to_ne_bytes();
    [low, high, 0, 0, a, b, c, d]
}

fn socket(family: u32, kind: u32) -> Result<OwnedFd> {
    // SOCK_CLOEXEC is O_CLOEXEC on every processor.
    let kind = kind | k::O_CLOEXEC;
    // SAFETY: numbers only.
    unsafe { call3(k::__NR_socket, [family as usize, kind as usize, 0]) }.map(OwnedFd::from_raw)
}

/// socketpair(2) of two ends that keep messages apart and notice each other's end. unix(7).
pub fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    let kind = net::SOCK_SEQPACKET | k::O_CLOEXEC;
    let mut ends = [0u32; 2];
    let arguments = [
        net::AF_UNIX as usize,
        kind as usize,
        0,
        ends.as_mut_ptr() as usize,
        0,
    ];
    // SAFETY: the kernel writes two ints.
    unsafe { call(k::__NR_socketpair, arguments) }?;
    let [one, other] = ends;
    Ok((
        OwnedFd::from_raw(one as usize),
        OwnedFd::from_raw(other as usize),
    ))
}

/// shutdown(2): the other end reads the end of what was sent; what it sends is still received.
pub fn end_sending(fd: Fd) -> Result<()> {
    /// SHUT_WR of sys/socket.h.
    const SENDING: usize = 1;
    // SAFETY: numbers only.
    unsafe { run3(k::__NR_shutdown, [fd.raw(), SENDING, 0]) }
}
