//! Descriptors: open, read, write, close.

use core::ffi::CStr;

use linux_raw_sys::general as k;

use super::{Errno, Result, call};

/// A descriptor that somebody else closes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fd(isize);

impl Fd {
    /// Standard output, for `--help` and `--version`.
    pub const STDOUT: Fd = Fd(1);
    /// Standard error, for messages.
    pub const STDERR: Fd = Fd(2);
    /// The working directory, for the `*at` calls.
    pub const CWD: Fd = Fd(k::AT_FDCWD as isize);

    /// Standard input, output or error.
    pub const STANDARD: [Fd; 3] = [Fd(0), Fd::STDOUT, Fd::STDERR];

    /// As a system call's argument: sign-extended, as the kernel expects an int.
    pub(super) fn raw(self) -> usize {
        self.0 as usize
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0 as i32
    }
}

/// A descriptor of the program's own, closed when dropped.
#[derive(Debug)]
pub struct OwnedFd(Fd);

impl OwnedFd {
    /// Takes over what a system call returned.
    pub(super) fn from_raw(number: usize) -> OwnedFd {
        OwnedFd(Fd(number as isize))
    }

    /// To use it without giving it up.
    #[must_use]
    pub fn fd(&self) -> Fd {
        self.0
    }
}

impl Drop for OwnedFd {
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: close takes a number. Its error would say nothing that could be acted upon.
        let _ = unsafe { call(k::__NR_close, [self.0.raw(), 0, 0, 0, 0]) };
    }
}

/// How to open: always close-on-exec, and never creating.
#[derive(Clone, Copy)]
pub enum Mode {
    /// To read.
    Read,
    /// To write.
    Write,
    /// Both.
    ReadWrite,
    /// A directory, to list it and to work below it; the last component is not a symbolic link.
    Directory,
    /// A path only: holds a place, cannot be read or written (O_PATH).
    Path,
}

/// openat(2).
pub fn openat(directory: Fd, path: &CStr, mode: Mode) -> Result<OwnedFd> {
    let flags = k::O_CLOEXEC
        | match mode {
            Mode::Read => k::O_RDONLY,
            Mode::Write => k::O_WRONLY,
            Mode::ReadWrite => k::O_RDWR,
            Mode::Directory => k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW,
            Mode::Path => k::O_PATH,
        };
    let arguments = [directory.raw(), path.as_ptr() as usize, flags as usize, 0, 0];
    // SAFETY: a NUL-ended path that lives across the call.
    unsafe { call(k::__NR_openat, arguments) }.map(OwnedFd::from_raw)
}

/// read(2), repeated when interrupted.
pub fn read(fd: Fd, buffer: &mut [u8]) -> Result<usize> {
    loop {
        let arguments = [fd.raw(), buffer.as_mut_ptr() as usize, buffer.len(), 0, 0];
        // SAFETY: the kernel writes at most the buffer's length.
        match unsafe { call(k::__NR_read, arguments) } {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// Reads from the beginning of a file: rewinds, then read(2). For files that the kernel makes up
/// anew for each read from the start (kernfs, seq_file).
pub fn read_from_start(fd: Fd, buffer: &mut [u8]) -> Result<usize> {
    rewind(fd)?;
    read(fd, buffer)
}

/// lseek(2) to the beginning.
pub fn rewind(fd: Fd) -> Result<()> {
    // SAFETY: numbers only.
    unsafe { call(k::__NR_lseek, [fd.raw(), 0, k::SEEK_SET as usize, 0, 0]) }.map(drop)
}

/// write(2), once.
pub fn write(fd: Fd, bytes: &[u8]) -> Result<usize> {
    let arguments = [fd.raw(), bytes.as_ptr() as usize, bytes.len(), 0, 0];
    // SAFETY: the kernel reads at most the slice's length.
    unsafe { call(k::__NR_write, arguments) }
}

/// flock(2), exclusive and without waiting; EAGAIN where somebody else holds it.
pub fn lock(fd: Fd) -> Result<()> {
    let operation = k::LOCK_EX | k::LOCK_NB;
    // SAFETY: numbers only.
    unsafe { call(k::__NR_flock, [fd.raw(), operation as usize, 0, 0, 0]) }.map(drop)
}

/// pipe2(2), close-on-exec: the end to read, the end to write.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0i32; 2];
    let arguments = [ends.as_mut_ptr() as usize, k::O_CLOEXEC as usize, 0, 0, 0];
    // SAFETY: the kernel writes two ints.
    unsafe { call(k::__NR_pipe2, arguments) }?;
    let [read, write] = ends.map(|end| OwnedFd::from_raw(end as usize));
    Ok((read, write))
}

/// close_range(2): every descriptor from `first` to `last`.
fn close_range(first: isize, last: isize) -> Result<()> {
    // SAFETY: numbers only; no descriptor in the range belongs to a live OwnedFd (see close_all_but).
    unsafe { call(k::__NR_close_range, [first as usize, last as usize, 0, 0, 0]) }.map(drop)
}

/// Closes every descriptor of the process but those in `kept`, which it sorts.
///
/// # Errors
/// ENOSYS where the kernel or a filter has no close_range(2) (before Linux 5.9).
pub fn close_all_but(kept: &mut [Fd]) -> Result<()> {
    kept.sort_unstable();
    let mut first = 0;
    for fd in kept.iter() {
        if fd.0 > first {
            close_range(first, fd.0 - 1)?;
        }
        first = fd.0 + 1;
    }
    close_range(first, i32::MAX as isize)
}

/// Fills descriptors 0, 1 and 2 where the caller closed them, so that no file that is opened later
/// takes their place and receives an error message (CVE-2002-0572 and others).
///
/// The filler is a path descriptor of `/`: there is one also where there is no /dev/null, it
/// cannot be written to, and it vanishes when COMMAND is executed, which finds 0, 1 and 2 as the
/// caller left them.
pub fn fill_standard() -> Result<()> {
    if super::poll::all_open(Fd::STANDARD)? {
        return Ok(());
    }
    for fd in Fd::STANDARD {
        // SAFETY: numbers only.
        let flags = unsafe { call(k::__NR_fcntl, [fd.raw(), k::F_GETFD as usize, 0, 0, 0]) };
        if flags == Err(Errno::EBADF) {
            let filler = openat(Fd::CWD, c"/", Mode::Path)?;
            if filler.fd() != fd {
                return Err(Errno::EBADF);
            }
            core::mem::forget(filler);
        }
    }
    Ok(())
}
