//! Network interfaces and routes, by ioctl. netdevice(7), ipv6(7).

use core::ffi::CStr;

use linux_raw_sys::{general as k, ioctl as io, net};

use super::fd::{Fd, OwnedFd};
use super::{Result, call, call3};

/// A socket of one address family, to configure it.
pub struct Control(OwnedFd);

/// rtentry's flags, linux/route.h: usable; to a host, not a network.
const RTF_UP: u16 = 0x1;
const RTF_HOST: u16 = 0x4;

/// struct rtentry of linux/route.h, which linux-raw-sys does not have. Zero fields are unused.
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

/// struct ifreq of linux/if.h: a name, and a union whose largest part has 24 bytes (16 where
/// pointers have 32 bits, and then the kernel reads no further). Its sockaddr is the kernel's of
/// 16 bytes, not the 128 of linux-raw-sys.
#[repr(C, align(8))]
struct InterfaceRequest {
    name: [u8; 16],
    value: [u8; 24],
}

impl Control {
    /// A datagram socket of IPv4.
    pub fn ipv4() -> Result<Control> {
        socket(net::AF_INET, net::SOCK_DGRAM).map(Control)
    }

    /// A datagram socket of IPv6; EAFNOSUPPORT where the kernel has none.
    pub fn ipv6() -> Result<Control> {
        socket(net::AF_INET6, net::SOCK_DGRAM).map(Control)
    }

    /// SIOCSIFFLAGS: sets an interface up.
    pub fn set_up(&self, interface: &CStr) -> Result<()> {
        let [low, high] = (net::net_device_flags::IFF_UP as u16).to_ne_bytes();
        self.interface(io::SIOCSIFFLAGS, interface, &[low, high])
    }

    /// SIOCSIFADDR: gives an interface or an alias (`lo:1`) its IPv4 address.
    pub fn set_address(&self, interface: &CStr, address: [u8; 4]) -> Result<()> {
        self.interface(io::SIOCSIFADDR, interface, &ipv4_bytes(address))
    }

    /// SIOCSIFNETMASK: the prefix of that address.
    pub fn set_netmask(&self, interface: &CStr, mask: [u8; 4]) -> Result<()> {
        self.interface(io::SIOCSIFNETMASK, interface, &ipv4_bytes(mask))
    }

    /// SIOCADDRT: sends packets for `destination`/`mask` to `interface`.
    pub fn add_route(&self, interface: &CStr, destination: [u8; 4], mask: [u8; 4]) -> Result<()> {
        let host = if mask == [255; 4] { RTF_HOST } else { 0 };
        let mut route = Route {
            pad1: 0,
            destination: ipv4_address(destination),
            gateway: ipv4_address([0; 4]),
            netmask: ipv4_address(mask),
            flags: RTF_UP | host,
            pad2: 0,
            pad3: 0,
            pad4: 0,
            metric: 0,
            device: interface.as_ptr(),
            mtu: 0,
            window: 0,
            irtt: 0,
        };
        // SAFETY: SIOCADDRT reads one rtentry, whose device is a NUL-ended string.
        unsafe { self.ioctl(io::SIOCADDRT, &raw mut route as usize) }
    }

    /// SIOCSIFADDR on an IPv6 socket: adds an address to the interface with that index.
    pub fn add_ipv6_address(&self, index: i32, address: [u8; 16], prefix: u32) -> Result<()> {
        let mut request = net::in6_ifreq {
            ifr6_addr: net::in6_addr {
                in6_u: net::in6_addr__bindgen_ty_1 { u6_addr8: address },
            },
            ifr6_prefixlen: prefix,
            ifr6_ifindex: index,
        };
        // SAFETY: on an IPv6 socket this reads one in6_ifreq.
        unsafe { self.ioctl(io::SIOCSIFADDR, &raw mut request as usize) }
    }

    fn interface(&self, request: u32, interface: &CStr, value: &[u8]) -> Result<()> {
        let mut argument = InterfaceRequest {
            name: [0; 16],
            value: [0; 24],
        };
        for (to, from) in argument.name.iter_mut().zip(interface.to_bytes()) {
            *to = *from;
        }
        for (to, from) in argument.value.iter_mut().zip(value) {
            *to = *from;
        }
        // SAFETY: these requests read one ifreq.
        unsafe { self.ioctl(request, &raw mut argument as usize) }
    }

    /// # Safety
    /// `argument` is the address of what `request` reads and writes.
    unsafe fn ioctl(&self, request: u32, argument: usize) -> Result<()> {
        let arguments = [self.0.fd().raw(), request as usize, argument];
        // SAFETY: the caller's promise.
        unsafe { call3(k::__NR_ioctl, arguments) }.map(drop)
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
fn ipv4_bytes([a, b, c, d]: [u8; 4]) -> [u8; 8] {
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
    unsafe { call3(k::__NR_shutdown, [fd.raw(), SENDING, 0]) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_entry_is_laid_out_as_the_kernel_has_it() {
        if cfg!(target_pointer_width = "64") {
            assert_eq!(size_of::<Route>(), 120);
            assert_eq!(core::mem::offset_of!(Route, flags), 56);
            assert_eq!(core::mem::offset_of!(Route, device), 88);
        }
        assert_eq!(size_of::<InterfaceRequest>(), 40);
        assert_eq!(size_of::<net::sockaddr_in>(), 16);
    }
}
