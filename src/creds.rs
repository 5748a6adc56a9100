//! Privileges: narrowed at the start, given up for good before COMMAND, and proof of it.
//! credentials(7), capabilities(7).
#![forbid(unsafe_code)]

use crate::caller::{Authority, Caller};
use crate::plan::Plan;
use crate::status;
use crate::step::{At, Failure, Step};
use crate::sys::ids::{self, Capabilities, LENT, LENT_IN_FORCE};
use crate::sys::process;
use crate::sys::{Errno, Result as SysResult, fs};

/// Shows that this process has no more privileges than COMMAND may have.
pub struct Dropped(());

/// The first thing that is done with privileges that are lent: all but the needed ones go, and the
/// effective uid is the caller's, so that whatever is opened or looked up is so as the caller. Root's
/// uid is only saved, for the moments that need it.
///
/// What is lent but not enough is given back at once: then this is an ordinary user's process.
pub fn narrow(caller: &Caller) -> Result<(), Failure> {
    narrow_to(caller).at(Step::NarrowPrivileges)
}

fn narrow_to(caller: &Caller) -> SysResult<()> {
    if caller.authority == Authority::Lent {
        process::forbid_dump()?;
        // With file capabilities none is in force yet, and the change of ids needs one.
        ids::set_capabilities(LENT_IN_FORCE, LENT)?;
        ids::set_user_ids(caller.uid, caller.uid, 0)?;
        // Set-user-id, the change has put them out of force.
        return ids::set_capabilities(LENT_IN_FORCE, LENT);
    }
    if caller.is_half_lent {
        become_caller(caller)?;
    }
    if caller.uid != 0 {
        // Set-id files, and those that cannot be read, leave /proc/self to root, where the maps of
        // a user namespace are written. There is nothing left in this process to steal.
        process::allow_dump()?;
    }
    Ok(())
}

/// All ids the caller's, no capability, and none to be had any more; checked.
fn become_caller(caller: &Caller) -> SysResult<()> {
    ids::set_user_id(caller.uid)?;
    give_up_capabilities()?;
    ids::set_no_new_privileges()?;
    prove_no_new_privileges()?;
    prove(caller.uid, caller.gid, 0)
}

/// With SECBIT_NO_SETUID_FIXUP set, setresuid(2) leaves them as they were. Those of an ordinary
/// caller are a user namespace's.
fn give_up_capabilities() -> SysResult<()> {
    ids::clear_ambient_capabilities()?;
    ids::set_capabilities(0, 0)
}

/// EPERM unless the kernel says so, and root's id cannot be had back by one that has it no more.
fn prove(uid: u32, gid: u32, capabilities: Capabilities) -> SysResult<()> {
    let is_proven = ids::has_only_user_id(uid)
        && ids::has_only_group_id(gid)
        && ids::has_only_capabilities(capabilities)
        && (uid == 0 || ids::set_user_id(0).is_err());
    if is_proven { Ok(()) } else { Err(Errno::EPERM) }
}

fn prove_no_new_privileges() -> SysResult<()> {
    if ids::no_new_privileges() {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Puts what is lent in force, or out of it: for a fork, since CAP_SYS_ADMIN would lift the caller's
/// limit on processes (RLIMIT_NPROC, setrlimit(2)), and COMMAND be one more than the caller may have.
pub fn set_in_force(caller: &Caller, in_force: bool) -> SysResult<()> {
    if caller.authority != Authority::Lent {
        return Ok(());
    }
    ids::set_capabilities(if in_force { LENT_IN_FORCE } else { 0 }, LENT)
}

/// For the moment in which a box's group is opened and the command put into it: root's uid, where it
/// is lent. What follows is giving it up for good.
pub fn take_up_root(caller: &Caller) -> SysResult<()> {
    if caller.authority != Authority::Lent {
        return Ok(());
    }
    ids::set_user_ids(caller.uid, 0, 0)
}

/// Becomes whom COMMAND runs as, for good, and checks it. A root caller that asks for nobody else
/// has nothing to give up.
#[inline(never)]
pub fn drop_privileges(plan: &Plan) -> Result<Dropped, Failure> {
    let caller = &plan.caller;
    if let Some(mask) = plan.umask {
        fs::set_umask(mask);
    }
    if plan.handed_to().is_some() {
        // Else root's keys could be read, and TIOCSTI typed into root's terminal.
        match ids::join_new_session_keyring() {
            Err(Errno::ENOSYS) => {}
            result => result.at(Step::LeaveKeyring)?,
        }
        process::new_session().at(Step::LeaveSession)?;
    }

    // Groups first, then the group id, then the user id: each needs what the next one takes away.
    let (mut uid, mut gid) = (caller.uid, caller.gid);
    if let Some(identity) = &plan.identity {
        ids::set_groups(identity.groups.as_slice()).at(Step::SetGroups)?;
        gid = identity.gid.unwrap_or(gid);
        ids::set_group_id(gid).at(Step::SetGroup)?;
        uid = identity.uid.unwrap_or(uid);
    }
    if uid != 0 {
        ids::set_user_id(uid).at(Step::SetUser)?;
        give_up_capabilities().at(Step::DropCapabilities)?;
        // Until execve(2): this process still knows what COMMAND may not.
        process::forbid_dump().at(Step::DropCapabilities)?;
    }
    if caller.uid != 0 {
        ids::set_no_new_privileges().at(Step::ForbidPrivileges)?;
        prove_no_new_privileges().at(Step::VerifyDrop)?;
    }
    if let Some(identity) = &plan.identity {
        prove_groups(gid, identity.groups.as_slice()).at(Step::VerifyDrop)?;
    }
    if uid != 0 {
        prove(uid, gid, 0).at(Step::VerifyDrop)?;
    }
    Ok(Dropped(()))
}

/// EPERM unless these are the group ids and the supplementary groups. The kernel sorts the latter.
fn prove_groups(gid: u32, wanted: &[u32]) -> SysResult<()> {
    let mut buffer = [0; 1024];
    let found = ids::groups(&mut buffer)?;
    let has = |id| found.iter().any(|other| other == id);
    let is_proven =
        ids::has_only_group_id(gid) && found.len() == wanted.len() && wanted.iter().all(has);
    if is_proven { Ok(()) } else { Err(Errno::EPERM) }
}

/// A process that waits from here on keeps only what its work takes: what was lent goes, and of
/// root's own it keeps what may be needed to signal the command and to remove the group.
pub fn retire(caller: &Caller) -> Result<(), Failure> {
    retire_as(caller).at(Step::DropCapabilities)
}

fn retire_as(caller: &Caller) -> SysResult<()> {
    if caller.uid != 0 {
        become_caller(caller)?;
    } else {
        let kept = ids::capabilities()?.permitted() & ids::WAITING;
        ids::set_capabilities(kept, kept)?;
    }
    process::forbid_dump()
}

/// A guard of what is lent is root's alone, out of the caller's reach, with the capabilities to
/// kill and to remove.
pub fn retire_as_guard(caller: &Caller) -> Result<(), Failure> {
    if caller.authority != Authority::Lent {
        return retire(caller);
    }
    become_root().at(Step::DropCapabilities)
}

#[inline(never)]
fn become_root() -> SysResult<()> {
    ids::set_groups(&[])?;
    ids::set_group_id(0)?;
    ids::set_user_id(0)?;
    ids::set_capabilities(ids::WAITING, ids::WAITING)?;
    ids::set_no_new_privileges()?;
    process::forbid_dump()?;
    prove(0, 0, ids::WAITING)
}

/// A guard whose group the kernel kills at once needs none to kill.
pub fn give_up_killing(caller: &Caller) -> Result<(), Failure> {
    if caller.authority != Authority::Lent {
        return Ok(());
    }
    ids::set_capabilities(ids::GUARDS, ids::GUARDS)
        .and_then(|()| prove(0, 0, ids::GUARDS))
        .at(Step::DropCapabilities)
}

/// Before anything is said: no message is written with privileges that are lent (CVE-2012-0056).
/// Where they cannot be given up, this ends the process without a word.
pub fn renounce() {
    if renounce_all().is_err() {
        process::exit(status::FAILED);
    }
}

fn renounce_all() -> SysResult<()> {
    let (users, groups) = (ids::user_ids()?, ids::group_ids()?);
    if users.are_all(0) {
        return Ok(());
    }
    // Ids that are not lent are left alone: in a user namespace without a map they are nobody's, which
    // cannot be set.
    if !groups.are_all(groups.real) {
        ids::set_group_id(groups.real)?;
    }
    if !users.are_all(users.real) {
        ids::set_user_id(users.real)?;
    }
    give_up_capabilities()
}
