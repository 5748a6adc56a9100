//! Processes: start, execute, wait, signal, namespaces, end.

use core::ffi::CStr;
use core::num::NonZeroUsize;

use linux_raw_sys::{general as k, prctl as p};

use super::args::Strings;
use super::fd::{Fd, OwnedFd};
use super::signal::Signal;
use super::{Errno, Result, call, call3, run3};
use crate::arch;

/// A process id, never 0 or negative: those mean groups of processes to kill(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pid(NonZeroUsize);

impl Pid {
    /// A number that the kernel gave; none for 0 (a process of a PID namespace not seen from
    /// here) and for what is no pid.
    #[must_use]
    pub fn new(number: u32) -> Option<Pid> {
        if number > i32::MAX as u32 {
            return None;
        }
        NonZeroUsize::new(number as usize).map(Pid)
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0.get() as u32
    }
}

/// Kinds of namespace, as bits for [`unshare`] and [`fork`]. namespaces(7).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Namespaces(u32);

impl Namespaces {
    /// None.
    pub const NONE: Namespaces = Namespaces(0);
    /// Network.
    pub const NET: Namespaces = Namespaces(k::CLONE_NEWNET);
    /// Host name.
    pub const UTS: Namespaces = Namespaces(k::CLONE_NEWUTS);
    /// System V IPC and POSIX message queues.
    pub const IPC: Namespaces = Namespaces(k::CLONE_NEWIPC);
    /// Process ids.
    pub const PID: Namespaces = Namespaces(k::CLONE_NEWPID);
    /// Mounts.
    pub const MOUNT: Namespaces = Namespaces(k::CLONE_NEWNS);
    /// User and group ids, capabilities.
    pub const USER: Namespaces = Namespaces(k::CLONE_NEWUSER);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Namespaces) -> Namespaces {
        Namespaces(self.0 | other.0)
    }

    /// `self` where `wanted`, otherwise none.
    #[must_use]
    pub const fn when(self, wanted: bool) -> Namespaces {
        if wanted { self } else { Namespaces::NONE }
    }
}

/// clone(2) as fork(2), the child in new `namespaces` of its own: the child's pid, or none in the
/// child.
pub fn fork(namespaces: Namespaces) -> Result<Option<Pid>> {
    // The others are a stack, and addresses that no flag asks for.
    let mut arguments = [0; 3];
    arguments[arch::CLONE_FLAGS] = (namespaces.0 | k::SIGCHLD) as usize;
    // SAFETY: without CLONE_VM the child has a copy of all memory; the process has one thread.
    let pid = unsafe { call3(k::__NR_clone, arguments) }?;
    Ok(Pid::new(pid as u32))
}

/// unshare(2).
pub fn unshare(namespaces: Namespaces) -> Result<()> {
    // SAFETY: numbers only; the process has one thread.
    unsafe { run3(k::__NR_unshare, [namespaces.0 as usize, 0, 0]) }
}

/// setns(2): joins the namespace that `fd` stands for.
pub fn join_namespace(fd: Fd, kind: Namespaces) -> Result<()> {
    // SAFETY: numbers only.
    unsafe { run3(k::__NR_setns, [fd.raw(), kind.0 as usize, 0]) }
}

/// pidfd_open(2) of this process.
pub fn open_self() -> Result<OwnedFd> {
    // SAFETY: numbers only.
    let pid = unsafe { call3(k::__NR_getpid, [0; 3]) }?;
    // SAFETY: numbers only.
    unsafe { call3(k::__NR_pidfd_open, [pid, 0, 0]) }.map(OwnedFd::from_raw)
}

/// execve(2); returns only where it failed.
pub fn execute(path: &CStr, argv: Strings, envp: Strings) -> Errno {
    let arguments = [
        path.as_ptr() as usize,
        argv.as_ptr() as usize,
        envp.as_ptr() as usize,
    ];
    // SAFETY: a NUL-ended path and NULL-ended vectors of NUL-ended strings.
    match unsafe { call3(k::__NR_execve, arguments) } {
        Ok(_) => Errno::EINVAL,
        Err(errno) => errno,
    }
}

/// exit_group(2).
pub fn exit(status: u8) -> ! {
    // SAFETY: numbers only.
    let _ = unsafe { call3(k::__NR_exit_group, [usize::from(status), 0, 0]) };
    arch::trap()
}

/// getpid(2).
#[must_use]
pub fn this() -> u32 {
    // SAFETY: numbers only. getpid has no error.
    unsafe { call3(k::__NR_getpid, [0; 3]) }.map_or(0, |pid| pid as u32)
}

/// Whether this process leads its session. getsid(2).
#[must_use]
pub fn leads_session() -> bool {
    // SAFETY: numbers only.
    let session = unsafe { call3(k::__NR_getsid, [0; 3]) };
    session == Ok(this() as usize)
}

/// setsid(2).
pub fn new_session() -> Result<()> {
    // SAFETY: numbers only.
    unsafe { run3(k::__NR_setsid, [0; 3]) }
}

/// kill(2) of one process.
pub fn send(pid: Pid, signal: Signal) -> Result<()> {
    // SAFETY: numbers only; a pid above 0 is one process.
    unsafe { run3(k::__NR_kill, [pid.0.get(), signal.number(), 0]) }
}

/// kill(2) of the process group that `leader` leads; of `leader` alone as long as it leads none.
pub fn send_group(leader: Pid, signal: Signal) -> Result<()> {
    let pid = leader.0.get();
    // -1 would mean everything that this user may signal.
    if pid != 1 {
        // SAFETY: numbers only; a pid above 1, negated, is one group.
        match unsafe { call3(k::__NR_kill, [pid.wrapping_neg(), signal.number(), 0]) } {
            Err(Errno::ESRCH) => {}
            result => return result.map(drop),
        }
    }
    send(leader, signal)
}

/// kill(2) of this process itself.
pub fn send_self(signal: Signal) {
    if let Some(pid) = Pid::new(this()) {
        // A process may always signal itself.
        let _ = send(pid, signal);
    }
}

/// kill(2) of every process of this PID namespace, except its init, which must be this process.
pub fn send_all_as_init(signal: Signal) {
    // Anywhere else, -1 would mean everything that this user may signal.
    if this() == 1 {
        // SAFETY: numbers only. ESRCH means there was none.
        let _ = unsafe { call3(k::__NR_kill, [usize::MAX, signal.number(), 0]) };
    }
}

/// What a child did, as wait(2) tells it: that it exited, was killed, stopped or continued. One bit
/// more makes it never 0, so that a register holds one or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change(NonZeroUsize);

impl Change {
    /// In the place of a signal: it has not ended.
    const ALIVE: usize = 0x7f;

    /// It has exited with this status.
    #[must_use]
    pub fn exited(status: u8) -> Change {
        Change::from_number(usize::from(status) << 8)
    }

    /// From the number that wait(2) gives, or [`Change::number`].
    #[must_use]
    pub fn from_number(number: usize) -> Change {
        Change(NonZeroUsize::MIN | number << 1)
    }

    /// To send it to another process of the program.
    #[must_use]
    pub fn number(self) -> usize {
        self.0.get() >> 1
    }

    /// Whether it has ended, and is reaped.
    #[must_use]
    pub fn has_ended(self) -> bool {
        self.number() & Change::ALIVE != Change::ALIVE
    }

    /// Its exit status, where it has exited.
    #[must_use]
    pub fn exit_status(self) -> Option<u8> {
        let has_exited = self.number() & Change::ALIVE == 0;
        has_exited.then_some((self.number() >> 8) as u8)
    }

    /// The signal that killed it.
    #[must_use]
    pub fn killed_by(self) -> Option<Signal> {
        let signal = Signal::new((self.number() & Change::ALIVE) as u32);
        signal.filter(|_| self.has_ended())
    }

    /// The signal that stopped it.
    #[must_use]
    pub fn stopped_by(self) -> Option<Signal> {
        let has_stopped = self.number() & 0xff == Change::ALIVE;
        let signal = Signal::new((self.number() >> 8) as u32);
        signal.filter(|_| has_stopped)
    }
}

/// Asks, without waiting, what `pid` did since it was last asked. wait4(2).
pub fn poll_child(pid: Pid) -> Result<Option<Change>> {
    let mut change = Change::exited(0);
    let changed = wait4(pid.0.get(), &mut change)?;
    Ok(changed.map(|_| change))
}

/// As [`poll_child`], of any child; for an init that reaps.
pub fn poll_any_child(change: &mut Change) -> Result<Option<Pid>> {
    wait4(usize::MAX, change)
}

#[inline(never)]
fn wait4(pid: usize, change: &mut Change) -> Result<Option<Pid>> {
    let mut status = 0u32;
    let options = (k::WNOHANG | k::WUNTRACED | k::WCONTINUED) as usize;
    let arguments = [pid, &raw mut status as usize, options, 0, 0];
    // SAFETY: the kernel writes one int; no rusage is asked for.
    let changed = unsafe { call(k::__NR_wait4, arguments) }?;
    *change = Change::from_number(status as usize);
    Ok(Pid::new(changed as u32))
}

/// prctl(2).
pub(super) fn prctl(option: u32, value: usize) -> Result<()> {
    // SAFETY: only called with options whose argument is a number.
    unsafe { run3(k::__NR_prctl, [option as usize, value, 0]) }
}

/// PR_SET_CHILD_SUBREAPER 0: orphans of this process's descendants are not its children.
pub fn adopt_no_orphans() -> Result<()> {
    prctl(p::PR_SET_CHILD_SUBREAPER, 0)
}

/// PR_SET_PDEATHSIG: SIGKILL when the parent dies. Cleared by a change of credentials.
pub fn die_with_parent() -> Result<()> {
    prctl(p::PR_SET_PDEATHSIG, k::SIGKILL as usize)
}

/// PR_SET_DUMPABLE 0: no core dump, no ptrace, no /proc files for others of the same uid.
pub fn forbid_dump() -> Result<()> {
    prctl(p::PR_SET_DUMPABLE, 0)
}

/// PR_SET_DUMPABLE 1: the files of /proc/self are the user's again. Only for a process that has
/// nothing of which the user could make use.
pub fn allow_dump() -> Result<()> {
    prctl(p::PR_SET_DUMPABLE, 1)
}

/// PR_SET_NAME: what ps(1) shows; at most 15 bytes.
pub fn set_name(name: &CStr) {
    // SAFETY: the kernel reads up to 16 bytes or the NUL.
    let _ = unsafe {
        call3(
            k::__NR_prctl,
            [p::PR_SET_NAME as usize, name.as_ptr() as usize, 0],
        )
    };
}

/// sethostname(2).
pub fn set_host_name(name: &[u8]) -> Result<()> {
    // SAFETY: the kernel reads as many bytes as the slice has.
    unsafe { run3(k::__NR_sethostname, [name.as_ptr() as usize, name.len(), 0]) }
}
