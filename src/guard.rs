//! The guard: a process outside the box and outside the caller's session, with one job. When the
//! stub closes its end of a socket, or is killed, the guard kills and removes the box.
#![forbid(unsafe_code)]

use crate::cgroup::{self, Cgroup};
use crate::status::Ending;
use crate::sys::fd::{self, Fd, OwnedFd};
use crate::sys::process::{self, Change, Namespaces, Pid};
use crate::sys::{Errno, Result, fs, netdev};

/// What the guard says when it is ready to do its job.
const READY: u8 = b'r';

/// The guard could not empty the group.
const NOT_EMPTY: u8 = 1;

/// The stub's side of the guard.
pub struct Guard {
    pid: Pid,
    life: OwnedFd,
}

impl Guard {
    /// Starts it. It works at its preparations while the caller of this goes on.
    pub fn start(group: &Cgroup) -> Result<Guard> {
        let (life, death) = netdev::socket_pair()?;
        match process::fork(Namespaces::NONE)? {
            Some(pid) => Ok(Guard { pid, life }),
            None => process::exit(run(group, death.fd())),
        }
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// ECHILD where it ended instead.
    pub fn wait_until_ready(&self) -> Result<()> {
        let mut byte = [0];
        match fd::read(self.life.fd(), &mut byte)? {
            1 if byte == [READY] => Ok(()),
            _ => Err(Errno::ECHILD),
        }
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// What the stub keeps open.
    #[must_use]
    pub fn fd(&self) -> Fd {
        self.life.fd()
    }

    /// Lets it do its job. Its end is a child's end, for the stub to wait for.
    #[must_use]
    pub fn release(self) -> Pid {
        self.pid
    }
}

/// What a guard's end says: whether the group is gone, or nothing where it was killed before.
#[must_use]
pub fn verdict(change: Change) -> Option<Result<()>> {
    match change {
        Change::Ended(Ending::Exited(0)) => Some(Ok(())),
        Change::Ended(Ending::Exited(NOT_EMPTY)) => Some(Err(Errno::EBUSY)),
        _ => None,
    }
}

/// The guard's life. Every signal is blocked, as in the stub that it was forked from.
fn run(group: &Cgroup, death: Fd) -> u8 {
    process::set_name(c"phasebox-guard");
    if prepare(group, death).is_err() {
        return crate::status::FAILED;
    }
    group.remove_stale();
    // Nothing is ever sent: this returns when the stub's end is closed.
    let _ = fd::read(death, &mut [0]);
    match group.destroy(cgroup::TIME_TO_DIE) {
        Ok(()) => 0,
        Err(_) => NOT_EMPTY,
    }
}

fn prepare(group: &Cgroup, death: Fd) -> Result<()> {
    // A hangup or a key of the caller's terminal is not for it.
    process::new_session()?;
    fs::change_directory(c"/")?;
    let [a, b, c, d, e, f] = group.fds();
    fd::close_all_but(&[a, b, c, d, e, f, death])?;
    fd::write(death, &[READY]).map(drop)
}
