//! The steps that can fail, in the order in which they are made: the names that messages use.
#![forbid(unsafe_code)]

use core::num::NonZeroUsize;

use crate::sys::packed::{Packed, packed};
use crate::sys::{Errno, Result as SysResult};

macro_rules! steps {
    ($($step:ident $text:literal,)*) => {
        /// A step of the program.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Step { $(#[doc = $text] $step,)* }

        /// In the same order what comes after "unable to".
        const TEXTS: Packed = packed!(concat!($($text, "\n"),*));
    };
}

steps! {
    FillDescriptors "open descriptors 0 to 2",
    Print "write to standard output",
    FindCaller "read the caller's ids",
    RunSetId "run set-id",
    NarrowPrivileges "narrow privileges",
    FindGroup "find a control group",
    MakeGroup "make a control group",
    BlockSignals "block signals",
    OpenLink "make sockets",
    LeaveGroup "leave the control group",
    UserNamespace "make a user namespace",
    PidNamespace "make a PID namespace",
    StartCommand "start a process",
    StartGuard "start a guard",
    CloseDescriptors "close descriptors",
    LeaveDirectory "leave the directory",
    JoinGroup "join the control group",
    MapIds "map ids in the user namespace",
    NetNamespace "make a network namespace",
    IpcNamespace "make an IPC namespace",
    MountNamespace "make a mount namespace",
    LoopbackUp "set the loopback up",
    LoopbackAddress "give the loopback its addresses",
    LoopbackRoute "route multicast to the loopback",
    Ping "allow ICMP echo sockets",
    HostName "set the host name",
    DetachMounts "make mounts slaves",
    MountProc "mount /proc",
    AwaitStub "hear from the stub",
    LeaveKeyring "leave the session keyring",
    LeaveSession "leave the session",
    StartInit "start the init",
    SetGroups "set groups",
    SetGroup "set the group id",
    SetUser "set the user id",
    DropCapabilities "give up capabilities",
    ForbidPrivileges "forbid new privileges",
    VerifyDrop "prove that privileges are gone",
    RestoreSignals "restore signals",
    EmptyGroup "kill everything within 10 seconds",
    RemoveGroup "remove the control group",
    Wait "wait for the command",
}

/// A step that failed, and the kernel's answer: packed, to be returned in a register. Never 0, so
/// that a result of nothing or a failure needs no second one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Failure(NonZeroUsize);

/// Above the highest errno.
const STEP_SHIFT: u32 = 16;

impl Failure {
    /// `step` failed with `errno`.
    #[must_use]
    pub const fn new(step: Step, errno: Errno) -> Failure {
        Failure::from_number((step as usize + 1) << STEP_SHIFT | errno.number())
    }

    /// What was tried: what comes after "unable to".
    #[must_use]
    pub fn text(self) -> Packed {
        TEXTS.line((self.number() >> STEP_SHIFT) - 1)
    }

    /// To send it to another process of the program.
    #[must_use]
    pub const fn number(self) -> usize {
        self.0.get()
    }

    /// Back from [`Failure::number`].
    #[must_use]
    pub const fn from_number(number: usize) -> Failure {
        match NonZeroUsize::new(number) {
            Some(number) => Failure(number),
            None => Failure(NonZeroUsize::MAX),
        }
    }

    /// The kernel's answer.
    #[must_use]
    pub const fn errno(self) -> Errno {
        Errno::from_raw(self.number() & ((1 << STEP_SHIFT) - 1))
    }
}

/// To name the step of a system call's error.
pub trait At<T> {
    /// `self`, its error as a [`Failure`] of `step`.
    fn at(self, step: Step) -> Result<T, Failure>;
}

impl<T> At<T> for SysResult<T> {
    fn at(self, step: Step) -> Result<T, Failure> {
        self.map_err(|errno| Failure::new(step, errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_step_and_errno() {
        let texts = TEXTS.text();
        let mut lines = texts.lines();
        for step in 0..=Step::Wait as usize {
            let text = lines.next().unwrap();
            assert!(!text.is_empty());
            for errno in [Errno::EPERM, Errno::from_raw(4095)] {
                let failure = Failure::from_number((step + 1) << STEP_SHIFT | errno.number());
                assert_eq!((&*failure.text().text(), failure.errno()), (text, errno));
            }
        }
        assert_eq!(lines.next(), None);
        let failure = Failure::new(Step::Wait, Errno::EINTR);
        assert_eq!(failure.text().text(), "wait for the command");
        assert_eq!(failure.errno(), Errno::EINTR);
    }
}
