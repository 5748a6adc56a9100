//! Files, directories and mounts.

use core::ffi::CStr;
use core::mem::{MaybeUninit, offset_of};

use linux_raw_sys::general as k;

use super::fd::{Fd, OwnedFd};
use super::{Errno, Result, call, call3, run, run3};
use crate::arch::numbers as nr;

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

/// fstatfs(2): ENODEV unless the file system's magic number is this one (linux/magic.h).
#[inline(never)]
pub fn expect_magic(fd: Fd, magic: u32) -> Result<()> {
    let mut status = MaybeUninit::zeroed();
    if statfs(nr::__NR_fstatfs, fd.raw(), &mut status)?.f_type as u32 == magic {
        Ok(())
    } else {
        Err(Errno::ENODEV)
    }
}

/// statfs(2): whether set-user-id bits have no effect in the file system that `path` is in.
#[must_use]
pub fn is_nosuid(path: &CStr) -> bool {
    /// ST_NOSUID of linux/statfs.h.
    const NOSUID: u32 = 2;
    let mut status = MaybeUninit::zeroed();
    statfs(nr::__NR_statfs, path.as_ptr() as usize, &mut status)
        .is_ok_and(|status| status.f_flags as u32 & NOSUID != 0)
}

// asm-generic/statfs.h. Where pointers have 32 bits, the kernel compares the size with its own; on
// s390x, and only there, words of 32 bits are in it where pointers have 64.
const _: () = {
    let (size, flags) = (size_of::<k::statfs64>(), offset_of!(k::statfs64, f_flags));
    assert!(offset_of!(k::statfs64, f_type) == 0);
    if size_of::<usize>() == 4 {
        assert!(size == 84 && flags == 64);
    } else {
        assert!(size == 120 && flags == 80 || size == 88 && flags == 64);
    }
};

/// By descriptor or by path, as `call` has it. Where there are two calls each, these are the ones
/// of 64-bit counts, which are told the structure's size.
fn statfs(call: u32, file: usize, status: &mut MaybeUninit<k::statfs64>) -> Result<&k::statfs64> {
    let address = status.as_mut_ptr() as usize;
    let arguments = if size_of::<usize>() == 4 {
        [file, size_of::<k::statfs64>(), address]
    } else {
        [file, address, 0]
    };
    // SAFETY: a descriptor, or a NUL-ended path; the kernel writes one statfs64.
    unsafe { run3(call, arguments) }?;
    // SAFETY: all of it is integers, written by the kernel or zeroed before.
    Ok(unsafe { status.assume_init_ref() })
}

// linux/stat.h, the same everywhere.
const _: () = assert!(
    size_of::<k::statx>() == 256
        && offset_of!(k::statx, stx_uid) == 20
        && offset_of!(k::statx, stx_mode) == 28
);

/// statx(2): the uid that owns a file in a directory, or with an empty name the directory. As wide as
/// a register, and so returned in one.
#[inline(never)]
pub fn owner(directory: Fd, name: &CStr) -> Result<usize> {
    let mut status = MaybeUninit::zeroed();
    statx(directory, name, &mut status).map(|status| status.stx_uid as usize)
}

/// Whether this uid owns it, and it is there.
#[must_use]
pub fn is_owned_by(directory: Fd, name: &CStr, uid: u32) -> bool {
    owner(directory, name) == Ok(uid as usize)
}

/// Whether the file has root's set-user-id bit.
#[must_use]
pub fn is_set_user_id(path: &CStr) -> bool {
    let mut status = MaybeUninit::zeroed();
    statx(Fd::CWD, path, &mut status)
        .is_ok_and(|status| status.stx_uid == 0 && u32::from(status.stx_mode) & k::S_ISUID != 0)
}

fn statx<'a>(
    directory: Fd,
    path: &CStr,
    status: &'a mut MaybeUninit<k::statx>,
) -> Result<&'a k::statx> {
    let arguments = [
        directory.raw(),
        path.as_ptr() as usize,
        k::AT_EMPTY_PATH as usize,
        (k::STATX_UID | k::STATX_MODE) as usize,
        status.as_mut_ptr() as usize,
    ];
    // SAFETY: a NUL-ended path; the kernel writes one statx.
    unsafe { run(k::__NR_statx, arguments) }?;
    // SAFETY: all of it is integers, written by the kernel or zeroed before.
    Ok(unsafe { status.assume_init_ref() })
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

/// A directory's entries, a part at a time. getdents64(2).
pub struct Listing {
    at: usize,
    length: usize,
    buffer: Aligned,
}

#[repr(C, align(8))]
struct Aligned([u8; 1024]);

impl Listing {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Listing {
        Listing {
            at: 0,
            length: 0,
            buffer: Aligned([0; 1024]),
        }
    }

    /// The name of the next directory in `directory`, which is always the same; none at the end, and
    /// where no more can be read.
    #[inline(never)]
    pub fn next_directory(&mut self, directory: Fd) -> Option<&CStr> {
        loop {
            let bytes = self.buffer.0.get(..self.length).unwrap_or_default();
            let entry = bytes.get(self.at..).and_then(parse_entry);
            let Some((entry, length)) = entry else {
                self.at = 0;
                self.length = self.read(directory).unwrap_or(0);
                if self.length == 0 {
                    return None;
                }
                continue;
            };
            let at = self.at;
            self.at += length;
            if entry.is_directory {
                return name(self.buffer.0.get(at..)?);
            }
        }
    }

    fn read(&mut self, directory: Fd) -> Result<usize> {
        let buffer = &mut self.buffer.0;
        let arguments = [directory.raw(), buffer.as_mut_ptr() as usize, buffer.len()];
        // SAFETY: the kernel writes at most the buffer's length.
        unsafe { call3(k::__NR_getdents64, arguments) }
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

/// struct linux_dirent64: inode, next offset, length, type, name ended by a NUL. With its length.
fn parse_entry(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    const LENGTH: usize = offset_of!(k::linux_dirent64, d_reclen);
    const KIND: usize = offset_of!(k::linux_dirent64, d_type);
    // The same everywhere, so that it can be read as bytes.
    const _: () =
        assert!(LENGTH == 16 && KIND == 18 && offset_of!(k::linux_dirent64, d_name) == 19);
    let length = u16::from_ne_bytes(bytes.get(LENGTH..LENGTH + 2)?.try_into().ok()?);
    let length = usize::from(length);
    let name = name(bytes.get(..length)?)?;
    let is_directory = u32::from(*bytes.get(KIND)?) == k::DT_DIR && name != c"." && name != c"..";
    Some((Entry { name, is_directory }, length))
}

fn name(entry: &[u8]) -> Option<&CStr> {
    super::args::until_nul(entry.get(offset_of!(k::linux_dirent64, d_name)..)?)
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
