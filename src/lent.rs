//! Why the file's set-user-id bit or capabilities lent nothing, for the message of a box that cannot
//! be had without. Looked into only then, by a process without privileges. execve(2),
//! capabilities(7).
#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::caller::Caller;
use crate::sys::fd;
use crate::sys::packed::{Packed, packed};
use crate::sys::{fs, ids, words};

/// The reason, where the program is installed to lend something; otherwise nothing.
#[must_use]
pub fn why_nothing(caller: &Caller, program: Option<&CStr>) -> Packed {
    let Some(program) = program else {
        return packed!("");
    };
    let is_without = caller.uid != 0 && caller.needs_user_namespace();
    if !is_without || !(fs::is_set_user_id(program) || fs::has_capabilities(program)) {
        return packed!("");
    }
    if caller.is_half_lent {
        // What came with it is given back, and no_new_privs is this program's own.
        caller.missing_capability()
    } else if ids::no_new_privileges() {
        packed!("no_new_privs is set")
    } else if fs::is_nosuid(program) {
        packed!("its file system is mounted nosuid")
    } else if is_traced() {
        packed!("it is traced")
    } else {
        caller.missing_capability()
    }
}

/// TracerPid of /proc/self/status. proc_pid_status(5).
fn is_traced() -> bool {
    let mut text = [0; 1024];
    let text = fd::read_file(c"/proc/self/status", &mut text);
    words::sum(text.unwrap_or_default(), b"TracerPid:") != 0
}
