//! Signals, blocked and read, never handled. signal(7), signalfd(2).

use core::mem::offset_of;
use core::num::NonZeroU64;

use linux_raw_sys::general as k;

use super::fd::{Fd, OwnedFd};
use super::{Errno, Result, call, call3};
use crate::arch::numbers as nr;

/// The kernel's own signal set has 64 bits on every supported processor.
const SET_SIZE: usize = 8;

/// A signal's number, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signal(u8);

macro_rules! signals {
    ($($name:ident)*) => { $(
        #[allow(missing_docs)]
        pub const $name: Signal = Signal(k::$name as u8);
    )* };
}

impl Signal {
    signals! {
        SIGALRM SIGCHLD SIGCONT SIGHUP SIGINT SIGIO SIGKILL SIGPIPE SIGPROF SIGQUIT SIGSTOP SIGTSTP
        SIGURG SIGVTALRM SIGWINCH
    }

    /// Whether a terminal sends it to its processes, by a key or by what happens to it.
    #[must_use]
    pub fn is_of_terminal(self) -> bool {
        matches!(
            self,
            Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTSTP | Signal::SIGHUP | Signal::SIGWINCH
        )
    }

    /// A number that the kernel gave.
    #[must_use]
    pub fn new(number: u32) -> Option<Signal> {
        (1..=64).contains(&number).then_some(Signal(number as u8))
    }

    /// As a system call's argument.
    #[must_use]
    pub fn number(self) -> usize {
        usize::from(self.0)
    }

    /// The number as a byte.
    #[must_use]
    pub fn byte(self) -> u8 {
        self.0
    }
}

/// A set of signals.
#[derive(Clone, Copy)]
pub struct SignalSet(u64);

// The kernel's set is an array of words, the lowest first: a number of 64 bits is the same unless
// the words have 32 bits and their bytes the other order.
const _: () = assert!(size_of::<usize>() == 8 || cfg!(target_endian = "little"));

impl SignalSet {
    /// Every signal; the kernel leaves SIGKILL and SIGSTOP out where they cannot be blocked.
    pub const ALL: SignalSet = SignalSet(u64::MAX);

    /// One signal.
    #[must_use]
    pub fn only(signal: Signal) -> SignalSet {
        SignalSet(1 << (signal.0 - 1))
    }
}

/// rt_sigprocmask(2): blocks exactly `set`, returns what was blocked before.
pub fn set_blocked(set: SignalSet) -> Result<SignalSet> {
    change_blocked(k::SIG_SETMASK, set)
}

/// rt_sigprocmask(2): lets `signal` through.
pub fn unblock(signal: Signal) -> Result<SignalSet> {
    change_blocked(k::SIG_UNBLOCK, SignalSet::only(signal))
}

fn change_blocked(how: u32, set: SignalSet) -> Result<SignalSet> {
    let mut old = SignalSet(0);
    let arguments = [
        how as usize,
        &raw const set.0 as usize,
        &raw mut old.0 as usize,
        SET_SIZE,
        0,
    ];
    // SAFETY: the kernel reads one set and writes one.
    unsafe { call(k::__NR_rt_sigprocmask, arguments) }?;
    Ok(old)
}

/// How a process takes a signal. No more than a handler's address: execve(2) leaves the default
/// action or none, and of flags and mask nothing.
#[derive(Clone, Copy)]
pub struct Disposition(k::__kernel_sighandler_t);

impl Disposition {
    /// The default action: SIG_DFL is NULL.
    pub const DEFAULT: Disposition = Disposition(None);
}

/// Where the set begins, in words: the handler comes first, the set last, and between them are flags
/// and, on most processors, a restorer.
const MASK_WORD: usize = offset_of!(k::kernel_sigaction, sa_mask) / size_of::<usize>();

const _: () = assert!(
    offset_of!(k::kernel_sigaction, sa_handler_kernel) == 0
        && matches!(MASK_WORD, 2 | 3)
        && size_of::<k::kernel_sigaction>() == MASK_WORD * size_of::<usize>() + SET_SIZE
);

/// Twice the room where there is no restorer: qemu-user (7.2) writes one all the same.
const ROOM: usize = 4 - MASK_WORD;

/// rt_sigaction(2); returns the disposition before.
pub fn set_disposition(signal: Signal, disposition: Disposition) -> Result<Disposition> {
    // SAFETY: integers, and function pointers that may be NULL.
    let mut action: [k::kernel_sigaction; ROOM] = unsafe { core::mem::zeroed() };
    action[0].sa_handler_kernel = disposition.0;
    let action = action.as_mut_ptr();
    let arguments = [
        signal.number(),
        action as usize,
        action as usize,
        SET_SIZE,
        0,
    ];
    // SAFETY: the kernel reads one sigaction, and then writes one. No handler is ever set.
    unsafe { call(k::__NR_rt_sigaction, arguments) }?;
    // SAFETY: it is still there.
    Ok(Disposition(unsafe { (*action).sa_handler_kernel }))
}

/// Does to this process what `signal` does by default, though it is blocked: ends or stops it.
pub fn take_by_default(signal: Signal) {
    let _ = set_disposition(signal, Disposition::DEFAULT);
    super::process::send_self(signal);
    let _ = unblock(signal);
}

/// rt_sigtimedwait(2), without waiting: takes `signal` if it is pending.
#[must_use]
pub fn take_pending(signal: Signal) -> bool {
    let set = SignalSet::only(signal);
    let zero = k::__kernel_timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let arguments = [
        &raw const set.0 as usize,
        0,
        &raw const zero as usize,
        SET_SIZE,
        0,
    ];
    // SAFETY: the kernel reads one set and one time; no siginfo is asked for.
    unsafe { call(nr::__NR_rt_sigtimedwait, arguments) }.is_ok()
}

/// A signal that came: its number, and above that the pid of the process that sent it, if one did.
/// Never 0, so that a register holds one or none.
#[derive(Clone, Copy)]
pub struct Arrival(NonZeroU64);

impl Arrival {
    /// Above the highest number of a signal: a process sent it.
    const BY_PROCESS: u64 = 1 << 8;
    const PID_SHIFT: u32 = 32;

    /// The signal.
    #[must_use]
    pub fn signal(self) -> Signal {
        Signal(self.0.get() as u8)
    }

    /// Who sent it by kill(2), sigqueue(3) and the like (0: not seen from here). None where it was
    /// the kernel: a terminal, a timer, a child's end.
    #[must_use]
    pub fn sender(self) -> Option<u32> {
        let sender = (self.0.get() >> Arrival::PID_SHIFT) as u32;
        (self.0.get() & Arrival::BY_PROCESS != 0).then_some(sender)
    }
}

/// A descriptor that blocked signals are read from, to the end.
#[derive(Clone, Copy)]
pub struct SignalFd(Fd);

impl SignalFd {
    /// signalfd4(2) for every signal, not waiting.
    pub fn new() -> Result<SignalFd> {
        let all = SignalSet::ALL;
        let flags = k::O_CLOEXEC | k::O_NONBLOCK;
        let arguments = [
            usize::MAX,
            &raw const all.0 as usize,
            SET_SIZE,
            flags as usize,
            0,
        ];
        // SAFETY: the kernel reads one set.
        let fd = unsafe { call(k::__NR_signalfd4, arguments) }?;
        Ok(SignalFd(OwnedFd::from_raw(fd).keep()))
    }

    /// To wait for it.
    #[must_use]
    pub fn fd(self) -> Fd {
        self.0
    }

    /// The next signal, if there is one.
    pub fn next(self) -> Result<Option<Arrival>> {
        // struct signalfd_siginfo: u32 signo, i32 errno, i32 code, u32 pid, ... 128 bytes.
        let mut info = [0u32; 32];
        let arguments = [
            self.fd().raw(),
            info.as_mut_ptr() as usize,
            size_of_val(&info),
        ];
        // SAFETY: the kernel writes at most the array's size.
        match unsafe { call3(k::__NR_read, arguments) } {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        let [number, _, code, pid, ..] = info;
        let mut arrival = u64::from(number) | u64::from(pid) << Arrival::PID_SHIFT;
        // siginfo's si_code: 0 and below from a process, above from the kernel. sigaction(2).
        if code as i32 <= 0 {
            arrival |= Arrival::BY_PROCESS;
        }
        let is_signal = Signal::new(number).is_some();
        Ok(NonZeroU64::new(arrival).filter(|_| is_signal).map(Arrival))
    }
}
