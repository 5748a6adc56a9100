//! System calls: one safe, typed function each, and nothing else.
//!
//! Three levels, none skipped: the instruction (`arch`), one function a call (here), a verb of
//! the domain (`net`, `cgroup`, `creds`, ...). This is the only home of the kernel's structures
//! and numbers. Nothing here prints, decides or ends the program, but for `process::exit`. Text is
//! here too, as all above need it: `path`, `words` and `packed` make no system call of their own.
//!
//! # Safety
//! Every pointer given to the kernel comes from a reference that lives across the call; results
//! are checked before they are used as descriptors, lengths or pids.
#![allow(unsafe_code)]

pub mod args;
pub mod errno;
pub mod fd;
pub mod fs;
pub mod ids;
pub mod netdev;
pub mod packed;
pub mod path;
pub mod poll;
pub mod process;
pub mod signal;
pub mod words;

pub use errno::{Errno, Result};

use crate::arch;

/// The kernel answers -4095..=-1 for an error, whatever the call (Linux include/linux/err.h).
const HIGHEST_ERRNO: usize = 4095;

/// Makes one system call and separates its result from its error.
///
/// # Safety
/// As the system call's own manual page says of its arguments.
#[inline(always)]
unsafe fn call(number: u32, [a, b, c, d, e]: [usize; 5]) -> Result<usize> {
    // SAFETY: passed on to the caller.
    unsafe { enter_kernel(a, b, c, d, e, number as usize) }
}

/// The same with three arguments, which is what most calls have.
///
/// # Safety
/// As [`call`].
#[inline(always)]
unsafe fn call3(number: u32, [a, b, c]: [usize; 3]) -> Result<usize> {
    // SAFETY: passed on to the caller.
    unsafe { enter_kernel3(a, b, c, number as usize) }
}

/// As [`call`], where the answer tells nothing but that there was no error.
///
/// # Safety
/// As [`call`].
#[inline(always)]
unsafe fn run(number: u32, [a, b, c, d, e]: [usize; 5]) -> Result<()> {
    // SAFETY: passed on to the caller.
    unsafe { run_in_kernel(a, b, c, d, e, number as usize) }
}

/// The same with three arguments.
///
/// # Safety
/// As [`call`].
#[inline(always)]
unsafe fn run3(number: u32, [a, b, c]: [usize; 3]) -> Result<()> {
    // SAFETY: passed on to the caller.
    unsafe { run_in_kernel3(a, b, c, number as usize) }
}

/// Not inlined: a hundred times two zeros are the twentieth part of the program.
///
/// # Safety
/// As [`call`].
#[inline(never)]
unsafe fn enter_kernel3(a: usize, b: usize, c: usize, number: usize) -> Result<usize> {
    // SAFETY: passed on to the caller.
    unsafe { enter_kernel(a, b, c, 0, 0, number) }
}

/// # Safety
/// As [`call`].
#[inline(never)]
unsafe fn run_in_kernel3(a: usize, b: usize, c: usize, number: usize) -> Result<()> {
    // SAFETY: passed on to the caller.
    unsafe { run_in_kernel(a, b, c, 0, 0, number) }
}

/// # Safety
/// As [`call`].
#[inline(never)]
unsafe fn run_in_kernel(
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    number: usize,
) -> Result<()> {
    // SAFETY: passed on to the caller.
    unsafe { enter_kernel(a, b, c, d, e, number) }.map(drop)
}

/// The one place where the program enters the kernel. Not inlined: a hundred copies of it would be
/// a third of the program.
///
/// # Safety
/// As [`call`].
#[inline(never)]
unsafe fn enter_kernel(
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    number: usize,
) -> Result<usize> {
    // SAFETY: passed on to the caller.
    let value = unsafe { arch::syscall5(number, [a, b, c, d, e]) };
    if value > usize::MAX - HIGHEST_ERRNO {
        Err(Errno::from_raw(value.wrapping_neg()))
    } else {
        Ok(value)
    }
}
