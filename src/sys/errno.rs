//! Error numbers, with the names and meanings that messages use. errno(3).

use core::num::NonZeroUsize;

use linux_raw_sys::errno as raw;

use super::packed::{Packed, packed};

/// What a system call returns.
pub type Result<T> = core::result::Result<T, Errno>;

/// An error number, positive. Never 0, so that a result of nothing or an error needs one register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(NonZeroUsize);

macro_rules! errnos {
    ($($name:ident $meaning:literal,)*) => {
        impl Errno {
            $(#[doc = $meaning] pub const $name: Errno = Errno::from_raw(raw::$name as usize);)*
        }

        /// The numbers, and in the same order what messages say of each; then of all others.
        const NUMBERS: &[u8] = &[$(raw::$name as u8),*];
        const TEXTS: Packed = packed!(concat!(
            $($meaning, " (", stringify!($name), ")\n",)*
            "unexpected error (errno %)"
        ));
    };
}

errnos! {
    EPERM "operation not permitted",
    ENOENT "no such file or directory",
    ESRCH "no such process",
    EINTR "interrupted",
    E2BIG "argument list too long",
    ENOEXEC "not in an executable format",
    ECHILD "no such child",
    EAGAIN "a limit is reached",
    ENOMEM "out of memory",
    EACCES "permission denied",
    EBUSY "device or resource busy",
    EEXIST "already exists",
    ENODEV "no such device",
    ENOTDIR "not a directory",
    EINVAL "invalid argument",
    ENFILE "too many open files in the system",
    EMFILE "too many open files",
    ETXTBSY "text file busy",
    ENOSPC "no space left, or a limit is reached",
    EROFS "read-only file system",
    EPIPE "broken pipe",
    ERANGE "out of range",
    ENAMETOOLONG "name too long",
    ENOSYS "not in this kernel",
    ELOOP "too many symbolic links",
    EUSERS "too many users",
    EOPNOTSUPP "not supported",
    EAFNOSUPPORT "address family not supported",
    ELIBACC "its interpreter is missing",
    EADDRNOTAVAIL "address not available",
    ENETDOWN "network is down",
}

impl Errno {
    /// The number as the kernel gives it, made positive: 1 to 4095.
    #[must_use]
    pub const fn from_raw(number: usize) -> Errno {
        match NonZeroUsize::new(number) {
            Some(number) => Errno(number),
            // Not in any table: shown by its number.
            None => Errno(NonZeroUsize::MAX),
        }
    }

    /// The number, for an error that has no name here.
    #[must_use]
    pub const fn number(self) -> usize {
        self.0.get()
    }

    /// What it means, and its name as in errno(3); with a `%` for the number of one that this
    /// program never meets.
    #[must_use]
    pub fn text(self) -> Packed {
        let mut numbers = NUMBERS.iter();
        let index = numbers.position(|number| usize::from(*number) == self.number());
        TEXTS.line(index.unwrap_or(NUMBERS.len()))
    }
}
