//! All that differs by processor: one short file each, with the same few names, chosen here.
//!
//! | name | what it is |
//! | --- | --- |
//! | `syscall5` | makes a system call |
//! | `trap` | stops the process where nothing else can be trusted |
//! | `RELATIVE` | the number of the relative relocation |
//! | `CLONE_FLAGS` | which argument of clone(2) has the flags |
//! | `start!` | writes `_start` |
//!
//! What follows from the width of a pointer is in [`numbers`].
//!
//! # Safety
//! Assembly lives here and nowhere else. What a system call may do to memory is the business of
//! `sys`, which gives each call a type.
#![allow(unsafe_code)]

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
#[cfg_attr(target_arch = "riscv64", path = "riscv64.rs")]
#[cfg_attr(target_arch = "arm", path = "arm.rs")]
#[cfg_attr(target_arch = "x86", path = "x86.rs")]
#[cfg_attr(
    all(target_arch = "powerpc64", target_endian = "little"),
    path = "powerpc64.rs"
)]
#[cfg_attr(target_arch = "s390x", path = "s390x.rs")]
#[cfg_attr(target_arch = "loongarch64", path = "loongarch64.rs")]
#[cfg_attr(
    not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "arm",
        target_arch = "x86",
        all(target_arch = "powerpc64", target_endian = "little"),
        target_arch = "s390x",
        target_arch = "loongarch64",
    )),
    path = "unsupported.rs"
)]
mod chosen;

pub mod numbers;

pub use chosen::*;
