//! Network interfaces, addresses and routes: rtnetlink(7). And the pairs of sockets that processes of the
//! program talk by.

use linux_raw_sys::{general as k, net, netlink as nl};

use super::fd::{self, Fd, OwnedFd};
use super::{Errno, Result, call, call3, run3};

/// A request to the kernel. All that follow each other without a gap in a struct can be sent at once.
#[repr(C)]
pub struct Request<Body> {
    header: nl::nlmsghdr,
    body: Body,
}

/// What [`Request::up`] sends.
pub type Link = nl::ifinfomsg;

/// What [`Request::address`] sends.
#[repr(C)]
pub struct Address<A> {
    message: nl::ifaddrmsg,
    local: Attribute<A>,
}

/// What [`Request::route`] sends.
#[repr(C)]
pub struct Route<A> {
    message: nl::rtmsg,
    interface: Attribute<u32>,
    destination: Attribute<A>,
}

/// One of the attributes behind a request's fixed part.
#[repr(C)]
struct Attribute<V> {
    header: nl::rtattr,
    value: V,
}

// Everything is aligned to four bytes, on every processor, and no padding between.
const _: () = {
    assert!(size_of::<Request<Link>>() == 32);
    assert!(size_of::<Request<Address<[u8; 4]>>>() == 32);
    assert!(size_of::<Request<Address<[u8; 16]>>>() == 44);
    assert!(size_of::<Request<Route<[u8; 4]>>>() == 44);
    assert!(size_of::<Request<Route<[u8; 16]>>>() == 56);
};

impl<V> Attribute<V> {
    const fn new(kind: u32, value: V) -> Self {
        let header = nl::rtattr {
            rta_len: size_of::<Self>() as u16,
            rta_type: kind as u16,
        };
        Attribute { header, value }
    }
}

impl<Body> Request<Body> {
    /// Every one is answered.
    const fn new(kind: u32, body: Body) -> Self {
        let header = nl::nlmsghdr {
            nlmsg_len: size_of::<Self>() as u32,
            nlmsg_type: kind as u16,
            nlmsg_flags: (nl::NLM_F_REQUEST | nl::NLM_F_CREATE | nl::NLM_F_ACK) as u16,
            nlmsg_seq: 0,
            nlmsg_pid: 0,
        };
        Request { header, body }
    }
}

impl Request<Link> {
    /// Sets the interface with this index up.
    #[must_use]
    pub const fn up(interface: u32) -> Self {
        let body = nl::ifinfomsg {
            ifi_family: 0,
            __ifi_pad: 0,
            ifi_type: 0,
            ifi_index: interface as i32,
            ifi_flags: net::net_device_flags::IFF_UP as u32,
            ifi_change: net::net_device_flags::IFF_UP as u32,
        };
        Request::new(nl::RTM_NEWLINK as u32, body)
    }
}

/// The family of an address of that many bytes.
const fn family(length: usize) -> u8 {
    (if length == 4 {
        net::AF_INET
    } else {
        net::AF_INET6
    }) as u8
}

impl<const N: usize> Request<Address<[u8; N]>> {
    /// Gives the interface an address, alone in its network, and usable at once: nobody is asked whether
    /// it is another's, too.
    #[must_use]
    pub const fn address(interface: u32, address: [u8; N]) -> Self {
        let message = nl::ifaddrmsg {
            ifa_family: family(N),
            ifa_prefixlen: N as u8 * 8,
            ifa_flags: nl::IFA_F_NODAD as u8,
            ifa_scope: 0,
            ifa_index: interface,
        };
        let local = Attribute::new(nl::IFA_LOCAL as u32, address);
        Request::new(nl::RTM_NEWADDR as u32, Address { message, local })
    }
}

impl<const N: usize> Request<Route<[u8; N]>> {
    /// Sends what goes to `destination`/`prefix` to the interface.
    #[must_use]
    pub const fn route(interface: u32, destination: [u8; N], prefix: u8) -> Self {
        let table = nl::rt_class_t::RT_TABLE_MAIN as u8;
        let kind = nl::RTN_UNICAST as u8;
        let scope = nl::rt_scope_t::RT_SCOPE_LINK as u8;
        Self::in_table(table, kind, scope, interface, destination, prefix)
    }

    /// Takes what comes for `destination` as this host's own.
    #[must_use]
    pub const fn local(interface: u32, destination: [u8; N]) -> Self {
        let table = nl::rt_class_t::RT_TABLE_LOCAL as u8;
        let kind = nl::RTN_LOCAL as u8;
        let scope = nl::rt_scope_t::RT_SCOPE_HOST as u8;
        Self::in_table(table, kind, scope, interface, destination, N as u8 * 8)
    }

    const fn in_table(
        table: u8,
        kind: u8,
        scope: u8,
        interface: u32,
        destination: [u8; N],
        prefix: u8,
    ) -> Self {
        let message = nl::rtmsg {
            rtm_family: family(N),
            rtm_dst_len: prefix,
            rtm_src_len: 0,
            rtm_tos: 0,
            rtm_table: table,
            rtm_protocol: nl::RTPROT_BOOT as u8,
            rtm_scope: scope,
            rtm_type: kind,
            rtm_flags: 0,
        };
        let body = Route {
            message,
            interface: Attribute::new(nl::rtattr_type_t::RTA_OIF as u32, interface),
            destination: Attribute::new(nl::rtattr_type_t::RTA_DST as u32, destination),
        };
        Request::new(nl::RTM_NEWROUTE as u32, body)
    }
}

/// A socket for these requests.
pub struct Control(OwnedFd);

impl Control {
    /// Opens it, in the network that this process is in.
    pub fn open() -> Result<Control> {
        // These two flags are O_CLOEXEC and O_NONBLOCK on every processor.
        let kind = net::SOCK_RAW | k::O_CLOEXEC | k::O_NONBLOCK;
        let arguments = [
            net::AF_NETLINK as usize,
            kind as usize,
            nl::NETLINK_ROUTE as usize,
        ];
        // SAFETY: numbers only.
        let socket = unsafe { call3(k::__NR_socket, arguments) };
        socket.map(|fd| Control(OwnedFd::from_raw(fd)))
    }

    /// Has the kernel do what the requests say, one after the other, whatever becomes of those before.
    pub fn send<Requests>(&self, requests: &Requests) -> Result<()> {
        let address = core::ptr::from_ref(requests) as usize;
        let arguments = [self.0.fd().raw(), address, size_of::<Requests>()];
        // SAFETY: the kernel reads what is borrowed.
        unsafe { run3(k::__NR_write, arguments) }
    }

    /// The answer to the next of them: none where it was done, or why not.
    ///
    /// # Errors
    /// EAGAIN where there is no answer: all come before the sending ends.
    pub fn answer(&self) -> Result<Option<Errno>> {
        // A header, the error, and the request, which is of no interest.
        let mut words = [0u8; 128];
        let length = fd::read(self.0.fd(), &mut words)?;
        let [
            _,
            _,
            _,
            _,
            low,
            high,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            a,
            b,
            c,
            d,
            ..,
        ] = words;
        let is_answer = length >= 20 && u16::from_ne_bytes([low, high]) == nl::NLMSG_ERROR as u16;
        match i32::from_ne_bytes([a, b, c, d]) {
            _ if !is_answer => Err(Errno::EINVAL),
            0 => Ok(None),
            errno => Ok(Some(Errno::from_raw(errno.unsigned_abs() as usize))),
        }
    }
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
