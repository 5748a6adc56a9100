//! The guard: a process outside the box, outside the caller's session, and where rights are lent
//! beyond the caller's reach, with one job. It makes the box's group; and when the stub says so, or
//! is killed, it kills what is in the group and removes it.
//!
//! The group is the guard's from the beginning: whenever the stub is killed, nothing stays.
#![forbid(unsafe_code)]

use crate::caller::{Authority, Caller};
use crate::cgroup::{self, Cgroup, Naming};
use crate::creds;
use crate::status::{self, Ending};
use crate::step::{At, Failure, Step};
use crate::sys::fd::{self, Fd, OwnedFd};
use crate::sys::process::{self, Change, Namespaces, Pid};
use crate::sys::{Errno, Result as SysResult, fs, netdev};

/// Where a box's group is made, and what it is called.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The directory.
    pub parent: Fd,
    /// Whether the caller's own group is another one: the guard has to leave that.
    pub leave: bool,
    /// The first part of the name.
    pub label: &'a [u8],
    /// What the last part is made of.
    pub seed: u64,
}

/// The guard could not empty the group.
const NOT_EMPTY: u8 = 1;

/// The stub's side of the guard.
pub struct Guard {
    pid: Pid,
    life: OwnedFd,
}

/// What the guard says first.
const MADE: u8 = b'm';
const FAILED: u8 = b'f';

impl Guard {
    /// Starts it, to make a group. It works while the caller of this goes on.
    pub fn start(caller: &Caller, site: Site<'_>) -> SysResult<Guard> {
        Guard::fork(|death| match prepare(caller, site, death) {
            Ok(group) => serve(&group, death),
            Err(failure) => {
                let _ = say(death, FAILED, failure.to_bytes());
                status::FAILED
            }
        })
    }

    /// Starts another one for a group that there is already.
    pub fn replace(group: &Cgroup) -> SysResult<Guard> {
        Guard::fork(|death| {
            let [a, b, c, d, e, f] = group.fds();
            match fd::close_all_but(&[a, b, c, d, e, f, death]) {
                Ok(()) => serve(group, death),
                Err(_) => status::FAILED,
            }
        })
    }

    fn fork(run: impl FnOnce(Fd) -> u8) -> SysResult<Guard> {
        let (life, death) = netdev::socket_pair()?;
        match process::fork(Namespaces::NONE)? {
            Some(pid) => Ok(Guard { pid, life }),
            None => {
                process::set_name(c"phasebox-guard");
                // A hangup or a key of the caller's terminal is not for it.
                let _ = process::new_session();
                process::exit(run(death.fd()))
            }
        }
    }

    /// Waits until the group is made; returns the seed of its name.
    ///
    /// # Errors
    /// Why it could not be made; ECHILD where the guard was killed.
    pub fn wait_until_ready(&self) -> Result<u64, Failure> {
        let mut message = [0; 9];
        let length = fd::read(self.life.fd(), &mut message).at(Step::StartGuard)?;
        let [kind, value @ ..] = message;
        match kind {
            MADE if length == message.len() => Ok(u64::from_ne_bytes(value)),
            FAILED if length == message.len() => Err(Failure::from_bytes(value)),
            _ => Err(Failure::new(Step::StartGuard, Errno::ECHILD)),
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

    /// Has it end the box. What it has to say comes by [`Guard::fd`]; then it ends.
    pub fn release(&self, naming: Naming) {
        let [a, b, c, d] = match naming {
            Naming::Quiet => return self.close(),
            Naming::AllBut(except) => except.map_or(0, Pid::number).to_ne_bytes(),
        };
        // Where it is dead, that is seen by its end.
        let _ = fd::write(self.life.fd(), &[a, b, c, d]);
        self.close();
    }

    fn close(&self) {
        let _ = netdev::end_sending(self.life.fd());
    }
}

/// What a guard's end says: whether the group is gone, or nothing where it was killed before.
#[must_use]
pub fn verdict(change: Change) -> Option<SysResult<()>> {
    match change {
        Change::Ended(Ending::Exited(0)) => Some(Ok(())),
        Change::Ended(Ending::Exited(NOT_EMPTY)) => Some(Err(Errno::EBUSY)),
        _ => None,
    }
}

/// Out of the caller's reach, then the group. Every signal is blocked, as in the stub.
fn prepare(caller: &Caller, site: Site<'_>, death: Fd) -> Result<Cgroup, Failure> {
    fs::change_directory(c"/").at(Step::LeaveDirectory)?;
    fd::close_all_but(&[site.parent, death]).at(Step::CloseDescriptors)?;
    // Nothing is ever written there; nothing that is opened later is to take their place.
    fd::fill_standard().at(Step::CloseDescriptors)?;
    creds::retire_as_guard(caller)?;
    // The caller's umask may have no place for the owner's bits, or one for others.
    fs::set_umask(0o077);
    if site.leave && caller.authority == Authority::Lent {
        cgroup::join_guards(site.parent).at(Step::LeaveGroup)?;
    }
    let (group, seed) = Cgroup::create(site.parent, site.label, site.seed).at(Step::MakeGroup)?;
    if group.is_killed_at_once() {
        creds::give_up_killing(caller)?;
    }
    say(death, MADE, seed.to_ne_bytes()).at(Step::StartGuard)?;
    group.remove_stale();
    Ok(group)
}

fn say(death: Fd, kind: u8, [a, b, c, d, e, f, g, h]: [u8; 8]) -> SysResult<()> {
    fd::write(death, &[kind, a, b, c, d, e, f, g, h]).map(drop)
}

/// Waits for the stub's word, or its end, and ends the box.
fn serve(group: &Cgroup, death: Fd) -> u8 {
    let mut message = [0; 4];
    let naming = match fd::read(death, &mut message) {
        Ok(4) => Naming::AllBut(Pid::new(u32::from_ne_bytes(message))),
        _ => Naming::Quiet,
    };
    match group.end(naming, death) {
        Ok(()) => 0,
        Err(Errno::EBUSY) => NOT_EMPTY,
        // The stub tries itself, and says why.
        Err(_) => status::FAILED,
    }
}
