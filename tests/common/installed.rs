//! The program as a system has it: set-user-id root, or with file capabilities, and not readable.
#![allow(dead_code, unsafe_code, missing_docs)]

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::common::*;

/// How it is installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Install {
    /// 4710 root:[`USER`]'s group.
    SetUserId,
    /// 0710 root:[`USER`]'s group, with the capabilities of `make install-caps`.
    Capabilities,
}

pub const INSTALLS: [Install; 2] = [Install::SetUserId, Install::Capabilities];

/// cap_dac_override, cap_kill, cap_setgid, cap_setuid, cap_net_admin, cap_sys_chroot, cap_sys_admin.
pub const CAPABILITIES: u32 = 1 << 1 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 12 | 1 << 18 | 1 << 21;

impl Install {
    /// The program, installed so.
    pub fn program(self) -> &'static Path {
        static INSTALLED: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
        INSTALLED[self as usize].get_or_init(|| match self {
            Install::SetUserId => install("phasebox-set-user-id", USER, 0o4710),
            Install::Capabilities => {
                let path = install("phasebox-capabilities", USER, 0o710);
                set_capabilities(&path, CAPABILITIES);
                path
            }
        })
    }

    /// The program, called by [`USER`], in `/`, its input closed.
    pub fn command(self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        command
            .args(arguments)
            .stdin(Stdio::null())
            .current_dir("/");
        become_user(&mut command);
        command
    }
}

/// A copy of the program of its own, root's and `group`'s, with this mode.
pub fn install(name: &str, group: u32, mode: u32) -> PathBuf {
    install_file(plain_program(), name, (0, group), mode)
}

/// A copy of a program of its own, with this owner, group and mode.
pub fn install_file(program: &Path, name: &str, (owner, group): (u32, u32), mode: u32) -> PathBuf {
    let path = scratch(0).join(name);
    // By another process, so that no child of this one has it open to write (ETXTBSY).
    let mut copy = Command::new("cp");
    copy.arg(program).arg(&path);
    assert!(copy.status().unwrap().success());
    std::os::unix::fs::chown(&path, Some(owner), Some(group)).unwrap();
    // After chown, which takes the bits away.
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// Gives a file these capabilities, permitted and not effective. capabilities(7), "File capability
/// extended attribute versioning": struct vfs_cap_data, revision 2.
pub fn set_capabilities(path: &Path, permitted: u32) {
    let words = [0x0200_0000u32, permitted, 0, 0, 0];
    let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let path = CString::new(path.to_str().unwrap()).unwrap();
    let name = c"security.capability";
    // SAFETY: NUL-ended strings and a value of the length given.
    let result = unsafe {
        libc::setxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
