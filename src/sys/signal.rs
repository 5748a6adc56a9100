//! Signals, blocked and read, never handled. signal(7), signalfd(2).

use linux_raw_sys::general as k;

use super::fd::{Fd, OwnedFd};
use super::{Errno, Result, call, call3, run};

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

/// How a process takes a signal.
pub struct Disposition(k::kernel_sigaction);

/// rt_sigaction(2): the default action; returns the disposition before.
pub fn set_default(signal: Signal) -> Result<Disposition> {
    let default = k::kernel_sigaction {
        sa_handler_kernel: None,
        sa_flags: 0,
        sa_restorer: None,
        sa_mask: empty_mask(),
    };
    let mut old = default;
    let arguments = [
        signal.number(),
        &raw const default as usize,
        &raw mut old as usize,
        SET_SIZE,
        0,
    ];
    // SAFETY: the kernel reads one sigaction and writes one; NULL is SIG_DFL.
    unsafe { call(k::__NR_rt_sigaction, arguments) }?;
    Ok(Disposition(old))
}

/// rt_sigaction(2): back to what [`set_default`] returned.
pub fn restore(signal: Signal, disposition: &Disposition) -> Result<()> {
    let arguments = [
        signal.number(),
        &raw const disposition.0 as usize,
        0,
        SET_SIZE,
        0,
    ];
    // SAFETY: after execve(2) a disposition is default or ignored, so no handler is set here.
    unsafe { run(k::__NR_rt_sigaction, arguments) }
}

fn empty_mask() -> k::kernel_sigset_t {
    // SAFETY: a set is an array of integers.
    unsafe { core::mem::zeroed() }
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
    unsafe { call(k::__NR_rt_sigtimedwait, arguments) }.is_ok()
}

/// Where a signal came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// kill(2), sigqueue(3) and the like, by this pid (0: not seen from here).
    Process(u32),
    /// The kernel: a terminal, a timer, a child's end.
    Kernel,
}

/// A descriptor that blocked signals are read from.
pub struct SignalFd(OwnedFd);

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
        Ok(SignalFd(OwnedFd::from_raw(fd)))
    }

    /// To wait for it.
    #[must_use]
    pub fn fd(&self) -> Fd {
        self.0.fd()
    }

    /// The next signal, if there is one.
    pub fn next(&self) -> Result<Option<(Signal, Origin)>> {
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
        // siginfo's si_code: 0 and below from a process, above from the kernel. sigaction(2).
        let origin = if code as i32 <= 0 {
            Origin::Process(pid)
        } else {
            Origin::Kernel
        };
        Ok(Signal::new(number).map(|signal| (signal, origin)))
    }
}
