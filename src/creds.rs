//! Giving up privileges, and proof of it. credentials(7), capabilities(7).
#![forbid(unsafe_code)]

use crate::plan::Plan;
use crate::step::{At, Failure, Step};
use crate::sys::ids::{self, Capabilities, Ids};
use crate::sys::{Errno, Result as SysResult, fs};

/// Shows that this process has no more privileges than COMMAND may have.
pub struct Dropped(());

/// Becomes whom COMMAND runs as, for good, and checks it. A root caller that asks for nobody else
/// has nothing to give up.
pub fn drop_privileges(plan: &Plan) -> Result<Dropped, Failure> {
    if let Some(mask) = plan.umask {
        fs::set_umask(mask);
    }
    let (mut uid, mut gid) = (plan.caller.uid, plan.caller.gid);

    // Groups first, then the group id, then the user id: each needs what the next one takes away.
    if let Some(identity) = plan.identity() {
        ids::set_groups(identity.groups.as_slice()).at(Step::SetGroups)?;
        if let Some(wanted) = identity.gid {
            ids::set_group_ids(wanted).at(Step::SetGroup)?;
            gid = wanted;
        }
        if let Some(wanted) = identity.uid {
            ids::set_user_ids(wanted).at(Step::SetUser)?;
            uid = wanted;
        }
    }
    if uid != 0 {
        // With SECBIT_NO_SETUID_FIXUP set, setresuid(2) left them as they were. Those of an
        // ordinary caller are a user namespace's.
        ids::clear_ambient_capabilities().at(Step::DropCapabilities)?;
        ids::set_capabilities(Capabilities::NONE).at(Step::DropCapabilities)?;
    }
    if plan.caller.uid != 0 {
        ids::set_no_new_privileges().at(Step::ForbidPrivileges)?;
    }

    if uid != 0 || plan.identity().is_some() {
        let dropped = is_dropped(plan, uid, gid).at(Step::VerifyDrop)?;
        if !dropped {
            return Err(Failure::new(Step::VerifyDrop, Errno::EPERM));
        }
    }
    Ok(Dropped(()))
}

/// Whether the kernel says that all of it has come to pass, and lets nothing be taken back.
fn is_dropped(plan: &Plan, uid: u32, gid: u32) -> SysResult<bool> {
    let mut dropped = ids::user_ids()? == Ids::all(uid) && ids::group_ids()? == Ids::all(gid);
    if let Some(identity) = plan.identity() {
        let (wanted, mut buffer) = (identity.groups.as_slice(), [0; 1024]);
        let found = ids::groups(&mut buffer)?;
        // The kernel sorts them.
        dropped &= found.len() == wanted.len() && wanted.iter().all(|id| found.contains(id));
    }
    if uid != 0 {
        dropped &= ids::capabilities()? == Capabilities::NONE && ids::set_user_ids(0).is_err();
    }
    if plan.caller.uid != 0 {
        dropped &= ids::no_new_privileges()?;
    }
    Ok(dropped)
}
