//! Giving up privileges, and proof of it. credentials(7), capabilities(7).
#![forbid(unsafe_code)]

use crate::plan::{Groups, Identity, Plan};
use crate::step::{At, Failure, Step};
use crate::sys::ids::{self, Capabilities, Ids};
use crate::sys::{Errno, fs};

/// Shows that this process has no more privileges than COMMAND may have.
pub struct Dropped(());

/// Becomes whom COMMAND runs as, for good, and checks it.
pub fn drop_privileges(plan: &Plan<'_>) -> Result<Dropped, Failure> {
    if let Some(mask) = plan.umask {
        fs::set_umask(mask);
    }
    if let Some(identity) = &plan.identity {
        become_identity(identity)?;
    }
    if plan.caller.uid != 0 {
        // The capabilities of a user namespace, or of this program's file.
        ids::set_no_new_privileges().at(Step::ForbidPrivileges)?;
        drop_capabilities()?;
        verify_ids(Some(plan.caller.uid), Some(plan.caller.gid))?;
        verify_capabilities()?;
        let forbidden = ids::no_new_privileges().at(Step::VerifyDrop)?;
        if !forbidden {
            return Err(not_dropped());
        }
    }
    Ok(Dropped(()))
}

/// Groups first, then the group id, then the user id: each needs what the next one takes away.
fn become_identity(identity: &Identity) -> Result<(), Failure> {
    ids::set_groups(identity.groups.as_slice()).at(Step::SetGroups)?;
    if let Some(gid) = identity.gid {
        ids::set_group_ids(gid).at(Step::SetGroup)?;
    }
    if let Some(uid) = identity.uid {
        ids::set_user_ids(uid).at(Step::SetUser)?;
    }
    let becomes_user = identity.uid.is_some_and(|uid| uid != 0);
    if becomes_user {
        // With SECBIT_NO_SETUID_FIXUP set, setresuid(2) left them as they were.
        drop_capabilities()?;
        verify_capabilities()?;
    }
    verify_ids(identity.uid, identity.gid)?;
    verify_groups(&identity.groups)?;
    if becomes_user && ids::set_user_ids(0).is_ok() {
        return Err(not_dropped());
    }
    Ok(())
}

fn drop_capabilities() -> Result<(), Failure> {
    ids::clear_ambient_capabilities().at(Step::DropCapabilities)?;
    ids::set_capabilities(Capabilities::NONE).at(Step::DropCapabilities)
}

fn not_dropped() -> Failure {
    Failure::new(Step::VerifyDrop, Errno::EPERM)
}

fn verify_ids(uid: Option<u32>, gid: Option<u32>) -> Result<(), Failure> {
    let users = ids::user_ids().at(Step::VerifyDrop)?;
    let groups = ids::group_ids().at(Step::VerifyDrop)?;
    let same = |wanted: Option<u32>, found| wanted.is_none_or(|id| found == Ids::all(id));
    if same(uid, users) && same(gid, groups) { Ok(()) } else { Err(not_dropped()) }
}

fn verify_groups(wanted: &Groups) -> Result<(), Failure> {
    let mut buffer = [0; 1024];
    let found = ids::groups(&mut buffer).at(Step::VerifyDrop)?;
    // The kernel sorts them.
    let same = found.len() == wanted.as_slice().len()
        && wanted.as_slice().iter().all(|id| found.contains(id));
    if same { Ok(()) } else { Err(not_dropped()) }
}

fn verify_capabilities() -> Result<(), Failure> {
    let left = ids::capabilities().at(Step::VerifyDrop)?;
    if left == Capabilities::NONE { Ok(()) } else { Err(not_dropped()) }
}
