//! Files, directories and mounts.

use core::ffi::CStr;

use linux_raw_sys::general as k;

use super::fd::{Fd, OwnedFd};
use super::{Result, call, call3, run, run3};

/// mkdirat(2), mode 0700.
pub fn make_directory(directory: Fd, name: &CStr) -> Result<()> {
    let arguments = [directory.raw(), name.as_ptr() as usize, 0o700];
    // SAFETY: a NUL-ended path that lives across the call.
    unsafe { run3(k::__NR_mkdirat, arguments) }
}

/// unlinkat(2) of a directory. In a cgroup file system: EBUSY while it has processes or groups.
pub fn remove_directory(directory: Fd, name: &CStr) -> Result<()> {
    let arguments = [
        directory.raw(),
        name.as_ptr() as usize,
        k::AT_REMOVEDIR as usize,
    ];
    // SAFETY: a NUL-ended path that lives across the call.
    unsafe { run3(k::__NR_unlinkat, arguments) }
}

/// faccessat(2): whether the real uid may write.
#[must_use]
pub fn may_write(directory: Fd, name: &CStr) -> bool {
    access(directory, name, k::W_OK)
}

/// faccessat(2): whether there is such a file.
#[must_use]
pub fn exists(path: &CStr) -> bool {
    access(Fd::CWD, path, k::F_OK)
}

fn access(directory: Fd, name: &CStr, mode: u32) -> bool {
    let arguments = [directory.raw(), name.as_ptr() as usize, mode as usize];
    // SAFETY: a NUL-ended path that lives across the call.
    unsafe { call3(k::__NR_faccessat, arguments) }.is_ok()
}

/// fstatfs(2): the file system's magic number (linux/magic.h).
pub fn magic(fd: Fd) -> Result<u32> {
    statfs(k::__NR_fstatfs, fd.raw()).map(|status| status.f_type as u32)
}

/// statfs(2): whether set-user-id bits have no effect in the file system that `path` is in.
#[must_use]
pub fn is_nosuid(path: &CStr) -> bool {
    /// ST_NOSUID of linux/statfs.h.
    const NOSUID: u32 = 2;
    statfs(k::__NR_statfs, path.as_ptr() as usize)
        .is_ok_and(|status| status.f_flags as u32 & NOSUID != 0)
}

/// By descriptor or by path, as `call` has it.
fn statfs(call: u32, file: usize) -> Result<k::statfs> {
    let mut status = core::mem::MaybeUninit::<k::statfs>::zeroed();
    // SAFETY: a descriptor, or a NUL-ended path; the kernel writes one statfs.
    unsafe { call3(call, [file, status.as_mut_ptr() as usize, 0]) }?;
    // SAFETY: all of it is integers, zeroed before.
    Ok(unsafe { status.assume_init() })
}

/// statx(2): the uid that owns the file.
pub fn owner(fd: Fd) -> Result<u32> {
    status(fd, c"", k::AT_EMPTY_PATH).map(|status| status.stx_uid)
}

/// statx(2): the uid that owns a file in a directory.
pub fn owner_of(directory: Fd, name: &CStr) -> Result<u32> {
    status(directory, name, 0).map(|status| status.stx_uid)
}

/// Whether the file has root's set-user-id bit.
#[must_use]
pub fn is_set_user_id(path: &CStr) -> bool {
    status(Fd::CWD, path, 0)
        .is_ok_and(|status| status.stx_uid == 0 && u32::from(status.stx_mode) & k::S_ISUID != 0)
}

fn status(directory: Fd, path: &CStr, flags: u32) -> Result<k::statx> {
    let mut status = core::mem::MaybeUninit::<k::statx>::zeroed();
    let arguments = [
        directory.raw(),
        path.as_ptr() as usize,
        flags as usize,
        (k::STATX_UID | k::STATX_MODE) as usize,
        status.as_mut_ptr() as usize,
    ];
    // SAFETY: a NUL-ended path; the kernel writes one statx.
    unsafe { call(k::__NR_statx, arguments) }?;
    // SAFETY: all of it is integers, zeroed before.
    Ok(unsafe { status.assume_init() })
}

/// getxattr(2): whether the file has capabilities.
#[must_use]
pub fn has_capabilities(path: &CStr) -> bool {
    let name = c"security.capability";
    let arguments = [path.as_ptr() as usize, name.as_ptr() as usize, 0, 0, 0];
    // SAFETY: NUL-ended strings; a size of 0 asks for the size alone.
    unsafe { call(k::__NR_getxattr, arguments) }.is_ok()
}

/// One entry of a directory.
pub struct Entry<'a> {
    /// Its name.
    pub name: &'a CStr,
    /// Whether it is a directory (other than `.` and `..`).
    pub is_directory: bool,
}

/// Part of a directory's entries. getdents64(2).
pub struct Listing {
    buffer: Aligned,
    length: usize,
}

#[repr(C, align(8))]
struct Aligned([u8; 1024]);

impl Listing {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Listing {
        Listing {
            buffer: Aligned([0; 1024]),
            length: 0,
        }
    }

    /// Reads the next entries; false at the end.
    pub fn read(&mut self, directory: Fd) -> Result<bool> {
        let buffer = &mut self.buffer.0;
        let arguments = [directory.raw(), buffer.as_mut_ptr() as usize, buffer.len()];
        // SAFETY: the kernel writes at most the buffer's length.
        self.length = unsafe { call3(k::__NR_getdents64, arguments) }?;
        Ok(self.length > 0)
    }

    /// The entries read last.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        parse_entries(self.buffer.0.get(..self.length).unwrap_or_default())
    }
}

impl Default for Listing {
    fn default() -> Self {
        Self::new()
    }
}

/// The entries in a buffer of getdents64(2), up to the first that is not whole.
pub fn parse_entries(mut rest: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    core::iter::from_fn(move || {
        let (entry, length) = parse_entry(rest)?;
        rest = rest.get(length..)?;
        Some(entry)
    })
}

/// struct linux_dirent64: inode, next offset, length, type, name ended by a NUL.
fn parse_entry(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    const LENGTH: usize = core::mem::offset_of!(k::linux_dirent64, d_reclen);
    const KIND: usize = core::mem::offset_of!(k::linux_dirent64, d_type);
    const NAME: usize = core::mem::offset_of!(k::linux_dirent64, d_name);
    let length = u16::from_ne_bytes(bytes.get(LENGTH..LENGTH + 2)?.try_into().ok()?);
    let length = usize::from(length);
    let name = super::args::until_nul(bytes.get(NAME..length)?)?;
    let is_directory = u32::from(*bytes.get(KIND)?) == k::DT_DIR && name != c"." && name != c"..";
    Some((Entry { name, is_directory }, length))
}

/// chdir(2).
pub fn change_directory(path: &CStr) -> Result<()> {
    // SAFETY: a NUL-ended path that lives across the call.
    unsafe { run3(k::__NR_chdir, [path.as_ptr() as usize, 0, 0]) }
}

/// fchdir(2).
pub fn change_directory_to(directory: Fd) -> Result<()> {
    // SAFETY: numbers only.
    unsafe { run3(k::__NR_fchdir, [directory.raw(), 0, 0]) }
}

/// chroot(2) to the working directory.
pub fn change_root_to_working_directory() -> Result<()> {
    // SAFETY: a NUL-ended path that lives across the call.
    unsafe { run3(k::__NR_chroot, [c".".as_ptr() as usize, 0, 0]) }
}

/// umask(2): sets it, returns the one before.
pub fn set_umask(mask: u32) -> u32 {
    // SAFETY: numbers only. umask has no error.
    unsafe { call3(k::__NR_umask, [mask as usize, 0, 0]) }.map_or(0, |old| old as u32)
}

/// Makes every mount below `/` a slave: mounts made outside arrive, mounts made here stay here.
/// EINVAL where `/` is not a mount point (a chroot into a plain directory).
pub fn make_mounts_slave() -> Result<()> {
    mount(None, c"/", k::MS_REC | k::MS_SLAVE)
}

/// Mounts a proc file system for the caller's PID namespace over /proc.
pub fn mount_proc() -> Result<()> {
    mount(
        Some(c"proc"),
        c"/proc",
        k::MS_NOSUID | k::MS_NODEV | k::MS_NOEXEC,
    )
}

/// mount(2); `kind` serves as source and type.
fn mount(kind: Option<&CStr>, target: &CStr, flags: u32) -> Result<()> {
    let kind = kind.map_or(core::ptr::null(), CStr::as_ptr) as usize;
    let arguments = [kind, target.as_ptr() as usize, kind, flags as usize, 0];
    // SAFETY: NUL-ended strings that live across the call, or NULL.
    unsafe { run(k::__NR_mount, arguments) }
}

/// fsopen(2), fsconfig(2) and fsmount(2): a file system that is mounted nowhere, as a descriptor
/// of its root directory.
pub fn detached_mount(kind: &CStr) -> Result<OwnedFd> {
    let arguments = [kind.as_ptr() as usize, k::FSOPEN_CLOEXEC as usize, 0];
    // SAFETY: a NUL-ended string that lives across the call.
    let context = OwnedFd::from_raw(unsafe { call3(k::__NR_fsopen, arguments) }?);
    let create = k::fsconfig_command::FSCONFIG_CMD_CREATE as usize;
    // SAFETY: this command takes no pointers.
    unsafe { call3(k::__NR_fsconfig, [context.fd().raw(), create, 0]) }?;
    let arguments = [context.fd().raw(), k::FSMOUNT_CLOEXEC as usize, 0];
    // SAFETY: numbers only.
    unsafe { call3(k::__NR_fsmount, arguments) }.map(OwnedFd::from_raw)
}
