//! The guard: a process outside the box, outside the caller's session, and where rights are lent
//! beyond the caller's reach, with one job. It makes the box's group; and when the stub says so, or
//! is killed, it kills what is in the group and removes it.
//!
//! The group is the guard's from the beginning: whenever the stub is killed, nothing stays.
#![forbid(unsafe_code)]

use crate::caller::Authority;
use crate::cgroup::{self, Cgroup, Naming, Seed};
use crate::creds;
use crate::plan::Plan;
use crate::status;
use crate::step::{At, Failure, Step};
use crate::sys::fd::{self, Fd, Mode, OwnedFd};
use crate::sys::poll::Deadline;
use crate::sys::process::{self, Change, Namespaces, Pid};
use crate::sys::{Errno, Result as SysResult, fs, netdev};

/// The stub's side of the guard.
pub struct Guard {
    pid: Pid,
    life: OwnedFd,
}

/// On which side of a fork a process is.
enum Fork {
    Stub(Guard),
    /// With the other end of the guard's life.
    Guard(Fd),
}

impl Guard {
    /// Starts it, to make a group below `parent`. It works while the caller of this goes on.
    ///
    /// `leaves_group`: the caller's own group is another one, which the guard has to leave.
    pub fn start(plan: &Plan, parent: Fd, leaves_group: bool) -> SysResult<Guard> {
        match Guard::fork()? {
            Fork::Stub(guard) => Ok(guard),
            Fork::Guard(death) => {
                let mut group = Cgroup::new();
                let prepared = prepare(plan, parent, leaves_group, death, &mut group);
                process::exit(match prepared {
                    Ok(()) => serve(&group, death),
                    Err(failure) => {
                        let _ = fd::write_number(death, failure.number() as u64);
                        status::FAILED
                    }
                })
            }
        }
    }

    /// Starts another one for a group that there is already.
    pub fn replace(group: &Cgroup) -> SysResult<Guard> {
        match Guard::fork()? {
            Fork::Stub(guard) => Ok(guard),
            Fork::Guard(death) => {
                let kept = [group.parent(), death];
                process::exit(match fd::close_all_but(&kept, group.descriptors()) {
                    Ok(()) => serve(group, death),
                    Err(_) => status::FAILED,
                })
            }
        }
    }

    fn fork() -> SysResult<Fork> {
        let (life, death) = netdev::socket_pair()?;
        if let Some(pid) = process::fork(Namespaces::NONE)? {
            return Ok(Fork::Stub(Guard { pid, life }));
        }
        process::set_name(c"phasebox-guard");
        // A hangup or a key of the caller's terminal is not for it.
        let _ = process::new_session();
        // The other end is closed with all others.
        let _ = life.keep();
        Ok(Fork::Guard(death.keep()))
    }

    /// Waits until the group is made; returns the seed of its name.
    ///
    /// # Errors
    /// Why it could not be made; ECHILD where the guard was killed.
    pub fn wait_until_ready(&self) -> Result<Seed, Failure> {
        let word = fd::read_number(self.life.fd());
        let word = word.map_err(|errno| {
            // Its end is that of a child that is gone.
            let gone = errno == Errno::EPIPE;
            Failure::new(Step::StartGuard, if gone { Errno::ECHILD } else { errno })
        })?;
        // No failure's number is as large as a seed.
        Seed::from_number(word).ok_or(Failure::from_number(word as usize))
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
            let _ = fd::write_number(self.life.fd(), except.into());
        }
        let _ = netdev::end_sending(self.life.fd());
    }
}

/// What a guard's end says: whether the group is gone, or nothing where it was killed before.
#[must_use]
pub fn verdict(change: Change) -> Option<SysResult<()>> {
    match change.exit_status() {
        Some(0) => Some(Ok(())),
        Some(status::FAILED) | None => None,
        Some(errno) => Some(Err(Errno::from_raw(errno.into()))),
    }
}

/// Out of the caller's reach, then the group. Every signal is blocked, as in the stub.
fn prepare(
    plan: &Plan,
    parent: Fd,
    leaves_group: bool,
    death: Fd,
    group: &mut Cgroup,
) -> Result<(), Failure> {
    let caller = &plan.caller;
    fs::change_directory(c"/").at(Step::LeaveDirectory)?;
    fd::close_all_but(&[parent, death], &[]).at(Step::CloseDescriptors)?;
    // Nothing is ever written there; nothing that is opened later is to take their place.
    fd::fill_standard().at(Step::CloseDescriptors)?;
    creds::retire_as_guard(caller)?;
    let uid = caller.groups_owner();
    if caller.authority == Authority::Lent {
        // Where that cannot be, memory has to run out and the caller be quick.
        let _ = leave_oom_score();
    }
    // The caller's umask may have no place for the owner's bits, or one for others.
    fs::set_umask(0o077);
    if leaves_group {
        cgroup::join_guards(parent).at(Step::LeaveGroup)?;
    }
    let [a, b, c, d, e, f, g, h, ..] = plan.random;
    let mut seed = Seed::new(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    let label = plan.group_name.as_bytes();
    let made = group.create(parent, label, &mut seed, uid);
    made.at(Step::MakeGroup)?;
    let mut ready = Ok(());
    if group.is_killed_at_once() {
        ready = creds::give_up_killing(caller);
    }
    let told = ready.and_then(|()| fd::write_number(death, seed.number()).at(Step::StartGuard));
    if let Err(failure) = told {
        // The stub was killed meanwhile, perhaps.
        let _ = group.destroy(Deadline::after(cgroup::TIME_TO_DIE));
        return Err(failure);
    }
    cgroup::remove_stale(parent, uid);
    Ok(())
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
        match fd::read_number(death) {
            Ok(except) => naming = Naming::AllBut(Pid::new(except as u32)),
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
