//! All that differs by processor: one short file each, with the same few names, chosen here.
//!
//! `syscall5` makes a system call, `trap` stops the process where nothing else can be trusted,
//! `RELATIVE` is the processor's relative relocation, and the macro `start!` writes `_start`.
//!
//! # Safety
//! Assembly lives here and nowhere else. What a system call may do to memory is the business of
//! `sys`, which gives each call a type.
#![allow(unsafe_code)]

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(not(target_arch = "x86_64"), path = "unsupported.rs")]
mod chosen;

pub use chosen::*;
