//! The user namespace of a caller without privileges: its own ids, mapped to themselves.
//! user_namespaces(7).
#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::sys::fd::{self, Fd};
use crate::sys::{Result, path};

/// Maps `uid` and `gid` to themselves in the user namespace that this process just made.
///
/// # Errors
/// ENOENT where there is no /proc.
pub fn map_to_itself(uid: u32, gid: u32) -> Result<()> {
    map(c"/proc/self/uid_map", uid)?;
    // Since Linux 3.19 a gid map needs this first: else a group that denies could be dropped
    // (CVE-2018-7169 is the same in newgidmap).
    fd::write_file(Fd::CWD, c"/proc/self/setgroups", b"deny")?;
    map(c"/proc/self/gid_map", gid)
}

fn map(file: &CStr, id: u32) -> Result<()> {
    path::write_numbers(Fd::CWD, file, &[id, id, 1])
}
