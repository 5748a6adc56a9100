//! Descriptors: open, read, write, close.

use core::ffi::CStr;
use core::num::NonZeroIsize;

use linux_raw_sys::general as k;
use linux_raw_sys::ioctl::TIOCGWINSZ;

use super::words::parse_number;
use super::{Errno, Result, call3, run3};

/// A descriptor that somebody else closes, or nobody: those that are needed to the end.
///
/// Kept as its complement, which is never 0: so `Option<Fd>` is no larger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fd(NonZeroIsize);

impl Fd {
    /// Standard output, for `--help`, `--version` and `--check`.
    pub const STDOUT: Fd = Fd::new(1);
    /// Standard error, for messages.
    pub const STDERR: Fd = Fd::new(2);
    /// The working directory, for the `*at` calls.
    pub const CWD: Fd = Fd::new(k::AT_FDCWD as isize);

    /// No descriptor: poll passes it over, every other system call says EBADF.
    pub const NONE: Fd = Fd::new(-2);

    /// Of a constant; none is -1.
    const fn new(number: isize) -> Fd {
        match NonZeroIsize::new(!number) {
            Some(complement) => Fd(complement),
            None => Fd(NonZeroIsize::MAX),
        }
    }

    /// Of what a system call returned: not negative, so that its complement has the highest bit, and
    /// there is no branch for zero.
    fn from_raw(number: usize) -> Fd {
        Fd(NonZeroIsize::MIN | !(number as isize))
    }

    /// As a system call's argument: sign-extended, as the kernel expects an int.
    pub(super) fn raw(self) -> usize {
        !self.0.get() as usize
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> i32 {
        !self.0.get() as i32
    }
}

// Whatever the width of a pointer: poll would answer for a positive one at once.
const _: () = assert!(Fd::NONE.number() == -2);

/// A descriptor of the program's own, closed when dropped.
#[derive(Debug)]
pub struct OwnedFd(Fd);

impl OwnedFd {
    /// Takes over what a system call returned.
    pub(super) fn from_raw(number: usize) -> OwnedFd {
        OwnedFd(Fd::from_raw(number))
    }

    /// Keeps it open for the rest of the process's life; execve(2) closes it.
    #[must_use]
    pub fn keep(self) -> Fd {
        let fd = self.0;
        core::mem::forget(self);
        fd
    }

    /// To use it without giving it up.
    #[must_use]
    pub fn fd(&self) -> Fd {
        self.0
    }
}

impl Drop for OwnedFd {
    fn drop(&mut self) {
        close(self.0);
    }
}

/// close(2), of a descriptor that was [kept](OwnedFd::keep) after all not to the end.
#[inline(never)]
pub fn close(fd: Fd) {
    // SAFETY: close takes a number. Its error would say nothing that could be acted upon.
    let _ = unsafe { call3(k::__NR_close, [fd.raw(), 0, 0]) };
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
    /// The same, only to work below it (O_PATH): it need not be readable.
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
            Mode::Path => k::O_PATH | k::O_DIRECTORY | k::O_NOFOLLOW,
        };
    let arguments = [directory.raw(), path.as_ptr() as usize, flags as usize];
    // SAFETY: a NUL-ended path that lives across the call.
    unsafe { call3(k::__NR_openat, arguments) }.map(OwnedFd::from_raw)
}

/// read(2), repeated when interrupted.
pub fn read(fd: Fd, buffer: &mut [u8]) -> Result<usize> {
    loop {
        let arguments = [fd.raw(), buffer.as_mut_ptr() as usize, buffer.len()];
        // SAFETY: the kernel writes at most the buffer's length.
        match unsafe { call3(k::__NR_read, arguments) } {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// Reads until the end of a file, or until `buffer` is full.
pub fn read_all(fd: Fd, buffer: &mut [u8]) -> Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match read(fd, rest)? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

/// Reads from the beginning of a file: rewinds, then read(2). For files that the kernel makes up
/// anew for each read from the start (kernfs, seq_file).
pub fn read_from_start(fd: Fd, buffer: &mut [u8]) -> Result<usize> {
    rewind(fd)?;
    read(fd, buffer)
}

/// Opens a file, reads from it once and closes it; gives what was read. For the kernel's own files.
#[inline(never)]
pub fn read_file<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
    let file = openat(Fd::CWD, path, Mode::Read)?;
    let length = read(file.fd(), buffer)?;
    Ok(buffer.get(..length).unwrap_or_default())
}

/// lseek(2) to the beginning.
pub fn rewind(fd: Fd) -> Result<()> {
    // SAFETY: numbers only.
    unsafe { run3(k::__NR_lseek, [fd.raw(), 0, k::SEEK_SET as usize]) }
}

/// write(2), once.
pub fn write(fd: Fd, bytes: &[u8]) -> Result<usize> {
    let arguments = [fd.raw(), bytes.as_ptr() as usize, bytes.len()];
    // SAFETY: the kernel reads at most the slice's length.
    unsafe { call3(k::__NR_write, arguments) }
}

/// Opens a file, writes `text` to it at once and closes it. For the kernel's own files.
pub fn write_file(directory: Fd, path: &CStr, text: &[u8]) -> Result<()> {
    let file = openat(directory, path, Mode::Write)?;
    write(file.fd(), text).map(drop)
}

/// How to lock.
#[derive(Clone, Copy)]
pub enum Lock {
    /// Beside others who share.
    Shared,
    /// Alone.
    Exclusive,
}

/// write(2) of a number, between the processes of this program.
pub fn write_number(fd: Fd, number: u64) -> Result<()> {
    write(fd, &number.to_ne_bytes()).map(drop)
}

/// read(2) of what [`write_number`] wrote.
///
/// # Errors
/// EPIPE at the end of the link.
pub fn read_number(fd: Fd) -> Result<u64> {
    let mut number = [0; 8];
    match read(fd, &mut number)? {
        8 => Ok(u64::from_ne_bytes(number)),
        _ => Err(Errno::EPIPE),
    }
}

/// flock(2), without waiting; EAGAIN where somebody else's lock is in the way.
pub fn lock(fd: Fd, kind: Lock) -> Result<()> {
    let operation = k::LOCK_NB
        | match kind {
            Lock::Shared => k::LOCK_SH,
            Lock::Exclusive => k::LOCK_EX,
        };
    // SAFETY: numbers only.
    unsafe { run3(k::__NR_flock, [fd.raw(), operation as usize, 0]) }
}

/// pipe2(2), close-on-exec: the end to read, the end to write.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0i32; 2];
    let arguments = [ends.as_mut_ptr() as usize, k::O_CLOEXEC as usize, 0];
    // SAFETY: the kernel writes two ints.
    unsafe { call3(k::__NR_pipe2, arguments) }?;
    let [read, write] = ends;
    Ok((
        OwnedFd::from_raw(read as usize),
        OwnedFd::from_raw(write as usize),
    ))
}

/// A descriptor that the caller opened and named, for this program alone: COMMAND does not get it,
/// unless it is one of the standard ones. None where it is not open to be written to.
#[must_use]
pub fn given(word: &[u8]) -> Option<Fd> {
    let number = parse_number(word, 10, i32::MAX as u32).ok()?;
    let fd = Fd::from_raw(number as usize);
    let arguments = [fd.raw(), k::F_GETFL as usize, 0];
    // SAFETY: numbers only.
    let flags = unsafe { call3(k::__NR_fcntl, arguments) }.ok()? as u32;
    // A filler of `fill_standard` is one that the caller closed.
    if flags & k::O_PATH != 0 || flags & k::O_ACCMODE == k::O_RDONLY {
        return None;
    }
    if fd.number() > Fd::STDERR.number() {
        let arguments = [fd.raw(), k::F_SETFD as usize, k::FD_CLOEXEC as usize];
        // SAFETY: numbers only.
        unsafe { run3(k::__NR_fcntl, arguments) }.ok()?;
    }
    Some(fd)
}

/// dup3(2): `copy` becomes another name of `fd`, which COMMAND gets.
pub fn duplicate(fd: Fd, copy: Fd) -> Result<()> {
    // SAFETY: numbers only; what `copy` was before belongs to no OwnedFd.
    unsafe { run3(k::__NR_dup3, [fd.raw(), copy.raw(), 0]) }
}

/// Whether it is a terminal. ioctl_tty(2).
#[must_use]
pub fn is_terminal(fd: Fd) -> bool {
    let mut size = [0u16; 4];
    let arguments = [fd.raw(), TIOCGWINSZ as usize, size.as_mut_ptr() as usize];
    // SAFETY: the kernel writes a struct winsize, which is four shorts.
    unsafe { run3(k::__NR_ioctl, arguments) }.is_ok()
}

/// close_range(2): every descriptor from `first` to `last`.
fn close_range(first: i32, last: i32) -> Result<()> {
    // SAFETY: numbers only; no descriptor in the range belongs to a live OwnedFd (see close_all_but).
    unsafe { run3(k::__NR_close_range, [first as usize, last as usize, 0]) }
}

/// Closes every descriptor of the process but those in `kept` and in `more`.
///
/// # Errors
/// ENOSYS where the kernel or a filter has no close_range(2) (before Linux 5.9).
pub fn close_all_but(kept: &[Fd], more: &[Fd]) -> Result<()> {
    let mut first = 0;
    // A dozen at most: the smallest that is not behind, again and again.
    loop {
        // Higher than any that the kernel gives.
        let mut next = i32::MAX;
        for fd in kept.iter().chain(more) {
            if (first..next).contains(&fd.number()) {
                next = fd.number();
            }
        }
        if next > first {
            close_range(first, next - 1)?;
        }
        if next == i32::MAX {
            return Ok(());
        }
        first = next + 1;
    }
}

/// Fills descriptors 0, 1 and 2 where the caller closed them, so that no file that is opened later
/// takes their place and receives an error message (CVE-2002-0572 and others).
///
/// The filler is a path descriptor of `/`: there is one also where there is no /dev/null, it
/// cannot be written to, and it vanishes when COMMAND is executed, which finds 0, 1 and 2 as the
/// caller left them.
pub fn fill_standard() -> Result<()> {
    loop {
        // The kernel gives the lowest number that is free.
        let filler = match openat(Fd::CWD, c"/", Mode::Path) {
            // A limit that allows no other allows none of these either.
            Err(Errno::EMFILE) => return Ok(()),
            result => result?,
        };
        if filler.fd().number() > Fd::STDERR.number() {
            return Ok(());
        }
        let _ = filler.keep();
    }
}
