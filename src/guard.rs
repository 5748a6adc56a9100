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
use crate::sys::fd::{self, Fd, Mode, OwnedFd};
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

/// The stub's side of the guard.
pub struct Guard {
    pid: Pid,
    life: OwnedFd,
}

/// What the guard says first: with the seed of the group's name, or with the failure.
const MADE: u64 = 0;
const FAILED: u64 = 1;

impl Guard {
    /// Starts it, to make a group. It works while the caller of this goes on.
    pub fn start(caller: &Caller, site: Site<'_>) -> SysResult<Guard> {
        Guard::fork(|death| match prepare(caller, site, death) {
            Ok(group) => serve(&group, death),
            Err(failure) => {
                let _ = fd::write_pair(death, [FAILED, failure.number() as u64]);
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
        match fd::read_pair(self.life.fd()) {
            Ok([MADE, seed]) => Ok(seed),
            Ok([_, failure]) => Err(Failure::from_number(failure as usize)),
            Err(Errno::EPIPE) => Err(Failure::new(Step::StartGuard, Errno::ECHILD)),
            Err(errno) => Err(Failure::new(Step::StartGuard, errno)),
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
        if let Naming::AllBut(except) = naming {
            // Where it is dead, that is seen by its end.
            let except = except.map_or(0, Pid::number);
            let _ = fd::write_pair(self.life.fd(), [0, except.into()]);
        }
        let _ = netdev::end_sending(self.life.fd());
    }
}

/// What a guard's end says: whether the group is gone, or nothing where it was killed before.
#[must_use]
pub fn verdict(change: Change) -> Option<SysResult<()>> {
    match change {
        Change::Ended(Ending::Exited(0)) => Some(Ok(())),
        Change::Ended(Ending::Exited(errno)) if errno != status::FAILED => {
            Some(Err(Errno::from_raw(errno.into())))
        }
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
    if caller.authority == Authority::Lent {
        // Where that cannot be, memory has to run out and the caller be quick.
        let _ = leave_oom_score();
    }
    // The caller's umask may have no place for the owner's bits, or one for others.
    fs::set_umask(0o077);
    if site.leave && caller.authority == Authority::Lent {
        cgroup::join_guards(site.parent).at(Step::LeaveGroup)?;
    }
    let (group, seed) = Cgroup::create(site.parent, site.label, site.seed).at(Step::MakeGroup)?;
    let mut ready = Ok(());
    if group.is_killed_at_once() {
        ready = creds::give_up_killing(caller);
    }
    let told = ready.and_then(|()| fd::write_pair(death, [MADE, seed]).at(Step::StartGuard));
    if let Err(failure) = told {
        // The stub was killed meanwhile, perhaps.
        let _ = group.destroy(cgroup::TIME_TO_DIE);
        return Err(failure);
    }
    group.remove_stale();
    Ok(group)
}

/// A score that the caller gave itself would have the kernel kill the guard before all others when
/// memory runs out. 0 is what the caller could set again without any privilege, and is refused where
/// somebody else has set more. proc_pid_oom_score_adj(5).
fn leave_oom_score() -> SysResult<()> {
    let file = fd::openat(Fd::CWD, c"/proc/self/oom_score_adj", Mode::ReadWrite)?;
    let mut score = [0];
    if fd::read(file.fd(), &mut score)? == 1 && score != *b"-" {
        fd::write(file.fd(), b"0")?;
    }
    Ok(())
}

/// Waits for the stub's word, or its end, and ends the box.
fn serve(group: &Cgroup, death: Fd) -> u8 {
    let mut naming = Naming::Quiet;
    // An answer of the kernel's that tells of no end must not end a box.
    for _ in 0..cgroup::TRIES {
        match fd::read_pair(death) {
            Ok([_, except]) => naming = Naming::AllBut(Pid::new(except as u32)),
            Err(Errno::EPIPE) => {}
            Err(_) => continue,
        }
        break;
    }
    match group.end(naming, death) {
        Ok(()) => 0,
        // Every number is below that of FAILED, but for some that no file system gives.
        Err(errno) => u8::try_from(errno.number()).unwrap_or(status::FAILED),
    }
}
